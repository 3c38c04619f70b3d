//! What the tables of this router say to who asks by LSP ping: RFC 8029 4.4 and 4.4.1.
//!
//! What LDP tells of a prefix, LDP knows; all other labels [`Tables`] knows.

use std::net::IpAddr;

use ::ldp::oam::respond::{self, Entry};
use ::ldp::oam::{FecElement, Hop, PathLabel};
use ::ldp::types;
use ::net::{IfaceId, Label, VrfId};
use bgp::types::Rd;
use ipnet::IpNet;

use super::mapping::Tables;
use super::show;
use crate::control::router::{Iface, Router};
use crate::labels::Owner;
use crate::rib::resolve::{Resolved, Target};
use crate::rib::spec::LabelAction;

/// The router as it is asked by a request that came in by an interface.
pub(super) struct Here<'a> {
    router: &'a Router,
    iface: IfaceId,
    /// Where the flow of the request goes on.
    taken: Option<(IfaceId, IpAddr)>,
}

impl<'a> Here<'a> {
    pub(super) fn new(
        router: &'a Router,
        iface: IfaceId,
        taken: Option<(IfaceId, IpAddr)>,
    ) -> Self {
        Self {
            router,
            iface,
            taken,
        }
    }

    /// Where a path leads to a neighbour, and how.
    fn way(&self, r: &Resolved, protocol: u8) -> Option<((IfaceId, IpAddr), respond::Way)> {
        let Target::Neighbor(iface, address) = r.target else {
            return None;
        };
        let out = self.router.iface(iface)?;
        let one = |l: &Label| PathLabel {
            label: show::label(*l),
            rest: 0,
            protocol,
        };
        let labels = match r.labels.is_empty() {
            true => vec![one(&Label::IMPLICIT_NULL)],
            false => r.labels.iter().map(one).collect(),
        };
        let way = respond::Way {
            mtu: out.conf.mtu,
            hop: hop(address),
            mpls: out.up,
            labels,
        };
        Some(((iface, address), way))
    }

    /// Which label is whose.
    fn tables(&self) -> Tables<'_> {
        Tables {
            labels: &self.router.labels,
            rib: &self.router.rib,
        }
    }

    /// The VRF with that distinguisher.
    fn vrf(&self, rd: Rd) -> Option<(&str, VrfId)> {
        let mut all = self.router.running.vrfs.iter();
        let (name, _) = all.find(|(_, v)| v.rd == Some(rd))?;
        Some((name, self.router.vrf_id(Some(name))))
    }

    fn iface(&self) -> Option<&Iface> {
        self.router.iface(self.iface)
    }
}

/// A neighbour by its address, which is also that of its interface.
pub(super) fn hop(address: IpAddr) -> Hop {
    match address {
        IpAddr::V4(a) => Hop::V4(a, a),
        IpAddr::V6(a) => Hop::V6(a, a),
    }
}

/// Who gives labels, as downstream mappings have it (RFC 8029 3.3).
fn protocol(owner: Option<Owner>) -> u8 {
    match owner {
        Some(Owner::Static) => 1,
        Some(Owner::LabeledUnicast | Owner::Vpn | Owner::SegmentRouting) => 2,
        Some(Owner::Ldp) => 3,
        None => 0,
    }
}

impl respond::Router for Here<'_> {
    fn entry(&self, label: types::Label) -> Entry {
        let label = Label::new(label.get());
        let Some(v) = label.and_then(|l| self.router.rib.label(l)) else {
            return Entry::Unknown;
        };
        match v.spec.action {
            LabelAction::PopLookup(_) | LabelAction::PopLast | LabelAction::PopForward(..) => {
                return Entry::Pop;
            }
            LabelAction::Forward(_) => {}
        }
        let given = protocol(self.router.labels.user(v.label).map(|u| u.0));
        let paths = v.paths.iter().zip(&v.active).filter(|(_, active)| **active);
        let all: Vec<&Resolved> = paths.flat_map(|(p, _)| p.iter().flatten()).collect();
        if all.iter().any(|r| matches!(r.target, Target::Local(_))) {
            return Entry::Pop;
        }
        let ways = all.iter().filter_map(|r| self.way(r, given));
        let mut ways: Vec<_> = ways.collect();
        // A stable sort: the others stay in their order.
        ways.sort_by_key(|(to, _)| Some(*to) != self.taken);
        Entry::Switch(ways.into_iter().map(|(_, way)| way).collect())
    }

    fn mapping(&self, fec: &FecElement, given: types::Label) -> Option<types::Label> {
        let label = Label::new(given.get())?;
        match fec {
            FecElement::Ldp(p) => self.router.ldp.local(p),
            FecElement::Bgp(p) => self.tables().bgp(p, label).map(show::label),
            FecElement::Vpn(rd, p) => {
                let rd = Rd(*rd);
                let found = self.tables().vpn((rd, *p), self.vrf(rd), label);
                found.map(show::label)
            }
            FecElement::Generic(p) => self.tables().generic(p, label).map(show::label),
            FecElement::Nil(_) | FecElement::Other(..) => None,
        }
    }

    fn tells(&self, fec: &FecElement) -> bool {
        match fec {
            FecElement::Ldp(_) => self.router.ldp.is_on(self.iface),
            _ => true,
        }
    }

    fn is_own(&self, address: IpAddr) -> bool {
        let id = self.router.running.system.router_id.map(IpAddr::V4);
        id == Some(address) || self.router.is_own_address(address)
    }

    fn is_here(&self, address: IpAddr) -> bool {
        let all = self.iface().map(|i| &i.conf.addresses);
        all.is_some_and(|all| all.iter().any(|a| a.addr() == address))
    }

    fn came_in(&self) -> Hop {
        let mut all = self.iface().into_iter().flat_map(|i| &i.conf.addresses);
        let here = all.find_map(|a| match a {
            IpNet::V4(a) => Some(a.addr()),
            IpNet::V6(_) => None,
        });
        let id = self.router.running.system.router_id;
        let id = id.filter(|id| self.router.is_own_address(IpAddr::V4(*id)));
        match (id.or(here), here) {
            (Some(id), Some(here)) => Hop::V4(id, here),
            (Some(id), None) => Hop::V4Index(id, self.iface.0.into()),
            (None, _) => Hop::V4Index([0, 0, 0, 0].into(), self.iface.0.into()),
        }
    }
}
