//! Workers sleep until a card's interrupt, where DPDK's driver for it brings one.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{A, B, C, TOP, section, with};
use crate::frame::{self, ARP, arp, eth};
use crate::lab::wait::{millis, secs};
use crate::suite::Options;
use crate::vm::station::cross;
use crate::vm::{Router, Station, Vm};

/// How often a worker may wake within [`WATCHED`]. Asleep until an interrupt it is 20 times a second; looking by time, in
/// this machine, some 1,000 times.
const WAKES: u64 = 600;
const WATCHED: Duration = secs(3);

/// One worker with a vmxnet3 and a virtio card sleeps, and wakes for frames of either. An e1000e beside them,
/// whose driver promises interrupts that never come, is looked at by time, and answers as well.
///
/// # Errors
/// When one of this is not so.
pub fn interrupts(_: &Options) -> Result<()> {
    with(|vm| {
        vm.guest.run("modprobe vfio-pci")?;
        // Of vmxnet3's driver a queue has an interrupt where there are as many to send as to receive.
        let top = TOP.replace("1-3", "2");
        let cards = section(vm, &B) + &section(vm, &C);
        let router = Router::start(vm, &(top + &cards))?;
        for s in [B, C] {
            router.link(vm, s.card, "up")?;
        }
        cross(vm, &B, &C, secs(30))?;
        cross(vm, &C, &B, secs(30))?;
        // Of a few frames all may find the worker awake, and then no interrupt has been seen.
        for s in [B, C] {
            answers(vm, &s)?;
        }
        let wakes = wakes(vm, &router)?;
        ensure!(
            wakes < WAKES,
            "asleep, a worker woke {wakes} times in {WATCHED:?}"
        );
        for s in [B, C] {
            answers(vm, &s)?;
        }

        let address = vm.address(A.card).to_owned();
        let add = format!(
            "interface add {0} device pci:{address} address 10.0.1.1/24",
            A.card
        );
        router.must(vm, &add)?;
        router.link(vm, A.card, "up")?;
        for s in [A, B, C] {
            answers(vm, &s)?;
        }
        router.stop(vm)
    })
}

/// How often its worker wakes while nothing comes.
fn wakes(vm: &mut Vm, router: &Router) -> Result<u64> {
    let mut count = || -> Result<u64> {
        let text = vm.guest.run(&format!(
            "grep -h -A100 worker-0 /proc/{}/task/*/status | sed -n 's/^voluntary_ctxt_switches:[^0-9]*//p'",
            router.pid()
        ))?;
        text.trim().parse().with_context(|| format!("`{text}`"))
    };
    let before = count()?;
    // What is counted is what happens in a time, so this lets it pass.
    std::thread::sleep(WATCHED);
    Ok(count()? - before)
}

/// Asks for the router's hardware address ten times, each time after a rest; half of the answers must come sooner than the
/// longest of sleeps lasts, in a machine that is emulated.
fn answers(vm: &Vm, s: &Station) -> Result<()> {
    let mut times = vec![];
    for _ in 0..10 {
        std::thread::sleep(millis(60)); // longer than any sleep
        times.push(answer(vm, s)?);
    }
    times.sort();
    ensure!(
        times[5] < millis(50),
        "{}: from a sleeping worker, answers took {times:?}",
        s.card
    );
    Ok(())
}

fn answer(vm: &Vm, s: &Station) -> Result<Duration> {
    let first = format!("{}1", s.ip4.trim_end_matches('2'));
    let question = arp(frame::REQUEST, s.mac, s.ip4, [0; 6], &first);
    let wire = vm.wire(s.card);
    let _ = wire.drain();
    let begin = Instant::now();
    wire.send(&eth([0xff; 6], s.mac, ARP, &question))?;
    while let Some(f) = wire.next(begin + secs(10)) {
        if f.get(12..14) == Some(&ARP.to_be_bytes()) && f.get(20..22) == Some(&[0, 2]) {
            return Ok(begin.elapsed());
        }
    }
    anyhow::bail!("{}: nobody answers for {first}", s.card)
}
