//! What is kept of a neighbour that restarts, and what waits while we do.
//!
//! Read RFC 4724 4 (4.1 is [`Restarter`], 4.2 is [`Helper`]), RFC 8538 4, RFC 9494 4.2, RFC 7313 4 (a refresh is watched over
//! in the same way). Neither knows a route: they say when routes are stale, when they go, and when choosing may begin.

use std::time::{Duration, Instant};

use super::{Keep, Negotiated, Restarting};
use crate::types::{Family, FamilySet, PeerId};

/// What to do with the routes of a neighbour, in one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// What is stale already goes; the others are stale from now on.
    Mark(Family),
    /// What is stale stays as a last resort (RFC 9494 4.2, 4.3): it gets LLGR_STALE and is preferred least; what has
    /// NO_LLGR goes.
    LongLived(Family),
    /// What is stale goes.
    Sweep(Family),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It has restart time left.
    Away,
    /// It has long-lived stale time left.
    LongAway,
    /// It sends everything again.
    Sending,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    family: Family,
    phase: Phase,
    until: Instant,
    long_lived: Duration,
}

/// The stale routes of one neighbour.
#[derive(Debug)]
pub struct Helper {
    held: Vec<Held>,
    stale_time: Duration,
}

impl Helper {
    /// Nothing is stale. The neighbour has `stale_time` to send everything again.
    #[must_use]
    pub const fn new(stale_time: Duration) -> Self {
        Self {
            held: Vec::new(),
            stale_time,
        }
    }

    /// The session is down: `keep` is of [`Output::Down`](super::Output::Down). Routes of all other families are dropped by
    /// the caller.
    pub fn down(&mut self, now: Instant, keep: &[Keep], steps: &mut Vec<Step>) {
        self.held.clear();
        for k in keep {
            steps.push(Step::Mark(k.family));
            self.held.push(Held {
                family: k.family,
                phase: Phase::Away,
                until: now + k.restart,
                long_lived: k.long_lived,
            });
        }
        self.tick(now, steps); // a restart time of 0 is over at once
    }

    /// The session is up again: what the neighbour did not go on forwarding by goes now (RFC 4724 4.2).
    pub fn up(&mut self, now: Instant, agreed: &Negotiated, steps: &mut Vec<Step>) {
        let stale_time = self.stale_time;
        self.held.retain_mut(|h| {
            let kept = agreed.graceful.as_ref().is_some_and(|g| match h.phase {
                Phase::LongAway => {
                    let mut long = g.long_lived.iter();
                    long.any(|l| l.family == h.family && l.forwarding)
                }
                Phase::Away | Phase::Sending => g.forwarding.contains(h.family),
            });
            if kept {
                h.phase = Phase::Sending;
                h.until = now + stale_time;
            } else {
                steps.push(Step::Sweep(h.family));
            }
            kept
        });
    }

    /// The neighbour has sent everything of that family: its End-of-RIB, or the end of a refresh.
    pub fn end(&mut self, family: Family, steps: &mut Vec<Step>) {
        let ended = |h: &Held| h.family == family && h.phase == Phase::Sending;
        if let Some(i) = self.held.iter().position(ended) {
            self.held.swap_remove(i);
            steps.push(Step::Sweep(family));
        }
    }

    /// The neighbour begins to send everything of that family again: the BoRR of RFC 7313.
    pub fn begin(&mut self, now: Instant, family: Family, steps: &mut Vec<Step>) {
        self.held.retain(|h| h.family != family);
        steps.push(Step::Mark(family));
        self.held.push(Held {
            family,
            phase: Phase::Sending,
            until: now + self.stale_time,
            long_lived: Duration::ZERO,
        });
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant, steps: &mut Vec<Step>) {
        self.held.retain_mut(|h| {
            if h.until > now {
                return true;
            }
            let long = h.phase == Phase::Away && !h.long_lived.is_zero();
            if long {
                steps.push(Step::LongLived(h.family));
                h.phase = Phase::LongAway;
                h.until = now + h.long_lived;
            } else {
                steps.push(Step::Sweep(h.family));
            }
            long
        });
    }

    /// When to come again with [`Helper::tick`].
    #[must_use]
    pub fn poll_at(&self) -> Option<Instant> {
        self.held.iter().map(|h| h.until).min()
    }

    /// Families of which something is stale, and until when at most.
    pub fn stale(&self) -> impl Iterator<Item = (Family, Instant)> {
        self.held.iter().map(|h| (h.family, h.until + h.longer()))
    }

    /// Is the neighbour away, and its routes kept?
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.held.iter().any(|h| h.phase != Phase::Sending)
    }
}

impl Held {
    fn longer(&self) -> Duration {
        match self.phase {
            Phase::Away => self.long_lived,
            Phase::LongAway | Phase::Sending => Duration::ZERO,
        }
    }
}

/// Our own restart: choosing waits until every neighbour has sent what it has, or the selection deferral time is over
/// (RFC 4724 4.1).
#[derive(Debug)]
pub struct Restarter {
    until: Option<Instant>,
    forwarding: FamilySet,
    waiting: Vec<(PeerId, FamilySet)>,
    families: FamilySet,
}

impl Restarter {
    /// Nothing is waited for: a start from nothing.
    #[must_use]
    pub const fn idle() -> Self {
        Self {
            until: None,
            forwarding: FamilySet::EMPTY,
            waiting: Vec::new(),
            families: FamilySet::EMPTY,
        }
    }

    /// We have restarted: the routes of `forwarding` are still in use, and `peers` are waited for, at most for `deferral`.
    #[must_use]
    pub fn new(
        now: Instant,
        deferral: Duration,
        forwarding: FamilySet,
        peers: impl IntoIterator<Item = (PeerId, FamilySet)>,
    ) -> Self {
        let waiting: Vec<_> = peers.into_iter().filter(|p| !p.1.is_empty()).collect();
        let families = waiting.iter().flat_map(|p| p.1.iter()).collect();
        Self {
            until: (!waiting.is_empty()).then(|| now + deferral),
            forwarding,
            waiting,
            families,
        }
    }

    /// What OPENs have to say of it: for [`Session::set_restarting`](super::Session::set_restarting).
    #[must_use]
    pub fn restarting(&self) -> Restarting {
        Restarting {
            restarting: self.until.is_some(),
            forwarding: self.forwarding,
        }
    }

    /// Routes of this family are not to be chosen yet.
    #[must_use]
    pub fn defers(&self, family: Family) -> bool {
        self.families.contains(family)
    }

    /// A session is up. Who knows no graceful restart, or restarts too, is not waited for; nor are families that were not
    /// agreed on. `released` gets the families that are no longer waited for.
    pub fn up(&mut self, peer: PeerId, agreed: &Negotiated, released: &mut Vec<Family>) {
        let waited = match &agreed.graceful {
            Some(g) if !g.restarting => agreed.context.families,
            _ => FamilySet::EMPTY,
        };
        self.keep_waiting(peer, |f| waited.contains(f), released);
    }

    /// A neighbour has sent all that it has of that family.
    pub fn end_of_rib(&mut self, peer: PeerId, family: Family, released: &mut Vec<Family>) {
        self.keep_waiting(peer, |f| f != family, released);
    }

    /// A neighbour was removed or shut down.
    pub fn gone(&mut self, peer: PeerId, released: &mut Vec<Family>) {
        self.keep_waiting(peer, |_| false, released);
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant, released: &mut Vec<Family>) {
        if self.until.is_some_and(|at| at <= now) {
            self.waiting.clear();
            self.release(released);
        }
    }

    /// When to come again with [`Restarter::tick`].
    #[must_use]
    pub fn poll_at(&self) -> Option<Instant> {
        self.until
    }

    fn keep_waiting(
        &mut self,
        peer: PeerId,
        want: impl Fn(Family) -> bool,
        released: &mut Vec<Family>,
    ) {
        for (_, families) in self.waiting.iter_mut().filter(|w| w.0 == peer) {
            *families = families.iter().filter(|f| want(*f)).collect();
        }
        self.waiting.retain(|w| !w.1.is_empty());
        self.release(released);
    }

    fn release(&mut self, released: &mut Vec<Family>) {
        for family in self.families.iter() {
            if !self.waiting.iter().any(|w| w.1.contains(family)) {
                self.families.remove(family);
                released.push(family);
            }
        }
        if self.families.is_empty() {
            self.until = None;
        }
    }
}
