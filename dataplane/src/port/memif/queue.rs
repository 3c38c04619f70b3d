//! The queues of a memif: frames are copied between buffers of ours and the memory that both ends share.
//!
//! Read `session.rs` first. A queue holds the session that it works with. When the session is over, or there is another,
//! the port's generation has moved on: the queue sees that before its next burst and lets go of the memory, which stays
//! mapped until then. So no frame is ever copied from or to memory that is gone, and nobody waits for anybody.

use super::Shared;
use super::session::{Descriptor, NEXT, Ring, Session};
use crate::burst::{BURST, Burst};
use crate::eventfd;
use crate::mempool::Mempool;
use crate::port::wake::Trust;
use crate::port::{Rx, Tx};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::fence;

/// The session that a queue works with.
#[derive(Debug)]
struct Seen {
    shared: Arc<Shared>,
    session: Option<Arc<Session>>,
    generation: u64,
}

impl Seen {
    fn new(shared: &Arc<Shared>) -> Self {
        Self {
            shared: shared.clone(),
            session: None,
            generation: 0,
        }
    }

    /// Looks whether there is another session, or none any more. True when that is so.
    #[inline]
    fn look(&mut self) -> bool {
        // Acquire: pairs with the Release store in `Shared::set_session`.
        if self.shared.generation.load(Acquire) == self.generation {
            return false;
        }
        self.change();
        true
    }

    #[cold]
    fn change(&mut self) {
        (self.session, self.generation) = self.shared.session();
    }
}

/// A receiving queue.
#[derive(Debug)]
pub struct MemifRx {
    seen: Seen,
    queue: usize,
    /// The next place of the ring to be looked at.
    at: u16,
    armed: bool,
    trust: Trust,
    pool: Arc<Mempool>,
    _alive: Arc<()>,
}

/// A frame in the ring.
struct Found {
    /// Places that it takes.
    places: u16,
    /// Octets; `None` of one that is broken.
    len: Option<usize>,
}

/// Looks at the frame that begins at `at`, of `n` places that are filled.
#[inline]
fn look_at(session: &Session, ring: &Ring, at: u16, n: u16) -> Found {
    let mut len = Some(0);
    for places in 1..=n {
        let d = ring.read(at.wrapping_add(places - 1));
        len = len
            .filter(|_| session.buffer(d, d.len).is_some())
            .map(|l| l + d.len as usize);
        if d.flags & NEXT == 0 {
            return Found { places, len };
        }
    }
    // The rest was never published.
    Found {
        places: n,
        len: None,
    }
}

impl MemifRx {
    pub(super) fn new(
        shared: &Arc<Shared>,
        queue: usize,
        pool: &Arc<Mempool>,
        alive: &Arc<()>,
    ) -> Self {
        Self {
            seen: Seen::new(shared),
            queue,
            at: 0,
            armed: false,
            trust: Trust::new(&shared.interrupts),
            pool: pool.clone(),
            _alive: alive.clone(),
        }
    }

    fn begin(&mut self) {
        self.at = 0;
        if let Some(s) = &self.seen.session {
            self.ring(s).mask(!self.armed);
        }
    }

    #[inline]
    fn ring<'a>(&self, session: &'a Session) -> &'a Ring {
        let rings = if self.seen.shared.is_client {
            &session.s2c
        } else {
            &session.c2s
        };
        &rings[self.queue] // a session has a ring for every queue
    }

    /// Takes up to `n` filled places. Returns the frames.
    fn take(&mut self, session: &Session, ring: &Ring, n: u16, burst: &mut Burst) -> usize {
        let counters = &self.seen.shared.counters;
        let before = burst.len();
        let want = usize::from(n).min(BURST - before);
        if !self.pool.alloc_bulk(burst, want as u16) {
            burst.extend(std::iter::from_fn(|| self.pool.alloc()).take(want));
        }
        let (mut filled, mut done) = (before, 0);
        while done < n && filled < burst.len() {
            let found = look_at(session, ring, self.at, n - done);
            match found.len {
                None | Some(0) => counters.broken.fetch_add(1, Relaxed),
                Some(len) if len > burst[filled].tailroom() => {
                    counters.oversize.fetch_add(1, Relaxed)
                }
                Some(_) => {
                    let whole = (0..found.places).all(|i| {
                        // What is read now may be something else than before: it is checked again.
                        let d = ring.read(self.at.wrapping_add(i));
                        session.buffer(d, d.len).is_some_and(|from| {
                            // SAFETY: so many octets of a region, mapped as long as the session lives.
                            unsafe { burst[filled].extend_from_raw(from, d.len as usize) }.is_some()
                        })
                    });
                    if whole {
                        filled += 1;
                    } else {
                        burst[filled].reset();
                        counters.broken.fetch_add(1, Relaxed);
                    }
                    0
                }
            };
            self.at = self.at.wrapping_add(found.places);
            done += found.places;
        }
        if burst.len() - before < want {
            counters.no_buffer.fetch_add(1, Relaxed);
        }
        while burst.len() > filled {
            drop(burst.pop());
        }
        filled - before
    }

    /// Offers all places that are not filled, with a buffer each.
    fn offer(&self, session: &Session, ring: &Ring) {
        let offered = ring.head().load(Relaxed); // only we store it
        let end = self.at.wrapping_add(ring.size());
        if offered == end {
            return;
        }
        let n = end.wrapping_sub(offered).min(ring.size());
        for i in (0..n).rev() {
            let at = end.wrapping_sub(1).wrapping_sub(i);
            let d = ring.read(at);
            ring.write(
                at,
                Descriptor {
                    flags: 0,
                    len: session.buffer,
                    ..d
                },
            );
        }
        // Release: pairs with the server's Acquire load, ours is in `MemifTx::tx`.
        ring.head().store(end, Release);
    }

    #[inline]
    fn receive(&mut self, session: &Session, burst: &mut Burst) -> usize {
        let ring = self.ring(session);
        let client = self.seen.shared.is_client;
        let filled = if client { ring.tail() } else { ring.head() };
        // Acquire: pairs with the Release store of the end that fills, ours is in `MemifTx::tx`.
        let n = filled.load(Acquire).wrapping_sub(self.at);
        let got = match n {
            0 => 0,
            // More than the ring holds is nonsense: it is taken for a ring that begins anew.
            n if n > ring.size() => {
                self.seen.shared.counters.broken.fetch_add(1, Relaxed);
                self.at = self.at.wrapping_add(n);
                0
            }
            n => self.take(session, ring, n, burst),
        };
        if client {
            self.offer(session, ring);
        } else if n != 0 {
            // Release: pairs with the client's Acquire load, ours is in `MemifTx::tx`.
            ring.tail().store(self.at, Release);
        }
        got
    }
}

impl Rx for MemifRx {
    #[inline]
    fn rx(&mut self, burst: &mut Burst) -> usize {
        if self.seen.look() {
            self.begin();
        }
        // Lent for the burst: cloning it would be a write that all queues share.
        let Some(session) = self.seen.session.take() else {
            return 0;
        };
        let got = self.receive(&session, burst);
        self.seen.session = Some(session);
        got
    }

    fn wait_fd(&self) -> Option<RawFd> {
        Some(self.seen.shared.wakes[self.queue].event.as_raw_fd())
    }

    fn wakes(&self) -> bool {
        self.trust.holds()
    }

    fn arms(&self) -> bool {
        !self.trust.lost()
    }

    #[cold]
    fn arm(&mut self) {
        if self.trust.lost() || self.armed {
            return;
        }
        self.armed = true;
        if let Some(s) = &self.seen.session {
            self.ring(s).mask(false);
        }
        // Pairs with the fence in `Ring::ring`, and with the peer's.
        fence(SeqCst);
    }

    #[cold]
    fn disarm(&mut self) {
        if !std::mem::take(&mut self.armed) {
            return;
        }
        if let Some(s) = &self.seen.session {
            self.ring(s).mask(true);
        }
        let wake = &self.seen.shared.wakes[self.queue];
        let came = eventfd::clear(wake.event.as_raw_fd());
        // What a new session rang is no frame's.
        if came && !wake.rung.swap(false, Relaxed) {
            self.trust.came();
        }
    }

    fn missed(&mut self) {
        self.trust.missed();
    }
}

/// A sending queue.
#[derive(Debug)]
pub struct MemifTx {
    seen: Seen,
    queue: usize,
    /// The next place of the ring to be filled.
    at: u16,
    _alive: Arc<()>,
}

impl MemifTx {
    pub(super) fn new(shared: &Arc<Shared>, queue: usize, alive: &Arc<()>) -> Self {
        Self {
            seen: Seen::new(shared),
            queue,
            at: 0,
            _alive: alive.clone(),
        }
    }

    /// Copies a frame to the places from `at` on, of which `free` can be filled. Returns how many it took; `None` when
    /// they are too few, or lead nowhere.
    #[inline]
    fn put(&self, session: &Session, ring: &Ring, frame: &[u8], at: u16, free: u16) -> Option<u16> {
        let client = self.seen.shared.is_client;
        let (mut rest, mut places) = (frame, 0);
        while places < free {
            let here = at.wrapping_add(places);
            let d = ring.read(here);
            let room = if client { session.buffer } else { d.len };
            let (part, left) = rest.split_at(rest.len().min(room as usize));
            let to = session.buffer(d, part.len() as u32)?;
            // SAFETY: so many octets of a region, mapped as long as the session lives; our frame is not in it.
            unsafe {
                to.as_ptr()
                    .copy_from_nonoverlapping(part.as_ptr(), part.len())
            };
            ring.write(
                here,
                Descriptor {
                    flags: if left.is_empty() { 0 } else { NEXT },
                    len: part.len() as u32,
                    ..d
                },
            );
            places += 1;
            rest = left;
            if rest.is_empty() {
                return Some(places);
            }
        }
        None
    }

    #[inline]
    fn send(&mut self, session: &Session, burst: &mut Burst) -> usize {
        let client = self.seen.shared.is_client;
        let rings = if client { &session.c2s } else { &session.s2c };
        let ring = &rings[self.queue]; // a session has a ring for every queue
        // Acquire: pairs with the Release store of the end that empties, ours is in `MemifRx`.
        let mut free = if client {
            let used = self.at.wrapping_sub(ring.tail().load(Acquire));
            ring.size().saturating_sub(used)
        } else {
            let offered = ring.head().load(Acquire).wrapping_sub(self.at);
            if offered > ring.size() { 0 } else { offered }
        };
        let mut sent = 0;
        for frame in burst.iter() {
            let Some(places) = self.put(session, ring, frame.data(), self.at, free) else {
                break;
            };
            self.at = self.at.wrapping_add(places);
            free -= places;
            sent += 1;
        }
        if sent == 0 {
            return 0;
        }
        let filled = if client { ring.head() } else { ring.tail() };
        // Release: pairs with the Acquire load of the end that empties, ours is in `MemifRx::rx`.
        filled.store(self.at, Release);
        ring.ring();
        let mut gone = Burst::new();
        gone.extend(std::iter::from_fn(|| burst.pop_front()).take(sent));
        sent
    }
}

impl Tx for MemifTx {
    #[inline]
    fn tx(&mut self, burst: &mut Burst) -> usize {
        if self.seen.look() {
            self.at = 0;
        }
        let Some(session) = self.seen.session.take() else {
            return 0;
        };
        let sent = self.send(&session, burst);
        self.seen.session = Some(session);
        sent
    }
}
