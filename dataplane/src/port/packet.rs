//! `af_packet:IF`: frames of a kernel interface by packet sockets.
//!
//! Read packet(7) and the kernel's Documentation/networking/packet_mmap.rst. Frames are received from a ring shared
//! with the kernel (TPACKET_V2: no system call when there is nothing) and sent by `sendmmsg`, one call a burst. With
//! several queues the kernel spreads flows over them by their hash.
//!
//! Departure: DPDK has a driver for this, and `dpdk:net_af_packet0,iface=IF` still gets it. It can't be used for a
//! router: in 22.11 it has the kernel put IPv4 fragments together before it looks (PACKET_FANOUT_FLAG_DEFRAG), takes
//! what the kernel itself sends for received frames, passes on frames that did not fit as if they had, refuses MTUs over
//! 1500, and shows nobody what the ring lost. Its TX ring also gives pages to the receiver of a veth that it will write
//! to again.
//!
//! What the kernel does to frames is undone: a VLAN tag it took out is put back with its own TPID, and a checksum that
//! a local sender left to hardware (veth peers do by default) is completed. Frames merged by GRO or left whole for TSO
//! can't be forwarded: GRO is turned off here, TSO must be off at the peer of a veth; what comes all the same is counted
//! as oversize.

use super::kernel::{Claim, packet_socket, set_option};
use super::{Device, L2_OVERHEAD, Link, PortError, PortSpec, PortStats, Rx, Tx};
use crate::burst::{BURST, Burst};
use crate::eal::Eal;
use crate::mbuf::Mbuf;
use crate::mempool::{Mempool, Pools};
use net::{MacAddr, checksum};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

const TPACKET_V2: i32 = 1;
const PACKET_VNET_HDR: i32 = 15;
const PACKET_FANOUT: i32 = 18;
const PACKET_QDISC_BYPASS: i32 = 20;
const PACKET_IGNORE_OUTGOING: i32 = 23;
const PACKET_FANOUT_HASH: u32 = 0;
const PACKET_FANOUT_FLAG_UNIQUEID: u32 = 0x2000;
const TP_STATUS_KERNEL: u32 = 0;
const TP_STATUS_USER: u32 = 1;
const TP_STATUS_VLAN_VALID: u32 = 1 << 4;
const TP_STATUS_VLAN_TPID_VALID: u32 = 1 << 6;
const VNET_NEEDS_CSUM: u8 = 1;
const VNET_GSO_ECN: u8 = 0x80;
/// `struct virtio_net_hdr`, right before the frame.
const VNET_LEN: usize = 10;
/// Where a frame starts in its slot, at most: header, link-layer address, alignment, virtio header.
const SLOT_HEADER: usize = 96;
/// Memory that the kernel may hold for one sender.
const SEND_BUFFER: i32 = 4 << 20;

/// `struct tpacket2_hdr`.
#[repr(C)]
#[derive(Clone, Copy)]
struct SlotHeader {
    status: u32,
    len: u32,
    snaplen: u32,
    mac: u16,
    net: u16,
    sec: u32,
    nsec: u32,
    vlan_tci: u16,
    vlan_tpid: u16,
    padding: [u8; 4],
}
const _: () = assert!(size_of::<SlotHeader>() == 32);

/// `struct tpacket_req`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct RingRequest {
    block_size: u32,
    blocks: u32,
    frame_size: u32,
    frames: u32,
}

impl RingRequest {
    /// A ring of about that many frames of up to that many bytes.
    fn new(frames: u16, max_frame: usize) -> Self {
        let frame_size = (max_frame + SLOT_HEADER)
            .next_multiple_of(64)
            .next_power_of_two() as u32;
        let block_size = frame_size.max(65536);
        let per_block = block_size / frame_size;
        let blocks = u32::from(frames).div_ceil(per_block).max(2);
        Self {
            block_size,
            blocks,
            frame_size,
            frames: blocks * per_block,
        }
    }

    fn bytes(self) -> usize {
        self.block_size as usize * self.blocks as usize
    }
}

/// A bound socket and its ring.
#[derive(Debug)]
struct Ring {
    fd: OwnedFd,
    map: NonNull<u8>,
    shape: RingRequest,
    lost: AtomicU64,
}

// SAFETY: the map is shared memory that lives as long as this; only the queue's one reader goes through it.
unsafe impl Send for Ring {}
// SAFETY: shared users only ask the kernel for statistics; the slots' states are atomic.
unsafe impl Sync for Ring {}

impl Ring {
    /// A socket with a ring, not yet bound.
    fn new(shape: RingRequest) -> io::Result<Self> {
        let fd = packet_socket()?;
        set_option(&fd, libc::SOL_PACKET, libc::PACKET_VERSION, &TPACKET_V2)?;
        set_option(&fd, libc::SOL_PACKET, PACKET_VNET_HDR, &1i32)?;
        set_option(&fd, libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, &1i32)?;
        set_option(&fd, libc::SOL_PACKET, libc::PACKET_RX_RING, &shape)?;
        // SAFETY: a new mapping of the socket's ring.
        let map = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                shape.bytes(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                0,
            )
        };
        if map == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let map = NonNull::new(map.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self {
            fd,
            map,
            shape,
            lost: AtomicU64::new(0),
        })
    }

    #[inline]
    fn slot(&self, at: u32) -> *mut u8 {
        debug_assert!(at < self.shape.frames);
        // SAFETY: blocks are a whole number of frames, so slot `at` starts there, within the map.
        unsafe {
            self.map
                .as_ptr()
                .add(at as usize * self.shape.frame_size as usize)
        }
    }

    #[inline]
    fn status(&self, at: u32) -> &AtomicU32 {
        // SAFETY: the first word of a slot, which kernel and reader both use atomically.
        unsafe { &*self.slot(at).cast::<AtomicU32>() }
    }

    /// Frames lost for want of a free slot, since the ring was made.
    fn lost(&self) -> u64 {
        let mut stats = [0u32; 2]; // tp_packets, tp_drops; reading sets them to 0
        let mut len = size_of_val(&stats) as libc::socklen_t;
        // SAFETY: the kernel writes at most `len` bytes.
        let rc = unsafe {
            libc::getsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                stats.as_mut_ptr().cast(),
                &raw mut len,
            )
        };
        let new = if rc == 0 { u64::from(stats[1]) } else { 0 };
        self.lost.fetch_add(new, Ordering::Relaxed) + new
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: our mapping, which nobody uses any more.
        unsafe { libc::munmap(self.map.as_ptr().cast(), self.shape.bytes()) };
    }
}

fn bind(fd: &OwnedFd, index: i32, protocol: i32) -> io::Result<()> {
    // SAFETY: all zeros is a valid address.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (protocol as u16).to_be();
    address.sll_ifindex = index;
    let len = size_of_val(&address) as libc::socklen_t;
    // SAFETY: an address of that length.
    let rc = unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), len) };
    if rc == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Binds the rings to the interface, all in one group, so that each frame reaches one of them.
fn bind_all(rings: &[Arc<Ring>], index: i32) -> io::Result<()> {
    // Nothing is let in before all are members: those that are not yet would get copies of everything.
    let nothing = libc::sock_filter {
        code: (libc::BPF_RET | libc::BPF_K) as u16,
        jt: 0,
        jf: 0,
        k: 0,
    };
    let filter = libc::sock_fprog {
        len: 1,
        filter: (&raw const nothing).cast_mut(),
    };
    let mut group = PACKET_FANOUT_FLAG_UNIQUEID << 16 | PACKET_FANOUT_HASH << 16;
    for (n, ring) in rings.iter().enumerate() {
        set_option(&ring.fd, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &filter)?;
        bind(&ring.fd, index, libc::ETH_P_ALL)?;
        if rings.len() > 1 {
            set_option(&ring.fd, libc::SOL_PACKET, PACKET_FANOUT, &group)?;
        }
        if n == 0 && rings.len() > 1 {
            let mut len = size_of::<u32>() as libc::socklen_t;
            // SAFETY: the kernel writes one integer: the group's id, and its kind in the upper half.
            let rc = unsafe {
                libc::getsockopt(
                    ring.fd.as_raw_fd(),
                    libc::SOL_PACKET,
                    PACKET_FANOUT,
                    (&raw mut group).cast(),
                    &raw mut len,
                )
            };
            if rc != 0 {
                return Err(io::Error::last_os_error());
            }
            group = group & 0xffff | PACKET_FANOUT_HASH << 16;
        }
    }
    for ring in rings {
        set_option(&ring.fd, libc::SOL_SOCKET, libc::SO_DETACH_FILTER, &0i32)?;
    }
    Ok(())
}

/// What the queues count; each has one writer.
#[derive(Debug, Default)]
struct Counters {
    nombuf: AtomicU64,
    oversize: AtomicU64,
    broken: AtomicU64,
    tx_errors: AtomicU64,
}

#[inline]
fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed); // rare, and shared by the queues of a port
}

/// A receiving queue.
#[derive(Debug)]
pub struct PacketRx {
    ring: Arc<Ring>,
    at: u32,
    fresh: Box<Burst>,
    pool: Arc<Mempool>,
    counters: Arc<Counters>,
    _alive: Arc<()>,
}

impl Rx for PacketRx {
    fn rx(&mut self, burst: &mut Burst) -> usize {
        let before = burst.len();
        // Pairs with the kernel's barrier before it gives a slot to us.
        while self.ring.status(self.at).load(Ordering::Acquire) & TP_STATUS_USER != 0 {
            if burst.is_full() {
                break;
            }
            if self.fresh.is_empty() && !self.refill() {
                break;
            }
            let mut frame = self.fresh.pop().expect("refilled");
            match self.read_slot(&mut frame) {
                Ok(()) => burst.push(frame).expect("there is room"),
                Err(reason) => {
                    count(reason(&self.counters));
                    frame.reset();
                    let _ = self.fresh.push(frame);
                }
            }
            // Pairs with the kernel's read of the state before it fills the slot again.
            self.ring
                .status(self.at)
                .store(TP_STATUS_KERNEL, Ordering::Release);
            self.at = if self.at + 1 == self.ring.shape.frames {
                0
            } else {
                self.at + 1
            };
        }
        burst.len() - before
    }

    fn wait_fd(&self) -> Option<RawFd> {
        Some(self.ring.fd.as_raw_fd())
    }
}

impl PacketRx {
    #[cold]
    fn refill(&mut self) -> bool {
        let got = self.pool.alloc_bulk(&mut self.fresh, (BURST / 2) as u16)
            || self.pool.alloc_bulk(&mut self.fresh, 1);
        if !got {
            count(&self.counters.nombuf);
        }
        got
    }

    /// Copies the frame of the current slot, which is ours until its state is set back.
    #[inline]
    fn read_slot(&self, frame: &mut Mbuf) -> Result<(), fn(&Counters) -> &AtomicU64> {
        let slot = self.ring.slot(self.at);
        // SAFETY: a slot starts with its header.
        let h = unsafe { slot.cast::<SlotHeader>().read() };
        let (at, len) = (usize::from(h.mac), h.snaplen as usize);
        if h.len != h.snaplen {
            return Err(|c| &c.oversize);
        }
        if at < VNET_LEN + 32 || at + len > self.ring.shape.frame_size as usize || len < 14 {
            return Err(|c| &c.broken);
        }
        // SAFETY: within the slot, as just checked; the kernel does not write to it now.
        let (vnet, bytes) = unsafe {
            (
                slot.add(at - VNET_LEN).cast::<[u8; VNET_LEN]>().read(),
                std::slice::from_raw_parts(slot.add(at), len),
            )
        };
        let tag = h.status & TP_STATUS_VLAN_VALID != 0;
        if tag {
            let tpid = if h.status & TP_STATUS_VLAN_TPID_VALID != 0 {
                h.vlan_tpid
            } else {
                0x8100
            };
            let mut head = [0u8; 16];
            head[..12].copy_from_slice(&bytes[..12]);
            head[12..14].copy_from_slice(&tpid.to_be_bytes());
            head[14..].copy_from_slice(&h.vlan_tci.to_be_bytes());
            frame
                .extend_from_slice(&head)
                .ok_or(oversize as fn(&Counters) -> &AtomicU64)?;
            frame
                .extend_from_slice(&bytes[12..])
                .ok_or(oversize as fn(&Counters) -> &AtomicU64)?;
        } else {
            frame
                .extend_from_slice(bytes)
                .ok_or(oversize as fn(&Counters) -> &AtomicU64)?;
        }
        if vnet[0] & VNET_NEEDS_CSUM != 0 {
            let word = |i: usize| usize::from(u16::from_ne_bytes([vnet[i], vnet[i + 1]]));
            let shift = if tag { 4 } else { 0 };
            complete_checksum(frame.data_mut(), word(6) + shift, word(8));
        }
        if vnet[1] & !VNET_GSO_ECN != 0 && len > self.max_frame() {
            return Err(oversize);
        }
        Ok(())
    }

    fn max_frame(&self) -> usize {
        self.ring.shape.frame_size as usize - SLOT_HEADER
    }
}

fn oversize(c: &Counters) -> &AtomicU64 {
    &c.oversize
}

/// Finishes a checksum that holds the sum of the pseudo-header so far: the sum from `start` to the end of the frame,
/// stored `offset` after `start`. Offsets that are out of the frame change nothing.
fn complete_checksum(frame: &mut [u8], start: usize, offset: usize) {
    const UDP: usize = 6; // the offset of UDP's checksum
    let Some(covered) = frame.get_mut(start..) else {
        return;
    };
    let sum = checksum::checksum(covered);
    let Some(field) = covered.get_mut(offset..offset + 2) else {
        return;
    };
    // RFC 768: 0 means that there is none, so a sum of 0 is sent as its other form.
    let sum = if sum == 0 && offset == UDP {
        0xffff
    } else {
        sum
    };
    field.copy_from_slice(&sum.to_be_bytes());
}

/// A sending queue.
#[derive(Debug)]
pub struct PacketTx {
    fd: OwnedFd,
    counters: Arc<Counters>,
    _alive: Arc<()>,
}

impl PacketTx {
    fn new(index: i32, counters: Arc<Counters>, alive: Arc<()>) -> io::Result<Self> {
        let fd = packet_socket()?;
        set_option(&fd, libc::SOL_PACKET, PACKET_QDISC_BYPASS, &1i32)?;
        // Without CAP_NET_ADMIN the usual size has to do.
        let _ = set_option(&fd, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &SEND_BUFFER);
        bind(&fd, index, 0)?;
        Ok(Self {
            fd,
            counters,
            _alive: alive,
        })
    }
}

impl Tx for PacketTx {
    fn tx(&mut self, burst: &mut Burst) -> usize {
        let frames = burst.len();
        // SAFETY: all zeros are valid values of these C structs.
        let mut parts: [libc::iovec; BURST] = unsafe { std::mem::zeroed() };
        // SAFETY: as above.
        let mut messages: [libc::mmsghdr; BURST] = unsafe { std::mem::zeroed() };
        for ((part, message), frame) in parts.iter_mut().zip(&mut messages).zip(burst.iter_mut()) {
            let data = frame.data_mut();
            part.iov_base = data.as_mut_ptr().cast();
            part.iov_len = data.len();
            message.msg_hdr.msg_iov = part;
            message.msg_hdr.msg_iovlen = 1;
        }
        let mut done = 0;
        while done < frames {
            // SAFETY: `frames - done` messages, each of one part, all alive during the call.
            let n = unsafe {
                libc::sendmmsg(
                    self.fd.as_raw_fd(),
                    messages[done..].as_mut_ptr(),
                    (frames - done) as u32,
                    libc::MSG_DONTWAIT,
                )
            };
            if n > 0 {
                done += n as usize;
                continue;
            }
            match io::Error::last_os_error().raw_os_error() {
                Some(libc::EINTR) => {}
                // No room now, or nothing leaves by it at all: the rest stays with the caller.
                Some(libc::EAGAIN | libc::ENOBUFS | libc::ENETDOWN | libc::ENXIO) => break,
                // This one frame is not wanted: too long for the device, too short.
                _ => {
                    count(&self.counters.tx_errors);
                    done += 1;
                }
            }
        }
        for _ in 0..done {
            drop(burst.pop_front());
        }
        done
    }
}

/// The control thread's side.
#[derive(Debug)]
pub(super) struct PacketPort {
    rings: Vec<Arc<Ring>>,
    counters: Arc<Counters>,
    alive: Arc<()>,
    node: u32,
    max_mtu: u16,
    claim: Claim,
}

/// What opening gives.
pub(super) struct Opened {
    pub(super) port: PacketPort,
    pub(super) rx: Vec<PacketRx>,
    pub(super) tx: Vec<PacketTx>,
    pub(super) warnings: Vec<String>,
}

/// The most queues a port has: the kernel's limit of a group.
const MAX_QUEUES: u16 = 256;

impl PacketPort {
    pub(super) fn open(eal: &Eal, spec: &PortSpec, pools: &mut Pools) -> Result<Opened, PortError> {
        let Device::AfPacket { iface } = &spec.device else {
            unreachable!("the caller matched")
        };
        let mut claim = Claim::new(&spec.device, iface, spec.mtu)?;
        let queues = spec.queues.unwrap_or(spec.workers.max(1));
        if queues > MAX_QUEUES {
            return Err(claim.limit(format!("queues = {queues}, but {MAX_QUEUES} are possible")));
        }
        let node = claim.node();
        let pool = pools.get(eal, node, spec.mtu)?;
        claim.no_merging();
        claim.deafen();
        let shape = RingRequest::new(
            spec.rx_desc,
            usize::from(spec.mtu) + usize::from(L2_OVERHEAD),
        );
        let rings: Vec<Arc<Ring>> = (0..queues)
            .map(|_| Ring::new(shape).map(Arc::new))
            .collect::<Result<_, _>>()
            .map_err(|e| claim.failed("can't make a packet socket with a ring", e))?;
        let counters = Arc::new(Counters::default());
        let alive = Arc::new(());
        let tx = (0..queues)
            .map(|_| PacketTx::new(claim.index(), counters.clone(), alive.clone()))
            .collect::<Result<_, _>>()
            .map_err(|e| claim.failed("can't make a packet socket to send by", e))?;
        bind_all(&rings, claim.index())
            .map_err(|e| claim.failed("can't bind packet sockets to it", e))?;
        let rx = rings
            .iter()
            .map(|ring| PacketRx {
                ring: ring.clone(),
                at: 0,
                fresh: Box::default(),
                pool: pool.clone(),
                counters: counters.clone(),
                _alive: alive.clone(),
            })
            .collect();
        let warnings = claim.take_warnings();
        let max_frame = (shape.frame_size as usize - SLOT_HEADER).min(pool.data_room().into());
        let max_mtu = (max_frame - usize::from(L2_OVERHEAD)) as u16;
        let port = Self {
            rings,
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
        let get = |c: &AtomicU64| c.load(Ordering::Relaxed);
        PortStats {
            rx_missed: self.rings.iter().map(|r| r.lost()).sum(),
            rx_errors: get(&self.counters.broken),
            rx_nombuf: get(&self.counters.nombuf),
            rx_oversize: get(&self.counters.oversize),
            tx_errors: get(&self.counters.tx_errors),
        }
    }

    pub(super) fn set_mtu(&mut self, mtu: u16) -> Result<(), PortError> {
        if mtu > self.max_mtu {
            return Err(self.claim.limit(format!(
                "MTU {mtu} is over {}, for which its ring was made; close and open the port",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_are_what_the_kernel_takes() {
        for (frames, max_frame) in [
            (1, 64),
            (1024, 1554),
            (512, 9054),
            (2048, 9600),
            (65535, 1554),
        ] {
            let r = RingRequest::new(frames, max_frame);
            assert!(r.frame_size as usize >= max_frame + SLOT_HEADER);
            assert_eq!(r.block_size % 4096, 0);
            assert_eq!(r.block_size % r.frame_size, 0);
            assert_eq!(r.frames, r.blocks * (r.block_size / r.frame_size));
            assert!(r.frames >= frames.into());
        }
    }

    #[test]
    fn a_checksum_left_open_is_completed() {
        // 14 bytes of Ethernet, then a UDP header and payload whose checksum field holds the pseudo-header's sum.
        let mut frame = vec![0u8; 14];
        frame.extend_from_slice(&[0x12, 0x34, 0x00, 0x35, 0x00, 0x0b, 0xab, 0xcd, 1, 2, 3]);
        complete_checksum(&mut frame, 14, 6);
        let pseudo = 0xabcdu32;
        let sum = checksum::checksum(&frame[14..]);
        // All covered bytes and the pseudo-header add up to all ones.
        let total = u32::from(!sum) + pseudo;
        assert_eq!((total & 0xffff) + (total >> 16), 0xffff);
    }

    #[test]
    fn offsets_out_of_the_frame_change_nothing() {
        let whole = vec![7u8; 40];
        for (start, offset) in [(41, 0), (40, 0), (30, 9), (30, 65535), (65535, 65535)] {
            let mut frame = whole.clone();
            complete_checksum(&mut frame, start, offset);
            assert_eq!(frame, whole, "{start} {offset}");
        }
    }
}
