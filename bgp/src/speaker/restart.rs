//! Our own restart: what OPENs say of it, and what waits. RFC 4724 4.1, RFC 8538.
//!
//! Departure from 4.1, which has the choosing wait: routes are chosen and used at once, only nobody is told of any before all
//! neighbours that are waited for have told theirs, or the time is over. The wait of 4.1 is there so that forwarding state that was
//! kept is not replaced by what half of the routes make of it. Where the forwarding state went with the process there is nothing to
//! keep, and every packet that finds a route is one that is not lost; where others forward, they hear of nothing before it
//! is whole.

use std::time::{Duration, Instant};

use super::Speaker;
use super::families::Kind;
use super::peer::Peer;
use crate::session::Restarting;
use crate::session::graceful::Restarter;
use crate::types::{Family, FamilySet, PeerId};

impl Speaker {
    /// This speaker was there before, and neighbours may have kept its routes: they are told so, and nobody is told of routes
    /// for at most `deferral`. `forwarding`: packets went on by the routes of before all the while. To be called before any
    /// connection is made.
    pub fn restarted(&mut self, forwarding: bool, deferral: Duration, now: Instant) {
        let kept = |p: &Peer| -> FamilySet {
            let told = p.config.session.graceful.is_some_and(|g| !g.helper_only);
            let families = p.config.session.families.iter();
            families
                .filter(|f| told && f.graceful && p.config.shutdown.is_none())
                .map(|f| f.family)
                .filter(|f| Kind::has(*f))
                .collect()
        };
        let peers: Vec<(PeerId, FamilySet)> =
            self.peers.values().map(|p| (p.id, kept(p))).collect();
        let all: FamilySet = peers.iter().flat_map(|(_, f)| f.iter()).collect();
        let preserved = if forwarding { all } else { FamilySet::EMPTY };
        self.restarter = Restarter::new(now, deferral, preserved, peers);
        self.say_restarting();
    }

    /// Are others not told of routes yet?
    #[must_use]
    pub fn is_restarting(&self) -> bool {
        self.restarter.restarting().restarting
    }

    /// Something that was waited for has happened.
    pub(super) fn restart_step(&mut self, step: impl FnOnce(&mut Restarter, &mut Vec<Family>)) {
        if !self.is_restarting() {
            return;
        }
        // What is released is told by the next piece of work.
        step(&mut self.restarter, &mut Vec::new());
        if !self.is_restarting() {
            self.say_restarting();
        }
    }

    fn say_restarting(&mut self) {
        let said: Restarting = self.restarter.restarting();
        for peer in self.peers.values_mut() {
            peer.session.set_restarting(said);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use ipnet::IpNet;

    use super::*;
    use crate::session::{GracefulConfig, State};
    use crate::speaker::tests::{World, config, local, neighbor};
    use crate::speaker::{Config, Neighbor, PeerKey, Side, Wanted};

    const NET: &str = "203.0.113.0/24";

    /// Routers 1, 2 and 3 in a chain; all of them ask to be waited for.
    fn configs() -> [(u8, Config); 3] {
        let us = [local(1, 100), local(2, 200), local(3, 300)];
        let near = |n: usize, asn| -> Neighbor {
            let mut near = neighbor(&us[n - 1], asn);
            near.session.graceful = Some(GracefulConfig {
                helper_only: false,
                ..GracefulConfig::default()
            });
            near
        };
        [
            (1, config(us[0].clone(), [(2, near(1, 200))])),
            (
                2,
                config(us[1].clone(), [(1, near(2, 100)), (3, near(2, 300))]),
            ),
            (3, config(us[2].clone(), [(2, near(3, 200))])),
        ]
    }

    /// Router 2 ends without a word, and is there again.
    fn restart(w: &mut World, forwarding: bool) {
        w.break_wires(1, 2);
        w.break_wires(2, 3);
        let [_, (_, told), _] = configs();
        let mut again = Speaker::new(told, 99, w.now);
        again.restarted(forwarding, Duration::from_secs(120), w.now);
        w.speakers.insert(2, again);
    }

    /// Does router 3 forward by the route?
    fn watched(w: &mut World) -> bool {
        w.fibs[&3].contains_key(&NET.parse::<IpNet>().unwrap())
    }

    fn lab() -> World {
        let mut w = World::new(configs());
        w.originate(1, NET);
        w.pass(Duration::from_secs(30));
        assert!(watched(&mut w));
        w
    }

    #[test]
    fn routes_outlive_a_restart_where_others_forward() {
        let mut w = lab();
        restart(&mut w, true);
        // Only router 1 comes back at first: 3 has what it had, and hears of nothing that is not whole.
        w.cut.push((2, 3));
        w.pass(Duration::from_secs(60));
        assert!(watched(&mut w) && w.speakers[&2].is_restarting());
        w.cut.clear();
        // Each second until all is over: it is never gone.
        for _ in 0..60 {
            w.pass(Duration::from_secs(1));
            assert!(watched(&mut w));
        }
        assert!(!w.speakers[&2].is_restarting());
        assert_eq!(w.states(2), [State::Established, State::Established]);
        // What is there now is fresh: it goes when it is withdrawn.
        let one = w.speakers.get_mut(&1).unwrap();
        one.withdraw_own(NET.parse().unwrap());
        w.settle();
        assert!(!watched(&mut w));
    }

    #[test]
    fn what_was_not_forwarded_by_is_not_said_to_be() {
        let mut w = lab();
        restart(&mut w, false);
        w.cut.push((1, 2));
        w.pass(Duration::from_secs(30));
        // RFC 4724 4.2: without the F bit it goes as soon as the session is back.
        assert!(!watched(&mut w) && w.speakers[&2].is_restarting());
        w.cut.clear();
        w.pass(Duration::from_secs(60));
        assert!(watched(&mut w) && !w.speakers[&2].is_restarting());
    }

    #[test]
    fn who_does_not_come_back_is_waited_for_in_vain_and_not_for_ever() {
        let mut w = lab();
        restart(&mut w, true);
        w.cut.push((1, 2));
        w.originate(2, "198.51.100.0/24");
        w.pass(Duration::from_secs(100));
        let theirs: IpNet = "198.51.100.0/24".parse().unwrap();
        assert!(!w.fibs[&3].contains_key(&theirs), "it waits for router 1");
        // What is known is used here, though nobody is told.
        assert!(w.fibs[&2].contains_key(&theirs));
        w.pass(Duration::from_secs(30));
        assert!(w.fibs[&3].contains_key(&theirs) && !w.speakers[&2].is_restarting());
        assert!(!watched(&mut w), "router 1's went with the End-of-RIB");
        // A neighbour that is shut down is not waited for.
        let mut w = lab();
        restart(&mut w, true);
        w.cut.push((1, 2));
        w.originate(2, "198.51.100.0/24");
        let now = w.now;
        let first = PeerKey::Address(IpAddr::from([192, 0, 2, 1]), None);
        let s = w.speakers.get_mut(&2).unwrap();
        s.shutdown(&first, "", now).unwrap();
        w.pass(Duration::from_secs(60));
        assert!(w.fibs[&3].contains_key(&theirs) && !w.speakers[&2].is_restarting());
    }

    #[test]
    fn a_first_start_waits_for_nobody() {
        let mut w = World::new(configs());
        assert!(!w.speakers[&2].is_restarting());
        w.cut.push((1, 2));
        w.originate(2, NET);
        w.pass(Duration::from_secs(20));
        assert!(watched(&mut w));
    }

    /// Routers 1, 2 and 3; 1 goes away for longer than its restart time. What 3 has of its route then: communities.
    fn away_for_long(three_knows: bool) -> Option<Vec<String>> {
        let mut all = configs();
        for (n, config) in &mut all {
            for (_, near) in &mut config.neighbors {
                let near = std::sync::Arc::make_mut(near);
                for f in &mut near.session.families {
                    f.long_lived =
                        Duration::from_secs(if *n != 3 || three_knows { 1000 } else { 0 });
                }
            }
        }
        let mut w = World::new(all);
        w.originate(1, NET);
        w.pass(Duration::from_secs(30));
        let communities = |w: &mut World| {
            let (now, net) = (w.now, NET.parse().unwrap());
            let (family, wanted) = (Family::Ipv4Unicast, Wanted::Exactly(net));
            let s = w.speakers.get_mut(&3).unwrap();
            let page = s.routes(family, &wanted, &Side::Table, None, now).unwrap();
            let first = page.paths.first()?;
            let all = first.attrs.view().communities().map(|c| c.to_string());
            Some(all.collect::<Vec<_>>())
        };
        assert_eq!(communities(&mut w), Some(vec![]));
        w.cut.push((1, 2));
        w.break_wires(1, 2);
        w.pass(Duration::from_secs(110));
        assert_eq!(communities(&mut w), Some(vec![]), "its restart time runs");
        w.pass(Duration::from_secs(20));
        let there = communities(&mut w);
        // It is back: so is the route, without a mark.
        w.cut.clear();
        w.pass(Duration::from_secs(60));
        assert_eq!(communities(&mut w), Some(vec![]));
        there
    }

    #[test]
    fn what_is_stale_for_long_is_marked_for_who_knows_the_mark() {
        assert_eq!(away_for_long(true), Some(vec!["llgr-stale".to_owned()]));
        assert_eq!(away_for_long(false), None);
    }
}
