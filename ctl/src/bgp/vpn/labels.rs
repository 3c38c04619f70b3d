//! Labels that lead into VRFs (RFC 4364 4.3.2): one for all routes of a VRF, one for each CE, or one for each route.
//!
//! Under the label of a VRF, or of one of its routes, packets are looked up in it. A CE's label leads there and nowhere else, without
//! a look-up: so what comes for a CE that has gone is dropped, and never sent back to where it came from. A route that is no one
//! CE's (connected, static, by several next hops, or by one that is not on a link of the VRF) is told with the label of the VRF then.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Instant;

use bgp::speaker::{Speaker, Use};
use bgp::types::VrfNo;
use ipnet::IpNet;
use net::{IfaceId, Label, VrfId};
use tracing::{debug, info, warn};

use super::super::labels::Source;
use crate::config::{LabelMode, VrfName};
use crate::labels::{Fec, Manager, Owner};
use crate::rib::spec::{Hop, LabelAction, LabelSpec, PathsSpec, TtlMode};
use crate::rib::{LabeledHop, Rib};

/// The label of a whole VRF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bound {
    pub(super) vrf: VrfName,
    pub(super) label: Label,
    pub(super) ttl: TtlMode,
}

/// How the routes of a VRF are told whose labels differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mode {
    pub(super) vrf: VrfName,
    pub(super) ttl: TtlMode,
    pub(super) per: LabelMode,
    /// The label of the VRF, for what is no one CE's.
    pub(super) whole: Option<Label>,
    /// Its interfaces, by which CEs are found: what they are called, and their addresses.
    pub(super) links: BTreeMap<IfaceId, (String, Vec<IpNet>)>,
}

/// A CE, as packets get to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Ce {
    vrf: VrfId,
    dev: IfaceId,
    address: IpAddr,
}

impl Ce {
    fn spec(self, ttl: TtlMode) -> LabelSpec {
        let Self { vrf, dev, address } = self;
        let dev = Some(dev);
        let way = PathsSpec::single_in(vrf, Hop::Via { address, dev });
        let action = LabelAction::PopForward(vrf, way);
        LabelSpec { action, ttl }
    }

    /// `None`: its interface has gone.
    fn fec(self, mode: &Mode) -> Option<Fec> {
        let (dev, _) = mode.links.get(&self.dev)?;
        let vrf = mode.vrf.to_string();
        Some(Fec::VrfNextHop(vrf, self.address, dev.clone()))
    }
}

/// The label of a CE.
#[derive(Debug)]
struct OfCe {
    label: Label,
    fec: Fec,
    /// How many routes are told with it.
    routes: usize,
}

/// Which label a route has, other than that of its VRF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Has {
    Own(Label),
    Ce(Ce),
}

/// Which one it is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Own,
    Ce(Ce),
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct VrfLabels {
    whole: BTreeMap<VrfId, Bound>,
    /// The VRFs that tell their routes: labels that lead into them leave, those into others end at once.
    telling: BTreeMap<VrfId, VrfName>,
    /// Those whose routes have not all the same label. Only they are in what follows.
    modes: BTreeMap<VrfId, Mode>,
    routes: HashMap<(VrfId, IpNet), Has>,
    ces: HashMap<Ce, OfCe>,
}

fn lookup(vrf: VrfId, ttl: TtlMode) -> LabelSpec {
    let action = LabelAction::PopLookup(vrf);
    LabelSpec { action, ttl }
}

/// The label of a VRF. `None`: there is none; it was said why.
pub(super) fn of_vrf(vrf: &VrfName, manager: &mut Manager) -> Option<Label> {
    let label = manager.allocate(Owner::Vpn, &Fec::Vrf(vrf.to_string()));
    let refused = |why| warn!(%vrf, "its routes are not told: {why}");
    label.map_err(refused).ok()
}

/// The one CE that packets of a route go to, on a link of the VRF.
fn ce(vrf: VrfId, hops: &[LabeledHop], rib: &Rib) -> Option<Ce> {
    let mut all = hops.iter().filter(|h| !h.backup);
    let (Some(one), None) = (all.next(), all.next()) else {
        return None;
    };
    let dev = one.labels.is_empty().then(|| rib.link_of(one.hop))??;
    let address = one.hop.address;
    Some(Ce { vrf, dev, address })
}

impl VrfLabels {
    /// The VRFs that tell their routes, and the labels of whole ones, are these from now on.
    pub(super) fn set_whole(
        &mut self,
        telling: BTreeMap<VrfId, VrfName>,
        next: BTreeMap<VrfId, Bound>,
        (manager, now): (&mut Manager, Instant),
        rib: &mut Rib,
    ) {
        let before = std::mem::replace(&mut self.telling, telling);
        rib.end_leaving_into(|vrf| {
            vrf == VrfId::GLOBAL || self.telling.get(&vrf) == before.get(&vrf)
        });
        for (id, old) in &self.whole {
            if next.get(id).map(|b| b.label) != Some(old.label) {
                self.end((*id, &old.vrf), old.label, rib);
                manager.release(Owner::Vpn, &Fec::Vrf(old.vrf.to_string()), now);
            }
        }
        for (id, new) in &next {
            if self.whole.get(id) != Some(new) {
                info!(vrf = %new.vrf, "label {} leads into it", new.label);
                rib.set_label(new.label, Some(lookup(*id, new.ttl)));
            }
        }
        self.whole = next;
    }

    /// The VRFs whose routes have not all the same label are these from now on.
    pub(super) fn set_modes(
        &mut self,
        modes: BTreeMap<VrfId, Mode>,
        speaker: &mut Speaker,
        (manager, now): (&mut Manager, Instant),
        rib: &mut Rib,
    ) {
        let before = std::mem::replace(&mut self.modes, modes);
        let both = before.keys().chain(self.modes.keys());
        let changed = both.filter(|id| self.modes.get(id) != before.get(id));
        let changed: BTreeSet<VrfId> = changed.copied().collect();
        // Its number may be another's by now.
        let stays = |id| {
            self.modes
                .get(id)
                .filter(|m| Some(&m.vrf) == before.get(id).map(|b| &b.vrf))
        };
        let was = |id| before.get(id).filter(|_| changed.contains(id));
        for ((id, net), has) in &self.routes {
            let (Has::Own(label), Some(was)) = (has, was(id)) else {
                continue;
            };
            match stays(id) {
                Some(mode) => rib.set_label(*label, Some(lookup(*id, mode.ttl))),
                None => {
                    self.end((*id, &was.vrf), *label, rib);
                    let fec = Fec::VrfPrefix(was.vrf.to_string(), *net);
                    manager.release(Owner::Vpn, &fec, now);
                }
            }
        }
        for (ce, of) in &self.ces {
            let Some(was) = was(&ce.vrf) else { continue };
            match stays(&ce.vrf) {
                Some(mode) => rib.set_label(of.label, Some(ce.spec(mode.ttl))),
                None => {
                    self.end((ce.vrf, &was.vrf), of.label, rib);
                    manager.release(Owner::Vpn, &of.fec, now);
                }
            }
        }
        let stay: BTreeSet<VrfId> = before
            .keys()
            .filter(|id| stays(id).is_some())
            .copied()
            .collect();
        self.routes.retain(|(id, _), _| stay.contains(id));
        self.ces.retain(|ce, _| stay.contains(&ce.vrf));
        // Each of the others gets another label, or none, as it is told again.
        for id in changed {
            speaker.tell_again_in(VrfNo(id.0));
        }
    }

    /// The label of a route that is told from a VRF whose routes have not all the same. `hops`: those that packets take.
    pub(super) fn label_of(
        &mut self,
        (vrf, net): (VrfNo, IpNet),
        by: &[Use<'_>],
        hops: &[LabeledHop],
        from: &mut Source<'_>,
        rib: &mut Rib,
    ) -> Option<Label> {
        let id = VrfId(vrf.0);
        let mode = self.modes.get(&id)?;
        // What came in from others is not told as ours.
        let told = by.first().is_some_and(|u| u.table == vrf);
        let wanted = match mode.per {
            _ if !told => None,
            LabelMode::PerVrf => None,
            LabelMode::PerPrefix => Some(Wanted::Own),
            LabelMode::PerNextHop => ce(id, hops, rib).map(Wanted::Ce),
        };
        let whole = mode.whole.filter(|_| told);
        match (self.routes.get(&(id, net)), wanted) {
            (None, None) => return whole,
            (Some(Has::Own(label)), Some(Wanted::Own)) => return Some(*label),
            (Some(Has::Ce(ce)), Some(Wanted::Ce(to))) if *ce == to => {
                return self.ces.get(ce).map(|of| of.label);
            }
            _ => {}
        }
        let new = wanted.and_then(|wanted| self.give((id, net), wanted, from, rib));
        let old = match new {
            Some((has, _)) => self.routes.insert((id, net), has),
            None => self.routes.remove(&(id, net)),
        };
        if let Some(old) = old {
            self.take_back((id, net), old, from, rib);
        }
        new.map(|(_, label)| label).or(whole)
    }

    fn give(
        &mut self,
        (id, net): (VrfId, IpNet),
        wanted: Wanted,
        from: &mut Source<'_>,
        rib: &mut Rib,
    ) -> Option<(Has, Label)> {
        if let Wanted::Ce(ce) = wanted
            && let Some(of) = self.ces.get_mut(&ce)
        {
            of.routes += 1;
            return Some((Has::Ce(ce), of.label));
        }
        let mode = self.modes.get(&id)?;
        let (fec, spec) = match wanted {
            Wanted::Own => {
                let fec = Fec::VrfPrefix(mode.vrf.to_string(), net);
                (fec, lookup(id, mode.ttl))
            }
            Wanted::Ce(ce) => (ce.fec(mode)?, ce.spec(mode.ttl)),
        };
        let label = match from.manager.allocate(Owner::Vpn, &fec) {
            Ok(label) => label,
            Err(why) => {
                debug!(%fec, "bgp: it is not told: {why}");
                return None;
            }
        };
        rib.set_label(label, Some(spec));
        let has = match wanted {
            Wanted::Own => Has::Own(label),
            Wanted::Ce(ce) => {
                let routes = 1;
                self.ces.insert(ce, OfCe { label, fec, routes });
                Has::Ce(ce)
            }
        };
        Some((has, label))
    }

    /// A route has that label no more.
    fn take_back(
        &mut self,
        (id, net): (VrfId, IpNet),
        old: Has,
        from: &mut Source<'_>,
        rib: &mut Rib,
    ) {
        let Some(vrf) = self.modes.get(&id).map(|m| m.vrf.clone()) else {
            return;
        };
        let (label, fec) = match old {
            Has::Own(label) => (label, Fec::VrfPrefix(vrf.to_string(), net)),
            Has::Ce(ce) => {
                let Some(of) = self.ces.get_mut(&ce) else {
                    return;
                };
                of.routes -= 1;
                if of.routes > 0 {
                    return;
                }
                let (label, fec) = (of.label, of.fec.clone());
                self.ces.remove(&ce);
                (label, fec)
            }
        };
        self.end((id, &vrf), label, rib);
        from.manager.release(Owner::Vpn, &fec, from.now);
    }

    /// Nobody is told a label any more. Frames under way still go on, if the VRF that it leads into stays.
    fn end(&self, (id, vrf): (VrfId, &VrfName), label: Label, rib: &mut Rib) {
        match self.telling.get(&id) == Some(vrf) {
            true => rib.leave_label(label),
            false => rib.set_label(label, None),
        }
    }

    /// All of them are taken back.
    pub(super) fn clear(&mut self, (manager, now): (&mut Manager, Instant), rib: &mut Rib) {
        self.set_whole(BTreeMap::new(), BTreeMap::new(), (manager, now), rib);
        for ((id, net), has) in std::mem::take(&mut self.routes) {
            if let (Has::Own(label), Some(mode)) = (has, self.modes.get(&id)) {
                rib.set_label(label, None);
                let fec = Fec::VrfPrefix(mode.vrf.to_string(), net);
                manager.release(Owner::Vpn, &fec, now);
            }
        }
        for (_, of) in std::mem::take(&mut self.ces) {
            rib.set_label(of.label, None);
            manager.release(Owner::Vpn, &of.fec, now);
        }
        rib.end_leaving_into(|vrf| vrf == VrfId::GLOBAL);
    }
}

#[cfg(test)]
mod tests;
