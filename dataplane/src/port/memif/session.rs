//! What two ends share while they are connected: memory with rings in it, and an eventfd for each ring.
//!
//! Read `memif.h` (see `message.rs`). A ring is 128 octets of header and a power of two of descriptors of 16 octets:
//!
//! ```text
//! 0 cookie (4) | 4 flags (2) | 6 head (2) | 64 tail (2) | 128 descriptors: flags (2), region (2), length (4), offset (4), 4
//! ```
//!
//! Client to server the client moves `head` and the server `tail`; the other way the client offers empty buffers by `head`,
//! and the server moves `tail` as it fills them. All of it is memory that another process writes at will: it is read once,
//! checked, and only what was checked is used.
//!
//! A session is dropped, and its memory unmapped, when the last queue that used it has seen that it is over.
//!
//! Left out: a peer that shortens its memory under us (it can be told not to, by `F_SEAL_SHRINK`, but VPP's and DPDK's
//! zero-copy memory is not sealed): the kernel ends the process then.

use crate::eventfd::EventFd;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};

const COOKIE: u32 = 0x03e3_1f20;
/// Octets before the descriptors.
const HEADER: usize = 128;
const DESCRIPTOR: usize = 16;
/// Of a ring's flags: who consumes does not want its eventfd to be written.
const MASKED: u16 = 1;
/// Of a descriptor's flags: the frame goes on in the next.
pub(super) const NEXT: u16 = 1;
/// Greatest ring, as log2; that of DPDK and VPP.
pub(super) const MAX_LOG2: u8 = 14;

/// Shared memory, mapped.
#[derive(Debug)]
pub(super) struct Region {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: shared memory; whoever uses it expects others to, and goes through raw pointers and atomics.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    /// Maps memory that a peer gave.
    pub(super) fn map(fd: &OwnedFd, len: u64) -> io::Result<Self> {
        // SAFETY: all zeros is a valid value, and the kernel fills it.
        let size = unsafe {
            let mut stat: libc::stat = std::mem::zeroed();
            if libc::fstat(fd.as_raw_fd(), &raw mut stat) != 0 {
                return Err(io::Error::last_os_error());
            }
            u64::try_from(stat.st_size).unwrap_or(0)
        };
        // Beyond the end of it is nothing but a signal.
        let len = usize::try_from(len).ok().filter(|l| *l > 0 && len <= size);
        let len = len.ok_or(io::ErrorKind::InvalidData)?;
        let how = libc::PROT_READ | libc::PROT_WRITE;
        let none = std::ptr::null_mut();
        // SAFETY: a new mapping.
        let at = unsafe { libc::mmap(none, len, how, libc::MAP_SHARED, fd.as_raw_fd(), 0) };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(at.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { base, len })
    }

    /// New memory, for a peer to map.
    pub(super) fn create(len: usize) -> io::Result<(Self, OwnedFd)> {
        let flags = libc::MFD_ALLOW_SEALING | libc::MFD_CLOEXEC;
        // SAFETY: a C string; what it returns is ours alone.
        let fd = unsafe { libc::memfd_create(c"memif".as_ptr(), flags) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: open, and owned by nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: no pointers.
        let rc = unsafe {
            libc::ftruncate(fd.as_raw_fd(), len as libc::off_t)
                | libc::fcntl(fd.as_raw_fd(), libc::F_ADD_SEALS, libc::F_SEAL_SHRINK)
        };
        if rc != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok((Self::map(&fd, len as u64)?, fd))
    }

    /// Where that many octets are; `None` where they are not.
    #[inline]
    fn at(&self, offset: u32, len: u32) -> Option<NonNull<u8>> {
        let (offset, len) = (offset as usize, len as usize);
        (offset + len <= self.len).then(|| {
            // SAFETY: within the mapping.
            unsafe { self.base.add(offset) }
        })
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: our mapping, which nobody uses any more.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

/// What a descriptor says: to be believed as far as [`Session::buffer`] goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Descriptor {
    pub flags: u16,
    pub region: u16,
    pub len: u32,
    pub offset: u32,
}

/// A ring.
#[derive(Debug)]
pub(super) struct Ring {
    base: NonNull<u8>,
    mask: u16,
    /// What the consumer waits for.
    event: EventFd,
}

// SAFETY: a place in a region of the same session; all of it is used by atomics.
unsafe impl Send for Ring {}
// SAFETY: as above.
unsafe impl Sync for Ring {}

impl Ring {
    /// Octets that a ring takes.
    pub(super) const fn bytes(log2: u8) -> usize {
        HEADER + (DESCRIPTOR << log2)
    }

    /// The ring that lies there; `None` where there is none.
    pub(super) fn at(
        regions: &[Region],
        region: u16,
        offset: u32,
        log2: u8,
        event: EventFd,
    ) -> Option<Self> {
        if log2 > MAX_LOG2 || !offset.is_multiple_of(8) {
            return None;
        }
        let region = regions.get(usize::from(region))?;
        Some(Self {
            base: region.at(offset, Self::bytes(log2) as u32)?,
            mask: ((1u32 << log2) - 1) as u16,
            event,
        })
    }

    /// Frames that it holds.
    #[inline]
    pub(super) fn size(&self) -> u16 {
        self.mask + 1
    }

    fn word(&self) -> &AtomicU32 {
        // SAFETY: the header is within the region and aligned; both processes use it atomically.
        unsafe { &*self.base.as_ptr().cast::<AtomicU32>() }
    }

    #[inline]
    fn half(&self, offset: usize) -> &AtomicU16 {
        debug_assert!(offset < HEADER);
        // SAFETY: as in `word`.
        unsafe { &*self.base.as_ptr().add(offset).cast::<AtomicU16>() }
    }

    /// Makes it an empty one.
    pub(super) fn begin(&self, masked: bool) {
        self.half(6).store(0, Ordering::Relaxed);
        self.half(64).store(0, Ordering::Relaxed);
        self.mask(masked);
        self.word().store(COOKIE, Ordering::Release);
    }

    /// Has it been made one?
    pub(super) fn is_one(&self) -> bool {
        self.word().load(Ordering::Acquire) == COOKIE
    }

    /// Next place that the client will write: a frame, or the offer of a buffer.
    #[inline]
    pub(super) fn head(&self) -> &AtomicU16 {
        self.half(6)
    }

    /// Next place that the server will: the return of a buffer, or a frame.
    #[inline]
    pub(super) fn tail(&self) -> &AtomicU16 {
        self.half(64)
    }

    /// Says, as its consumer, whether the eventfd is to be left alone.
    #[inline]
    pub(super) fn mask(&self, masked: bool) {
        self.half(4)
            .store(if masked { MASKED } else { 0 }, Ordering::Relaxed);
    }

    /// Wakes the consumer, if it wants that. To be called after frames were published.
    #[inline]
    pub(super) fn ring(&self) {
        // Pairs with the fence in `MemifRx::arm`: either this sees that the consumer wants it, or that sees the frames.
        std::sync::atomic::fence(Ordering::SeqCst);
        if self.half(4).load(Ordering::Relaxed) & MASKED == 0 {
            self.event.ring();
        }
    }

    /// The eventfd, for the peer.
    pub(super) fn event(&self) -> RawFd {
        self.event.as_raw_fd()
    }

    #[inline]
    fn slot(&self, at: u16) -> *mut u8 {
        let slot = usize::from(at & self.mask) * DESCRIPTOR;
        // SAFETY: within the ring, which `at` has checked to be within its region.
        unsafe { self.base.as_ptr().add(HEADER + slot) }
    }

    /// Reads a descriptor.
    #[inline]
    pub(super) fn read(&self, at: u16) -> Descriptor {
        let slot = self.slot(at).cast::<AtomicU32>();
        // SAFETY: four aligned words of the ring, used atomically by both.
        let [first, len, offset] =
            [0, 1, 2].map(|i| unsafe { &*slot.add(i) }.load(Ordering::Relaxed));
        Descriptor {
            flags: first as u16,
            region: (first >> 16) as u16,
            len,
            offset,
        }
    }

    /// Writes a descriptor.
    #[inline]
    pub(super) fn write(&self, at: u16, d: Descriptor) {
        let slot = self.slot(at).cast::<AtomicU32>();
        let first = u32::from(d.flags) | u32::from(d.region) << 16;
        for (i, word) in [first, d.len, d.offset].into_iter().enumerate() {
            // SAFETY: as in `read`.
            unsafe { &*slot.add(i) }.store(word, Ordering::Relaxed);
        }
    }
}

/// A connection's memory and rings.
#[derive(Debug)]
pub(super) struct Session {
    pub regions: Vec<Region>,
    pub c2s: Vec<Ring>,
    pub s2c: Vec<Ring>,
    /// Octets of a buffer, where they are ours to offer.
    pub buffer: u32,
}

impl Session {
    /// Where a descriptor's octets are, `len` of them; `None` where they are not.
    #[inline]
    pub(super) fn buffer(&self, d: Descriptor, len: u32) -> Option<NonNull<u8>> {
        self.regions.get(usize::from(d.region))?.at(d.offset, len)
    }
}

const _: () = assert!(cfg!(target_endian = "little"), "words hold two fields each");

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(region: &Region, offset: u32, log2: u8) -> Option<Ring> {
        let regions = std::slice::from_ref(region);
        Ring::at(regions, 0, offset, log2, EventFd::new().unwrap())
    }

    #[test]
    fn a_ring_lies_within_its_memory() {
        let len = Ring::bytes(4) + 64;
        let (region, fd) = Region::create(len).unwrap();
        assert!(ring(&region, 64, 4).is_some());
        assert!(ring(&region, 72, 4).is_none(), "its end does not");
        assert!(ring(&region, 4, 4).is_none(), "not aligned");
        assert!(ring(&region, u32::MAX - 7, 4).is_none());
        assert!(ring(&region, 0, MAX_LOG2 + 1).is_none());
        assert!(Ring::at(&[], 0, 0, 4, EventFd::new().unwrap()).is_none());
        assert!(Region::map(&fd, len as u64).is_ok());
        assert!(
            Region::map(&fd, len as u64 + 1).is_err(),
            "more than there is"
        );
        assert!(Region::map(&fd, 0).is_err());
    }

    #[test]
    fn descriptors_and_places_are_where_memif_has_them() {
        let (region, _fd) = Region::create(Ring::bytes(2)).unwrap();
        let r = ring(&region, 0, 2).unwrap();
        assert!(!r.is_one());
        r.begin(true);
        assert!(r.is_one());
        assert_eq!(r.size(), 4);
        r.head().store(0x0102, Ordering::Relaxed);
        r.tail().store(0x0304, Ordering::Relaxed);
        let d = Descriptor {
            flags: NEXT,
            region: 0x0506,
            len: 0x0708_090a,
            offset: 0x0b0c_0d0e,
        };
        r.write(5, d);
        // SAFETY: the region's own octets, which nobody else uses.
        let b = unsafe { std::slice::from_raw_parts(region.base.as_ptr(), region.len) };
        assert_eq!(b[..8], [0x20, 0x1f, 0xe3, 0x03, 1, 0, 2, 1]);
        assert_eq!(b[64..66], [4, 3]);
        let slot = [1, 0, 6, 5, 0x0a, 9, 8, 7, 0x0e, 0x0d, 0x0c, 0x0b];
        assert_eq!(b[144..156], slot, "place 5 of 4 is the second");
        let back = r.read(1);
        assert_eq!((back.region, back.len), (0x0506, 0x0708_090a));
        let s = Session {
            regions: vec![region],
            c2s: Vec::new(),
            s2c: Vec::new(),
            buffer: 0,
        };
        let here = |region, offset, len| {
            let d = Descriptor {
                flags: 0,
                region,
                len: 0,
                offset,
            };
            s.buffer(d, len).is_some()
        };
        let all = Ring::bytes(2) as u32;
        assert!(here(0, 0, all) && here(0, all, 0));
        assert!(!here(0, 1, all) && !here(0, u32::MAX, 1) && !here(0, 1, u32::MAX));
        assert!(!here(1, 0, 1));
    }
}
