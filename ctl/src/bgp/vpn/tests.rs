//! What routes of VRFs push.

use bgp::attrs::{AttrBuf, LabelStack};
use bgp::types::NextHop;

use super::*;
use crate::rib::FollowedHop;

pub(super) const BLUE: VrfId = VrfId(1);
pub(super) const P: &str = "10.8.0.0/16";

pub(super) fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

/// A route that was learned in that VRF, or of another PE's (0).
pub(super) fn of(table: u16) -> Use<'static> {
    Use {
        next_hop: Some(NextHop::V4([192, 0, 2, 1].into())),
        interface: None,
        relation: Some(Relation::Internal),
        labels: LabelStack::from(AttrBuf::new().view().labels()),
        table: VrfNo(table),
        backup: false,
        index: None,
        last_resort: false,
    }
}

/// What is pushed has the TTL mode and the entropy labels of the VRF that it is pushed in.
#[test]
fn routes_push_as_their_vrf_says() {
    let (mut vpns, mut rib) = (Vpns::default(), Rib::new());
    let red = VrfId(2);
    vpns.push.insert(BLUE, (TtlMode::Pipe, true));
    for vrf in [BLUE, red] {
        let hop = LabeledHop {
            hop: FollowedHop {
                address: [192, 0, 2, 1].into(),
                dev: None,
                vrf: VrfId::GLOBAL,
                labeled: true,
            },
            labels: net::Label::new(500).into_iter().collect(),
            backup: false,
        };
        let no = VrfNo(vrf.0);
        vpns.install(no, net(P), &[of(0)], vec![hop], &mut rib);
        let mut all = rib.routes_at(vrf, net(P));
        let r = all.next().expect("a route");
        assert_eq!((r.source, r.spec.paths.len()), (Source::Ibgp, 1));
        let path = &r.spec.paths[0];
        let labels: Vec<u32> = path.labels.iter().map(|l| l.get()).collect();
        assert_eq!(labels, [500]);
        let want = match vrf {
            BLUE => (TtlMode::Pipe, true),
            _ => (TtlMode::Uniform, false),
        };
        assert_eq!((r.spec.ttl, path.entropy), want);
    }
    vpns.install(VrfNo(BLUE.0), net(P), &[], vec![], &mut rib);
    assert_eq!(rib.routes_at(BLUE, net(P)).count(), 0);
    assert_eq!(rib.routes_at(red, net(P)).count(), 1);
}
