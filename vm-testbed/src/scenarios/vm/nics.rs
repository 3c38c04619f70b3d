//! A pair of cards of each make that this QEMU has and DPDK drives, one on either node: what works with it. The table in docs/ is
//! made of what is seen here.
//!
//! Left out: QEMU's oldest card, e1000 (82540EM). It comes up under net_e1000_em, but frames that the driver has sent were seen to
//! stay in it, one or all of them; the table says so.

use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::{TOP, alone, record, section};
use crate::frame::Mac;
use crate::lab::cmd;
use crate::lab::wait::secs;
use crate::progress;
use crate::suite::Options;
use crate::vm::machine::{VIRTIO, card_on};
use crate::vm::router::{State, driver};
use crate::vm::station::{cross, cross_large};
use crate::vm::{Card, Router, Spec, Station, TWO_NODES, Vm};

/// How long frames may take through a machine that is emulated, neighbours to be found included.
const THROUGH: std::time::Duration = secs(30);

/// A make of card.
struct Make {
    /// Its name, and its pair's: on node 0, on node 1.
    name: &'static str,
    pair: [&'static str; 2],
    /// QEMU's model, without options.
    model: &'static str,
    /// With them.
    options: &'static str,
    /// The kernel's driver.
    kernel: &'static str,
    /// DPDK's.
    dpdk: &'static str,
}

const fn make(
    name: &'static str,
    pair: [&'static str; 2],
    options: &'static str,
    kernel: &'static str,
    dpdk: &'static str,
) -> Make {
    Make {
        name,
        pair,
        model: name,
        options,
        kernel,
        dpdk,
    }
}

const MAKES: &[Make] = &[
    make(
        "e1000e",
        ["e1000e-0", "e1000e-1"],
        "e1000e",
        "e1000e",
        "net_e1000_em",
    ),
    make("igb", ["igb-0", "igb-1"], "igb", "igb", "net_e1000_igb"),
    make(
        "vmxnet3",
        ["vmxnet3-0", "vmxnet3-1"],
        "vmxnet3",
        "vmxnet3",
        "net_vmxnet3",
    ),
    Make {
        model: "virtio-net-pci",
        ..make(
            "virtio",
            ["virtio-0", "virtio-1"],
            VIRTIO,
            "virtio-pci",
            "net_virtio",
        )
    },
];

/// The makes that this QEMU has.
fn here() -> Result<Vec<&'static Make>> {
    let list = cmd::output(Command::new("qemu-system-x86_64").args(["-device", "help"]))?;
    let has = |m: &&Make| list.contains(&format!("name \"{}\"", m.model));
    Ok(MAKES.iter().filter(has).collect())
}

/// Each make in turn.
///
/// # Errors
/// When one does not do what its row of the table says it does.
pub fn nics(_: &Options) -> Result<()> {
    let here = here()?;
    for m in MAKES
        .iter()
        .filter(|m| !here.iter().any(|h| h.name == m.name))
    {
        progress::note(&format!("{}: this QEMU has no such card", m.name));
        let row = json!({
            "qemu": m.options.split(',').next(), "kernel": m.kernel, "dpdk": m.dpdk, "taken": "this QEMU has none",
        });
        record::card(m.name, &row);
    }
    let row = json!({
        "qemu": "e1000 (82540EM)", "kernel": "e1000", "dpdk": "net_e1000_em",
        "taken": "not run: it is taken, but frames that DPDK's driver has sent stay in QEMU's card, one or all of them (QEMU 7.2, DPDK 22.11)",
    });
    record::card("e1000", &row);
    let mut cards: Vec<Card> = vec![];
    for (n, m) in (1..).zip(&here) {
        for (node, name) in [0, 1].into_iter().zip(m.pair) {
            cards.push(Card {
                driver: m.kernel,
                ..card_on(node, name, m.options, n)
            });
        }
    }
    let spec = Spec {
        name: "vm-nics",
        // It lives as long as the process: a machine's cards are known when the test bed is built, but for this one.
        cards: cards.leak(),
        ..TWO_NODES
    };
    alone(&spec, |vm| {
        vm.guest.run("modprobe vfio-pci")?;
        let mut failed = vec![];
        for (n, m) in (1..).zip(&here) {
            let mut row = json!({
                "qemu": m.options.split(',').next(), "kernel": m.kernel, "dpdk": m.dpdk,
            });
            let done = try_pair(vm, m, n, &mut row);
            if let Err(e) = &done {
                let key = if row["frames"].is_null() {
                    "taken"
                } else {
                    "link"
                };
                row[key] = format!(
                    "no: {}",
                    format!("{e:#}").lines().next().unwrap_or_default()
                )
                .into();
            }
            progress::note(&format!("{}: {row}", m.name));
            record::card(m.name, &row);
            if let Err(e) = done {
                failed.push(e.context(m.name));
                break; // what is left of it would be in the next one's way
            }
        }
        match failed.pop() {
            Some(e) => Err(e),
            None => Ok(()),
        }
    })
}

fn stations(m: &Make, n: u8) -> [Station; 2] {
    const IP: [(&str, &str); 2] = [
        ("10.1.0.2", "2001:db8:10::2"),
        ("10.1.1.2", "2001:db8:11::2"),
    ];
    let mac = |node: u8| -> Mac { [2, 0x54, 0x4c, 1, n, node] };
    let station = |node: usize| Station {
        card: m.pair[node],
        mac: mac(node as u8),
        ip4: IP[node].0,
        ip6: IP[node].1,
    };
    [station(0), station(1)]
}

fn try_pair(vm: &mut Vm, m: &Make, n: u8, row: &mut Value) -> Result<()> {
    let before = State::take(vm)?;
    let pair = stations(m, n);
    let sections: Vec<String> = pair.iter().map(|s| section(vm, s)).collect();
    let top = TOP.replace("1-3", "auto");
    let router = Router::start(vm, &format!("{top}{}", sections.concat()))?;
    for s in &pair {
        let address = vm.address(s.card).to_owned();
        let now = driver(&mut vm.guest, &address)?;
        ensure!(now == "vfio-pci", "{address} has {now}");
        router.link(vm, s.card, "up")?;
    }
    let [a, b] = &pair;
    cross(vm, a, b, THROUGH)?;
    cross(vm, b, a, THROUGH)?;
    row["frames"] = "both ways".into();
    cross_large(vm, a, b, THROUGH)?;
    cross_large(vm, b, a, THROUGH)?;
    row["large"] = "both ways".into();
    for s in &pair {
        vm.qmp.set_link(s.card, false)?;
        router.link(vm, s.card, "down")?;
        vm.qmp.set_link(s.card, true)?;
        router.link(vm, s.card, "up")?;
    }
    cross(vm, a, b, THROUGH)?;
    row["link"] = "yes".into();
    let shown = router.interface(vm, a.card)?;
    row["queues"] = shown["queues"].clone();
    let log = router.log(vm)?;
    let opened = log
        .lines()
        .find(|l| l.contains("port opened") && l.contains(a.card));
    let wakes = opened.and_then(|l| l.split("wakes_by=").nth(1));
    let wakes = wakes.with_context(|| format!("no word of how {} wakes: {log}", a.card))?;
    row["wakes"] = wakes.trim().trim_matches('"').into();
    router.stop(vm)?;
    let after = State::take(vm)?;
    if before != after {
        bail!("not given back: {after:#?}\nwas {before:#?}");
    }
    row["taken"] = "yes".into();
    Ok(())
}
