//! Cards are taken from the kernel, forward frames, follow their links, and are given back.

use anyhow::{Context, Result, ensure};

use super::{A, B, C, TOP, config, section, start, told, with};
use crate::lab::wait::secs;
use crate::suite::Options;
use crate::vm::router::{self, State};
use crate::vm::station::cross;
use crate::vm::{Router, UNUSED_IOMMU, Vm};

/// How long frames may take through a machine that is emulated, neighbours to be found included.
const THROUGH: std::time::Duration = secs(30);

/// Cards of three makes are bound to vfio-pci; frames cross them both ways; links are followed; SIGTERM gives all back, and
/// after SIGKILL the next start does.
///
/// # Errors
/// When one of this is not so.
pub fn vfio(_: &Options) -> Result<()> {
    with(|vm| {
        vm.guest.run("modprobe vfio-pci")?;
        let before = State::take(vm)?;
        for (card, (_, driver, net)) in vm.spec.cards.iter().zip(&before.cards) {
            ensure!(driver == card.driver && *net, "at first: {before:?}");
        }
        let config = config(vm);
        let router = Router::start(vm, &config)?;
        on_vfio(vm)?;
        forwards(vm, &router)?;
        links(vm, &router)?;
        router.stop(vm)?;
        same(&before, &State::take(vm)?, "after SIGTERM")?;

        let router = Router::start(vm, &config)?;
        cross(vm, &A, &B, THROUGH)?;
        router.kill(vm)?;
        on_vfio(vm).context("after SIGKILL, which runs nothing")?;
        let router = Router::start(vm, &config)?;
        on_vfio(vm)?;
        cross(vm, &B, &A, THROUGH)?;
        router.stop(vm)?;
        same(
            &before,
            &State::take(vm)?,
            "after SIGKILL, a start and SIGTERM",
        )
    })
}

/// The cards of the configuration are on vfio-pci, and the kernel has no interface on them.
fn on_vfio(vm: &mut Vm) -> Result<()> {
    let now = State::take(vm)?;
    for (card, (address, driver, net)) in vm.spec.cards.iter().zip(&now.cards) {
        let ours = [A, B, C].iter().any(|s| s.card == card.name);
        ensure!(
            (driver == "vfio-pci") == ours && *net != ours,
            "{address}: {now:?}"
        );
    }
    Ok(())
}

fn same(before: &State, after: &State, when: &str) -> Result<()> {
    ensure!(before == after, "{when}: {after:#?}\nwas {before:#?}");
    Ok(())
}

/// Links are up, nodes are right, and packets of both families cross each pair of cards both ways.
fn forwards(vm: &mut Vm, router: &Router) -> Result<()> {
    for s in [A, B, C] {
        router.link(vm, s.card, "up")?;
        let shown = router.interface(vm, s.card)?;
        ensure!(shown["numa"] == vm.card(s.card).node, "{shown}");
    }
    for (from, to) in [(A, B), (B, A), (A, C), (C, A), (B, C), (C, B)] {
        cross(vm, &from, &to, THROUGH)?;
    }
    Ok(())
}

/// A pulled cable is seen, others' are not; plugged in again, frames cross again.
fn links(vm: &mut Vm, router: &Router) -> Result<()> {
    for s in [A, B, C] {
        vm.qmp.set_link(s.card, false)?;
        router.link(vm, s.card, "down")?;
        let all = router.json(vm, "interface show")?;
        for shown in all.as_array().into_iter().flatten() {
            let wanted = if shown["name"] == s.card {
                "down"
            } else {
                "up"
            };
            ensure!(shown["link"] == wanted, "{} was pulled: {shown}", s.card);
        }
        vm.qmp.set_link(s.card, true)?;
        router.link(vm, s.card, "up")?;
    }
    for (from, to) in [(A, B), (B, C), (C, A)] {
        cross(vm, &from, &to, THROUGH)?;
    }
    Ok(())
}

/// The doctor looks and changes nothing; told to, it mends what the machine lacks, and says each step before. An appliance finds
/// all as it wants it, and leaves it so. A second run, also beside the appliance, does nothing.
///
/// # Errors
/// When one of this is not so.
pub fn doctor(_: &Options) -> Result<()> {
    const FIX: &str = "trunkctl doctor --fix -c /tmp/doctor.toml --pages 128";
    const BALANCING: &str = "/proc/sys/kernel/numa_balancing";
    with(|vm| {
        vm.guest
            .finish("modprobe -r vfio-pci vfio_iommu_type1 vfio")?;
        vm.guest.run(&format!("echo 1 >{BALANCING}"))?;
        let before = State::take(vm)?;
        vm.guest.run("trunkctl doctor")?;
        same(&before, &State::take(vm)?, "it was only asked")?;
        let config = config(vm);
        vm.guest.write("/tmp/doctor.toml", &config)?;
        let said = vm.guest.run(FIX)?;
        let mut wanted = vec![
            "modprobe vfio-pci".to_owned(),
            "modprobe vfio_iommu_type1".to_owned(),
            "echo 128 >/sys/devices/system/node/node0/".to_owned(),
            "echo 128 >/sys/devices/system/node/node1/".to_owned(),
            "sysctl -w kernel.numa_balancing=0".to_owned(),
        ];
        wanted.extend([A, B, C].map(|s| format!("pci:{} is to be driven", vm.address(s.card))));
        for w in &wanted {
            ensure!(said.contains(w), "no `{w}` in: {said}");
        }
        let mended = said.matches("\n         done\n").count();
        ensure!(
            mended == wanted.len(),
            "{mended} of {}: {said}",
            wanted.len()
        );
        ensure!(vm.guest.read(BALANCING)? == "0");
        on_vfio(vm)?;
        let after = State::take(vm)?;
        ensure!(after.pages == [128, 128], "{after:?}");
        nothing_to_mend(vm, FIX)?;

        let router = Router::start(vm, &config)?;
        for s in [A, B] {
            router.link(vm, s.card, "up")?;
        }
        cross(vm, &A, &B, THROUGH)?;
        cross(vm, &B, &A, THROUGH)?;
        nothing_to_mend(vm, FIX)?;
        router.stop(vm)?;
        same(&after, &State::take(vm)?, "an appliance leaves it")?;

        // What can't be done is said, and told by the status.
        let done = vm
            .guest
            .finish("trunkctl --json doctor --fix --nic 99:00.0 --pages 0")?;
        ensure!(
            done.status == Some(1) && done.stdout.contains("0000:99:00.0: no such device"),
            "{done:?}"
        );
        vm.guest.run(&format!(
            "for a in {} {} {}; do d=/sys/bus/pci/devices/$a; echo $a >$d/driver/unbind; echo >$d/driver_override
                echo $a >/sys/bus/pci/drivers_probe; done
             for n in 0 1; do echo 0 >/sys/devices/system/node/node$n/hugepages/hugepages-2048kB/nr_hugepages; done",
            vm.address(A.card),
            vm.address(B.card),
            vm.address(C.card)
        ))?;
        same(&before, &State::take(vm)?, "all of it undone by hand")
    })
}

fn nothing_to_mend(vm: &mut Vm, fix: &str) -> Result<()> {
    let said = vm.guest.run(fix)?;
    ensure!(said.starts_with("nothing to mend\n"), "{said}");
    Ok(())
}

/// What can't be bound is refused by name, with the remedy, and the machine is as before.
///
/// # Errors
/// When it is not.
pub fn refusals(_: &Options) -> Result<()> {
    with(|vm| {
        vm.guest.finish("modprobe -r vfio-pci")?;
        let before = State::take(vm)?;
        let good = config(vm);
        let address = vm.address("e1000e").to_owned();
        let refused = |vm: &mut Vm, config: &str, parts: &[&str]| {
            let said = Router::refused(vm, config)?;
            ensure!(
                parts.iter().all(|p| said.contains(p)),
                "refused with: {said}\nwithout: {parts:?}"
            );
            same(&before, &State::take(vm)?, &said)
        };
        refused(vm, &good, &[&address, "modprobe vfio-pci"])?;
        vm.guest.run("modprobe vfio-pci")?;
        let missing = good.replace(&address, "0000:99:00.0");
        let there = vm.address("vmxnet3").to_owned();
        refused(
            vm,
            &missing,
            &["pci:0000:99:00.0", "no such", &address, &there],
        )?;
        let net = format!("/sys/bus/pci/devices/{address}/net");
        let name = vm.guest.run(&format!("ls {net}"))?.trim().to_owned();
        vm.guest.run(&format!("ip link set {name} up"))?;
        let remedy = format!("ip link set {name} down");
        let up = Router::refused(vm, &good)?;
        ensure!(up.contains(&address) && up.contains(&remedy), "{up}");
        vm.guest.run(&remedy)?;
        same(&before, &State::take(vm)?, &up)?;
        let many = good.replace("[interface.e1000e]", "[interface.e1000e]\nqueues = 3");
        refused(vm, &many, &["queues = 3", "the device has 2"])?;
        ensure!(router::driver(&mut vm.guest, &address)? == "e1000e");
        driverless(vm, &address)
    })
}

/// A card that no driver has is taken as well, and has none again afterwards.
fn driverless(vm: &mut Vm, address: &str) -> Result<()> {
    let drivers = "/sys/bus/pci/drivers/e1000e";
    vm.guest.run(&format!("echo {address} >{drivers}/unbind"))?;
    let config = format!("{TOP}{}", section(vm, &A));
    let router = Router::start(vm, &config)?;
    router.link(vm, A.card, "up")?;
    router.stop(vm)?;
    let driver = router::driver(&mut vm.guest, address)?;
    ensure!(driver.is_empty(), "it had no driver and has {driver}");
    vm.guest.run(&format!("echo {address} >{drivers}/bind"))?;
    Ok(())
}

/// Without an IOMMU a card is refused with what to switch on, and the doctor says the same.
///
/// # Errors
/// When it is not.
pub fn no_iommu(_: &Options) -> Result<()> {
    let mut vm = start(&UNUSED_IOMMU)?;
    let done = refused_without_iommu(&mut vm);
    told(vm, done).map(drop)
}

fn refused_without_iommu(vm: &mut Vm) -> Result<()> {
    vm.guest.run("modprobe vfio-pci")?;
    let before = State::take(vm)?;
    let said = Router::refused(vm, &config(vm))?;
    let address = vm.address(A.card);
    for part in [address, "no IOMMU group", "intel_iommu=on"] {
        ensure!(said.contains(part), "refused with: {said}");
    }
    let doctor = vm.guest.finish("trunkctl doctor")?;
    ensure!(
        doctor.stdout.contains("intel_iommu=on"),
        "{}",
        doctor.text()
    );
    same(&before, &State::take(vm)?, &said)
}
