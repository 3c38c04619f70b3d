//! Up to 64 owned frames: what a port gives and takes at once, and what the stages pass on.
//!
//! The frames are `slots[head..tail]`. A driver that takes only some moves `head`; what it left stays ours, and `Drop`
//! frees exactly that, in one call.

use crate::mbuf::Mbuf;
use crate::select::{self, Bits};
use dpdk_sys as sys;
use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};

/// Frames that a burst holds at most.
pub const BURST: usize = 64;

/// A bounded list of owned frames, in order. Derefs to a slice of them.
pub struct Burst {
    // Not smaller: two that lie in one word are stored one by one and loaded at once, for which a core waits.
    head: usize,
    tail: usize,
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
        self.tail - self.head
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
    #[inline(never)]
    fn compact(&mut self) {
        if self.head != 0 {
            let (head, len) = (self.head, self.len());
            let base = self.slots.as_mut_ptr();
            // SAFETY: both ranges are within the slots; a move of `MaybeUninit`s, the old places are forgotten below.
            unsafe { base.copy_from(base.add(head), len) };
            self.head = 0;
            self.tail = len;
        }
    }

    /// Adds a frame at the end; gives it back when there is no room.
    #[inline]
    pub fn push(&mut self, frame: Mbuf) -> Result<(), Mbuf> {
        if self.tail >= BURST {
            if self.head == 0 {
                return Err(frame);
            }
            self.compact();
        }
        self.slots[self.tail].write(frame);
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
        Some(unsafe { self.slots[self.tail].assume_init_read() })
    }

    /// Takes the first frame.
    #[inline]
    pub fn pop_front(&mut self) -> Option<Mbuf> {
        if self.is_empty() {
            return None;
        }
        let at = self.head;
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
        let (at, end) = (self.head, self.tail);
        // Until it is dropped, the frames are the iterator's.
        self.head = 0;
        self.tail = 0;
        Drain {
            burst: self,
            at,
            end,
        }
    }

    /// Room for more frames.
    #[inline]
    #[must_use]
    pub fn room(&self) -> usize {
        BURST - self.len()
    }

    /// Lets frames be taken out by their positions; those that are left close up when it is over.
    #[inline]
    pub fn open(&mut self) -> Open<'_> {
        if self.head != 0 {
            self.compact();
        }
        let live = select::lowest(self.tail);
        // Until it is over, the frames are not the burst's.
        self.tail = 0;
        Open { burst: self, live }
    }

    /// Frees all the frames, in one call.
    #[inline]
    pub fn clear(&mut self) {
        if self.is_empty() {
            return;
        }
        let (head, len) = (self.head, self.len());
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
        if self.head != 0 {
            self.compact();
        }
        let at = self.tail;
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
        debug_assert!(self.tail + usize::from(n) <= BURST);
        self.tail += usize::from(n);
    }

    /// The frames as C sees them.
    #[inline]
    pub(crate) fn live_raw(&mut self) -> (*mut *mut sys::rte_mbuf, u16) {
        // SAFETY: `head <= BURST`.
        (
            unsafe { self.slots.as_mut_ptr().add(self.head).cast() },
            self.len() as u16,
        )
    }

    /// Says that the first `n` frames belong to somebody else now.
    ///
    /// # Safety
    /// They do: a driver took them.
    #[inline]
    pub(crate) unsafe fn taken(&mut self, n: u16) {
        debug_assert!(usize::from(n) <= self.len());
        self.head += usize::from(n);
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
        unsafe { std::slice::from_raw_parts(self.slots.as_ptr().add(self.head).cast(), self.len()) }
    }
}

impl DerefMut for Burst {
    #[inline]
    fn deref_mut(&mut self) -> &mut [Mbuf] {
        // SAFETY: as in `deref`; `&mut self` is the only user.
        unsafe {
            std::slice::from_raw_parts_mut(
                self.slots.as_mut_ptr().add(self.head).cast(),
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

/// Takes frames out of a burst by their positions: see [`Burst::open`].
pub struct Open<'a> {
    burst: &'a mut Burst,
    /// Positions whose frame is still here.
    live: u64,
}

impl Open<'_> {
    /// Takes the frame at a position.
    #[inline]
    pub fn take_one(&mut self, at: usize) -> Option<Mbuf> {
        if at >= BURST || self.live >> at & 1 == 0 {
            return None;
        }
        self.live &= !(1 << at);
        // SAFETY: it was live and is so no longer.
        Some(unsafe { self.burst.slots[at].assume_init_read() })
    }

    /// Moves the frames at these positions to the end of another burst, in order; as many as it has room for.
    #[inline]
    pub fn take(&mut self, which: u64, to: &mut Burst) {
        if to.head != 0 {
            to.compact();
        }
        let mut some = which & self.live;
        if some.count_ones() as usize > to.room() {
            some = select::lowest_set(some, to.room());
        }
        self.live &= !some;
        // SAFETY: these slots are live, and are so no longer; there is room for them from the tail of `to` on; two bursts
        // do not overlap. An `Mbuf` is a pointer.
        unsafe {
            let end = to.slots.as_mut_ptr().add(to.tail);
            select::pointers(self.burst.slots.as_ptr().cast(), some, end.cast());
        }
        to.tail += some.count_ones() as usize;
    }
}

impl Drop for Open<'_> {
    #[inline]
    fn drop(&mut self) {
        for i in Bits(self.live) {
            let at = self.burst.tail;
            // SAFETY: slot `i` is live and moves to a place that is not, or its own: `at <= i`, and those before `i` have
            // moved.
            unsafe {
                let base = self.burst.slots.as_mut_ptr();
                base.add(at).copy_from(base.add(i), 1);
            }
            self.burst.tail = at + 1;
        }
    }
}

/// Takes frames out of a burst: see [`Burst::drain`].
pub struct Drain<'a> {
    burst: &'a mut Burst,
    at: usize,
    end: usize,
}

impl Iterator for Drain<'_> {
    type Item = Mbuf;
    #[inline]
    fn next(&mut self) -> Option<Mbuf> {
        if self.at == self.end {
            return None;
        }
        let slot = &self.burst.slots[self.at];
        self.at += 1;
        // SAFETY: `slots[at..end]` are live and the iterator's; `at` is past this one.
        Some(unsafe { slot.assume_init_read() })
    }
    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.end - self.at, Some(self.end - self.at))
    }
}

impl ExactSizeIterator for Drain<'_> {}

impl Drop for Drain<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.at != self.end {
            // What was not reached is the burst's again, to be freed.
            (self.burst.head, self.burst.tail) = (self.at, self.end);
            self.burst.clear();
        }
    }
}
