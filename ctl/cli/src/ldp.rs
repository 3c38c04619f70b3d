//! `trunkctl ldp`: neighbours, interfaces and labels of LDP, for people or as JSON.

use std::io::{self, Write};

use api::blocking::Client;
use api::{LdpBinding, LdpBindingQuery, LdpInterface, LdpNeighbor, LdpSummary};

use crate::args::{Cli, LdpVerb};
use crate::bgp::time;
use crate::table::Align::{Left, Right};
use crate::table::Table;
use crate::{Outcome, show};

/// Does what was asked.
pub(crate) fn run(cli: &Cli, out: &mut dyn Write, verb: Option<&LdpVerb>) -> Outcome {
    let mut client = Client::connect(&cli.socket)?;
    if let Some(LdpVerb::Bindings { prefix }) = verb {
        let prefix = prefix.clone().unwrap_or_default();
        let rows = client.ldp_bindings(LdpBindingQuery { prefix })?;
        return match cli.json {
            true => show::json_rows(out, &rows),
            false => Ok(bindings(out, &rows)?),
        };
    }
    let all = client.ldp(Default::default())?;
    match verb {
        Some(LdpVerb::Neighbors) if cli.json => show::json_rows(out, &all.neighbors),
        Some(LdpVerb::Neighbors) => Ok(neighbors(out, &all.neighbors)?),
        Some(LdpVerb::Interfaces) if cli.json => show::json_rows(out, &all.interfaces),
        Some(LdpVerb::Interfaces) => Ok(interfaces(out, &all.interfaces)?),
        _ => {
            let s = all.summary.unwrap_or_default();
            match cli.json {
                true => show::json(out, &s),
                false => Ok(summary(out, &s)?),
            }
        }
    }
}

fn summary(out: &mut dyn Write, s: &LdpSummary) -> io::Result<()> {
    writeln!(
        out,
        "router-id {}, transport address {}",
        s.router_id, s.transport_address
    )?;
    writeln!(
        out,
        "{} neighbours, {} of them operational",
        s.neighbors, s.operational
    )?;
    writeln!(
        out,
        "{} FECs: {} with a label of ours, {} whose packets get one",
        s.fecs, s.labels, s.pushed
    )?;
    for (why, n) in &s.ignored_hellos {
        writeln!(out, "{n} Hellos not taken: {why}")?;
    }
    Ok(())
}

fn neighbors(out: &mut dyn Write, rows: &[LdpNeighbor]) -> io::Result<()> {
    let mut table = Table::new(&[
        ("NEIGHBOR", Left),
        ("STATE", Left),
        ("UP", Right),
        ("ADDRESS", Left),
        ("LABELS", Right),
        ("HEARD ON", Left),
        ("LAST END", Left),
    ]);
    for n in rows {
        let on = n.adjacencies.iter().map(|a| match a.interface.as_str() {
            "" => a.address.clone(),
            i => format!("{} dev {i}", a.address),
        });
        table.row([
            n.neighbor.clone(),
            n.state.clone(),
            if n.state == "operational" {
                time(n.uptime_s)
            } else {
                "-".into()
            },
            n.address.clone(),
            n.received.to_string(),
            on.collect::<Vec<_>>().join(", "),
            n.last_end.clone(),
        ]);
    }
    table.print(out)
}

fn interfaces(out: &mut dyn Write, rows: &[LdpInterface]) -> io::Result<()> {
    let mut table = Table::new(&[
        ("INTERFACE", Left),
        ("STATE", Left),
        ("HOLD", Right),
        ("NEIGHBORS", Right),
    ]);
    for i in rows {
        table.row([
            i.interface.clone(),
            if i.up { "up" } else { "down" }.into(),
            format!("{}s", i.hello_hold_s),
            i.adjacencies.to_string(),
        ]);
    }
    table.print(out)
}

/// A label as it is told.
fn told(label: u32) -> String {
    match label {
        0 | 2 => "explicit-null".into(),
        3 => "implicit-null".into(),
        n => n.to_string(),
    }
}

fn bindings(out: &mut dyn Write, rows: &[LdpBinding]) -> io::Result<()> {
    let mut table = Table::new(&[
        ("FEC", Left),
        ("LOCAL", Left),
        ("NEIGHBOR", Left),
        ("REMOTE", Left),
        ("PACKETS", Left),
    ]);
    for b in rows {
        let hop = |h: &api::NextHop| {
            let way = format!("via {} dev {}", h.address, h.interface);
            match h.label.as_slice() {
                [] => way,
                [l, ..] => format!("{way} label {}", told(*l)),
            }
        };
        let packets: Vec<String> = b.via.iter().map(hop).collect();
        let local = b.local.map_or("-".into(), told);
        let lines = b.remote.len().max(1);
        for n in 0..lines {
            let first = |text: &str| {
                if n == 0 {
                    text.to_owned()
                } else {
                    String::new()
                }
            };
            let remote = b.remote.get(n);
            table.row([
                first(&b.fec),
                first(&local),
                remote.map_or("-".into(), |r| r.neighbor.clone()),
                remote.map_or("-".into(), |r| told(r.label)),
                first(&packets.join(", ")),
            ]);
        }
    }
    table.print(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_told_by_name() {
        let remote = |n: u8, label| api::LdpRemote {
            neighbor: format!("192.0.2.{n}:0"),
            label,
        };
        let b = LdpBinding {
            fec: "10.1.0.0/16".into(),
            local: Some(100_000),
            remote: vec![remote(2, 3), remote(3, 17)],
            via: vec![api::NextHop {
                address: "10.0.0.2".into(),
                interface: "wan0".into(),
                ..Default::default()
            }],
        };
        let mut out = Vec::new();
        bindings(&mut out, &[b, LdpBinding::default()]).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|l| l.split_whitespace().collect())
            .collect();
        assert_eq!(
            lines[1],
            [
                "10.1.0.0/16",
                "100000",
                "192.0.2.2:0",
                "implicit-null",
                "via",
                "10.0.0.2",
                "dev",
                "wan0"
            ]
        );
        assert_eq!(lines[2], ["192.0.2.3:0", "17"]);
        assert_eq!(lines[3], ["-", "-", "-"]);
    }
}
