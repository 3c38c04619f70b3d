//! What is asked of a route before any policy sees it: may it be used at all, and what does it lack.
//!
//! Read RFC 4271 9.1.2, RFC 4456 8 (reflection loops), RFC 5065 4, RFC 9234 5 (route leaks). The answer depends on
//! the attributes and the neighbour alone, never on the prefix, so it is found once for each set of attributes. A route
//! that is refused stays in the Adj-RIB-In, so that `bgp route received` can show it and say why.

use std::fmt;
use std::net::IpAddr;

use crate::attrs::{AttrBuf, Labels, View, code, flag};
use crate::session::MAX_LABELS;
use crate::types::{Asn, Relation, Role};

use super::local::Local;

/// What is known of the neighbour that a route comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImportRules {
    pub(crate) relation: Relation,
    pub(crate) peer_as: Asn,
    /// How often our own AS number may stand in the path.
    pub(crate) allow_own_as: u8,
    /// Our role.
    pub(crate) role: Option<Role>,
    /// The AS number that we show this neighbour beside our own.
    pub(crate) local_as: Option<Asn>,
}

/// Why a route is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Our own AS number is in the path, RFC 4271 9.1.2.
    OwnAs,
    /// We are the route's originator, RFC 4456 8.
    Originator,
    /// Our cluster has reflected it, RFC 4456 8.
    Cluster,
    /// It has leaked, RFC 9234 5.
    Leak,
    /// The next hop is our own address, or none that could be one, RFC 4271 6.3.
    NextHop,
    /// AS 0 is in the path, RFC 7607.
    AsZero,
    /// A label that nobody can be sent packets with, RFC 3032 2.1, or more than [`MAX_LABELS`].
    Labels,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OwnAs => "our own AS number is in the path",
            Self::Originator => "we are its originator",
            Self::Cluster => "our cluster has reflected it before",
            Self::Leak => "it has leaked (RFC 9234)",
            Self::NextHop => "its next hop is our own address, or no host's",
            Self::AsZero => "AS 0 is in its path",
            Self::Labels => {
                "a label of it is reserved for something else (RFC 3032 2.1), or it has more than 4"
            }
        })
    }
}

/// May the route be used? `own` tells which addresses are ours.
pub(crate) fn check(
    v: View<'_>,
    rules: &ImportRules,
    local: &Local,
    own: impl Fn(IpAddr) -> bool,
) -> Result<(), Refusal> {
    let path = v.as_path();
    let allowed = usize::from(rules.allow_own_as);
    // Our number within the confederation, the confederation's, and one that we only show here.
    let mut ours = [Some(local.asn), Some(local.public()), rules.local_as];
    if ours[1] == ours[0] {
        ours[1] = None;
    }
    let mut counts = [0; 3];
    for asn in path.iter() {
        if asn.is_zero() {
            return Err(Refusal::AsZero);
        }
        for (n, our) in counts.iter_mut().zip(ours) {
            *n += usize::from(our == Some(asn));
        }
    }
    if counts.iter().any(|n| *n > allowed) {
        return Err(Refusal::OwnAs);
    }
    if rules.relation != Relation::External {
        if v.originator_id()
            .is_some_and(|o| o.octets() == local.router_id.octets())
        {
            return Err(Refusal::Originator);
        }
        if v.cluster_list().any(|c| c == local.cluster()) {
            return Err(Refusal::Cluster);
        }
    }
    if v.labels().is_some_and(|l| !can_push(l)) {
        return Err(Refusal::Labels);
    }
    if let Some(role) = rules.role
        && leaked(v.otc(), role, rules.peer_as)
    {
        return Err(Refusal::Leak);
    }
    match v.next_hop {
        Some(n)
            if own(n.address())
                || n.address().is_unspecified()
                || n.address().is_multicast()
                || n.address().is_loopback() =>
        {
            Err(Refusal::NextHop)
        }
        _ => Ok(()),
    }
}

/// Can packets be sent with these labels? Of those that are reserved the nulls mean something to who told them (RFC 3032 2.1).
fn can_push(labels: Labels<'_>) -> bool {
    labels.len() <= usize::from(MAX_LABELS)
        && labels.iter().all(|l| matches!(l.get(), 0 | 2 | 3 | 16..))
}

/// RFC 9234 5, on receipt, rules 1 and 2.
fn leaked(otc: Option<Asn>, ours: Role, peer_as: Asn) -> bool {
    match ours.counterpart() {
        Role::Customer | Role::RouteServerClient => otc.is_some(),
        Role::Peer => otc.is_some_and(|o| o != peer_as),
        Role::Provider | Role::RouteServer => false,
    }
}

/// Must ONLY_TO_CUSTOMER be added on receipt (RFC 9234 5, rule 3)?
pub(crate) fn wants_otc(v: View<'_>, rules: &ImportRules) -> bool {
    let from = rules.role.map(Role::counterpart);
    matches!(from, Some(Role::Provider | Role::Peer | Role::RouteServer)) && v.otc().is_none()
}

/// Adds it.
pub(crate) fn set_otc(buf: &mut AttrBuf, asn: Asn) {
    buf.set(
        flag::OPTIONAL | flag::TRANSITIVE,
        code::ONLY_TO_CUSTOMER,
        &asn.0.to_be_bytes(),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attrs::SegmentKind;
    use crate::speaker::local::Confederation;
    use crate::types::{NextHop, RouterId};

    fn local() -> Local {
        Local {
            asn: Asn(64512),
            router_id: RouterId::new([192, 0, 2, 1].into()).unwrap(),
            cluster_id: Some([192, 0, 2, 9].into()),
            confederation: Some(Confederation {
                id: Asn(100),
                members: vec![Asn(64513)],
            }),
        }
    }

    fn rules(relation: Relation, peer_as: u32) -> ImportRules {
        ImportRules {
            relation,
            peer_as: Asn(peer_as),
            allow_own_as: 0,
            role: None,
            local_as: None,
        }
    }

    fn route(path: &[u32]) -> AttrBuf {
        let mut b = AttrBuf::new();
        let path: Vec<Asn> = path.iter().copied().map(Asn).collect();
        b.set_as_path([(SegmentKind::Sequence, &path[..])]);
        b.next_hop = Some(NextHop::V4([198, 51, 100, 1].into()));
        b
    }

    fn ask(b: &AttrBuf, r: &ImportRules) -> Result<(), Refusal> {
        check(b.view(), r, &local(), |a| {
            a == IpAddr::from([198, 51, 100, 9])
        })
    }

    #[test]
    fn loops_are_found_by_each_of_our_numbers() {
        let mut r = rules(Relation::External, 200);
        assert_eq!(ask(&route(&[200, 300]), &r), Ok(()));
        assert_eq!(ask(&route(&[200, 64512]), &r), Err(Refusal::OwnAs));
        assert_eq!(
            ask(&route(&[200, 100]), &r),
            Err(Refusal::OwnAs),
            "the confederation's"
        );
        assert_eq!(ask(&route(&[200, 0]), &r), Err(Refusal::AsZero));
        r.allow_own_as = 1;
        assert_eq!(ask(&route(&[200, 100]), &r), Ok(()));
        assert_eq!(ask(&route(&[200, 100, 100]), &r), Err(Refusal::OwnAs));
        r.allow_own_as = 0;
        r.local_as = Some(Asn(77));
        assert_eq!(ask(&route(&[200, 77]), &r), Err(Refusal::OwnAs));
    }

    #[test]
    fn labels_must_be_some_that_packets_can_have() {
        let r = rules(Relation::External, 200);
        let mut b = route(&[200]);
        let rows: [(&[u32], bool); 8] = [
            (&[16], true),
            (&[0], true),
            (&[2], true),
            (&[3], true),
            (&[1], false),
            (&[100, 15], false),
            (&[100, 200, 300, 400], true),
            (&[100, 200, 300, 400, 500], false),
        ];
        for (labels, good) in rows {
            let all: Vec<_> = labels
                .iter()
                .map(|l| crate::types::Label::new(*l).unwrap())
                .collect();
            b.set_labels(&all);
            let want = if good { Ok(()) } else { Err(Refusal::Labels) };
            assert_eq!(ask(&b, &r), want, "{labels:?}");
        }
    }

    #[test]
    fn reflected_routes_do_not_come_back() {
        let r = rules(Relation::Internal, 64512);
        let mut b = route(&[]);
        b.set(flag::OPTIONAL, code::ORIGINATOR_ID, &[192, 0, 2, 1]);
        assert_eq!(ask(&b, &r), Err(Refusal::Originator));
        b.set(flag::OPTIONAL, code::ORIGINATOR_ID, &[192, 0, 2, 2]);
        assert_eq!(ask(&b, &r), Ok(()));
        b.set(
            flag::OPTIONAL,
            code::CLUSTER_LIST,
            &[192, 0, 2, 8, 192, 0, 2, 9],
        );
        assert_eq!(ask(&b, &r), Err(Refusal::Cluster));
    }

    #[test]
    fn next_hops_must_be_somebody_else() {
        let r = rules(Relation::External, 200);
        for nh in [
            [198, 51, 100, 9],
            [0, 0, 0, 0],
            [224, 0, 0, 1],
            [127, 0, 0, 1],
        ] {
            let mut b = route(&[200]);
            b.next_hop = Some(NextHop::V4(nh.into()));
            assert_eq!(ask(&b, &r), Err(Refusal::NextHop), "{nh:?}");
        }
    }

    /// RFC 9234 5 on receipt, a row for each role of ours: what comes without OTC, with the neighbour's, with another's.
    #[test]
    fn leaks_are_found_by_role() {
        type Row = (Role, [bool; 3], bool);
        let rows: [Row; 5] = [
            (Role::Provider, [false, true, true], false),
            (Role::RouteServer, [false, true, true], false),
            (Role::Peer, [false, false, true], true),
            (Role::Customer, [false, false, false], true),
            (Role::RouteServerClient, [false, false, false], true),
        ];
        for (role, leaks, adds) in rows {
            let mut r = rules(Relation::External, 200);
            r.role = Some(role);
            for (otc, leak) in [None, Some(Asn(200)), Some(Asn(300))]
                .into_iter()
                .zip(leaks)
            {
                let mut b = route(&[200]);
                if let Some(o) = otc {
                    set_otc(&mut b, o);
                }
                let expect = if leak { Err(Refusal::Leak) } else { Ok(()) };
                assert_eq!(ask(&b, &r), expect, "{role:?} {otc:?}");
                assert_eq!(
                    wants_otc(b.view(), &r),
                    adds && otc.is_none(),
                    "{role:?} {otc:?}"
                );
            }
        }
    }
}
