//! What is shown, for people or as JSON.

use std::io::{self, Write};

use api::{
    Drop, Interface, LabelRanges, LabelRoute, Memory, Neighbor, NextHop, Rcu, Route, Status, Vrf,
    Worker,
};
use serde::Serialize;

use crate::failure::Failure;
use crate::table::Align::{Left, Right};
use crate::table::Table;

/// An array, a row a line, so that it can be read and also cut by line-wise tools.
pub(crate) fn json_rows<T: Serialize>(out: &mut dyn Write, rows: &[T]) -> Result<(), Failure> {
    let mut array = Array::new(out);
    for row in rows {
        array.row(row)?;
    }
    array.finish()
}

/// One thing.
pub(crate) fn json(out: &mut dyn Write, value: &impl Serialize) -> Result<(), Failure> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)?;
    Ok(())
}

/// A JSON array that is written as its rows come.
pub(crate) struct Array<'o> {
    out: &'o mut dyn Write,
    empty: bool,
}

impl<'o> Array<'o> {
    pub(crate) fn new(out: &'o mut dyn Write) -> Self {
        Self { out, empty: true }
    }

    pub(crate) fn row(&mut self, row: &impl Serialize) -> Result<(), Failure> {
        self.out
            .write_all(if self.empty { b"[\n  " } else { b",\n  " })?;
        self.empty = false;
        serde_json::to_writer(&mut *self.out, row)?;
        Ok(())
    }

    pub(crate) fn finish(self) -> Result<(), Failure> {
        self.out
            .write_all(if self.empty { b"[]\n" } else { b"\n]\n" })?;
        Ok(())
    }
}

/// `via A dev D label 1/2 weight 3`, and where it really goes.
fn hop(hop: &NextHop, several: bool) -> String {
    let mut words = Vec::new();
    match (hop.backup, hop.address.is_empty()) {
        (true, true) => words.push("backup".into()),
        (true, false) => words.push(format!("backup {}", hop.address)),
        (false, true) => {}
        (false, false) => words.push(format!("via {}", hop.address)),
    }
    if !hop.interface.is_empty() {
        words.push(format!("dev {}", hop.interface));
    }
    if !hop.table.is_empty() {
        words.push(format!("in {}", hop.table));
    }
    if !hop.label.is_empty() {
        words.push(format!("label {}", labels(&hop.label)));
    }
    if hop.entropy_label {
        words.push("entropy-label".into());
    }
    if several || hop.weight > 1 {
        words.push(format!("weight {}", hop.weight.max(1)));
    }
    if !hop.resolved.is_empty() && hop.resolved != hop.address {
        words.push(format!("by {}", hop.resolved));
    }
    match (hop.active, hop.backup) {
        (true, _) => {}
        (false, true) => words.push("(standing by)".into()),
        (false, false) => words.push("(inactive)".into()),
    }
    words.join(" ")
}

fn labels(stack: &[u32]) -> String {
    stack
        .iter()
        .map(u32::to_string)
        .collect::<Vec<_>>()
        .join("/")
}

/// One entry whose next hops stand below each other.
fn entry(
    out: &mut dyn Write,
    head: &str,
    first: &str,
    hops: &[NextHop],
    tail: &str,
) -> io::Result<()> {
    // A weight says something among others of the same kind.
    let several = |h: &NextHop| hops.iter().filter(|o| o.backup == h.backup).count() > 1;
    let mut lines: Vec<String> = hops.iter().map(|h| hop(h, several(h))).collect();
    if lines.is_empty() {
        lines.push(String::new());
    }
    for (at, line) in lines.iter().enumerate() {
        let margin = if at == 0 {
            head.to_owned()
        } else {
            " ".repeat(head.chars().count())
        };
        let before = if at == 0 { first } else { "" };
        let last = if at + 1 == lines.len() { tail } else { "" };
        let words: Vec<&str> = [before, line, last]
            .into_iter()
            .filter(|w| !w.is_empty())
            .collect();
        writeln!(out, "{}", format!("{margin}{}", words.join(" ")).trim_end())?;
    }
    Ok(())
}

/// What keeps an entry from forwarding.
fn problem(installed: bool, problem: &str) -> String {
    match (installed, problem) {
        (true, _) => String::new(),
        (false, "") => "(not installed)".to_owned(),
        (false, why) => format!("(not installed: {why})"),
    }
}

/// A route; columns of a fixed width, so that tables of any length can be printed as they come.
pub(crate) fn route(out: &mut dyn Write, route: &Route) -> io::Result<()> {
    let head = format!("{:<20} {:<10} ", route.prefix, route.protocol);
    let mut tail = problem(route.installed, &route.problem);
    if !route.mpls_ttl.is_empty() {
        tail = format!("ttl {} {tail}", route.mpls_ttl);
    }
    entry(out, &head, &route.discard, &route.via, tail.trim_end())
}

/// A label.
pub(crate) fn label(out: &mut dyn Write, label: &LabelRoute) -> io::Result<()> {
    let head = format!("{:<8} {:<5} ", label.label, label.action);
    let mut tail = problem(label.installed, &label.problem);
    if !label.mpls_ttl.is_empty() {
        tail = format!("ttl {} {tail}", label.mpls_ttl);
    }
    if !matches!(label.owner.as_str(), "" | "static") {
        tail = format!("({} {}) {tail}", label.owner, label.fec);
    }
    if let Some(left) = label.leaving_s {
        tail = format!("{} leaving, {:.0} s", tail.trim_end(), left.ceil());
    }
    let first = if label.via.is_empty() { "lookup" } else { "" };
    entry(out, &head, first, &label.via, tail.trim_end())
}

/// The ranges of labels.
pub(crate) fn label_ranges(out: &mut dyn Write, all: &LabelRanges) -> io::Result<()> {
    let mut table = Table::new(&[
        ("RANGE", Left),
        ("FIRST", Right),
        ("LAST", Right),
        ("USED", Right),
        ("HELD", Right),
        ("FREE", Right),
    ]);
    for r in &all.ranges {
        let numbers = [r.first, r.last, r.used, r.held, r.free].map(|n| n.to_string());
        let [first, last, used, held, free] = numbers;
        table.row([r.range.clone(), first, last, used, held, free]);
    }
    table.print(out)
}

/// The interfaces.
pub(crate) fn interfaces(out: &mut dyn Write, all: &[Interface]) -> io::Result<()> {
    all.iter().try_for_each(|each| interface(out, each))
}

fn interface(out: &mut dyn Write, i: &Interface) -> io::Result<()> {
    let down = if i.up { "" } else { " (taken down)" };
    let mut head = format!("{}: {}{down}", i.name, i.link);
    match i.vlan {
        Some(vlan) => head.push_str(&format!("  vlan {vlan}")),
        None => head.push_str(&format!("  {}", i.device)),
    }
    head.push_str(&format!("  mtu {}  mac {}  numa {}", i.mtu, i.mac, i.numa));
    if i.speed_mbps > 0 {
        head.push_str(&format!("  {} Mb/s", i.speed_mbps));
    }
    if i.queues > 0 {
        head.push_str(&format!("  queues {}", i.queues));
    }
    if i.mpls {
        head.push_str("  mpls");
    }
    if !i.vrf.is_empty() {
        head.push_str(&format!("  vrf {}", i.vrf));
    }
    writeln!(out, "{head}")?;
    let mut addresses = i.address.clone();
    if !i.link_local.is_empty() && !i.address.iter().any(|a| a.starts_with(&i.link_local)) {
        addresses.push(i.link_local.clone());
    }
    if !addresses.is_empty() {
        writeln!(out, "    address  {}", addresses.join("  "))?;
    }
    if !i.duplicate.is_empty() {
        writeln!(
            out,
            "    DUPLICATE: another host uses {}",
            i.duplicate.join(", ")
        )?;
    }
    if !i.tap.is_empty() {
        writeln!(out, "    kernel   {}", i.tap)?;
    }
    traffic(out, i)?;
    writeln!(
        out,
        "    router   {} punted  {} injected  {} created",
        i.punted, i.injected, i.created
    )?;
    let drops: Vec<String> = i
        .drops
        .iter()
        .filter(|(_, n)| **n > 0)
        .map(|(why, n)| format!("{why} {n}"))
        .collect();
    if !drops.is_empty() {
        writeln!(out, "    dropped  {}", drops.join("  "))?;
    }
    Ok(())
}

/// What came and went.
fn traffic(out: &mut dyn Write, i: &Interface) -> io::Result<()> {
    let width = [i.rx_packets, i.tx_packets]
        .iter()
        .map(|n| n.to_string().len())
        .max()
        .unwrap_or(1);
    let bytes = [i.rx_bytes, i.tx_bytes]
        .iter()
        .map(|n| n.to_string().len())
        .max()
        .unwrap_or(1);
    write!(
        out,
        "    rx       {:>width$} packets  {:>bytes$} bytes",
        i.rx_packets, i.rx_bytes
    )?;
    for (count, what) in [
        (i.rx_missed, "missed"),
        (i.rx_errors, "errors"),
        (i.rx_nombuf, "without buffer"),
    ] {
        if count > 0 {
            write!(out, "  {count} {what}")?;
        }
    }
    writeln!(
        out,
        "\n    tx       {:>width$} packets  {:>bytes$} bytes",
        i.tx_packets, i.tx_bytes
    )
}

/// The neighbours.
pub(crate) fn neighbors(out: &mut dyn Write, all: &[Neighbor]) -> io::Result<()> {
    let mut table = Table::new(&[
        ("ADDRESS", Left),
        ("DEV", Left),
        ("LLADDR", Left),
        ("STATE", Left),
        ("AGE", Right),
        ("HELD", Right),
    ]);
    for n in all {
        let lladdr = if n.lladdr.is_empty() {
            "-".to_owned()
        } else {
            n.lladdr.clone()
        };
        let age = if n.state == "permanent" {
            "-".to_owned()
        } else {
            format!("{:.1}s", n.age_s)
        };
        table.row([
            n.address.clone(),
            n.interface.clone(),
            lladdr,
            n.state.clone(),
            age,
            n.held.to_string(),
        ]);
    }
    table.print(out)
}

/// The workers.
pub(crate) fn workers(out: &mut dyn Write, all: &[Worker]) -> io::Result<()> {
    let mut table = Table::new(&[
        ("WORKER", Right),
        ("CPU", Right),
        ("NUMA", Right),
        ("BUSY", Right),
        ("CYCLES/PACKET", Right),
        ("MAX LOOP", Right),
        ("PACKETS", Right),
        ("BURSTS", Right),
        ("RCU LAG", Right),
        ("QUEUES", Left),
    ]);
    for w in all {
        table.row([
            w.worker.to_string(),
            w.cpu.to_string(),
            w.numa.to_string(),
            format!("{:.1}%", w.busy_ratio * 100.0),
            format!("{:.0}", w.cycles_per_packet),
            format!("{:.0}us", w.max_loop_us),
            w.packets.to_string(),
            w.bursts.to_string(),
            w.rcu_lag.to_string(),
            w.queues.join(" "),
        ]);
    }
    table.print(out)?;
    stages(out, all)
}

/// Where the cycles of a frame go, and how long loops take: the time of a frame from RX to TX at most.
fn stages(out: &mut dyn Write, all: &[Worker]) -> io::Result<()> {
    writeln!(out)?;
    let mut table = Table::new(&[
        ("WORKER", Right),
        ("LOOP P50", Right),
        ("LOOP P99", Right),
        ("CYCLES A PACKET BY STAGE", Left),
    ]);
    for w in all {
        let parts = w.stages.iter().filter(|(_, cycles)| **cycles > 0.0);
        let parts: Vec<String> = parts
            .map(|(s, cycles)| format!("{s} {cycles:.1}"))
            .collect();
        table.row([
            w.worker.to_string(),
            format!("{:.1}us", w.loop_p50_us),
            format!("{:.1}us", w.loop_p99_us),
            parts.join("  "),
        ]);
    }
    table.print(out)
}

/// What was dropped.
pub(crate) fn drops(out: &mut dyn Write, all: &[Drop]) -> io::Result<()> {
    let mut table = Table::new(&[("INTERFACE", Left), ("REASON", Left), ("PACKETS", Right)]);
    for d in all {
        table.row([d.interface.clone(), d.reason.clone(), d.packets.to_string()]);
    }
    table.print(out)
}

/// What the tables take.
pub(crate) fn vrfs(out: &mut dyn Write, all: &[Vrf]) -> io::Result<()> {
    let mut table = Table::new(&[
        ("VRF", Left),
        ("RD", Left),
        ("IPV4", Right),
        ("IPV6", Right),
        ("INTERFACES", Left),
        ("LABELS", Left),
        ("IMPORT", Left),
        ("EXPORT", Left),
        ("NETNS", Left),
    ]);
    let dash = |text: String| if text.is_empty() { "-".into() } else { text };
    for v in all {
        let labels: Vec<String> = v.label.iter().map(ToString::to_string).collect();
        table.row([
            v.name.clone(),
            dash(v.rd.clone()),
            v.ipv4_routes.to_string(),
            v.ipv6_routes.to_string(),
            dash(v.interface.join(",")),
            dash(labels.join(",")),
            dash(v.import.join(",")),
            dash(v.export.join(",")),
            dash(v.netns.clone()),
        ]);
    }
    table.print(out)?;
    for v in all {
        let (import, export) = (&v.import_global, &v.export_global);
        if !import.is_empty() {
            writeln!(
                out,
                "{}: takes routes of the global table by {import}",
                v.name
            )?;
        }
        if !export.is_empty() {
            writeln!(
                out,
                "{}: gives routes to the global table by {export}",
                v.name
            )?;
        }
        for t in &v.unmatched_import {
            writeln!(out, "{}: nothing has {t}, which it imports", v.name)?;
        }
        for t in &v.unmatched_export {
            writeln!(out, "{}: nobody known takes {t}, which it exports", v.name)?;
        }
    }
    Ok(())
}

pub(crate) fn memory(out: &mut dyn Write, m: &Memory) -> io::Result<()> {
    let mut table = Table::new(&[
        ("NUMA", Right),
        ("IPV4", Right),
        ("IPV6", Right),
        ("VRFS", Right),
        ("LABELS", Right),
        ("NEXT HOPS", Right),
    ]);
    for n in &m.nodes {
        let all = [
            n.ipv4_bytes,
            n.ipv6_bytes,
            n.vrf_bytes,
            n.label_bytes,
            n.hop_bytes,
        ];
        let [four, six, vrfs, labels, hops] = all.map(kib);
        table.row([n.numa.to_string(), four, six, vrfs, labels, hops]);
    }
    table.print(out)?;
    writeln!(out, "only to change them: {}", kib(m.writer_bytes))?;
    let mut table = Table::new(&[("TABLE", Left), ("IN USE", Right), ("OF", Right)]);
    for t in &m.tables {
        table.row([
            t.table.clone(),
            t.in_use.to_string(),
            t.capacity.to_string(),
        ]);
    }
    table.print(out)
}

/// Bytes, in the unit that people can compare.
fn kib(bytes: u64) -> String {
    format!("{} KiB", bytes.div_ceil(1024))
}

/// The state of RCU.
pub(crate) fn rcu(out: &mut dyn Write, rcu: &Rcu) -> io::Result<()> {
    writeln!(
        out,
        "epoch {}, {} objects ({} bytes) wait for readers",
        rcu.epoch, rcu.pending, rcu.pending_bytes
    )?;
    let mut table = Table::new(&[
        ("READER", Left),
        ("SEEN", Right),
        ("LAG", Right),
        ("STATE", Left),
    ]);
    for r in &rcu.readers {
        let stalled = rcu.stalled.contains(&r.name);
        let state = match (stalled, r.online) {
            (true, _) => format!("STALLED for {:.0}s", r.stalled_s),
            (false, true) => "online".into(),
            (false, false) => "asleep".into(),
        };
        table.row([r.name.clone(), r.seen.to_string(), r.lag.to_string(), state]);
    }
    table.print(out)
}

/// What runs.
pub(crate) fn status(out: &mut dyn Write, s: &Status) -> io::Result<()> {
    let ready = if s.ready { "" } else { ", still starting" };
    writeln!(
        out,
        "{}: trunkline {}, pid {}, up {:.0} s{ready}",
        s.name, s.version, s.pid, s.uptime_s
    )?;
    if s.startup_ms > 0.0 {
        writeln!(out, "    forwarding {:.0} ms after its start", s.startup_ms)?;
    }
    if !s.router_id.is_empty() {
        writeln!(out, "    router-id  {}", s.router_id)?;
    }
    writeln!(
        out,
        "    dataplane  {} worker{}, {} polling, memory {}",
        s.workers,
        if s.workers == 1 { "" } else { "s" },
        s.poll,
        s.memory
    )?;
    writeln!(out, "    config     {}", s.config)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(print: impl Fn(&mut dyn Write) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        print(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn via(address: &str, dev: &str, label: &[u32], weight: u32) -> NextHop {
        NextHop {
            address: address.into(),
            interface: dev.into(),
            label: label.to_vec(),
            weight,
            active: true,
            resolved: String::new(),
            backup: false,
            table: String::new(),
            entropy_label: false,
        }
    }

    #[test]
    fn routes_line_up() {
        let all = [
            Route {
                prefix: "203.0.113.0/24".into(),
                protocol: "static".into(),
                installed: true,
                via: vec![via("198.51.100.3", "wan0", &[100, 200], 1)],
                ..Default::default()
            },
            Route {
                prefix: "10.0.0.0/8".into(),
                protocol: "static".into(),
                via: vec![via("10.1.0.1", "a", &[], 3), via("10.2.0.1", "b", &[], 1)],
                problem: "no way to the next hop".into(),
                ..Default::default()
            },
            Route {
                prefix: "192.0.2.0/24".into(),
                protocol: "static".into(),
                installed: true,
                discard: "blackhole".into(),
                ..Default::default()
            },
            Route {
                prefix: "198.51.100.0/24".into(),
                protocol: "static".into(),
                installed: true,
                via: vec![
                    via("10.1.0.1", "a", &[], 1),
                    NextHop {
                        backup: true,
                        active: false,
                        ..via("10.2.0.1", "b", &[], 1)
                    },
                ],
                ..Default::default()
            },
        ];
        let expected = "\
203.0.113.0/24       static     via 198.51.100.3 dev wan0 label 100/200
10.0.0.0/8           static     via 10.1.0.1 dev a weight 3
                                via 10.2.0.1 dev b weight 1 (not installed: no way to the next hop)
192.0.2.0/24         static     blackhole
198.51.100.0/24      static     via 10.1.0.1 dev a
                                backup 10.2.0.1 dev b (standing by)
";
        assert_eq!(
            text(|out| all.iter().try_for_each(|r| route(out, r))),
            expected
        );
    }

    #[test]
    fn labels_line_up() {
        let all = [
            LabelRoute {
                label: 300,
                action: "swap".into(),
                installed: true,
                mpls_ttl: "pipe".into(),
                via: vec![via("198.51.100.3", "wan0", &[400], 1)],
                ..Default::default()
            },
            LabelRoute {
                label: 1_048_575,
                action: "pop".into(),
                installed: true,
                ..Default::default()
            },
        ];
        let expected = "\
300      swap  via 198.51.100.3 dev wan0 label 400 ttl pipe
1048575  pop   lookup
";
        assert_eq!(
            text(|out| all.iter().try_for_each(|l| label(out, l))),
            expected
        );
    }

    #[test]
    fn counters_are_in_full() {
        let one = Interface {
            name: "wan0".into(),
            device: "af_packet:eth1".into(),
            link: "up".into(),
            mac: "02:00:00:00:00:01".into(),
            mtu: 1500,
            up: true,
            address: vec!["198.51.100.2/31".into()],
            rx_packets: u64::MAX,
            tx_packets: 7,
            rx_bytes: 1,
            tx_bytes: 1_234_567,
            drops: [("no_route".to_owned(), 3), ("runt".to_owned(), 0)].into(),
            ..Default::default()
        };
        let expected = "\
wan0: up  af_packet:eth1  mtu 1500  mac 02:00:00:00:00:01  numa 0
    address  198.51.100.2/31
    rx       18446744073709551615 packets        1 bytes
    tx                          7 packets  1234567 bytes
    router   0 punted  0 injected  0 created
    dropped  no_route 3
";
        assert_eq!(
            text(|out| interfaces(out, std::slice::from_ref(&one))),
            expected
        );
    }

    #[test]
    fn memory_lines_up() {
        let node = |numa| api::NodeMemory {
            numa,
            ipv4_bytes: 4 << 20,
            ipv6_bytes: 1,
            vrf_bytes: 2 << 20,
            label_bytes: 4 << 20,
            hop_bytes: 0,
        };
        let room = api::TableRoom {
            table: "groups".into(),
            in_use: 7,
            capacity: 131_072,
        };
        let all = Memory {
            nodes: vec![node(0), node(1)],
            writer_bytes: 1025,
            tables: vec![room],
        };
        let expected = "\
NUMA      IPV4   IPV6      VRFS    LABELS  NEXT HOPS
   0  4096 KiB  1 KiB  2048 KiB  4096 KiB      0 KiB
   1  4096 KiB  1 KiB  2048 KiB  4096 KiB      0 KiB
only to change them: 2 KiB
TABLE   IN USE      OF
groups       7  131072
";
        assert_eq!(text(|out| memory(out, &all)), expected);
    }

    #[test]
    fn arrays_are_json() {
        for rows in [vec![], vec![1], vec![1, 2, 3]] {
            let mut out = Vec::new();
            json_rows(&mut out, &rows).unwrap();
            assert_eq!(serde_json::from_slice::<Vec<i32>>(&out).unwrap(), rows);
        }
    }
}
