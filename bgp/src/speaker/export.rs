//! What a route becomes on its way to a neighbour, before and after the policy.
//!
//! Read RFC 4271 5.1 (each attribute) and 9.1.3, RFC 4456 (reflection), RFC 5065 4 to 6, RFC 1997 (no-export), RFC 9234 5,
//! RFC 7947 (route servers). [`prepare`] says whether the route may go there at all and takes off what is not for the
//! neighbour, so that a policy edits what will be seen; [`finish`] puts on what the protocol demands. Both see the
//! attributes, where they came from and where they go, never the prefix.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::attrs::{AttrBuf, Community, RawAttr, SegmentKind, View, code, flag};
use crate::types::{Asn, NextHop, Relation, Role};

use super::import::set_otc;
use super::local::Local;

/// Our addresses on the way to a neighbour, for next hops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct OwnAddresses {
    /// IPv4.
    pub v4: Option<Ipv4Addr>,
    /// Global IPv6.
    pub v6: Option<Ipv6Addr>,
    /// Link-local IPv6, if the neighbour is on the same link.
    pub link_local: Option<Ipv6Addr>,
}

/// What is known of the neighbours of an update group, and the same for all of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ExportRules {
    pub(crate) relation: Relation,
    pub(crate) peer_as: Asn,
    /// Is it our client (RFC 4456)?
    pub(crate) client: bool,
    /// We are a route server to it: our AS number is not put on, next hop and MED stay (RFC 7947).
    pub(crate) transparent: bool,
    pub(crate) next_hop_self: bool,
    /// Our addresses on the way there: of which kinds there are some.
    pub(crate) own_v4: bool,
    pub(crate) own_v6: bool,
    /// Our role.
    pub(crate) role: Option<Role>,
    /// The AS number that it knows us by, in place of our own.
    pub(crate) local_as: Option<Asn>,
    /// The neighbour's AS number in paths becomes ours (for sites of one AS, RFC 4364 10).
    pub(crate) as_override: bool,
    /// Private AS numbers are taken out of paths.
    pub(crate) remove_private: bool,
    /// Next hops of IPv6 for IPv4 routes, RFC 8950.
    pub(crate) extended_next_hop: bool,
    /// Routes of the family have labels: those of IPv6 may have next hops of IPv4 (RFC 4798 2).
    pub(crate) labeled: bool,
    /// The session is over IPv4: our own next hop is, where it may.
    pub(crate) over_v4: bool,
    /// It is of our SR domain.
    pub(crate) prefix_sid: bool,
}

/// Where a route came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// `None`: this router's own.
    pub(crate) relation: Option<Relation>,
    /// A client of ours sent it.
    pub(crate) client: bool,
    /// The BGP Identifier of who sent it.
    pub(crate) router_id: Ipv4Addr,
}

/// What the policy says of the next hop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum NextHopChoice {
    /// Nothing.
    #[default]
    Default,
    /// Ours.
    Own,
    /// As it came.
    Unchanged,
    /// What is in the buffer.
    Given,
}

/// May the route go there? Then `buf` has the attributes as the policy is to see them.
pub(crate) fn prepare(v: View<'_>, from: Source, to: &ExportRules, buf: &mut AttrBuf) -> bool {
    let internal = Some(Relation::Internal);
    // RFC 4456 6: what one who is no client sent goes to clients only, beside eBGP.
    if to.relation == Relation::Internal && from.relation == internal && !from.client && !to.client
    {
        return false;
    }
    if !communities_allow(v, to.relation) || (to.role.is_some() && !otc_allows(v, to)) {
        return false;
    }
    buf.copy_from(v);
    if to.relation == Relation::External {
        let keep_med = to.transparent || from.relation.is_none();
        buf.retain(|a| match a.code {
            code::LOCAL_PREF | code::ORIGINATOR_ID | code::CLUSTER_LIST | code::AIGP => false,
            code::MED => keep_med,
            // RFC 8669 5: not beyond the SR domain.
            code::PREFIX_SID => to.prefix_sid,
            _ => true,
        });
    } else if !to.prefix_sid {
        buf.remove(code::PREFIX_SID);
    }
    true
}

/// RFC 1997, RFC 3765.
fn communities_allow(v: View<'_>, to: Relation) -> bool {
    v.communities().all(|c| match c {
        Community::NO_ADVERTISE => false,
        Community::NO_EXPORT => to != Relation::External,
        Community::NO_EXPORT_SUBCONFED => to == Relation::Internal,
        _ => true,
    })
}

/// RFC 9234 5, on sending, rule 2.
fn otc_allows(v: View<'_>, to: &ExportRules) -> bool {
    let they = to.role.map(Role::counterpart);
    !matches!(they, Some(Role::Provider | Role::Peer | Role::RouteServer)) || v.otc().is_none()
}

/// Puts on what the protocol demands. False: there is no next hop to send.
pub(crate) fn finish(
    buf: &mut AttrBuf,
    from: Source,
    to: &ExportRules,
    local: &Local,
    choice: NextHopChoice,
    v4_routes: bool,
) -> bool {
    match to.relation {
        Relation::External => external(buf, to, local),
        Relation::Confederation => {
            buf.prepend(SegmentKind::ConfedSequence, local.asn, 1);
            default_local_pref(buf);
        }
        Relation::Internal => {
            default_local_pref(buf);
            if from.relation == Some(Relation::Internal) {
                reflect(buf, from, local);
            }
        }
    }
    if buf.view().get(code::AS_PATH).is_none() {
        buf.set_as_path([]);
    }
    if let Some(Role::Customer | Role::Peer | Role::RouteServerClient) =
        to.role.map(Role::counterpart)
        && buf.view().otc().is_none()
    {
        set_otc(buf, to.local_as.unwrap_or_else(|| local.public()));
    }
    next_hop(buf, from, to, choice, v4_routes)
}

fn default_local_pref(buf: &mut AttrBuf) {
    if buf.view().local_pref().is_none() {
        buf.set_local_pref(100);
    }
}

/// RFC 4456 8.
fn reflect(buf: &mut AttrBuf, from: Source, local: &Local) {
    if buf.view().originator_id().is_none() {
        buf.set(
            flag::OPTIONAL,
            code::ORIGINATOR_ID,
            &from.router_id.octets(),
        );
    }
    let mut clusters = local.cluster().octets().to_vec();
    clusters.extend_from_slice(buf.view().get(code::CLUSTER_LIST).unwrap_or_default());
    buf.set(flag::OPTIONAL, code::CLUSTER_LIST, &clusters);
}

/// What leaves the AS: no confederation segments, our AS number in front, no communities that are not transitive.
fn external(buf: &mut AttrBuf, to: &ExportRules, local: &Local) {
    let ours = to.local_as.unwrap_or_else(|| local.public());
    let path = buf.view().as_path();
    if path.segments().any(|s| s.kind.is_confed()) || to.as_override || to.remove_private {
        let mut segments: Vec<(SegmentKind, Vec<Asn>)> = Vec::new();
        for s in path.segments().filter(|s| !s.kind.is_confed()) {
            let kept = s
                .iter()
                .filter(|a| !(to.remove_private && is_private(*a) && *a != to.peer_as));
            let asns = kept.map(|a| {
                if to.as_override && a == to.peer_as {
                    ours
                } else {
                    a
                }
            });
            segments.push((s.kind, asns.collect()));
        }
        buf.set_as_path(segments.iter().map(|(k, a)| (*k, &a[..])));
    }
    if !to.transparent {
        buf.prepend(SegmentKind::Sequence, ours, 1);
    }
    strip_local_communities(buf);
}

/// Private use: RFC 6996.
fn is_private(a: Asn) -> bool {
    matches!(a.0, 64_512..=65_534 | 4_200_000_000..=4_294_967_294)
}

/// Extended communities that are not transitive stay in the AS, RFC 4360 6.
fn strip_local_communities(buf: &mut AttrBuf) {
    let v = buf.view();
    if v.ext_communities().all(|c| c.is_transitive()) {
        return;
    }
    let kept: Vec<u8> = v
        .ext_communities()
        .filter(|c| c.is_transitive())
        .flat_map(|c| c.0)
        .collect();
    if kept.is_empty() {
        buf.remove(code::EXT_COMMUNITIES);
        return;
    }
    let is_it = |a: &RawAttr<'_>| a.code == code::EXT_COMMUNITIES;
    let flags = buf
        .view()
        .iter()
        .find(is_it)
        .map_or(flag::OPTIONAL | flag::TRANSITIVE, |a| a.flags);
    buf.set(flags, code::EXT_COMMUNITIES, &kept);
}

/// RFC 4271 5.1.3; RFC 2545 3 and RFC 8950 for the two kinds of addresses.
fn next_hop(
    buf: &mut AttrBuf,
    from: Source,
    to: &ExportRules,
    choice: NextHopChoice,
    v4_routes: bool,
) -> bool {
    let unchanged = match choice {
        NextHopChoice::Given | NextHopChoice::Unchanged => true,
        NextHopChoice::Own => false,
        NextHopChoice::Default if to.next_hop_self => false,
        NextHopChoice::Default => {
            to.transparent || (to.relation != Relation::External && from.relation.is_some())
        }
    };
    if unchanged && let Some(n) = buf.next_hop {
        // A link-local address means nothing on another link.
        buf.next_hop = match n {
            NextHop::V6Both(global, _) => Some(NextHop::V6(global)),
            NextHop::V6(a) if a.is_unicast_link_local() => None,
            other => Some(other),
        };
    } else if !unchanged {
        buf.next_hop = None;
    }
    if buf.next_hop.is_none() {
        let six_by_four = to.labeled && to.own_v4 && (to.over_v4 || !to.own_v6);
        buf.next_hop = match (v4_routes, to.own_v4, to.own_v6) {
            (false, ..) if six_by_four => Some(OWN_V4),
            (true, true, _) => Some(OWN_V4),
            (true, false, true) if to.extended_next_hop => Some(OWN_V6),
            (false, _, true) => Some(OWN_V6),
            _ => None,
        };
    }
    match buf.next_hop {
        Some(NextHop::V4(_)) => v4_routes || to.labeled,
        Some(_) => !v4_routes || to.extended_next_hop,
        None => false,
    }
}

/// Stands for our own address until it is known to whom a message goes: so neighbours on different links share all that
/// is found out about a route.
const OWN_V4: NextHop = NextHop::V4(Ipv4Addr::UNSPECIFIED);
const OWN_V6: NextHop = NextHop::V6(Ipv6Addr::UNSPECIFIED);

/// The next hop for who we have these addresses towards.
pub(crate) fn resolved(hop: Option<NextHop>, own: &OwnAddresses) -> Option<NextHop> {
    match hop {
        Some(OWN_V4) => own.v4.map(NextHop::V4),
        Some(OWN_V6) => match (own.v6, own.link_local) {
            (Some(g), Some(l)) => Some(NextHop::V6Both(g, l)),
            (Some(a), None) | (None, Some(a)) => Some(NextHop::V6(a)),
            (None, None) => None,
        },
        other => other,
    }
}

/// Is that our address, so that packets come to us?
pub(crate) fn is_own(hop: Option<NextHop>, own: impl Fn(IpAddr) -> bool) -> bool {
    hop == Some(OWN_V4) || hop == Some(OWN_V6) || hop.is_some_and(|h| own(h.address()))
}

/// Adds LLGR_STALE, unless it is there: RFC 9494 4.2.
pub(super) fn mark_stale(buf: &mut AttrBuf) {
    let stale = Community::LLGR_STALE;
    if !buf.view().communities().any(|c| c == stale) {
        let flags = flag::OPTIONAL | flag::TRANSITIVE;
        buf.append(flags, code::COMMUNITIES, &stale.0.to_be_bytes());
    }
}

#[cfg(test)]
mod tests;
