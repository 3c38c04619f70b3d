//! Tables against an obvious model.

mod groups;
mod obvious;
mod tables;

use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;
use proptest::prelude::*;

use super::{PeerInfo, V4};
use crate::attrs::{AttrBuf, Community, Origin, SegmentKind, code, flag};
use crate::types::{Asn, NextHop, Relation, RouterId};

/// Few values each, so that routes often tie.
#[derive(Clone, Debug)]
pub(super) struct Spec {
    pub(super) local_pref: Option<u32>,
    pub(super) path: Vec<(SegmentKind, Vec<u32>)>,
    pub(super) origin: u8,
    pub(super) med: Option<u32>,
    pub(super) originator: Option<u32>,
    pub(super) clusters: usize,
    pub(super) hop: u8,
    pub(super) community: Option<Community>,
}

impl Spec {
    pub(super) fn attrs(&self) -> AttrBuf {
        let mut b = AttrBuf::new();
        b.next_hop = Some(hop(self.hop));
        if let Some(o) = Origin::new(self.origin) {
            b.set_origin(o);
        }
        let path: Vec<_> = self
            .path
            .iter()
            .map(|(k, p)| (*k, p.iter().map(|a| Asn(*a)).collect::<Vec<_>>()))
            .collect();
        b.set_as_path(path.iter().map(|(k, p)| (*k, &p[..])));
        self.med.into_iter().for_each(|m| b.set_med(m));
        self.local_pref
            .into_iter()
            .for_each(|p| b.set_local_pref(p));
        if let Some(c) = self.community {
            b.set(
                flag::OPTIONAL | flag::TRANSITIVE,
                code::COMMUNITIES,
                &c.0.to_be_bytes(),
            );
        }
        if let Some(o) = self.originator {
            b.set(flag::OPTIONAL, code::ORIGINATOR_ID, &o.to_be_bytes());
        }
        if self.clusters > 0 {
            b.set(
                flag::OPTIONAL,
                code::CLUSTER_LIST,
                &vec![9; self.clusters * 4],
            );
        }
        b
    }
}

pub(super) fn hop(n: u8) -> NextHop {
    NextHop::V4(Ipv4Addr::new(192, 0, 2, n))
}

pub(super) fn key(n: u8) -> V4 {
    // They nest: every second covers its neighbour.
    Ipv4Net::new_assert(Ipv4Addr::new(10, n & !1, 0, 0), 15 + (n & 1)).into()
}

fn segment() -> impl Strategy<Value = (SegmentKind, Vec<u32>)> {
    let kind = prop_oneof![
        8 => Just(SegmentKind::Sequence),
        1 => Just(SegmentKind::Set),
        2 => Just(SegmentKind::ConfedSequence),
    ];
    (kind, prop::collection::vec(1u32..4, 1..3))
}

pub(super) fn spec() -> impl Strategy<Value = Spec> {
    (
        prop::option::weighted(0.2, prop_oneof![Just(100u32), Just(200)]),
        prop::collection::vec(segment(), 0..3),
        prop_oneof![4 => Just(0u8), 1 => Just(2)],
        prop::option::of(0u32..3),
        prop::option::weighted(0.2, 1u32..4),
        prop_oneof![3 => Just(0usize), 1 => Just(2)],
        0u8..4,
        prop_oneof![
            8 => Just(None),
            1 => Just(Some(Community::LLGR_STALE)),
            1 => Just(Some(Community::NO_LLGR)),
        ],
    )
        .prop_map(
            |(local_pref, path, origin, med, originator, clusters, hop, community)| Spec {
                local_pref,
                path,
                origin,
                med,
                originator,
                clusters,
                hop,
                community,
            },
        )
}

/// Seven neighbours: two eBGP, two iBGP, one of the confederation, the router itself, and another table of its.
pub(super) const PEERS: u16 = 7;

pub(super) fn peer(n: u16) -> PeerInfo {
    let relation = match n {
        0 | 1 => Relation::External,
        4 => Relation::Confederation,
        _ => Relation::Internal,
    };
    // Ids and addresses in different orders, and one id twice.
    let id = [3, 2, 2, 1, 5, 9, 9][usize::from(n)];
    PeerInfo {
        relation,
        local: n == 5,
        leaked: n == 6,
        client: false,
        router_id: RouterId::new(Ipv4Addr::from_bits(id)).unwrap(),
        address: IpAddr::from([10, 0, 0, [4, 5, 9, 1, 2, 3, 3][usize::from(n)]]),
    }
}
