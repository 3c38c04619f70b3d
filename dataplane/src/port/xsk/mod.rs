//! `af_xdp:IF`: frames of a kernel interface by AF_XDP sockets.
//!
//! Read the kernel's Documentation/networking/af_xdp.rst. Each queue of the interface gets a socket, and the memory and
//! four rings that go with it: RX and fill, TX and completion. A program of six instructions, attached by a BPF link,
//! gives each socket what its queue receives; the kernel's own IP gets nothing. Link and sockets are descriptors, so
//! nothing stays behind after `kill -9`.
//!
//! Departure: DPDK has a driver for this, and `dpdk:net_af_xdp0,iface=IF` still gets it. Up to 22.11.11 it leaves its
//! socket open and two thousand frames unreturned when a port is closed, so that the interface can't be opened again;
//! it knows no interface whose queues are not paired (veth); and it leaves its program behind when it is killed.
//! Frames are copied between the socket's memory and mbufs: a socket's memory belongs to the kernel for a while after
//! it was closed, and a pool that other ports share must not.
//!
//! Left out: frames in several buffers (XDP_USE_SG), so the MTU ends where a page does; checksum and VLAN offload of
//! the device (XDP sees neither: a veth's peer must have `tx`, `tso` and `txvlan` off).

mod ring;

use super::kernel::{Claim, set_option};
use super::{Device, L2_OVERHEAD, Link, PortError, PortSpec, PortStats, Rx, Tx, xdp};
use crate::burst::{BURST, Burst};
use crate::eal::Eal;
use crate::mempool::{Mempool, Pools};
use net::MacAddr;
use ring::{Map, Ring, RingOffset};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const SOL_XDP: i32 = 283;
const XDP_MMAP_OFFSETS: i32 = 1;
const XDP_RX_RING: i32 = 2;
const XDP_TX_RING: i32 = 3;
const XDP_UMEM_REG: i32 = 4;
const XDP_UMEM_FILL_RING: i32 = 5;
const XDP_UMEM_COMPLETION_RING: i32 = 6;
const XDP_STATISTICS: i32 = 7;
const PGOFF_RX: i64 = 0;
const PGOFF_TX: i64 = 0x8000_0000;
const PGOFF_FILL: i64 = 0x1_0000_0000;
const PGOFF_COMPLETION: i64 = 0x1_8000_0000;
const XDP_USE_NEED_WAKEUP: u16 = 1 << 3;
/// What the kernel keeps free before a received frame.
const XDP_HEADROOM: usize = 256;
/// Frames that one call has the kernel send, at most.
const KERNEL_BATCH: usize = 32;
/// The most queues of a port.
const MAX_QUEUES: u16 = 64;

/// The greatest MTU: a page less the kernel's headroom and the layers around the packet. A veth allows some 300 less.
const MAX_MTU: u16 = 4096 - XDP_HEADROOM as u16 - L2_OVERHEAD;

/// `struct xdp_desc`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct Desc {
    addr: u64,
    len: u32,
    options: u32,
}

/// `struct xdp_umem_reg`.
#[repr(C)]
struct UmemReg {
    addr: u64,
    len: u64,
    chunk_size: u32,
    headroom: u32,
    flags: u32,
    tx_metadata_len: u32,
}

/// `struct sockaddr_xdp`.
#[repr(C)]
struct Address {
    family: u16,
    flags: u16,
    ifindex: u32,
    queue: u32,
    shared_fd: u32,
}

/// A bound socket and the memory of its frames.
#[derive(Debug)]
struct Socket {
    fd: OwnedFd,
    memory: Map,
    chunk: usize,
}

impl Socket {
    /// A chunk's bytes from `address` on; `None` when they are not within the memory.
    #[inline]
    fn bytes(&self, address: u64, len: usize) -> Option<NonNull<u8>> {
        let from = address as usize;
        // SAFETY: within the memory, as just checked.
        (from.checked_add(len)? <= self.memory.len)
            .then(|| unsafe { self.memory.at.byte_add(from) })
    }
}

/// A socket with its rings, before it is split into its halves.
struct Queue {
    socket: Arc<Socket>,
    rx: Ring<Desc>,
    fill: Ring<u64>,
    tx: Ring<Desc>,
    completion: Ring<u64>,
}

/// What a socket is made with.
#[derive(Clone, Copy)]
struct Shape {
    chunk: usize,
    rx: u32,
    tx: u32,
}

impl Shape {
    fn new(spec: &PortSpec) -> Self {
        let frame = usize::from(spec.mtu) + usize::from(L2_OVERHEAD) + XDP_HEADROOM;
        let entries = |n: u16| u32::from(n.clamp(64, 16384)).next_power_of_two();
        Self {
            chunk: frame.next_power_of_two().max(2048),
            rx: entries(spec.rx_desc),
            tx: entries(spec.tx_desc),
        }
    }
}

impl Queue {
    /// A socket bound to the queue, all its RX chunks given to the kernel.
    fn new(index: i32, queue: u16, shape: Shape) -> io::Result<Self> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        // SAFETY: no pointers.
        let fd = unsafe { libc::socket(libc::AF_XDP, kind, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a new descriptor, ours alone.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let memory = Map::new((shape.rx + shape.tx) as usize * shape.chunk, None)?;
        let register = UmemReg {
            addr: memory.at.as_ptr() as u64,
            len: memory.len as u64,
            chunk_size: shape.chunk as u32,
            headroom: 0,
            flags: 0,
            tx_metadata_len: 0,
        };
        set_option(&fd, SOL_XDP, XDP_UMEM_REG, &register)?;
        set_option(&fd, SOL_XDP, XDP_UMEM_FILL_RING, &shape.rx)?;
        set_option(&fd, SOL_XDP, XDP_UMEM_COMPLETION_RING, &shape.tx)?;
        set_option(&fd, SOL_XDP, XDP_RX_RING, &shape.rx)?;
        set_option(&fd, SOL_XDP, XDP_TX_RING, &shape.tx)?;
        let mut offsets = [RingOffset::default(); 4];
        get_option(&fd, SOL_XDP, XDP_MMAP_OFFSETS, &mut offsets)?;
        let rx = Ring::new(&fd, PGOFF_RX, offsets[0], shape.rx)?;
        let tx = Ring::new(&fd, PGOFF_TX, offsets[1], shape.tx)?;
        let mut fill = Ring::new(&fd, PGOFF_FILL, offsets[2], shape.rx)?;
        let completion = Ring::new(&fd, PGOFF_COMPLETION, offsets[3], shape.tx)?;
        for n in 0..shape.rx {
            fill.write(n, u64::from(n) * shape.chunk as u64);
        }
        fill.produce(shape.rx);
        bind(&fd, index, queue)?;
        let socket = Arc::new(Socket {
            fd,
            memory,
            chunk: shape.chunk,
        });
        Ok(Self {
            socket,
            rx,
            fill,
            tx,
            completion,
        })
    }
}

fn bind(fd: &OwnedFd, index: i32, queue: u16) -> io::Result<()> {
    let address = Address {
        family: libc::AF_XDP as u16,
        flags: XDP_USE_NEED_WAKEUP,
        ifindex: index as u32,
        queue: queue.into(),
        shared_fd: 0,
    };
    let mut tries = 100;
    loop {
        let len = size_of::<Address>() as libc::socklen_t;
        // SAFETY: an address of that length.
        let rc = unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), len) };
        let error = io::Error::last_os_error();
        match rc {
            0 => return Ok(()),
            // The kernel lets go of a queue some time after the socket that had it was closed.
            _ if error.raw_os_error() == Some(libc::EBUSY) && tries > 0 => {
                tries -= 1;
                std::thread::sleep(Duration::from_millis(10));
            }
            _ => return Err(error),
        }
    }
}

fn get_option<T>(fd: &OwnedFd, level: i32, name: i32, value: &mut T) -> io::Result<()> {
    let mut len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes, and any bytes are a value of the types asked for (integers).
    let rc = unsafe {
        let to = std::ptr::from_mut(value).cast();
        libc::getsockopt(fd.as_raw_fd(), level, name, to, &raw mut len)
    };
    if rc == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// What the queues count.
#[derive(Debug, Default)]
struct Counters {
    nombuf: AtomicU64,
    oversize: AtomicU64,
    tx_errors: AtomicU64,
}

/// A receiving queue.
#[derive(Debug)]
pub struct XskRx {
    ring: Ring<Desc>,
    fill: Ring<u64>,
    fresh: Box<Burst>,
    pool: Arc<Mempool>,
    socket: Arc<Socket>,
    counters: Arc<Counters>,
    _alive: Arc<()>,
}

impl Rx for XskRx {
    #[inline]
    fn rx(&mut self, burst: &mut Burst) -> usize {
        let filled = self.ring.filled();
        if filled == 0 {
            if self.fill.needs_wakeup() {
                self.kick();
            }
            return 0;
        }
        self.take(filled, burst)
    }

    fn wait_fd(&self) -> Option<RawFd> {
        Some(self.socket.fd.as_raw_fd())
    }
}

impl XskRx {
    /// Copies frames out and gives their chunks back to the kernel.
    fn take(&mut self, filled: u32, burst: &mut Burst) -> usize {
        let before = burst.len();
        let mut done = 0;
        while done < filled && !burst.is_full() {
            if self.fresh.is_empty() && !self.refill() {
                break;
            }
            let desc = self.ring.read(done);
            let len = desc.len as usize;
            let mut frame = self.fresh.pop().expect("refilled");
            // SAFETY: within the memory; the chunk is ours until it is in the fill ring again.
            let copied = self.socket.bytes(desc.addr, len).and_then(|at| unsafe {
                frame.extend_from_slice(std::slice::from_raw_parts(at.as_ptr(), len))
            });
            if copied.is_some() {
                burst.push(frame).expect("there is room");
            } else {
                self.counters.oversize.fetch_add(1, Ordering::Relaxed);
                let _ = self.fresh.push(frame);
            }
            // The fill ring has room for every RX chunk there is.
            self.fill
                .write(done, desc.addr & !(self.socket.chunk as u64 - 1));
            done += 1;
        }
        self.ring.consume(done);
        self.fill.produce(done);
        if self.fill.needs_wakeup() {
            self.kick();
        }
        burst.len() - before
    }

    #[cold]
    fn refill(&mut self) -> bool {
        let got = self.pool.alloc_bulk(&mut self.fresh, (BURST / 2) as u16)
            || self.pool.alloc_bulk(&mut self.fresh, 1);
        if !got {
            self.counters.nombuf.fetch_add(1, Ordering::Relaxed);
        }
        got
    }

    /// Tells a driver that went to sleep for want of chunks that there are some.
    #[cold]
    fn kick(&self) {
        let none = std::ptr::null_mut();
        // SAFETY: no buffer, no address.
        unsafe {
            let fd = self.socket.fd.as_raw_fd();
            libc::recvfrom(fd, none, 0, libc::MSG_DONTWAIT, none.cast(), none.cast());
        }
    }
}

/// A sending queue.
#[derive(Debug)]
pub struct XskTx {
    ring: Ring<Desc>,
    completion: Ring<u64>,
    free: Vec<u64>,
    socket: Arc<Socket>,
    counters: Arc<Counters>,
    _alive: Arc<()>,
}

impl Tx for XskTx {
    fn tx(&mut self, burst: &mut Burst) -> usize {
        self.reap();
        let mut taken = 0;
        let mut queued = 0;
        for frame in burst.iter() {
            let data = frame.data();
            let Some(&chunk) = self.free.last() else {
                break;
            };
            taken += 1;
            let room = data.len() <= self.socket.chunk;
            let Some(to) = self.socket.bytes(chunk, data.len()).filter(|_| room) else {
                self.counters.tx_errors.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            self.free.pop();
            // SAFETY: within a chunk that is in no ring, so ours.
            unsafe {
                to.as_ptr()
                    .copy_from_nonoverlapping(data.as_ptr(), data.len())
            };
            // The ring has an entry for every TX chunk there is.
            self.ring.write(
                queued,
                Desc {
                    addr: chunk,
                    len: data.len() as u32,
                    options: 0,
                },
            );
            queued += 1;
        }
        self.ring.produce(queued);
        for _ in 0..taken {
            drop(burst.pop_front());
        }
        if self.ring.pending() > 0 && self.ring.needs_wakeup() {
            self.kick();
        }
        taken
    }
}

impl XskTx {
    /// Takes back the chunks of frames that were sent.
    #[inline]
    fn reap(&mut self) {
        let done = self.completion.filled();
        for n in 0..done {
            self.free.push(self.completion.read(n));
        }
        self.completion.consume(done);
    }

    /// Has the kernel send what is in the ring, as far as it will now.
    fn kick(&mut self) {
        let fd = self.socket.fd.as_raw_fd();
        for _ in 0..2 * BURST / KERNEL_BATCH + 4 {
            // SAFETY: no buffer, no address.
            let rc = unsafe {
                libc::sendto(
                    fd,
                    std::ptr::null(),
                    0,
                    libc::MSG_DONTWAIT,
                    std::ptr::null(),
                    0,
                )
            };
            if rc >= 0 {
                break;
            }
            match io::Error::last_os_error().raw_os_error() {
                // A batch is sent, or completions have to be taken first: go on.
                Some(libc::EAGAIN | libc::EBUSY | libc::EINTR) if self.ring.pending() > 0 => {
                    self.reap();
                }
                _ => break,
            }
        }
    }
}

/// The control thread's side.
#[derive(Debug)]
pub(super) struct XskPort {
    /// First: takes the program off before the sockets go.
    _link: OwnedFd,
    sockets: Vec<Arc<Socket>>,
    counters: Arc<Counters>,
    alive: Arc<()>,
    node: u32,
    max_mtu: u16,
    claim: Claim,
}

/// What opening gives.
pub(super) struct Opened {
    pub(super) port: XskPort,
    pub(super) rx: Vec<XskRx>,
    pub(super) tx: Vec<XskTx>,
    pub(super) warnings: Vec<String>,
}

impl XskPort {
    pub(super) fn open(eal: &Eal, spec: &PortSpec, pools: &mut Pools) -> Result<Opened, PortError> {
        let Device::AfXdp { iface } = &spec.device else {
            unreachable!("the caller matched")
        };
        if spec.mtu > MAX_MTU {
            let what = format!(
                "MTU {} is over {MAX_MTU}, the most that af_xdp takes; use af_packet:{iface}",
                spec.mtu
            );
            return Err(PortError::Limit {
                device: spec.device.to_string(),
                what,
            });
        }
        let mut claim = Claim::new(&spec.device, iface, spec.mtu)?;
        xdp::clear_leftover(&claim, iface)?;
        if let Some(queues) = spec.queues {
            claim.set_channels(queues.into())?;
        }
        // What a queue without a socket receives would be lost, so each has one.
        let queues = claim.channels().count;
        if queues > MAX_QUEUES.into() {
            return Err(claim.limit(format!(
                "it has {queues} queues, and {MAX_QUEUES} are possible: set `queues`"
            )));
        }
        let node = claim.node();
        let pool = pools.get(eal, node, spec.mtu)?;
        let shape = Shape::new(spec);
        let all = (0..queues as u16)
            .map(|queue| Queue::new(claim.index(), queue, shape))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| claim.failed("can't make an AF_XDP socket for each of its queues", e))?;
        let sockets: Vec<_> = all.iter().map(|q| q.socket.clone()).collect();
        let fds: Vec<RawFd> = sockets.iter().map(|s| s.fd.as_raw_fd()).collect();
        let link =
            xdp::redirect_to(claim.index(), &fds).map_err(|e| attach_error(&claim, iface, e))?;
        let (counters, alive) = (Arc::new(Counters::default()), Arc::new(()));
        let (rx, tx) = all
            .into_iter()
            .map(|q| q.split(shape, &pool, &counters, &alive))
            .unzip();
        let warnings = claim.take_warnings();
        let room = (shape.chunk - XDP_HEADROOM).min(pool.data_room().into());
        let max_mtu = room as u16 - L2_OVERHEAD;
        let port = Self {
            _link: link,
            sockets,
            counters,
            alive,
            node,
            max_mtu,
            claim,
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
        self.claim.mac()
    }

    pub(super) fn link(&self) -> Link {
        self.claim.link()
    }

    pub(super) fn stats(&self) -> PortStats {
        let mut missed = 0;
        for socket in &self.sockets {
            // struct xdp_statistics: rx_dropped, two counts of bad descriptors, rx_ring_full, …
            let mut s = [0u64; 6];
            if get_option(&socket.fd, SOL_XDP, XDP_STATISTICS, &mut s).is_ok() {
                missed += s[0] + s[3];
            }
        }
        let get = |c: &AtomicU64| c.load(Ordering::Relaxed);
        PortStats {
            rx_missed: missed,
            rx_errors: 0,
            rx_nombuf: get(&self.counters.nombuf),
            rx_oversize: get(&self.counters.oversize),
            tx_errors: get(&self.counters.tx_errors),
        }
    }

    pub(super) fn set_mtu(&mut self, mtu: u16) -> Result<(), PortError> {
        if mtu > self.max_mtu {
            return Err(self.claim.limit(format!(
                "MTU {mtu} is over {}, for which its memory was made; close and open the port",
                self.max_mtu
            )));
        }
        self.claim.room_for(mtu)
    }

    pub(super) fn close(self) -> Result<(), PortError> {
        match Arc::strong_count(&self.alive) - 1 {
            0 => Ok(()),
            queues => Err(PortError::InUse {
                device: self.claim.device().into(),
                queues,
            }),
        }
    }
}

impl Queue {
    fn split(
        self,
        shape: Shape,
        pool: &Arc<Mempool>,
        counters: &Arc<Counters>,
        alive: &Arc<()>,
    ) -> (XskRx, XskTx) {
        let rx = XskRx {
            ring: self.rx,
            fill: self.fill,
            fresh: Box::default(),
            pool: pool.clone(),
            socket: self.socket.clone(),
            counters: counters.clone(),
            _alive: alive.clone(),
        };
        let chunks = shape.rx..shape.rx + shape.tx;
        let tx = XskTx {
            ring: self.tx,
            completion: self.completion,
            free: chunks.map(|n| u64::from(n) * shape.chunk as u64).collect(),
            socket: self.socket,
            counters: counters.clone(),
            _alive: alive.clone(),
        };
        (rx, tx)
    }
}

/// What it means when the kernel does not take the program.
fn attach_error(claim: &Claim, iface: &str, e: io::Error) -> PortError {
    let hint = match e.raw_os_error() {
        Some(libc::ERANGE | libc::EINVAL) => {
            " (its MTU, or that of its veth peer, is too great for XDP: 1500 to some 3400 is fine; or use af_packet)"
                .to_owned()
        }
        Some(libc::ENOSPC) => format!(
            " (its veth peer sends on more queues than it receives on: `ethtool -L PEER tx N`, or `ethtool -L {iface} rx N`)"
        ),
        Some(libc::EBUSY | libc::EEXIST) => {
            format!(" (another XDP program is on it: `ip link set {iface} xdp off`)")
        }
        Some(libc::EPERM) => " (run as root, or give the process CAP_NET_ADMIN and CAP_BPF)".to_owned(),
        _ => String::new(),
    };
    claim.failed(
        format!("the kernel does not take an XDP program for it{hint}"),
        e,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_hold_the_frames_of_their_mtu() {
        for (mtu, chunk) in [
            (68, 2048),
            (1500, 2048),
            (1738, 2048),
            (1739, 4096),
            (MAX_MTU, 4096),
        ] {
            let device = "af_xdp:x".parse().unwrap();
            let shape = Shape::new(&PortSpec {
                mtu,
                rx_desc: 1000,
                tx_desc: 1,
                ..PortSpec::new(device)
            });
            assert_eq!(
                (shape.chunk, shape.rx, shape.tx),
                (chunk, 1024, 64),
                "{mtu}"
            );
            assert!(shape.chunk - XDP_HEADROOM >= usize::from(mtu + L2_OVERHEAD));
        }
    }
}
