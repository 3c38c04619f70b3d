//! MP_REACH_NLRI and MP_UNREACH_NLRI: RFC 4760 3 and 4; next hops by family: RFC 2545 3, RFC 4364 4.3.2, RFC 4659 3.2,
//! RFC 4684 4, RFC 4798 2, RFC 8950 4, RFC 8955 4.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::attrs::code;
use crate::types::{Family, NextHop};

use super::super::nlri::check_flow;
use super::super::{Context, Nlri, Notification, update_error};
use super::{Action, Cause, Section, Walk};

/// Can that be the address of a host (RFC 4271 6.3)?
pub(super) fn is_host4(a: Ipv4Addr) -> bool {
    !(a.octets()[0] == 0 || a.is_multicast() || a.is_broadcast())
}

fn is_host6(a: Ipv6Addr) -> bool {
    !(a.is_unspecified() || a.is_multicast())
}

/// A next hop was read: an address, none because the family has none, or one that no host can have.
enum Found {
    Address(NextHop),
    None,
    Impossible,
}

/// A next hop of a family by its length; `None`: no next hop of that family is so long.
fn next_hop(family: Family, o: &[u8], ctx: &Context) -> Option<Found> {
    use Family::{
        Ipv4Flow, Ipv4Labeled, Ipv4Unicast, Ipv6Flow, Ipv6Labeled, Ipv6Unicast, RouteTarget, Vpnv4,
        Vpnv4Flow, Vpnv6, Vpnv6Flow,
    };
    let six = match family {
        // RFC 8955 4: to be ignored.
        Ipv4Flow | Ipv6Flow | Vpnv4Flow | Vpnv6Flow => return Some(Found::None),
        Ipv4Unicast | Ipv4Labeled | Vpnv4 => ctx.ext_next_hop.contains(family),
        Ipv6Unicast | Ipv6Labeled | Vpnv6 | RouteTarget => true,
    };
    // Those of VPNs have a route distinguisher, zero, in front of each address.
    let rd = if matches!(family, Vpnv4 | Vpnv6) {
        8
    } else {
        0
    };
    let six_only = matches!(family, Ipv6Unicast | Ipv6Labeled | Vpnv6);
    let address = o.get(rd..)?;
    let found = match (o.len() - rd, address) {
        (4, &[a, b, c, d]) if !six_only => {
            let a = Ipv4Addr::new(a, b, c, d);
            is_host4(a).then_some(NextHop::V4(a))
        }
        (16, a) if six => {
            let a = Ipv6Addr::from(*a.first_chunk::<16>()?);
            match a.to_ipv4_mapped() {
                // 6PE and 6VPE: RFC 4798 2, RFC 4659 3.2.1.2.
                Some(four) if matches!(family, Ipv6Labeled | Vpnv6) => {
                    is_host4(four).then_some(NextHop::V4(four))
                }
                _ => is_host6(a).then_some(NextHop::V6(a)),
            }
        }
        (n, a) if six && n == 32 + rd => {
            let global = Ipv6Addr::from(*a.first_chunk::<16>()?);
            let local = Ipv6Addr::from(*a.last_chunk::<16>()?);
            pair(global, local)
        }
        _ => return None,
    };
    Some(found.map_or(Found::Impossible, Found::Address))
}

/// A global address and a link-local one (RFC 2545 3). Senders without a global one repeat the link-local one, or send `::`.
fn pair(global: Ipv6Addr, local: Ipv6Addr) -> Option<NextHop> {
    match (is_host6(global), local.is_unicast_link_local()) {
        (true, true) if global != local => Some(NextHop::V6Both(global, local)),
        (true, _) => Some(NextHop::V6(global)),
        (false, true) => Some(NextHop::V6(local)),
        (false, false) => None,
    }
}

/// RFC 4760 7, RFC 7606 7.11 and 7.12: the attribute as data of an Optional Attribute Error.
#[cold]
fn reset(code: u8, value: &[u8]) -> Notification {
    let [l0, l1] = u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes();
    let data = [&[0x90, code, l0, l1], value].concat();
    Notification::update(update_error::OPTIONAL_ATTRIBUTE, &data)
}

impl<'a> Walk<'_, 'a> {
    /// The family of an MP attribute, if it was agreed on, and what follows AFI and SAFI.
    fn family(
        &mut self,
        code: u8,
        value: &'a [u8],
    ) -> Result<Option<(Family, &'a [u8])>, Notification> {
        let Some((&[a0, a1, safi], rest)) = value.split_first_chunk() else {
            return Err(reset(code, value));
        };
        let family = Family::from_code(u16::from_be_bytes([a0, a1]), safi);
        let Some(family) = family.filter(|f| self.ctx.families.contains(*f)) else {
            self.error(code, Cause::Family, Action::Discard);
            return Ok(None);
        };
        Ok(Some((family, rest)))
    }

    pub(super) fn mp_reach(&mut self, value: &'a [u8]) -> Result<(), Notification> {
        let bad = || reset(code::MP_REACH_NLRI, value);
        self.reach_seen = true;
        let Some((family, rest)) = self.family(code::MP_REACH_NLRI, value)? else {
            return Ok(());
        };
        let (&len, rest) = rest.split_first().ok_or_else(bad)?;
        let (hop, rest) = rest.split_at_checked(len.into()).ok_or_else(bad)?;
        let (_reserved, octets) = rest.split_first().ok_or_else(bad)?;
        let next_hop = match next_hop(family, hop, self.ctx).ok_or_else(bad)? {
            Found::Address(a) => Some(a),
            Found::None => None,
            Found::Impossible => {
                let action = Action::TreatAsWithdraw;
                self.error(code::MP_REACH_NLRI, Cause::Value, action);
                None
            }
        };
        let nlri = Nlri::parse(family, octets, false, self.ctx).map_err(|_| bad())?;
        self.flows(code::MP_REACH_NLRI, &nlri);
        self.u.mp_reach = Section::of(self.u.body, &nlri);
        self.u.mp_next_hop = next_hop;
        Ok(())
    }

    pub(super) fn mp_unreach(&mut self, value: &'a [u8]) -> Result<(), Notification> {
        let Some((family, octets)) = self.family(code::MP_UNREACH_NLRI, value)? else {
            return Ok(());
        };
        let nlri = Nlri::parse(family, octets, true, self.ctx)
            .map_err(|_| reset(code::MP_UNREACH_NLRI, value))?;
        self.empty_unreach = octets.is_empty().then_some(family);
        self.u.mp_unreach = Section::of(self.u.body, &nlri);
        Ok(())
    }

    /// RFC 8955 10: a malformed flow withdraws; it can be passed over, since its length is known.
    fn flows(&mut self, code: u8, nlri: &Nlri<'a>) {
        let ipv6 = matches!(nlri.family, Family::Ipv6Flow | Family::Vpnv6Flow);
        let vpn = matches!(nlri.family, Family::Vpnv4Flow | Family::Vpnv6Flow);
        let good = |rd: bool, f| rd == vpn && check_flow(ipv6, f).is_ok();
        if nlri.flows().any(|(_, rd, f)| !good(rd.is_some(), f)) {
            self.error(code, Cause::Flow, Action::TreatAsWithdraw);
        }
    }
}
