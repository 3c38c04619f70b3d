//! Memory and workers stay on the node of their card; cards come and go while the appliance runs; queues share the load.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};

use super::{A, B, C, D, E, TOP, alone, section, with};
use crate::lab::wait::secs;
use crate::progress;
use crate::suite::Options;
use crate::vm::numa_maps::Zone;
use crate::vm::router::{State, driver, pages_used};
use crate::vm::station::{cross, flows};
use crate::vm::{FOUR_NODES, Router, Station, Vm};

/// How long frames may take through a machine that is emulated, neighbours to be found included.
const THROUGH: std::time::Duration = secs(30);

/// On two nodes, each worker polls cards of its own node only, from memory of that node: pools, rings, tables.
///
/// # Errors
/// When it is not so.
pub fn placement(_: &Options) -> Result<()> {
    with(|vm| {
        // e1000e and virtio have a queue for the worker of node 0, vmxnet3 one for each of node 1.
        on_its_node(vm, &[A, B, C], 4)
    })
}

/// The same on four nodes, each with a card.
///
/// # Errors
/// When it is not so.
pub fn four(_: &Options) -> Result<()> {
    // vmxnet3, virtio and the others have a queue each: there is one worker on each node.
    alone(&FOUR_NODES, |vm| on_its_node(vm, &[A, B, C, E], 4))
}

/// With `workers = "auto"`: workers on every node that has a card, each polls cards of its node, and its memory lies there, as
/// numa_maps says; frames cross between all nodes. A card that comes later takes memory of its own node alone.
fn on_its_node(vm: &mut Vm, stations: &[Station], queues: usize) -> Result<()> {
    vm.guest.run("modprobe vfio-pci")?;
    let before = State::take(vm)?;
    let sections: Vec<String> = stations.iter().map(|s| section(vm, s)).collect();
    let top = TOP.replace("1-3", "auto");
    let router = Router::start(vm, &format!("{top}{}", sections.concat()))?;
    let cpus_of_node = u64::from(vm.spec.cpus);
    let workers = router.json(vm, "worker show")?;
    let mut polled = vec![];
    for w in workers.as_array().context("no array")? {
        let cpu = w["cpu"].as_u64().context("no cpu")?;
        ensure!(
            w["numa"] == cpu / cpus_of_node,
            "a node has {cpus_of_node} CPUs: {w}"
        );
        for q in w["queues"].as_array().context("no queues")? {
            let name = q.as_str().unwrap_or_default();
            let name = name.split(':').next().unwrap_or_default();
            ensure!(w["numa"] == vm.card(name).node, "{q} is polled from {w}");
            polled.push(name.to_owned());
        }
    }
    ensure!(
        polled.len() == queues && stations.iter().all(|s| polled.iter().any(|p| p == s.card)),
        "{polled:?} are polled: {workers}"
    );
    let placed = router.placed(vm)?;
    for s in stations {
        let node = vm.card(s.card).node;
        let kib = |of: &BTreeMap<u32, u64>| of.get(&node).copied().unwrap_or(0);
        ensure!(
            kib(&placed.dpdk) >= POOL * 2048 && kib(&placed.tables) > 0,
            "node {node} has a card, but too little memory: {placed:?}"
        );
    }
    zones(vm, &router, stations)?;
    progress::note(&format!(
        "KiB on each node, as numa_maps has it: {placed:?}"
    ));
    for s in stations {
        router.link(vm, s.card, "up")?;
    }
    for (n, from) in stations.iter().enumerate() {
        for to in stations.iter().skip(n + 1) {
            cross(vm, from, to, THROUGH)?;
            cross(vm, to, from, THROUGH)?;
        }
    }
    router.stop(vm)?;
    one_by_one(vm, stations)?;
    let after = State::take(vm)?;
    ensure!(before == after, "{after:#?}\nwas {before:#?}");
    Ok(())
}

/// Each driver's rings, found by their addresses, lie on the node of their card, and each node's pool on that node.
fn zones(vm: &mut Vm, router: &Router, stations: &[Station]) -> Result<()> {
    let all = router.zones(vm)?;
    for z in &all {
        ensure!(
            z.asked == z.node,
            "asked for on one node, lies on another: {z:?}"
        );
    }
    let pools: BTreeSet<u32> = (all.iter())
        .filter(|z| z.name.starts_with("MP_"))
        .map(|z| z.node)
        .collect();
    let mut rings = BTreeMap::new();
    for s in stations {
        let (port, node) = (
            router.interface(vm, s.card)?["port"].clone(),
            vm.card(s.card).node,
        );
        ensure!(pools.contains(&node), "no pool on node {node}: {all:?}");
        // The drivers' own names: eth_p1_q0_rx_ring (vmxnet3: eth_p1_q0_rxdesc), port1_vq0 of virtio. What vmxnet3 shares with its
        // card beside them (eth_p1_queuedesc) is looked at when it is configured, and lies where the control thread is.
        let own = |z: &&Zone| {
            let queue = z.name.strip_prefix(&format!("eth_p{port}_q"));
            let ring = queue.is_some_and(|q| q.starts_with(|c: char| c.is_ascii_digit()));
            ring || z.name.starts_with(&format!("port{port}_vq"))
        };
        let own: Vec<&Zone> = all.iter().filter(own).collect();
        ensure!(
            own.len() >= 2,
            "{}: not two rings of port {port}: {all:?}",
            s.card
        );
        for z in &own {
            ensure!(z.node == node, "{} is on node {node}: {z:?}", s.card);
        }
        rings.insert(s.card, own.len());
    }
    progress::note(&format!(
        "rings on their nodes: {rings:?}, pools on {pools:?}"
    ));
    Ok(())
}

/// Started without cards on node 0, the appliance is given one after the other; each takes memory of its own node alone: its
/// rings, and a pool where it is the first there.
fn one_by_one(vm: &mut Vm, stations: &[Station]) -> Result<()> {
    // The one worker is on node 0, so that this node has its pool from the start, and no other.
    let top = TOP.replace("1-3", "1");
    let null =
        "[interface.first]\ndevice = \"dpdk:net_null0,no-rx=1\"\naddress = [\"10.0.9.1/24\"]\n";
    let router = Router::start(vm, &format!("{top}\n{null}"))?;
    let mut last = router.placed(vm)?.dpdk;
    let mut seen = vec![0];
    for s in stations {
        add(vm, &router, s)?;
        let (node, now) = (vm.card(s.card).node, router.placed(vm)?.dpdk);
        let more = |n: u32| {
            let kib = |of: &BTreeMap<u32, u64>| of.get(&n).copied().unwrap_or(0);
            (kib(&now) - kib(&last)) / 2048
        };
        let first = !seen.contains(&node);
        ensure!(
            !first || more(node) >= POOL,
            "{}: {} pages more on node {node}: {now:?}, was {last:?}",
            s.card,
            more(node)
        );
        // What DPDK keeps of all devices is where its control thread is, and may need a page.
        let elsewhere: u64 = (0..vm.spec.nodes).filter(|n| *n != node).map(more).sum();
        ensure!(
            elsewhere <= 1,
            "{}: {elsewhere} pages on other nodes than {node}: {now:?}, was {last:?}",
            s.card
        );
        seen.push(node);
        last = now;
    }
    router.stop(vm)
}

/// Huge pages that a node's pool of frames takes: 16,383 of more than 2 KiB.
const POOL: u64 = 16;

/// Started without any card, the appliance takes one of each node while it runs, with memory of that node, and gives them
/// back.
///
/// # Errors
/// When it does not.
pub fn hotplug(_: &Options) -> Result<()> {
    with(|vm| {
        // Not loaded when the EAL starts: it has to be told later.
        vm.guest
            .finish("modprobe -r vfio-pci vfio_iommu_type1 vfio")?;
        let before = State::take(vm)?;
        let none = format!(
            "{TOP}\n[interface.first]\ndevice = \"dpdk:net_null0,no-rx=1\"\naddress = [\"10.0.9.1/24\"]\n"
        );
        // All of node 0 works, so the control thread is on node 1, and DPDK's own tables with it.
        let far = Router::start(vm, &none.replace("1-3", "0-1"))?;
        far.stop(vm)?;
        // Here all is on node 0.
        let router = Router::start(vm, &none.replace("1-3", "1"))?;
        vm.guest.run("modprobe vfio-pci")?;
        add(vm, &router, &A)?;
        let one = pages_used(&mut vm.guest, 1)?;
        ensure!(one == 0, "{one} pages of node 1 for a card of node 0");
        let zero = pages_used(&mut vm.guest, 0)?;
        add(vm, &router, &B)?;
        let one = pages_used(&mut vm.guest, 1)?;
        ensure!(one >= POOL, "{one} pages of node 1 for a card there");
        let more = pages_used(&mut vm.guest, 0)? - zero;
        ensure!(more < POOL, "{more} pages of node 0 for a card of node 1");
        cross(vm, &A, &B, THROUGH)?;
        cross(vm, &B, &A, THROUGH)?;

        // One goes and comes; the other stays as it is.
        router.must(vm, &format!("interface del {}", A.card))?;
        let address = vm.address(A.card).to_owned();
        let given = driver(&mut vm.guest, &address)?;
        ensure!(given == vm.card(A.card).driver, "{} has {given}", A.card);
        // One that can't be opened as it is wanted goes back at once.
        let many = router.ctl(
            vm,
            &format!("interface add x device pci:{address} queues 9"),
        )?;
        let said = many.text();
        ensure!(
            many.status == Some(1) && said.contains("queues = 9"),
            "{said}"
        );
        let given = driver(&mut vm.guest, &address)?;
        ensure!(
            given == vm.card(A.card).driver,
            "refused: {} has {given}",
            A.card
        );
        add(vm, &router, &C)?;
        cross(vm, &B, &C, THROUGH)?;
        add(vm, &router, &A)?;
        cross(vm, &A, &C, THROUGH)?;
        cross(vm, &B, &A, THROUGH)?;
        router.stop(vm)?;
        let after = State::take(vm)?;
        ensure!(before == after, "{after:#?}\nwas {before:#?}");
        Ok(())
    })
}

/// Adds the interface of a host's card and waits for its link.
pub(super) fn add(vm: &mut Vm, router: &Router, s: &Station) -> Result<()> {
    let text = section(vm, s);
    let value = |key: &str| {
        let line = text.lines().find_map(|l| l.strip_prefix(key));
        line.map(|v| {
            v.trim_matches([' ', '=', '"', '[', ']'])
                .replace(['"', ','], "")
        })
        .with_context(|| format!("no {key} in {text}"))
    };
    let (device, addresses) = (value("device")?, value("address")?);
    let addresses: String = (addresses.split_whitespace())
        .map(|a| format!(" address {a}"))
        .collect();
    router.must(
        vm,
        &format!("interface add {} device {device}{addresses}", s.card),
    )?;
    router.link(vm, s.card, "up")
}

/// Flows that are sent into a card.
const FLOWS: u16 = 64;

/// With two queues a card, the workers of its node share what comes in, as far as card and driver spread it: a virtio card
/// does, as the TAP behind it. What the others do is what QEMU and DPDK have: no RSS in DPDK's e1000e, none in QEMU's vmxnet3.
///
/// # Errors
/// When a frame is lost, polled on another node, or not spread.
pub fn queues(_: &Options) -> Result<()> {
    with(|vm| {
        vm.guest.run("modprobe vfio-pci")?;
        let before = State::take(vm)?;
        let sections: Vec<String> = [A, B, D].iter().map(|s| section(vm, s)).collect();
        let config = format!("{TOP}{}", sections.join("queues = 2\n")) + "queues = 2\n";
        let router = Router::start(vm, &config.replace("1-3", "0-3"))?;
        let log = router.log(vm)?;
        let warned = log.contains(&format!(
            "pci:{}: its driver does not spread flows",
            vm.address("e1000e")
        ));
        ensure!(warned, "no warning for e1000e:\n{log}");
        for (from, to, shared) in [(D, A, true), (A, B, false), (B, D, false)] {
            cross(vm, &from, &to, THROUGH)?;
            let packets = by_worker(vm, &router)?;
            flows(vm, &from, &to, FLOWS, THROUGH)?;
            let now = by_worker(vm, &router)?;
            let more: Vec<u64> = now.iter().zip(&packets).map(|(n, b)| n - b).collect();
            let first = vm.card(from.card).node as usize * 2;
            let (near, all) = (&more[first..first + 2], more.iter().sum::<u64>());
            ensure!(
                near.iter().sum::<u64>() == all && all >= FLOWS.into(),
                "{}: {more:?}",
                from.card
            );
            let few = *near.iter().min().unwrap_or(&0);
            ensure!(
                !shared || few >= u64::from(FLOWS / 8),
                "{}: {more:?}",
                from.card
            );
            progress::note(&format!(
                "{FLOWS} flows into {}: {near:?} by the workers of its node",
                from.card
            ));
        }
        router.stop(vm)?;
        let after = State::take(vm)?;
        ensure!(before == after, "{after:#?}\nwas {before:#?}");
        Ok(())
    })
}

/// Packets by worker, in the order of their CPUs.
fn by_worker(vm: &mut Vm, router: &Router) -> Result<Vec<u64>> {
    let workers = router.json(vm, "worker show")?;
    let workers = workers.as_array().context("no array")?;
    let packets = workers.iter().map(|w| w["packets"].as_u64());
    packets.collect::<Option<_>>().context("no packets")
}
