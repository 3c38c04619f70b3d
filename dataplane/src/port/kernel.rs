//! A network interface of the kernel that a port takes over (af_packet, af_xdp).
//!
//! Read netdevice(7), packet(7), and the kernel's Documentation/networking/ip-sysctl.rst. While the port is open the
//! interface is the router's: it is up, its MTU has room for labels and tags, it listens to all multicast, and the
//! kernel's own IP keeps off it. Each change is undone when the [`Claim`] is dropped, in reverse order.
//!
//! After `kill -9` the settings stay until the next start, which finds them written down ([`hugepages::held`]): the
//! all-multicast membership, the claim itself and the filter that makes the kernel deaf belong to descriptors, which the
//! kernel closes.

use super::xdp;
use super::{Device, DeviceError, Link, MTU_SLACK, PortError};
use crate::tap::{control_socket, ioctl, request};
use hugepages::doctor::RUN_DIR;
use hugepages::held::{Held, Item};
use hugepages::link::Setting;
use hugepages::sys::Sys;
use net::MacAddr;
use std::ffi::{CStr, c_void};
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::Duration;

/// That an interface is ours.
#[derive(Debug)]
pub(super) struct Claim {
    device: String,
    name: String,
    index: i32,
    mac: MacAddr,
    control: OwnedFd,
    warnings: Vec<String>,
    /// What was changed, and how it was. Undone in reverse order when it is dropped.
    undo: Held,
    /// Held: the descriptors' life is that of what they stand for.
    _lock: UnixDatagram,
    _multicast: OwnedFd,
    deaf: Option<OwnedFd>,
}

/// `struct ethtool_value`.
#[repr(C)]
struct EthtoolValue {
    cmd: u32,
    data: u32,
}

/// `struct ethtool_channels`.
#[repr(C)]
#[derive(Default)]
struct EthtoolChannels {
    cmd: u32,
    max: [u32; 4],
    count: [u32; 4],
}

/// `struct ethtool_cmd`.
#[repr(C)]
#[derive(Default)]
struct EthtoolCmd {
    cmd: u32,
    supported: u32,
    advertising: u32,
    speed: u16,
    rest: [u8; 6],
    packets: [u32; 2],
    speed_hi: u16,
    eth_tp: [u8; 2],
    more: [u32; 3],
}

const SIOCETHTOOL: libc::Ioctl = 0x8946;
const ETHTOOL_GSET: u32 = 0x1;
const ETHTOOL_GLINK: u32 = 0xa;
const ETHTOOL_GFLAGS: u32 = 0x25;
const ETHTOOL_SFLAGS: u32 = 0x26;
const ETHTOOL_GGRO: u32 = 0x2b;
const ETHTOOL_SGRO: u32 = 0x2c;
const ETHTOOL_GCHANNELS: u32 = 0x3c;
const ETHTOOL_SCHANNELS: u32 = 0x3d;
const ETH_FLAG_LRO: u32 = 1 << 15;
/// Indices in [`EthtoolChannels`].
const RX: usize = 0;
const TX: usize = 1;
const COMBINED: usize = 3;

/// Queues of a device.
#[derive(Clone, Copy, Debug)]
pub(super) struct Channels {
    /// In use.
    pub(super) count: u32,
    /// There are.
    pub(super) max: u32,
    /// Whether the device speaks of pairs; others (veth) count RX and TX apart.
    pub(super) paired: bool,
}

impl Claim {
    /// Takes the interface over for a port of that L3 MTU.
    pub(super) fn new(device: &Device, name: &str, mtu: u16) -> Result<Self, PortError> {
        let device = device.to_string();
        let bad = |what: String| {
            PortError::from(DeviceError {
                device: device.clone(),
                what,
            })
        };
        let failed = |what: &str, cause| PortError::Kernel {
            device: device.clone(),
            what: what.into(),
            cause,
        };
        let control = control_socket().map_err(|e| failed("can't open a socket", e))?;
        let mut r = request(name);
        ioctl(control.as_raw_fd(), libc::SIOCGIFINDEX, &mut r)
            .map_err(|_| bad(format!("no such device; devices here: {}", devices())))?;
        // SAFETY: written by the call above.
        let index = unsafe { r.ifr_ifru.ifru_ifindex };
        ioctl(control.as_raw_fd(), libc::SIOCGIFHWADDR, &mut r)
            .map_err(|e| failed("can't read the hardware address", e))?;
        // SAFETY: written by the call above.
        let hw = unsafe { r.ifr_ifru.ifru_hwaddr };
        if hw.sa_family != libc::ARPHRD_ETHER {
            return Err(bad(format!(
                "not an Ethernet device (type {}); devices here: {}",
                hw.sa_family,
                devices()
            )));
        }
        let mac = MacAddr(std::array::from_fn(|i| hw.sa_data[i] as u8));
        let lock = lock(name).map_err(|e| match e.kind() {
            io::ErrorKind::AddrInUse => {
                bad("in use by another port or another trunkline process".into())
            }
            _ => failed("can't claim the device", e),
        })?;
        let multicast =
            all_multicast(index).map_err(|e| failed("can't listen to all multicast", e))?;
        let mut warnings = Vec::new();
        let sys = Sys::default();
        let undo = Held::open_as(&sys, Path::new(RUN_DIR), name).unwrap_or_else(|e| {
            warnings.push(format!(
                "{device}: can't write down in {RUN_DIR} what is changed on it ({e}): after a kill it stays changed"
            ));
            Held::in_memory(&sys)
        });
        let mut claim = Self {
            device,
            name: name.into(),
            index,
            mac,
            control,
            warnings,
            undo,
            _lock: lock,
            _multicast: multicast,
            deaf: None,
        };
        claim.warn_of_the_kernel();
        claim.sysctl("ipv6", "disable_ipv6", "1");
        claim.room_for(mtu)?;
        claim.up()?;
        Ok(claim)
    }

    /// The device string.
    pub(super) fn device(&self) -> &str {
        &self.device
    }

    pub(super) fn index(&self) -> i32 {
        self.index
    }

    pub(super) fn mac(&self) -> MacAddr {
        self.mac
    }

    /// What the operator should know; taken once.
    pub(super) fn take_warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }

    pub(super) fn warn(&mut self, what: String) {
        self.warnings.push(format!("{}: {what}", self.device));
    }

    pub(super) fn failed(&self, what: impl Into<String>, cause: io::Error) -> PortError {
        PortError::Kernel {
            device: self.device.clone(),
            what: what.into(),
            cause,
        }
    }

    pub(super) fn limit(&self, what: impl Into<String>) -> PortError {
        PortError::Limit {
            device: self.device.clone(),
            what: what.into(),
        }
    }

    /// The NUMA node of the NIC behind it, or 0.
    pub(super) fn node(&self) -> u32 {
        let path = format!("/sys/class/net/{}/device/numa_node", self.name);
        fs::read_to_string(path)
            .ok()
            .and_then(|n| n.trim().parse().ok())
            .unwrap_or(0)
    }

    fn ask(&self, call: libc::Ioctl) -> io::Result<libc::ifreq> {
        let mut r = request(&self.name);
        ioctl(self.control.as_raw_fd(), call, &mut r)?;
        Ok(r)
    }

    fn ethtool<T>(&self, value: &mut T) -> io::Result<()> {
        let mut r = request(&self.name);
        r.ifr_ifru.ifru_data = std::ptr::from_mut(value).cast();
        ioctl(self.control.as_raw_fd(), SIOCETHTOOL, &mut r)
    }

    /// Sets a knob of the kernel, to be put back later; a kernel without it is fine.
    fn sysctl(&mut self, family: &str, key: &str, value: &str) {
        let path = format!("/proc/sys/net/{family}/conf/{}/{key}", self.name);
        let Ok(old) = fs::read_to_string(&path) else {
            return;
        };
        if old.trim() != value {
            let setting = |value: &str| Setting::Sysctl {
                family: family.into(),
                key: key.into(),
                value: value.into(),
            };
            let _ = self.change(setting(old.trim()), |c| c.as_link().set(&setting(value)));
        }
    }

    fn as_link(&self) -> hugepages::link::Link {
        hugepages::link::Link {
            namespace: hugepages::link::namespace().unwrap_or(0),
            name: self.name.clone(),
            index: self.index,
        }
    }

    /// Changes a setting that was `was`, which is written down first.
    fn change(
        &mut self,
        was: Setting,
        change: impl FnOnce(&Self) -> io::Result<()>,
    ) -> io::Result<()> {
        let link = self.as_link();
        let item = Item::Link { link, was };
        let noted = self.undo.note(item.clone());
        let done = change(self);
        match (&done, noted) {
            (Err(_), Ok(())) => drop(self.undo.strike(&item)),
            (Ok(()), Err(e)) => self.warn(format!(
                "can't write down in {RUN_DIR} what is changed on it ({e}): it stays changed"
            )),
            _ => {}
        }
        done
    }

    /// Sets the kernel's MTU so that frames of that L3 MTU pass with labels and tags.
    pub(super) fn room_for(&mut self, mtu: u16) -> Result<(), PortError> {
        let r = self
            .ask(libc::SIOCGIFMTU)
            .map_err(|e| self.failed("can't read the MTU", e))?;
        // SAFETY: written by the call above.
        let now = unsafe { r.ifr_ifru.ifru_mtu };
        let want = i32::from(mtu) + i32::from(MTU_SLACK);
        if now >= want {
            return Ok(());
        }
        let Err(cause) = self.change(Setting::Mtu(now), |c| c.set_kernel_mtu(want)) else {
            return Ok(());
        };
        if now < mtu.into()
            && let Err(cause) = self.change(Setting::Mtu(now), |c| c.set_kernel_mtu(mtu.into()))
        {
            return Err(self.failed(format!("the kernel does not give it MTU {mtu}"), cause));
        }
        self.warn(format!(
            "the device takes no MTU of {want} ({cause}): full-sized packets with labels will not pass"
        ));
        Ok(())
    }

    fn set_kernel_mtu(&self, mtu: i32) -> io::Result<()> {
        let mut r = request(&self.name);
        r.ifr_ifru.ifru_mtu = mtu;
        ioctl(self.control.as_raw_fd(), libc::SIOCSIFMTU, &mut r)
    }

    fn flags(&self) -> io::Result<i32> {
        // SAFETY: written by the call.
        self.ask(libc::SIOCGIFFLAGS)
            .map(|r| i32::from(unsafe { r.ifr_ifru.ifru_flags }))
    }

    fn set_flags(&self, flags: i32) -> io::Result<()> {
        let mut r = request(&self.name);
        r.ifr_ifru.ifru_flags = flags as i16;
        ioctl(self.control.as_raw_fd(), libc::SIOCSIFFLAGS, &mut r)
    }

    fn up(&mut self) -> Result<(), PortError> {
        let flags = self
            .flags()
            .map_err(|e| self.failed("can't read the flags", e))?;
        if flags & libc::IFF_UP == 0 {
            self.change(Setting::Down, |c| c.set_flags(flags | libc::IFF_UP))
                .map_err(|e| self.failed("can't set it up", e))?;
        }
        Ok(())
    }

    /// The state of the wire.
    pub(super) fn link(&self) -> Link {
        let flags = self.flags().unwrap_or(0);
        // IFF_RUNNING follows the carrier up to a second later; it has to do where a driver does not tell the carrier.
        let mut carrier = EthtoolValue {
            cmd: ETHTOOL_GLINK,
            data: 0,
        };
        let carrier = match self.ethtool(&mut carrier) {
            Ok(()) => carrier.data != 0,
            Err(_) => flags & libc::IFF_RUNNING != 0,
        };
        let up = flags & libc::IFF_UP != 0 && carrier;
        let mut cmd = EthtoolCmd {
            cmd: ETHTOOL_GSET,
            ..EthtoolCmd::default()
        };
        let mbps = match self.ethtool(&mut cmd) {
            Ok(()) => u32::from(cmd.speed) | u32::from(cmd.speed_hi) << 16,
            Err(_) => 0,
        };
        Link {
            up,
            mbps: if mbps == u32::MAX || mbps == 0xffff {
                0
            } else {
                mbps
            },
        }
    }

    /// Has the kernel stop to merge received frames: what is merged is longer than any frame and can't be forwarded.
    pub(super) fn no_merging(&mut self) {
        let mut gro = EthtoolValue {
            cmd: ETHTOOL_GGRO,
            data: 0,
        };
        if self.ethtool(&mut gro).is_ok() && gro.data != 0 {
            self.ethtool_set(ETHTOOL_SGRO, 0, gro.data, "GRO");
        }
        let mut flags = EthtoolValue {
            cmd: ETHTOOL_GFLAGS,
            data: 0,
        };
        if self.ethtool(&mut flags).is_ok() && flags.data & ETH_FLAG_LRO != 0 {
            self.ethtool_set(
                ETHTOOL_SFLAGS,
                flags.data & !ETH_FLAG_LRO,
                flags.data,
                "LRO",
            );
        }
    }

    fn ethtool_set(&mut self, set: u32, value: u32, old: u32, what: &str) {
        let was = Setting::Ethtool { set, value: old };
        let mut to = EthtoolValue {
            cmd: set,
            data: value,
        };
        if let Err(e) = self.change(was, |c| c.ethtool(&mut to)) {
            self.warn(format!(
                "{what} can't be turned off ({e}): TCP to and through the router will be slow"
            ));
        }
    }

    /// How many queues the device receives on now.
    pub(super) fn channels(&self) -> Channels {
        let mut c = EthtoolChannels {
            cmd: ETHTOOL_GCHANNELS,
            ..EthtoolChannels::default()
        };
        match self.ethtool(&mut c) {
            Ok(()) if c.max[COMBINED] > 0 => Channels {
                count: c.count[COMBINED].max(1),
                max: c.max[COMBINED],
                paired: true,
            },
            Ok(()) if c.max[RX] > 0 => Channels {
                count: c.count[RX].max(1),
                max: c.max[RX].min(c.max[TX]),
                paired: false,
            },
            _ => Channels {
                count: 1,
                max: 1,
                paired: true,
            },
        }
    }

    /// Sets how many queues the device uses. They stay so when the port is closed.
    pub(super) fn set_channels(&self, n: u32) -> Result<(), PortError> {
        let now = self.channels();
        if now.count == n {
            return Ok(());
        }
        if n > now.max {
            return Err(self.limit(format!("queues = {n}, but the device has {}", now.max)));
        }
        let set = || {
            let mut c = EthtoolChannels {
                cmd: ETHTOOL_GCHANNELS,
                ..EthtoolChannels::default()
            };
            self.ethtool(&mut c)?;
            c.cmd = ETHTOOL_SCHANNELS;
            if now.paired {
                c.count[COMBINED] = n;
            } else {
                c.count[RX] = n;
                c.count[TX] = n;
            }
            self.ethtool(&mut c)
        };
        let mut done = set();
        // The kernel lets go of the queues of an AF_XDP socket some time after it was closed.
        for _ in 0..50 {
            if !matches!(&done, Err(e) if e.raw_os_error() == Some(libc::EINVAL)) {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
            done = set();
        }
        let how = if now.paired {
            format!("combined {n}")
        } else {
            format!("rx {n} tx {n}")
        };
        done.map_err(|e| {
            self.failed(
                format!("can't set {n} queues (`ethtool -L {} {how}`)", self.name),
                e,
            )
        })
    }

    /// Makes the kernel's own IP deaf on the interface, after packet sockets have had their copy. The router's
    /// addresses are the kernel's too (on TAPs), so it would answer and forward what the router does.
    pub(super) fn deafen(&mut self) {
        match xdp::drop_ingress(self.index) {
            Ok(link) => self.deaf = Some(link),
            Err(_) => {
                // Before Linux 6.6: no forwarding, no answer to ARP, and no source address is right.
                self.sysctl("ipv4", "forwarding", "0");
                self.sysctl("ipv4", "arp_ignore", "8");
                self.sysctl("ipv4", "rp_filter", "1");
            }
        }
    }

    fn warn_of_the_kernel(&mut self) {
        let addresses = addresses(&self.name);
        if !addresses.is_empty() {
            self.warn(format!(
                "the kernel has {} on it too, and no longer hears what is sent there; \
                 give the address to the router alone (`ip addr flush dev {}`)",
                addresses.join(", "),
                self.name
            ));
        }
        let path = format!("/sys/class/net/{}/master", self.name);
        if let Ok(master) = fs::read_link(path) {
            let master = master
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            self.warn(format!(
                "it is a member of {master}, which takes frames away from it \
                 (`ip link set {} nomaster`)",
                self.name
            ));
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Before the settings go back: nothing may be answered meanwhile. Then `undo` is dropped, and the lock last.
        self.deaf = None;
    }
}

/// One holder an interface and network namespace: abstract names live in the namespace, and end with the process.
fn lock(name: &str) -> io::Result<UnixDatagram> {
    let address = SocketAddr::from_abstract_name(format!("trunkline/port/{name}"))?;
    UnixDatagram::bind_addr(&address)
}

/// A packet socket that receives nothing, for which the interface listens to all multicast.
fn all_multicast(index: i32) -> io::Result<OwnedFd> {
    let fd = packet_socket()?;
    let membership = libc::packet_mreq {
        mr_ifindex: index,
        mr_type: libc::PACKET_MR_ALLMULTI as u16,
        mr_alen: 0,
        mr_address: [0; 8],
    };
    set_option(
        &fd,
        libc::SOL_PACKET,
        libc::PACKET_ADD_MEMBERSHIP,
        &membership,
    )?;
    Ok(fd)
}

/// A raw packet socket that is bound to nothing and so receives nothing.
pub(super) fn packet_socket() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no pointers.
    let fd = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor, ours alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `setsockopt` of a plain value.
pub(super) fn set_option<T>(fd: &OwnedFd, level: i32, name: i32, value: &T) -> io::Result<()> {
    // SAFETY: `value` is read only, for its size.
    let rc = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            std::ptr::from_ref(value).cast::<c_void>(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if rc == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The names of the network interfaces here, for error messages.
pub(super) fn devices() -> String {
    // SAFETY: returns an array that ends in a zero index, or null; freed below.
    let all = unsafe { libc::if_nameindex() };
    let mut names = Vec::new();
    if !all.is_null() {
        let mut at = all;
        // SAFETY: walks up to the zero index that ends the array.
        unsafe {
            while (*at).if_index != 0 {
                let name = CStr::from_ptr((*at).if_name).to_string_lossy().into_owned();
                if name != "lo" {
                    names.push(name);
                }
                at = at.add(1);
            }
            libc::if_freenameindex(all);
        }
    }
    if names.is_empty() {
        "none".into()
    } else {
        names.join(", ")
    }
}

/// The addresses of the interface but its link-local ones.
fn addresses(name: &str) -> Vec<String> {
    let mut list = std::ptr::null_mut();
    // SAFETY: writes a list, freed below.
    if unsafe { libc::getifaddrs(&raw mut list) } != 0 {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut at = list;
    while !at.is_null() {
        // SAFETY: a node of the list; its name is a C string; its address, where it has one, is of its family.
        unsafe {
            let node = &*at;
            at = node.ifa_next;
            if CStr::from_ptr(node.ifa_name).to_bytes() != name.as_bytes()
                || node.ifa_addr.is_null()
            {
                continue;
            }
            let address: IpAddr = match i32::from((*node.ifa_addr).sa_family) {
                libc::AF_INET => {
                    let a = &*node.ifa_addr.cast::<libc::sockaddr_in>();
                    Ipv4Addr::from(u32::from_be(a.sin_addr.s_addr)).into()
                }
                libc::AF_INET6 => {
                    let a = &*node.ifa_addr.cast::<libc::sockaddr_in6>();
                    Ipv6Addr::from(a.sin6_addr.s6_addr).into()
                }
                _ => continue,
            };
            if !matches!(address, IpAddr::V6(a) if a.is_unicast_link_local()) {
                found.push(address.to_string());
            }
        }
    }
    // SAFETY: the list from above.
    unsafe { libc::freeifaddrs(list) };
    found
}
