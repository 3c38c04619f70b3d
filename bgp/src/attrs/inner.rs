//! What a path has beside its attributes and next hop: its labels (RFC 8277 2, RFC 4364 4.3), and the table that its next hop is
//! looked up in.
//!
//! Two paths that differ in a label are two sets of attributes: so what is interned, compared and told by sets needs to know
//! nothing of labels. They stand in the canonical octets as an attribute with the code 0, which IANA keeps reserved: the first in
//! order, so that it is found at once. It is never sent, and dropped when it comes.

use super::{AttrBuf, Labels, View, code};
use crate::types::Label;

impl<'a> View<'a> {
    fn inner(&self) -> Option<&'a [u8]> {
        let first = self.iter().next()?;
        (first.code == code::INNER).then_some(first.value)
    }

    /// The labels, outermost first; `None`: the path has none.
    #[must_use]
    pub fn labels(&self) -> Option<Labels<'a>> {
        Labels::all(self.inner()?.get(4..)?)
    }

    /// The number of the table that the next hop is looked up in; 0: the global one.
    #[must_use]
    pub fn table(&self) -> u32 {
        let table = self.inner().and_then(|v| v.first_chunk());
        table.map_or(0, |t| u32::from_be_bytes(*t))
    }
}

impl AttrBuf {
    /// Sets the labels, outermost first, and the table of the next hop.
    pub fn set_inner(&mut self, table: u32, labels: &[Label]) {
        if table == 0 && labels.is_empty() {
            self.clear_inner();
            return;
        }
        let mut value = table.to_be_bytes().to_vec();
        Labels::emit(labels, &mut value);
        self.set(0, code::INNER, &value);
    }

    /// Sets the labels, outermost first; the table stays.
    pub fn set_labels(&mut self, labels: &[Label]) {
        self.set_inner(self.view().table(), labels);
    }

    /// Neither labels nor another table than the global one.
    pub fn clear_inner(&mut self) {
        self.remove(code::INNER);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attrs::Origin;

    fn labels(b: &AttrBuf) -> Vec<u32> {
        let all = b.view().labels();
        all.into_iter()
            .flat_map(|l| l.iter().map(Label::get))
            .collect()
    }

    #[test]
    fn labels_and_table_stand_before_everything_else() {
        let new = |n| Label::new(n).unwrap();
        let mut b = AttrBuf::new();
        b.set_origin(Origin::Igp);
        assert_eq!((labels(&b), b.view().table()), (vec![], 0));
        b.set_labels(&[new(16), new(1_048_575)]);
        assert_eq!(labels(&b), [16, 1_048_575]);
        assert_eq!(b.view().iter().next().map(|a| a.code), Some(code::INNER));
        assert_eq!(b.view().origin(), Origin::Igp);
        b.set_inner(7, &[new(3)]);
        assert_eq!((labels(&b), b.view().table()), (vec![3], 7));
        b.set_labels(&[]);
        assert_eq!((labels(&b), b.view().table()), (vec![], 7));
        b.clear_inner();
        assert_eq!(b.view().iter().count(), 1);
    }
}
