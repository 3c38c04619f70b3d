//! Network cards, an IOMMU and NUMA nodes, in a virtual machine: what the namespaces of the other scenarios can't show.
//!
//! One machine serves all of them, one after the other; a scenario that fails takes it with it, and the next starts another.

pub mod frr;
pub mod interrupt;
pub mod labeled;
pub mod mpls;
pub mod neighbour;
pub mod network;
pub mod nics;
pub mod numa;
pub mod pe;
pub mod record;
pub mod unplug;
pub mod vfio;
pub mod vhost;

use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;

use crate::lab::wait::secs;
use crate::lab::{Appliance, Lab, Netns};
use crate::progress;
use crate::suite::Options;
use crate::vm::{Router, Spec, Station, TWO_NODES, Vm, router, station};

/// The host at the card on node 0.
const A: Station = Station {
    card: "e1000e",
    mac: [2, 0x54, 0x4c, 0, 1, 2],
    ip4: "10.0.1.2",
    ip6: "2001:db8:1::2",
};
/// The host at the card on node 1.
const B: Station = Station {
    card: "vmxnet3",
    mac: [2, 0x54, 0x4c, 0, 2, 2],
    ip4: "10.0.2.2",
    ip6: "2001:db8:2::2",
};
/// The host at the paravirtual card, on node 0.
const C: Station = Station {
    card: "virtio",
    mac: [2, 0x54, 0x4c, 0, 3, 2],
    ip4: "10.0.3.2",
    ip6: "2001:db8:3::2",
};

/// The host at the paravirtual card with two queues, on node 0.
const D: Station = Station {
    card: "virtio-two",
    mac: [2, 0x54, 0x4c, 0, 4, 2],
    ip4: "10.0.4.2",
    ip6: "2001:db8:4::2",
};

/// The host at the card on node 3 of four.
const E: Station = Station {
    card: "e1000e-far",
    mac: [2, 0x54, 0x4c, 0, 5, 2],
    ip4: "10.0.5.2",
    ip6: "2001:db8:5::2",
};

/// The top of a configuration: a worker on the second CPU of node 0, and on both of node 1.
const TOP: &str = "[system]\nname = \"vm\"\n\n[dataplane]\nworkers = \"1-3\"\n";

/// The section of a host's interface: named as the card, with the first addresses of the host's subnets.
fn section(vm: &Vm, s: &Station) -> String {
    let first = |a: &str| format!("{}1", a.trim_end_matches('2'));
    format!(
        "\n[interface.{}]\ndevice = \"pci:{}\"\naddress = [\"{}/24\", \"{}/64\"]\n",
        s.card,
        vm.address(s.card),
        first(s.ip4),
        first(s.ip6)
    )
}

/// A configuration with a card of each make.
fn config(vm: &Vm) -> String {
    let sections: Vec<String> = [A, B, C].iter().map(|s| section(vm, s)).collect();
    format!("{TOP}{}", sections.concat())
}

static MACHINE: Mutex<Option<Vm>> = Mutex::new(None);

/// Lends the machine to a scenario, started if it does not run.
fn with(story: impl Fn(&mut Vm) -> Result<()>) -> Result<()> {
    let mut place = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    let vm = match place.take() {
        Some(vm) => vm,
        None => start(&TWO_NODES)?,
    };
    *place = Some(tell(vm, story)?);
    Ok(())
}

/// Fails, or not, in the machine with an appliance that has forwarded something.
pub(super) fn with_router(story: impl Fn() -> Result<()>) -> Result<()> {
    with(|vm| {
        vm.guest.run("modprobe vfio-pci")?;
        let config = config(vm);
        let router = Router::start(vm, &config)?;
        for s in [A, B] {
            router.link(vm, s.card, "up")?;
        }
        station::cross(vm, &A, &B, secs(30))?;
        story()?;
        router.stop(vm)
    })
}

/// The same in a machine of its own.
fn alone(spec: &Spec, story: impl Fn(&mut Vm) -> Result<()>) -> Result<()> {
    tell(start(spec)?, story).map(drop)
}

/// Tells the story. When QEMU gives itself up, on an assertion or by a fault of its own, that says nothing of what runs in it:
/// the scenario then has a second try, in a new machine, and the run tells.
fn tell(mut vm: Vm, story: impl Fn(&mut Vm) -> Result<()>) -> Result<Vm> {
    let mut done = story(&mut vm);
    if done.is_err()
        && let Some(why) = vm.gave_up()
    {
        progress::note(&format!(
            "QEMU gave itself up ({why}): once more, in a new machine"
        ));
        let spec = vm.spec;
        drop(vm);
        vm = start(&spec)?;
        done = story(&mut vm);
    }
    told(vm, done)
}

/// Starts a machine and says how long it took.
fn start(spec: &Spec) -> Result<Vm> {
    started(spec, || Vm::boot(spec))
}

/// The same for one that is beside an appliance: its TAPs are in `ns`.
fn start_beside(spec: &Spec, lab: &Lab, ns: &Netns) -> Result<Vm> {
    started(spec, || Vm::beside(spec, lab.folder(), ns))
}

fn started(spec: &Spec, boot: impl FnOnce() -> Result<Vm>) -> Result<Vm> {
    let step = progress::step(&format!("starting the virtual machine {}", spec.name));
    let vm = boot()?;
    let (took, by) = (vm.boot.as_secs_f64(), vm.accel.name());
    step.done(&format!("its shell answered after {took:.1} s ({by})"));
    record::machine(&vm);
    Ok(vm)
}

/// The machine after a story; if that failed the machine is lost, and its last words are told.
fn told(mut vm: Vm, done: Result<()>) -> Result<Vm> {
    match done {
        Ok(()) => Ok(vm),
        Err(e) => {
            let words = router::last_words(&mut vm);
            vm.keep("appliance", &words);
            let console = vm.last_words();
            let tail: Vec<&str> = words.lines().rev().take(30).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            Err(anyhow!(
                "{e:#}\nthe appliance:\n{}\nthe console's last words:\n{console}",
                tail.join("\n")
            ))
        }
    }
}

/// The same of a guest beside an appliance of the host, which ends here.
fn told_beside(vm: Vm, a: &Appliance, done: Result<()>) -> Result<()> {
    done.map_err(|e| {
        anyhow!(
            "{e:#}\nthe appliance:\n{}\nthe console of {}:\n{}",
            a.log_tail(),
            vm.spec.name,
            vm.last_words()
        )
    })
}

/// Switches the machine off, if one runs.
pub fn switch_off() {
    drop(
        MACHINE
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take(),
    );
}

/// The line of the doctor's report with that name.
fn check<'a>(report: &'a Value, name: &str) -> Result<&'a Value> {
    let lines = report.as_array().context("the doctor gives no array")?;
    let line = lines.iter().find(|l| l["name"] == name);
    line.with_context(|| format!("the doctor has no line `{name}`: {report}"))
}

/// The machine comes up, and the doctor sees it as it is.
///
/// # Errors
/// When a line of its report is another.
pub fn boot(_: &Options) -> Result<()> {
    with(|vm| {
        vm.guest.finish("modprobe -r vfio-pci")?;
        let report: Value = serde_json::from_str(&vm.guest.run("trunkctl --json doctor")?)?;
        let ok = |name: &str, parts: &[&str]| {
            let line = check(&report, name)?;
            let detail = line["detail"].as_str().unwrap_or_default();
            ensure!(line["status"] == "ok", "{line}");
            ensure!(
                parts.iter().all(|p| detail.contains(p)),
                "{line}: {parts:?}"
            );
            Ok(())
        };
        ok("cores", &["4 CPUs", "2 NUMA node(s)"])?;
        ok("iommu", &["groups"])?;
        for card in vm.spec.cards {
            let driver = format!("driver {},", card.driver);
            let place = format!("node {}, 2 CPUs there", card.node);
            let name = format!("nic {}", vm.address(card.name));
            ok(&name, &[&driver, &place, ", eth"])?;
        }
        // A step is left for the user, and the doctor says which.
        let vfio = check(&report, "vfio-pci")?;
        ensure!(vfio["remedy"] == "modprobe vfio-pci", "{vfio}");
        vm.guest.run("modprobe vfio-pci")?;
        let report: Value = serde_json::from_str(&vm.guest.run("trunkctl --json doctor")?)?;
        let vfio = check(&report, "vfio-pci")?;
        ensure!(vfio["status"] == "ok", "{vfio}");
        Ok(())
    })
}
