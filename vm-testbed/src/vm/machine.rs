//! The machine: two NUMA nodes with two CPUs and a gigabyte each, an IOMMU (VT-d), and network cards on either node, each
//! behind a root port of its own, so that each has an IOMMU group of its own.
//!
//! QEMU emulates every instruction (TCG): the machines that this is built and tested on have no KVM that guests run under.
//! `no_timer_check` is for loaded hosts: with an IOMMU the kernel else finds its timer too late and panics.

use std::fs::File;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::signal::Signal;

use super::guest::Guest;
use super::image::{Image, image};
use super::qmp::Qmp;
use super::wire::Wire;
use crate::frame::Mac;
use crate::lab::wait::{eventually, millis, secs};
use crate::lab::{Lab, Netns};

/// A network card of the machine.
#[derive(Debug, Clone, Copy)]
pub struct Card {
    /// Its name, and that of its cable.
    pub name: &'static str,
    /// QEMU's name for the model, with its options.
    pub model: &'static str,
    /// The kernel's driver for it.
    pub driver: &'static str,
    /// The NUMA node whose bus it is on.
    pub node: u32,
    /// Its hardware address.
    pub mac: Mac,
    /// Pairs of queues that QEMU gives it frames by.
    pub queues: u16,
}

/// The cards, in the order of their buses.
pub const CARDS: &[Card] = &[
    Card {
        name: "e1000e",
        model: "e1000e",
        driver: "e1000e",
        node: 0,
        mac: [0x52, 0x54, 0, 0, 0x0a, 1],
        queues: 1,
    },
    Card {
        name: "virtio",
        model: "virtio-net-pci,disable-legacy=on,iommu_platform=on",
        driver: "virtio-pci",
        node: 0,
        mac: [0x52, 0x54, 0, 0, 0x0a, 2],
        queues: 1,
    },
    Card {
        name: "vmxnet3",
        model: "vmxnet3",
        driver: "vmxnet3",
        node: 1,
        mac: [0x52, 0x54, 0, 0, 0x0b, 1],
        queues: 1,
    },
    // A card of its own: behind a TAP with two queues, a guest that used one of them was seen to receive nothing; why is not known.
    Card {
        name: "virtio-two",
        model: "virtio-net-pci,disable-legacy=on,iommu_platform=on,mq=on,vectors=6",
        driver: "virtio-pci",
        node: 0,
        mac: [0x52, 0x54, 0, 0, 0x0a, 3],
        queues: 2,
    },
];

/// How long a guest may take to come up; it takes some ten seconds where nobody else wants the CPUs.
const BOOT: Duration = secs(180);

/// A running machine. Dropped, it is switched off; should the test bed be killed, the kernel kills it.
#[derive(Debug)]
pub struct Vm {
    /// Its shell.
    pub guest: Guest,
    /// QEMU's control socket.
    pub qmp: Qmp,
    /// How long it took from QEMU's start to the first command.
    pub boot: Duration,
    /// PCI addresses of the cards, in the order of [`CARDS`].
    addresses: Vec<String>,
    wires: Vec<Wire>,
    child: Child,
    /// Its files and its cables' namespace; the console's log is kept with them.
    lab: Lab,
}

impl Vm {
    /// Starts a machine and waits until its shell answers. Its kernel uses the IOMMU, or does not.
    ///
    /// # Errors
    /// When there is no image, QEMU refuses, or the guest does not come up; with the end of its console then.
    pub fn boot(iommu: bool) -> Result<Self> {
        let image = image()?;
        let mut lab = Lab::new(if iommu { "vm" } else { "vm-no-iommu" })?;
        let folder = lab.folder().to_owned();
        let ns = lab.space("cables")?;
        let wires: Result<Vec<Wire>> = (CARDS.iter())
            .map(|c| Wire::open(c, &folder, &ns))
            .collect();
        let wires = wires?;
        let listener = UnixListener::bind(folder.join("guest.sock"))?;
        let begin = Instant::now();
        let mut child = spawn(&image, &folder, &ns, iommu)?;
        let up = come_up(&mut child, &listener, &folder);
        let (guest, qmp, addresses) = match up {
            Ok(all) => all,
            Err(e) => {
                let _ = child.kill();
                let _ = child.wait();
                let said = last_words(&folder);
                return Err(anyhow!(
                    "the machine does not start: {e:#}; it said:\n{said}"
                ));
            }
        };
        Ok(Self {
            guest,
            qmp,
            boot: begin.elapsed(),
            addresses,
            wires,
            child,
            lab,
        })
    }

    /// The cable of a card.
    ///
    /// # Panics
    /// When there is no card of that name.
    #[must_use]
    pub fn wire(&self, card: &str) -> &Wire {
        let wire = self.wires.iter().find(|w| w.card() == card);
        wire.unwrap_or_else(|| panic!("no card {card}"))
    }

    /// The PCI address of a card.
    ///
    /// # Panics
    /// When there is no card of that name.
    #[must_use]
    pub fn address(&self, card: &str) -> &str {
        let at = CARDS.iter().position(|c| c.name == card);
        &self.addresses[at.unwrap_or_else(|| panic!("no card {card}"))]
    }

    /// What QEMU said when it aborted; `None` while it runs, and when it ended otherwise.
    pub fn gave_up(&mut self) -> Option<String> {
        // The shell's end is seen a little before QEMU's own.
        let ended = || Ok(self.child.try_wait()?);
        let status = eventually("QEMU's end", millis(500), ended).ok()?;
        let said = last_words(self.lab.folder());
        let why = said
            .lines()
            .find(|l| l.contains("Assertion"))
            .unwrap_or("aborted");
        (status.signal() == Some(Signal::SIGABRT as i32)).then(|| why.to_owned())
    }

    /// The end of what the guest's kernel and QEMU have said.
    #[must_use]
    pub fn last_words(&self) -> String {
        last_words(self.lab.folder())
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A card of that name.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn card(name: &str) -> &'static Card {
    let card = CARDS.iter().find(|c| c.name == name);
    card.unwrap_or_else(|| panic!("no card {name}"))
}

/// Waits for the guest's first word and connects to QEMU.
fn come_up(
    child: &mut Child,
    listener: &UnixListener,
    folder: &Path,
) -> Result<(Guest, Qmp, Vec<String>)> {
    listener.set_nonblocking(true)?;
    let mut alive = || match child.try_wait()? {
        Some(status) => Err(anyhow!("QEMU ended with {status}")),
        None => Ok(()),
    };
    // An error alone would not end the wait.
    let stream = eventually("QEMU's connection", secs(30), || {
        if let Err(e) = alive() {
            return Ok(Some(Err(e)));
        }
        Ok(listener.accept().ok().map(|(s, _)| Ok::<UnixStream, _>(s)))
    })??;
    stream.set_nonblocking(false)?;
    let mut guest = Guest::greet(stream, BOOT)?;
    let qmp = Qmp::connect(&folder.join("qmp.sock"))?;
    let addresses = addresses(&mut guest)?;
    Ok((guest, qmp, addresses))
}

/// The PCI addresses of the cards: found by their hardware addresses, which the kernel's drivers tell.
fn addresses(guest: &mut Guest) -> Result<Vec<String>> {
    let list = guest.run(
        "for d in /sys/bus/pci/devices/*; do for n in $d/net/* $d/virtio*/net/*; do
            [ -e $n/address ] && echo $(cat $n/address) ${d##*/}
        done; done; true",
    )?;
    let find = |card: &Card| {
        let mac = mac_text(card.mac);
        let line = list.lines().find_map(|l| l.strip_prefix(&mac));
        let address = line.map(|a| a.trim().to_owned());
        address.with_context(|| format!("the guest has no {}: {list}", card.name))
    };
    CARDS.iter().map(find).collect()
}

fn mac_text(mac: Mac) -> String {
    mac.map(|b| format!("{b:02x}")).join(":")
}

/// Starts QEMU; the kernel kills it with the thread that called this.
fn spawn(image: &Image, folder: &Path, ns: &Netns, iommu: bool) -> Result<Child> {
    let log = File::create(folder.join("qemu.log"))?;
    let mut c = ns.command("setpriv");
    c.args(["--pdeathsig", "KILL", "qemu-system-x86_64"]);
    c.args(arguments(folder));
    c.arg("-kernel")
        .arg(&image.kernel)
        .arg("-initrd")
        .arg(&image.root);
    let iommu = if iommu { "on" } else { "off" };
    c.arg("-append").arg(format!(
        "console=ttyS0 quiet panic=-1 mitigations=off no_timer_check intel_iommu={iommu}"
    ));
    c.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    match c.spawn() {
        Ok(child) => Ok(child),
        Err(e) => bail!("can't run setpriv (util-linux) and qemu-system-x86_64: {e}"),
    }
}

/// The machine, in QEMU's words.
fn arguments(folder: &Path) -> Vec<String> {
    let at = |name: &str| folder.join(name).display().to_string();
    let mut all = String::from(
        "-accel tcg,thread=multi -cpu max -smp 4,sockets=2,cores=2,threads=1 -m 2G \
         -machine q35,kernel-irqchip=split -device intel-iommu,intremap=on,caching-mode=off \
         -object memory-backend-ram,id=m0,size=1G -object memory-backend-ram,id=m1,size=1G \
         -numa node,nodeid=0,cpus=0-1,memdev=m0 -numa node,nodeid=1,cpus=2-3,memdev=m1 \
         -numa dist,src=0,dst=1,val=21 \
         -device pxb-pcie,id=pxb0,bus_nr=0x40,numa_node=0,bus=pcie.0 \
         -device pxb-pcie,id=pxb1,bus_nr=0x80,numa_node=1,bus=pcie.0 \
         -display none -nodefaults -no-user-config -no-reboot",
    );
    for (n, card) in CARDS.iter().enumerate() {
        let mac = mac_text(card.mac);
        let (node, chassis) = (card.node, n + 1);
        all += &format!(
            " -device pcie-root-port,id=port{n},bus=pxb{node},chassis={chassis},slot={n} -netdev {} \
             -device {},netdev={},bus=port{n},mac={mac}",
            Wire::netdev(card, folder),
            card.model,
            card.name
        );
    }
    all += &format!(
        " -serial file:{} -qmp unix:{},server=on,wait=off -chardev socket,id=shell,path={} \
         -device virtio-serial-pci,bus=pcie.0 -device virtserialport,chardev=shell,nr=1",
        at("console.log"),
        at("qmp.sock"),
        at("guest.sock"),
    );
    all.split_whitespace().map(str::to_owned).collect()
}

/// The last lines of the console and of QEMU.
fn last_words(folder: &Path) -> String {
    let mut text = String::new();
    for file in ["qemu.log", "console.log"] {
        let bytes = std::fs::read(folder.join(file)).unwrap_or_default();
        let all = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = all.lines().collect();
        for line in &lines[lines.len().saturating_sub(12)..] {
            text += &format!("{line}\n");
        }
    }
    text
}
