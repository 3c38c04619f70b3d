//! A neighbour: its session, what waits to be written to it, and what is known of it when routes come and go.

use std::sync::Arc;
use std::time::Instant;

use super::config::{Neighbor, PeerKey};
use super::export::OwnAddresses;
use super::refresh::Marks;
use super::{ConnId, Ends};
use crate::session::graceful::Helper;
use crate::session::{Conn, Jitter, Negotiated, Session};
use crate::types::{FamilySet, PeerId};

/// Octets that wait to be written to a connection.
#[derive(Debug, Default)]
pub(super) struct Queue {
    octets: Vec<u8>,
    start: usize,
}

/// Rooms larger than this are given back when they are empty.
const KEEP: usize = 256 << 10;

impl Queue {
    pub(super) fn waiting(&self) -> &[u8] {
        &self.octets[self.start..]
    }

    pub(super) fn len(&self) -> usize {
        self.octets.len() - self.start
    }

    /// Where to append.
    pub(super) fn tail(&mut self) -> &mut Vec<u8> {
        &mut self.octets
    }

    /// The first `n` octets were written.
    pub(super) fn wrote(&mut self, n: usize) {
        self.start = (self.start + n).min(self.octets.len());
        if self.start == self.octets.len() {
            self.start = 0;
            self.octets.clear();
            if self.octets.capacity() > KEEP {
                self.octets = Vec::new();
            }
        } else if self.start > KEEP {
            self.octets.drain(..self.start);
            self.start = 0;
        }
    }
}

/// A connection of a neighbour.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) id: ConnId,
    pub(super) conn: Conn,
    /// `None` while it is being opened.
    pub(super) ends: Option<Ends>,
    pub(super) queue: Queue,
    /// When something was written last.
    pub(super) moved: Instant,
}

impl Line {
    pub(super) fn new(id: ConnId, conn: Conn, ends: Option<Ends>, now: Instant) -> Self {
        Self {
            id,
            conn,
            ends,
            queue: Queue::default(),
            moved: now,
        }
    }
}

/// What holds while a session is Established.
#[derive(Clone, Debug)]
pub(super) struct Up {
    pub(super) line: ConnId,
    pub(super) agreed: Arc<Negotiated>,
    pub(super) own: OwnAddresses,
    /// The session is over IPv4.
    pub(super) over_v4: bool,
    pub(super) marks: Marks,
}

/// A neighbour.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) id: PeerId,
    pub(super) key: PeerKey,
    /// Of which entry of [`super::Config::dynamic`] it is.
    pub(super) dynamic: Option<usize>,
    pub(super) config: Arc<Neighbor>,
    pub(super) session: Session,
    pub(super) lines: Vec<Line>,
    pub(super) up: Option<Up>,
    pub(super) helper: Helper,
    /// Families whose End-of-RIB has come.
    pub(super) ended: FamilySet,
    /// VPN routes wait for what it asks for, until then.
    pub(super) vpns_at: Option<Instant>,
    /// It has had a connection.
    pub(super) met: bool,
    /// It is configured no more.
    pub(super) leaving: bool,
}

impl Peer {
    pub(super) fn new(id: PeerId, key: PeerKey, config: Arc<Neighbor>, seed: u64) -> Self {
        let stale = config.session.graceful.unwrap_or_default().stale_time;
        Self {
            id,
            key,
            dynamic: None,
            session: Session::new(config.session.clone(), Jitter::seeded(seed)),
            config,
            lines: Vec::new(),
            up: None,
            helper: Helper::new(stale),
            ended: FamilySet::EMPTY,
            vpns_at: None,
            met: false,
            leaving: false,
        }
    }

    pub(super) fn line(&mut self, conn: Conn) -> Option<&mut Line> {
        self.lines.iter_mut().find(|l| l.conn == conn)
    }

    pub(super) fn line_of(&mut self, id: ConnId) -> Option<&mut Line> {
        self.lines.iter_mut().find(|l| l.id == id)
    }

    /// When it wants to be looked at again.
    pub(super) fn poll_at(&self) -> Option<Instant> {
        let times = [self.session.poll_at(), self.helper.poll_at(), self.vpns_at];
        times.into_iter().flatten().min()
    }
}
