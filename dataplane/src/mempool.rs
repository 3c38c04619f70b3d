//! Where frames come from: DPDK mempools of mbufs.
//!
//! A pool is made on one NUMA node and serves any thread; a thread registered with the EAL
//! ([`eal::register_thread`](crate::eal::register_thread)) gets a cache of its own, others go to the shared ring.
//! [`Pools`] keeps one pool a node and data room and makes it when the first port wants it.
//!
//! A pool that still has frames out when it is dropped is never freed: leaking is safe, freeing is not.

use crate::burst::Burst;
use crate::eal::{self, Eal};
use crate::mbuf::{HEADROOM, Mbuf, PRIVATE};
use dpdk_sys as sys;
use std::ffi::CString;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Room for data in the frames of a port with an MTU up to [`SMALL_MTU`], without the headroom.
pub const SMALL_ROOM: u16 = 2048;
/// Room for data where the MTU is greater: 9,216 bytes of payload, L2 header, two tags and a label stack.
pub const JUMBO_ROOM: u16 = 9728;
/// The greatest MTU whose frames fit [`SMALL_ROOM`], with [`L2_OVERHEAD`](crate::port::L2_OVERHEAD) beside them.
pub const SMALL_MTU: u16 = SMALL_ROOM - 64;

/// Frames that a registered thread keeps for itself.
const CACHE: u32 = 256;

/// Why a pool could not be made.
#[derive(Debug, thiserror::Error)]
#[error(
    "no memory for {count} frames of {room} bytes on NUMA node {node} ({cause}): \
     {megabytes} MiB are needed; reserve more hugepages, or raise the memory given to the EAL"
)]
pub struct PoolError {
    count: u32,
    room: u16,
    node: u32,
    megabytes: u64,
    cause: String,
}

/// A pool of frames.
pub struct Mempool {
    raw: NonNull<sys::rte_mempool>,
    count: u32,
    room: u16,
    node: u32,
    /// Keeps the EAL's memory; a pool that can't be freed leaks it.
    eal: Option<Arc<()>>,
}

// SAFETY: a multi-producer, multi-consumer pool; its calls are safe from any thread.
unsafe impl Send for Mempool {}
// SAFETY: as above.
unsafe impl Sync for Mempool {}

impl Mempool {
    /// Makes a pool of `count` frames with room for `data_room` bytes each (the headroom comes on top) on a NUMA node.
    /// `name` must be unique among pools alive; 2^n - 1 is the best `count`.
    ///
    /// # Errors
    /// When there is no memory left on that node.
    pub fn new(
        eal: &Eal,
        name: &str,
        count: u32,
        data_room: u16,
        node: u32,
    ) -> Result<Self, PoolError> {
        let fail = |cause: String| PoolError {
            count,
            room: data_room,
            node,
            megabytes: (u64::from(count) * (u64::from(data_room) + 384)).div_ceil(1 << 20),
            cause,
        };
        let c_name = CString::new(name).map_err(|_| fail("the name has a NUL".into()))?;
        let room = data_room
            .checked_add(HEADROOM as u16)
            .ok_or_else(|| fail("the data room is over 65,407 bytes".into()))?;
        let cache = CACHE.min(count * 2 / 3);
        eal::take_log();
        // SAFETY: the EAL is up, as `eal` shows; the name is a C string.
        let raw = unsafe {
            sys::rte_pktmbuf_pool_create(
                c_name.as_ptr(),
                count,
                cache,
                PRIVATE as u16,
                room,
                node as i32,
            )
        };
        let Some(raw) = NonNull::new(raw) else {
            return Err(fail(eal::last_error()));
        };
        // SAFETY: a new pool, all of whose frames are in it.
        unsafe { sys::tl_pool_zero_private(raw.as_ptr()) };
        Ok(Self {
            raw,
            count,
            room: data_room,
            node,
            eal: Some(eal.user()),
        })
    }

    /// A fresh, empty frame with the usual headroom; `None` when the pool is empty.
    #[inline]
    #[must_use]
    pub fn alloc(&self) -> Option<Mbuf> {
        let mut raw = std::ptr::null_mut();
        // SAFETY: a live pool; room for one.
        let rc = unsafe { sys::tl_alloc_bulk(self.raw.as_ptr(), &raw mut raw, 1) };
        if rc != 0 {
            return None;
        }
        // SAFETY: fresh from the pool, so ours alone.
        NonNull::new(raw).map(|m| unsafe { Mbuf::from_raw(m) })
    }

    /// A frame that holds `bytes`; `None` when the pool is empty or the bytes do not fit.
    #[must_use]
    pub fn alloc_from(&self, bytes: &[u8]) -> Option<Mbuf> {
        if bytes.len() > usize::from(self.room) {
            return None;
        }
        let mut m = self.alloc()?;
        m.extend_from_slice(bytes)?;
        Some(m)
    }

    /// Adds `n` fresh frames to the burst, all or none. False when the pool has too few or the burst too little room.
    #[inline]
    pub fn alloc_bulk(&self, burst: &mut Burst, n: u16) -> bool {
        let (to, room) = burst.room_raw();
        // SAFETY: `to` has room for `n`, which is checked first; they are ours once the call says 0.
        unsafe {
            if n > room || sys::tl_alloc_bulk(self.raw.as_ptr(), to, n.into()) != 0 {
                return false;
            }
            burst.grow(n);
        }
        true
    }

    /// Frames of the pool.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Bytes of data that fit a frame behind the usual headroom.
    #[must_use]
    pub fn data_room(&self) -> u16 {
        self.room
    }

    /// The NUMA node it was made on.
    #[must_use]
    pub fn node(&self) -> u32 {
        self.node
    }

    /// Frames that somebody holds: a port's descriptors, a ring, a burst.
    #[must_use]
    pub fn in_use(&self) -> u32 {
        // SAFETY: a live pool.
        unsafe { sys::rte_mempool_in_use_count(self.raw.as_ptr()) }
    }

    /// Frames that can be had, those in threads' caches included.
    #[must_use]
    pub fn available(&self) -> u32 {
        // SAFETY: a live pool.
        unsafe { sys::rte_mempool_avail_count(self.raw.as_ptr()) }
    }

    /// Bytes from one frame to the next, headers of mempool and mbuf included.
    #[must_use]
    pub fn stride(&self) -> u32 {
        // SAFETY: a live pool.
        unsafe { sys::tl_pool_element_size(self.raw.as_ptr()) }
    }

    pub(crate) fn raw(&self) -> *mut sys::rte_mempool {
        self.raw.as_ptr()
    }
}

impl Drop for Mempool {
    fn drop(&mut self) {
        if self.in_use() == 0 {
            // SAFETY: no frame of it is out, and nobody else has the pool.
            unsafe { sys::rte_mempool_free(self.raw.as_ptr()) }
        } else {
            std::mem::forget(self.eal.take());
        }
    }
}

impl std::fmt::Debug for Mempool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Mempool({} × {} bytes, node {})",
            self.count, self.room, self.node
        )
    }
}

/// The pools of the process: one a NUMA node and data room, made when first asked for.
#[derive(Debug)]
pub struct Pools {
    small: u32,
    jumbo: u32,
    made: Vec<Arc<Mempool>>,
}

impl Pools {
    /// `small` frames in a pool for usual MTUs, `jumbo` in one for greater MTUs. Every queue of a port holds 1,024 and
    /// more (af_xdp 4,096), so be generous: 16,383 frames are 40 MiB.
    #[must_use]
    pub fn new(small: u32, jumbo: u32) -> Self {
        Self {
            small,
            jumbo,
            made: Vec::new(),
        }
    }

    /// The pool for ports of that MTU (L3) on that node.
    ///
    /// # Errors
    /// When it has to be made and there is no memory.
    pub fn get(&mut self, eal: &Eal, node: u32, mtu: u16) -> Result<Arc<Mempool>, PoolError> {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let (room, count) = if mtu <= SMALL_MTU {
            (SMALL_ROOM, self.small)
        } else {
            (JUMBO_ROOM, self.jumbo)
        };
        if let Some(p) = self.made.iter().find(|p| p.node == node && p.room == room) {
            return Ok(p.clone());
        }
        let name = format!(
            "frames{}-n{node}-{room}",
            SERIAL.fetch_add(1, Ordering::Relaxed)
        );
        let pool = Arc::new(Mempool::new(eal, &name, count, room, node)?);
        self.made.push(pool.clone());
        Ok(pool)
    }

    /// The pools made so far.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Mempool>> {
        self.made.iter()
    }
}
