//! Labels of ours for labelled routes (RFC 8277), and what becomes of packets that come with them.
//!
//! A prefix has one label, whoever is told it: kept over all changes of its best path, in whose place the entry gets the new
//! paths at once, and held by the manager for a while after the last of it has gone. Frames with the label of a route that was
//! learned are swapped to what its next hop told (to nothing where that is the implicit null); those for a prefix of ours are
//! popped and looked up. So it is with VPN routes at the border of an AS (RFC 4364 10 b), where the distinguisher is part of
//! the prefix.
//!
//! Left out: labels per next hop, or for all prefixes of a neighbour. They would save entries (there are a million), but a prefix
//! that moves to another next hop would have to be told anew.

use std::collections::HashMap;
use std::time::Instant;

use net::{Label, VrfId};

use crate::labels::{Fec, Manager, Owner};
use crate::rib::Rib;
use crate::rib::spec::{LabelAction, LabelSpec, PathsSpec, TtlMode};

/// What a label is for.
#[derive(Debug, Default)]
struct One {
    label: Option<Label>,
    /// Where the best route leads, if it was learned.
    paths: Option<PathsSpec>,
    /// It is told as a prefix of ours, with a label.
    own: bool,
}

/// The labels, by what they are for.
#[derive(Debug, Default)]
pub(super) struct Bound {
    all: HashMap<Fec, One>,
}

/// Who has labels for that.
fn owner(fec: &Fec) -> Owner {
    match fec {
        Fec::VpnPrefix(..) => Owner::Vpn,
        _ => Owner::LabeledUnicast,
    }
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

impl Labels<'_, '_> {
    /// See [`Bound::learned`].
    pub(super) fn learned(&mut self, fec: Fec, paths: Option<PathsSpec>) -> Option<Label> {
        self.bound.learned(fec, paths, self.from, self.rib)
    }

    /// See [`Bound::own`].
    pub(super) fn own(&mut self, fec: Fec, own: bool) -> Option<Label> {
        self.bound.own(fec, own, self.from, self.rib)
    }
}

impl Bound {
    /// Packets for that prefix go by these paths; `None`: no route was learned. The label to be told; `None`: there is none.
    pub(super) fn learned(
        &mut self,
        fec: Fec,
        paths: Option<PathsSpec>,
        from: &mut Source<'_>,
        rib: &mut Rib,
    ) -> Option<Label> {
        if paths.is_none() && !self.all.contains_key(&fec) {
            return None;
        }
        self.all.entry(fec.clone()).or_default().paths = paths;
        self.put(&fec, from, rib)
    }

    /// That prefix is told as one of ours with a label, or no more. The label.
    pub(super) fn own(
        &mut self,
        fec: Fec,
        own: bool,
        from: &mut Source<'_>,
        rib: &mut Rib,
    ) -> Option<Label> {
        if !own && !self.all.contains_key(&fec) {
            return None;
        }
        self.all.entry(fec.clone()).or_default().own = own;
        self.put(&fec, from, rib)
    }

    /// Brings label and entry in line with what is known of the prefix.
    fn put(&mut self, fec: &Fec, from: &mut Source<'_>, rib: &mut Rib) -> Option<Label> {
        let one = self.all.get_mut(fec)?;
        if one.paths.is_none() && !one.own {
            if let Some(label) = one.label {
                rib.set_label(label, None);
            }
            self.all.remove(fec);
            from.manager.release(owner(fec), fec, from.now);
            return None;
        }
        if one.label.is_none() {
            match from.manager.allocate(owner(fec), fec, from.now) {
                Ok(label) => one.label = Some(label),
                Err(why) => tracing::debug!(prefix = %fec, "bgp: no label: {why}"),
            }
        }
        let label = one.label?;
        let action = match &one.paths {
            Some(paths) => LabelAction::Forward(paths.clone()),
            None => LabelAction::PopLookup(VrfId::GLOBAL),
        };
        let ttl = from.ttl;
        rib.set_label(label, Some(LabelSpec { action, ttl }));
        Some(label)
    }

    /// All of them are taken back.
    pub(super) fn clear(&mut self, manager: &mut Manager, rib: &mut Rib, now: Instant) {
        for (fec, one) in self.all.drain() {
            if let Some(label) = one.label {
                rib.set_label(label, None);
                manager.release(owner(&fec), &fec, now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::labels::LabelRanges;
    use crate::rib::spec::{Discard, Hop};

    fn net(text: &str) -> Fec {
        Fec::Prefix(text.parse().unwrap())
    }

    fn paths() -> PathsSpec {
        PathsSpec::single(Hop::Discard(Discard::Blackhole))
    }

    /// What becomes of packets with a label: "swap", "pop", or nothing.
    fn entry(rib: &Rib, label: Label) -> &'static str {
        match rib.label(label).map(|v| v.spec.action.clone()) {
            Some(LabelAction::Forward(_)) => "swap",
            Some(LabelAction::PopLookup(_)) => "pop",
            None => "",
        }
    }

    #[test]
    fn a_label_stays_while_its_prefix_has_a_route() {
        let (mut manager, mut rib) = (Manager::new(LabelRanges::default()), Rib::new());
        let mut bound = Bound::default();
        let now = Instant::now();
        let mut from = Source {
            manager: &mut manager,
            ttl: TtlMode::Uniform,
            now,
        };
        let (a, b) = (net("192.0.2.1/32"), net("192.0.2.2/32"));
        let first = bound
            .learned(a.clone(), Some(paths()), &mut from, &mut rib)
            .unwrap();
        assert_eq!(entry(&rib, first), "swap");
        let other = bound.learned(b, Some(paths()), &mut from, &mut rib);
        assert_ne!(other, Some(first));
        assert_eq!(
            bound.learned(a.clone(), Some(paths()), &mut from, &mut rib),
            Some(first)
        );
        // It becomes one of ours: the same label, another entry.
        assert_eq!(bound.own(a.clone(), true, &mut from, &mut rib), Some(first));
        assert_eq!(entry(&rib, first), "swap", "as long as one is learned");
        assert_eq!(
            bound.learned(a.clone(), None, &mut from, &mut rib),
            Some(first)
        );
        assert_eq!(entry(&rib, first), "pop");
        assert_eq!(bound.own(a.clone(), false, &mut from, &mut rib), None);
        assert_eq!(entry(&rib, first), "");
        // It rests, and comes back for the same prefix alone.
        let third = bound.learned(net("192.0.2.3/32"), Some(paths()), &mut from, &mut rib);
        assert_ne!(third, Some(first));
        assert_eq!(
            bound.learned(a.clone(), Some(paths()), &mut from, &mut rib),
            Some(first)
        );
        bound.clear(&mut manager, &mut rib, now);
        assert_eq!(entry(&rib, first), "");
        assert_eq!(manager.user(first).map(|u| u.0), None, "it is held");
    }
}
