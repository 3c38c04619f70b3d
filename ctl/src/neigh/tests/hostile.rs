//! Any sequence of events, any bytes: bounds hold, nothing is lost or invented, the indexes agree.

use std::collections::BTreeMap;

use net::arp::Op;
use net::nd::{AdvertFlags, advert, solicit};
use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Ev {
    Resolve(IpAddr, bool),
    Want(IpAddr),
    Unwant(IpAddr),
    Static(IpAddr),
    NoStatic(IpAddr),
    Flush(IpAddr),
    Arp {
        reply: bool,
        mac: u8,
        sender: IpAddr,
        target: IpAddr,
        dst: u8,
    },
    Ns {
        mac: u8,
        src: IpAddr,
        target: IpAddr,
    },
    Na {
        mac: u8,
        target: IpAddr,
        flags: u8,
    },
    Bytes(Vec<u8>, bool),
    Wait(u64),
    Down,
    Up(bool),
}

fn addr() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        8 => (1u8..12).prop_map(|n| ip(&format!("192.0.2.{n}"))),
        4 => (1u8..12).prop_map(|n| ip(&format!("2001:db8::{n}"))),
        2 => (1u8..4).prop_map(|n| ip(&format!("fe80::{n}"))),
        1 => prop::sample::select(vec!["0.0.0.0", "192.0.2.255", "203.0.113.1", "224.0.0.1", "::", "ff02::1", "198.51.100.1"]).prop_map(ip),
    ]
}

fn event() -> impl Strategy<Value = Ev> {
    let mac = 1u8..4;
    prop_oneof![
        6 => (addr(), any::<bool>()).prop_map(|(a, h)| Ev::Resolve(a, h)),
        2 => addr().prop_map(Ev::Want),
        1 => addr().prop_map(Ev::Unwant),
        1 => addr().prop_map(Ev::Static),
        1 => addr().prop_map(Ev::NoStatic),
        1 => addr().prop_map(Ev::Flush),
        6 => (any::<bool>(), mac.clone(), addr(), addr(), 0u8..3)
            .prop_map(|(reply, mac, sender, target, dst)| Ev::Arp { reply, mac, sender, target, dst }),
        3 => (mac.clone(), addr(), addr()).prop_map(|(mac, src, target)| Ev::Ns { mac, src, target }),
        3 => (mac, addr(), 0u8..8).prop_map(|(mac, target, flags)| Ev::Na { mac, target, flags }),
        1 => (prop::collection::vec(any::<u8>(), 0..100), any::<bool>()).prop_map(|(b, arp)| Ev::Bytes(b, arp)),
        6 => prop_oneof![0u64..100, 900u64..1100, 1000u64..40_000].prop_map(Ev::Wait),
        1 => Just(Ev::Down),
        1 => any::<bool>().prop_map(Ev::Up),
    ]
}

/// What goes in and comes out, seen from outside.
struct Ledger {
    lab: Lab,
    ms: u64,
    /// Frames handed over and not come back, by serial number.
    inside: HashSet<u64>,
    serial: u64,
    /// What the data plane believes.
    adjacencies: BTreeMap<IpAddr, MacAddr>,
}

impl Ledger {
    fn apply(&mut self, ev: Ev) {
        let (now, mac) = (self.lab.at(self.ms), |n: u8| MacAddr([2, 0, 0, 0, 0, n]));
        let (n, out) = (&mut self.lab.n, &mut self.lab.out);
        match ev {
            Ev::Resolve(a, with) => {
                let held = with.then(|| {
                    self.serial += 1;
                    self.inside.insert(self.serial);
                    Held {
                        ethertype: 0x0800,
                        bytes: self.serial.to_be_bytes().to_vec(),
                        received_ttl: None,
                        vrf: net::VrfId::GLOBAL,
                    }
                });
                n.resolve(now, IF, a, held, out);
            }
            Ev::Want(a) => n.want(now, IF, a, out),
            Ev::Unwant(a) => n.unwant(IF, a),
            Ev::Static(a) => n.add_static(now, IF, a, OTHER, out),
            Ev::NoStatic(a) => _ = n.del_static(now, IF, a, out),
            Ev::Flush(a) => _ = n.flush(now, IF, a, out),
            Ev::Arp {
                reply,
                mac: m,
                sender: IpAddr::V4(sender),
                target: IpAddr::V4(target),
                dst,
            } => {
                let op = if reply { Op::Reply } else { Op::Request };
                let arp = Arp {
                    op,
                    sender_mac: mac(m),
                    sender,
                    target_mac: US,
                    target,
                };
                let dst = [MacAddr::BROADCAST, US, OTHER][usize::from(dst)];
                n.arp_rx(now, IF, &arp.frame(dst), out);
            }
            Ev::Ns {
                mac: m,
                src: IpAddr::V6(src),
                target: IpAddr::V6(target),
            } => {
                n.nd_rx(now, IF, &solicit(mac(m), src, target, None), out);
            }
            Ev::Na {
                mac: m,
                target: IpAddr::V6(target),
                flags,
            } => {
                let flags = AdvertFlags {
                    router: flags & 1 != 0,
                    solicited: flags & 2 != 0,
                    override_: flags & 4 != 0,
                };
                n.nd_rx(
                    now,
                    IF,
                    &advert(mac(m), US, target, v6("fe80::1"), target, flags),
                    out,
                );
            }
            Ev::Bytes(b, true) => n.arp_rx(now, IF, &b, out),
            Ev::Bytes(b, false) => n.nd_rx(now, IF, &b, out),
            Ev::Wait(ms) => self.wait(ms),
            Ev::Down => n.interface_down(IF, out),
            Ev::Up(all) => {
                let whole = cfg();
                let few = IfaceCfg {
                    v4: vec![(v4("192.0.2.1"), 24)],
                    v6: vec![],
                    ..cfg()
                };
                n.interface_up(now, if all { &whole } else { &few }, out);
            }
            Ev::Arp { .. } | Ev::Ns { .. } | Ev::Na { .. } => {}
        }
        self.settle();
    }

    fn wait(&mut self, ms: u64) {
        self.ms += ms;
        let now = self.lab.at(self.ms);
        // Every other address is in use.
        self.lab.n.tick(
            now,
            &mut |_, a| a.to_string().len() % 2 == 0,
            &mut self.lab.out,
        );
        assert!(
            self.lab.n.poll_at().is_none_or(|t| t > now),
            "something due was left"
        );
    }

    /// Books what came out.
    fn settle(&mut self) {
        let mut back = |held: &Held| {
            let serial = u64::from_be_bytes(held.bytes[..].try_into().unwrap());
            assert!(self.inside.remove(&serial), "frame {serial} came out twice");
        };
        let acts = self.lab.take();
        assert!(acts.len() < 200);
        for act in &acts {
            match act {
                Act::Send { frame, .. } => {
                    let src = Eth::new(frame).unwrap().src();
                    assert!(src == US && (arps(&acts).len() + nds(&acts).len() > 0));
                }
                Act::Resolved {
                    addr, mac, release, ..
                } => {
                    release.iter().for_each(&mut back);
                    self.adjacencies.insert(*addr, *mac);
                }
                Act::Lost { addr, .. } => {
                    assert!(
                        self.adjacencies.remove(addr).is_some(),
                        "{addr} was never there"
                    );
                }
                Act::GiveUp { held, .. } => back(held),
                Act::Duplicate { by, .. } => assert_ne!(*by, US),
            }
        }
        let held: usize = self.lab.n.entries().map(|e| e.held).sum();
        assert_eq!(held, self.inside.len(), "frames held");
        let known: BTreeMap<_, _> = self
            .lab
            .n
            .entries()
            .filter(|e| e.state.is_resolved())
            .map(|e| (e.addr, e.mac.unwrap()))
            .collect();
        assert_eq!(known, self.adjacencies, "what the data plane was told");
        assert!(self.lab.n.entries().count() <= 8 + self.lab.n.statics.len());
        assert!(self.lab.n.entries().all(|e| e.held <= 3));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_history(events in prop::collection::vec(event(), 1..120)) {
        let params = Params { queue: 3, max_entries: 8, max_held_bytes: 100, new_per_second: 20, ..Params::default() };
        let mut ledger = Ledger { lab: Lab::with(params), ms: 0, inside: HashSet::new(), serial: 0, adjacencies: BTreeMap::new() };
        for ev in events {
            ledger.apply(ev);
        }
        // Everything ends: frames do not stay for ever, and only configured and wanted neighbours do.
        ledger.lab.n.interface_down(IF, &mut ledger.lab.out);
        ledger.settle();
        prop_assert!(ledger.inside.is_empty() && ledger.adjacencies.is_empty());
        prop_assert_eq!(ledger.lab.n.poll_at(), None);
    }

    /// Frames with one thing wrong, or more.
    #[test]
    fn mutated_frames(kind in 0..4, at in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4), cut in any::<prop::sample::Index>()) {
        let mut lab = Lab::new();
        lab.resolve(0, "192.0.2.7", Some(frame(1)));
        lab.resolve(0, "2001:db8::7", Some(frame(2)));
        let mut f = match kind {
            0 => Arp::request(PEER, v4("192.0.2.7"), v4("192.0.2.1")).frame(US).to_vec(),
            1 => Arp::announcement(PEER, v4("192.0.2.1")).frame(MacAddr::BROADCAST).to_vec(),
            2 => solicit(PEER, v6("2001:db8::7"), v6("2001:db8::1"), None).to_vec(),
            _ => advert(PEER, US, v6("2001:db8::7"), v6("fe80::1"), v6("2001:db8::7"), AdvertFlags::default()).to_vec(),
        };
        for (i, b) in &at {
            let len = f.len();
            f[i.index(len)] = *b;
        }
        if at.len() % 2 == 1 {
            f.truncate(cut.index(f.len()));
        }
        let now = lab.at(1);
        lab.n.arp_rx(now, IF, &f, &mut lab.out);
        lab.n.nd_rx(now, IF, &f, &mut lab.out);
        prop_assert!(lab.take().len() <= 3);
        prop_assert!(lab.n.entries().count() <= 3);
    }
}
