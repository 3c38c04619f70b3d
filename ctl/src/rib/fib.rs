//! The [`Sink`] of the running appliance: the dataplane's tables, through their one writer.
//!
//! Every call is in force at once, in every replica, prefixes and labels by the batch; [`Sink::flush`] opens an epoch and takes
//! back what readers have left.
//! The writer keeps its own references and refuses to remove what is still used: such a refusal is a fault of the RIB's,
//! reported and survived (something stays allocated).

use ::fib::{Adjacency, FibBatch, FibError, FibWriter, LabelEntry, Op, Path, TcMode};
use ipnet::IpNet;
use net::{AdjId, GroupId, Ip4Prefix, Ip6Prefix};
use tracing::error;

use super::sink::{Change, Full, OutAdjacency, OutLabel, OutPath, OutTarget, Sink};
use super::spec::{Discard, TtlMode};

/// The tables, as the RIB writes them.
#[derive(Debug)]
pub struct FibSink<'a> {
    writer: &'a mut FibWriter,
    /// For its room.
    batch: &'a mut FibBatch,
    tc: TcMode,
}

impl<'a> FibSink<'a> {
    /// Writes with this writer, what belongs together by way of `batch`; pushed labels get their traffic class by `tc`.
    pub fn new(writer: &'a mut FibWriter, batch: &'a mut FibBatch, tc: TcMode) -> Self {
        Self { writer, batch, tc }
    }

    /// Those that are backups, or those that are none.
    fn paths(&self, paths: &[OutPath], backup: bool) -> Vec<(Path, u32)> {
        let one = |p: &OutPath| {
            let mut path = Path::to(target(p.target));
            path.push = p.push.clone();
            path.entropy = p.entropy;
            path.ttl = ttl(p.ttl);
            path.tc = self.tc;
            (path, p.weight)
        };
        paths
            .iter()
            .filter(|p| p.backup == backup)
            .map(one)
            .collect()
    }
}

fn ttl(t: TtlMode) -> ::fib::TtlMode {
    match t {
        TtlMode::Uniform => ::fib::TtlMode::Uniform,
        TtlMode::Pipe => ::fib::TtlMode::Pipe,
    }
}

fn target(t: OutTarget) -> ::fib::Target {
    match t {
        OutTarget::Adjacency(a) => ::fib::Target::Adjacency(a),
        OutTarget::Glean(i) => ::fib::Target::Glean(i),
        OutTarget::Local(i) => ::fib::Target::Local(i),
        OutTarget::Discard(d) => ::fib::Target::Discard(match d {
            Discard::Blackhole => ::fib::Discard::Blackhole,
            Discard::Unreachable => ::fib::Discard::Unreachable,
            Discard::Prohibit => ::fib::Discard::Prohibit,
        }),
    }
}

fn adjacency(a: &OutAdjacency) -> Adjacency {
    let adj = Adjacency::incomplete(a.iface, a.port, a.mtu, a.next_hop);
    match a.mac {
        Some(mac) => adj.complete(a.source, mac, a.vlan),
        None => adj,
    }
}

fn full(e: FibError) -> Full {
    Full(e.to_string())
}

/// Reports what a right RIB never causes.
fn must(done: Result<(), FibError>) {
    if let Err(e) = done {
        error!(
            "the forwarding tables refuse what the RIB asks for: {e}; this is a bug, please report it"
        );
    }
}

/// A change, as the tables name it. `None` for a prefix that is none, which `IpNet` can't hold.
pub(crate) fn op(change: Change) -> Option<Op> {
    let v4 = |p: ipnet::Ipv4Net| Ip4Prefix::new(p.network().to_bits(), p.prefix_len());
    let v6 = |p: ipnet::Ipv6Net| Ip6Prefix::new(p.network().to_bits(), p.prefix_len());
    Some(match change {
        Change::Set(IpNet::V4(p), group) => Op::Set4(v4(p)?, group),
        Change::Set(IpNet::V6(p), group) => Op::Set6(v6(p)?, group),
        Change::Del(IpNet::V4(p)) => Op::Del4(v4(p)?),
        Change::Del(IpNet::V6(p)) => Op::Del6(v6(p)?),
        Change::SetIn(vrf, IpNet::V4(p), group) => Op::SetVrf4(vrf, v4(p)?, group),
        Change::SetIn(vrf, IpNet::V6(p), group) => Op::SetVrf6(vrf, v6(p)?, group),
        Change::DelIn(vrf, IpNet::V4(p)) => Op::DelVrf4(vrf, v4(p)?),
        Change::DelIn(vrf, IpNet::V6(p)) => Op::DelVrf6(vrf, v6(p)?),
        Change::SetLabel(label, OutLabel::PopLookup(vrf, t)) => {
            Op::SetLabel(label, LabelEntry::pop_lookup_in(vrf, ttl(t)))
        }
        Change::SetLabel(label, OutLabel::PopLast(t)) => {
            Op::SetLabel(label, LabelEntry::pop_last(ttl(t)))
        }
        Change::SetLabel(label, OutLabel::PopForward(group, t)) => {
            Op::SetLabel(label, LabelEntry::pop_forward(group, ttl(t)))
        }
        Change::SetLabel(label, OutLabel::Forward(group, t)) => {
            Op::SetLabel(label, LabelEntry::forward(group, ttl(t)))
        }
        Change::DelLabel(label) => Op::DelLabel(label),
    })
}

impl Sink for FibSink<'_> {
    fn add_group(&mut self, paths: &[OutPath]) -> Result<GroupId, Full> {
        let (first, backups) = (self.paths(paths, false), self.paths(paths, true));
        self.writer.add_group_backed(&first, &backups).map_err(full)
    }

    fn replace_group(&mut self, id: GroupId, paths: &[OutPath]) -> Result<(), Full> {
        let (first, backups) = (self.paths(paths, false), self.paths(paths, true));
        self.writer
            .replace_group_backed(id, &first, &backups)
            .map_err(full)
    }

    fn remove_group(&mut self, id: GroupId) {
        must(self.writer.remove_group(id));
    }

    fn add_adjacency(&mut self, adj: &OutAdjacency) -> Result<AdjId, Full> {
        self.writer.add_adj(adjacency(adj)).map_err(full)
    }

    fn replace_adjacency(&mut self, id: AdjId, adj: &OutAdjacency) {
        must(self.writer.replace_adj(id, adjacency(adj)).map(drop));
    }

    fn remove_adjacency(&mut self, id: AdjId) {
        must(self.writer.remove_adj(id));
    }

    fn apply(&mut self, changes: &[Change]) -> Result<(), Full> {
        self.batch.clear();
        self.batch.extend(changes.iter().copied().filter_map(op));
        self.writer.apply(self.batch).map_err(|e| {
            let first = e.refused.first().map(|r| r.error);
            first.map_or_else(|| Full(e.to_string()), full)
        })
    }

    fn flush(&mut self) {
        self.writer.flush();
    }
}
