//! Editing attributes in canonical form.

use crate::types::{Asn, NextHop};

use super::{Origin, RawAttrs, SegmentKind, View, code, flag};

/// Attributes in canonical form, owned, to be edited.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttrBuf {
    octets: Vec<u8>,
    /// The next hop beside them.
    pub next_hop: Option<NextHop>,
}

impl AttrBuf {
    /// No attributes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A copy.
    #[must_use]
    pub fn from_view(v: View<'_>) -> Self {
        Self {
            octets: v.octets.to_vec(),
            next_hop: v.next_hop,
        }
    }

    /// Takes what `v` has, keeping the room that there is.
    pub fn copy_from(&mut self, v: View<'_>) {
        self.octets.clear();
        self.octets.extend_from_slice(v.octets);
        self.next_hop = v.next_hop;
    }

    /// What is in it.
    #[must_use]
    pub fn view(&self) -> View<'_> {
        View {
            octets: &self.octets,
            next_hop: self.next_hop,
        }
    }

    /// The octets themselves, for those who write them whole and in order.
    pub(crate) fn octets_mut(&mut self) -> &mut Vec<u8> {
        &mut self.octets
    }

    /// Where an attribute begins and ends, or where it would.
    fn place(&self, code: u8) -> (usize, usize) {
        let mut all = RawAttrs(&self.octets);
        loop {
            let at = self.octets.len() - all.0.len();
            match all.next() {
                Some(a) if a.code < code => {}
                Some(a) if a.code == code => return (at, self.octets.len() - all.0.len()),
                _ => return (at, at),
            }
        }
    }

    /// Sets an attribute, in its place. `flags` without [`flag::EXTENDED`], which follows from the length.
    ///
    /// A value longer than 65,535 octets fits no attribute: then nothing is changed, and the answer is false.
    pub fn set(&mut self, flags: u8, code: u8, value: &[u8]) -> bool {
        let Ok(len) = u16::try_from(value.len()) else {
            return false;
        };
        let (from, to) = self.place(code);
        let [l0, l1] = len.to_be_bytes();
        let flags = flags & !flag::EXTENDED;
        let head: &[u8] = match l0 {
            0 => &[flags, code, l1],
            _ => &[flags | flag::EXTENDED, code, l0, l1],
        };
        let into = self.fit(from, to, head.len() + value.len());
        let (h, v) = into.split_at_mut(head.len());
        h.copy_from_slice(head);
        v.copy_from_slice(value);
        true
    }

    /// Makes room for `n` octets where `from..to` is; what is in it is to be written.
    fn fit(&mut self, from: usize, to: usize, n: usize) -> &mut [u8] {
        let (len, end) = (self.octets.len(), from + n);
        if end > to {
            self.octets.resize(len + (end - to), 0);
        }
        self.octets.copy_within(to..len, end);
        self.octets.truncate(len + end - to);
        &mut self.octets[from..end]
    }

    /// Takes an attribute out; was it there?
    pub fn remove(&mut self, code: u8) -> bool {
        let (from, to) = self.place(code);
        self.octets.drain(from..to);
        from != to
    }

    /// Keeps only the attributes for which `keep` holds.
    pub fn retain(&mut self, mut keep: impl FnMut(super::RawAttr<'_>) -> bool) {
        let mut all = RawAttrs(&self.octets);
        let mut gone = Vec::new();
        loop {
            let at = self.octets.len() - all.0.len();
            let Some(a) = all.next() else { break };
            if !keep(a) {
                gone.push(at..self.octets.len() - all.0.len());
            }
        }
        for r in gone.into_iter().rev() {
            self.octets.drain(r);
        }
    }

    /// Sets ORIGIN.
    pub fn set_origin(&mut self, o: Origin) {
        self.set(flag::TRANSITIVE, code::ORIGIN, &[o as u8]);
    }

    /// Sets MULTI_EXIT_DISC.
    pub fn set_med(&mut self, med: u32) {
        self.set(flag::OPTIONAL, code::MED, &med.to_be_bytes());
    }

    /// Sets LOCAL_PREF.
    pub fn set_local_pref(&mut self, pref: u32) {
        self.set(flag::TRANSITIVE, code::LOCAL_PREF, &pref.to_be_bytes());
    }

    /// Sets AS_PATH to segments; more than 255 numbers of one are split.
    pub fn set_as_path<'s>(
        &mut self,
        segments: impl IntoIterator<Item = (SegmentKind, &'s [Asn])>,
    ) {
        let mut value = Vec::new();
        for (kind, asns) in segments {
            for part in asns.chunks(255) {
                value.extend([kind as u8, part.len() as u8]);
                value.extend(part.iter().flat_map(|a| a.0.to_be_bytes()));
            }
        }
        self.set(flag::TRANSITIVE, code::AS_PATH, &value);
    }

    /// Puts an AS number in front of the AS_PATH so many times: into the first segment if that is of this kind and has
    /// room, else into one of its own (RFC 4271 5.1.2 b, RFC 5065 4).
    pub fn prepend(&mut self, kind: SegmentKind, asn: Asn, times: usize) {
        if times == 1 && self.prepend_one(kind, asn) {
            return;
        }
        let path = self.view().as_path().0;
        let (room, rest) = match path {
            [k, n, rest @ ..] if *k == kind as u8 => (255 - usize::from(*n), rest),
            _ => (0, path),
        };
        let (into, own) = (times.min(room), times - times.min(room));
        let mut value = Vec::with_capacity(path.len() + times * 4 + 2);
        let mut left = own;
        while left > 0 {
            let n = left.min(255);
            value.extend([kind as u8, n as u8]);
            (0..n).for_each(|_| value.extend(asn.0.to_be_bytes()));
            left -= n;
        }
        if room > 0 || rest.len() != path.len() {
            value.extend([kind as u8, (255 - room + into) as u8]);
            (0..into).for_each(|_| value.extend(asn.0.to_be_bytes()));
        }
        value.extend_from_slice(rest);
        self.set(flag::TRANSITIVE, code::AS_PATH, &value);
    }

    /// Puts an AS number in front of the first segment, if that is of this kind and has room.
    fn prepend_one(&mut self, kind: SegmentKind, asn: Asn) -> bool {
        let Some((from, start, end)) = self.value_place(code::AS_PATH) else {
            return false;
        };
        let len = u16::try_from(end - start + 4);
        let (Some([k, n]), Ok(len)) = (self.octets[start..end].first_chunk(), len) else {
            return false;
        };
        if *k != kind as u8 || *n == 255 {
            return false;
        }
        self.octets[start + 1] += 1;
        let into = self.fit(start + 2, start + 2, 4);
        into.copy_from_slice(&asn.0.to_be_bytes());
        self.write_len(from, start - from, len);
        true
    }

    /// Where the value of an attribute is, behind its header; `None` if there is no such attribute.
    fn value_place(&self, code: u8) -> Option<(usize, usize, usize)> {
        let (from, to) = self.place(code);
        if from == to {
            return None;
        }
        let head = match self.octets[from] & flag::EXTENDED {
            0 => 3,
            _ => 4,
        };
        Some((from, from + head, to))
    }

    /// Adds octets to the end of an attribute's value, or makes the attribute with `flags`, as [`AttrBuf::set`] does.
    ///
    /// Longer than 65,535 octets no value can be: then nothing is changed, and the answer is false.
    pub fn append(&mut self, flags: u8, code: u8, more: &[u8]) -> bool {
        let Some((from, start, end)) = self.value_place(code) else {
            return self.set(flags, code, more);
        };
        let Ok(len) = u16::try_from(end - start + more.len()) else {
            return false;
        };
        self.octets.splice(end..end, more.iter().copied());
        self.write_len(from, start - from, len);
        true
    }

    /// Keeps those items of a value, each of `N` octets, for which `keep` holds, in their order; octets behind the last
    /// whole one go. Without any left, the attribute goes. Did anything?
    pub fn retain_items<const N: usize>(
        &mut self,
        code: u8,
        mut keep: impl FnMut(&[u8; N]) -> bool,
    ) -> bool {
        let Some((from, start, end)) = self.value_place(code) else {
            return false;
        };
        let mut into = start;
        for at in (start..end).step_by(N.max(1)) {
            let kept = self.octets[at..end]
                .first_chunk::<N>()
                .is_some_and(&mut keep);
            if kept {
                self.octets.copy_within(at..at + N, into);
                into += N;
            }
        }
        match into {
            _ if into == end => return false,
            _ if into == start => {
                self.octets.drain(from..end);
            }
            _ => {
                self.octets.drain(into..end);
                self.write_len(from, start - from, (into - start) as u16);
            }
        }
        true
    }

    /// Writes the length of the attribute at `from`, whose header has `head` octets so far.
    fn write_len(&mut self, from: usize, head: usize, len: u16) {
        let [l0, l1] = len.to_be_bytes();
        match (head, l0) {
            (3, 0) => self.octets[from + 2] = l1,
            (3, _) => {
                self.octets[from] |= flag::EXTENDED;
                self.octets.splice(from + 2..from + 3, [l0, l1]);
            }
            (_, 0) => {
                self.octets[from] &= !flag::EXTENDED;
                self.octets.splice(from + 2..from + 4, [l1]);
            }
            _ => self.octets[from + 2..from + 4].copy_from_slice(&[l0, l1]),
        }
    }

    /// Puts another AS number in the place of each of the AS_PATH for which `with` has one. Did anything change?
    pub fn replace_asns(&mut self, mut with: impl FnMut(Asn) -> Option<Asn>) -> bool {
        let Some((_, start, end)) = self.value_place(code::AS_PATH) else {
            return false;
        };
        let mut changed = false;
        let mut rest = &mut self.octets[start..end];
        while let Some((&mut [_, n], tail)) = rest.split_first_chunk_mut::<2>() {
            let Some((segment, tail)) = tail.split_at_mut_checked(usize::from(n) * 4) else {
                break;
            };
            for octets in segment.as_chunks_mut::<4>().0 {
                let old = Asn(u32::from_be_bytes(*octets));
                if let Some(new) = with(old).filter(|new| *new != old) {
                    *octets = new.0.to_be_bytes();
                    changed = true;
                }
            }
            rest = tail;
        }
        changed
    }

    /// Keeps those AS numbers of the AS_PATH for which `keep` holds; a segment without any goes. Did anything?
    pub fn retain_asns(&mut self, mut keep: impl FnMut(Asn) -> bool) -> bool {
        let old = self.view().as_path();
        let mut value = Vec::with_capacity(old.0.len());
        for segment in old.segments() {
            let head = value.len();
            value.extend([segment.kind as u8, 0]);
            for asn in segment.iter().filter(|asn| keep(*asn)) {
                value.extend(asn.0.to_be_bytes());
                value[head + 1] += 1;
            }
            if value[head + 1] == 0 {
                value.truncate(head);
            }
        }
        let changed = value != old.0;
        if changed {
            self.set(flag::TRANSITIVE, code::AS_PATH, &value);
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn attributes_stay_in_order_and_long_ones_are_extended() {
        let mut b = AttrBuf::new();
        b.set_local_pref(7);
        b.set_origin(Origin::Egp);
        assert!(b.set(
            flag::OPTIONAL | flag::TRANSITIVE,
            code::COMMUNITIES,
            &[1; 400]
        ));
        b.set_med(9);
        assert!(!b.set(flag::OPTIONAL, 200, &[0; 65_536]));
        let codes: Vec<u8> = b.view().iter().map(|a| a.code).collect();
        assert_eq!(codes, [1, 4, 5, 8]);
        assert_eq!(b.view().get(code::COMMUNITIES).unwrap().len(), 400);
        assert_eq!(
            (b.view().origin(), b.view().med(), b.view().local_pref()),
            (Origin::Egp, Some(9), Some(7))
        );
        b.set(
            flag::OPTIONAL | flag::TRANSITIVE,
            code::COMMUNITIES,
            &[2; 4],
        );
        assert!(b.remove(code::MED) && !b.remove(code::MED));
        assert_eq!(
            b.view().octets,
            [
                0x40, 1, 1, 1, 0x40, 5, 4, 0, 0, 0, 7, 0xc0, 8, 4, 2, 2, 2, 2
            ]
        );
        b.retain(|a| a.code != code::LOCAL_PREF);
        assert_eq!(b.view().iter().map(|a| a.code).collect::<Vec<_>>(), [1, 8]);
    }

    proptest! {
        #[test]
        fn prepending_puts_numbers_in_front(
            first in prop::sample::select(vec![SegmentKind::Sequence, SegmentKind::Set, SegmentKind::ConfedSequence]),
            old in prop::collection::vec(1u32..9, 0..300), times in 0usize..600,
        ) {
            let mut b = AttrBuf::new();
            let old: Vec<Asn> = old.into_iter().map(Asn).collect();
            b.set_as_path([(first, &old[..])]);
            b.prepend(SegmentKind::Sequence, Asn(77), times);
            let path: Vec<Asn> = b.view().as_path().iter().collect();
            prop_assert_eq!(path.len(), old.len() + times);
            prop_assert!(path[..times].iter().all(|a| *a == Asn(77)));
            prop_assert_eq!(&path[times..], &old[..]);
            let sequences = b.view().as_path().segments().filter(|s| s.kind == SegmentKind::Sequence);
            let most = if first == SegmentKind::Sequence { (old.len() + times).div_ceil(255) + 1 } else { times.div_ceil(255) };
            prop_assert!(sequences.count() <= most);
        }

        #[test]
        fn items_come_and_go(
            codes in prop::collection::btree_set(1u8..40, 0..5), first in prop::collection::vec(any::<u16>(), 0..200),
            more in prop::collection::vec(any::<u16>(), 1..200), odd in 0u16..5,
        ) {
            let octets = |items: &[u16]| items.iter().flat_map(|i| i.to_be_bytes()).collect::<Vec<u8>>();
            let mut b = AttrBuf::new();
            for c in &codes {
                b.set(flag::OPTIONAL, *c, &[*c; 7]);
            }
            b.set(flag::OPTIONAL, 20, &octets(&first));
            b.append(flag::OPTIONAL, 20, &octets(&more));
            let keep = |i: u16| i % 5 != odd;
            let mut want = b.clone();
            let all: Vec<u16> = first.iter().chain(&more).copied().collect();
            prop_assert_eq!(b.view().get(20).unwrap(), octets(&all));
            want.set(flag::OPTIONAL, 20, &octets(&all));
            prop_assert_eq!(&b, &want);
            let kept: Vec<u16> = all.iter().copied().filter(|i| keep(*i)).collect();
            let changed = b.retain_items::<2>(20, |i| keep(u16::from_be_bytes(*i)));
            prop_assert_eq!(changed, kept.len() != all.len());
            if kept.is_empty() {
                want.remove(20);
            } else {
                want.set(flag::OPTIONAL, 20, &octets(&kept));
            }
            prop_assert_eq!(b, want);
        }

        #[test]
        fn numbers_of_a_path_are_replaced_and_taken_out(
            path in prop::collection::vec((1u8..5, prop::collection::vec(1u32..9, 1..6)), 0..4),
        ) {
            let segments: Vec<(SegmentKind, Vec<Asn>)> = path
                .into_iter()
                .map(|(k, asns)| (SegmentKind::new(k).unwrap(), asns.into_iter().map(Asn).collect()))
                .collect();
            let mut b = AttrBuf::new();
            b.set_as_path(segments.iter().map(|(k, a)| (*k, &a[..])));
            let numbers = |b: &AttrBuf| b.view().as_path().iter().map(|a| a.0).collect::<Vec<u32>>();
            let before = numbers(&b);
            let mut other = b.clone();
            let changed = other.replace_asns(|a| (a.0 < 4).then_some(Asn(7)));
            let want: Vec<u32> = before.iter().map(|a| if *a < 4 { 7 } else { *a }).collect();
            prop_assert_eq!(numbers(&other), want);
            prop_assert_eq!(changed, before.iter().any(|a| *a < 4));
            let changed = b.retain_asns(|a| a.0 > 3);
            prop_assert_eq!(numbers(&b), before.iter().copied().filter(|a| *a > 3).collect::<Vec<_>>());
            prop_assert_eq!(changed, before.iter().any(|a| *a < 4));
            prop_assert!(b.view().as_path().segments().all(|s| s.iter().len() > 0));
        }
    }
}
