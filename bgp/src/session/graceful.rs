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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::PeerGraceful;
    use crate::types::{Asn, Relation, RouterId};
    use crate::wire::{Capabilities, Context, LongLived};
    use Family::{Ipv4Unicast as V4, Ipv6Unicast as V6};

    const fn secs(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    fn keep(family: Family, restart: u64, long: u64) -> Keep {
        Keep {
            family,
            restart: secs(restart),
            long_lived: secs(long),
        }
    }

    fn agreed(forwarding: &[Family], long: &[Family]) -> Negotiated {
        let id = RouterId::new([192, 0, 2, 1].into()).unwrap();
        let families = FamilySet::from_iter([V4, V6]);
        let long_lived = long.iter().map(|family| LongLived {
            family: *family,
            forwarding: true,
            time: 1000,
        });
        Negotiated {
            context: Context::new(Relation::External, families),
            local_as: Asn(64512),
            router_id: id,
            peer_as: Asn(64513),
            peer_id: id,
            hold_time: secs(90),
            keepalive: secs(30),
            refresh: true,
            enhanced_refresh: true,
            role: None,
            graceful: Some(PeerGraceful {
                families,
                forwarding: forwarding.iter().copied().collect(),
                long_lived: long_lived.collect(),
                ..PeerGraceful::default()
            }),
            offered: Capabilities::default(),
        }
    }

    /// A helper, a clock, and what it said.
    struct Watch(Helper, Instant, Vec<Step>);

    impl Watch {
        fn new() -> Self {
            Self(Helper::new(secs(300)), Instant::now(), Vec::new())
        }

        fn down(&mut self, keep: &[Keep]) -> &mut Self {
            self.0.down(self.1, keep, &mut self.2);
            self
        }

        fn up(&mut self, agreed: &Negotiated) -> &mut Self {
            self.0.up(self.1, agreed, &mut self.2);
            self
        }

        fn wait(&mut self, s: u64) -> &mut Self {
            let end = self.1 + secs(s);
            while let Some(at) = self.0.poll_at().filter(|at| *at <= end) {
                self.1 = at;
                self.0.tick(at, &mut self.2);
            }
            self.1 = end;
            self
        }

        fn said(&mut self) -> Vec<Step> {
            std::mem::take(&mut self.2)
        }
    }

    #[test]
    fn routes_stay_until_the_restart_time_is_over() {
        let mut w = Watch::new();
        w.down(&[keep(V4, 120, 0), keep(V6, 60, 0)]);
        assert_eq!(w.said(), [Step::Mark(V4), Step::Mark(V6)]);
        assert!(w.0.is_waiting());
        assert_eq!(w.wait(59).said(), []);
        assert_eq!(w.wait(1).said(), [Step::Sweep(V6)]);
        assert_eq!(w.wait(59).said(), []);
        assert_eq!(w.wait(1).said(), [Step::Sweep(V4)]);
        assert_eq!((w.0.poll_at(), w.0.is_waiting()), (None, false));
    }

    #[test]
    fn a_neighbour_that_is_back_has_time_until_its_end_of_rib() {
        let mut w = Watch::new();
        w.down(&[keep(V4, 120, 0), keep(V6, 120, 0)]).said();
        w.wait(100).up(&agreed(&[V4, V6], &[]));
        assert_eq!(w.said(), []);
        w.wait(100);
        w.0.end(V6, &mut w.2);
        assert_eq!(w.said(), [Step::Sweep(V6)]);
        w.0.end(V6, &mut w.2);
        assert_eq!(w.said(), [], "once");
        assert_eq!(w.wait(199).said(), []);
        assert_eq!(w.wait(1).said(), [Step::Sweep(V4)], "it takes too long");
    }

    #[test]
    fn what_it_did_not_forward_by_goes_when_it_is_back() {
        let mut w = Watch::new();
        w.down(&[keep(V4, 120, 0), keep(V6, 120, 0)]).said();
        assert_eq!(w.up(&agreed(&[V6], &[])).said(), [Step::Sweep(V4)]);
        let mut none = agreed(&[V4, V6], &[]);
        none.graceful = None;
        assert_eq!(w.up(&none).said(), [Step::Sweep(V6)]);
    }

    #[test]
    fn a_second_restart_before_the_end_marks_anew() {
        let mut w = Watch::new();
        w.down(&[keep(V4, 120, 0)]).said();
        w.up(&agreed(&[V4], &[])).wait(10);
        assert_eq!(w.down(&[keep(V4, 120, 0)]).said(), [Step::Mark(V4)]);
        assert_eq!(w.wait(119).said(), []);
        assert_eq!(w.wait(1).said(), [Step::Sweep(V4)]);
        // Nothing kept: the caller drops all, and no timer is left.
        w.down(&[keep(V4, 120, 0)]).down(&[]).said();
        assert_eq!(w.0.poll_at(), None);
    }

    #[test]
    fn long_lived_routes_outstay_the_restart_time() {
        let mut w = Watch::new();
        w.down(&[keep(V4, 120, 1000), keep(V6, 0, 50)]);
        let said = [Step::Mark(V4), Step::Mark(V6), Step::LongLived(V6)];
        assert_eq!(w.said(), said, "no restart time: long-lived at once");
        let until: Vec<_> = w.0.stale().map(|(f, at)| (f, at - w.1)).collect();
        assert_eq!(until, [(V4, secs(1120)), (V6, secs(50))]);
        assert_eq!(w.wait(50).said(), [Step::Sweep(V6)]);
        assert_eq!(w.wait(70).said(), [Step::LongLived(V4)]);
        assert_eq!(w.wait(999).said(), []);
        assert_eq!(w.wait(1).said(), [Step::Sweep(V4)]);
    }

    #[test]
    fn back_in_the_long_lived_time_the_bit_of_rfc_9494_counts() {
        let mut w = Watch::new();
        w.down(&[keep(V4, 120, 1000), keep(V6, 120, 1000)]);
        w.wait(500).said();
        let said = w.up(&agreed(&[V4, V6], &[V6])).said();
        assert_eq!(said, [Step::Sweep(V4)]);
        w.0.end(V6, &mut w.2);
        assert_eq!(w.said(), [Step::Sweep(V6)]);
    }

    #[test]
    fn a_refresh_is_swept_at_its_end_or_when_it_takes_too_long() {
        let mut w = Watch::new();
        for end in [true, false] {
            w.0.begin(w.1, V4, &mut w.2);
            assert_eq!(w.said(), [Step::Mark(V4)]);
            assert_eq!(w.wait(299).said(), []);
            if end {
                w.0.end(V4, &mut w.2);
            } else {
                w.wait(1);
            }
            assert_eq!(w.said(), [Step::Sweep(V4)]);
        }
    }

    #[test]
    fn choosing_waits_for_every_neighbour_that_may_still_send() {
        let (a, b, c) = (PeerId(1), PeerId(2), PeerId(3));
        let both = FamilySet::from_iter([V4, V6]);
        let now = Instant::now();
        let mut r = Restarter::new(now, secs(360), both, [(a, both), (b, both), (c, both)]);
        let mut out = Vec::new();
        assert!(r.restarting().restarting && r.defers(V4) && r.defers(V6));
        r.up(a, &agreed(&[], &[]), &mut out);
        // b restarts as well, and waits for us.
        let mut restarts = agreed(&[], &[]);
        restarts.graceful.as_mut().unwrap().restarting = true;
        r.up(b, &restarts, &mut out);
        r.gone(c, &mut out);
        assert_eq!(out, []);
        r.end_of_rib(a, V6, &mut out);
        assert_eq!(out, [V6]);
        assert!(!r.defers(V6) && r.defers(V4) && r.restarting().restarting);
        r.end_of_rib(a, V4, &mut out);
        assert_eq!(out, [V6, V4]);
        assert_eq!(r.poll_at(), None);
        assert!(!r.restarting().restarting, "the R bit is for restarts only");
        assert_eq!(r.restarting().forwarding, both);
    }

    #[test]
    fn choosing_does_not_wait_for_ever() {
        let now = Instant::now();
        let v4 = FamilySet::from_iter([V4]);
        let mut r = Restarter::new(now, secs(360), v4, [(PeerId(1), v4)]);
        let mut out = Vec::new();
        r.tick(now + secs(359), &mut out);
        assert_eq!((out.len(), r.poll_at()), (0, Some(now + secs(360))));
        r.tick(now + secs(360), &mut out);
        assert_eq!(out, [V4]);
        let idle = Restarter::idle();
        assert!(!idle.defers(V4) && !idle.restarting().restarting);
        let nobody = Restarter::new(now, secs(360), v4, []);
        assert!(!nobody.defers(V4) && nobody.poll_at().is_none());
    }
}
