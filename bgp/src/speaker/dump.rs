//! The tables as MRT, page by page: RFC 6396 4.3, RFC 8050 4.
//!
//! A [`Dump`] knows how far it is; [`Speaker::dump`] goes on with it over a bounded number of prefixes, so that a table of any size
//! is written down while routes come and go. Each record is true when it is written; the dump as a whole is of no one
//! moment, as with every router that does not stop for it. Neighbours that come meanwhile are not in it.

use std::time::{Duration, Instant};

use ipnet::IpNet;

use super::Speaker;
use super::families::Ours;
use super::routes::OWN;
use super::show::LOOKED_AT;
use crate::mrt::{PeerEntry, PeerTable, RibEntry, peer_table, rib};

use crate::rib::{Route, V4, V6};
use crate::types::{Family, PeerId};

/// A dump that is being made.
#[derive(Clone, Debug)]
pub struct Dump {
    /// What is still to be written, the family at hand first.
    families: Vec<Family>,
    /// Routes as they came; else as the import policy left them, without those that it rejected.
    received: bool,
    /// Seconds since 1970 at its beginning.
    time: u32,
    /// The neighbours, by index; empty: they are not written yet.
    peers: Vec<(PeerId, PeerEntry)>,
    from: Option<IpNet>,
    sequence: u32,
}

impl Dump {
    /// Of these families; others than unicast are passed over. `received`: routes as they came, else as they are chosen from.
    /// `time`: since 1970.
    #[must_use]
    pub fn new(families: &[Family], received: bool, time: Duration) -> Self {
        let ours = |f: &&Family| matches!(f, Family::Ipv4Unicast | Family::Ipv6Unicast);
        Self {
            families: families.iter().filter(ours).copied().collect(),
            received,
            time: u32::try_from(time.as_secs()).unwrap_or(u32::MAX),
            peers: Vec::new(),
            from: None,
            sequence: 0,
        }
    }
}

impl Speaker {
    /// Appends the next whole records of a dump. True: there is more.
    pub fn dump(&mut self, dump: &mut Dump, now: Instant, out: &mut Vec<u8>) -> bool {
        if dump.peers.is_empty() {
            dump.peers = self.dumped_peers();
            let table = PeerTable {
                collector: self.core.gate.local.router_id.octets(),
                view: Vec::new(),
                peers: dump.peers.iter().map(|p| p.1).collect(),
            };
            peer_table(dump.time, &table, out);
        }
        match dump.families.first() {
            Some(Family::Ipv4Unicast) => self.dump_page::<V4>(dump, now, out),
            Some(_) => self.dump_page::<V6>(dump, now, out),
            None => {}
        }
        !dump.families.is_empty()
    }

    /// Who routes may be from: we ourselves, and every neighbour that has had a session.
    fn dumped_peers(&self) -> Vec<(PeerId, PeerEntry)> {
        let local = &self.core.gate.local;
        let id = local.router_id.octets();
        let us = PeerEntry {
            id,
            address: id.into(),
            asn: local.asn,
        };
        let sources = (0..).map(PeerId).zip(&self.core.gate.sources);
        let others = sources.filter_map(|(peer, source)| {
            let s = source.as_ref()?;
            let entry = PeerEntry {
                id: s.router_id.octets(),
                address: s.address,
                asn: s.rules.peer_as,
            };
            Some((peer, entry))
        });
        std::iter::once((OWN, us)).chain(others).collect()
    }

    fn dump_page<K: Ours>(&mut self, dump: &mut Dump, now: Instant, out: &mut Vec<u8>) {
        let table = K::table(&mut self.core.rib).0;
        let from = dump
            .from
            .take()
            .and_then(K::from_net)
            .map(crate::rib::Table::cursor);
        let mut found: Vec<Route<K>> = Vec::new();
        match table.walk(from, LOOKED_AT, |r| found.push(r)) {
            Some(next) => dump.from = Some(next.key().net()),
            None => {
                dump.families.remove(0);
            }
        }
        let clock = self.core.seconds(now);
        for route in &found {
            self.dump_prefix(dump, route, clock, out);
        }
    }

    fn dump_prefix<K: Ours>(
        &self,
        dump: &mut Dump,
        route: &Route<K>,
        clock: u32,
        out: &mut Vec<u8>,
    ) {
        let store = &self.core.rib.common.store;
        let index = |peer: PeerId| {
            let at = dump.peers.binary_search_by_key(&peer, |p| p.0).ok()?;
            // The slot may be another neighbour's by now.
            let same = match self.core.gate.source(peer) {
                Some(s) => s.address == dump.peers[at].1.address,
                None => peer == OWN,
            };
            u16::try_from(at).ok().filter(|_| same)
        };
        let entry = |p: &crate::rib::Path| {
            let attrs = if dump.received { Some(p.pre) } else { p.post };
            Some(RibEntry {
                peer: index(p.peer)?,
                originated: dump.time.saturating_sub(clock.saturating_sub(p.learnt)),
                path_id: p.path_id,
                attributes: store.view(attrs?),
            })
        };
        let entries: Vec<RibEntry<'_>> = route.paths.iter().filter_map(entry).collect();
        if entries.is_empty() {
            return;
        }
        let add_path = entries.iter().any(|e| e.path_id != 0);
        let net = route.key.net();
        let mut nlri = vec![net.prefix_len()];
        let used = usize::from(net.prefix_len().div_ceil(8));
        match net {
            IpNet::V4(n) => nlri.extend_from_slice(&n.addr().octets()[..used]),
            IpNet::V6(n) => nlri.extend_from_slice(&n.addr().octets()[..used]),
        }
        rib(
            dump.time,
            dump.sequence,
            (K::FAMILY, &nlri),
            add_path,
            &entries,
            out,
        );
        dump.sequence = dump.sequence.wrapping_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attrs::AttrBuf;
    use crate::mrt::{Entry, Record};
    use crate::speaker::tests::{address, chain};
    use crate::speaker::{Journal, PeerKey};
    use crate::types::Asn;
    use crate::wire::{Header, MAX, Update};

    const NOON: Duration = Duration::from_secs(1_700_000_000);

    /// Whole records, and nothing behind them.
    fn records(mut octets: &[u8]) -> Vec<Record<'_>> {
        let mut all = Vec::new();
        while let Some((r, rest)) = Record::parse(octets).unwrap() {
            all.push(r);
            octets = rest;
        }
        assert!(octets.is_empty());
        all
    }

    /// The attributes of a route as they are written, its prefix, whom it is from, and its path.
    type Read = (Vec<u8>, IpNet, u16, String);

    fn read(octets: &[u8]) -> (Vec<PeerEntry>, Vec<Read>) {
        let (mut peers, mut routes) = (Vec::new(), Vec::new());
        for (n, r) in records(octets).iter().enumerate() {
            assert_eq!(u64::from(r.seconds), NOON.as_secs());
            match Entry::parse(r).unwrap() {
                Entry::Peers(t) if n == 0 => peers = t.peers,
                Entry::Routes(p) => {
                    assert_eq!(p.sequence as usize, n - 1);
                    let net: IpNet = match p.nlri.family {
                        Family::Ipv4Unicast => p.nlri.ipv4().next().unwrap().1.into(),
                        _ => p.nlri.ipv6().next().unwrap().1.into(),
                    };
                    for route in p.routes {
                        let route = route.unwrap();
                        let mut buf = AttrBuf::new();
                        assert!(route.canonical(&mut buf));
                        let path = buf.view().as_path().to_string();
                        routes.push((route.attributes.to_vec(), net, route.peer, path));
                    }
                }
                other => panic!("{other:?}"),
            }
        }
        (peers, routes)
    }

    fn dumped(s: &mut Speaker, received: bool, now: Instant) -> Vec<u8> {
        let all = [Family::Ipv4Unicast, Family::Ipv6Unicast];
        let (mut dump, mut out) = (Dump::new(&all, received, NOON), Vec::new());
        while s.dump(&mut dump, now, &mut out) {}
        out
    }

    #[test]
    fn the_tables_are_written_in_pages() {
        let mut w = chain();
        // More than a page, and a family for itself.
        for i in 0..1100_u32 {
            w.originate(1, &format!("10.{}.{}.0/24", i >> 8, i & 255));
        }
        w.originate(3, "10.0.0.0/24");
        w.originate(2, "2001:db8:1::/48");
        w.pass(Duration::from_secs(30));
        let now = w.now;
        let s = w.speakers.get_mut(&2).unwrap();
        let octets = dumped(s, false, now);
        let (peers, routes) = read(&octets);
        let known: Vec<_> = peers.iter().map(|p| (p.address, p.asn.0)).collect();
        assert_eq!(
            known,
            [
                (address(2).into(), 200),
                (address(1).into(), 100),
                (address(3).into(), 300)
            ]
        );
        assert_eq!(routes.len(), 1102);
        let of = |net: &str| -> Vec<_> {
            let net: IpNet = net.parse().unwrap();
            let all = routes.iter().filter(|r| r.1 == net);
            all.map(|r| (r.2, r.3.as_str())).collect()
        };
        assert_eq!(of("10.0.0.0/24"), [(1, "100"), (2, "300")]);
        assert_eq!(of("10.4.75.0/24"), [(1, "100")]);
        assert_eq!(of("2001:db8:1::/48"), [(0, "")]);
    }

    #[test]
    fn what_policy_rejects_is_among_what_came_alone() {
        let mut w = chain();
        w.originate(1, "10.0.0.0/24");
        w.pass(Duration::from_secs(30));
        let now = w.now;
        let s = w.speakers.get_mut(&2).unwrap();
        let mut config = s.config.clone();
        for (_, n) in &mut config.neighbors {
            let mut other = crate::speaker::Neighbor::clone(n);
            other.import = None;
            *n = other.into();
        }
        s.reconfigure(config, now);
        w.settle();
        let s = w.speakers.get_mut(&2).unwrap();
        assert_eq!(read(&dumped(s, false, now)).1.len(), 0);
        let octets = dumped(s, true, now);
        let routes = read(&octets).1;
        assert_eq!(routes.len(), 1);
        // NEXT_HOP is there (RFC 6396 4.3.4).
        let hop = [&[0x40, 3, 4][..], &address(1).octets()].concat();
        assert!(routes[0].0.windows(7).any(|w| w == hop));
    }

    #[test]
    fn the_journal_has_what_came_and_says_what_it_has_not() {
        let mut w = chain();
        let (now, journal) = (w.now, Some(Journal::new(1000)));
        let s = w.speakers.get_mut(&2).unwrap();
        s.set_time(now, NOON);
        assert!(s.keep_journal(journal).is_none());
        w.originate(1, "10.0.0.0/24");
        w.pass(Duration::from_secs(30));
        let s = w.speakers.get_mut(&2).unwrap();
        let octets = s.journal().unwrap().take();
        let (mut updates, mut ups) = (Vec::new(), Vec::new());
        for r in records(&octets) {
            let late = u64::from(r.seconds) - NOON.as_secs();
            assert!(late <= 30, "{late}");
            match Entry::parse(&r).unwrap() {
                Entry::State(m, 5, 6) => ups.push((m.peer, m.peer_as, m.local, m.local_as)),
                Entry::Message(m) => {
                    let header = Header::parse(m.octets, MAX).unwrap().unwrap();
                    assert_eq!(usize::from(header.len), m.octets.len());
                    let context = m.context();
                    let u = Update::parse(&m.octets[19..], &context).unwrap();
                    let nets = u.reach().flat_map(|r| r.nlri.ipv4().collect::<Vec<_>>());
                    updates.extend(nets.map(|(_, net)| (m.peer, net.to_string())));
                }
                other => panic!("{other:?}"),
            }
        }
        ups.sort();
        let up = |n, asn| (address(n).into(), Asn(asn), address(2).into(), Asn(200));
        assert_eq!(ups, [up(1, 100), up(3, 300)]);
        assert_eq!(updates, [(address(1).into(), "10.0.0.0/24".to_owned())]);
        // A thousand octets hold no more than twenty of these.
        for i in 0..100 {
            w.originate(1, &format!("10.1.{i}.0/24"));
            w.settle();
        }
        w.break_wires(1, 2);
        let s = w.speakers.get_mut(&2).unwrap();
        let journal = s.journal().unwrap();
        let (written, dropped) = journal.counts();
        assert!(dropped > 50 && journal.len() <= 1000, "{written} {dropped}");
        let there = journal.take();
        assert!(records(&there).len() > 5);
        let s = w.speakers.get_mut(&2).unwrap();
        s.shutdown(&PeerKey::Address(address(3).into(), None), "", now)
            .unwrap();
        let left = s.keep_journal(None).unwrap().take();
        let all = records(&left);
        let last = Entry::parse(all.last().unwrap()).unwrap();
        assert!(matches!(last, Entry::State(_, 6, 1)), "{last:?}");
    }
}
