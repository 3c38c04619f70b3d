//! Routes of the router's own: which are told, and with what.

use bgp::speaker::{Side, Wanted};
use bgp::types::Family;

use super::*;

const LINKS: &str = r#"
[system]
router-id = "192.0.2.1"
[label-range]
srgb = "16000-16009"
[vrf.red]
[interface.e1]
device = "af_packet:e1"
address = ["10.0.1.1/24", "2001:db8:1::1/64"]
[interface.e2]
device = "af_packet:e2"
address = "10.0.2.1/24"
[interface.e3]
device = "af_packet:e3"
address = "10.0.3.1/24"
vrf = "red"
[[route]]
prefix = "198.51.100.0/24"
via = "10.0.1.2"
[[route]]
prefix = "10.0.1.0/24"
via = "10.0.2.2"
[[route]]
prefix = "198.51.101.0/24"
via = "10.0.3.2"
vrf = "red"
[policy.seven]
[[policy.seven.rule]]
set = { label-index = 7 }
action = "accept"
[policy.eight]
[[policy.eight.rule]]
set = { label-index = 8 }
action = "accept"
[policy.none]
default = "reject"
[bgp]
as = 64512
"#;

/// What neighbours would be told of a prefix: its label and index.
type Seen = Option<(Option<u32>, Option<u32>)>;

struct Bed {
    lab: Lab,
    speaker: Speaker,
    own: Own,
    valid: Arc<Valid>,
}

impl Bed {
    fn new(bgp: &str) -> Self {
        let lab = Lab::new();
        let mut speaker = speaker(lab.now);
        let srgb = bgp::attrs::Srgb {
            first: 16_000,
            size: 10,
        };
        speaker.set_srgb(Some(srgb));
        let mut bed = Self {
            lab,
            speaker,
            own: Own::default(),
            valid: Arc::default(),
        };
        bed.configure(bgp);
        bed
    }

    fn configure(&mut self, bgp: &str) {
        self.valid = configured(&format!("{LINKS}{bgp}"));
        self.own.changed();
        self.turn();
    }

    fn with<T>(&mut self, f: impl FnOnce(&mut Self, &Links<'_>) -> T) -> T {
        let valid = Arc::clone(&self.valid);
        let ifaces = [("e1", 1, 0, true), ("e2", 2, 0, false), ("e3", 3, 1, true)];
        let ifaces = ifaces.map(|(name, n, vrf, up)| {
            let (name, it) = iface(&valid, name, n, VrfId(vrf));
            (name, Iface { up, ..it })
        });
        let links = Links {
            ifaces: &ifaces.into(),
            names: &BTreeMap::new(),
            vrfs: &BTreeMap::new(),
            host: None,
            neigh: &Neighbours::new(Params::default()),
            valid: &valid,
        };
        f(self, &links)
    }

    fn turn(&mut self) {
        self.with(|bed, links| {
            let valid = Arc::clone(&bed.valid);
            let lab = &mut bed.lab;
            let mut from = Labelled {
                manager: &mut lab.manager,
                ttl: TtlMode::Uniform,
                now: lab.now,
            };
            let mut labels = Labels {
                bound: &mut lab.bound,
                from: &mut from,
                rib: &mut lab.rib,
            };
            while bed.own.turn(&mut bed.speaker, &mut labels, &valid, links) {}
            let mut nobody = |_: IpNet, _: &[Use<'_>]| {};
            while bed.speaker.work(100, &mut nobody, lab.now) {}
        });
    }

    fn told(&mut self, family: Family, p: &str) -> Seen {
        let (wanted, now) = (Wanted::Exactly(net(p)), self.lab.now);
        let page = self
            .speaker
            .routes(family, &wanted, &Side::Table, None, now);
        let one = page.unwrap().paths.into_iter().next()?;
        let v = one.attrs.view();
        let label = v.labels().and_then(|l| l.iter().next().map(Label::get));
        Some((label, v.label_index()))
    }

    fn plain(&mut self, p: &str) -> bool {
        self.told(Family::Ipv4Unicast, p).is_some()
    }

    fn labeled(&mut self, p: &str) -> Seen {
        self.told(Family::Ipv4Labeled, p)
    }

    /// Where each prefix is from.
    fn wanted(&mut self) -> Vec<(String, Protocol)> {
        let all = self.with(|bed, links| wanted(&bed.valid, links));
        let one = |(p, t): (IpNet, Told)| (p.to_string(), t.protocol);
        all.into_iter().map(one).collect()
    }
}

const N: &str = "203.0.113.0/24";

/// Of links that are up, and routes of the global table; `networks` before links, links before static routes.
#[test]
fn each_prefix_is_told_once() {
    let mut b = Bed::new("redistribute = [\"static\", \"connected\"]\n");
    let connected = |p: &str| (p.to_owned(), Protocol::Connected);
    let stat = |p: &str| (p.to_owned(), Protocol::Static);
    let links = [
        connected("10.0.1.0/24"),
        stat("198.51.100.0/24"),
        connected("2001:db8:1::/64"),
    ];
    assert_eq!(b.wanted(), links, "whatever the order in the file");
    b.configure("redistribute = [\"connected\", \"static\"]\n");
    assert_eq!(b.wanted(), links);
    b.configure(
        "redistribute = [\"connected\", \"static\"]\nnetworks = [\"198.51.100.0/24\", \"203.0.113.0/24\"]\n",
    );
    let bgp = |p: &str| (p.to_owned(), Protocol::Bgp);
    let all = [
        connected("10.0.1.0/24"),
        bgp("198.51.100.0/24"),
        bgp(N),
        connected("2001:db8:1::/64"),
    ];
    assert_eq!(b.wanted(), all);
    assert!(b.plain(N) && b.plain("10.0.1.0/24"));
    assert_eq!(b.labeled(N), None);
    b.configure("");
    assert!(!b.plain(N) && !b.plain("10.0.1.0/24"));
}

/// One entry of `networks`.
fn network(rest: &str) -> String {
    format!("networks = [{{ prefix = \"{N}\"{rest} }}]\n")
}

/// Each change of an entry is told, and each label is what it says.
#[test]
fn what_is_told_follows_the_configuration() {
    let mut b = Bed::new(&network(""));
    assert_eq!((b.plain(N), b.labeled(N)), (true, None));
    b.configure(&network(", label = \"implicit-null\""));
    assert_eq!(b.labeled(N), Some((Some(3), None)));
    let used: usize = b.lab.manager.usage().iter().map(|u| u.used).sum();
    assert_eq!(used, 0, "a null is no label of ours");
    b.configure(&network(", label = \"explicit-null\""));
    assert_eq!(b.labeled(N), Some((Some(0), None)));
    b.configure(&network(", label = \"local\""));
    let (label, index) = b.labeled(N).unwrap();
    assert!(label.is_some_and(|l| l >= 100_000) && index.is_none());
    let label = net::Label::new(label.unwrap()).unwrap();
    let pops = LabelAction::PopLookup(VrfId::GLOBAL);
    assert_eq!(b.lab.rib.label(label).map(|v| v.spec.action), Some(pops));
    // A null, with an index: packets may come with the label of that.
    b.configure(&network(", label = \"implicit-null\", label-index = 3"));
    assert_eq!(b.labeled(N), Some((Some(3), Some(3))));
    assert_eq!(b.lab.is_given(16_003), Some(Owner::SegmentRouting));
    b.configure(&network(", label = \"local\", label-index = 4"));
    assert_eq!(b.labeled(N), Some((Some(16_004), Some(4))));
    assert_eq!(b.lab.is_given(16_003), None);
    // What is said beside it is before what its policy says.
    b.configure(&network(
        ", label = \"local\", label-index = 4, policy = \"seven\"",
    ));
    assert_eq!(b.labeled(N), Some((Some(16_004), Some(4))));
    b.configure(&network(", label = \"local\", policy = \"seven\""));
    assert_eq!(b.labeled(N), Some((Some(16_007), Some(7))));
    b.configure(&network(", label = \"local\", policy = \"eight\""));
    assert_eq!(b.labeled(N), Some((Some(16_008), Some(8))));
    b.configure(&network(", policy = \"none\""));
    assert_eq!((b.plain(N), b.labeled(N)), (false, None));
    assert_eq!(b.lab.is_given(16_008), None);
    // The same prefix from elsewhere.
    let six = "2001:db8:7::/48";
    b.configure(&format!(
        "networks = [{{ prefix = \"{six}\", label = \"explicit-null\" }}]\n"
    ));
    assert_eq!(b.told(Family::Ipv6Labeled, six), Some((Some(2), None)));
    assert_eq!((b.plain(N), b.labeled(N)), (false, None));
}

/// What is told without the label of its index, or not at all for want of one, is told once there is one.
#[test]
fn what_lacks_a_label_gets_it_later() {
    let both = "networks = [{ prefix = \"203.0.113.0/24\", label = \"local\", label-index = 4 }]\n";
    let mut b = Bed::new("");
    let (other, now) = (Fec::Prefix(net("192.0.2.9/32")), b.lab.now);
    b.lab.manager.segment(&other, 4, now).unwrap();
    b.configure(both);
    let (label, index) = b.labeled(N).unwrap();
    assert!(label.is_some_and(|l| l >= 100_000) && index.is_none());
    b.lab.manager.release(Owner::SegmentRouting, &other, now);
    b.lab.now += Duration::from_secs(61);
    let now = b.lab.now;
    assert!(b.lab.manager.tick(now));
    b.turn();
    assert_eq!(b.labeled(N), Some((label, None)), "nobody has said so");
    b.own.labels_available();
    b.turn();
    assert_eq!(b.labeled(N), Some((Some(16_004), Some(4))));
    // Another SRGB.
    let range = |first, last| {
        let label = |n| net::Label::new(n).unwrap();
        let (first, last) = (label(first), label(last));
        LabelRanges {
            srgb: Some(Range { first, last }),
            ..LabelRanges::default()
        }
    };
    b.lab.manager.set_ranges(&range(20_000, 20_009));
    b.own.srgb_changed();
    b.turn();
    assert_eq!(b.labeled(N).and_then(|t| t.0), Some(20_004));
    // No label is left, then there are some.
    let dynamic = |first, last| {
        let label = |n| net::Label::new(n).unwrap();
        let (first, last) = (label(first), label(last));
        LabelRanges {
            dynamic: Range { first, last },
            ..LabelRanges::default()
        }
    };
    b.lab.now += Duration::from_secs(61);
    b.lab.manager.tick(b.lab.now);
    b.lab.manager.set_ranges(&dynamic(500, 500));
    b.lab.manager.allocate(Owner::Ldp, &other).unwrap();
    b.configure(&network(", label = \"local\""));
    assert_eq!((b.plain(N), b.labeled(N)), (true, None));
    b.lab.manager.set_ranges(&dynamic(500, 501));
    b.own.labels_available();
    b.turn();
    assert_eq!(b.labeled(N), Some((Some(501), None)));
}
