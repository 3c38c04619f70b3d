//! AS_PATH as it comes: RFC 7606 7.2, RFC 5065 5 (confederations), RFC 7607 (AS 0), RFC 9774 (sets); and its merging with
//! AS4_PATH, RFC 6793 4.2.3.

use crate::attrs::SegmentKind;
use crate::types::{Asn, Relation};

use super::super::Context;
use super::Cause;

/// Segments of a path with AS numbers of `N` octets; `None` in place of the first that is malformed, which ends it.
fn segments<const N: usize>(
    path: &[u8],
) -> impl Iterator<Item = Option<(SegmentKind, &[[u8; N]])>> {
    let mut rest = path;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Some((kind, asns, after)) = segment(rest) else {
            rest = &[];
            return Some(None);
        };
        rest = after;
        Some(Some((kind, asns)))
    })
}

type Split<'a, const N: usize> = (SegmentKind, &'a [[u8; N]], &'a [u8]);

/// RFC 7606 7.2: a kind that there is, at least one AS, and all of them.
fn segment<const N: usize>(o: &[u8]) -> Option<Split<'_, N>> {
    let (&[kind, n], rest) = o.split_first_chunk()?;
    let (asns, rest) = rest.split_at_checked(usize::from(n) * N)?;
    let kind = SegmentKind::new(kind)?;
    (n > 0).then_some((kind, asns.as_chunks().0, rest))
}

fn is_set(kind: SegmentKind) -> bool {
    matches!(kind, SegmentKind::Set | SegmentKind::ConfedSet)
}

fn number<const N: usize>(a: &[u8; N]) -> u32 {
    a.iter().fold(0, |n, o| n << 8 | u32::from(*o))
}

/// Checks an AS_PATH as a neighbour sent it.
#[inline]
pub(super) fn check(path: &[u8], ctx: &Context) -> Result<(), Cause> {
    if ctx.as4 {
        check_of::<4>(path, ctx)
    } else {
        check_of::<2>(path, ctx)
    }
}

/// Is it one sequence of AS numbers of four octets, with nothing in it that [`check`] would look at twice?
#[inline]
pub(super) fn is_plain(path: &[u8], ctx: &Context) -> bool {
    let Some((&[kind, n], asns)) = path.split_first_chunk() else {
        return false;
    };
    let first = asns.first_chunk().map(|a| Asn(u32::from_be_bytes(*a)));
    ctx.as4
        && kind == SegmentKind::Sequence as u8
        && n > 0
        && asns.len() == usize::from(n) * 4
        && asns.as_chunks().0.iter().all(|a| *a != [0; 4])
        && ctx.relation != Relation::Confederation
        && (ctx.first_as.is_none() || ctx.first_as == first)
}

fn check_of<const N: usize>(path: &[u8], ctx: &Context) -> Result<(), Cause> {
    let mut first = None;
    let mut sets = false;
    let mut zero = false;
    let mut confed = false;
    for s in segments::<N>(path) {
        let (kind, asns) = s.ok_or(Cause::Segments)?;
        first = first.or_else(|| Some((kind, number(asns.first()?))));
        sets |= is_set(kind);
        confed |= kind.is_confed();
        for a in asns {
            zero |= number(a) == 0;
        }
    }
    if zero {
        return Err(Cause::AsZero);
    }
    if sets && !ctx.as_sets {
        return Err(Cause::AsSet);
    }
    let kind_fits = match ctx.relation {
        Relation::External => !confed,
        Relation::Confederation => first.is_some_and(|f| f.0 == SegmentKind::ConfedSequence),
        Relation::Internal => true,
    };
    let sender = ctx.first_as.is_none_or(|asn| {
        // A sender of two octets whose AS has four calls itself AS_TRANS.
        let mine = if N == 2 { asn.short().into() } else { asn.0 };
        first.is_some_and(|(kind, a)| a == mine && !is_set(kind))
    });
    if kind_fits && sender {
        Ok(())
    } else {
        Err(Cause::FirstAs)
    }
}

/// Checks an AS4_PATH. Confederation segments in it are passed over later (RFC 6793 6).
pub(super) fn check_as4(path: &[u8], ctx: &Context) -> Result<(), Cause> {
    let mut sets = false;
    for s in segments::<4>(path) {
        let (kind, asns) = s.ok_or(Cause::Segments)?;
        if asns.contains(&[0; 4]) {
            return Err(Cause::AsZero);
        }
        sets |= is_set(kind);
    }
    if sets && !ctx.as_sets {
        return Err(Cause::AsSet);
    }
    Ok(())
}

/// How long a path is when it is merged: RFC 6793 4.2.3 counts as RFC 4271 9.1.2.2 and RFC 5065 5.3 do.
fn hops<const N: usize>(path: &[u8]) -> usize {
    let of = |(kind, asns): (SegmentKind, &[[u8; N]])| match kind {
        SegmentKind::Sequence => asns.len(),
        SegmentKind::Set => 1,
        SegmentKind::ConfedSequence | SegmentKind::ConfedSet => 0,
    };
    segments::<N>(path).flatten().map(of).sum()
}

/// Appends a path of two octets as one of four, with what AS4_PATH knows better.
pub(super) fn merge(path: &[u8], as4_path: &[u8], out: &mut Vec<u8>) {
    let long = hops::<4>(as4_path);
    let total = hops::<2>(path);
    // RFC 6793 4.2.3: an AS4_PATH that is longer cannot be of this path.
    let (mut lead, merged) = if (1..=total).contains(&long) {
        (total - long, as4_path)
    } else {
        (usize::MAX, &[][..])
    };
    let mut joint = None;
    for (kind, asns) in segments::<2>(path).flatten() {
        // Confederation segments stay if they lead or are next to what is kept.
        let (n, counts) = match kind {
            SegmentKind::Sequence => (asns.len().min(lead), asns.len().min(lead)),
            SegmentKind::Set => (asns.len(), 1),
            SegmentKind::ConfedSequence | SegmentKind::ConfedSet => (asns.len(), 0),
        };
        if counts > lead || n == 0 {
            break;
        }
        lead -= counts;
        // Cut in two, the sequence goes on in AS4_PATH.
        joint = (n < asns.len()).then_some(out.len());
        out.extend([kind as u8, n as u8]);
        for [a, b] in &asns[..n] {
            out.extend([0, 0, *a, *b]);
        }
    }
    for (kind, asns) in segments::<4>(merged).flatten() {
        match joint.take() {
            _ if kind.is_confed() => {}
            Some(at)
                if kind == SegmentKind::Sequence
                    && usize::from(out[at + 1]) + asns.len() <= 255 =>
            {
                out[at + 1] += asns.len() as u8;
                out.extend_from_slice(asns.as_flattened());
            }
            _ => append(kind, asns, out),
        }
    }
}

fn append(kind: SegmentKind, asns: &[[u8; 4]], out: &mut Vec<u8>) {
    out.extend([kind as u8, asns.len() as u8]);
    out.extend_from_slice(asns.as_flattened());
}

/// The AS numbers of a path of four octets, as one of two octets shows them, and whether any was too large for it.
pub(crate) fn shorten(path: &[u8], out: &mut Vec<u8>) -> bool {
    let mut lost = false;
    for (kind, asns) in segments::<4>(path).flatten() {
        out.extend([kind as u8, asns.len() as u8]);
        for a in asns {
            let asn = Asn(u32::from_be_bytes(*a));
            lost |= asn.0 > 0xffff;
            out.extend(asn.short().to_be_bytes());
        }
    }
    lost
}

/// An AS4_PATH: the path without its confederation segments (RFC 6793 4.2.2).
pub(crate) fn as4_path(path: &[u8], out: &mut Vec<u8>) {
    for (kind, asns) in segments::<4>(path).flatten() {
        if !kind.is_confed() {
            append(kind, asns, out);
        }
    }
}
