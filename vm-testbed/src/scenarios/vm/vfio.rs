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
        for other in [A, B, C].iter().filter(|o| o.card != s.card) {
            let shown = router.interface(vm, other.card)?;
            ensure!(shown["link"] == "up", "{} was pulled: {shown}", s.card);
        }
        vm.qmp.set_link(s.card, true)?;
        router.link(vm, s.card, "up")?;
    }
    for (from, to) in [(A, B), (B, C), (C, A)] {
        cross(vm, &from, &to, THROUGH)?;
    }
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
