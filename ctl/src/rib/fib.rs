//! The [`Sink`] of the running appliance: the dataplane's tables, through their one writer.
//!
//! Every call is in force at once, in every replica; [`Sink::flush`] opens an epoch and takes back what readers have left.
//! The writer keeps its own references and refuses to remove what is still used: such a refusal is a fault of the RIB's,
//! reported and survived (something stays allocated).

use ::fib::{Adjacency, FibError, FibWriter, LabelEntry, Path, TcMode};
use ipnet::IpNet;
use net::{AdjId, GroupId, Ip4Prefix, Ip6Prefix, Label};
use tracing::error;

use super::sink::{Full, OutAdjacency, OutLabel, OutPath, OutTarget, Sink};
use super::spec::{Discard, TtlMode};

/// The tables, as the RIB writes them.
#[derive(Debug)]
pub struct FibSink<'a> {
    writer: &'a mut FibWriter,
    tc: TcMode,
}

impl<'a> FibSink<'a> {
    /// Writes with this writer; pushed labels get their traffic class by `tc`.
    pub fn new(writer: &'a mut FibWriter, tc: TcMode) -> Self {
        Self { writer, tc }
    }

    /// Those that are backups, or those that are none.
    fn paths(&self, paths: &[OutPath], backup: bool) -> Vec<(Path, u32)> {
        let one = |p: &OutPath| {
            let mut path = Path::to(target(p.target));
            path.push = p.push.clone();
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

/// A prefix, as the tables of its family name it.
enum Family {
    V4(Ip4Prefix),
    V6(Ip6Prefix),
}

fn family(p: IpNet) -> Option<Family> {
    match p {
        IpNet::V4(p) => Ip4Prefix::new(p.network().to_bits(), p.prefix_len()).map(Family::V4),
        IpNet::V6(p) => Ip6Prefix::new(p.network().to_bits(), p.prefix_len()).map(Family::V6),
    }
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

    fn set(&mut self, prefix: IpNet, group: GroupId) -> Result<(), Full> {
        match family(prefix) {
            Some(Family::V4(p)) => self.writer.set4(p, group),
            Some(Family::V6(p)) => self.writer.set6(p, group),
            None => Ok(()),
        }
        .map_err(full)
    }

    fn del(&mut self, prefix: IpNet) {
        let done = match family(prefix) {
            Some(Family::V4(p)) => self.writer.del4(p),
            Some(Family::V6(p)) => self.writer.del6(p),
            None => Ok(false),
        };
        if let Err(error) = done {
            tracing::error!(%prefix, %error, "a route that is gone still stands in the forwarding table");
        }
    }

    fn set_label(&mut self, label: Label, entry: OutLabel) -> Result<(), Full> {
        let entry = match entry {
            OutLabel::PopLookup(t) => LabelEntry::pop_lookup(ttl(t)),
            OutLabel::Forward(group, t) => LabelEntry::forward(group, ttl(t)),
        };
        self.writer.set_label(label, entry).map_err(full)
    }

    fn del_label(&mut self, label: Label) {
        self.writer.del_label(label);
    }

    fn flush(&mut self) {
        self.writer.flush();
    }
}
