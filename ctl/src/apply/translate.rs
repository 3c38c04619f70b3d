//! From the words of the configuration to those of the RIB.

use net::IfaceId;

use crate::config::{self, LabelAction, LabelRoute, Target};
use crate::neigh::Params;
use crate::rib::spec::{self, Hop, LabelSpec, PathSpec, PathsSpec, TtlMode};

/// An id that no interface has: a path there is down.
const NOWHERE: IfaceId = IfaceId(u16::MAX);

pub(super) fn ttl(t: config::TtlMode) -> TtlMode {
    match t {
        config::TtlMode::Uniform => TtlMode::Uniform,
        config::TtlMode::Pipe => TtlMode::Pipe,
    }
}

fn path(hop: &config::NextHop, ids: &impl Fn(&str) -> Option<IfaceId>) -> PathSpec {
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
    }
}

/// A static route's target; `ids` finds interfaces by name.
pub(super) fn route(
    t: &Target,
    default: TtlMode,
    ids: &impl Fn(&str) -> Option<IfaceId>,
) -> PathsSpec {
    match t {
        Target::Via { hops, mpls_ttl } => PathsSpec {
            paths: hops.iter().map(|h| path(h, ids)).collect(),
            ttl: mpls_ttl.map_or(default, ttl),
        },
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
    default: TtlMode,
    ids: &impl Fn(&str) -> Option<IfaceId>,
) -> LabelSpec {
    let ttl = l.mpls_ttl.map_or(default, ttl);
    let action = match &l.action {
        LabelAction::PopLookup => spec::LabelAction::PopLookup,
        LabelAction::Forward(hops) => {
            let paths = hops.iter().map(|h| path(h, ids)).collect();
            spec::LabelAction::Forward(PathsSpec { paths, ttl })
        }
    };
    LabelSpec { action, ttl }
}

/// How neighbours are looked for.
pub(crate) fn neighbor_params(p: &config::NeighborParams) -> Params {
    Params::new(p.reachable_time, p.retransmit_time, p.max_probes, p.queue)
}
