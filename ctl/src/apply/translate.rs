//! From the words of the configuration to those of the RIB.

use net::{IfaceId, VrfId};

use crate::config::{self, LabelAction, LabelRoute, Target};
use crate::neigh::Params;
use crate::rib::spec::{self, Hop, LabelSpec, PathSpec, PathsSpec, TtlMode};

/// An id that no interface has: a path there is down.
const NOWHERE: IfaceId = IfaceId(u16::MAX);

pub(crate) fn ttl(t: config::TtlMode) -> TtlMode {
    match t {
        config::TtlMode::Uniform => TtlMode::Uniform,
        config::TtlMode::Pipe => TtlMode::Pipe,
    }
}

/// `vrf`: whose route it is. A labelled packet is the core's, so its next hop is looked up in the global table.
fn path(hop: &config::NextHop, vrf: VrfId, ids: &impl Fn(&str) -> Option<IfaceId>) -> PathSpec {
    let dev = hop
        .interface
        .as_deref()
        .map(|name| ids(name).unwrap_or(NOWHERE));
    let to = match (hop.address, dev) {
        (Some(address), dev) => Hop::Via { address, dev },
        (None, dev) => Hop::Dev(dev.unwrap_or(NOWHERE)),
    };
    PathSpec {
        hop: to,
        weight: hop.weight.into(),
        labels: hop.label.clone(),
        backup: hop.backup,
        vrf: if hop.pushes() { VrfId::GLOBAL } else { vrf },
        entropy: false,
    }
}

/// A static route's target; `ids` finds interfaces by name, `tables` VRFs.
pub(super) fn route(
    t: &Target,
    (vrf, default): (VrfId, TtlMode),
    ids: &impl Fn(&str) -> Option<IfaceId>,
    tables: &impl Fn(&str) -> VrfId,
) -> PathsSpec {
    match t {
        Target::Via {
            hops,
            mpls_ttl,
            via_table,
            entropy,
        } => {
            let vrf = via_table.as_deref().map_or(vrf, tables);
            let spec = PathsSpec {
                paths: hops.iter().map(|h| path(h, vrf, ids)).collect(),
                ttl: mpls_ttl.map_or(default, ttl),
            };
            spec.with_entropy(*entropy)
        }
        Target::Discard(d) => PathsSpec::single(Hop::Discard(match d {
            config::Discard::Blackhole => spec::Discard::Blackhole,
            config::Discard::Unreachable => spec::Discard::Unreachable,
            config::Discard::Prohibit => spec::Discard::Prohibit,
        })),
    }
}

/// A label's entry.
pub(super) fn label(
    l: &LabelRoute,
    vrf: VrfId,
    default: TtlMode,
    ids: &impl Fn(&str) -> Option<IfaceId>,
) -> LabelSpec {
    let ttl = l.mpls_ttl.map_or(default, ttl);
    let action = match &l.action {
        LabelAction::PopLookup(_) => spec::LabelAction::PopLookup(vrf),
        LabelAction::Forward(hops) => {
            let paths = hops.iter().map(|h| path(h, VrfId::GLOBAL, ids)).collect();
            spec::LabelAction::Forward(PathsSpec { paths, ttl })
        }
    };
    LabelSpec { action, ttl }
}

/// How neighbours are looked for.
pub(crate) fn neighbor_params(p: &config::NeighborParams) -> Params {
    Params::new(p.reachable_time, p.retransmit_time, p.max_probes, p.queue)
}

#[cfg(test)]
mod tests {
    use super::*;
    use net::{Label, LabelStack};

    fn ids(name: &str) -> Option<IfaceId> {
        (name == "wan0").then_some(IfaceId(3))
    }

    fn tables(name: &str) -> VrfId {
        if name == "blue" {
            VrfId(9)
        } else {
            VrfId::GLOBAL
        }
    }

    fn hop(address: Option<&str>, interface: Option<&str>) -> config::NextHop {
        config::NextHop {
            address: address.map(|a| a.parse().unwrap()),
            interface: interface.map(Into::into),
            label: LabelStack::from_iter(Label::new(100)),
            weight: 7,
            backup: interface == Some("gone"),
        }
    }

    #[test]
    fn hops_and_defaults() {
        let hops = vec![
            hop(Some("192.0.2.1"), None),
            hop(Some("fe80::1"), Some("wan0")),
            hop(None, Some("wan0")),
            hop(None, Some("gone")),
        ];
        let spec = route(
            &Target::Via {
                entropy: false,
                hops: hops.clone(),
                mpls_ttl: None,
                via_table: None,
            },
            (VrfId(7), TtlMode::Pipe),
            &ids,
            &tables,
        );
        assert!(
            spec.paths.iter().all(|p| p.vrf == VrfId::GLOBAL),
            "labelled"
        );
        let mut bare = hops[0].clone();
        bare.label.clear();
        assert_eq!(path(&bare, VrfId(7), &ids).vrf, VrfId(7));
        let address = |a: &str| a.parse().unwrap();
        let expected = [
            Hop::Via {
                address: address("192.0.2.1"),
                dev: None,
            },
            Hop::Via {
                address: address("fe80::1"),
                dev: Some(IfaceId(3)),
            },
            Hop::Dev(IfaceId(3)),
            Hop::Dev(NOWHERE),
        ];
        assert_eq!(
            spec.paths.iter().map(|p| p.hop).collect::<Vec<_>>(),
            expected
        );
        assert!(
            spec.paths
                .iter()
                .all(|p| p.weight == 7 && p.labels.len() == 1)
        );
        assert_eq!(
            spec.paths.iter().map(|p| p.backup).collect::<Vec<_>>(),
            [false, false, false, true]
        );
        assert_eq!(spec.ttl, TtlMode::Pipe);
        let own = Target::Via {
            entropy: true,
            hops,
            mpls_ttl: Some(config::TtlMode::Uniform),
            via_table: None,
        };
        let uniform = route(&own, (VrfId::GLOBAL, TtlMode::Pipe), &ids, &tables);
        assert_eq!(uniform.ttl, TtlMode::Uniform);
        let leak = |name: &str| Target::Via {
            entropy: false,
            hops: vec![bare.clone()],
            mpls_ttl: None,
            via_table: Some(name.into()),
        };
        for (name, table) in [("blue", VrfId(9)), ("global", VrfId::GLOBAL)] {
            let spec = route(&leak(name), (VrfId(7), TtlMode::Pipe), &ids, &tables);
            assert_eq!(spec.paths[0].vrf, table, "{name}");
        }
    }

    #[test]
    fn discards_and_labels() {
        let spec = route(
            &Target::Discard(config::Discard::Prohibit),
            (VrfId(7), TtlMode::Uniform),
            &ids,
            &tables,
        );
        assert_eq!(
            spec,
            PathsSpec::single(Hop::Discard(spec::Discard::Prohibit))
        );
        let l = LabelRoute {
            action: LabelAction::PopLookup(Some("blue".into())),
            mpls_ttl: Some(config::TtlMode::Pipe),
        };
        let got = label(&l, VrfId(7), TtlMode::Uniform, &ids);
        assert_eq!(
            got,
            LabelSpec {
                action: spec::LabelAction::PopLookup(VrfId(7)),
                ttl: TtlMode::Pipe
            }
        );
        let l = LabelRoute {
            action: LabelAction::Forward(vec![hop(Some("192.0.2.1"), None)]),
            mpls_ttl: None,
        };
        let got = label(&l, VrfId::GLOBAL, TtlMode::Pipe, &ids);
        assert_eq!(got.ttl, TtlMode::Pipe);
        assert!(
            matches!(got.action, spec::LabelAction::Forward(p) if p.ttl == TtlMode::Pipe && p.paths.len() == 1)
        );
    }
}
