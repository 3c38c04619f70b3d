//! Stations that believe what they are told, and what they should.

use std::time::Duration;

use super::*;
use crate::speaker::tests::{World, address, chain};
use crate::speaker::{Neighbor, PeerKey};
use crate::wire::{Header, Kind, MAX_EXTENDED, Update};

/// A station: what it believes by what it was told.
#[derive(Default)]
struct Station {
    /// By table, whose, and prefix: the path.
    routes: BTreeMap<(u8, IpAddr, IpNet), String>,
    up: BTreeMap<(u8, IpAddr), (u32, usize)>,
    ends: Vec<(u8, IpAddr, Family)>,
    downs: Vec<(IpAddr, u8)>,
    statistics: usize,
}

impl Station {
    /// Takes whole messages.
    fn hear(&mut self, mut octets: &[u8]) {
        while !octets.is_empty() {
            let len = u32::from_be_bytes(octets[1..5].try_into().unwrap()) as usize;
            let (message, rest) = octets.split_at(len);
            assert_eq!(message[0], 3);
            self.message(message[5], &message[6..48], &message[48..]);
            octets = rest;
        }
    }

    fn message(&mut self, kind: u8, head: &[u8], body: &[u8]) {
        // 0: as it came, 1: after policy, 3: Loc-RIB.
        let table = match (head[0], head[1]) {
            (3, 0) => 3,
            (0, 0) => 0,
            (0, 0x40) => 1,
            other => panic!("{other:?}"),
        };
        let who = if table == 3 {
            assert_eq!(head[10..26], [0; 16]);
            IpAddr::from([0; 4])
        } else {
            let a: [u8; 4] = head[22..26].try_into().unwrap();
            a.into()
        };
        let time = u32::from_be_bytes(head[34..38].try_into().unwrap());
        assert!((900..5000).contains(&time), "{time}");
        let session = (if table == 3 { 3 } else { 0 }, who);
        match kind {
            0 => {
                assert!(self.up.contains_key(&session), "a route of nobody");
                self.update(table, who, body);
            }
            1 => self.statistics += 1,
            2 => {
                assert!(self.up.remove(&session).is_some());
                self.downs.push((who, body[0]));
                self.routes
                    .retain(|k, _| (k.0 == 3, k.1) != (table == 3, who));
            }
            3 => {
                let asn = u32::from_be_bytes(head[26..30].try_into().unwrap());
                let mut opens = &body[20..];
                for _ in 0..2 {
                    let h = Header::parse(opens, MAX_EXTENDED).unwrap().unwrap();
                    assert_eq!(h.kind, Kind::Open);
                    Open::parse(&opens[HEADER..h.len.into()]).unwrap();
                    opens = &opens[h.len.into()..];
                }
                assert_eq!(
                    opens,
                    if table == 3 {
                        &b"\0\x03\0\x06global"[..]
                    } else {
                        b""
                    }
                );
                assert!(self.up.insert(session, (asn, body.len())).is_none());
            }
            other => panic!("type {other}"),
        }
    }

    fn update(&mut self, table: u8, who: IpAddr, message: &[u8]) {
        let h = Header::parse(message, MAX_EXTENDED).unwrap().unwrap();
        assert_eq!(usize::from(h.len), message.len());
        let all = FamilySet::from_iter(Family::ALL);
        let context = Context::new(Relation::Internal, all);
        let u = Update::parse(&message[HEADER..], &context).unwrap();
        self.ends
            .extend(u.end_of_rib().into_iter().map(|f| (table, who, f)));
        let nets = |n: &Nlri<'_>| -> Vec<IpNet> {
            match n.family {
                Family::Ipv4Unicast => n.ipv4().map(|(_, n)| n.into()).collect(),
                _ => n.ipv6().map(|(_, n)| n.into()).collect(),
            }
        };
        for nlri in u.unreach() {
            for net in nets(&nlri) {
                self.routes.remove(&(table, who, net));
            }
        }
        let mut buf = crate::attrs::AttrBuf::new();
        u.canonical(&mut buf);
        for reach in u.reach() {
            for net in nets(&reach.nlri) {
                let path = buf.view().as_path().to_string();
                self.routes.insert((table, who, net), path);
            }
        }
    }

    /// What it has of a table and a neighbour.
    fn of(&self, table: u8, who: u8) -> Vec<(String, &str)> {
        let who = if table == 3 {
            [0; 4].into()
        } else {
            IpAddr::from(address(who))
        };
        let mine = self
            .routes
            .iter()
            .filter(|(k, _)| (k.0, k.1) == (table, who));
        mine.map(|(k, path)| (k.2.to_string(), path.as_str()))
            .collect()
    }
}

const ALL: Monitored = Monitored {
    pre: true,
    post: true,
    local: true,
};

fn begin(w: &mut World, what: Monitored, most: usize) -> FeedId {
    let now = w.now;
    let s = w.speakers.get_mut(&2).unwrap();
    s.set_time(now, Duration::from_secs(1000));
    s.begin_feed(what, most)
}

fn listen(w: &mut World, id: FeedId, station: &mut Station) {
    let now = w.now;
    let s = w.speakers.get_mut(&2).unwrap();
    loop {
        let mut out = Vec::new();
        let more = s.feed(id, 1, now, &mut out);
        station.hear(&out);
        if !more {
            return;
        }
    }
}

/// The station believes what the tables of router 2 have.
fn agrees(w: &mut World, station: &Station) {
    let s = w.speakers.get_mut(&2).unwrap();
    let mut want = BTreeMap::new();
    wanted(s, &s.core.rib.v4, station, &mut want);
    wanted(s, &s.core.rib.v6, station, &mut want);
    let lacks = want
        .iter()
        .filter(|(k, v)| station.routes.get(k) != Some(v));
    let lacks: Vec<_> = lacks.take(3).collect();
    let more = station.routes.iter().filter(|(k, _)| !want.contains_key(k));
    let more: Vec<_> = more.take(3).collect();
    assert!(
        lacks.is_empty() && more.is_empty(),
        "it lacks {lacks:?} and has {more:?}"
    );
}

fn wanted<K: Fed>(
    s: &Speaker,
    table: &Table<K>,
    station: &Station,
    want: &mut BTreeMap<(u8, IpAddr, IpNet), String>,
) {
    let path = |a: AttrId| s.core.rib.common.store.view(a).as_path().to_string();
    table.walk(None, usize::MAX, |r| {
        let net = r.key.net();
        for p in &r.paths {
            let who = s.core.gate.source(p.peer).map(|s| s.address);
            let Some(who) = who.filter(|a| station.up.contains_key(&(0, *a))) else {
                continue;
            };
            want.insert((0, who, net), path(p.pre));
            if let Some(post) = p.post {
                want.insert((1, who, net), path(post));
            }
        }
        if let Some(p) = r.paths.first().filter(|_| r.best) {
            want.insert((3, [0; 4].into(), net), path(p.post.unwrap()));
        }
    });
}

fn busy() -> World {
    let mut w = chain();
    for i in 0..300 {
        w.originate(1, &format!("10.{}.{}.0/24", i >> 8, i & 255));
    }
    w.originate(3, "10.0.0.0/24");
    w.originate(1, "2001:db8:1::/48");
    w.originate(2, "198.51.100.0/24");
    w.pass(Duration::from_secs(30));
    w
}

#[test]
fn a_station_is_told_what_is_there_and_then_what_changes() {
    let mut w = busy();
    let (id, mut station) = (begin(&mut w, ALL, 1000), Station::default());
    listen(&mut w, id, &mut station);
    agrees(&mut w, &station);
    let asns: Vec<_> = station.up.iter().map(|(k, v)| (k.0, k.1, v.0)).collect();
    let peer = |n| IpAddr::from(address(n));
    assert_eq!(
        asns,
        [
            (0, peer(1), 100),
            (0, peer(3), 300),
            (3, [0; 4].into(), 200)
        ]
    );
    assert_eq!((station.of(0, 1).len(), station.of(1, 1).len()), (301, 301));
    assert_eq!(station.of(0, 3), [("10.0.0.0/24".to_owned(), "300")]);
    assert_eq!(station.of(3, 0).len(), 302);
    // Both tables of both neighbours, and Loc-RIB, in both families.
    station.ends.sort();
    station.ends.dedup();
    assert_eq!(station.ends.len(), 10, "{:?}", station.ends);
    let view = w.speakers[&2].feed_view(id);
    assert!(view.complete && view.waiting == 0 && view.resyncs == 0);
    // Routes come, go and change.
    let net = |t: &str| t.parse::<IpNet>().unwrap();
    let one = w.speakers.get_mut(&1).unwrap();
    one.withdraw_own(net("10.0.0.0/24"));
    one.withdraw_own(net("10.0.7.0/24"));
    w.originate(1, "203.0.113.0/24");
    w.originate(3, "2001:db8:1::/48");
    w.settle();
    listen(&mut w, id, &mut station);
    agrees(&mut w, &station);
    assert_eq!(station.of(0, 1).len(), 300);
    assert!(
        station
            .of(3, 0)
            .contains(&("10.0.0.0/24".to_owned(), "300"))
    );
    // Another policy: nothing of it is used, all of it is still there as it came.
    let now = w.now;
    let s = w.speakers.get_mut(&2).unwrap();
    let mut config = s.config.clone();
    for (key, n) in &mut config.neighbors {
        if *key == PeerKey::Address(address(1).into(), None) {
            let mut other = Neighbor::clone(n);
            other.import = None;
            *n = other.into();
        }
    }
    s.reconfigure(config, now);
    w.settle();
    listen(&mut w, id, &mut station);
    agrees(&mut w, &station);
    assert_eq!((station.of(0, 1).len(), station.of(1, 1).len()), (300, 0));
    let mut out = Vec::new();
    w.speakers
        .get_mut(&2)
        .unwrap()
        .feed_statistics(id, now, &mut out);
    station.hear(&out);
    assert_eq!(station.statistics, 3);
}

#[test]
fn sessions_go_down_and_come_up_with_what_is_left() {
    let mut w = busy();
    let (id, mut station) = (begin(&mut w, ALL, 1000), Station::default());
    listen(&mut w, id, &mut station);
    // It is away for a while, and what it said is kept: the station hears that it is away.
    w.cut.push((1, 2));
    w.break_wires(1, 2);
    w.settle();
    listen(&mut w, id, &mut station);
    assert_eq!(station.downs, [(address(1).into(), 4)]);
    assert_eq!((station.of(0, 1).len(), station.of(3, 0).len()), (0, 302));
    agrees(&mut w, &station);
    let net: IpNet = "10.0.7.0/24".parse().unwrap();
    w.speakers.get_mut(&1).unwrap().withdraw_own(net);
    w.cut.clear();
    w.pass(Duration::from_secs(60));
    listen(&mut w, id, &mut station);
    agrees(&mut w, &station);
    assert_eq!(station.of(0, 1).len(), 300);
    let key = PeerKey::Address(address(3).into(), None);
    let now = w.now;
    let s = w.speakers.get_mut(&2).unwrap();
    s.shutdown(&key, "bye", now).unwrap();
    w.settle();
    listen(&mut w, id, &mut station);
    agrees(&mut w, &station);
    assert_eq!(station.downs.last(), Some(&(address(3).into(), 1)));
}

#[test]
fn who_does_not_listen_is_told_anew_and_costs_no_more() {
    let mut w = busy();
    let (id, mut station) = (begin(&mut w, ALL, 100), Station::default());
    listen(&mut w, id, &mut station);
    for round in 0..20 {
        for i in 0..50 {
            w.originate(1, &format!("172.16.{i}.{}/32", round + 1));
        }
        w.settle();
        let view = w.speakers[&2].feed_view(id);
        assert!(view.waiting <= 100, "{view:?}");
    }
    let view = w.speakers[&2].feed_view(id);
    assert!(view.resyncs > 0 && !view.complete, "{view:?}");
    listen(&mut w, id, &mut station);
    agrees(&mut w, &station);
    assert_eq!(station.of(0, 1).len(), 1301);
    let codes: BTreeSet<u8> = station.downs.iter().map(|d| d.1).collect();
    assert_eq!(codes, [5, 6].into());
    // A route that flaps waits once.
    for _ in 0..500 {
        let net: IpNet = "10.0.7.0/24".parse().unwrap();
        w.speakers.get_mut(&1).unwrap().withdraw_own(net);
        w.settle();
        w.originate(1, "10.0.7.0/24");
        w.settle();
    }
    assert!(w.speakers[&2].feed_view(id).waiting <= 2);
    listen(&mut w, id, &mut station);
    agrees(&mut w, &station);
    w.speakers.get_mut(&2).unwrap().end_feed(id);
    assert!(!w.speakers[&2].core.feeds.any());
}

#[test]
fn a_station_that_wants_little_is_told_little() {
    let mut w = busy();
    let local = Monitored {
        local: true,
        ..Monitored::default()
    };
    let (id, mut station) = (begin(&mut w, local, 1000), Station::default());
    listen(&mut w, id, &mut station);
    assert_eq!((station.up.len(), station.of(3, 0).len()), (1, 302));
    w.break_wires(1, 2);
    w.originate(2, "192.0.2.0/24");
    w.settle();
    listen(&mut w, id, &mut station);
    assert!(station.downs.is_empty());
    assert!(station.of(3, 0).contains(&("192.0.2.0/24".to_owned(), "")));
}
