//! From octets to messages, over reads that end anywhere: RFC 4271 4.1 and 6.1, RFC 8654 4.
//!
//! Whole messages are read where they are, in the caller's octets. Only what is cut off at the end is copied, to be put
//! together with what comes next.

use std::time::Instant;

use super::{Conn, Negotiated, Output, Session, Stage};
use crate::wire::{HEADER, Header, MAX, MAX_EXTENDED, Notification};

/// Takes routes out of UPDATEs.
pub trait Handler {
    /// What lies behind the header of an UPDATE, and what it is to be read by.
    ///
    /// # Errors
    /// What ends the session: this NOTIFICATION is sent. Maximum Number of Prefixes Reached, with the family and the
    /// limit, also sets the restart time that is configured.
    fn update(&mut self, body: &[u8], agreed: &Negotiated) -> Result<(), Notification>;
}

/// How much is done before somebody else has a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// At most so many messages.
    pub messages: usize,
    /// No further message after so many octets.
    pub octets: usize,
}

impl Default for Budget {
    /// Some milliseconds of the fullest UPDATEs.
    fn default() -> Self {
        Self {
            messages: 4096,
            octets: 128 << 10,
        }
    }
}

impl Session {
    /// Octets have come. Returns how many were taken; when that is fewer than all, act on `out`, let others have their
    /// turn, and come again with the rest. That is so when the budget is used up, and after each message that pushed an
    /// output: so what the handler was given and what is in `out` are in order. Octets of a connection that was closed
    /// are taken and ignored.
    pub fn receive<H: Handler>(
        &mut self,
        now: Instant,
        conn: Conn,
        octets: &[u8],
        budget: Budget,
        handler: &mut H,
        out: &mut Vec<Output>,
    ) -> usize {
        let mark = out.len();
        let mut taken = 0;
        for _ in 0..budget.messages.max(1) {
            let there = |i: &usize| self.stage(*i) != Some(Stage::Connecting);
            let Some(i) = self.find(conn).filter(there) else {
                taken = octets.len();
                break;
            };
            if out.len() > mark || taken > budget.octets {
                break;
            }
            match self.next(now, i, &octets[taken..], handler, out) {
                Some(n) => taken += n,
                None => {
                    taken = octets.len();
                    break;
                }
            }
        }
        self.counters.octets_received += taken as u64;
        let lane = self.find(conn).and_then(|i| self.lanes[i].as_mut());
        match lane {
            Some(lane) => lane.backlog = taken < octets.len(),
            None => taken = octets.len(),
        }
        self.settle(now, out);
        taken
    }

    /// Reads one message and says how many of the octets it took; `None` when the rest of it has not come, with all that
    /// did put aside.
    fn next<H: Handler>(
        &mut self,
        now: Instant,
        i: usize,
        octets: &[u8],
        handler: &mut H,
        out: &mut Vec<Output>,
    ) -> Option<usize> {
        let max = self.max_received(i);
        let lane = self.lanes[i].as_mut()?;
        if !lane.tail.is_empty() {
            return self.finish(now, i, octets, max, handler, out);
        }
        let header = match Header::parse(octets, max) {
            Ok(h) => h,
            Err(e) => {
                let why = e.to_string();
                self.refuse(now, i, (e.into(), why), out);
                return None;
            }
        };
        match header.map(|h| (h.kind, octets.get(HEADER..h.len.into()))) {
            Some((kind, Some(body))) => {
                self.message(now, i, kind, body, handler, out);
                Some(HEADER + body.len())
            }
            _ => {
                lane.tail.extend_from_slice(octets);
                None
            }
        }
    }

    /// Likewise, for a message of which the beginning came before.
    fn finish<H: Handler>(
        &mut self,
        now: Instant,
        i: usize,
        octets: &[u8],
        max: usize,
        handler: &mut H,
        out: &mut Vec<Output>,
    ) -> Option<usize> {
        let lane = self.lanes[i].as_mut()?;
        let mut taken = fill(&mut lane.tail, HEADER, octets)?;
        let header = match Header::parse(&lane.tail, max) {
            Ok(h) => h?,
            Err(e) => {
                let why = e.to_string();
                self.refuse(now, i, (e.into(), why), out);
                return None;
            }
        };
        taken += fill(&mut lane.tail, header.len.into(), &octets[taken..])?;
        let mut whole = std::mem::take(&mut lane.tail);
        self.message(now, i, header.kind, &whole[HEADER..], handler, out);
        // The room is used again, unless the connection went away over the message.
        if let Some(lane) = &mut self.lanes[i] {
            whole.clear();
            lane.tail = whole;
        }
        Some(taken)
    }

    /// The longest message that the neighbour may send: what we offered counts, not what it did (RFC 8654 4).
    fn max_received(&self, i: usize) -> usize {
        let open = self.lanes[i].as_ref().and_then(|l| l.open.as_ref());
        if open.is_some_and(|o| o.capabilities.extended_message) {
            MAX_EXTENDED
        } else {
            MAX
        }
    }
}

/// Makes `tail` as long as `want` from the front of `octets`, and says how many that took; `None` if there are too few, all
/// of which are then in `tail`.
fn fill(tail: &mut Vec<u8>, want: usize, octets: &[u8]) -> Option<usize> {
    let need = want.saturating_sub(tail.len());
    let some = need.min(octets.len());
    tail.extend_from_slice(&octets[..some]);
    (some == need).then_some(need)
}
