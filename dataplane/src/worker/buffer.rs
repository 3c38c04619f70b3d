//! A TX queue with the frames that wait for it, counted when the driver takes them.
//!
//! Which queue a frame goes to is the business of [`super::out`].

use crate::burst::{BURST, Burst, Open};
use crate::counters::WorkerCounters;
use crate::drops::Drop;
use crate::interface::NO_IFACE;
use crate::mbuf::Mbuf;
use crate::port::{AnyTx, Tx};
use crate::select::{self, Bits};
use net::IfaceId;

/// How long a driver may take no frame before those that wait are dropped, in nanoseconds. Long enough for a queue that is
/// merely full to drain at 1 Gb/s, short enough that nothing waits long behind a dead link.
pub(crate) const TX_PATIENCE_NS: u64 = 1_000_000;

/// What is to be counted once the driver has a frame and we can't look at it any more: its interface, and above that its
/// bytes, of which no frame has more than 65,535.
#[derive(Clone, Copy)]
struct Tag(u32);

impl Tag {
    #[inline]
    fn new(iface: IfaceId, bytes: u32) -> Self {
        Self(u32::from(iface.0) | bytes << 16)
    }

    #[inline]
    fn iface(self) -> IfaceId {
        IfaceId(self.0 as u16)
    }

    #[inline]
    fn bytes(self) -> u32 {
        self.0 >> 16
    }
}

/// A TX queue that is to be given back, and what must leave by it before.
pub(super) struct Closing {
    pub(super) seq: u64,
    /// By peer: how many frames must have come out of its ring in all.
    pub(super) until: Vec<u64>,
}

/// A TX queue and the frames that wait for it. Aligned, as all that a worker writes for each frame: no two workers' share a
/// cache line or its neighbour, which the core fetches with it.
#[repr(align(128))]
pub(super) struct TxBuffer {
    pub(super) queue: Box<AnyTx>,
    pub(super) frames: Burst,
    /// The interface to count all of `frames` on, as long as there is one for all.
    sole: Option<IfaceId>,
    /// The bytes of all of `frames`, where `sole` is there.
    bytes: u64,
    /// Of each of `frames`, where `sole` is not there: a [`Tag`].
    tags: [u32; BURST],
    stuck_since: Option<u64>,
    pub(super) closing: Option<Closing>,
}

impl TxBuffer {
    pub(super) fn new(queue: Box<AnyTx>) -> Self {
        Self {
            queue,
            frames: Burst::new(),
            sole: None,
            bytes: 0,
            tags: [Tag::new(NO_IFACE, 0).0; BURST],
            stuck_since: None,
            closing: None,
        }
    }

    #[inline(always)]
    pub(super) fn push(
        &mut self,
        frame: Mbuf,
        iface: IfaceId,
        now: u64,
        counters: &mut WorkerCounters,
    ) {
        if self.frames.is_full() {
            self.make_room(now, counters);
        }
        let (at, bytes) = (self.frames.len(), frame.len() as u32);
        let alone = self.is_alone(at, iface);
        if self.frames.push(frame).is_err() {
            return counters.drop(iface, Drop::NoTxRoom);
        }
        if alone {
            self.bytes += u64::from(bytes);
        } else {
            self.tags[at % BURST] = Tag::new(iface, bytes).0;
        }
    }

    /// Whether frames of that interface, put behind the `at` that there are, can be counted in one sum with them.
    #[inline]
    fn is_alone(&mut self, at: usize, iface: IfaceId) -> bool {
        if at == 0 {
            (self.sole, self.bytes) = (Some(iface), 0);
        } else if self.sole != Some(iface) {
            self.mix();
            return false;
        }
        true
    }

    /// Notes for each of the frames what to count it on: they are not all of one interface any more.
    #[inline(never)]
    fn mix(&mut self) {
        if let Some(sole) = self.sole.take() {
            for (tag, m) in self.tags.iter_mut().zip(self.frames.iter()) {
                *tag = Tag::new(sole, m.len() as u32).0;
            }
        }
    }

    /// [`push`](Self::push) of several, `which` by their positions, of the lengths that are given by position, too.
    #[inline]
    pub(super) fn push_some(
        &mut self,
        from: &mut Open<'_>,
        which: u64,
        iface: IfaceId,
        lens: &[u32; BURST],
        (now, counters): (u64, &mut WorkerCounters),
    ) {
        let n = which.count_ones() as usize;
        if n > self.frames.room() {
            self.make_room(now, counters);
        }
        let at = self.frames.len();
        if n > BURST - at {
            return self.push_each(from, which, iface, now, counters);
        }
        if self.is_alone(at, iface) {
            self.bytes += select::sum(lens, which);
        } else {
            // As `Tag::new` has it.
            select::halves(lens, which, iface.0, &mut self.tags[at..]);
        }
        from.take(which, &mut self.frames);
    }

    /// The same where there may be no room for all.
    #[inline(never)]
    fn push_each(
        &mut self,
        from: &mut Open<'_>,
        which: u64,
        iface: IfaceId,
        now: u64,
        counters: &mut WorkerCounters,
    ) {
        for i in Bits(which) {
            if let Some(m) = from.take_one(i) {
                self.push(m, iface, now, counters);
            }
        }
    }

    /// Offers the frames to the driver before there are too many.
    #[inline(never)]
    fn make_room(&mut self, now: u64, counters: &mut WorkerCounters) {
        self.flush(now, counters);
    }

    /// Offers all that waits to the driver; drops it when nothing moved for too long. Returns how many left.
    pub(super) fn flush(&mut self, now: u64, counters: &mut WorkerCounters) -> usize {
        let waiting = self.frames.len();
        if waiting == 0 {
            return 0;
        }
        let sent = self.queue.tx(&mut self.frames).min(waiting);
        if let Some(sole) = self.sole {
            let left = match sent == waiting {
                true => 0,
                false => self.frames.iter().map(|m| m.len() as u64).sum(),
            };
            counters.tx(sole, sent as u64, self.bytes.saturating_sub(left));
            self.bytes = left;
        } else {
            count_sent(&self.tags[..sent], counters);
            self.tags.copy_within(sent..waiting, 0);
        }
        if sent == waiting {
            self.stuck_since = None;
            return sent;
        }
        if sent > 0 {
            self.stuck_since = Some(now);
        } else if now.saturating_sub(*self.stuck_since.get_or_insert(now)) >= TX_PATIENCE_NS {
            let why = if self.closing.is_some() {
                Drop::PortRemoved
            } else {
                Drop::NoTxRoom
            };
            return sent + self.discard(why, counters);
        }
        sent
    }

    /// Drops all that waits.
    #[cold]
    pub(super) fn discard(&mut self, why: Drop, counters: &mut WorkerCounters) -> usize {
        let waiting = self.frames.len();
        self.mix();
        self.frames.clear();
        self.stuck_since = None;
        for &t in &self.tags[..waiting] {
            counters.drop(Tag(t).iface(), why);
        }
        waiting
    }
}

/// Counts what the driver took: mostly all for one interface, so in one sum.
#[inline]
fn count_sent(tags: &[u32], counters: &mut WorkerCounters) {
    let Some(&first) = tags.first() else {
        return;
    };
    let (mut others, mut bytes) = (0, 0);
    for t in tags {
        others |= t ^ first;
        bytes += Tag(*t).bytes();
    }
    if others & 0xffff == 0 {
        return counters.tx(Tag(first).iface(), tags.len() as u64, bytes.into());
    }
    for run in tags.chunk_by(|a, b| Tag(*a).iface() == Tag(*b).iface()) {
        let bytes = run.iter().map(|t| u64::from(Tag(*t).bytes())).sum();
        counters.tx(Tag(run[0]).iface(), run.len() as u64, bytes);
    }
}

const _: () = assert!(align_of::<TxBuffer>() == 128);
