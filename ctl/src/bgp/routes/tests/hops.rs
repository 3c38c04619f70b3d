//! Next hops between the speaker and the RIB: who follows which, and what is told of it.

use std::collections::BTreeSet;

use super::*;
use crate::rib::spec::{IfaceSpec, PathSpec};

const CONFIG: &str = r#"
[system]
router-id = "192.0.2.1"
[interface.e1]
device = "af_packet:e1"
address = "10.0.1.1/24"
[policy.far]
[[policy.far.rule]]
set = { next-hop = "192.0.2.7" }
action = "accept"
[policy.drop]
[[policy.drop.rule]]
set = { blackhole = true }
action = "accept"
[bgp]
as = 64512
"#;

const RED: VrfNo = VrfNo(3);

/// The prefixes whose next hop is reached, as the speaker says.
#[derive(Default)]
struct Heard(BTreeSet<(&'static str, IpNet)>);

impl Heard {
    fn note(&mut self, sort: &'static str, p: IpNet, by: &[Use<'_>]) {
        match by.is_empty() {
            true => self.0.remove(&(sort, p)),
            false => self.0.insert((sort, p)),
        };
    }
}

impl Best for Heard {
    fn best(&mut self, p: IpNet, by: &[Use<'_>]) {
        self.note("plain", p, by);
    }

    fn labeled(&mut self, p: IpNet, by: &[Use<'_>], _: bool) -> Option<Label> {
        self.note("labeled", p, by);
        None
    }

    fn vrf(&mut self, _: VrfNo, p: IpNet, by: &[Use<'_>]) -> Option<Label> {
        self.note("vrf", p, by);
        None
    }
}

struct Bed {
    speaker: Speaker,
    rib: Rib,
    hops: Hops,
    valid: Arc<Valid>,
    heard: Heard,
    now: Instant,
}

impl Bed {
    fn new() -> Self {
        let now = Instant::now();
        let mut rib = Rib::new();
        let spec = IfaceSpec {
            vrf: VrfId::GLOBAL,
            port: net::PortId(1),
            vlan: None,
            mac: net::MacAddr([2, 0, 0, 0, 0, 1]),
            mtu: 1500,
            up: true,
            addresses: vec![net("10.0.1.1/24")],
        };
        rib.set_interface(net::IfaceId(1), spec);
        let mut bed = Self {
            speaker: speaker(now),
            rib,
            hops: Hops::default(),
            valid: configured(CONFIG),
            heard: Heard::default(),
            now,
        };
        bed.need_labels(true);
        bed.turn();
        bed
    }

    fn need_labels(&mut self, on: bool) {
        self.hops.need_labels(on, &mut self.speaker, &mut self.rib);
    }

    fn policy(&self, name: &str) -> Arc<Policy> {
        self.valid.policy(name).unwrap()
    }

    fn plain(&mut self, p: &str, policy: &str) {
        let policy = self.policy(policy);
        let now = self.now;
        (self.speaker).originate(net(p), Protocol::Static, 0, Some(&policy), now);
    }

    fn labeled(&mut self, p: &str) {
        let policy = self.policy("far");
        let label = (Label::new(500).unwrap(), None);
        let now = self.now;
        (self.speaker).originate_labeled(net(p), label, Protocol::Static, Some(&policy), now);
    }

    fn in_red(&mut self, p: &str) {
        let policy = self.policy("far");
        let now = self.now;
        (self.speaker).originate_in_vrf(RED, net(p), Protocol::Static, Some(&policy), now);
    }

    /// The way to 192.0.2.7 in a table: none, one for IP packets, one with a label.
    fn way(&mut self, vrf: VrfId, labels: Option<&[u32]>) {
        let spec = labels.map(|labels| {
            let address = [10, 0, 1, 2].into();
            let mut path = PathSpec::new(Hop::Via { address, dev: None });
            let labels = labels.iter().filter_map(|l| net::Label::new(*l));
            path.labels = labels.collect();
            PathsSpec {
                paths: vec![path],
                ttl: TtlMode::Uniform,
            }
        });
        self.rib.set_static(vrf, net("192.0.2.7/32"), spec);
    }

    fn turn(&mut self) {
        let links = Links {
            ifaces: &BTreeMap::new(),
            names: &BTreeMap::new(),
            vrfs: &BTreeMap::new(),
            host: None,
            neigh: &Neighbours::new(Params::default()),
            valid: &self.valid,
        };
        for _ in 0..20 {
            self.hops.events(&mut self.speaker, &mut self.rib, &links);
            while self.rib.drain(&mut Any::default(), usize::MAX).more {}
            self.hops
                .resolved(&mut self.speaker, &mut self.rib, self.now);
            while self.speaker.work(100, &mut self.heard, self.now) {}
        }
    }

    /// What the speaker can use now.
    fn used(&mut self) -> Vec<&'static str> {
        self.turn();
        self.heard.0.iter().map(|(sort, _)| *sort).collect()
    }

    /// The next hops that are followed: the table, and whether they need labels.
    fn followed(&self) -> BTreeSet<(u16, bool)> {
        let all = self.hops.followed.keys();
        all.map(|h| (h.vrf.0, h.labeled)).collect()
    }
}

/// A next hop is sought as what has it needs it: with labels, without, in its table; and who needs the same hears the same.
#[test]
fn next_hops_are_followed_as_their_routes_need_them() {
    let mut b = Bed::new();
    b.plain("10.1.0.0/16", "far");
    b.labeled("10.2.0.0/16");
    b.in_red("10.3.0.0/16");
    assert_eq!(b.used(), [""; 0]);
    assert_eq!(b.followed(), [(0, false), (0, true), (3, false)].into());
    b.way(VrfId::GLOBAL, Some(&[]));
    assert_eq!(b.used(), ["plain"]);
    b.way(VrfId::GLOBAL, Some(&[17]));
    assert_eq!(b.used(), ["labeled", "plain"]);
    b.way(VrfId::GLOBAL, Some(&[]));
    assert_eq!(b.used(), ["plain"]);
    // No packet goes by it here: it needs no label, and what is known of the next hop counts at once.
    b.need_labels(false);
    assert_eq!(b.followed(), [(0, false), (3, false)].into());
    assert_eq!(b.used(), ["labeled", "plain"]);
    b.way(VrfId::GLOBAL, None);
    assert_eq!(b.used(), [""; 0], "both are told");
    b.way(VrfId::GLOBAL, Some(&[]));
    assert_eq!(b.used(), ["labeled", "plain"]);
    // One that comes now, and back to where each is by itself.
    b.labeled("10.4.0.0/16");
    assert_eq!(b.used(), ["labeled", "labeled", "plain"]);
    b.need_labels(true);
    assert_eq!(b.used(), ["plain"]);
    assert_eq!(b.followed(), [(0, false), (0, true), (3, false)].into());
    b.way(VrfId::GLOBAL, Some(&[17]));
    assert_eq!(b.used(), ["labeled", "labeled", "plain"]);
}

/// A reflector tells of routes with labels, and needs none.
#[test]
fn who_only_tells_needs_no_label() {
    let mut b = Bed::new();
    b.need_labels(false);
    b.labeled("10.2.0.0/16");
    b.way(VrfId::GLOBAL, Some(&[]));
    assert_eq!(b.used(), ["labeled"]);
    assert_eq!(b.followed(), [(0, false)].into());
}

/// What nobody has is followed no more, and the RIB keeps nothing of it.
#[test]
fn next_hops_that_nobody_has_are_let_go() {
    let mut b = Bed::new();
    b.way(VrfId::GLOBAL, Some(&[17]));
    b.turn();
    let before = b.rib.sizes();
    b.plain("10.1.0.0/16", "far");
    b.labeled("10.2.0.0/16");
    assert_eq!(b.used(), ["labeled", "plain"]);
    b.speaker.withdraw_own(net("10.1.0.0/16"));
    assert_eq!(b.used(), ["labeled"]);
    assert_eq!(b.followed(), [(0, true)].into());
    b.speaker.withdraw_own_labeled(net("10.2.0.0/16"));
    assert_eq!(b.used(), [""; 0]);
    assert_eq!(b.followed(), [].into());
    assert_eq!(b.rib.sizes(), before);
    // All at once, as BGP ends.
    b.plain("10.1.0.0/16", "far");
    b.labeled("10.2.0.0/16");
    b.turn();
    assert_ne!(b.rib.sizes(), before);
    b.hops.clear(&mut b.rib);
    while b.rib.drain(&mut Any::default(), usize::MAX).more {}
    assert_eq!(b.rib.sizes(), before);
}

/// Where packets are dropped on purpose no next hop has to be reached.
#[test]
fn what_is_dropped_on_purpose_needs_no_way() {
    let mut b = Bed::new();
    b.plain("10.1.0.0/16", "drop");
    assert_eq!(b.used(), ["plain"]);
    assert_eq!(b.followed(), [].into());
}
