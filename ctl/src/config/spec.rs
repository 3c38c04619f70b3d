//! What the API asks for, as the types of the configuration.

use std::net::IpAddr;

use api::grammar::Hop;
use api::{LabelSpec, NeighborSpec, NextHopSpec, RouteSpec};
use net::{Label, MacAddr};

use super::model::{LabelAction, LabelRoute, Target, TtlMode};
use super::vrf::{self, Dest, VrfName};
use super::{parse, terms};

/// The VRF that is meant; whether there is one is found out later.
fn vrf_name(vrf: &str) -> Result<Option<VrfName>, String> {
    match vrf {
        "" => Ok(None),
        name => vrf::name(name).map(Some),
    }
}

fn mode(text: &str) -> Result<Option<TtlMode>, String> {
    if text.is_empty() {
        Ok(None)
    } else {
        terms::ttl(text).map(Some)
    }
}

fn hop(spec: &NextHopSpec) -> Result<Hop, String> {
    let address = match spec.address.as_str() {
        "" => None,
        text => Some(
            text.parse()
                .map_err(|_| format!("{text:?} is not an address"))?,
        ),
    };
    let weight = match spec.weight {
        0 => None,
        weight => Some(
            u16::try_from(weight)
                .ok()
                .filter(|w| *w <= 256)
                .ok_or("a weight is 1 to 256")?,
        ),
    };
    let interface = (!spec.interface.is_empty()).then(|| spec.interface.clone());
    Ok(Hop {
        address,
        interface,
        label: spec.label.clone(),
        weight,
        backup: spec.backup,
    })
}

fn hops(specs: &[NextHopSpec]) -> Result<Vec<Hop>, String> {
    specs.iter().map(hop).collect()
}

/// The table and prefix that are meant.
pub(super) fn dest(spec: &RouteSpec) -> Result<Dest, String> {
    let vrf = vrf_name(&spec.vrf)?;
    let prefix = terms::route_prefix(&spec.prefix)?;
    Ok(Dest { vrf, prefix })
}

/// A route to add.
pub(super) fn route(spec: &RouteSpec) -> Result<(Dest, Target), String> {
    let dest = dest(spec)?;
    if !spec.discard.is_empty() {
        if !spec.via.is_empty() {
            return Err("a route that drops has no next hop".into());
        }
        return Ok((dest, Target::Discard(terms::discard(&spec.discard)?)));
    }
    if spec.via.is_empty() {
        return Err("where it goes is missing: via ADDRESS or dev NAME".into());
    }
    let hops = terms::next_hops(hops(&spec.via)?)?;
    Ok((
        dest,
        Target::Via {
            hops,
            mpls_ttl: mode(&spec.mpls_ttl)?,
            via_table: match spec.via_table.as_str() {
                "" => None,
                name => Some(vrf::table_name(name)?),
            },
            entropy: spec.entropy_label,
        },
    ))
}

/// A next hop by address and interface, as far as it was given.
pub(super) type Way = (Option<IpAddr>, Option<String>);

/// The next hops that a deletion names: (address, interface), each with what was given.
pub(super) fn ways(spec: &RouteSpec) -> Result<Vec<Way>, String> {
    Ok(hops(&spec.via)?
        .into_iter()
        .map(|hop| (hop.address, hop.interface))
        .collect())
}

/// The label that is meant.
pub(super) fn incoming(spec: &LabelSpec) -> Result<Label, String> {
    terms::incoming(spec.label)
}

/// A label to add.
pub(super) fn label(spec: &LabelSpec) -> Result<(Label, LabelRoute), String> {
    let label = incoming(spec)?;
    let all = hops(&spec.via)?;
    let bare = all.iter().any(|hop| hop.label.is_empty());
    let pushes = all.iter().any(|hop| !hop.label.is_empty());
    let vrf = vrf_name(&spec.vrf)?;
    if vrf.is_some() && (spec.action != "pop" || !all.is_empty()) {
        return Err("\"vrf\" is for \"pop\" without a next hop".into());
    }
    let action = match spec.action.as_str() {
        "swap" if all.is_empty() => return Err("\"swap\" needs a next hop".into()),
        "swap" if bare => return Err("\"swap\" needs the labels that leave".into()),
        "swap" => LabelAction::Forward(terms::swapped(terms::next_hops(all)?)),
        "pop" if pushes => return Err("\"pop\" pushes no labels".into()),
        "pop" if all.is_empty() => LabelAction::PopLookup(vrf),
        "pop" => LabelAction::Forward(terms::next_hops(all)?),
        other => return Err(format!("{other:?} is not \"swap\" or \"pop\"")),
    };
    Ok((
        label,
        LabelRoute {
            action,
            mpls_ttl: mode(&spec.mpls_ttl)?,
        },
    ))
}

/// The neighbour that is meant.
pub(super) fn neighbor_address(spec: &NeighborSpec) -> Result<IpAddr, String> {
    spec.address
        .parse()
        .map_err(|_| format!("{:?} is not an address", spec.address))
}

/// A neighbour to add.
pub(super) fn neighbor(spec: &NeighborSpec) -> Result<(String, IpAddr, MacAddr), String> {
    if spec.interface.is_empty() {
        return Err("its interface is missing: dev NAME".into());
    }
    Ok((
        spec.interface.clone(),
        neighbor_address(spec)?,
        parse::lladdr(&spec.lladdr)?,
    ))
}
