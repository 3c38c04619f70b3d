//! [`HugeSlice`]: a zeroed array for tables that are read at random, on hugepages where there are
//! any, on a NUMA node of choice.
//!
//! Read first: `mmap(2)` (`MAP_HUGETLB`, `MAP_NORESERVE`), `mbind(2)`.
//! A fresh mapping reads as zero and costs no memory until it is written, so an empty table is
//! nearly free on small pages. Left out: growing. A table that may grow maps its full size at
//! first and touches what it needs.

use std::io;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64};

/// Types for which all bits zero is a value, and which need no `Drop`.
///
/// # Safety
/// A value made of zero bytes must be valid, and forgetting values must be harmless.
pub unsafe trait Zeroable {}
macro_rules! zeroable {
    ($($t:ty),*) => {$(
        // SAFETY: an integer; zero is one of its values and it owns nothing.
        unsafe impl Zeroable for $t {}
    )*};
}
zeroable!(
    u8, u16, u32, u64, u128, usize, AtomicU8, AtomicU16, AtomicU32, AtomicU64
);
// SAFETY: an array of zeroable values is a run of zero bytes too.
unsafe impl<T: Zeroable, const N: usize> Zeroable for [T; N] {}

/// Types that may change under a shared reference: atomics.
///
/// # Safety
/// All of it may become zero at any time, as by a store, while others read it.
pub unsafe trait Shared: Zeroable {}
macro_rules! shared {
    ($($t:ty),*) => {$(
        // SAFETY: an atomic: every read of it is a load.
        unsafe impl Shared for $t {}
    )*};
}
shared!(AtomicU8, AtomicU16, AtomicU32, AtomicU64);
// SAFETY: an array of such is read by its elements' loads.
unsafe impl<T: Shared, const N: usize> Shared for [T; N] {}

/// Which pages a slice lies on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// 2 MiB hugepages, reserved ones.
    Huge,
    /// The system's small pages; the kernel may merge them (transparent hugepages).
    Small,
    /// Small pages that the kernel is asked to merge into huge ones at once, where its policy is
    /// "madvise" or "always": nothing need be reserved, but what is touched costs 2 MiB at a time.
    Merged,
}

/// A fixed-length array in a mapping of its own.
pub struct HugeSlice<T: Zeroable> {
    ptr: NonNull<T>,
    len: usize,
    bytes: usize,
    backing: Backing,
}

// SAFETY: the mapping belongs to this value alone; sharing is as safe as sharing `[T]`.
unsafe impl<T: Zeroable + Send> Send for HugeSlice<T> {}
// SAFETY: as above, a shared reference gives only `&[T]`.
unsafe impl<T: Zeroable + Sync> Sync for HugeSlice<T> {}

const HUGE: usize = 2 << 20;

impl<T: Zeroable> HugeSlice<T> {
    /// `len` zeros. With `want` [`Backing::Huge`], reserved hugepages are tried first and small
    /// pages taken where none are free; [`HugeSlice::backing`] tells which it was. `node`, where
    /// given, is preferred, not forced.
    ///
    /// # Errors
    /// The kernel's `ENOMEM` when the address space or the overcommit limit is used up.
    pub fn zeroed(len: usize, want: Backing, node: Option<u32>) -> io::Result<Self> {
        let size = len
            .checked_mul(size_of::<T>())
            .and_then(|b| b.max(1).checked_next_multiple_of(HUGE))
            .ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?;
        let (at, backing) = match want {
            Backing::Huge => match map(size, libc::MAP_HUGETLB) {
                Ok(p) => (p, Backing::Huge),
                Err(_) => (map(size, libc::MAP_NORESERVE)?, Backing::Small),
            },
            Backing::Small => (map(size, libc::MAP_NORESERVE)?, Backing::Small),
            Backing::Merged => (map_merged(size)?, Backing::Merged),
        };
        if let Some(node) = node {
            prefer_node(at, size, node);
        }
        Ok(Self {
            ptr: at.cast(),
            len,
            bytes: size,
            backing,
        })
    }

    /// Makes part of a slice zero again and gives its memory back: the small pages that lie in it as a whole.
    /// Others may be reading: they find the old values or zero.
    pub fn discard(&self, part: std::ops::Range<usize>)
    where
        T: Shared,
    {
        const PAGE: usize = 4096;
        let end = part.end.min(self.len) * size_of::<T>() / PAGE * PAGE;
        let start = (part.start * size_of::<T>()).next_multiple_of(PAGE);
        if start < end && self.backing == Backing::Small {
            // SAFETY: whole pages of our own private mapping, which read as zero from now on; `Shared` allows that.
            unsafe {
                let at = self.ptr.as_ptr().cast::<u8>().add(start);
                libc::madvise(at.cast(), end - start, libc::MADV_DONTNEED);
            }
        }
    }

    /// Has the kernel find pages for a part now rather than when it is first read or (`written`) written, and clear them
    /// where they will be written. What is there stays. Best effort: Linux knows this since 5.14.
    pub fn populate(&self, part: std::ops::Range<usize>, written: bool) {
        self.span(part).populate(written);
    }

    /// Where a part is, as far as there is one.
    pub fn span(&self, part: std::ops::Range<usize>) -> Span {
        let end = part.end.min(self.len) * size_of::<T>();
        let start = (part.start * size_of::<T>() / 4096 * 4096).min(end);
        Span {
            at: self.ptr.as_ptr() as usize + start,
            bytes: end - start,
        }
    }

    /// The pages it got.
    pub fn backing(&self) -> Backing {
        self.backing
    }
}

/// Part of a slice, for others who are to have its pages ready. It does not keep the slice: whoever has one sees to that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    at: usize,
    bytes: usize,
}

impl Span {
    /// As [`HugeSlice::populate`]. Where the slice has gone, at worst somebody else's pages are found early.
    pub fn populate(self, written: bool) {
        let advice = if written {
            libc::MADV_POPULATE_WRITE
        } else {
            libc::MADV_POPULATE_READ
        };
        if self.bytes > 0 {
            // SAFETY: this advice changes no memory that anybody can see, whatever is mapped there.
            unsafe { libc::madvise(self.at as *mut libc::c_void, self.bytes, advice) };
        }
    }

    /// Its bytes.
    pub fn bytes(self) -> usize {
        self.bytes
    }

    /// How many of them have memory of their own behind them.
    pub fn resident(self) -> usize {
        const PAGE: usize = 4096;
        let mut pages = vec![0u8; self.bytes.div_ceil(PAGE)];
        // SAFETY: the kernel writes a byte for each page, for which there is room.
        let known =
            unsafe { libc::mincore(self.at as *mut libc::c_void, self.bytes, pages.as_mut_ptr()) };
        let there = pages.iter().filter(|&page| page & 1 == 1).count();
        if known == 0 { there * PAGE } else { 0 }
    }
}

fn map(size: usize, extra: libc::c_int) -> io::Result<NonNull<u8>> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | extra;
    // SAFETY: a new anonymous mapping at an address of the kernel's choice touches nothing of ours.
    let p = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            size,
            libc::PROT_READ | libc::PROT_WRITE,
            flags,
            -1,
            0,
        )
    };
    if p == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(p.cast()).ok_or_else(io::Error::last_os_error)
}

/// A mapping that begins where a huge page can, with the request to use such.
fn map_merged(size: usize) -> io::Result<NonNull<u8>> {
    let wide = size
        .checked_add(HUGE)
        .ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?;
    let p = map(wide, libc::MAP_NORESERVE)?;
    let before = p.align_offset(HUGE);
    // SAFETY: both ends are parts of the mapping just made, which is `HUGE` longer than what is kept; nobody has them.
    // `before` is less than `HUGE` and a multiple of the page size, as both addresses are.
    unsafe {
        let kept = p.add(before);
        if before > 0 {
            libc::munmap(p.as_ptr().cast(), before);
        }
        libc::munmap(kept.add(size).as_ptr().cast(), HUGE - before);
        // A kernel without huge pages refuses, and small ones serve.
        libc::madvise(kept.as_ptr().cast(), size, libc::MADV_HUGEPAGE);
        Ok(kept)
    }
}

/// Asks for the pages of a mapping to come from `node`. Best effort: kernels without NUMA refuse,
/// and then every page is local anyway.
fn prefer_node(at: NonNull<u8>, size: usize, node: u32) {
    if node >= 64 {
        return;
    }
    let mask: libc::c_ulong = 1 << node;
    // SAFETY: the range is a mapping of ours, `mask` outlives the call and has 64 bits.
    unsafe {
        libc::syscall(
            libc::SYS_mbind,
            at.as_ptr(),
            size,
            libc::MPOL_PREFERRED,
            &raw const mask,
            65,
            0,
        );
    }
}

impl<T: Zeroable> Deref for HugeSlice<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        // SAFETY: the mapping holds `len` values, zero or written as `T`, for as long as `self`.
        unsafe { std::slice::from_raw_parts(self.ptr.as_ptr(), self.len) }
    }
}

impl<T: Zeroable> DerefMut for HugeSlice<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`; `&mut self` is the only way in.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.as_ptr(), self.len) }
    }
}

impl<T: Zeroable> Drop for HugeSlice<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `zeroed` with this address and size, and ends here.
        unsafe { libc::munmap(self.ptr.as_ptr().cast(), self.bytes) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering::Relaxed;

    #[test]
    fn a_slice_is_zero_writable_and_costs_nothing_until_written() {
        let before = resident();
        let mut s = HugeSlice::<u32>::zeroed(1 << 26, Backing::Small, Some(0)).unwrap();
        assert_eq!(s.len(), 1 << 26);
        assert_eq!((s[0], s[(1 << 26) - 1]), (0, 0));
        s[12345] = 7;
        assert_eq!(s[12345], 7);
        assert!(
            resident() - before < 64 << 20,
            "256 MiB mapped, but resident at once"
        );
    }

    #[test]
    fn without_free_hugepages_small_ones_serve() {
        let s = HugeSlice::<AtomicU32>::zeroed(1 << 30, Backing::Huge, None).unwrap();
        s[1 << 29].store(5, Relaxed);
        assert_eq!(s[1 << 29].load(Relaxed), 5);
    }

    #[test]
    fn discarded_pages_are_zero_and_their_neighbours_stay() {
        let s = HugeSlice::<AtomicU32>::zeroed(5000, Backing::Small, None).unwrap();
        s.iter().for_each(|n| n.store(7, Relaxed));
        s.discard(1000..3100); // the second and third page of 1024 each, as a whole
        let zero = |range: std::ops::Range<usize>, n| s[range].iter().all(|a| a.load(Relaxed) == n);
        assert!(zero(0..1024, 7) && zero(1024..3072, 0) && zero(3072..5000, 7));
        s.discard(4096..9999);
        assert!(zero(3072..5000, 7), "no whole page");
    }

    #[test]
    fn populated_pages_are_there_and_keep_their_values() {
        let s = HugeSlice::<AtomicU32>::zeroed(1 << 20, Backing::Small, None).unwrap();
        s[5].store(7, Relaxed);
        let faults = || {
            // SAFETY: `rusage` is plain integers, and ours to write.
            unsafe {
                let mut usage: libc::rusage = std::mem::zeroed();
                libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage);
                usage.ru_minflt
            }
        };
        s.populate(0..1 << 18, true);
        s.populate(1 << 18..1 << 19, false);
        let before = faults();
        for page in s[..1 << 18].chunks(1024) {
            page[9].store(1, Relaxed);
        }
        let read: u32 = s[1 << 18..1 << 19]
            .chunks(1024)
            .map(|p| p[0].load(Relaxed))
            .sum();
        assert!(faults() - before < 8, "pages were found beforehand");
        assert_eq!((s[5].load(Relaxed), read), (7, 0));
    }

    #[test]
    fn merged_pages_begin_where_huge_ones_can() {
        for len in [1, 1 << 20, (6 << 20) + 1] {
            let mut s = HugeSlice::<u8>::zeroed(len, Backing::Merged, Some(0)).unwrap();
            assert_eq!((s.len(), s.as_ptr() as usize % HUGE), (len, 0));
            (s[0], s[len - 1]) = (7, 8);
            assert_eq!(s[len - 1], 8);
        }
    }

    #[test]
    fn a_size_beyond_the_address_space_is_an_error() {
        assert!(HugeSlice::<u64>::zeroed(usize::MAX / 8, Backing::Small, None).is_err());
        assert!(HugeSlice::<u64>::zeroed(usize::MAX, Backing::Small, None).is_err());
    }

    fn resident() -> i64 {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        statm.split(' ').nth(1).unwrap().parse::<i64>().unwrap() * 4096
    }
}
