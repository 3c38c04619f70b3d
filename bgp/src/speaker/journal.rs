//! What neighbours said, written down as it came: BGP4MP of RFC 6396 4.4, UPDATEs and changes of state.
//!
//! A [`Journal`] is a buffer of whole records, which whoever has the file empties. When it is full, what comes is counted and not
//! kept: sessions never wait for a disk.

use std::net::IpAddr;

use crate::mrt::{Message, message, state_change};
use crate::session::State;
use crate::types::Asn;
use crate::wire;

/// Records that wait to be written to a file.
#[derive(Debug, Default)]
pub struct Journal {
    octets: Vec<u8>,
    most: usize,
    written: u64,
    dropped: u64,
}

/// The ends of a session, as records have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ends {
    pub(super) peer_as: Asn,
    pub(super) local_as: Asn,
    pub(super) peer: IpAddr,
    pub(super) local: IpAddr,
}

impl Ends {
    fn message<'a>(&self, octets: &'a [u8]) -> Message<'a> {
        Message {
            peer_as: self.peer_as,
            local_as: self.local_as,
            interface: 0,
            peer: self.peer,
            local: self.local,
            as4: true,
            add_path: false,
            sent: false,
            octets,
        }
    }
}

impl Journal {
    /// Of at most so many octets at a time.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self {
            most,
            ..Self::default()
        }
    }

    /// Records that were taken down, and those that there was no room for, ever.
    #[must_use]
    pub const fn counts(&self) -> (u64, u64) {
        (self.written, self.dropped)
    }

    /// The octets that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.octets.len()
    }

    /// Does none wait?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.octets.is_empty()
    }

    /// Takes what waits: whole records.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.octets)
    }

    fn room(&mut self, octets: usize) -> bool {
        // The header of the record and the ends of the session are in the spare.
        let fits = self.octets.len() + octets + 64 <= self.most;
        *(if fits {
            &mut self.written
        } else {
            &mut self.dropped
        }) += 1;
        fits
    }

    /// An UPDATE came.
    pub(super) fn update(
        &mut self,
        time: u32,
        ends: &Ends,
        (as4, add_path): (bool, bool),
        body: &[u8],
    ) {
        if self.room(wire::HEADER + body.len()) {
            let mut whole = Vec::with_capacity(wire::HEADER + body.len());
            wire::Message::Update(body).emit(&mut whole);
            let m = Message {
                as4,
                add_path,
                ..ends.message(&whole)
            };
            message(time, &m, &mut self.octets);
        }
    }

    /// A session came up or went down.
    pub(super) fn state(&mut self, time: u32, ends: &Ends, old: State, new: State) {
        if self.room(4) {
            let states = (number(old), number(new));
            state_change(time, &ends.message(&[]), states, &mut self.octets);
        }
    }
}

/// RFC 6396 4.4.1.
const fn number(s: State) -> u16 {
    match s {
        State::Idle => 1,
        State::Connect => 2,
        State::Active => 3,
        State::OpenSent => 4,
        State::OpenConfirm => 5,
        State::Established => 6,
    }
}
