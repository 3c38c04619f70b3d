//! Between LDP and the RIB: how prefixes are reached for the speaker, and what it says of labels for the tables.
//!
//! The speaker knows next hops and no shares of them. What is installed has those of the route itself, weights and backups, so
//! what was said of a prefix is kept, and put together anew when the route changes.
//!
//! A labelled frame whose prefix nobody told a label for (LDP ends at the next hop) is popped and looked up, as the packet in
//! it goes the way of the route. Labels that lie under such a one mean nothing here, and are dropped (RFC 3031 3.18).

use std::collections::BTreeMap;
use std::time::Instant;

use ::bgp::policy::PrefixRange;
use ::ldp::speaker::{Install, Labels, NextHop, OutLabel, Path, Route, Speaker};
use ::ldp::types;
use ::net::{IfaceId, Label, VrfId};
use ipnet::IpNet;

use super::{Around, id};
use crate::apply::translate;
use crate::config::Valid;
use crate::labels::{Fec, Manager, Owner};
use crate::rib::spec::{Hop, LabelAction, LabelSpec, PathSpec, PathsSpec, TtlMode};
use crate::rib::{FecRoute, Rib};

/// Where the speaker gets labels from.
pub(super) struct Source<'a> {
    pub(super) manager: &'a mut Manager,
    pub(super) now: Instant,
}

impl Labels for Source<'_> {
    fn allocate(&mut self, fec: IpNet) -> Option<types::Label> {
        match self.manager.allocate(Owner::Ldp, &Fec::Prefix(fec)) {
            Ok(l) => types::Label::new(l.get()),
            Err(why) => {
                tracing::debug!(%fec, "ldp: no label: {why}");
                None
            }
        }
    }

    fn release(&mut self, fec: IpNet, _: types::Label) {
        self.manager
            .release(Owner::Ldp, &Fec::Prefix(fec), self.now);
    }
}

/// What the speaker has said of a prefix, and how that is reached.
#[derive(Debug, Default)]
struct One {
    route: Option<FecRoute>,
    ilm: Option<(types::Label, Vec<Path>)>,
    ftn: Vec<Path>,
}

/// All prefixes with labels.
#[derive(Debug, Default)]
pub(super) struct Installed {
    all: BTreeMap<IpNet, One>,
    ttl: TtlMode,
}

impl Installed {
    /// The prefixes that get labels are these from now on.
    pub(super) fn follow(&mut self, only: &[PrefixRange], rib: &mut Rib) {
        rib.follow_fecs(Some(only));
    }

    /// These prefixes get labels no more.
    pub(super) fn leave(&mut self, which: impl Fn(&IpNet) -> bool, speaker: &mut Speaker) {
        for (p, one) in self.all.iter_mut().filter(|(p, _)| which(p)) {
            one.route = None;
            speaker.set_route(*p, None);
        }
    }

    /// Tells the speaker of at most so many routes that have changed.
    pub(super) fn take_routes(
        &mut self,
        budget: usize,
        speaker: &mut Speaker,
        rib: &mut Rib,
        valid: &Valid,
    ) {
        self.ttl = translate::ttl(valid.dataplane.mpls_ttl);
        for (p, route) in rib.take_fecs(budget) {
            let one = self.all.entry(p).or_default();
            if one.route == route {
                self.tidy(p);
                continue;
            }
            speaker.set_route(p, route.as_ref().map(plain));
            one.route = route;
            // With other shares, if that is all that has changed; else the speaker says more of it in a moment.
            self.put_ilm(p, rib);
            self.put_ftn(p, rib);
            self.tidy(p);
        }
    }

    /// Does what the speaker says.
    pub(super) fn change(&mut self, i: Install, around: &mut Around<'_>) {
        let rib = &mut *around.rib;
        match i {
            Install::Ilm { label, fec, paths } => {
                let one = self.all.entry(fec).or_default();
                let old = one.ilm.replace((label, paths));
                if let Some((old, _)) = old.filter(|(l, _)| *l != label) {
                    set_label(old, None, rib);
                }
                self.put_ilm(fec, rib);
            }
            Install::NoIlm { label, fec } => {
                if let Some(one) = self.all.get_mut(&fec) {
                    one.ilm.take_if(|(l, _)| *l == label);
                }
                set_label(label, None, rib);
                self.tidy(fec);
            }
            Install::Ftn { fec, paths } => {
                self.all.entry(fec).or_default().ftn = paths;
                self.put_ftn(fec, rib);
            }
            Install::NoFtn { fec } => {
                if let Some(one) = self.all.get_mut(&fec) {
                    one.ftn.clear();
                }
                rib.set_ldp(fec, None);
                self.tidy(fec);
            }
        }
    }

    /// Takes all of it out of the tables.
    pub(super) fn clear(&mut self, rib: &mut Rib) {
        for (p, one) in std::mem::take(&mut self.all) {
            if let Some((label, _)) = one.ilm {
                set_label(label, None, rib);
            }
            rib.set_ldp(p, None);
        }
    }

    fn tidy(&mut self, p: IpNet) {
        let done = |o: &One| o.route.is_none() && o.ilm.is_none() && o.ftn.is_empty();
        if self.all.get(&p).is_some_and(done) {
            self.all.remove(&p);
        }
    }

    fn put_ilm(&self, p: IpNet, rib: &mut Rib) {
        let Some(one) = self.all.get(&p) else { return };
        let Some((label, paths)) = &one.ilm else {
            return;
        };
        // Who has told none would not know what lies under it.
        let labelled = paths.iter().filter(|p| p.out != OutLabel::Unlabelled);
        let labelled: Vec<Path> = labelled.copied().collect();
        let action = match labelled.is_empty() {
            false => LabelAction::Forward(self.spec(one, &labelled)),
            true if one.route == Some(FecRoute::Local) => LabelAction::PopLookup(VrfId::GLOBAL),
            true => LabelAction::PopLast,
        };
        let ttl = self.ttl;
        set_label(*label, Some(LabelSpec { action, ttl }), rib);
    }

    fn put_ftn(&self, p: IpNet, rib: &mut Rib) {
        if let Some(one) = self.all.get(&p).filter(|o| !o.ftn.is_empty()) {
            let mut spec = self.spec(one, &one.ftn);
            for (to, from) in spec.paths.iter_mut().zip(&one.ftn) {
                to.entropy = from.entropy;
            }
            rib.set_ldp(p, Some(&spec));
        }
    }

    /// Paths with the shares that they have in the route.
    fn spec(&self, one: &One, paths: &[Path]) -> PathsSpec {
        let path = |p: &Path| {
            let mut spec = PathSpec::new(Hop::Via {
                address: p.next_hop.addr,
                dev: iface(&p.next_hop),
            });
            let label = match p.out {
                OutLabel::Label(l) => net_label(l),
                // Nothing is pushed, and labels under it get where the prefix is.
                OutLabel::Pop => Some(Label::IMPLICIT_NULL),
                OutLabel::Unlabelled => None,
            };
            // One fits.
            spec.labels.extend(label);
            if let Some(FecRoute::Via(hops)) = &one.route
                && let Some(h) = hops
                    .iter()
                    .find(|h| h.address == p.next_hop.addr && Some(h.iface) == iface(&p.next_hop))
            {
                (spec.weight, spec.backup) = (h.weight, h.backup);
            }
            spec
        };
        let mut paths: Vec<PathSpec> = paths.iter().map(path).collect();
        if paths.iter().all(|p| p.backup) {
            // Of all that are left none is a backup of anything.
            paths.iter_mut().for_each(|p| p.backup = false);
        }
        PathsSpec {
            paths,
            ttl: self.ttl,
        }
    }
}

fn iface(h: &NextHop) -> Option<IfaceId> {
    u16::try_from(h.iface.0).ok().map(IfaceId)
}

fn net_label(l: types::Label) -> Option<Label> {
    Label::new(l.get())
}

fn set_label(l: types::Label, spec: Option<LabelSpec>, rib: &mut Rib) {
    if let Some(l) = net_label(l) {
        rib.set_label(l, spec);
    }
}

/// As the speaker is told of it.
fn plain(route: &FecRoute) -> Route {
    match route {
        FecRoute::Local => Route::Local,
        FecRoute::Via(hops) => {
            let one = |h: &crate::rib::FecHop| NextHop {
                addr: h.address,
                iface: id(h.iface),
            };
            Route::Via(hops.iter().map(one).collect())
        }
    }
}
