//! What a neighbour is told again because it asked (RFC 2918), or the operator did, between marks where both know them
//! (RFC 7313 4).

use std::time::Instant;

use super::Speaker;
use super::families::{Kind, of_kind};
use crate::types::{Family, FamilySet, PeerId};
use crate::wire::Refresh;

/// How far the marks of a session are.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Marks {
    /// Families of which everything has been told once, and End-of-RIB.
    whole: FamilySet,
    /// Families of which everything is being told again.
    again: FamilySet,
}

impl Marks {
    /// Everything is to be told again; whether that is marked. Never before the first End-of-RIB: that will be its end, too.
    fn begin(&mut self, family: Family) -> bool {
        let whole = self.whole.contains(family);
        if whole {
            self.again.insert(family);
        }
        whole
    }

    /// Everything has been told; whether a mark is its end, and not End-of-RIB.
    pub(super) fn end(&mut self, family: Family) -> bool {
        self.whole.insert(family);
        let again = self.again.contains(family);
        self.again.remove(family);
        again
    }
}

impl Speaker {
    /// Tells a neighbour everything again.
    pub(super) fn send_again(&mut self, id: PeerId, family: Family, now: Instant) {
        let vrf = self.peers.get(&id).map(|p| p.config.vrf);
        let Some(kind) = vrf.and_then(|vrf| Kind::of(vrf, family)) else {
            return;
        };
        of_kind!(kind, K => self.core.resend::<K>(id));
        let up = self.peers.get_mut(&id).and_then(|p| p.up.as_mut());
        if up.is_some_and(|u| u.agreed.enhanced_refresh && u.marks.begin(family)) {
            self.mark(id, family, Refresh::Begin, now);
        }
    }

    /// Queues a mark behind what waits for the neighbour.
    pub(super) fn mark(&mut self, id: PeerId, family: Family, mark: Refresh, now: Instant) {
        let mut out = Vec::new();
        if let Some(peer) = self.peers.get_mut(&id) {
            // A session that is down by now has no use for it.
            let _ = peer.session.refresh(family, mark, &mut out);
        }
        self.carry_out(id, &mut out, now);
    }
}
