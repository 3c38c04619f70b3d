//! A seeded run with mutations, the same each time; and captures from elsewhere, if they are given.

use super::*;
use crate::types::RouterId;
use crate::wire::{Capabilities, GracefulRestart, LongLived, Refresh, RouteRefresh, end_of_rib};

/// Messages of every kind, each right, behind the octet that says how to read them: what mutations start from.
fn seeds() -> Vec<Vec<u8>> {
    let all = FamilySet::from_iter(Family::ALL);
    let open = Open {
        asn: Asn(4_200_000_000),
        hold_time: 90,
        id: RouterId::new([192, 0, 2, 1].into()).unwrap(),
        capabilities: Capabilities {
            families: all,
            route_refresh: true,
            as4: Some(Asn(4_200_000_000)),
            graceful_restart: Some(GracefulRestart {
                families: all,
                forwarding: all,
                ..GracefulRestart::default()
            }),
            long_lived: Some(vec![LongLived {
                family: Family::Vpnv4,
                forwarding: true,
                time: 7,
            }]),
            add_path_send: all,
            ext_next_hop: FamilySet::from_iter([Family::Ipv4Unicast]),
            unknown: vec![(200, vec![1; 200])],
            ..Capabilities::default()
        },
    };
    let mut seeds = Vec::new();
    let mut add = |how: u8, emit: &dyn Fn(&mut Vec<u8>)| {
        let mut m = vec![how];
        emit(&mut m);
        seeds.push(m);
    };
    add(0, &|o| open.emit(o));
    add(0, &|o| {
        Notification::shutdown("back at five").hard().emit(o)
    });
    add(0, &|o| Message::Keepalive.emit(o));
    add(0, &|o| {
        RouteRefresh::new(Family::Vpnv6, Refresh::Begin).emit(o);
    });
    for family in Family::ALL {
        add(4, &|o| end_of_rib(family, o));
    }
    for body in update_bodies() {
        for how in [0, 1, 2, 4, 5, 6, 4 | 16, 4 | 32 | 64, 255] {
            add(how, &|o| Message::Update(&body).emit(o));
        }
    }
    seeds
}

/// Bodies with every attribute, NLRI of every family, and both places for IPv4.
fn update_bodies() -> Vec<Vec<u8>> {
    #[rustfmt::skip]
    let attrs: Vec<u8> = [
        &[0x40, 1, 1, 0, 0x40, 2, 10, 2, 2, 0, 0, 0xfd, 0xe9, 0, 3, 0, 1][..],
        &[0x40, 3, 4, 192, 0, 2, 1, 0x80, 4, 4, 0, 0, 0, 1, 0x40, 5, 4, 0, 0, 0, 100, 0x40, 6, 0],
        &[0xc0, 7, 8, 0, 0, 0xfd, 0xe9, 192, 0, 2, 9, 0xc0, 8, 8, 0, 1, 0, 2, 0xff, 0xff, 0xff, 1],
        &[0x80, 9, 4, 1, 1, 1, 1, 0x80, 10, 4, 2, 2, 2, 2, 0xc0, 16, 8, 0, 2, 0, 1, 0, 0, 0, 1],
        &[0xd0, 32, 0, 12, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0xc0, 35, 4, 0, 0, 0, 1],
        &[0xc0, 40, 21, 1, 0, 7, 0, 0, 0, 0, 0, 0, 7, 3, 0, 8, 0, 0, 0, 0x3e, 0x80, 0, 0x1f, 0x40, 0xe0, 99, 1, 9],
    ].concat();
    let short: Vec<u8> = [
        &[0x40, 1, 1, 0, 0x40, 2, 6, 2, 2, 0xfd, 0xe9, 0x5b, 0xa0][..],
        &[
            0x40, 3, 4, 192, 0, 2, 1, 0xc0, 7, 6, 0x5b, 0xa0, 192, 0, 2, 9,
        ],
        &[
            0xc0, 17, 6, 2, 1, 0, 3, 0, 1, 0xc0, 18, 8, 0, 3, 0, 1, 192, 0, 2, 9,
        ],
    ]
    .concat();
    let mut all = Vec::new();
    let mut body = |withdrawn: &[u8], attrs: &[u8], nlri: &[u8]| {
        let len = |o: &[u8]| (o.len() as u16).to_be_bytes();
        all.push([&len(withdrawn), withdrawn, &len(attrs), attrs, nlri].concat());
    };
    let nets = [24, 192, 0, 2, 0, 9, 10, 128, 32, 1, 2, 3, 4];
    body(&nets, &attrs, &nets);
    body(&[], &short, &nets);
    body(&[0, 0, 0, 9, 8, 10], &attrs, &[0, 0, 0, 7, 24, 192, 0, 2]);
    let labelled = [
        &[48, 0, 6, 0x41, 192, 0, 2][..],
        &[56, 0, 6, 0x40, 0, 0x0c, 0x81, 10],
    ]
    .concat();
    let vpn = [112, 0, 6, 0x41, 0, 0, 0xfc, 0, 0, 0, 0, 1, 192, 0, 2];
    let target = [0, 96, 0, 0, 0xfc, 0, 0, 2, 0xfc, 0, 0, 0, 0, 1];
    let flow = [8, 1, 24, 192, 0, 2, 3, 0x81, 6, 3, 5, 0x81, 25];
    let flow6 = [
        13, 1, 48, 16, 1, 2, 3, 4, 13, 0xa1, 0, 1, 2, 3, 3, 5, 0x81, 25,
    ];
    let six = [32, 0x20, 1, 0x0d, 0xb8, 0, 35, 0x20, 1, 0x0d, 0xb8, 0xe0];
    for family in Family::ALL {
        let (afi, safi) = family.code();
        let (hop, nlri): (usize, &[u8]) = match family {
            Family::Ipv4Unicast => (4, &nets),
            Family::Ipv6Unicast => (32, &six),
            Family::Ipv4Labeled => (4, &labelled),
            Family::Ipv6Labeled => (16, &labelled),
            Family::Vpnv4 => (12, &vpn),
            Family::Vpnv6 => (24, &vpn),
            Family::RouteTarget => (4, &target),
            Family::Ipv4Flow => (0, &flow),
            Family::Ipv6Flow => (0, &flow6),
            Family::Vpnv4Flow => (0, &[11, 0, 0, 0, 0, 0, 0, 0, 1, 3, 0x81, 6]),
            Family::Vpnv6Flow => (0, &[11, 0, 0, 0, 0, 0, 0, 0, 1, 13, 0x81, 6]),
        };
        let front = [afi.to_be_bytes()[0], afi.to_be_bytes()[1], safi];
        let value = [&front[..], &[hop as u8], &[32; 48][..hop], &[0], nlri].concat();
        let reach = [&[0x80, 14, value.len() as u8][..], &value].concat();
        let value = [&front[..], nlri].concat();
        let unreach = [&[0x80, 15, value.len() as u8][..], &value].concat();
        body(&[], &[&reach[..], &attrs].concat(), &[]);
        body(&[], &unreach, &[]);
        body(&[], &[&reach[..], &attrs, &unreach].concat(), &nets);
    }
    all
}

/// xorshift64: the same run each time.
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % n.max(1)
    }
}

fn mutate(rng: &mut Rng, m: &mut Vec<u8>) {
    const EDGES: [u8; 12] = [0, 1, 2, 3, 4, 14, 15, 32, 33, 0x7f, 0x80, 0xff];
    for _ in 0..=rng.below(4) {
        let at = rng.below(m.len());
        match rng.below(6) {
            0 => m.truncate(at.max(1)),
            1 => m.insert(at, EDGES[rng.below(EDGES.len())]),
            2 => m.extend_from_within(at..),
            3 => _ = m.get_mut(at).map(|b| *b ^= 1 << rng.below(8)),
            4 => _ = m.get_mut(at).map(|b| *b = rng.below(256) as u8),
            _ => _ = m.get_mut(at).map(|b| *b = EDGES[rng.below(EDGES.len())]),
        }
    }
    m.truncate(3000);
    // Most mutations hit what is behind the header: let the header be right again, as most senders have it.
    if m.len() > HEADER && rng.below(8) > 0 {
        let len = (m.len() - 1) as u16;
        m[1..17].fill(0xff);
        m[17..19].copy_from_slice(&len.to_be_bytes());
    }
}

#[test]
fn a_seeded_run_with_mutations() {
    let seeds = seeds();
    let mut rng = Rng(0x5eed_2026);
    for s in &seeds {
        for n in 0..=s.len() {
            messages(&s[..n]);
        }
    }
    for _ in 0..2_000_000 {
        let mut m = seeds[rng.below(seeds.len())].clone();
        mutate(&mut rng, &mut m);
        messages(&m);
        if m.get(19) == Some(&1) {
            open(m.get(HEADER + 1..).unwrap_or_default());
        }
    }
}

#[test]
fn a_seeded_run_over_nlri_of_every_family() {
    let mut seeds: Vec<Vec<u8>> = Vec::new();
    for body in update_bodies() {
        let ctx = context(4 | 1);
        let Ok(u) = Update::parse(&body, &ctx) else {
            continue;
        };
        for n in u.unreach().chain(u.reach().map(|r| r.nlri)) {
            let which = Family::ALL.iter().position(|f| *f == n.family).unwrap();
            seeds.push([&[4 | 1, which as u8], n.octets].concat());
        }
    }
    let all: std::collections::BTreeSet<u8> = seeds.iter().map(|s| s[1]).collect();
    assert_eq!(all.len(), Family::ALL.len(), "a family has no seed");
    let mut rng = Rng(0x5eed_2028);
    for _ in 0..400_000 {
        let mut m = seeds[rng.below(seeds.len())].clone();
        for _ in 0..rng.below(3) {
            mutate(&mut rng, &mut m);
        }
        nlri(&m);
    }
}

#[test]
fn a_seeded_run_over_what_a_cache_says() {
    let mut rng = Rng(0x5eed_2029);
    let mut filled = 0;
    for _ in 0..100_000 {
        let n = rng.below(160);
        // A connection, and the answer to the first query, more often than chance would have it.
        let mut m = match rng.below(4) {
            0 => vec![],
            _ => vec![5, 5, 0, 0],
        };
        m.extend((0..n).map(|_| rng.below(256) as u8));
        filled += u64::from(rtr(&m) > 0);
    }
    assert!(filled > 100, "{filled} programs filled the table");
}

/// MRT around the same messages, and a dump with the same attributes.
#[test]
fn a_seeded_run_with_mutations_over_mrt() {
    let mut seeds: Vec<Vec<u8>> = Vec::new();
    let (peer, local) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
    for s in self::seeds() {
        let mut out = Vec::new();
        let m = mrt::Message {
            peer_as: Asn(65001),
            local_as: Asn(65002),
            interface: 0,
            peer,
            local,
            as4: s[0] & 4 != 0,
            add_path: s[0] & 16 != 0,
            sent: false,
            octets: &s[1..],
        };
        mrt::message(7, &m, &mut out);
        mrt::state_change(8, &m, (5, 6), &mut out);
        seeds.push(out);
    }
    let peers = vec![
        mrt::PeerEntry {
            id: [1; 4],
            address: peer,
            asn: Asn(65001)
        };
        3
    ];
    let table = mrt::PeerTable {
        collector: [9; 4],
        view: b"x".to_vec(),
        peers,
    };
    let body = &update_bodies()[0];
    let u = Update::parse(body, &context(4 | 1)).unwrap();
    let mut buf = AttrBuf::new();
    u.canonical(&mut buf);
    let route = |path_id| mrt::RibEntry {
        peer: 1,
        originated: 6,
        path_id,
        attributes: buf.view(),
    };
    for (family, nlri) in [
        (Family::Ipv4Unicast, &[24, 192, 0, 2][..]),
        (Family::Vpnv4, &[88, 0, 6, 0x41, 0, 0, 0, 0, 0, 0, 0, 1]),
    ] {
        let mut out = Vec::new();
        mrt::peer_table(1, &table, &mut out);
        mrt::rib(2, 0, (family, nlri), false, &[route(0), route(0)], &mut out);
        mrt::rib(2, 1, (family, nlri), true, &[route(1), route(2)], &mut out);
        assert_eq!(mrt(&out), 4, "{family}");
        seeds.push(out);
    }
    let mut rng = Rng(0x5eed_2027);
    for _ in 0..200_000 {
        let mut m = seeds[rng.below(seeds.len())].clone();
        let keep: [u8; 12] = *m.first_chunk().unwrap();
        mutate(&mut rng, &mut m);
        // The record's own header stays, but for the length.
        if m.len() > 12 && rng.below(8) > 0 {
            let len = m.len() as u32 - 12;
            m[..8].copy_from_slice(&keep[..8]);
            m[8..12].copy_from_slice(&len.to_be_bytes());
        }
        mrt(&m);
    }
}

/// The seeds are what they claim to be: none of them is malformed in the context that it was made for.
#[test]
fn the_seeds_are_good_messages() {
    for s in seeds() {
        let h = Header::parse(&s[1..], MAX_EXTENDED).unwrap().unwrap();
        assert_eq!(usize::from(h.len), s.len() - 1);
        let m = Message::parse(h.kind, &s[1 + HEADER..]).unwrap();
        if let (5, Message::Update(body)) = (s[0], m) {
            let good = Update::parse(body, &context(5)).map(|u| u.action());
            // But for those with AS numbers of two octets or path identifiers.
            if good != Ok(None) {
                assert!(
                    body.starts_with(&[0, 6]) || body.contains(&17),
                    "{good:?} {body:?}"
                );
            }
        }
    }
}
