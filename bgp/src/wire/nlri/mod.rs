//! NLRI of every family: RFC 4271 4.3 (prefixes), RFC 4760 5, RFC 7911 3 (path identifiers), RFC 8277 2 (labels), RFC 4364
//! 4.3.4 and RFC 4659 (VPNs), RFC 4684 4 (route targets), RFC 8955 4 and RFC 8956 3 (flows); their syntax by RFC 7606 5.3.
//!
//! [`Nlri::parse`] walks a run once and checks it; the iterators then trust it, and end early rather than panic. Bits
//! behind a prefix's length are cleared (RFC 4271 4.3 says that they mean nothing). An IPv6 prefix is as long as it says.

mod flow;

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::types::{Family, PathId, Rd};

use super::Context;
pub use crate::attrs::Labels;
pub(super) use flow::emit_len as emit_flow_len;
pub use flow::{BadFlow, check_flow};

/// Why a run of NLRI is none: what RFC 7606 5.3 calls syntactically incorrect. Where its parts begin and end can't be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum BadNlri {
    /// A prefix longer than an address, or shorter than the labels and the route distinguisher in front of it.
    #[error("a prefix length of {0} bits is impossible")]
    Length(u8),
    /// The last one goes beyond the end.
    #[error("the last prefix goes beyond the end")]
    Overrun,
    /// Labels without a bottom of stack.
    #[error("a label stack without a bottom")]
    NoBottom,
}

/// How labels are counted in an NLRI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stack {
    /// One, its bottom bit not looked at (RFC 8277 2.2); also what stands in a withdrawal (2.4).
    One,
    /// As many as it takes until one has the bottom bit (RFC 8277 2.3).
    Many,
}

/// How each NLRI of a run is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Form {
    add_path: bool,
    stack: Stack,
}

impl Form {
    pub(super) const PLAIN: Self = Self {
        add_path: false,
        stack: Stack::One,
    };
}

/// A run of NLRI of one family that was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nlri<'a> {
    /// What they are of.
    pub family: Family,
    pub(super) form: Form,
    /// As on the wire.
    pub octets: &'a [u8],
    /// How many there are.
    pub count: usize,
}

/// A route target membership, RFC 4684 4: a prefix of origin AS and route target, of at most 96 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteTarget {
    /// Origin AS (4 octets), route target (8 octets); zero behind the prefix.
    pub octets: [u8; 12],
    /// 0 (all of them), or 32 to 96.
    pub bits: u8,
}

/// A prefix of `bits` bits at the start of `o`, zero behind it, and what follows.
#[inline]
fn prefix<const N: usize>(bits: u8, o: &[u8]) -> Option<([u8; N], &[u8])> {
    let (head, rest) = o.split_at_checked(usize::from(bits).div_ceil(8))?;
    let mut a = [0; N];
    a.get_mut(..head.len())?.copy_from_slice(head);
    if !bits.is_multiple_of(8) {
        a[head.len() - 1] &= 0xff << (8 - bits % 8);
    }
    Some((a, rest))
}

impl<'a> Nlri<'a> {
    /// Does each begin with a path identifier?
    #[must_use]
    pub fn add_path(&self) -> bool {
        self.form.add_path
    }

    /// Checks a run of NLRI as it comes from a neighbour; `withdrawn`: out of Withdrawn Routes or MP_UNREACH_NLRI.
    ///
    /// # Errors
    /// Where the syntax ends to be one.
    #[inline]
    pub fn parse(
        family: Family,
        octets: &'a [u8],
        withdrawn: bool,
        ctx: &Context,
    ) -> Result<Self, BadNlri> {
        let many = !withdrawn && ctx.multiple_labels.contains(family);
        let mut nlri = Self {
            family,
            form: Form {
                add_path: ctx.add_path_receive.contains(family),
                stack: if many { Stack::Many } else { Stack::One },
            },
            octets,
            count: 0,
        };
        nlri.count = match family {
            Family::Ipv4Unicast if !nlri.form.add_path => walk::<false>(octets, 32),
            Family::Ipv4Unicast => walk::<true>(octets, 32),
            Family::Ipv6Unicast if !nlri.form.add_path => walk::<false>(octets, 128),
            Family::Ipv6Unicast => walk::<true>(octets, 128),
            _ => nlri.walk_others(),
        }?;
        Ok(nlri)
    }

    /// The first NLRI of a run, by itself, and what follows it.
    pub(crate) fn first(
        family: Family,
        octets: &'a [u8],
        ctx: &Context,
    ) -> Result<(Self, &'a [u8]), BadNlri> {
        let mut nlri = Self::parse(family, &[], false, ctx)?;
        let rest = match family {
            Family::Ipv4Flow | Family::Ipv6Flow | Family::Vpnv4Flow | Family::Vpnv6Flow => {
                flow::split(octets).ok_or(BadNlri::Overrun)?.1
            }
            _ => nlri.one(octets)?.1,
        };
        nlri.octets = octets
            .get(..octets.len() - rest.len())
            .ok_or(BadNlri::Overrun)?;
        nlri.count = 1;
        Ok((nlri, rest))
    }

    fn walk_others(&self) -> Result<usize, BadNlri> {
        let (mut rest, mut n) = (self.octets, 0);
        while !rest.is_empty() {
            if self.form.add_path {
                rest = rest.get(4..).ok_or(BadNlri::Overrun)?;
            }
            rest = match self.family {
                Family::Ipv4Flow | Family::Ipv6Flow | Family::Vpnv4Flow | Family::Vpnv6Flow => {
                    flow::split(rest).ok_or(BadNlri::Overrun)?.1
                }
                _ => self.one(rest)?.1,
            };
            n += 1;
        }
        Ok(n)
    }

    /// The bits of one NLRI and what follows it; those of labels and route distinguishers are all there.
    fn one(&self, o: &'a [u8]) -> Result<(u8, &'a [u8]), BadNlri> {
        let (&bits, body) = o.split_first().ok_or(BadNlri::Overrun)?;
        let (head, rest) = body
            .split_at_checked(usize::from(bits).div_ceil(8))
            .ok_or(BadNlri::Overrun)?;
        let (labelled, rd, address) = match self.family {
            Family::Ipv4Labeled => (true, 0, 32),
            Family::Ipv6Labeled => (true, 0, 128),
            Family::Vpnv4 => (true, 64, 32),
            Family::Vpnv6 => (true, 64, 128),
            Family::RouteTarget => (false, 0, 96),
            Family::Ipv4Unicast => (false, 0, 32),
            _ => (false, 0, 128),
        };
        let mut front = rd;
        if labelled {
            front += 24 * self.labels(head)?.len();
        }
        let bits_left = usize::from(bits).checked_sub(front);
        match bits_left.ok_or(BadNlri::Length(bits))? {
            n if n > address => Err(BadNlri::Length(bits)),
            // RFC 4684 4: all of the AS, or nothing at all.
            1..32 if self.family == Family::RouteTarget => Err(BadNlri::Length(bits)),
            _ => Ok((bits, rest)),
        }
    }

    fn labels(&self, o: &'a [u8]) -> Result<Labels<'a>, BadNlri> {
        match self.form.stack {
            Stack::One => Labels::one(o).ok_or(BadNlri::Length((o.len() * 8) as u8)),
            Stack::Many => Labels::until_bottom(o).ok_or(BadNlri::NoBottom),
        }
    }

    /// The path identifier (0 without) and where the NLRI itself begins.
    #[inline]
    fn path_id(&self, o: &'a [u8]) -> Option<(PathId, &'a [u8])> {
        if !self.form.add_path {
            return Some((0, o));
        }
        let (id, rest) = o.split_first_chunk()?;
        Some((PathId::from_be_bytes(*id), rest))
    }

    /// Prefixes of IPv4 unicast; none of another family.
    #[inline]
    pub fn ipv4(&self) -> Ipv4Prefixes<'a> {
        let mine = self.family == Family::Ipv4Unicast;
        Ipv4Prefixes {
            rest: if mine { self.octets } else { &[] },
            add_path: self.form.add_path,
        }
    }

    /// Prefixes of IPv6 unicast; none of another family.
    #[inline]
    pub fn ipv6(&self) -> Ipv6Prefixes<'a> {
        let mine = self.family == Family::Ipv6Unicast;
        Ipv6Prefixes {
            rest: if mine { self.octets } else { &[] },
            add_path: self.form.add_path,
        }
    }

    /// Prefixes of either unicast family; none of another.
    pub fn unicast(&self) -> impl Iterator<Item = (PathId, IpNet)> + use<'a> {
        let v4 = self.ipv4().map(|(id, p)| (id, IpNet::V4(p)));
        v4.chain(self.ipv6().map(|(id, p)| (id, IpNet::V6(p))))
    }

    /// Prefixes of either labelled family; none of another.
    pub fn labeled(&self) -> impl Iterator<Item = (PathId, Labels<'a>, IpNet)> + use<'a> {
        let mine = matches!(self.family, Family::Ipv4Labeled | Family::Ipv6Labeled);
        self.behind_labels(mine)
            .map(|(id, labels, _, net)| (id, labels, net))
    }

    /// Prefixes of either VPN family; none of another.
    pub fn vpn(&self) -> impl Iterator<Item = (PathId, Labels<'a>, Rd, IpNet)> + use<'a> {
        self.behind_labels(matches!(self.family, Family::Vpnv4 | Family::Vpnv6))
    }

    fn behind_labels(
        &self,
        mine: bool,
    ) -> impl Iterator<Item = (PathId, Labels<'a>, Rd, IpNet)> + use<'a> {
        let this = *self;
        let mut rest = if mine { self.octets } else { &[] };
        std::iter::from_fn(move || {
            let (id, o) = this.path_id(rest)?;
            let (bits, after) = this.one(o).ok()?;
            rest = after;
            let o = o.get(1..)?;
            let labels = this.labels(o).ok()?;
            let mut bits = bits.checked_sub(24 * labels.len() as u8)?;
            let mut o = o.get(3 * labels.len()..)?;
            let mut rd = Rd::default();
            if matches!(this.family, Family::Vpnv4 | Family::Vpnv6) {
                let (head, tail) = o.split_first_chunk()?;
                (rd, o, bits) = (Rd(*head), tail, bits.checked_sub(64)?);
            }
            let net = match this.family {
                Family::Ipv4Labeled | Family::Vpnv4 => {
                    IpNet::new(Ipv4Addr::from(prefix::<4>(bits, o)?.0).into(), bits)
                }
                _ => IpNet::new(Ipv6Addr::from(prefix::<16>(bits, o)?.0).into(), bits),
            };
            Some((id, labels, rd, net.ok()?))
        })
    }

    /// Route target memberships; none of another family.
    pub fn route_targets(&self) -> impl Iterator<Item = (PathId, RouteTarget)> + use<'a> {
        let this = *self;
        let mine = self.family == Family::RouteTarget;
        let mut rest = if mine { self.octets } else { &[] };
        std::iter::from_fn(move || {
            let (id, o) = this.path_id(rest)?;
            let (bits, after) = this.one(o).ok()?;
            rest = after;
            let (octets, _) = prefix(bits, o.get(1..)?)?;
            Some((id, RouteTarget { octets, bits }))
        })
    }

    /// Flows of any of the four families, each as its components' octets (RFC 8955 4.2), with the route distinguisher of the
    /// VPN families; none of another family.
    pub fn flows(&self) -> impl Iterator<Item = (PathId, Option<Rd>, &'a [u8])> + use<'a> {
        let this = *self;
        let vpn = matches!(self.family, Family::Vpnv4Flow | Family::Vpnv6Flow);
        let mine = vpn || matches!(self.family, Family::Ipv4Flow | Family::Ipv6Flow);
        let mut rest = if mine { self.octets } else { &[] };
        std::iter::from_fn(move || {
            let (id, o) = this.path_id(rest)?;
            let (body, after) = flow::split(o)?;
            rest = after;
            match body.split_first_chunk() {
                Some((rd, body)) if vpn => Some((id, Some(Rd(*rd)), body)),
                _ => Some((id, None, body)),
            }
        })
    }
}

/// How many prefixes of at most `max` bits there are in a run.
#[inline]
fn walk<const ADD_PATH: bool>(o: &[u8], max: u8) -> Result<usize, BadNlri> {
    let (mut at, mut n) = (0, 0);
    while at < o.len() {
        // Nearly all of IPv4 is /17 to /24: a stride that does not hang on what was read lets the processor run ahead.
        while !ADD_PATH && max == 32 && o.len() - at >= 4 && is_three_octets(o[at]) {
            at += 4;
            n += 1;
        }
        if at == o.len() {
            break;
        }
        if ADD_PATH {
            at += 4;
        }
        let &bits = o.get(at).ok_or(BadNlri::Overrun)?;
        if bits > max {
            return Err(BadNlri::Length(bits));
        }
        at += 1 + usize::from(bits).div_ceil(8);
        n += 1;
    }
    if at == o.len() {
        Ok(n)
    } else {
        Err(BadNlri::Overrun)
    }
}

/// Is a prefix of that length three octets long?
#[inline]
const fn is_three_octets(bits: u8) -> bool {
    bits.wrapping_sub(17) < 8
}

/// See [`Nlri::ipv4`].
#[derive(Clone, Debug)]
pub struct Ipv4Prefixes<'a> {
    rest: &'a [u8],
    add_path: bool,
}

impl Iterator for Ipv4Prefixes<'_> {
    type Item = (PathId, Ipv4Net);

    #[inline]
    fn next(&mut self) -> Option<(PathId, Ipv4Net)> {
        if let Some((&[bits, a, b, c], rest)) = self.rest.split_first_chunk()
            && !self.add_path
            && is_three_octets(bits)
        {
            self.rest = rest;
            return Some((0, masked4(bits, [a, b, c, 0])?));
        }
        self.other()
    }
}

#[inline]
fn masked4(bits: u8, octets: [u8; 4]) -> Option<Ipv4Net> {
    let mask = (u64::from(u32::MAX) << (32 - bits.min(32))) as u32;
    let addr = Ipv4Addr::from(u32::from_be_bytes(octets) & mask);
    Ipv4Net::new(addr, bits).ok()
}

impl Ipv4Prefixes<'_> {
    /// Any length, with or without a path identifier; apart, so that the common case is a branch that is guessed right.
    #[cold]
    fn other(&mut self) -> Option<(PathId, Ipv4Net)> {
        let mut o = self.rest;
        let mut id = 0;
        if self.add_path {
            let (head, tail) = o.split_first_chunk()?;
            (id, o) = (PathId::from_be_bytes(*head), tail);
        }
        let (&bits, o) = o.split_first()?;
        let (octets, rest) = prefix::<4>(bits, o)?;
        self.rest = rest;
        Some((id, masked4(bits, octets)?))
    }
}

/// See [`Nlri::ipv6`].
#[derive(Clone, Debug)]
pub struct Ipv6Prefixes<'a> {
    rest: &'a [u8],
    add_path: bool,
}

impl Iterator for Ipv6Prefixes<'_> {
    type Item = (PathId, Ipv6Net);

    #[inline]
    fn next(&mut self) -> Option<(PathId, Ipv6Net)> {
        let mut o = self.rest;
        let mut id = 0;
        if self.add_path {
            let (head, tail) = o.split_first_chunk()?;
            (id, o) = (PathId::from_be_bytes(*head), tail);
        }
        let (&bits, o) = o.split_first()?;
        let bits = bits.min(128);
        let n = usize::from(bits).div_ceil(8);
        let word = match o.first_chunk() {
            Some(w) => u128::from_be_bytes(*w),
            None => {
                let mut w = [0; 16];
                w.get_mut(..o.len())?.copy_from_slice(o);
                u128::from_be_bytes(w)
            }
        };
        self.rest = o.get(n..)?;
        let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
        let net = Ipv6Net::new(Ipv6Addr::from(word & mask), bits);
        Some((id, net.ok()?))
    }
}

#[cfg(test)]
mod tests;
