//! What is printed reads back to the same; what a plan says leads from one configuration to the other.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use net::{Label, MacAddr};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::super::diff::{Edit, Plan, Step};
use super::super::labels::{LabelRanges, Range};
use super::super::leak;
use super::super::model::*;
use super::super::policy::PolicyBook;
use super::super::vrf::{Dest, RouteTarget, Vrf, VrfName};
use super::valid;

const PORTS: [&str; 4] = ["a", "b", "wan0", "x-y_z"];

fn interface(port: usize, vlan: Option<u16>) -> impl Strategy<Value = Interface> {
    let site = u8::try_from(port * 10 + usize::from(vlan.unwrap_or(0))).unwrap_or(0);
    let name = vlan.map_or(PORTS[port].to_owned(), |v| format!("{}.{v}", PORTS[port]));
    let v4 = IpNet::new(Ipv4Addr::new(10, site, 0, 1).into(), 24).unwrap();
    let v6 = IpNet::new(
        Ipv6Addr::new(0x2001, 0xdb8, site.into(), 0, 0, 0, 0, 1).into(),
        64,
    )
    .unwrap();
    let addresses = prop_oneof![Just(vec![]), Just(vec![v4]), Just(vec![v6, v4])];
    let link_local = prop::option::of(Just(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1)));
    (
        addresses,
        link_local,
        any::<bool>(),
        any::<bool>(),
        prop::option::of(1_u16..8),
        1280_u16..9600,
        "[a-z]{1,4}",
    )
        .prop_map(
            move |(addresses, link_local, mpls, up, queues, mtu, device)| Interface {
                name: name.clone(),
                device: vlan.is_none().then(|| format!("tap:{device}{site}")),
                vlan: vlan.map(|v| (PORTS[port].to_owned(), v)),
                addresses,
                vrf: (up && !mpls).then(|| "red".into()),
                link_local,
                mtu: if vlan.is_none() { mtu } else { 1280 },
                mpls,
                queues: queues.filter(|_| vlan.is_none()),
                up,
            },
        )
}

fn interfaces() -> impl Strategy<Value = BTreeMap<String, Interface>> {
    let port = |at: usize| {
        prop::option::of((
            interface(at, None),
            prop::option::of(interface(at, Some(1))),
            prop::option::of(interface(at, Some(2))),
        ))
    };
    (port(0), port(1), port(2), port(3)).prop_map(|(a, b, c, d)| {
        let all = [a, b, c, d]
            .into_iter()
            .flatten()
            .flat_map(|(port, one, two)| [Some(port), one, two]);
        all.flatten().map(|i| (i.name.clone(), i)).collect()
    })
}

/// A next hop on one of the links; its device is one that is there, if any.
fn hop(names: Vec<String>) -> impl Strategy<Value = NextHop> {
    let label = vec(prop_oneof![16_u32..1 << 20, Just(0)], 0..3)
        .prop_map(|l| l.into_iter().filter_map(Label::new).collect());
    let address = prop_oneof![
        (0_u8..40, 2_u8..9).prop_map(|(s, h)| IpAddr::from(Ipv4Addr::new(10, s, 0, h))),
        (0_u16..40, 2_u16..9)
            .prop_map(|(s, h)| IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, s, 0, 0, 0, 0, h))),
    ];
    let interface = if names.is_empty() {
        Just(None).boxed()
    } else {
        prop::option::of(prop::sample::select(names)).boxed()
    };
    let parts = (address, interface, label, 1_u16..5, any::<bool>());
    parts.prop_map(|(address, interface, label, weight, backup)| NextHop {
        address: Some(address),
        interface,
        label,
        weight,
        backup,
    })
}

fn hops(names: Vec<String>, zero_ok: bool) -> impl Strategy<Value = Vec<NextHop>> {
    vec(hop(names), 1..4).prop_map(move |mut hops| {
        hops.sort_by_key(|h| (h.address, h.interface.clone()));
        hops.dedup_by_key(|h| (h.address, h.interface.clone()));
        hops[0].backup = false;
        for hop in &mut hops {
            if !zero_ok {
                hop.label.retain(|l| !l.is_reserved());
                if hop.label.is_empty() && hop.weight == 4 {
                    hop.label.push(Label::IMPLICIT_NULL);
                }
            }
        }
        hops
    })
}

fn prefix() -> impl Strategy<Value = IpNet> {
    prop_oneof![
        (0_u8..9, 8_u8..=32).prop_map(|(n, l)| IpNet::new(Ipv4Addr::new(100, n, n, n).into(), l)
            .unwrap()
            .trunc()),
        (0_u16..9, 16_u8..=128).prop_map(|(n, l)| IpNet::new(
            Ipv6Addr::new(0x2600, n, 0, 0, 0, 0, 0, n).into(),
            l
        )
        .unwrap()
        .trunc()),
        Just("0.0.0.0/0".parse().unwrap()),
        Just("::/0".parse().unwrap()),
    ]
}

fn dest() -> impl Strategy<Value = Dest> {
    let vrf = prop::sample::select(vec![None, Some("red"), Some("blue")]);
    (vrf, prefix()).prop_map(|(vrf, prefix)| Dest {
        vrf: vrf.map(Into::into),
        prefix,
    })
}

/// Those that interfaces, routes and labels name; one of them changes.
fn vrfs(n: u32) -> BTreeMap<VrfName, Vrf> {
    let rd = |kind, n: u32| Some(::bgp::types::Rd([0, kind, 192, 0, 2, 1, 0, n as u8]));
    let red = Vrf {
        rd: rd(1, n),
        import: vec![
            RouteTarget([0, 2, 0, 1, 0, 0, 0, n as u8]),
            RouteTarget([2, 2, 0, 1, 0, 0, 0, 1]),
        ],
        label_mode: crate::config::LabelMode::PerNextHop,
        ..Vrf::default()
    };
    let blue = Vrf {
        import_policy: Some(crate::config::bgp::PolicyName("accept-all".into())),
        redistribute: Some([crate::config::bgp::Origin::Static].into()),
        mpls_ttl: Some(TtlMode::Pipe),
        label_mode: crate::config::LabelMode::PerPrefix,
        entropy: true,
        ..Vrf::default()
    };
    [("red".into(), red), ("blue".into(), blue)].into()
}

fn ttl() -> impl Strategy<Value = Option<TtlMode>> {
    prop::option::of(prop_oneof![Just(TtlMode::Uniform), Just(TtlMode::Pipe)])
}

fn target(names: Vec<String>) -> impl Strategy<Value = Arc<Target>> {
    let discard = prop_oneof![
        Just(Discard::Blackhole),
        Just(Discard::Unreachable),
        Just(Discard::Prohibit)
    ];
    prop_oneof![
        discard.prop_map(|d| Arc::new(Target::Discard(d))),
        (hops(names, false), ttl(), any::<(bool, bool)>()).prop_map(
            |(hops, mpls_ttl, (leaks, entropy))| {
                let plain = |h: &NextHop| h.interface.is_none() && h.label.is_empty();
                let leaks = leaks && hops.iter().all(plain);
                Arc::new(Target::Via {
                    hops,
                    mpls_ttl,
                    via_table: leaks.then(|| "blue".into()),
                    entropy,
                })
            }
        ),
    ]
}

fn label_route(names: Vec<String>) -> impl Strategy<Value = Arc<LabelRoute>> {
    let action = prop_oneof![
        Just(LabelAction::PopLookup(None)),
        Just(LabelAction::PopLookup(Some("blue".into()))),
        hops(names, true).prop_map(LabelAction::Forward)
    ];
    (action, ttl()).prop_map(|(action, mpls_ttl)| Arc::new(LabelRoute { action, mpls_ttl }))
}

fn dataplane() -> impl Strategy<Value = Dataplane> {
    let workers = prop_oneof![
        Just(Workers::Auto),
        prop::collection::btree_set(0_usize..40, 1..8)
            .prop_map(|s| Workers::Cpus(s.into_iter().collect())),
    ];
    let numbers = (0_u32..5000, 2048_u32..1_000_000);
    (workers, any::<[bool; 4]>(), numbers).prop_map(
        |(workers, [poll, memory, ttl, tc], (icmp_rate, frames))| Dataplane {
            workers,
            poll: if poll { Poll::Busy } else { Poll::Adaptive },
            memory: if memory {
                Memory::NoHuge
            } else {
                Memory::Hugepages
            },
            mpls_ttl: if ttl { TtlMode::Pipe } else { TtlMode::Uniform },
            mpls_tc: if tc { TcMode::Zero } else { TcMode::Dscp },
            icmp_rate,
            frames,
        },
    )
}

/// Static labels of the cases are 16 to 39.
fn label_ranges() -> impl Strategy<Value = LabelRanges> {
    let range = |first: u32| {
        let to = first..first + 999;
        to.prop_map(move |last| Range {
            first: Label::new(first).unwrap(),
            last: Label::new(last).unwrap(),
        })
    };
    let [dynamic, vrf, srgb] = [range(1000), range(2000), range(3000)].map(prop::option::of);
    let fixed = any::<bool>();
    (fixed, dynamic, vrf, srgb, 10_u64..100_000).prop_map(|(fixed, dynamic, vrf, srgb, hold)| {
        let all = LabelRanges::default();
        LabelRanges {
            fixed: fixed.then(|| Range {
                first: Label::new(16).unwrap(),
                last: Label::new(999).unwrap(),
            }),
            said: dynamic.is_some(),
            dynamic: dynamic.unwrap_or(all.dynamic),
            vrf,
            srgb,
            hold: Duration::from_millis(hold),
        }
    })
}

/// The same without the leaks that lead back to themselves, which are refused. Without one, another may.
fn without_loops(mut config: Valid) -> Valid {
    loop {
        let found = leak::loops(&config, &config.interfaces);
        if found.is_empty() {
            return config;
        }
        config.routes.retain(|d, _| found.iter().all(|f| f.0 != *d));
    }
}

fn config() -> impl Strategy<Value = Valid> {
    let system =
        (prop::option::of("[ -~é]{1,12}"), prop::option::of(1_u32..)).prop_map(|(name, id)| {
            System {
                name,
                router_id: id.map(Ipv4Addr::from),
            }
        });
    let neighbor = (10_u64..100_000, 10_u64..100_000, 1_u32..9, 0_usize..99).prop_map(
        |(reach, again, max_probes, queue)| {
            let (reachable_time, retransmit_time) =
                (Duration::from_millis(reach), Duration::from_millis(again));
            NeighborParams {
                reachable_time,
                retransmit_time,
                max_probes,
                queue,
            }
        },
    );
    (system, neighbor, dataplane(), interfaces()).prop_flat_map(
        |(system, neighbor, dataplane, interfaces)| {
            let names: Vec<String> = interfaces.keys().cloned().collect();
            let fixed = if names.is_empty() {
                Just(BTreeMap::new()).boxed()
            } else {
                let key = (prop::sample::select(names.clone()), 2_u8..9)
                    .prop_map(|(n, h)| (n, IpAddr::from([10, 99, 0, h])));
                btree_map(
                    key,
                    any::<u8>().prop_map(|b| MacAddr([2, 0, 0, 0, 0, b])),
                    0..4,
                )
                .boxed()
            };
            (
                (
                    Just((system, neighbor, dataplane, interfaces)),
                    label_ranges(),
                ),
                btree_map(dest(), target(names.clone()), 0..6),
                (1_u32..9).prop_map(vrfs),
                btree_map(
                    (16_u32..40).prop_map(|l| Label::new(l).unwrap()),
                    label_route(names),
                    0..6,
                ),
                fixed,
            )
                .prop_map(
                    |(
                        ((system, neighbor, dataplane, interfaces), label_ranges),
                        routes,
                        vrfs,
                        labels,
                        neighbors,
                    )| {
                        without_loops(Valid {
                            system,
                            dataplane,
                            neighbor,
                            interfaces,
                            vrfs,
                            routes,
                            route_file: None,
                            labels,
                            label_ranges,
                            neighbors,
                            bgp: None,
                            ldp: None,
                            policy: PolicyBook::default(),
                            rpki: None,
                            watch: Default::default(),
                        })
                    },
                )
        },
    )
}

fn edit_map<K: Ord + Clone, V: Clone + PartialEq + std::fmt::Debug>(
    map: &mut BTreeMap<K, V>,
    edit: &Edit<K, V>,
) {
    assert_eq!(
        map.get(&edit.key),
        edit.from.as_ref(),
        "a plan starts from what is there"
    );
    match &edit.to {
        Some(value) => map.insert(edit.key.clone(), value.clone()),
        None => map.remove(&edit.key),
    };
}

/// Carries a plan out step by step, checking that each can be done when its turn comes.
fn carry_out(from: &Valid, plan: &Plan) -> Valid {
    let mut now = from.clone();
    for step in plan.steps() {
        match step {
            Step::System(to) => now.system = to.clone(),
            Step::Dataplane(to) => now.dataplane = to.clone(),
            Step::Neighbor(to) => now.neighbor = *to,
            Step::RemoveVrf(e) | Step::SetVrf(e) => edit_map(&mut now.vrfs, e),
            Step::RemoveRoute(e) | Step::SetRoute(e) => edit_map(&mut now.routes, e),
            Step::RemoveLabel(e) | Step::SetLabel(e) => edit_map(&mut now.labels, e),
            Step::RemoveNeighbor(e) | Step::SetNeighbor(e) => edit_map(&mut now.neighbors, e),
            Step::ForgetNeighbor(what) => panic!("{what}: no part of a configuration"),
            Step::Bgp(step) => panic!("{step}: there is none"),
            Step::Policy(step) => panic!("{step}: there is none"),
            Step::Ldp(step) => panic!("{step}: there is none"),
            Step::LabelRanges(step) => now.label_ranges = step.0.clone(),
            Step::Watch(step) => panic!("{step}: there is none"),
            Step::RemoveInterface(old) => {
                assert_eq!(now.interfaces.remove(&old.name).as_ref(), Some(old));
                let child = now.interfaces.values().find(|i| i.port_name() == old.name);
                assert_eq!(child, None, "VLANs go before their parent");
            }
            Step::AddInterface(new) => {
                assert!(
                    new.vlan.is_none() || now.interfaces.contains_key(new.port_name()),
                    "parents come first"
                );
                assert_eq!(now.interfaces.insert(new.name.clone(), new.clone()), None);
            }
            Step::ChangeInterface(old, new) => {
                assert_eq!(
                    (&old.device, &old.queues, &old.vlan),
                    (&new.device, &new.queues, &new.vlan)
                );
                assert_eq!(
                    now.interfaces
                        .insert(new.name.clone(), new.clone())
                        .as_ref(),
                    Some(old)
                );
            }
        }
    }
    now
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_is_printed_reads_back(config in config()) {
        let text = config.to_toml();
        match valid(&text) {
            Ok(back) => prop_assert_eq!(&*back, &config, "{}", text),
            Err(error) => prop_assert!(false, "{}\n{}", error, text),
        }
    }

    #[test]
    fn a_plan_leads_there(from in config(), to in config()) {
        let to = Arc::new(to);
        let plan = to.diff(&from);
        prop_assert_eq!(plan.steps().count(), plan.len());
        let mut there = carry_out(&from, &plan);
        // Removed and added again in one plan: the order of the map is all that may differ.
        there.route_file = None;
        prop_assert_eq!(&there, &*to);
        prop_assert!(to.diff(&to).is_empty());
        prop_assert_eq!(plan.restart.is_empty(), from.dataplane == to.dataplane);
    }

    /// Any text is understood or refused; nothing panics, and every mistake has a line that is there.
    #[test]
    fn any_text(text in "([a-z\\[\\]\"=., 0-9/:\\-]{0,20}\n){0,8}") {
        if let Err(error) = valid(&text) {
            for problem in error.problems {
                prop_assert!(problem.line >= 1 && problem.line <= text.lines().count() + 1, "{}", problem);
            }
        }
    }

    /// The example with a piece of it mutilated.
    #[test]
    fn mutilated(at in 0..super::EXAMPLE.len(), len in 0_usize..30, with in "[ -~\n]{0,5}") {
        let mut text = super::EXAMPLE.to_owned();
        let end = (at + len).min(text.len());
        text.replace_range(at..end, &with);
        let _ = valid(&text);
    }
}
