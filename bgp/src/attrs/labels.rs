//! Labels in front of a prefix: RFC 8277 2. Three octets each: 20 bits of label, three of class, one for the bottom.

use crate::types::Label;

/// The most labels of a path that is used.
pub(crate) const MOST: usize = 4;

/// The labels of a path that is used, outermost first; a copy.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LabelStack {
    labels: [Label; MOST],
    len: u8,
}

impl LabelStack {
    /// None.
    pub const EMPTY: Self = Self {
        labels: [Label::IMPLICIT_NULL; MOST],
        len: 0,
    };

    /// The labels.
    #[must_use]
    pub fn as_slice(&self) -> &[Label] {
        self.labels.get(..self.len.into()).unwrap_or_default()
    }
}

impl std::fmt::Debug for LabelStack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.as_slice()).finish()
    }
}

impl From<Option<Labels<'_>>> for LabelStack {
    /// Those beyond [`MOST`] are left out; a path with so many is not used.
    fn from(labels: Option<Labels<'_>>) -> Self {
        let mut out = Self::EMPTY;
        let all = labels.into_iter().flat_map(|l| l.iter());
        for (to, label) in out.labels.iter_mut().zip(all) {
            *to = label;
            out.len += 1;
        }
        out
    }
}

/// The labels of one NLRI, outermost first; at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Labels<'a>(&'a [[u8; 3]]);

impl<'a> Labels<'a> {
    /// What stands for a label in a withdrawal, RFC 8277 2.4.
    pub const WITHDRAWN: [u8; 3] = [0x80, 0, 0];

    /// The first three octets, bottom or not.
    pub(crate) fn one(o: &'a [u8]) -> Option<Self> {
        o.as_chunks().0.get(..1).map(Self)
    }

    /// Up to the one that has the bottom bit.
    pub(crate) fn until_bottom(o: &'a [u8]) -> Option<Self> {
        let all = o.as_chunks::<3>().0;
        let last = all.iter().position(|l| l[2] & 1 != 0)?;
        all.get(..=last).map(Self)
    }

    /// All that these octets hold.
    pub(super) fn all(o: &'a [u8]) -> Option<Self> {
        Some(Self(o.as_chunks().0)).filter(|l| !l.0.is_empty())
    }

    /// How many.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Outermost first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Label> + use<'a> {
        self.0
            .iter()
            .map(|&[a, b, c]| Label::from_high_bits(u32::from_be_bytes([a, b, c, 0])))
    }

    /// Labels as octets, the last with the bottom bit.
    pub(crate) fn emit(labels: &[Label], out: &mut Vec<u8>) {
        for (i, l) in labels.iter().enumerate() {
            let bottom = u32::from(i + 1 == labels.len());
            let [_, a, b, c] = (l.get() << 4 | bottom).to_be_bytes();
            out.extend_from_slice(&[a, b, c]);
        }
    }
}
