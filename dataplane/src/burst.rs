//! Up to 64 owned frames: what a port gives and takes at once, and what the stages pass on.
//!
//! The frames are `slots[head..tail]`. A driver that takes only some moves `head`; what it left stays ours, and `Drop`
//! frees exactly that, in one call.

use crate::mbuf::Mbuf;
use dpdk_sys as sys;
use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};

/// Frames that a burst holds at most.
pub const BURST: usize = 64;

/// A bounded list of owned frames, in order. Derefs to a slice of them.
pub struct Burst {
    head: u16,
    tail: u16,
    slots: [MaybeUninit<Mbuf>; BURST],
}

impl Default for Burst {
    fn default() -> Self {
        Self::new()
    }
}

impl Burst {
    /// Frames that it holds at most.
    pub const CAPACITY: usize = BURST;

    /// An empty burst.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            head: 0,
            tail: 0,
            slots: [const { MaybeUninit::uninit() }; BURST],
        }
    }

    /// Frames in it.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(self.tail - self.head)
    }

    /// Whether there are none.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.head == self.tail
    }

    /// Whether there is no room for another.
    #[inline]
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.len() == BURST
    }

    /// Moves the frames to the start of the slots, so that all the room is behind them.
    #[inline]
    fn compact(&mut self) {
        if self.head != 0 {
            let (head, len) = (usize::from(self.head), self.len());
            let base = self.slots.as_mut_ptr();
            // SAFETY: both ranges are within the slots; a move of `MaybeUninit`s, the old places are forgotten below.
            unsafe { base.copy_from(base.add(head), len) };
            self.head = 0;
            self.tail = len as u16;
        }
    }

    /// Adds a frame at the end; gives it back when there is no room.
    #[inline]
    pub fn push(&mut self, frame: Mbuf) -> Result<(), Mbuf> {
        if usize::from(self.tail) == BURST {
            if self.head == 0 {
                return Err(frame);
            }
            self.compact();
        }
        self.slots[usize::from(self.tail)].write(frame);
        self.tail += 1;
        Ok(())
    }

    /// Takes the last frame.
    #[inline]
    pub fn pop(&mut self) -> Option<Mbuf> {
        if self.is_empty() {
            return None;
        }
        self.tail -= 1;
        // SAFETY: it was live and is so no longer, for `tail` is past it.
        Some(unsafe { self.slots[usize::from(self.tail)].assume_init_read() })
    }

    /// Takes the first frame.
    #[inline]
    pub fn pop_front(&mut self) -> Option<Mbuf> {
        if self.is_empty() {
            return None;
        }
        let at = usize::from(self.head);
        self.head += 1;
        // SAFETY: it was live and is so no longer, for `head` is past it.
        Some(unsafe { self.slots[at].assume_init_read() })
    }

    /// Takes all the frames, leaving an empty burst.
    #[inline]
    #[must_use]
    pub fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    /// Takes the frames one after the other, first one first; those that the iterator does not reach are freed.
    #[inline]
    pub fn drain(&mut self) -> Drain<'_> {
        Drain(self)
    }

    /// Frees all the frames, in one call.
    #[inline]
    pub fn clear(&mut self) {
        if self.is_empty() {
            return;
        }
        let (head, len) = (usize::from(self.head), self.len());
        self.head = 0;
        self.tail = 0;
        // SAFETY: these were live and ours, and are forgotten by now; `Mbuf` is a pointer to the C struct.
        unsafe {
            sys::rte_pktmbuf_free_bulk(self.slots.as_mut_ptr().add(head).cast(), len as u32);
        }
    }

    /// The room behind the frames as C sees it: a pointer to it and how many fit.
    #[inline]
    pub(crate) fn room_raw(&mut self) -> (*mut *mut sys::rte_mbuf, u16) {
        self.compact();
        let at = usize::from(self.tail);
        // SAFETY: `at <= BURST`.
        (
            unsafe { self.slots.as_mut_ptr().add(at).cast() },
            (BURST - at) as u16,
        )
    }

    /// Says that `n` frames were written to what [`room_raw`](Self::room_raw) gave.
    ///
    /// # Safety
    /// They were, each as [`Mbuf::from_raw`] wants it, with no call in between.
    #[inline]
    pub(crate) unsafe fn grow(&mut self, n: u16) {
        debug_assert!(usize::from(self.tail + n) <= BURST);
        self.tail += n;
    }

    /// The frames as C sees them.
    #[inline]
    pub(crate) fn live_raw(&mut self) -> (*mut *mut sys::rte_mbuf, u16) {
        // SAFETY: `head <= BURST`.
        (
            unsafe { self.slots.as_mut_ptr().add(self.head.into()).cast() },
            self.tail - self.head,
        )
    }

    /// Says that the first `n` frames belong to somebody else now.
    ///
    /// # Safety
    /// They do: a driver took them.
    #[inline]
    pub(crate) unsafe fn taken(&mut self, n: u16) {
        debug_assert!(n <= self.tail - self.head);
        self.head += n;
        if self.head == self.tail {
            self.head = 0;
            self.tail = 0;
        }
    }
}

/// Adds frames while there is room; the first that finds none is freed and the rest is not taken.
impl Extend<Mbuf> for Burst {
    #[inline]
    fn extend<I: IntoIterator<Item = Mbuf>>(&mut self, frames: I) {
        for frame in frames {
            if self.push(frame).is_err() {
                break;
            }
        }
    }
}

impl Deref for Burst {
    type Target = [Mbuf];
    #[inline]
    fn deref(&self) -> &[Mbuf] {
        // SAFETY: `slots[head..tail]` are live.
        unsafe {
            std::slice::from_raw_parts(self.slots.as_ptr().add(self.head.into()).cast(), self.len())
        }
    }
}

impl DerefMut for Burst {
    #[inline]
    fn deref_mut(&mut self) -> &mut [Mbuf] {
        // SAFETY: as in `deref`; `&mut self` is the only user.
        unsafe {
            std::slice::from_raw_parts_mut(
                self.slots.as_mut_ptr().add(self.head.into()).cast(),
                self.len(),
            )
        }
    }
}

impl Drop for Burst {
    fn drop(&mut self) {
        self.clear();
    }
}

impl std::fmt::Debug for Burst {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Takes frames out of a burst: see [`Burst::drain`].
pub struct Drain<'a>(&'a mut Burst);

impl Iterator for Drain<'_> {
    type Item = Mbuf;
    #[inline]
    fn next(&mut self) -> Option<Mbuf> {
        self.0.pop_front()
    }
    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.0.len(), Some(self.0.len()))
    }
}

impl ExactSizeIterator for Drain<'_> {}

impl Drop for Drain<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.clear();
    }
}
