//! Ports of DPDK's drivers: plugged in while the EAL runs, unplugged when closed.
//!
//! Read the DPDK programmer's guide, "Poll Mode Driver" and "Device hot-plug". Every device goes the same way: make its
//! arguments, `rte_dev_probe`, configure, set queues up, start; and back: stop, close, `rte_dev_remove`.
//!
//! RX interrupts are asked for, see `wake.rs`; a driver that can't is configured without.
//!
//! Left out: TX offloads; drivers whose devices have several ports (the first is taken, and a warning says so).

use super::dtap::{self, NoSignals};
use super::kernel::devices;
use super::leave;
use super::wake::{self, Wake};
use super::{Device, DeviceError, L2_OVERHEAD, Link, MTU_SLACK, PortError, PortSpec, PortStats};
use super::{Rx, Tx, WakesBy};
use crate::burst::Burst;
use crate::eal::{self, Eal};
use crate::mempool::{Mempool, Pools};
use dpdk_sys as sys;
use net::{MacAddr, PortId};
use std::collections::BTreeSet;
use std::ffi::{CStr, CString, c_int};
use std::fs;
use std::mem::MaybeUninit;
use std::os::fd::RawFd;
use std::sync::Arc;

/// A receiving queue.
#[derive(Debug)]
pub struct DpdkRx {
    port: u16,
    queue: u16,
    wake: Option<Wake>,
    _pool: Arc<Mempool>,
    _alive: Arc<()>,
}

impl Rx for DpdkRx {
    #[inline]
    fn rx(&mut self, burst: &mut Burst) -> usize {
        let (to, room) = burst.room_raw();
        // SAFETY: the port is started and this is the queue's only user; `to` has room for `room` frames, of which the
        // first `n` are ours afterwards.
        let n = unsafe {
            let n = sys::tl_rx_burst(self.port, self.queue, to, room);
            burst.grow(n);
            n
        };
        n.into()
    }

    fn wait_fd(&self) -> Option<RawFd> {
        self.wake.as_ref().map(Wake::fd)
    }

    fn wakes(&self) -> bool {
        self.wake.as_ref().is_some_and(Wake::holds)
    }

    fn arms(&self) -> bool {
        self.wake.as_ref().is_some_and(Wake::arms)
    }

    fn arm(&mut self) {
        if let Some(w) = &mut self.wake {
            w.arm();
        }
    }

    fn disarm(&mut self) {
        if let Some(w) = &mut self.wake {
            w.disarm();
        }
    }

    fn missed(&mut self) {
        if let Some(w) = &mut self.wake {
            w.missed();
        }
    }
}

/// A sending queue.
#[derive(Debug)]
pub struct DpdkTx {
    port: u16,
    queue: u16,
    _alive: Arc<()>,
}

impl DpdkTx {
    fn new(of: &Plugged, queue: u16) -> Self {
        Self {
            port: of.port,
            queue,
            _alive: of.alive.clone(),
        }
    }
}

impl Tx for DpdkTx {
    #[inline]
    fn tx(&mut self, burst: &mut Burst) -> usize {
        let (from, len) = burst.live_raw();
        // SAFETY: the port is started and this is the queue's only user; the driver owns the first `n` frames afterwards.
        unsafe {
            let n = sys::tl_tx_burst(self.port, self.queue, from, len);
            burst.taken(n);
            n.into()
        }
    }
}

/// A device that was plugged in; dropping it stops, closes and unplugs it, unless its queues are still out.
#[derive(Debug)]
struct Plugged {
    device: String,
    port: u16,
    handle: *mut sys::rte_device,
    started: bool,
    alive: Arc<()>,
}

// SAFETY: the handle is only given back to DPDK, which locks around plugging.
unsafe impl Send for Plugged {}

impl Plugged {
    fn err(&self, what: &'static str, code: c_int) -> PortError {
        let mut cause = eal::take_log().join("; ");
        if cause.is_empty() {
            cause = eal::error_text(code);
        }
        PortError::Dpdk {
            device: self.device.clone(),
            what,
            cause,
        }
    }

    fn check(&self, what: &'static str, code: c_int) -> Result<(), PortError> {
        if code < 0 {
            Err(self.err(what, code))
        } else {
            Ok(())
        }
    }

    /// Configures it, sets up its queues and starts it.
    fn start(
        &mut self,
        info: &sys::rte_eth_dev_info,
        shape: &Shape,
        pool: &Mempool,
        node: u32,
        interrupts: bool,
    ) -> Result<(), PortError> {
        configure(self, info, shape, interrupts)?;
        set_up(self, shape, pool, node)?;
        // SAFETY: configured, and all queues are set up.
        let rc = unsafe { sys::rte_eth_dev_start(self.port) };
        self.check("can't start it", rc)?;
        self.started = true;
        Ok(())
    }

    fn queues_out(&self) -> usize {
        Arc::strong_count(&self.alive) - 1
    }

    /// Stops, closes and unplugs it; the second time nothing.
    fn unplug(&mut self) -> Result<(), PortError> {
        let handle = std::mem::replace(&mut self.handle, std::ptr::null_mut());
        if handle.is_null() {
            return Ok(());
        }
        eal::take_log();
        // SAFETY: the port is ours and no queue of it is in use any more.
        unsafe {
            if std::mem::take(&mut self.started) {
                sys::rte_eth_dev_stop(self.port);
            }
            let closed = sys::rte_eth_dev_close(self.port);
            let removed = sys::rte_dev_remove(handle);
            self.check("can't close it", closed)?;
            self.check("can't unplug it", removed)
        }
    }
}

/// The control thread's side.
#[derive(Debug)]
pub(super) struct DpdkPort {
    plugged: Plugged,
    node: u32,
    mac: MacAddr,
    max_mtu: u16,
    pool: Arc<Mempool>,
    wakes_by: WakesBy,
    shared: wake::Shared,
    /// Of a TAP, the descriptor of its first queue.
    tap: Option<RawFd>,
}

/// What opening gives.
pub(super) struct Opened {
    pub(super) port: DpdkPort,
    pub(super) rx: Vec<DpdkRx>,
    pub(super) tx: Vec<DpdkTx>,
    pub(super) warnings: Vec<String>,
}

/// What a device is configured with.
struct Shape {
    rx_queues: u16,
    tx_queues: u16,
    rx_desc: u16,
    tx_desc: u16,
    mtu: u16,
}

impl DpdkPort {
    pub(super) fn open(
        eal: &Eal,
        spec: &PortSpec,
        id: PortId,
        pools: &mut Pools,
    ) -> Result<Opened, PortError> {
        let args = arguments(eal, spec, id)?;
        let mut warnings = Vec::new();
        let tap = matches!(spec.device, Device::Tap { .. });
        let signals = tap.then(NoSignals::new);
        let mut plugged = plug(&spec.device, &args, &mut warnings)?;
        let info = info(&plugged)?;
        // SAFETY: the port was just plugged in.
        let node = unsafe { sys::rte_eth_dev_socket_id(plugged.port) };
        let node = u32::try_from(node).unwrap_or(0);
        let shape = shape(spec, &info, node)?;
        let pool = pools.get(eal, node, spec.mtu)?;
        // With a TAP, that is how to come by its descriptor.
        let ask = spec.interrupts || tap;
        let mut start = |interrupts| plugged.start(&info, &shape, &pool, node, interrupts);
        let refused = match start(ask) {
            Err(e) if ask => {
                start(false)?;
                Some(e)
            }
            other => other.map(|()| None)?,
        };
        drop(signals);
        listen(&plugged);
        let shared = wake::Shared::default();
        let mut wakes: Vec<_> = (0..shape.rx_queues)
            .map(|queue| Wake::of(plugged.port, queue, &shared))
            .collect();
        wake::distinct(&mut wakes);
        let first = wakes.first().and_then(Option::as_ref);
        let tap = first.filter(|w| tap && w.is_level()).map(Wake::fd);
        eal::take_log(); // of drivers that have none
        let wakes_by = wakes_by(&wakes);
        if spec.interrupts
            && wakes_by == WakesBy::Looking
            && matches!(spec.device, Device::Pci { .. })
        {
            warnings.push(without_interrupts(spec, refused.as_ref()));
        }
        if shape.rx_queues > 1 && !spreads(spec, &info) {
            warnings.push(format!(
                "{}: its driver does not spread flows over queues: all frames come in by the first; leave `queues` out",
                spec.device
            ));
        }
        if is_driver(&info, c"net_memif") {
            // It leaves its listener to the interrupt thread, which goes on looking at what a cleanup would unmap.
            std::mem::forget(eal.user());
            warnings.push(format!(
                "{}: DPDK's driver can end the process when its peer goes or the port is closed; write memif:SOCKET",
                spec.device
            ));
        }
        let max_mtu = shape.mtu;
        if max_mtu < spec.mtu + MTU_SLACK {
            warnings.push(format!(
                "{}: the device takes packets of {max_mtu} bytes: full-sized ones with labels will not pass",
                spec.device
            ));
        }
        let mac = mac(&plugged, id, tap.is_some())?;
        let rx = wakes.into_iter().zip(0..).map(|(wake, queue)| DpdkRx {
            port: plugged.port,
            queue,
            wake,
            _pool: pool.clone(),
            _alive: plugged.alive.clone(),
        });
        let rx = rx.collect();
        let tx = (0..shape.tx_queues)
            .map(|queue| DpdkTx::new(&plugged, queue))
            .collect();
        let port = Self {
            plugged,
            node,
            mac,
            max_mtu,
            pool,
            wakes_by,
            shared,
            tap,
        };
        Ok(Opened {
            port,
            rx,
            tx,
            warnings,
        })
    }

    pub(super) fn node(&self) -> u32 {
        self.node
    }

    pub(super) fn mac(&self) -> MacAddr {
        self.mac
    }

    pub(super) fn wakes_by(&self) -> WakesBy {
        match self.wakes_by {
            WakesBy::InterruptUnseen if self.shared.seen() => WakesBy::Interrupt,
            other => other,
        }
    }

    pub(super) fn link(&self) -> Link {
        let mut link = sys::tl_link {
            mbps: 0,
            up: 0,
            full_duplex: 0,
        };
        // SAFETY: an open port.
        let rc = unsafe { sys::tl_link_get(self.plugged.port, &raw mut link) };
        if rc != 0 {
            return Link::default();
        }
        Link {
            up: self.tap.map_or(link.up != 0, dtap::is_up),
            mbps: link.mbps,
        }
    }

    pub(super) fn stats(&self) -> PortStats {
        let mut s = MaybeUninit::<sys::rte_eth_stats>::zeroed();
        // SAFETY: an open port; all zeros is a valid value, should the call fail.
        let s = unsafe {
            sys::rte_eth_stats_get(self.plugged.port, s.as_mut_ptr());
            s.assume_init()
        };
        PortStats {
            rx_missed: s.imissed,
            rx_errors: s.ierrors,
            rx_nombuf: s.rx_nombuf,
            rx_oversize: 0, // the stages find those
            tx_errors: s.oerrors,
        }
    }

    pub(super) fn set_mtu(&mut self, mtu: u16) -> Result<(), PortError> {
        let fits = self
            .pool
            .data_room()
            .saturating_sub(L2_OVERHEAD)
            .min(self.max_mtu);
        if mtu > fits {
            let device = self.plugged.device.clone();
            let what = format!("MTU {mtu} is over {fits}; close and open the port");
            return Err(PortError::Limit { device, what });
        }
        Ok(()) // it was configured with all the room there is
    }

    pub(super) fn close(mut self) -> Result<(), PortError> {
        match self.plugged.queues_out() {
            0 => self.plugged.unplug(),
            queues => Err(PortError::InUse {
                device: self.plugged.device.clone(),
                queues,
            }),
        }
    }
}

impl Drop for Plugged {
    fn drop(&mut self) {
        // While somebody holds a queue the device stays, for good if need be. And there is nobody to tell of what
        // fails; close() tells.
        if self.queues_out() == 0 {
            let _ = self.unplug();
        }
    }
}

/// The device's arguments for DPDK.
fn arguments(eal: &Eal, spec: &PortSpec, id: PortId) -> Result<String, PortError> {
    let device = spec.device.to_string();
    let bad = |what: String| {
        PortError::from(DeviceError {
            device: device.clone(),
            what,
        })
    };
    Ok(match &spec.device {
        Device::AfPacket { .. }
        | Device::AfXdp { .. }
        | Device::Memif { .. }
        | Device::Loopback => {
            unreachable!("not of DPDK")
        }
        Device::Tap { iface, args } => {
            if devices().split(", ").any(|d| d == iface) {
                return Err(bad(
                    "there is a device of that name already; choose another".into(),
                ));
            }
            format!("net_tap_{id},iface={iface}{args}")
        }
        Device::Pci { address, args } => {
            check_pci(eal, address).map_err(bad)?;
            leave::listen();
            format!("pci:{address}{args}")
        }
        Device::Dpdk { args } => args.clone(),
    })
}

/// Drivers of the kernel that leave the device to DPDK.
const PCI_DRIVERS: [&str; 7] = [
    "vfio-pci",
    "uio_pci_generic",
    "igb_uio",
    "mlx4_core",
    "mlx5_core",
    "mana",
    "nfp",
];

/// Whether there is a NIC at that address, with a driver that DPDK can work with.
fn check_pci(eal: &Eal, address: &str) -> Result<(), String> {
    const ROOT: &str = "/sys/bus/pci/devices";
    let class = |a: &str| fs::read_to_string(format!("{ROOT}/{a}/class")).unwrap_or_default();
    if class(address).is_empty() {
        let all = fs::read_dir(ROOT).into_iter().flatten().flatten();
        let names = all.filter_map(|d| d.file_name().into_string().ok());
        let nics: Vec<String> = names.filter(|n| class(n).starts_with("0x02")).collect();
        let nics = if nics.is_empty() {
            "none".into()
        } else {
            nics.join(", ")
        };
        return Err(format!("no such PCI device; NICs here: {nics}"));
    }
    let driver = fs::read_link(format!("{ROOT}/{address}/driver")).ok();
    let driver = driver
        .as_deref()
        .and_then(|p| p.file_name())
        .and_then(|n| n.to_str());
    let bind = format!(
        "bind it to vfio-pci (`modprobe vfio-pci; dpdk-devbind.py -b vfio-pci {address}`; `trunkctl doctor` says more)"
    );
    match driver {
        None => Err(format!("no driver is bound to it; {bind}")),
        Some(d) if !PCI_DRIVERS.contains(&d) => {
            Err(format!("the kernel's driver {d} has it; {bind}"))
        }
        Some("vfio-pci") => enable_vfio(),
        Some(d) if d.contains("uio") && !eal.pci() => Err(format!(
            "{d} needs physical addresses, and the EAL was started without; restart with the device in the configuration"
        )),
        Some(_) => Ok(()),
    }
}

/// Lets the EAL use vfio where its modules were not loaded yet when it started.
fn enable_vfio() -> Result<(), String> {
    let name = c"vfio".as_ptr();
    // SAFETY: a C string; the control thread alone plugs. Enabling forgets all groups: there are none before.
    let enabled = unsafe {
        sys::rte_vfio_is_enabled(name) != 0
            || (sys::rte_vfio_enable(name) == 0 && sys::rte_vfio_is_enabled(name) != 0)
    };
    if enabled {
        return Ok(());
    }
    Err(format!(
        "DPDK can't use vfio: {}; run `modprobe vfio-pci vfio_iommu_type1`",
        eal::last_error()
    ))
}

/// The ports that DPDK has now.
fn ports() -> BTreeSet<u16> {
    let mut all = BTreeSet::new();
    // SAFETY: only reads DPDK's table of ports, which no other thread changes now.
    let mut at = unsafe { sys::rte_eth_find_next(0) };
    while u32::from(at) < sys::TL_MAX_PORTS {
        all.insert(at);
        // SAFETY: as above.
        at = unsafe { sys::rte_eth_find_next(at + 1) };
    }
    all
}

/// Plugs the device in and finds the port that it became.
fn plug(device: &Device, args: &str, warnings: &mut Vec<String>) -> Result<Plugged, PortError> {
    let failed = |what, cause| PortError::Dpdk {
        device: device.to_string(),
        what,
        cause,
    };
    let c_args = CString::new(args).map_err(|_| failed("can't plug it in", "NUL in it".into()))?;
    eal::take_log();
    let before = ports();
    // SAFETY: a C string; the control thread alone plugs.
    let rc = unsafe { sys::rte_dev_probe(c_args.as_ptr()) };
    if rc < 0 {
        let mut log = eal::take_log();
        // EAL's own lines come last and only say that the driver failed; the driver's say why.
        if log.len() > 1 {
            log.retain(|l| !l.starts_with("EAL: ") && !l.starts_with("vdev_probe"));
        }
        let cause = if log.is_empty() {
            eal::error_text(rc)
        } else {
            log.join("; ")
        };
        return Err(failed(
            "can't plug it in",
            format!("{cause} (arguments: {args})"),
        ));
    }
    let new: Vec<u16> = ports().difference(&before).copied().collect();
    let Some(&port) = new.first() else {
        let cause = format!("DPDK has no driver for it, or it is plugged in already ({args})");
        return Err(failed("can't plug it in", cause));
    };
    if new.len() > 1 {
        warnings.push(format!(
            "{device}: it has {} ports, of which the first is used",
            new.len()
        ));
    }
    let mut plugged = Plugged {
        device: device.to_string(),
        port,
        handle: std::ptr::null_mut(),
        started: false,
        alive: Arc::new(()),
    };
    plugged.handle = info(&plugged)?.device;
    Ok(plugged)
}

fn info(plugged: &Plugged) -> Result<sys::rte_eth_dev_info, PortError> {
    let mut info = MaybeUninit::<sys::rte_eth_dev_info>::zeroed();
    // SAFETY: an open port; DPDK fills the struct, of which all zeros is a valid value.
    unsafe {
        let rc = sys::rte_eth_dev_info_get(plugged.port, info.as_mut_ptr());
        plugged.check("can't be asked what it is", rc)?;
        Ok(info.assume_init())
    }
}

fn is_driver(info: &sys::rte_eth_dev_info, name: &CStr) -> bool {
    // SAFETY: the driver's name, a C string that lives as long as the driver; `info` was filled by DPDK.
    unsafe { CStr::from_ptr(info.driver_name) == name }
}

/// Whether the driver is sure to take that many RX queues. vmxnet3 refuses, before its version 6, and does not say it before.
fn queues_fit(info: &sys::rte_eth_dev_info, queues: u16) -> bool {
    queues.is_power_of_two() || !is_driver(info, c"net_vmxnet3")
}

/// Whether several RX queues share the frames: by RSS, or, of a virtio card, as its other end likes. e1000e has two queues
/// and no RSS in DPDK. Devices that are no cards may do as they like.
fn spreads(spec: &PortSpec, info: &sys::rte_eth_dev_info) -> bool {
    !matches!(spec.device, Device::Pci { .. })
        || info.flow_type_rss_offloads != 0
        || is_driver(info, c"net_virtio")
}

/// How many queues of what size, and how long a packet: what is wanted, as far as the device goes.
fn shape(spec: &PortSpec, info: &sys::rte_eth_dev_info, node: u32) -> Result<Shape, PortError> {
    let device = spec.device.to_string();
    let limit = |what: String| PortError::Limit {
        device: device.clone(),
        what,
    };
    let rx_queues = match spec.queues {
        Some(n) if n > info.max_rx_queues => {
            return Err(limit(format!(
                "queues = {n}, but the device has {}",
                info.max_rx_queues
            )));
        }
        Some(n) => n,
        None if !spreads(spec, info) => 1,
        None => {
            let most = spec.pollers(node).clamp(1, info.max_rx_queues.max(1));
            (1..=most).rev().find(|n| queues_fit(info, *n)).unwrap_or(1)
        }
    };
    let tx_queues = rx_queues.max(spec.workers);
    let tx_queues = tx_queues.clamp(1, info.max_tx_queues.max(1));
    // What the driver counts beside the L3 packet; without a say it is Ethernet's header and checksum.
    let beside = if info.max_mtu != u16::MAX && info.max_rx_pktlen > info.max_mtu.into() {
        info.max_rx_pktlen - u32::from(info.max_mtu)
    } else {
        18
    };
    let most = info
        .max_rx_pktlen
        .saturating_sub(beside)
        .min(info.max_mtu.into()) as u16;
    if most < spec.mtu {
        return Err(limit(format!(
            "MTU {} is over {most}, the most that the device takes",
            spec.mtu
        )));
    }
    Ok(Shape {
        rx_queues,
        tx_queues,
        rx_desc: spec.rx_desc,
        tx_desc: spec.tx_desc,
        mtu: most.min(spec.mtu + MTU_SLACK),
    })
}

fn configure(
    plugged: &Plugged,
    info: &sys::rte_eth_dev_info,
    shape: &Shape,
    interrupts: bool,
) -> Result<(), PortError> {
    // SAFETY: a C struct of which all zeros is a valid value, and DPDK's default.
    let mut conf: sys::rte_eth_conf = unsafe { MaybeUninit::zeroed().assume_init() };
    conf.rxmode.mtu = shape.mtu.into();
    conf.intr_conf.set_rxq(interrupts.into());
    conf.rxmode.offloads = info.rx_offload_capa & sys::TL_RX_OFFLOAD_IPV4_CKSUM;
    let flows = sys::TL_RSS_IP | sys::TL_RSS_TCP | sys::TL_RSS_UDP | sys::TL_RSS_SCTP;
    let flows = (flows | sys::TL_RSS_MPLS) & info.flow_type_rss_offloads;
    if shape.rx_queues > 1 && flows != 0 {
        conf.rxmode.mq_mode = sys::TL_MQ_RX_RSS;
        conf.rxmode.offloads |= info.rx_offload_capa & sys::TL_RX_OFFLOAD_RSS_HASH;
        conf.rx_adv_conf.rss_conf.rss_hf = flows;
    }
    // SAFETY: a port that is not started.
    let rc = unsafe {
        sys::rte_eth_dev_configure(
            plugged.port,
            shape.rx_queues,
            shape.tx_queues,
            &raw const conf,
        )
    };
    plugged.check("can't configure it", rc)
}

fn set_up(plugged: &Plugged, shape: &Shape, pool: &Mempool, node: u32) -> Result<(), PortError> {
    let (mut rx_desc, mut tx_desc) = (shape.rx_desc, shape.tx_desc);
    // SAFETY: a configured port that is not started; null takes the driver's own thresholds; the pool lives as long as
    // the port, for `DpdkPort` holds it.
    unsafe {
        let (rx, tx) = (&raw mut rx_desc, &raw mut tx_desc);
        let rc = sys::rte_eth_dev_adjust_nb_rx_tx_desc(plugged.port, rx, tx);
        plugged.check("can't size its queues", rc)?;
        for queue in 0..shape.rx_queues {
            let rc = sys::rte_eth_rx_queue_setup(
                plugged.port,
                queue,
                rx_desc,
                node,
                std::ptr::null(),
                pool.raw(),
            );
            plugged.check("can't set up a queue to receive", rc)?;
        }
        for queue in 0..shape.tx_queues {
            let none = std::ptr::null();
            let rc = sys::rte_eth_tx_queue_setup(plugged.port, queue, tx_desc, node, none);
            plugged.check("can't set up a queue to send", rc)?;
        }
    }
    Ok(())
}

fn wakes_by(wakes: &[Option<Wake>]) -> WakesBy {
    if wakes.is_empty() || wakes.iter().any(Option::is_none) {
        WakesBy::Looking
    } else if wakes.iter().flatten().all(Wake::is_level) {
        WakesBy::Descriptor
    } else {
        WakesBy::InterruptUnseen
    }
}

/// What to tell of a NIC that can't end a sleep.
fn without_interrupts(spec: &PortSpec, refused: Option<&PortError>) -> String {
    let why = match refused {
        Some(PortError::Dpdk { what, cause, .. }) => {
            format!("with RX interrupts DPDK {what}: {cause}")
        }
        _ => "its driver has no RX interrupts that can be waited for".to_owned(),
    };
    let device = &spec.device;
    format!("{device}: {why}: idle workers look for frames by time, for some 3 % of a core each")
}

/// Lets multicast in: all of it where the device can, else everything. A device that can do neither has no filter.
fn listen(plugged: &Plugged) {
    // SAFETY: a started port.
    unsafe {
        if sys::rte_eth_allmulticast_enable(plugged.port) != 0 {
            sys::rte_eth_promiscuous_enable(plugged.port);
        }
    }
    eal::take_log();
}

/// The device's hardware address; one of our own for a device without, and for a TAP.
fn mac(plugged: &Plugged, id: PortId, tap: bool) -> Result<MacAddr, PortError> {
    let mut address = MaybeUninit::<sys::rte_ether_addr>::zeroed();
    // SAFETY: an open port; all zeros is a valid value.
    let address = unsafe {
        let rc = sys::rte_eth_macaddr_get(plugged.port, address.as_mut_ptr());
        plugged.check("can't read its hardware address", rc)?;
        address.assume_init()
    };
    let mac = MacAddr(address.addr_bytes);
    if tap {
        return Ok(dtap::mac(mac));
    }
    let [high, low] = id.0.to_be_bytes();
    Ok(if mac == MacAddr::ZERO {
        MacAddr([0x02, b't', b'l', 0, high, low])
    } else {
        mac
    })
}

/// The name of DPDK's release, for `--version` and bug reports.
#[must_use]
pub fn dpdk_version() -> &'static str {
    // SAFETY: returns a static C string.
    unsafe { CStr::from_ptr(sys::rte_version()) }
        .to_str()
        .unwrap_or("DPDK")
}
