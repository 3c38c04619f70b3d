//! The BGP Prefix-SID attribute: RFC 8669 3. TLVs of one octet of type and two of length: the label index of a prefix, and the
//! SRGB of who told it first. Others (those of SRv6 are in RFC 9252) are carried as they came.

use super::{AttrBuf, View, code, flag};

/// Label-Index, RFC 8669 3.1: a reserved octet, two of flags, the index.
const LABEL_INDEX: u8 = 1;
/// Originator SRGB, RFC 8669 3.2: two octets of flags, then three of a first label and three of how many, once or more often.
const ORIGINATOR_SRGB: u8 = 3;

/// A run of labels: the first, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Srgb {
    /// The first.
    pub first: u32,
    /// How many.
    pub size: u32,
}

impl Srgb {
    /// The label of an index; `None`: there are not so many.
    #[must_use]
    pub fn label(self, index: u32) -> Option<u32> {
        (index < self.size).then(|| self.first + index)
    }
}

/// One of them: its type, its value, and what follows it.
fn split(o: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[kind, l0, l1], rest) = o.split_first_chunk()?;
    let (value, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([l0, l1])))?;
    Some((kind, value, rest))
}

fn each(mut o: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let (kind, value, rest) = split(o)?;
        o = rest;
        Some((kind, value))
    })
}

/// What there is to be said of a value, RFC 8669 6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Nothing.
    Good,
    /// A TLV that can be there once is there twice: the first counts.
    Twins,
    /// It can't be read.
    Bad,
}

/// Whether a value can be read.
pub(crate) fn shape(mut o: &[u8]) -> Shape {
    if o.is_empty() {
        return Shape::Bad;
    }
    let (mut index, mut srgb) = (0, 0);
    while !o.is_empty() {
        let Some((kind, value, rest)) = split(o) else {
            return Shape::Bad;
        };
        match kind {
            LABEL_INDEX if value.len() != 7 => return Shape::Bad,
            LABEL_INDEX => index += 1,
            ORIGINATOR_SRGB if value.len() < 8 || !(value.len() - 2).is_multiple_of(6) => {
                return Shape::Bad;
            }
            ORIGINATOR_SRGB => srgb += 1,
            _ => {}
        }
        o = rest;
    }
    if index > 1 || srgb > 1 {
        Shape::Twins
    } else {
        Shape::Good
    }
}

/// Appends a value without the TLVs that are there a second time.
pub(crate) fn without_twins(value: &[u8], out: &mut Vec<u8>) {
    let mut seen = [false; 2];
    for (kind, value) in each(value) {
        let again = match kind {
            LABEL_INDEX => std::mem::replace(&mut seen[0], true),
            ORIGINATOR_SRGB => std::mem::replace(&mut seen[1], true),
            _ => false,
        };
        if !again {
            put(kind, value, out);
        }
    }
}

fn put(kind: u8, value: &[u8], out: &mut Vec<u8>) {
    let [l0, l1] = (value.len() as u16).to_be_bytes();
    out.extend([kind, l0, l1]);
    out.extend_from_slice(value);
}

fn octets3(n: u32) -> [u8; 3] {
    let [_, a, b, c] = n.to_be_bytes();
    [a, b, c]
}

impl<'a> View<'a> {
    fn sid_tlv(&self, kind: u8) -> Option<&'a [u8]> {
        let value = self.get(code::PREFIX_SID)?;
        each(value).find(|(k, _)| *k == kind).map(|(_, v)| v)
    }

    /// The label index of the prefix.
    #[must_use]
    pub fn label_index(&self) -> Option<u32> {
        let index = self.sid_tlv(LABEL_INDEX)?.get(3..)?;
        index.try_into().ok().map(u32::from_be_bytes)
    }

    /// The SRGB of who told the route first.
    pub fn originator_srgb(&self) -> impl Iterator<Item = Srgb> + use<'a> {
        let all = self.sid_tlv(ORIGINATOR_SRGB).and_then(|v| v.get(2..));
        let (all, _) = all.unwrap_or_default().as_chunks::<6>();
        all.iter().map(|&[a, b, c, d, e, f]| Srgb {
            first: u32::from_be_bytes([0, a, b, c]),
            size: u32::from_be_bytes([0, d, e, f]),
        })
    }
}

impl AttrBuf {
    /// Sets the label index of the prefix; what else the attribute has stays.
    pub fn set_label_index(&mut self, index: u32) {
        self.set_sid_tlv(LABEL_INDEX, &[&[0; 3][..], &index.to_be_bytes()].concat());
    }

    /// Sets the SRGB of who tells the route first.
    pub fn set_originator_srgb(&mut self, srgb: Srgb) {
        let (first, size) = (octets3(srgb.first), octets3(srgb.size));
        self.set_sid_tlv(ORIGINATOR_SRGB, &[&[0; 2][..], &first, &size].concat());
    }

    /// Takes the label index away; what else the attribute has stays, if there is anything of use without it.
    pub fn remove_label_index(&mut self) {
        self.edit_sid(&[LABEL_INDEX, ORIGINATOR_SRGB], None);
    }

    fn set_sid_tlv(&mut self, kind: u8, value: &[u8]) {
        self.edit_sid(&[kind], Some((kind, value)));
    }

    fn edit_sid(&mut self, without: &[u8], with: Option<(u8, &[u8])>) {
        let mut out = Vec::new();
        let old = self.view().get(code::PREFIX_SID).unwrap_or_default();
        let kept = each(old).filter(|(kind, _)| !without.contains(kind));
        let mut all: Vec<_> = kept.chain(with).collect();
        all.sort_by_key(|(kind, _)| *kind);
        for (kind, value) in all {
            put(kind, value, &mut out);
        }
        if out.is_empty() {
            self.remove(code::PREFIX_SID);
        } else {
            self.set(flag::OPTIONAL | flag::TRANSITIVE, code::PREFIX_SID, &out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INDEX: [u8; 10] = [1, 0, 7, 0xff, 0, 0, 0, 0, 1, 2];
    const SRGB: [u8; 11] = [3, 0, 8, 0, 0, 0, 0x3e, 0x80, 0, 0x1f, 0x40];

    fn with(value: &[u8]) -> AttrBuf {
        let mut b = AttrBuf::new();
        b.set(flag::OPTIONAL | flag::TRANSITIVE, code::PREFIX_SID, value);
        b
    }

    #[test]
    fn what_is_there_is_found() {
        let b = with(&[&[9, 0, 1, 5][..], &INDEX, &SRGB].concat());
        assert_eq!(b.view().label_index(), Some(258));
        let srgb = Srgb {
            first: 16_000,
            size: 8000,
        };
        assert!(b.view().originator_srgb().eq([srgb]));
        assert_eq!(
            [0, 7999, 8000].map(|n| srgb.label(n)),
            [Some(16_000), Some(23_999), None]
        );
        assert_eq!(with(&SRGB).view().label_index(), None);
        assert_eq!(AttrBuf::new().view().originator_srgb().count(), 0);
    }

    /// RFC 8669 6, a row for each way in which it can be wrong.
    #[test]
    fn what_can_not_be_read() {
        let rows: [(&[u8], Shape); 13] = [
            (&INDEX, Shape::Good),
            (&[&INDEX[..], &SRGB].concat(), Shape::Good),
            (&[&SRGB[..], &[200, 0, 0], &INDEX].concat(), Shape::Good),
            (&[&INDEX[..], &INDEX].concat(), Shape::Twins),
            (&[&SRGB[..], &INDEX, &SRGB].concat(), Shape::Twins),
            (&[], Shape::Bad),
            (&[1, 0], Shape::Bad),
            (&INDEX[..9], Shape::Bad),
            (&[1, 0, 6, 0, 0, 0, 0, 0, 1], Shape::Bad),
            (&[1, 0, 8, 0, 0, 0, 0, 0, 0, 1, 2], Shape::Bad),
            (&[3, 0, 2, 0, 0], Shape::Bad),
            (&[&[3, 0, 9][..], &[0; 9]].concat(), Shape::Bad),
            (&[&INDEX[..], &[5, 0xff, 0xff, 0]].concat(), Shape::Bad),
        ];
        for (value, want) in rows {
            assert_eq!(shape(value), want, "{value:?}");
        }
    }

    #[test]
    fn the_first_of_two_counts() {
        let mut other = INDEX;
        other[9] = 99;
        let mut out = Vec::new();
        without_twins(
            &[&INDEX[..], &[7, 0, 0], &other, &[7, 0, 0]].concat(),
            &mut out,
        );
        assert_eq!(out, [&INDEX[..], &[7, 0, 0], &[7, 0, 0]].concat());
        let mut other = SRGB;
        other[7] = 0x81;
        out.clear();
        without_twins(&[&SRGB[..], &INDEX, &other].concat(), &mut out);
        assert_eq!(out, [&SRGB[..], &INDEX].concat());
    }

    #[test]
    fn the_index_is_set_and_the_rest_stays() {
        let mut b = with(&[&SRGB[..], &[5, 0, 1, 9]].concat());
        b.set_label_index(7);
        assert_eq!(b.view().label_index(), Some(7));
        assert_eq!(b.view().originator_srgb().count(), 1);
        b.set_label_index(8);
        let value = b.view().get(code::PREFIX_SID).unwrap();
        assert_eq!(
            value,
            [&[1, 0, 7, 0, 0, 0, 0, 0, 0, 8][..], &SRGB, &[5, 0, 1, 9]].concat()
        );
        b.remove_label_index();
        assert_eq!(b.view().get(code::PREFIX_SID), Some(&[5, 0, 1, 9][..]));
        let mut b = AttrBuf::new();
        b.set_label_index(1);
        b.remove_label_index();
        assert_eq!(b.view().iter().count(), 0);
    }
}
