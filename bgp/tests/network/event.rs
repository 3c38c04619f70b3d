//! What is to happen, in the order of time; of what is at the same time, in the order in which it was said.

use std::time::Instant;

use bgp::speaker::ConnId;

/// What happens.
pub(crate) enum What {
    Alarm(usize),
    Arrive {
        wire: usize,
        side: usize,
    },
    /// A SYN has come to the end `side` of a session.
    Knock {
        peering: usize,
        side: usize,
        conn: ConnId,
    },
    /// The answer to it.
    Open {
        node: usize,
        conn: ConnId,
        wire: usize,
        side: usize,
    },
    Refused {
        node: usize,
        conn: ConnId,
        why: &'static str,
    },
    /// A router hears of what has changed within the AS.
    Routed(usize),
}

/// When, and to whom.
pub(crate) struct Event {
    pub(crate) at: Instant,
    pub(crate) seq: u64,
    /// For events of a router: which life of it.
    pub(crate) life: Option<(usize, u32)>,
    pub(crate) what: What,
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.seq == other.seq
    }
}

impl Eq for Event {}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Event {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.seq).cmp(&(other.at, other.seq))
    }
}
