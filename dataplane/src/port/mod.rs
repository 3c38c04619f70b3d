//! Ports: what gives and takes frames.
//!
//! A port is opened and closed by the control thread while the workers run; its queues are handed out one by one, each
//! to one worker, and all must be back (dropped) before [`Port::close`]. All ports are plugged in after the EAL is up,
//! the first ones too: one path.
//!
//! | device string | what it is | file |
//! |---|---|---|
//! | `af_packet:IF` | our own reader of packet(7) sockets, see there why | `packet.rs` |
//! | `af_xdp:IF` | our own AF_XDP sockets, likewise | `xsk/`, `xdp.rs` |
//! | `memif:SOCKET` | our own end of memory shared with another program, likewise | `memif/` |
//! | `tap:NAME`, `pci:ADDRESS`, `dpdk:ARGS` | DPDK's drivers | `dpdk.rs` |
//! | `loopback` | no wire: addresses alone | `loopback.rs` |
//! | (tests) | two queues in memory | `mem.rs` |
//!
//! What every port promises:
//! - a frame has one segment, and its VLAN tags are in it, whatever the device strips; but for drivers of DPDK, which are not
//!   asked to do otherwise: the stages look for that with everything else, and drop what is in several segments;
//! - frames up to the MTU fit, with an Ethernet header, two VLAN tags and a full label stack ([`L2_OVERHEAD`]) where the
//!   device allows; longer ones are counted in [`PortStats`], never cut and passed on;
//! - multicast is received (IPv6 ND needs it) without leaving the device promiscuous behind;
//! - what a killed process left on the device does not stop the next one.
//!
//! A worker that finds nothing sleeps until a queue's descriptor is readable, where it has one ([`Rx::wait_fd`]): a socket,
//! a TAP, or the eventfd of an interrupt (`wake.rs`).
//!
//! Left out: TX offloads, scattered RX, flow rules.

mod device;
mod dpdk;
mod dtap;
mod kernel;
mod leave;
mod loopback;
mod mem;
mod memif;
mod packet;
#[cfg(test)]
mod tests;
mod wake;
mod xdp;
mod xsk;

pub use device::{Device, DeviceError, without_secret};
pub use dpdk::{DpdkRx, DpdkTx, dpdk_version};
pub use leave::asked_to_leave;
pub use loopback::LoopbackTx;
pub use mem::{MemPort, MemRx, MemTx, MemWire};
pub use memif::{MemifRx, MemifTx};
pub use packet::{PacketRx, PacketTx};
pub use xsk::{XskRx, XskTx};

use crate::burst::Burst;
use crate::eal::Eal;
use crate::mempool::{PoolError, Pools};
use net::{MacAddr, PortId};
use std::os::fd::RawFd;

/// Bytes of a frame beside its L3 packet: Ethernet header 14, two VLAN tags 8, eight labels 32.
pub const L2_OVERHEAD: u16 = 54;
/// What a device's own MTU must have beyond the L3 MTU for that: everything but the Ethernet header.
pub const MTU_SLACK: u16 = L2_OVERHEAD - 14;

/// The receiving half of a queue.
pub trait Rx: Send {
    /// Adds frames to the burst, as many as there are and fit. Returns how many.
    fn rx(&mut self, burst: &mut Burst) -> usize;

    /// A descriptor that poll(2) reports readable while frames wait, valid for as long as the queue lives; `None` where
    /// there is none.
    fn wait_fd(&self) -> Option<RawFd> {
        None
    }

    /// Can the descriptor be relied on? `false`: it is worth waiting for, but the queue must be looked at now and then.
    fn wakes(&self) -> bool {
        self.wait_fd().is_some()
    }

    /// Does the device tell of frames only when it is asked to, by [`arm`](Self::arm)?
    fn arms(&self) -> bool {
        false
    }

    /// Lets the descriptor become readable with the next frame. Frames that came before do not make it so: look at the
    /// queue once more before sleeping.
    fn arm(&mut self) {}

    /// Undoes [`arm`](Self::arm), if it was armed: after a sleep, before the queue is looked at.
    fn disarm(&mut self) {}

    /// A sleep on the descriptor was over by time, and then there were frames.
    fn missed(&mut self) {}
}

/// The sending half of a queue.
pub trait Tx: Send {
    /// Takes frames from the front of the burst, as many as the device has room for. Returns how many; the rest stay.
    fn tx(&mut self, burst: &mut Burst) -> usize;
}

/// A receiving queue of any kind. `match` once a burst; or run a loop generic over the kinds.
#[derive(Debug)]
pub enum AnyRx {
    /// Of a DPDK device.
    Dpdk(DpdkRx),
    /// Of a packet socket.
    Packet(PacketRx),
    /// Of an AF_XDP socket.
    Xsk(XskRx),
    /// Of memory shared with another program.
    Memif(MemifRx),
    /// In memory.
    Mem(MemRx),
}

/// A sending queue of any kind.
#[derive(Debug)]
pub enum AnyTx {
    /// Of a DPDK device.
    Dpdk(DpdkTx),
    /// Of a packet socket.
    Packet(PacketTx),
    /// Of an AF_XDP socket.
    Xsk(XskTx),
    /// Of memory shared with another program.
    Memif(MemifTx),
    /// Of no wire.
    Loopback(LoopbackTx),
    /// In memory.
    Mem(MemTx),
}

impl Rx for AnyRx {
    #[inline]
    fn rx(&mut self, burst: &mut Burst) -> usize {
        match self {
            Self::Dpdk(q) => q.rx(burst),
            Self::Packet(q) => q.rx(burst),
            Self::Xsk(q) => q.rx(burst),
            Self::Memif(q) => q.rx(burst),
            Self::Mem(q) => q.rx(burst),
        }
    }

    fn wait_fd(&self) -> Option<RawFd> {
        match self {
            Self::Dpdk(q) => q.wait_fd(),
            Self::Packet(q) => q.wait_fd(),
            Self::Xsk(q) => q.wait_fd(),
            Self::Memif(q) => q.wait_fd(),
            Self::Mem(q) => q.wait_fd(),
        }
    }

    fn wakes(&self) -> bool {
        match self {
            Self::Dpdk(q) => q.wakes(),
            Self::Packet(q) => q.wakes(),
            Self::Xsk(q) => q.wakes(),
            Self::Memif(q) => q.wakes(),
            Self::Mem(q) => q.wakes(),
        }
    }

    // Sockets are readable while frames wait, whatever one does.

    fn arms(&self) -> bool {
        match self {
            Self::Dpdk(q) => q.arms(),
            Self::Memif(q) => q.arms(),
            Self::Mem(q) => q.arms(),
            Self::Packet(_) | Self::Xsk(_) => false,
        }
    }

    fn arm(&mut self) {
        match self {
            Self::Dpdk(q) => q.arm(),
            Self::Memif(q) => q.arm(),
            Self::Mem(q) => q.arm(),
            Self::Packet(_) | Self::Xsk(_) => {}
        }
    }

    fn disarm(&mut self) {
        match self {
            Self::Dpdk(q) => q.disarm(),
            Self::Memif(q) => q.disarm(),
            Self::Mem(q) => q.disarm(),
            Self::Packet(_) | Self::Xsk(_) => {}
        }
    }

    fn missed(&mut self) {
        match self {
            Self::Dpdk(q) => q.missed(),
            Self::Memif(q) => q.missed(),
            Self::Mem(q) => q.missed(),
            Self::Packet(_) | Self::Xsk(_) => {}
        }
    }
}

impl Tx for AnyTx {
    #[inline]
    fn tx(&mut self, burst: &mut Burst) -> usize {
        match self {
            Self::Dpdk(q) => q.tx(burst),
            Self::Packet(q) => q.tx(burst),
            Self::Xsk(q) => q.tx(burst),
            Self::Memif(q) => q.tx(burst),
            Self::Loopback(q) => q.tx(burst),
            Self::Mem(q) => q.tx(burst),
        }
    }
}

/// What to open, and how.
#[derive(Clone, Debug)]
pub struct PortSpec {
    /// The device.
    pub device: Device,
    /// RX queues (and TX queues); none: as many as there are workers to poll them where that costs nothing, else what the
    /// device has.
    pub queues: Option<u16>,
    /// Greatest L3 packet in bytes.
    pub mtu: u16,
    /// Workers that will send by it.
    pub workers: u16,
    /// The NUMA node of each of them: those on the device's own node will poll it, or all where there are none.
    pub nodes: Vec<u32>,
    /// Frames that an RX queue holds; the device may take another number near it.
    pub rx_desc: u16,
    /// Frames that a TX queue holds.
    pub tx_desc: u16,
    /// Whether workers will want to sleep until a frame comes: interrupts are asked for where the driver has them.
    pub interrupts: bool,
}

impl PortSpec {
    /// MTU 1500, one worker, queues of 1,024, interrupts.
    #[must_use]
    pub fn new(device: Device) -> Self {
        Self {
            device,
            queues: None,
            mtu: 1500,
            workers: 1,
            nodes: Vec::new(),
            rx_desc: 1024,
            tx_desc: 1024,
            interrupts: true,
        }
    }

    /// How many workers will poll a device of that NUMA node.
    fn pollers(&self, node: u32) -> u16 {
        match self.nodes.iter().filter(|n| **n == node).count() {
            0 => self.workers,
            near => near as u16,
        }
    }
}

/// The state of the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Whether frames can pass.
    pub up: bool,
    /// Mbit/s; 0 where nobody knows.
    pub mbps: u32,
}

/// How a worker that sleeps learns that there are frames on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WakesBy {
    /// A descriptor is readable while there are: a socket, a TAP.
    Descriptor,
    /// By interrupts.
    Interrupt,
    /// By looking, until the first interrupt has shown that they come.
    InterruptUnseen,
    /// By looking: neither is there.
    Looking,
    /// There never are any.
    Never,
}

impl std::fmt::Display for WakesBy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Descriptor => "descriptor",
            Self::Interrupt => "interrupt",
            Self::InterruptUnseen => "looking, until an interrupt has come",
            Self::Looking => "looking",
            Self::Never => "nothing: no frames come",
        })
    }
}

/// What a port lost before or after anybody could count it per interface. Totals since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortStats {
    /// Frames that arrived when the queue was full.
    pub rx_missed: u64,
    /// Frames that arrived broken.
    pub rx_errors: u64,
    /// Times that no buffer was free for a frame.
    pub rx_nombuf: u64,
    /// Frames longer than the port takes, or in several pieces.
    pub rx_oversize: u64,
    /// Frames that the device took and failed to send.
    pub tx_errors: u64,
}

/// Why a port could not be opened, changed or closed: cause and remedy.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// The string does not name a device that exists and can be used.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// No memory for its frames.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The device can't do what the configuration wants.
    #[error("{device}: {what}")]
    Limit {
        /// The device.
        device: String,
        /// What is wrong, and what would be right.
        what: String,
    },
    /// A call of the kernel failed.
    #[error("{device}: {what}: {cause}{}", privilege(cause))]
    Kernel {
        /// The device.
        device: String,
        /// What was tried.
        what: String,
        /// What the kernel said.
        cause: std::io::Error,
    },
    /// A call of DPDK failed.
    #[error("{device}: {what}: {cause}")]
    Dpdk {
        /// The device.
        device: String,
        /// What was tried.
        what: &'static str,
        /// What DPDK said.
        cause: String,
    },
    /// Its queues are still out.
    #[error("{device}: {queues} of its queues are still in use")]
    InUse {
        /// The device.
        device: String,
        /// Queues that somebody holds.
        queues: usize,
    },
}

fn privilege(cause: &std::io::Error) -> &'static str {
    match cause.kind() {
        std::io::ErrorKind::PermissionDenied => {
            " (run as root, or give the process CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF)"
        }
        _ => "",
    }
}

/// The kinds of ports.
#[derive(Debug)]
enum Backend {
    Dpdk(dpdk::DpdkPort),
    Packet(packet::PacketPort),
    Xsk(xsk::XskPort),
    Memif(memif::MemifPort),
    Loopback,
    Mem(MemPort),
}

/// What there is to know of a port, whatever its kind.
#[derive(Debug)]
struct About {
    id: PortId,
    device: String,
    mac: MacAddr,
    node: u32,
    mtu: u16,
}

/// An open port: the control thread's side of it.
#[derive(Debug)]
pub struct Port {
    about: About,
    rx: Vec<Option<AnyRx>>,
    tx: Vec<Option<AnyTx>>,
    warnings: Vec<String>,
    // Dropped after the queues that are still here, and in this order.
    backend: Backend,
}

impl Port {
    /// Opens a port, brings it up and starts it. `pools` makes the pool of its node when there is none yet.
    ///
    /// # Errors
    /// See [`PortError`]; nothing of the port is left behind then.
    pub fn open(
        eal: &Eal,
        spec: &PortSpec,
        id: PortId,
        pools: &mut Pools,
    ) -> Result<Self, PortError> {
        let device = spec.device.to_string();
        if spec.mtu < 68 || spec.mtu > MAX_MTU {
            let what = format!("MTU {} is out of range: 68 to {MAX_MTU}", spec.mtu);
            return Err(PortError::Limit { device, what });
        }
        if spec.queues == Some(0) {
            return Err(PortError::Limit {
                device,
                what: "0 queues: at least 1 is needed".into(),
            });
        }
        let mtu = spec.mtu;
        Ok(match &spec.device {
            Device::AfPacket { .. } => {
                let o = packet::PacketPort::open(eal, spec, pools)?;
                let (rx, tx) = (
                    o.rx.into_iter().map(AnyRx::Packet),
                    o.tx.into_iter().map(AnyTx::Packet),
                );
                let about = About {
                    id,
                    device,
                    mac: o.port.mac(),
                    node: o.port.node(),
                    mtu,
                };
                Self::assemble(about, rx, tx, o.warnings, Backend::Packet(o.port))
            }
            Device::AfXdp { .. } => {
                let o = xsk::XskPort::open(eal, spec, pools)?;
                let (rx, tx) = (
                    o.rx.into_iter().map(AnyRx::Xsk),
                    o.tx.into_iter().map(AnyTx::Xsk),
                );
                let about = About {
                    id,
                    device,
                    mac: o.port.mac(),
                    node: o.port.node(),
                    mtu,
                };
                Self::assemble(about, rx, tx, o.warnings, Backend::Xsk(o.port))
            }
            Device::Memif { socket, args } => {
                let o = memif::MemifPort::open(eal, spec, socket, args, pools)?;
                let (rx, tx) = (
                    o.rx.into_iter().map(AnyRx::Memif),
                    o.tx.into_iter().map(AnyTx::Memif),
                );
                let about = About {
                    id,
                    device,
                    mac: o.port.mac(),
                    node: 0,
                    mtu,
                };
                Self::assemble(about, rx, tx, Vec::new(), Backend::Memif(o.port))
            }
            Device::Loopback => {
                let tx = (0..spec.workers.max(1)).map(|_| AnyTx::Loopback(LoopbackTx));
                let about = About {
                    id,
                    device,
                    mac: loopback::mac(id),
                    node: 0,
                    mtu,
                };
                let rx = std::iter::empty();
                Self::assemble(about, rx, tx, Vec::new(), Backend::Loopback)
            }
            Device::Tap { .. } | Device::Pci { .. } | Device::Dpdk { .. } => {
                let o = dpdk::DpdkPort::open(eal, spec, id, pools)?;
                let (rx, tx) = (
                    o.rx.into_iter().map(AnyRx::Dpdk),
                    o.tx.into_iter().map(AnyTx::Dpdk),
                );
                let about = About {
                    id,
                    device,
                    mac: o.port.mac(),
                    node: o.port.node(),
                    mtu,
                };
                Self::assemble(about, rx, tx, o.warnings, Backend::Dpdk(o.port))
            }
        })
    }

    /// A port of queues in memory, for tests: frames go in and come out by its [`MemPort::wire`]s.
    #[must_use]
    pub fn mem(id: PortId, mac: MacAddr, mtu: u16, mut mem: MemPort) -> Self {
        let (rx, tx) = mem.take_queues();
        let (rx, tx) = (
            rx.into_iter().map(AnyRx::Mem),
            tx.into_iter().map(AnyTx::Mem),
        );
        let about = About {
            id,
            device: format!("mem:{id}"),
            mac,
            node: 0,
            mtu,
        };
        Self::assemble(about, rx, tx, Vec::new(), Backend::Mem(mem))
    }

    fn assemble(
        about: About,
        rx: impl Iterator<Item = AnyRx>,
        tx: impl Iterator<Item = AnyTx>,
        warnings: Vec<String>,
        backend: Backend,
    ) -> Self {
        Self {
            about,
            rx: rx.map(Some).collect(),
            tx: tx.map(Some).collect(),
            warnings,
            backend,
        }
    }

    /// Its slot in the router's port table.
    #[must_use]
    pub fn id(&self) -> PortId {
        self.about.id
    }

    /// The device string it was opened with.
    #[must_use]
    pub fn device(&self) -> &str {
        &self.about.device
    }

    /// Its hardware address.
    #[must_use]
    pub fn mac(&self) -> MacAddr {
        self.about.mac
    }

    /// The NUMA node it is on; 0 where it is on none.
    #[must_use]
    pub fn node(&self) -> u32 {
        self.about.node
    }

    /// The L3 MTU it was opened for, or set to.
    #[must_use]
    pub fn mtu(&self) -> u16 {
        self.about.mtu
    }

    /// How many RX queues it has; every one must be polled, or frames are lost.
    #[must_use]
    pub fn rx_queues(&self) -> u16 {
        self.rx.len() as u16
    }

    /// How many TX queues it has.
    #[must_use]
    pub fn tx_queues(&self) -> u16 {
        self.tx.len() as u16
    }

    /// The RX queue, for the one worker that will poll it. `None` when it is out already.
    pub fn take_rx(&mut self, queue: u16) -> Option<AnyRx> {
        self.rx.get_mut(usize::from(queue))?.take()
    }

    /// The TX queue, for the one worker that will send on it. `None` when it is out already.
    pub fn take_tx(&mut self, queue: u16) -> Option<AnyTx> {
        self.tx.get_mut(usize::from(queue))?.take()
    }

    /// What the operator should know: the kernel also has addresses on the device, and the like.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// How a worker that sleeps learns of its frames.
    #[must_use]
    pub fn wakes_by(&self) -> WakesBy {
        match &self.backend {
            Backend::Dpdk(p) => p.wakes_by(),
            Backend::Packet(_) | Backend::Xsk(_) => WakesBy::Descriptor,
            Backend::Memif(p) => p.wakes_by(),
            Backend::Loopback => WakesBy::Never,
            Backend::Mem(p) => p.wakes_by(),
        }
    }

    /// The state of the wire.
    #[must_use]
    pub fn link(&self) -> Link {
        match &self.backend {
            Backend::Dpdk(p) => p.link(),
            Backend::Packet(p) => p.link(),
            Backend::Xsk(p) => p.link(),
            Backend::Memif(p) => p.link(),
            Backend::Loopback => loopback::LINK,
            Backend::Mem(p) => p.link(),
        }
    }

    /// What it lost. `&mut` because some devices forget what they have told.
    pub fn stats(&mut self) -> PortStats {
        match &mut self.backend {
            Backend::Dpdk(p) => p.stats(),
            Backend::Packet(p) => p.stats(),
            Backend::Xsk(p) => p.stats(),
            Backend::Memif(p) => p.stats(),
            Backend::Loopback => PortStats::default(),
            Backend::Mem(p) => p.stats(),
        }
    }

    /// Changes the L3 MTU while the port runs.
    ///
    /// # Errors
    /// When its buffers or its device do not allow it: closing and opening it with the new MTU may.
    pub fn set_mtu(&mut self, mtu: u16) -> Result<(), PortError> {
        match &mut self.backend {
            Backend::Dpdk(p) => p.set_mtu(mtu)?,
            Backend::Packet(p) => p.set_mtu(mtu)?,
            Backend::Xsk(p) => p.set_mtu(mtu)?,
            Backend::Memif(p) => p.set_mtu(mtu)?,
            Backend::Loopback | Backend::Mem(_) => {}
        }
        self.about.mtu = mtu;
        Ok(())
    }

    /// Stops the port and gives the device back as it was. Every queue must have been dropped.
    ///
    /// # Errors
    /// [`PortError::InUse`] when one was not: the device then stays open until the process ends, for frames may still be
    /// on their way through it.
    pub fn close(mut self) -> Result<(), PortError> {
        self.rx.clear();
        self.tx.clear();
        match self.backend {
            Backend::Dpdk(p) => p.close(),
            Backend::Packet(p) => p.close(),
            Backend::Xsk(p) => p.close(),
            Backend::Memif(p) => p.close(),
            Backend::Loopback | Backend::Mem(_) => Ok(()),
        }
    }
}

/// The greatest L3 MTU of any port.
pub const MAX_MTU: u16 = crate::mempool::JUMBO_ROOM - 128;
