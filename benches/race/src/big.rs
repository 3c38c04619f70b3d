//! Arrays on large pages where the kernel gives them, so that no candidate loses by misses of the TLB alone.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut};

const HUGE: usize = 2 << 20;

/// A fixed array; `T` is an integer or an array of such.
pub(crate) struct Big<T: Copy> {
    at: *mut T,
    len: usize,
}

fn layout<T>(len: usize) -> Layout {
    let bytes = (len * size_of::<T>()).max(1).next_multiple_of(HUGE);
    Layout::from_size_align(bytes, HUGE).expect("a size that fits")
}

impl<T: Copy> Big<T> {
    /// A copy of `from`, and behind it as much room as vector loads may read.
    pub(crate) fn new(from: &[T]) -> Self {
        let layout = layout::<T>(from.len() + 64);
        // SAFETY: a layout of more than no bytes; the pages are ours, and `from` fits.
        unsafe {
            let at = alloc(layout).cast::<T>();
            if at.is_null() {
                handle_alloc_error(layout);
            }
            libc::madvise(at.cast(), layout.size(), libc::MADV_HUGEPAGE);
            at.cast::<u8>().write_bytes(0, layout.size());
            at.copy_from_nonoverlapping(from.as_ptr(), from.len());
            Self {
                at,
                len: from.len(),
            }
        }
    }

    /// Bytes of the array.
    pub(crate) fn bytes(&self) -> usize {
        self.len * size_of::<T>()
    }
}

impl<T: Copy> Deref for Big<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        // SAFETY: that many were copied there.
        unsafe { std::slice::from_raw_parts(self.at, self.len) }
    }
}

impl<T: Copy> DerefMut for Big<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: that many were copied there, and they are ours alone.
        unsafe { std::slice::from_raw_parts_mut(self.at, self.len) }
    }
}

impl<T: Copy> Drop for Big<T> {
    fn drop(&mut self) {
        // SAFETY: of `new`, with the same layout.
        unsafe { dealloc(self.at.cast(), layout::<T>(self.len + 64)) };
    }
}
