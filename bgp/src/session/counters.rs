//! What `bgp neighbor` shows in numbers (BGP4-MIB, RFC 4273, has most of them).

use crate::wire::Kind;

/// Messages of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Messages {
    /// OPEN.
    pub open: u64,
    /// UPDATE.
    pub update: u64,
    /// NOTIFICATION.
    pub notification: u64,
    /// KEEPALIVE.
    pub keepalive: u64,
    /// ROUTE-REFRESH.
    pub refresh: u64,
}

impl Messages {
    pub(super) fn hit(&mut self, kind: Kind) {
        let n = match kind {
            Kind::Open => &mut self.open,
            Kind::Update => &mut self.update,
            Kind::Notification => &mut self.notification,
            Kind::Keepalive => &mut self.keepalive,
            Kind::RouteRefresh => &mut self.refresh,
        };
        *n += 1;
    }

    /// All kinds together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.open + self.update + self.notification + self.keepalive + self.refresh
    }
}

/// Counts since the session was made; none ever goes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Whole messages received, over all connections.
    pub received: Messages,
    /// Messages given away to be sent.
    pub sent: Messages,
    /// Octets received.
    pub octets_received: u64,
    /// Changes of state.
    pub transitions: u64,
    /// Times Established was reached.
    pub established: u64,
    /// Times Established was left.
    pub lost: u64,
    /// Connections accepted.
    pub accepted: u64,
    /// Connections refused: Idle, or too many failures in a row.
    pub refused: u64,
    /// Attempts to connect.
    pub connects: u64,
}
