//! Cards that leave the machine while they forward. Read the kernel's `drivers/pci/hotplug/pciehp_ctrl.c` (a slot's button, five
//! seconds of patience) and `vfio.rst`: the kernel waits with the card until its user has let it go, and so does QEMU.

use anyhow::{Context, Result, ensure};

use super::numa::add;
use super::{A, B, C, config, with};
use crate::lab::wait::{secs, until};
use crate::suite::Options;
use crate::vm::router::State;
use crate::vm::station::cross;
use crate::vm::{Router, Station, Vm};

/// How long frames may take through a machine that is emulated, neighbours to be found included.
const THROUGH: std::time::Duration = secs(30);
/// How long the kernel may take to let a card go, or to find one.
const SLOT: std::time::Duration = secs(60);

/// A card is unplugged while it forwards: the appliance lets it go, says so, and goes on with the others; put back, it is taken and
/// forwards again. An interface whose card has gone can be deleted, and added when that is back. An appliance that is ended at
/// this very moment ends well.
///
/// # Errors
/// When one of this is not so.
pub fn unplug(_: &Options) -> Result<()> {
    with(|vm| {
        vm.guest.run("modprobe vfio-pci")?;
        let before = State::take(vm)?;
        let router = Router::start(vm, &config(vm))?;
        for s in [A, B, C] {
            router.link(vm, s.card, "up")?;
        }
        cross(vm, &A, &B, THROUGH)?;
        for (victim, one, other, deleted) in [(A, B, C, false), (B, A, C, true)] {
            pulled(vm, &router, &victim, [&one, &other], deleted)
                .with_context(|| format!("{} is pulled", victim.card))?;
        }
        asked(vm, &C)?;
        router.stop(vm)?;
        gone(vm, &C)?;
        put_back(vm, &C)?;
        let after = State::take(vm)?;
        ensure!(before == after, "{after:#?}\nwas {before:#?}");
        Ok(())
    })
}

/// One goes and comes; two others have traffic in between.
fn pulled(
    vm: &mut Vm,
    router: &Router,
    victim: &Station,
    [one, other]: [&Station; 2],
    deleted: bool,
) -> Result<()> {
    asked(vm, victim)?;
    gone(vm, victim)?;
    let shown = router.interface(vm, victim.card)?;
    ensure!(shown["link"] == "gone" && shown["up"] == true, "{shown}");
    cross(vm, one, other, THROUGH)?;
    cross(vm, other, one, THROUGH)?;
    if deleted {
        delete_and_add(vm, router, victim)?;
    } else {
        plugged(vm, victim)?;
        until("the appliance takes it again", SLOT, || {
            Ok(router.interface(vm, victim.card)?["link"] == "up")
        })?;
        let log = router.log(vm)?;
        ensure!(log.contains("is back, and taken again"), "{log}");
    }
    cross(vm, victim, one, THROUGH)?;
    cross(vm, other, victim, THROUGH)
}

/// Its interface is deleted, can't be added while there is no such card, and can when it is back.
fn delete_and_add(vm: &mut Vm, router: &Router, victim: &Station) -> Result<()> {
    router.must(vm, &format!("interface del {}", victim.card))?;
    let again = router.ctl(
        vm,
        &format!(
            "interface add x device pci:{}",
            vm.address(victim.card).to_owned()
        ),
    )?;
    ensure!(
        again.status == Some(1) && again.text().contains("no such"),
        "a card that is not there: {}",
        again.text()
    );
    put_back(vm, victim)?;
    add(vm, router, victim)
}

/// The slot's button is pressed, and the kernel asks the card's user to let it go.
fn asked(vm: &mut Vm, s: &Station) -> Result<()> {
    vm.guest.run("dmesg -c >/dev/null")?;
    vm.qmp.unplug(s.card)?;
    let address = vm.address(s.card).to_owned();
    until("the kernel asks for the card", SLOT, || {
        let said = vm.guest.run("dmesg")?;
        Ok(said.contains(&format!("{address}: Relaying device request to user")))
    })
}

fn gone(vm: &mut Vm, s: &Station) -> Result<()> {
    let device = format!("/sys/bus/pci/devices/{}", vm.address(s.card));
    until(&format!("{} is gone", s.card), SLOT, || {
        Ok(!vm.guest.finish(&format!("test -e {device}"))?.ok())
    })
}

fn plugged(vm: &mut Vm, s: &Station) -> Result<()> {
    until("QEMU takes the card", SLOT, || {
        vm.plug(s.card).map(|()| true)
    })
}

/// Puts it back and waits until the kernel has an interface on it.
fn put_back(vm: &mut Vm, s: &Station) -> Result<()> {
    plugged(vm, s)?;
    let device = format!("/sys/bus/pci/devices/{}", vm.address(s.card));
    until(&format!("the kernel has {}", s.card), SLOT, || {
        let found = vm.guest.finish(&format!(
            "ls -d {device}/net/* {device}/virtio*/net/* | grep ."
        ))?;
        Ok(found.ok())
    })
}
