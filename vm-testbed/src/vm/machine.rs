//! Machines: a PC of QEMU's with some NUMA nodes, an IOMMU (VT-d) where one is wanted, and network cards on any node, each
//! behind a root port of its own, so that each has an IOMMU group of its own.
//!
//! [`accel`](super::accel) says whether KVM or QEMU itself runs the guest. `no_timer_check` is for loaded hosts: with an IOMMU
//! the kernel else finds its timer too late and panics. What passes a card's cable is kept in a capture beside the console's log.

use std::fs::File;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::signal::Signal;

use super::accel::{Accel, accel};
use super::guest::Guest;
use super::image::{Image, Kind, image};
use super::qmp::Qmp;
use super::wire::Wire;
use crate::frame::Mac;
use crate::lab::wait::{eventually, millis, secs};
use crate::lab::{Lab, Netns};

/// Where the cable of a card leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cable {
    /// To the test bed, which sends and receives the frames.
    Bed,
    /// To a TAP that is named as the card, in the namespace of the machine: a port for an appliance there.
    Tap,
    /// To a program that serves vhost-user at the socket `NAME.vhost` in the machine's folder, and shares the guest's memory.
    Vhost,
}

/// A network card of a machine.
#[derive(Debug, Clone, Copy)]
pub struct Card {
    /// Its name, and that of its cable. In a Linux guest the interface is named so.
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
    /// Its cable.
    pub cable: Cable,
}

/// Whether there is an IOMMU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Iommu {
    /// None.
    Absent,
    /// There, but the kernel was not told to use it.
    Unused,
    /// In use.
    Used,
}

/// What a machine is made of.
#[derive(Debug, Clone, Copy)]
pub struct Spec {
    /// Its name, and that of its folder.
    pub name: &'static str,
    /// What it boots.
    pub kind: Kind,
    /// NUMA nodes; 1 is a machine without NUMA.
    pub nodes: u32,
    /// CPUs of each.
    pub cpus: u32,
    /// MiB of each.
    pub memory: u32,
    /// Its IOMMU.
    pub iommu: Iommu,
    /// Its cards, in the order of their buses.
    pub cards: &'static [Card],
    /// It is to outlive the test bed: a later process opens its shell and its console ([`shell_of`], [`console_of`]), and
    /// nothing is captured.
    pub lasting: bool,
}

impl Spec {
    /// In words: nodes, CPUs, memory, cards and where they are.
    #[must_use]
    pub fn describe(&self) -> String {
        let cards = self.cards.iter().map(|c| {
            let model = c.model.split(',').next().unwrap_or_default();
            match (self.nodes, c.cable) {
                (1, Cable::Tap) => format!("{model} on a TAP"),
                (1, Cable::Vhost) => format!("{model} over vhost-user"),
                (1, Cable::Bed) => model.to_owned(),
                _ => format!("{model} on {}", c.node),
            }
        });
        let cards = cards.collect::<Vec<_>>().join(", ");
        let iommu = match self.iommu {
            Iommu::Absent => "",
            Iommu::Unused => ", VT-d not in use",
            Iommu::Used => ", VT-d",
        };
        let s = |n: u32| if n == 1 { "" } else { "s" };
        let (nodes, cpus, memory) = (self.nodes, self.cpus, self.memory);
        match nodes {
            1 => format!("{cpus} CPU{}, {memory} MiB{iommu}; {cards}", s(cpus)),
            _ => format!(
                "{nodes} nodes with {cpus} CPU{} and {memory} MiB each{iommu}; {cards}",
                s(cpus)
            ),
        }
    }

    /// A small Linux machine for a neighbour: one CPU, 512 MiB.
    #[must_use]
    pub const fn linux(name: &'static str, cards: &'static [Card]) -> Self {
        Self {
            name,
            kind: Kind::Linux,
            nodes: 1,
            cpus: 1,
            memory: 512,
            iommu: Iommu::Absent,
            cards,
            lasting: false,
        }
    }
}

/// The options of a paravirtual card behind an IOMMU.
pub const VIRTIO: &str = "virtio-net-pci,disable-legacy=on,iommu_platform=on";

/// A card with one queue whose cable leads to the test bed; `n` makes its address one of its own on the node.
#[must_use]
pub const fn card_on(node: u32, name: &'static str, model: &'static str, n: u8) -> Card {
    Card {
        name,
        model,
        driver: name,
        node,
        mac: [0x52, 0x54, 0, 0, 0x0a + node as u8, n],
        queues: 1,
        cable: Cable::Bed,
    }
}

/// The cards of [`TWO_NODES`].
const CARDS: &[Card] = &[
    card_on(0, "e1000e", "e1000e", 1),
    Card {
        driver: "virtio-pci",
        ..card_on(0, "virtio", VIRTIO, 2)
    },
    card_on(1, "vmxnet3", "vmxnet3", 1),
    // A card of its own: behind a TAP with two queues, a guest that used one of them was seen to receive nothing; why is not known.
    Card {
        driver: "virtio-pci",
        queues: 2,
        ..card_on(
            0,
            "virtio-two",
            "virtio-net-pci,disable-legacy=on,iommu_platform=on,mq=on,vectors=6",
            3,
        )
    },
];

/// Two nodes with two CPUs and a gigabyte each, and cards of three makes: an appliance is run in it.
pub const TWO_NODES: Spec = Spec {
    name: "vm",
    kind: Kind::Appliance,
    nodes: 2,
    cpus: 2,
    memory: 1024,
    iommu: Iommu::Used,
    cards: CARDS,
    lasting: false,
};

/// Four nodes with two CPUs and half a gigabyte each, and a card on each.
pub const FOUR_NODES: Spec = Spec {
    name: "vm-four",
    nodes: 4,
    memory: 512,
    cards: &[
        card_on(0, "e1000e", "e1000e", 1),
        card_on(1, "vmxnet3", "vmxnet3", 1),
        Card {
            driver: "virtio-pci",
            ..card_on(2, "virtio", VIRTIO, 1)
        },
        Card {
            driver: "e1000e",
            ..card_on(3, "e1000e-far", "e1000e", 1)
        },
    ],
    ..TWO_NODES
};

/// The same as [`TWO_NODES`], whose kernel was not told to use its IOMMU.
pub const UNUSED_IOMMU: Spec = Spec {
    name: "vm-no-iommu",
    iommu: Iommu::Unused,
    ..TWO_NODES
};

/// The program.
const QEMU: &str = "qemu-system-x86_64";
/// How long a guest may take to come up; it takes some ten seconds where nobody else wants the CPUs.
const BOOT: Duration = secs(180);
/// Of each frame, so much is kept in the captures.
const SNAP: u32 = 256;

/// A running machine. Dropped, it is switched off; should the test bed be killed, the kernel kills it.
#[derive(Debug)]
pub struct Vm {
    /// Its shell.
    pub guest: Guest,
    /// QEMU's control socket.
    pub qmp: Qmp,
    /// How long it took from QEMU's start to the first command.
    pub boot: Duration,
    /// What ran it.
    pub accel: Accel,
    /// What it is made of.
    pub spec: Spec,
    /// PCI addresses of the cards, in their order.
    addresses: Vec<String>,
    wires: Vec<Wire>,
    /// `None`: it is left to itself.
    child: Option<Child>,
    folder: PathBuf,
    /// Its files and its cables' namespace, where they are its own; the console's log is kept with them.
    lab: Option<Lab>,
}

impl Vm {
    /// Starts a machine on its own and waits until its shell answers.
    ///
    /// # Errors
    /// When there is no image, QEMU refuses, or the guest does not come up; with the end of its console then.
    pub fn boot(spec: &Spec) -> Result<Self> {
        let mut lab = Lab::new(spec.name)?;
        let folder = lab.folder().to_owned();
        let ns = lab.space("cables")?;
        let mut vm = Self::beside(spec, &folder, &ns)?;
        vm.lab = Some(lab);
        Ok(vm)
    }

    /// Starts a machine whose TAPs are in a namespace of a lab, and its files in the lab's folder.
    ///
    /// # Errors
    /// As [`Vm::boot`].
    pub fn beside(spec: &Spec, folder: &Path, ns: &Netns) -> Result<Self> {
        Starting::launch(spec, folder, ns)?.wait()
    }

    /// A card.
    ///
    /// # Panics
    /// When there is none of that name.
    #[must_use]
    pub fn card(&self, name: &str) -> &'static Card {
        let card = self.spec.cards.iter().find(|c| c.name == name);
        card.unwrap_or_else(|| panic!("no card {name}"))
    }

    /// The near end of a card's cable.
    ///
    /// # Panics
    /// When there is no card of that name, or its cable does not lead to the test bed.
    #[must_use]
    pub fn wire(&self, card: &str) -> &Wire {
        let wire = self.wires.iter().find(|w| w.card() == card);
        wire.unwrap_or_else(|| panic!("no card {card} with an end here"))
    }

    /// The PCI address of a card.
    ///
    /// # Panics
    /// When there is no card of that name.
    #[must_use]
    pub fn address(&self, card: &str) -> &str {
        let at = self.spec.cards.iter().position(|c| c.name == card);
        &self.addresses[at.unwrap_or_else(|| panic!("no card {card}"))]
    }

    /// Puts a card back that was unplugged.
    ///
    /// # Errors
    /// When QEMU refuses it.
    pub fn plug(&mut self, name: &str) -> Result<()> {
        let slot = self.spec.cards.iter().position(|c| c.name == name);
        let slot = slot.with_context(|| format!("no card {name}"))?;
        self.qmp.plug(&device(&self.spec.cards[slot], slot))
    }

    /// How QEMU came to its end by a fault of its own, whatever a guest did: an assertion that failed, a segmentation fault.
    /// `None` while it runs, and when it ended otherwise.
    pub fn gave_up(&mut self) -> Option<String> {
        // The shell's end is seen before QEMU's own, by as long as it takes to give its memory back.
        let child = self.child.as_mut()?;
        let ended = || Ok(child.try_wait()?);
        let status = eventually("QEMU's end", millis(5000), ended).ok()?;
        let said = self.last_words();
        let why = said.lines().find(|l| l.contains("Assertion"));
        let signal = Signal::try_from(status.signal()?).ok()?;
        let own = [
            Signal::SIGABRT,
            Signal::SIGSEGV,
            Signal::SIGBUS,
            Signal::SIGILL,
        ];
        (own.contains(&signal)).then(|| why.unwrap_or(signal.as_str()).to_owned())
    }

    /// Keeps a text with the machine's logs.
    pub fn keep(&self, what: &str, text: &str) {
        let _ = std::fs::write(
            self.folder.join(format!("{}-{what}.log", self.spec.name)),
            text,
        );
    }

    /// Leaves it running; made to last, it can be found again by its folder.
    pub fn leave(mut self) {
        self.child = None;
    }

    /// The end of what the guest's kernel and QEMU have said.
    #[must_use]
    pub fn last_words(&self) -> String {
        last_words(&self.folder, &self.spec)
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            end(child);
        }
    }
}

fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// A machine that is coming up. Several can, at the same time: QEMU is started first, and waited for later. Dropped, it is
/// switched off.
#[derive(Debug)]
pub struct Starting {
    spec: Spec,
    accel: Accel,
    wires: Vec<Wire>,
    child: Option<Child>,
    folder: PathBuf,
    begin: Instant,
}

impl Starting {
    /// Starts QEMU and does not wait; for the rest see [`Vm::beside`].
    ///
    /// # Errors
    /// When there is no image, or QEMU can't be run.
    pub fn launch(spec: &Spec, folder: &Path, ns: &Netns) -> Result<Self> {
        let image = image(spec.kind)?;
        let accel = accel()?;
        let wires: Result<Vec<Option<Wire>>> = (spec.cards.iter())
            .map(|c| Wire::open(c, folder, ns))
            .collect();
        let wires = wires?.into_iter().flatten().collect();
        let begin = Instant::now();
        let child = spawn(&image, spec, accel, folder, ns)?;
        Ok(Self {
            spec: *spec,
            accel,
            wires,
            child: Some(child),
            folder: folder.to_owned(),
            begin,
        })
    }

    /// Waits until its shell answers.
    ///
    /// # Errors
    /// When it does not, with the end of its console then.
    pub fn wait(mut self) -> Result<Vm> {
        let mut child = self.child.take().context("it was started")?;
        let up = come_up(&mut child, &self.spec, &self.folder);
        let (guest, qmp, addresses) = up.map_err(|e| {
            end(&mut child);
            let said = last_words(&self.folder, &self.spec);
            anyhow!(
                "the machine {} does not start: {e:#}; it said:\n{said}",
                self.spec.name
            )
        })?;
        Ok(Vm {
            guest,
            qmp,
            boot: self.begin.elapsed(),
            accel: self.accel,
            spec: self.spec,
            addresses,
            wires: std::mem::take(&mut self.wires),
            child: Some(child),
            folder: std::mem::take(&mut self.folder),
            lab: None,
        })
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            end(child);
        }
    }
}

/// The socket of the shell of a machine with that name.
#[must_use]
pub fn shell_of(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.guest"))
}

/// The socket of the console of a machine with that name that was made to last.
#[must_use]
pub fn console_of(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.console"))
}

/// Connects to the shell, waits for the guest's first word, and connects to QEMU.
fn come_up(child: &mut Child, spec: &Spec, folder: &Path) -> Result<(Guest, Qmp, Vec<String>)> {
    let mut alive = || match child.try_wait()? {
        Some(status) => Err(anyhow!("QEMU ended with {status}")),
        None => Ok(()),
    };
    let shell = shell_of(folder, spec.name);
    // An error alone would not end the wait.
    let stream = eventually("QEMU's socket", secs(30), || {
        if let Err(e) = alive() {
            return Ok(Some(Err(e)));
        }
        Ok(UnixStream::connect(&shell).ok().map(Ok))
    })??;
    let mut guest = Guest::greet(stream, BOOT)?;
    let qmp = Qmp::connect(&folder.join(format!("{}.qmp", spec.name)))?;
    let addresses = addresses(&mut guest, spec)?;
    Ok((guest, qmp, addresses))
}

/// The PCI addresses of the cards: found by their hardware addresses, which the kernel's drivers tell. In a Linux guest the
/// interfaces are named as the cards.
fn addresses(guest: &mut Guest, spec: &Spec) -> Result<Vec<String>> {
    let list = guest.run(
        "for d in /sys/bus/pci/devices/*; do for n in $d/net/* $d/virtio*/net/*; do
            [ -e $n/address ] && echo $(cat $n/address) ${d##*/} ${n##*/}
        done; done; true",
    )?;
    let mut found = vec![];
    for card in spec.cards {
        let mac = mac_text(card.mac);
        let line = list.lines().find_map(|l| l.strip_prefix(&mac));
        let line = line.with_context(|| format!("the guest has no {}: {list}", card.name))?;
        let mut words = line.split_whitespace();
        let (Some(address), Some(name)) = (words.next(), words.next()) else {
            bail!("`{line}`: neither address nor name");
        };
        if spec.kind == Kind::Linux && name != card.name {
            guest.run(&format!("ip link set {name} name {}", card.name))?;
        }
        found.push(address.to_owned());
    }
    Ok(found)
}

fn mac_text(mac: Mac) -> String {
    mac.map(|b| format!("{b:02x}")).join(":")
}

/// Starts QEMU; the kernel kills it with the thread that called this, unless it is to last.
fn spawn(image: &Image, spec: &Spec, accel: Accel, folder: &Path, ns: &Netns) -> Result<Child> {
    let log = File::create(folder.join(format!("{}-qemu.log", spec.name)))?;
    let mut c = if spec.lasting {
        let mut c = ns.command(QEMU);
        c.process_group(0); // what interrupts the test bed does not end it
        c
    } else {
        let mut c = ns.command("setpriv");
        // What runs beside it has its own times to keep.
        c.args(["--pdeathsig", "KILL", "nice", "-n", "10", QEMU]);
        c
    };
    c.args(["-accel", accel.argument(spec.iommu != Iommu::Absent)]);
    c.args(arguments(spec, folder).split_whitespace());
    c.arg("-kernel").arg(&image.kernel);
    c.arg("-initrd").arg(&image.root);
    let iommu = if spec.iommu == Iommu::Used {
        " intel_iommu=on"
    } else {
        " intel_iommu=off"
    };
    // The last word is for init.sh.
    let shell = if spec.lasting { " console-shell" } else { "" };
    c.arg("-append").arg(format!(
        "console=ttyS0 quiet panic=-1 mitigations=off no_timer_check{iommu}{shell}"
    ));
    c.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    match c.spawn() {
        Ok(child) => Ok(child),
        Err(e) => bail!("can't run setpriv (util-linux) and qemu-system-x86_64: {e}"),
    }
}

/// A card in its slot.
fn device(card: &Card, slot: usize) -> String {
    let (name, mac) = (card.name, mac_text(card.mac));
    format!(
        "{},netdev={name},id=card-{name},bus=port{slot},mac={mac}",
        card.model
    )
}

/// The machine, in QEMU's words.
fn arguments(spec: &Spec, folder: &Path) -> String {
    let Spec {
        nodes,
        cpus,
        memory,
        ..
    } = *spec;
    let (all_cpus, all_memory) = (nodes * cpus, nodes * memory);
    let mut all = format!(
        "-cpu max -smp {all_cpus},sockets={nodes},cores={cpus},threads=1 -m {all_memory}M \
         -display none -nodefaults -no-user-config -no-reboot -machine q35"
    );
    if spec.iommu != Iommu::Absent {
        all += ",kernel-irqchip=split -device intel-iommu,intremap=on,caching-mode=off";
    } else if nodes == 1 {
        all += ",memory-backend=m0";
    }
    for n in 0..nodes {
        all += &format!(" -object memory-backend-memfd,id=m{n},size={memory}M,share=on");
        if nodes > 1 {
            let (first, last) = (n * cpus, (n + 1) * cpus - 1);
            all += &format!(
                " -numa node,nodeid={n},cpus={first}-{last},memdev=m{n} \
                 -device pxb-pcie,id=pxb{n},bus_nr={},numa_node={n},bus=pcie.0",
                0x40 + n * 0x20
            );
        }
    }
    // Distances between nodes that QEMU has heard of.
    for near in 0..nodes {
        for far in near + 1..nodes {
            all += &format!(" -numa dist,src={near},dst={far},val=21");
        }
    }
    for (n, card) in spec.cards.iter().enumerate() {
        let bus = match nodes {
            1 => "pcie.0".to_owned(),
            _ => format!("pxb{}", card.node),
        };
        all += &format!(
            " -device pcie-root-port,id=port{n},bus={bus},chassis={},slot={n} -netdev {} -device {}",
            n + 1,
            Wire::netdev(card, folder),
            device(card, n),
        );
        // QEMU has no filters for the others.
        if card.queues == 1 && card.cable != Cable::Vhost && !spec.lasting {
            let file = folder.join(format!("{}-{}.pcap", spec.name, card.name));
            all += &format!(
                " -object filter-dump,id=dump-{name},netdev={name},maxlen={SNAP},file={}",
                file.display(),
                name = card.name,
            );
        }
    }
    let at = |what: &str| folder.join(format!("{}{what}", spec.name));
    let log = at("-console.log").display().to_string();
    let serial = match spec.lasting {
        true => format!(
            "-chardev socket,id=console,path={},server=on,wait=off,logfile={log} -serial chardev:console",
            console_of(folder, spec.name).display()
        ),
        false => format!("-serial file:{log}"),
    };
    all + &format!(
        " {serial} -qmp unix:{},server=on,wait=off -chardev socket,id=shell,path={},server=on,wait=off \
         -device virtio-serial-pci,bus=pcie.0 -device virtserialport,chardev=shell,nr=1",
        at(".qmp").display(),
        shell_of(folder, spec.name).display(),
    )
}

/// The last lines of the console and of QEMU.
fn last_words(folder: &Path, spec: &Spec) -> String {
    let mut text = String::new();
    for file in ["qemu.log", "console.log"] {
        let bytes = std::fs::read(folder.join(format!("{}-{file}", spec.name))).unwrap_or_default();
        let all = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = all.lines().collect();
        for line in &lines[lines.len().saturating_sub(12)..] {
            text += &format!("{line}\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_in_the_words_of_qemu() {
        let two = arguments(&TWO_NODES, Path::new("/f"));
        for part in [
            "-smp 4,sockets=2,cores=2,threads=1 -m 2048M",
            "-numa node,nodeid=1,cpus=2-3,memdev=m1",
            "-numa dist,src=0,dst=1,val=21",
            "-device vmxnet3,netdev=vmxnet3,id=card-vmxnet3,bus=port2,mac=52:54:00:00:0b:01",
            "-device pcie-root-port,id=port2,bus=pxb1,",
            "-device intel-iommu,",
        ] {
            assert!(two.contains(part), "no {part} in {two}");
        }
        const CARD: &[Card] = &[Card {
            cable: Cable::Vhost,
            ..card_on(0, "e0", "virtio-net-pci", 1)
        }];
        let small = arguments(&Spec::linux("small", CARD), Path::new("/f"));
        for part in [
            "memory-backend=m0 -object memory-backend-memfd,id=m0,size=512M,share=on",
            "bus=pcie.0,chassis=1,",
            "path=/f/e0.vhost",
        ] {
            assert!(small.contains(part), "no {part} in {small}");
        }
        for part in ["-numa", "intel-iommu", "filter-dump"] {
            assert!(!small.contains(part), "{part} in {small}");
        }
        let lasting = Spec {
            lasting: true,
            ..Spec::linux("stays", TWO_NODES.cards)
        };
        let lasting = arguments(&lasting, Path::new("/f"));
        assert!(
            lasting.contains("path=/f/stays.console,") && !lasting.contains("filter-dump"),
            "{lasting}"
        );
    }
}
