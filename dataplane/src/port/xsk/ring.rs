//! The memory that a socket shares with the kernel: mappings, and single-producer, single-consumer rings in them.
//!
//! Read the kernel's Documentation/networking/af_xdp.rst, "Rings", and net/xdp/xsk_queue.h, which the orderings here pair
//! with.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

const NEED_WAKEUP: u32 = 1;

/// `struct xdp_ring_offset`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct RingOffset {
    pub(super) producer: u64,
    pub(super) consumer: u64,
    pub(super) desc: u64,
    pub(super) flags: u64,
}

/// Memory that is mapped, and unmapped when dropped.
#[derive(Debug)]
pub(super) struct Map {
    pub(super) at: NonNull<u8>,
    pub(super) len: usize,
}

// SAFETY: plain shared memory; who touches which part of it is up to `Ring` and to the chunks' owners.
unsafe impl Send for Map {}
// SAFETY: as above.
unsafe impl Sync for Map {}

impl Map {
    /// `len` bytes of the descriptor from `offset`, or of fresh memory.
    pub(super) fn new(len: usize, of: Option<(&OwnedFd, i64)>) -> io::Result<Self> {
        let (flags, fd, offset) = match of {
            Some((fd, offset)) => (
                libc::MAP_SHARED | libc::MAP_POPULATE,
                fd.as_raw_fd(),
                offset,
            ),
            None => (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0),
        };
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping, at an address of the kernel's choice.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, flags, fd, offset) };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let at = NonNull::new(at.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { at, len })
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: our mapping, which nobody uses any more.
        unsafe { libc::munmap(self.at.as_ptr().cast(), self.len) };
    }
}

/// One of a socket's rings: entries of `T`, a power of two of them. We are its only user beside the kernel.
#[derive(Debug)]
pub(super) struct Ring<T> {
    _map: Map,
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    flags: NonNull<AtomicU32>,
    entries: NonNull<T>,
    size: u32,
    /// Our own index: of the producer where we produce, else of the consumer.
    at: u32,
}

// SAFETY: pointers into `map`, which goes with it.
unsafe impl<T: Send> Send for Ring<T> {}

impl<T: Copy> Ring<T> {
    pub(super) fn new(fd: &OwnedFd, page: i64, offset: RingOffset, size: u32) -> io::Result<Self> {
        let bytes = offset.desc as usize + size as usize * size_of::<T>();
        let map = Map::new(bytes, Some((fd, page)))?;
        // SAFETY: the kernel's offsets are within what was mapped and aligned for what is there.
        unsafe {
            let word = |offset: u64| map.at.byte_add(offset as usize).cast::<AtomicU32>();
            let (producer, consumer) = (word(offset.producer), word(offset.consumer));
            let (flags, entries) = (
                word(offset.flags),
                map.at.byte_add(offset.desc as usize).cast(),
            );
            Ok(Self {
                _map: map,
                producer,
                consumer,
                flags,
                entries,
                size,
                at: 0,
            })
        }
    }

    /// Entries that the kernel has produced and we have not consumed.
    #[inline]
    pub(super) fn filled(&self) -> u32 {
        // SAFETY: within the map. Pairs with the kernel's release store after it wrote the entries.
        unsafe { self.producer.as_ref() }
            .load(Ordering::Acquire)
            .wrapping_sub(self.at)
    }

    /// Entries that we have produced and the kernel has not consumed.
    #[inline]
    pub(super) fn pending(&self) -> u32 {
        // SAFETY: within the map. Pairs with the kernel's release store after it read the entries.
        self.at
            .wrapping_sub(unsafe { self.consumer.as_ref() }.load(Ordering::Acquire))
    }

    #[inline]
    fn entry(&self, ahead: u32) -> *mut T {
        let index = self.at.wrapping_add(ahead) & (self.size - 1);
        // SAFETY: below `size`.
        unsafe { self.entries.as_ptr().add(index as usize) }
    }

    #[inline]
    pub(super) fn read(&self, ahead: u32) -> T {
        // SAFETY: an entry of ours to read: below `filled`.
        unsafe { self.entry(ahead).read() }
    }

    /// Gives `n` entries that were read back to the kernel.
    #[inline]
    pub(super) fn consume(&mut self, n: u32) {
        self.at = self.at.wrapping_add(n);
        // SAFETY: within the map. Pairs with the kernel's acquire load before it writes the entries again.
        unsafe { self.consumer.as_ref() }.store(self.at, Ordering::Release);
    }

    /// Writes the entry that comes `ahead` after the next; there must be room.
    #[inline]
    pub(super) fn write(&mut self, ahead: u32, value: T) {
        // SAFETY: an entry of ours to write: the callers keep no more entries under way than the ring has.
        unsafe { self.entry(ahead).write(value) }
    }

    /// Gives `n` entries that were written to the kernel.
    #[inline]
    pub(super) fn produce(&mut self, n: u32) {
        self.at = self.at.wrapping_add(n);
        // SAFETY: within the map. Pairs with the kernel's acquire load before it reads the entries.
        unsafe { self.producer.as_ref() }.store(self.at, Ordering::Release);
    }

    #[inline]
    pub(super) fn needs_wakeup(&self) -> bool {
        // SAFETY: within the map.
        unsafe { self.flags.as_ref() }.load(Ordering::Relaxed) & NEED_WAKEUP != 0
    }
}
