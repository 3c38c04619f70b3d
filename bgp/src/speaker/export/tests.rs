use super::*;
use crate::speaker::local::Confederation;
use crate::types::RouterId;

fn local() -> Local {
    Local {
        asn: Asn(64512),
        router_id: RouterId::new([192, 0, 2, 1].into()).unwrap(),
        cluster_id: None,
        confederation: None,
    }
}

fn rules(relation: Relation) -> ExportRules {
    ExportRules {
        relation,
        peer_as: Asn(200),
        client: false,
        transparent: false,
        next_hop_self: false,
        own_v4: true,
        own_v6: true,
        role: None,
        local_as: None,
        as_override: false,
        remove_private: false,
        extended_next_hop: false,
        labeled: false,
        over_v4: true,
        prefix_sid: false,
    }
}

fn source(relation: Option<Relation>) -> Source {
    Source {
        relation,
        client: false,
        router_id: [10, 0, 0, 7].into(),
    }
}

fn route() -> AttrBuf {
    let mut b = AttrBuf::new();
    b.set_as_path([(SegmentKind::Sequence, &[Asn(300), Asn(64600)][..])]);
    b.set_med(5);
    b.set_local_pref(150);
    b.next_hop = Some(NextHop::V4([203, 0, 113, 1].into()));
    b
}

fn send(b: &AttrBuf, from: Source, to: &ExportRules, local: &Local) -> Option<AttrBuf> {
    let mut out = AttrBuf::new();
    (prepare(b.view(), from, to, &mut out)
        && finish(&mut out, from, to, local, NextHopChoice::Default, true))
    .then(|| {
        out.next_hop = resolved(out.next_hop, &own());
        out
    })
}

fn own() -> OwnAddresses {
    OwnAddresses {
        v4: Some([198, 51, 100, 1].into()),
        v6: "2001:db8::1".parse().ok(),
        link_local: "fe80::1".parse().ok(),
    }
}

fn path(b: &AttrBuf) -> String {
    b.view().as_path().to_string()
}

#[test]
fn what_leaves_the_as_has_our_number_and_our_address() {
    let out = send(
        &route(),
        source(Some(Relation::External)),
        &rules(Relation::External),
        &local(),
    )
    .unwrap();
    assert_eq!(path(&out), "64512 300 64600");
    assert_eq!((out.view().med(), out.view().local_pref()), (None, None));
    assert_eq!(out.next_hop, Some(NextHop::V4([198, 51, 100, 1].into())));
    let own = send(&route(), source(None), &rules(Relation::External), &local()).unwrap();
    assert_eq!(own.view().med(), Some(5), "a MED of our own making stays");
}

#[test]
fn a_route_server_is_not_seen() {
    let mut to = rules(Relation::External);
    to.transparent = true;
    let out = send(&route(), source(Some(Relation::External)), &to, &local()).unwrap();
    assert_eq!(
        (path(&out).as_str(), out.view().med()),
        ("300 64600", Some(5))
    );
    assert_eq!(out.next_hop, route().next_hop);
}

#[test]
fn within_the_as_only_clients_hear_what_others_there_said() {
    let (internal, external) = (
        source(Some(Relation::Internal)),
        source(Some(Relation::External)),
    );
    let to = rules(Relation::Internal);
    let out = send(&route(), external, &to, &local()).unwrap();
    assert_eq!(
        (path(&out).as_str(), out.view().local_pref(), out.next_hop),
        ("300 64600", Some(150), route().next_hop)
    );
    assert_eq!(out.view().originator_id(), None);
    assert_eq!(send(&route(), internal, &to, &local()), None);
    for (from_client, to_client) in [(true, false), (false, true), (true, true)] {
        let from = Source {
            client: from_client,
            ..internal
        };
        let to = ExportRules {
            client: to_client,
            ..to.clone()
        };
        let out = send(&route(), from, &to, &local()).unwrap();
        assert_eq!(out.view().originator_id(), Some([10, 0, 0, 7].into()));
        let again = send(&out, from, &to, &local()).unwrap();
        assert_eq!(again.view().originator_id(), Some([10, 0, 0, 7].into()));
        assert_eq!(again.view().cluster_list().len(), 2);
    }
    let mut bare = route();
    bare.retain(|a| a.code != code::LOCAL_PREF && a.code != code::AS_PATH);
    let out = send(&bare, source(None), &to, &local()).unwrap();
    assert_eq!(
        (out.view().local_pref(), out.view().get(code::AS_PATH)),
        (Some(100), Some(&[][..]))
    );
    assert_eq!(
        out.next_hop,
        bare.next_hop.map(|_| NextHop::V4([198, 51, 100, 1].into())),
        "our own routes are reached by us"
    );
}

#[test]
fn a_confederation_is_one_as_from_outside() {
    let confed = Local {
        confederation: Some(Confederation {
            id: Asn(100),
            members: vec![Asn(64513)],
        }),
        ..local()
    };
    let within = send(
        &route(),
        source(Some(Relation::External)),
        &rules(Relation::Confederation),
        &confed,
    )
    .unwrap();
    assert_eq!(path(&within), "(64512) 300 64600");
    assert_eq!(
        (within.view().local_pref(), within.view().med()),
        (Some(150), Some(5))
    );
    assert_eq!(within.next_hop, route().next_hop);
    let out = send(
        &within,
        source(Some(Relation::Confederation)),
        &rules(Relation::External),
        &confed,
    )
    .unwrap();
    assert_eq!(path(&out), "100 300 64600");
}

#[test]
fn communities_keep_routes_at_home() {
    let rows = [
        ("no-advertise", [false, false, false]),
        ("no-export", [true, true, false]),
        ("no-export-subconfed", [true, false, false]),
        ("64512:1", [true, true, true]),
    ];
    for (name, goes) in rows {
        let mut b = route();
        let c: Community = name.parse().unwrap();
        b.set(
            flag::OPTIONAL | flag::TRANSITIVE,
            code::COMMUNITIES,
            &c.0.to_be_bytes(),
        );
        for (to, goes) in [
            Relation::Internal,
            Relation::Confederation,
            Relation::External,
        ]
        .into_iter()
        .zip(goes)
        {
            let sent = send(&b, source(Some(Relation::External)), &rules(to), &local());
            assert_eq!(sent.is_some(), goes, "{name} to {to:?}");
        }
    }
    let mut b = route();
    b.set(
        flag::OPTIONAL | flag::TRANSITIVE,
        code::EXT_COMMUNITIES,
        &[0x40, 2, 0, 1, 0, 0, 0, 1, 0, 2, 0, 1, 0, 0, 0, 1],
    );
    let out = send(&b, source(None), &rules(Relation::External), &local()).unwrap();
    assert_eq!(out.view().ext_communities().count(), 1);
    let inside = send(&b, source(None), &rules(Relation::Internal), &local()).unwrap();
    assert_eq!(inside.view().ext_communities().count(), 2);
}

/// RFC 9234 5 on sending, a row for each role of ours: does a route without OTC go, and with what; does one with.
#[test]
fn otc_goes_to_customers_only() {
    let rows = [
        (Role::Provider, true, true),
        (Role::RouteServer, true, true),
        (Role::Peer, true, false),
        (Role::Customer, false, false),
        (Role::RouteServerClient, false, false),
    ];
    for (role, adds, with) in rows {
        let to = ExportRules {
            role: Some(role),
            ..rules(Relation::External)
        };
        let out = send(&route(), source(None), &to, &local()).unwrap();
        assert_eq!(out.view().otc(), adds.then_some(Asn(64512)), "{role:?}");
        let mut b = route();
        set_otc(&mut b, Asn(9));
        let out = send(&b, source(None), &to, &local());
        assert_eq!(
            out.map(|o| o.view().otc()),
            with.then_some(Some(Asn(9))),
            "{role:?}"
        );
    }
}

#[test]
fn next_hops_are_of_the_kind_that_the_neighbour_takes() {
    let mut to = rules(Relation::External);
    to.own_v4 = false;
    assert_eq!(send(&route(), source(None), &to, &local()), None);
    to.extended_next_hop = true;
    let out = send(&route(), source(None), &to, &local()).unwrap();
    assert!(matches!(out.next_hop, Some(NextHop::V6Both(..))));
    let mut inside = rules(Relation::Internal);
    inside.next_hop_self = true;
    let out = send(
        &route(),
        source(Some(Relation::External)),
        &inside,
        &local(),
    )
    .unwrap();
    assert_eq!(out.next_hop, Some(NextHop::V4([198, 51, 100, 1].into())));
}

#[test]
fn paths_are_rewritten_where_asked() {
    let mut to = rules(Relation::External);
    to.remove_private = true;
    assert_eq!(
        path(&send(&route(), source(None), &to, &local()).unwrap()),
        "64512 300"
    );
    to.remove_private = false;
    to.as_override = true;
    to.peer_as = Asn(300);
    assert_eq!(
        path(&send(&route(), source(None), &to, &local()).unwrap()),
        "64512 64512 64600"
    );
    to.local_as = Some(Asn(77));
    assert_eq!(
        path(&send(&route(), source(None), &to, &local()).unwrap()),
        "77 77 64600"
    );
}
