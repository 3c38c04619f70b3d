//! Labels of ours for labelled routes (RFC 8277), and what becomes of packets that come with them.
//!
//! A prefix has one label, whoever is told it: kept over all changes of its best path, in whose place the entry gets the new
//! paths at once, and held by the manager for a while after the last of it has gone. Frames with the label of a route that was
//! learned are swapped to what its next hop told (to nothing where that is the implicit null); those for a prefix of ours are
//! popped and looked up. So it is with VPN routes at the border of an AS (RFC 4364 10 b), where the distinguisher is part of
//! the prefix.
//!
//! A prefix with a label index (RFC 8669) has the label that the index has in our SRGB. Where there is none, or another prefix
//! has it, it has one of the dynamic range as if it had no index, and why is kept to be shown (4.1); who came first keeps a label.
//!
//! Left out: labels per next hop, or for all prefixes of a neighbour. They would save entries (there are a million), but a prefix
//! that moves to another next hop would have to be told anew.
//!
//! A prefix that gets another label keeps the entry of the old one until the manager gives that to others: neighbours may send
//! such frames until they have read of the new one. It goes where the new one goes, and ends with the prefix.

use std::collections::HashMap;
use std::time::Instant;

use ipnet::IpNet;
use net::{Label, VrfId};

use crate::labels::{Fec, Manager, Owner, Refusal};
use crate::rib::Rib;
use crate::rib::spec::{LabelAction, LabelSpec, PathsSpec, TtlMode};

/// What a label is for.
#[derive(Debug, Default)]
struct One {
    label: Option<Label>,
    /// Those before it that leave.
    old: Vec<Label>,
    /// It is that of its index.
    segment: bool,
    /// It is told as a prefix of ours, with a label.
    own: bool,
    /// Where the best route leads, if it was learned.
    paths: Option<PathsSpec>,
    /// The label index of that route; of the prefix of ours.
    index: Option<u32>,
    own_index: Option<u32>,
}

impl One {
    fn owner(&self, fec: &Fec) -> Owner {
        match self.segment {
            true => Owner::SegmentRouting,
            false => owner(fec),
        }
    }

    /// That of what is learned counts: it is what the entry is for.
    fn index(&self) -> Option<u32> {
        self.index.or(self.own_index)
    }

    /// Labels before it are its own only as long as they are held for it: they may leave another's prefix by now.
    fn forget_others(&mut self, fec: &Fec, manager: &Manager) {
        let held = |l: &Label| manager.held(*l).is_some_and(|(_, of, _)| of == fec);
        self.old.retain(held);
    }
}

/// The labels, by what they stand for: a prefix, of the global table or of a VPN.
#[derive(Debug, Default)]
pub(super) struct Bound {
    all: HashMap<Fec, One>,
    /// Why prefixes with an index have another label, or none.
    refused: HashMap<Fec, Refusal>,
}

/// Where they come from.
pub(super) struct Source<'a> {
    pub(super) manager: &'a mut Manager,
    pub(super) ttl: TtlMode,
    pub(super) now: Instant,
}

/// All that it takes to have one.
pub(super) struct Labels<'a, 'm> {
    pub(super) bound: &'a mut Bound,
    pub(super) from: &'a mut Source<'m>,
    pub(super) rib: &'a mut Rib,
}

/// A prefix of ours, as it is told with a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OwnPrefix {
    /// Its label index.
    pub(super) index: Option<u32>,
}

/// The label of a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) label: Label,
    /// It is that of its index.
    pub(super) segment: bool,
}

impl Labels<'_, '_> {
    /// See [`Bound::learned`]. Not `heard`: nobody is told the label, so it gets none unless it has one.
    pub(super) fn learned(
        &mut self,
        fec: Fec,
        route: Option<(PathsSpec, Option<u32>)>,
        heard: bool,
    ) -> Option<Label> {
        if !heard && !self.bound.all.contains_key(&fec) {
            return None;
        }
        let given = self.bound.learned(fec, route, self.from, self.rib);
        given.map(|g| g.label)
    }

    /// See [`Bound::own`].
    pub(super) fn own(&mut self, net: IpNet, own: Option<OwnPrefix>) -> Option<Given> {
        self.bound.own(Fec::Prefix(net), own, self.from, self.rib)
    }
}

impl Bound {
    /// Packets for that prefix go by these paths, and it has that label index; `None`: no route was learned. The label to be
    /// told; `None`: there is none.
    pub(super) fn learned(
        &mut self,
        fec: Fec,
        route: Option<(PathsSpec, Option<u32>)>,
        from: &mut Source<'_>,
        rib: &mut Rib,
    ) -> Option<Given> {
        if route.is_none() && !self.all.contains_key(&fec) {
            return None;
        }
        let one = self.all.entry(fec.clone()).or_default();
        (one.paths, one.index) = match route {
            Some((paths, index)) => (Some(paths), index),
            None => (None, None),
        };
        self.put(&fec, from, rib)
    }

    /// That prefix is told as one of ours with a label, or no more. The label.
    pub(super) fn own(
        &mut self,
        fec: Fec,
        own: Option<OwnPrefix>,
        from: &mut Source<'_>,
        rib: &mut Rib,
    ) -> Option<Given> {
        if own.is_none() && !self.all.contains_key(&fec) {
            return None;
        }
        let one = self.all.entry(fec.clone()).or_default();
        one.own = own.is_some();
        one.own_index = own.and_then(|o| o.index);
        self.put(&fec, from, rib)
    }

    /// Why a prefix with a label index has not the label of that.
    pub(super) fn refusal(&self, net: IpNet) -> Option<&Refusal> {
        match self.refused.is_empty() {
            true => None,
            false => self.refused.get(&Fec::Prefix(net)),
        }
    }

    /// Brings label and entry in line with what is known of the prefix.
    fn put(&mut self, fec: &Fec, from: &mut Source<'_>, rib: &mut Rib) -> Option<Given> {
        let one = self.all.get_mut(fec)?;
        one.forget_others(fec, from.manager);
        if one.paths.is_none() && !one.own {
            let one = self.all.remove(fec)?;
            self.refused.remove(fec);
            if let Some(label) = one.label {
                // One of ours may be told with another sort of label from now on.
                rib.leave_if_popped(label);
                from.manager.release(one.owner(fec), fec, from.now);
            }
            one.old.iter().for_each(|l| rib.end_leaving(*l));
            return None;
        }
        let index = one.index();
        let segment = index.and_then(|index| self.segment(fec, index, from));
        if index.is_none() && !self.refused.is_empty() {
            self.refused.remove(fec);
        }
        let one = self.all.get_mut(fec)?;
        relabel(one, fec, segment, from, rib);
        let action = match &one.paths {
            Some(paths) => LabelAction::Forward(paths.clone()),
            None => LabelAction::PopLookup(VrfId::GLOBAL),
        };
        let ttl = from.ttl;
        let spec = LabelSpec { action, ttl };
        let label = one.label;
        one.old
            .retain(|l| Some(*l) != label && rib.set_leaving(*l, &spec));
        let label = label?;
        rib.set_label(label, Some(spec));
        Some(Given {
            label,
            segment: one.segment,
        })
    }

    /// The label of an index, if it can be had; else why not is kept, and said when it is another reason than before.
    fn segment(&mut self, fec: &Fec, index: u32, from: &mut Source<'_>) -> Option<Label> {
        match from.manager.segment(fec, index, from.now) {
            Ok(label) => {
                if !self.refused.is_empty() {
                    self.refused.remove(fec);
                }
                Some(label)
            }
            Err(why) => {
                let old = self.refused.get(fec);
                match &why {
                    // The rest of the network may have one.
                    Refusal::NoSrgb(_) => tracing::debug!(%fec, "bgp: {why}"),
                    // The seconds that are left are no other reason.
                    Refusal::Held { .. } if matches!(old, Some(Refusal::Held { .. })) => {}
                    _ if old == Some(&why) => {}
                    _ => tracing::warn!(
                        %fec,
                        "bgp: label index {index} is not used, a label of the dynamic range is: {why}"
                    ),
                }
                self.refused.insert(fec.clone(), why);
                None
            }
        }
    }

    /// All of them are taken back.
    pub(super) fn clear(&mut self, manager: &mut Manager, rib: &mut Rib, now: Instant) {
        for (fec, mut one) in std::mem::take(&mut self.all) {
            one.forget_others(&fec, manager);
            one.old.iter().for_each(|l| rib.end_leaving(*l));
            let Some(label) = one.label else { continue };
            rib.set_label(label, None);
            manager.release(one.owner(&fec), &fec, now);
        }
        self.refused.clear();
    }
}

/// Whose a label is that is not that of an index.
fn owner(fec: &Fec) -> Owner {
    match fec {
        Fec::Prefix(_) => Owner::LabeledUnicast,
        _ => Owner::Vpn,
    }
}

/// Gives a prefix the label of its index, or one of the dynamic range; another that it had leaves.
fn relabel(one: &mut One, fec: &Fec, segment: Option<Label>, from: &mut Source<'_>, rib: &mut Rib) {
    let old = one.label;
    if old.is_some() && one.segment != segment.is_some() {
        from.manager.release(one.owner(fec), fec, from.now);
        one.label = None;
    }
    one.segment = segment.is_some();
    if segment.is_some() {
        one.label = segment;
    } else if one.label.is_none() {
        match from.manager.allocate(owner(fec), fec) {
            Ok(label) => one.label = Some(label),
            Err(why) => tracing::debug!(%fec, "bgp: no label: {why}"),
        }
    }
    if let Some(old) = old.filter(|_| one.label != old) {
        rib.leave_label(old);
        one.old.push(old);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::labels::{LabelRanges, Range};
    use crate::rib::spec::{Discard, Hop};

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn paths() -> PathsSpec {
        PathsSpec::single(Hop::Discard(Discard::Blackhole))
    }

    /// What becomes of packets with a label: "swap", "pop", or nothing; and whether it leaves.
    fn entry(rib: &Rib, label: Label) -> &'static str {
        let action = rib.label(label).map(|v| v.spec.action.clone());
        match (action, rib.is_leaving(label)) {
            (Some(LabelAction::Forward(_)), false) => "swap",
            (Some(LabelAction::Forward(_)), true) => "swap, leaving",
            (Some(LabelAction::PopLookup(_)), false) => "pop",
            (Some(LabelAction::PopLookup(_)), true) => "pop, leaving",
            (Some(LabelAction::PopLast | LabelAction::PopForward(..)), _) => "pop the last",
            (None, false) => "",
            (None, true) => "left behind",
        }
    }

    const OWN: Option<OwnPrefix> = Some(OwnPrefix { index: None });

    struct Lab {
        manager: Manager,
        rib: Rib,
        bound: Bound,
        ttl: TtlMode,
        now: Instant,
    }

    impl Lab {
        fn new(srgb: Option<(u32, u32)>) -> Self {
            let label = |n| Label::new(n).unwrap();
            let srgb = srgb.map(|(first, last)| Range {
                first: label(first),
                last: label(last),
            });
            Self {
                manager: Manager::new(LabelRanges {
                    srgb,
                    ..LabelRanges::default()
                }),
                rib: Rib::new(),
                bound: Bound::default(),
                ttl: TtlMode::Uniform,
                now: Instant::now(),
            }
        }

        fn with<T>(&mut self, f: impl FnOnce(&mut Labels<'_, '_>) -> T) -> T {
            let mut from = Source {
                manager: &mut self.manager,
                ttl: self.ttl,
                now: self.now,
            };
            f(&mut Labels {
                bound: &mut self.bound,
                from: &mut from,
                rib: &mut self.rib,
            })
        }

        fn learned(&mut self, p: &str, index: Option<u32>) -> Option<u32> {
            let label = self.with(|l| l.learned(Fec::Prefix(net(p)), Some((paths(), index)), true));
            label.map(Label::get)
        }

        fn gone(&mut self, p: &str) -> Option<u32> {
            self.with(|l| l.learned(Fec::Prefix(net(p)), None, false))
                .map(Label::get)
        }

        fn own(&mut self, p: &str, own: Option<OwnPrefix>) -> Option<(u32, bool)> {
            let given = self.with(|l| l.own(net(p), own));
            given.map(|g| (g.label.get(), g.segment))
        }

        fn entry(&self, label: u32) -> &'static str {
            entry(&self.rib, Label::new(label).unwrap())
        }

        /// So many seconds pass, and what was held for so long is free.
        fn pass(&mut self, seconds: u64) -> usize {
            self.now += std::time::Duration::from_secs(seconds);
            self.manager.tick(self.now);
            let freed = self.manager.take_freed();
            freed.iter().for_each(|l| self.rib.end_leaving(*l));
            freed.len()
        }

        fn refusal(&self, p: &str) -> String {
            let why = self.bound.refusal(net(p));
            why.map(ToString::to_string).unwrap_or_default()
        }
    }

    #[test]
    fn a_label_stays_while_its_prefix_has_a_route() {
        let mut lab = Lab::new(None);
        let (a, b) = ("192.0.2.1/32", "192.0.2.2/32");
        let first = lab.learned(a, None).unwrap();
        assert_eq!(lab.entry(first), "swap");
        assert_ne!(lab.learned(b, None), Some(first));
        assert_eq!(lab.learned(a, None), Some(first));
        // It becomes one of ours: the same label, another entry.
        assert_eq!(lab.own(a, OWN), Some((first, false)));
        assert_eq!(lab.entry(first), "swap", "as long as one is learned");
        assert_eq!(lab.gone(a), Some(first));
        assert_eq!(lab.entry(first), "pop");
        assert_eq!(lab.own(a, None), None);
        assert_eq!(lab.entry(first), "pop, leaving");
        // It rests, and comes back for the same prefix alone.
        assert_ne!(lab.learned("192.0.2.3/32", None), Some(first));
        assert_eq!(lab.learned(a, None), Some(first));
        lab.bound.clear(&mut lab.manager, &mut lab.rib, lab.now);
        assert_eq!(lab.entry(first), "");
        let label = Label::new(first).unwrap();
        assert_eq!(lab.manager.user(label).map(|u| u.0), None, "it is held");
    }

    /// RFC 8669 4.1.
    #[test]
    fn an_index_has_its_label_in_the_srgb() {
        let mut lab = Lab::new(Some((16_000, 16_009)));
        let (a, b) = ("192.0.2.1/32", "192.0.2.2/32");
        assert_eq!(lab.learned(a, Some(7)), Some(16_007));
        assert_eq!(lab.entry(16_007), "swap");
        let label = Label::new(16_007).unwrap();
        let fec = Fec::Prefix(net(a));
        assert_eq!(lab.manager.user(label), Some((Owner::SegmentRouting, &fec)));
        // Another index, none, and it again: its entry is where its label is.
        assert_eq!(lab.learned(a, Some(8)), Some(16_008));
        let both = |lab: &Lab, a, b| (lab.entry(a), lab.entry(b));
        let moved = ("swap, leaving", "swap");
        assert_eq!(both(&lab, 16_007, 16_008), moved);
        let dynamic = lab.learned(a, None).unwrap();
        assert!(dynamic >= 100_000, "{dynamic}");
        assert_eq!(both(&lab, 16_008, dynamic), moved);
        assert_eq!(lab.learned(a, Some(7)), Some(16_007));
        assert_eq!(both(&lab, dynamic, 16_007), moved);
        assert_eq!(both(&lab, 16_008, 16_007), moved);
        // Of one of ours; what is learned beside it with no index does not take it away.
        let own = Some(OwnPrefix { index: Some(1) });
        assert_eq!(lab.own(b, own), Some((16_001, true)));
        assert_eq!(lab.entry(16_001), "pop");
        assert_eq!(lab.learned(b, None), Some(16_001));
        assert_eq!(lab.own(b, None).map(|g| g.1), Some(false));
        assert_eq!(lab.entry(16_001), "swap, leaving");
    }

    /// Frames of neighbours that have not heard of another label go on, where those with the new one go, for as long as nobody else
    /// gets it.
    #[test]
    fn the_label_before_leaves() {
        let mut lab = Lab::new(Some((16_000, 16_009)));
        let a = "192.0.2.1/32";
        let fec = Fec::Prefix(net(a));
        let to = |lab: &Lab, label| lab.rib.label(Label::new(label).unwrap()).map(|v| v.spec);
        assert_eq!(lab.learned(a, Some(7)), Some(16_007));
        let next = lab.learned(a, None).unwrap();
        assert_eq!(lab.entry(16_007), "swap, leaving");
        // Its route changes, and it with it.
        let other = PathsSpec::single(Hop::Discard(Discard::Prohibit));
        lab.with(|l| l.learned(fec.clone(), Some((other, None)), true));
        assert_eq!(to(&lab, 16_007), to(&lab, next));
        assert_eq!(lab.learned(a, Some(8)), Some(16_008));
        assert_eq!(lab.entry(next), "swap, leaving");
        assert_eq!(lab.pass(61), 2);
        // What has ended does not come back with the next change.
        lab.learned(a, Some(8));
        assert_eq!((lab.entry(16_007), lab.entry(next)), ("", ""));
        // The prefix goes, and all with it; but for one of ours, which may be told in another way.
        assert_eq!(lab.learned(a, Some(9)), Some(16_009));
        assert_eq!(lab.gone(a), None);
        assert_eq!((lab.entry(16_008), lab.entry(16_009)), ("", ""));
        let (own, _) = lab.own(a, OWN).unwrap();
        assert_eq!(lab.own(a, None), None);
        assert_eq!(lab.entry(own), "pop, leaving");
        lab.rib.end_leaving_into(|vrf| vrf == VrfId::GLOBAL);
        assert_eq!(lab.entry(own), "pop, leaving");
        lab.rib.end_leaving_into(|_| false);
        assert_eq!(lab.entry(own), "");
    }

    /// What a prefix had may be another's once it was held for long enough: then it is that one's to leave, and to end.
    #[test]
    fn a_label_that_left_for_good_is_another_prefixs() {
        let mut lab = Lab::new(Some((16_000, 16_009)));
        let (a, b) = ("192.0.2.1/32", "192.0.2.2/32");
        let other = PathsSpec::single(Hop::Discard(Discard::Prohibit));
        let to = |lab: &Lab| lab.rib.label(Label::new(16_007).unwrap()).map(|v| v.spec);
        assert_eq!(lab.learned(a, Some(7)), Some(16_007));
        assert_eq!(lab.learned(a, Some(8)), Some(16_008));
        lab.pass(61);
        assert_eq!(lab.learned(b, Some(7)), Some(16_007));
        assert_eq!(lab.learned(b, Some(9)), Some(16_009));
        let left = to(&lab);
        assert_eq!(lab.entry(16_007), "swap, leaving");
        lab.with(|l| l.learned(Fec::Prefix(net(a)), Some((other, Some(8))), true));
        assert_eq!(to(&lab), left, "it goes where that of b goes");
        assert_eq!(lab.gone(a), None);
        assert_eq!(lab.entry(16_007), "swap, leaving");
        assert_eq!(lab.gone(b), None);
        assert_eq!(lab.entry(16_007), "");
    }

    /// The index of what is learned is before that of ours, and both have the TTL mode that is configured.
    #[test]
    fn what_is_learned_says_the_index_and_the_mode_is_the_routers() {
        let mut lab = Lab::new(Some((16_000, 16_009)));
        lab.ttl = TtlMode::Pipe;
        let a = "192.0.2.1/32";
        let own = Some(OwnPrefix { index: Some(1) });
        assert_eq!(lab.own(a, own), Some((16_001, true)));
        assert_eq!(lab.learned(a, Some(2)), Some(16_002));
        assert_eq!(lab.own(a, own), Some((16_002, true)));
        let ttl = |lab: &Lab, l| lab.rib.label(Label::new(l).unwrap()).unwrap().spec.ttl;
        assert_eq!(ttl(&lab, 16_002), TtlMode::Pipe);
        assert_eq!(lab.gone(a), Some(16_001));
        assert_eq!(
            (lab.entry(16_001), ttl(&lab, 16_001)),
            ("pop", TtlMode::Pipe)
        );
    }

    /// A label that nobody is told is none of the million that there are.
    #[test]
    fn what_nobody_hears_of_has_no_label() {
        let mut lab = Lab::new(None);
        let fec = || Fec::Prefix(net("192.0.2.1/32"));
        let route = || Some((paths(), None));
        assert_eq!(lab.with(|l| l.learned(fec(), route(), false)), None);
        assert_eq!(lab.manager.usage()[0].used, 0);
        let label = lab.with(|l| l.learned(fec(), route(), true));
        assert!(label.is_some());
        // Who was told may send such packets for as long as there is a route.
        assert_eq!(lab.with(|l| l.learned(fec(), route(), false)), label);
    }

    #[test]
    fn all_are_taken_back_at_the_end() {
        let mut lab = Lab::new(Some((16_000, 16_009)));
        let (a, b) = ("192.0.2.1/32", "192.0.2.2/32");
        assert_eq!(lab.learned(a, Some(7)), Some(16_007));
        assert_eq!(lab.learned(a, Some(8)), Some(16_008));
        let other = lab.learned(b, Some(8)).unwrap();
        assert_eq!(lab.entry(16_007), "swap, leaving");
        assert_ne!(lab.refusal(b), "");
        lab.bound.clear(&mut lab.manager, &mut lab.rib, lab.now);
        let left = [16_007, 16_008, other].map(|l| lab.entry(l));
        assert_eq!((left, lab.refusal(b).as_str()), ([""; 3], ""));
        assert_eq!(lab.manager.usage().iter().map(|u| u.used).sum::<usize>(), 0);
    }

    #[test]
    fn what_an_index_can_not_have_is_said() {
        let mut lab = Lab::new(Some((16_000, 16_009)));
        let (a, b) = ("192.0.2.1/32", "192.0.2.2/32");
        assert_eq!(lab.learned(a, Some(7)), Some(16_007));
        let other = lab.learned(b, Some(7)).unwrap();
        assert!(other >= 100_000, "{other}");
        assert_eq!(
            lab.refusal(b),
            "label 16007 belongs to segment-routing for 192.0.2.1/32; take another"
        );
        assert_eq!(lab.refusal(a), "");
        assert_eq!(lab.learned(b, Some(10)), Some(other));
        let why = lab.refusal(b);
        assert!(
            why.contains("label index 10 is beyond label-range.srgb (16000-16009)"),
            "{why}"
        );
        assert!(lab.learned(b, Some(u32::MAX)).is_some());
        // Without an index there is nothing to be said; with one, again.
        assert_eq!(lab.learned(b, None), Some(other));
        assert_eq!(lab.refusal(b), "");
        // Once the first has gone, and its label has rested.
        assert_eq!(lab.learned(b, Some(7)), Some(other));
        assert_eq!(lab.gone(a), None);
        assert_eq!(lab.learned(b, Some(7)), Some(other));
        assert!(
            lab.refusal(b).contains("a moment ago"),
            "{}",
            lab.refusal(b)
        );
        lab.now += std::time::Duration::from_secs(60);
        assert!(lab.manager.tick(lab.now), "who waits is told");
        assert_eq!(lab.learned(b, Some(7)), Some(16_007));
        let left = (String::new(), "swap, leaving");
        assert_eq!((lab.refusal(b), lab.entry(other)), left);
        let mut lab = Lab::new(None);
        assert!(lab.learned(a, Some(7)).is_some());
        assert!(lab.refusal(a).contains("set label-range.srgb"));
        assert_eq!(lab.gone(a), None);
        assert_eq!(lab.refusal(a), "");
    }
}
