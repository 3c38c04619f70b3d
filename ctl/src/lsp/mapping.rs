//! Which label this router has given for a FEC (RFC 8029 4.4.1): what the label manager and the RIB know of it.
//!
//! A prefix of BGP has the label that was allocated for it, or that of its label index in the SRGB (RFC 8669 4.1); one of a VPN that
//! of its VRF, of the CE that packets to it go to, or one of its own, or, where it is passed on with labels of ours (a border of an AS, a reflector that is the next hop),
//! the one that was allocated for it and its distinguisher. A label by hand stands for no FEC: where it is taken off, any prefix is
//! right that the table there leads to; where it goes on, any is.

use ::net::{Label, VrfId};
use bgp::types::Rd;
use ipnet::IpNet;

use crate::labels::{Fec, Manager, Owner};
use crate::rib::resolve::Resolved;
use crate::rib::{LabelView, Rib};

/// Who is asked.
#[derive(Clone, Copy)]
pub(super) struct Tables<'a> {
    pub(super) labels: &'a Manager,
    pub(super) rib: &'a Rib,
}

fn is_null(label: Label) -> bool {
    label == Label::IPV4_EXPLICIT_NULL || label == Label::IPV6_EXPLICIT_NULL
}

/// `given` is always the label that a request came with: of several that are right, it is taken for the one that was meant.
impl Tables<'_> {
    /// What a VRF has for packets to a prefix, or the global table.
    fn leads(&self, vrf: VrfId, p: &IpNet) -> bool {
        let mut all = self.rib.covering(vrf, p.network());
        all.any(|r| r.installed && r.prefix.contains(p))
    }

    /// The table that a label leads into, and whether that is right for packets to a prefix: with one for a CE they go there.
    fn table(&self, label: Label, p: &IpNet) -> Option<(VrfId, bool)> {
        let v = self.rib.label(label)?;
        let vrf = v.spec.action.vrf()?;
        let by_ce = v.spec.action.paths().is_some();
        let right = self.leads(vrf, p) && (!by_ce || self.goes(vrf, p, &v));
        Some((vrf, right))
    }

    /// Do packets to a prefix go where those with that label go?
    fn goes(&self, vrf: VrfId, p: &IpNet, label: &LabelView) -> bool {
        let all = self.rib.covering(vrf, p.network());
        let mut all = all.filter(|r| r.installed && r.prefix.contains(p));
        let to = |r: &Resolved| (r.target, r.labels.clone());
        let ends = label.paths.iter().flatten().flatten().map(to);
        let ends: Vec<_> = ends.collect();
        let found = all.next();
        let ways = found
            .iter()
            .flat_map(|r| r.paths.iter().flatten().flatten());
        ways.map(to).any(|way| ends.contains(&way))
    }

    /// Whoever gave it, whatever sort of FEC is asked about.
    pub(super) fn generic(&self, p: &IpNet, given: Label) -> Option<Label> {
        if given == Label::IMPLICIT_NULL {
            return self.leads(VrfId::GLOBAL, p).then_some(given);
        }
        match self.labels.user(given) {
            Some((_, Fec::Prefix(q))) if q == p => Some(given),
            Some((_, Fec::Prefix(_))) => {
                let all = [Owner::Ldp, Owner::LabeledUnicast, Owner::SegmentRouting];
                let of = |owner| self.labels.used(owner, &Fec::Prefix(*p));
                all.into_iter().find_map(of)
            }
            _ => match self.table(given, p) {
                Some((_, right)) => right.then_some(given),
                // It goes on, or is nobody's.
                None => self.rib.label(given).map(|_| given),
            },
        }
    }

    /// BGP's label of a prefix; without one it ends here, if it is ours to announce.
    pub(super) fn bgp(&self, p: &IpNet, given: Label) -> Option<Label> {
        let fec = Fec::Prefix(*p);
        let plain = self.labels.used(Owner::LabeledUnicast, &fec);
        let segment = self.labels.used(Owner::SegmentRouting, &fec);
        if plain.is_some() || segment == Some(given) {
            return plain.or(segment);
        }
        // One of ours may be told with a null label, while that of its index is there for who sends by segments.
        let null = is_null(given) || given == Label::IMPLICIT_NULL;
        if segment.is_some() && !null {
            return segment;
        }
        let told = if null { given } else { Label::IMPLICIT_NULL };
        let mut all = self.rib.routes_at(VrfId::GLOBAL, *p);
        let ours = all.any(|r| r.installed && !r.source.is_bgp());
        ours.then_some(told).or(segment)
    }

    /// The label of a VPN's prefix. `own`: the VRF with that distinguisher, if it is here; others may have it too.
    pub(super) fn vpn(
        &self,
        (rd, p): (Rd, IpNet),
        own: Option<(&str, VrfId)>,
        given: Label,
    ) -> Option<Label> {
        let of = |fec: Fec| self.labels.used(Owner::Vpn, &fec);
        let passed_on = of(Fec::VpnPrefix(rd, p));
        if passed_on == Some(given) {
            return passed_on;
        }
        let own = own.filter(|(_, vrf)| self.leads(*vrf, &p));
        let own = own.and_then(|(name, vrf)| {
            of(Fec::VrfPrefix(name.to_owned(), p))
                .or_else(|| (self.table(given, &p) == Some((vrf, true))).then_some(given))
                .or_else(|| of(Fec::Vrf(name.to_owned())))
        });
        own.or(passed_on)
    }
}

#[cfg(test)]
mod tests;
