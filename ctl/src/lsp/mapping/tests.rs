//! Labels as who gave them would say, with tables that are made for it.

use super::*;
use std::time::Instant;

use crate::config::labels::{LabelRanges, Range};
use crate::rib::sink::any::Any;
use crate::rib::spec::{Discard, Hop, LabelAction, LabelSpec, PathsSpec, Source, TtlMode};

const BLUE: VrfId = VrfId(1);
const P: &str = "10.8.0.0/16";
const Q: &str = "10.9.0.0/16";

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn rd(n: u8) -> Rd {
    Rd([0, 0, 0xfc, 0, 0, 0, 0, n])
}

fn label(n: u32) -> Label {
    Label::new(n).unwrap()
}

fn paths() -> PathsSpec {
    PathsSpec::single(Hop::Discard(Discard::Blackhole))
}

fn swap() -> LabelAction {
    LabelAction::Forward(paths())
}

struct Lab {
    labels: Manager,
    rib: Rib,
    sink: Any,
    now: Instant,
}

impl Lab {
    fn new() -> Self {
        let (first, last) = (label(16_000), label(16_099));
        let srgb = Some(Range { first, last });
        Self {
            labels: Manager::new(LabelRanges {
                srgb,
                ..LabelRanges::default()
            }),
            rib: Rib::new(),
            sink: Any::default(),
            now: Instant::now(),
        }
    }

    fn gives(&mut self, owner: Owner, fec: Fec, action: LabelAction) -> Label {
        let label = self.labels.allocate(owner, &fec).unwrap();
        self.entry(label, action);
        label
    }

    fn segment(&mut self, p: &str, index: u32, action: LabelAction) -> Label {
        let fec = Fec::Prefix(net(p));
        let label = self.labels.segment(&fec, index, self.now).unwrap();
        self.entry(label, action);
        label
    }

    fn entry(&mut self, label: Label, action: LabelAction) {
        let ttl = TtlMode::Uniform;
        self.rib.set_label(label, Some(LabelSpec { action, ttl }));
    }

    /// A route by hand that is in use.
    fn route(&mut self, vrf: VrfId, p: &str) {
        self.rib.set_static(vrf, net(p), Some(paths()));
        self.rib.drain(&mut self.sink, usize::MAX);
    }

    fn learned(&mut self, p: &str) {
        let route = Some((Source::LabeledIbgp, &paths()));
        self.rib.set_labeled(net(p), route);
        self.rib.drain(&mut self.sink, usize::MAX);
    }

    fn tables(&self) -> Tables<'_> {
        Tables {
            labels: &self.labels,
            rib: &self.rib,
        }
    }

    fn bgp(&self, p: &str, given: Label) -> Option<Label> {
        self.tables().bgp(&net(p), given)
    }

    /// Asked by a distinguisher that blue has.
    fn blue(&self, p: &str, given: Label) -> Option<Label> {
        let own = Some(("blue", BLUE));
        self.tables().vpn((rd(1), net(p)), own, given)
    }
}

/// The border of an AS has no VRF: the label is that of the prefix with its distinguisher (RFC 4364 10 b).
#[test]
fn a_border_gives_labels_for_prefixes_of_others() {
    let mut lab = Lab::new();
    let of = |n, p| Fec::VpnPrefix(rd(n), net(p));
    let one = lab.gives(Owner::Vpn, of(1, P), swap());
    let two = lab.gives(Owner::Vpn, of(2, P), swap());
    let ask = |lab: &Lab, n, p, given| lab.tables().vpn((rd(n), net(p)), None, given);
    assert_eq!(ask(&lab, 1, P, one), Some(one));
    assert_eq!(ask(&lab, 2, P, two), Some(two));
    // Another customer's label is not this one's.
    assert_eq!(ask(&lab, 1, P, two), Some(one));
    assert_eq!(ask(&lab, 3, P, one), None, "nobody's distinguisher");
    assert_eq!(ask(&lab, 1, Q, one), None, "nobody's prefix");
    // Once the route has gone the label is held, and no longer its.
    lab.labels.release(Owner::Vpn, &of(1, P), lab.now);
    assert_eq!(ask(&lab, 1, P, one), None);
}

#[test]
fn a_vrf_has_one_label_or_one_for_each_prefix() {
    let mut lab = Lab::new();
    let into = || LabelAction::PopLookup(BLUE);
    let whole = lab.gives(Owner::Vpn, Fec::Vrf("blue".into()), into());
    assert_eq!(lab.blue(P, whole), None, "no such route");
    lab.route(BLUE, P);
    lab.route(BLUE, Q);
    assert_eq!(lab.blue(P, whole), Some(whole));
    let fec = Fec::VrfPrefix("blue".into(), net(P));
    let p = lab.gives(Owner::Vpn, fec, into());
    let fec = Fec::VrfPrefix("blue".into(), net(Q));
    let q = lab.gives(Owner::Vpn, fec, into());
    assert_eq!((lab.blue(P, p), lab.blue(Q, q)), (Some(p), Some(q)));
    assert_eq!(lab.blue(P, q), Some(p), "that of another prefix");
    assert_eq!(lab.blue(P, whole), Some(p));
    // By hand, and one that leads elsewhere.
    lab.route(BLUE, "10.10.0.0/16");
    lab.entry(label(700), into());
    assert_eq!(lab.blue("10.10.0.0/16", label(700)), Some(label(700)));
    lab.entry(label(700), LabelAction::PopLookup(VrfId::GLOBAL));
    assert_eq!(lab.blue("10.10.0.0/16", label(700)), Some(whole));
}

/// A CE's label is right for what goes to that CE, and for nothing else.
#[test]
fn a_vrf_may_have_one_label_for_each_ce() {
    let mut lab = Lab::new();
    let ce = |n: u8| {
        let (address, dev) = ([10, 0, 0, n].into(), Some(::net::IfaceId(1)));
        PathsSpec::single_in(BLUE, Hop::Via { address, dev })
    };
    let port = crate::rib::spec::IfaceSpec {
        vrf: BLUE,
        port: ::net::PortId(1),
        vlan: None,
        mac: ::net::MacAddr([2, 0, 0, 0, 0, 1]),
        mtu: 1500,
        up: true,
        addresses: vec![net("10.0.0.1/24")],
    };
    lab.rib.set_interface(::net::IfaceId(1), port);
    for (p, n) in [(P, 2), (Q, 3)] {
        lab.rib.set_static(BLUE, net(p), Some(ce(n)));
    }
    lab.rib.drain(&mut lab.sink, usize::MAX);
    let into = LabelAction::PopLookup(BLUE);
    let whole = lab.gives(Owner::Vpn, Fec::Vrf("blue".into()), into);
    let [two, three] = [2, 3].map(|n: u8| {
        let fec = Fec::VrfNextHop("blue".into(), [10, 0, 0, n].into(), "r0".into());
        lab.gives(Owner::Vpn, fec, LabelAction::PopForward(BLUE, ce(n)))
    });
    lab.rib.drain(&mut lab.sink, usize::MAX);
    assert_eq!(
        (lab.blue(P, two), lab.blue(Q, three)),
        (Some(two), Some(three))
    );
    assert_eq!(lab.blue(P, three), Some(whole), "another CE's");
    assert_eq!(lab.blue("10.7.0.0/16", two), None, "nobody's prefix");
    let generic = |p, given| lab.tables().generic(&net(p), given);
    assert_eq!((generic(P, two), generic(P, three)), (Some(two), None));
    assert_eq!(generic(P, whole), Some(whole));
    assert_eq!(generic("10.7.0.0/16", whole), None);
    // The link has gone: nothing goes there.
    lab.rib.set_up(::net::IfaceId(1), false);
    lab.rib.drain(&mut lab.sink, usize::MAX);
    assert_eq!(lab.blue(P, two), None);
}

/// Two edges may have the same distinguisher, and one of them may pass on what the other tells.
#[test]
fn a_vrf_and_what_is_passed_on_may_have_one_distinguisher() {
    let mut lab = Lab::new();
    lab.route(BLUE, P);
    let own = lab.gives(
        Owner::Vpn,
        Fec::Vrf("blue".into()),
        LabelAction::PopLookup(BLUE),
    );
    let passed_on = lab.gives(Owner::Vpn, Fec::VpnPrefix(rd(1), net(P)), swap());
    let other = lab.gives(Owner::Vpn, Fec::VpnPrefix(rd(1), net(Q)), swap());
    assert_eq!(lab.blue(P, own), Some(own));
    assert_eq!(lab.blue(P, passed_on), Some(passed_on));
    assert_eq!(lab.blue(Q, other), Some(other), "not in the VRF");
    assert_eq!(lab.blue(Q, own), Some(other));
}

#[test]
fn a_prefix_of_bgp_has_its_label_or_ends_here() {
    let mut lab = Lab::new();
    let l = lab.gives(Owner::LabeledUnicast, Fec::Prefix(net(P)), swap());
    lab.learned(P);
    assert_eq!(lab.bgp(P, l), Some(l));
    assert_eq!(lab.bgp(P, label(999)), Some(l));
    lab.learned(Q);
    assert_eq!(lab.bgp(Q, l), None, "learned, and told nobody");
    lab.route(VrfId::GLOBAL, Q);
    assert_eq!(lab.bgp(Q, l), Some(Label::IMPLICIT_NULL));
    let explicit = Label::IPV4_EXPLICIT_NULL;
    assert_eq!(lab.bgp(Q, explicit), Some(explicit));
}

/// RFC 8669: labels out of the SRGB are BGP's too.
#[test]
fn a_prefix_with_an_index_has_the_label_of_that() {
    let mut lab = Lab::new();
    let p = lab.segment(P, 7, swap());
    lab.learned(P);
    assert_eq!(p, label(16_007));
    assert_eq!(lab.bgp(P, p), Some(p));
    assert_eq!(lab.bgp(P, label(16_008)), Some(p));
    assert_eq!(lab.bgp(P, Label::IMPLICIT_NULL), Some(p), "it has a label");
    assert_eq!(lab.tables().generic(&net(P), p), Some(p));
    // One of ours: told with a null, and there under that of its index.
    let q = lab.segment(Q, 8, LabelAction::PopLookup(VrfId::GLOBAL));
    lab.route(VrfId::GLOBAL, Q);
    assert_eq!(lab.bgp(Q, q), Some(q));
    let null = Label::IMPLICIT_NULL;
    assert_eq!(lab.bgp(Q, null), Some(null));
    assert_eq!(lab.bgp(Q, p), Some(q));
    assert_eq!(lab.tables().generic(&net(Q), p), Some(q));
}

/// Asked without a word on whose label it is, whoever gave the prefix one may be meant.
#[test]
fn of_a_generic_fec_any_label_counts() {
    for owner in [Owner::Ldp, Owner::LabeledUnicast] {
        let mut lab = Lab::new();
        let p = lab.gives(owner, Fec::Prefix(net(P)), swap());
        let q = lab.gives(Owner::Ldp, Fec::Prefix(net(Q)), swap());
        let ask = |p, given| lab.tables().generic(&net(p), given);
        assert_eq!((ask(P, p), ask(P, q)), (Some(p), Some(p)), "{owner:?}");
        assert_eq!(ask("10.10.0.0/16", p), None, "{owner:?}");
    }
    let mut lab = Lab::new();
    let q = lab.gives(Owner::Ldp, Fec::Prefix(net(Q)), swap());
    let p = lab.segment(P, 7, swap());
    assert_eq!(lab.tables().generic(&net(P), q), Some(p));
}

/// RFC 8029 4.4.1: a label by hand stands for what the table behind it has, and the implicit null for what the global one has.
#[test]
fn a_label_that_is_no_prefixs_is_right_for_what_it_leads_to() {
    let mut lab = Lab::new();
    let (into_blue, global, last, on) = (label(700), label(701), label(702), label(703));
    lab.entry(into_blue, LabelAction::PopLookup(BLUE));
    lab.entry(global, LabelAction::PopLookup(VrfId::GLOBAL));
    lab.entry(last, LabelAction::PopLast);
    lab.entry(on, swap());
    lab.route(BLUE, P);
    lab.route(VrfId::GLOBAL, Q);
    let null = Label::IMPLICIT_NULL;
    let all = [into_blue, global, last, on, null, label(704)];
    let right = |p| all.map(|given| lab.tables().generic(&net(p), given).is_some());
    assert_eq!(right(P), [true, false, false, true, false, false]);
    assert_eq!(right(Q), [false, true, true, true, true, false]);
    // A part of what a route covers, and more than that.
    assert_eq!(right("10.8.1.0/24"), right(P));
    assert_eq!(right("10.9.0.0/24"), right(Q));
    let none = [false, false, false, true, false, false];
    assert_eq!((right("10.8.0.0/15"), right("10.9.0.0/15")), (none, none));
}

/// What a route asks for that is not in use leads nowhere.
#[test]
fn a_route_that_carries_nothing_leads_nowhere() {
    let mut lab = Lab::new();
    let address = [192, 0, 2, 1].into();
    let nowhere = PathsSpec::single_in(BLUE, Hop::Via { address, dev: None });
    lab.rib.set_static(BLUE, net(P), Some(nowhere));
    let address = [192, 0, 2, 1].into();
    let nowhere = PathsSpec::single(Hop::Via { address, dev: None });
    lab.rib.set_static(VrfId::GLOBAL, net(P), Some(nowhere));
    lab.rib.drain(&mut lab.sink, usize::MAX);
    lab.entry(label(700), LabelAction::PopLookup(BLUE));
    assert_eq!(lab.tables().generic(&net(P), label(700)), None);
    assert_eq!(lab.blue(P, label(700)), None);
    assert_eq!(lab.bgp(P, Label::IMPLICIT_NULL), None);
}

#[test]
fn each_null_is_told_for_what_ends_here() {
    let mut lab = Lab::new();
    for p in [Q, "2001:db8::/32"] {
        lab.route(VrfId::GLOBAL, p);
        for null in [0, 2, 3].map(label) {
            assert_eq!(lab.bgp(p, null), Some(null), "{p}");
        }
        assert_eq!(lab.bgp(p, label(999)), Some(Label::IMPLICIT_NULL), "{p}");
    }
}
