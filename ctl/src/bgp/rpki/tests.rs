//! A driver with caches that are written down here, on the loopback: good ones, and the kinds of bad ones.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use bgp::rpki::{Pdu, Timers, Vrp};
use bgp::types::Asn;

use super::super::tests::{Lab, are_up, config, free_port, neighbor, until};
use crate::request::BgpSide;

/// A cache whose answers the test writes.
struct Fake {
    listener: TcpListener,
    conn: Option<TcpStream>,
}

fn listen() -> Fake {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    Fake {
        listener,
        conn: None,
    }
}

fn octets_of(pdus: &[Pdu<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    pdus.iter().for_each(|p| p.encode(1, &mut out));
    out
}

fn vrp(prefix: &str, asn: u32) -> Vrp {
    Vrp {
        prefix: prefix.parse().unwrap(),
        max_len: 24,
        asn: Asn(asn),
    }
}

/// A whole set, or an increment of `announce` or not.
fn answer(serial: u32, payloads: &[(bool, Vrp)]) -> Vec<u8> {
    let mut all = vec![Pdu::CacheResponse { session: 9 }];
    all.extend(payloads.iter().map(|(announce, vrp)| Pdu::Prefix {
        announce: *announce,
        vrp: *vrp,
    }));
    all.push(Pdu::EndOfData {
        session: 9,
        serial,
        timers: Some(Timers::default()),
    });
    octets_of(&all)
}

impl Fake {
    fn name(&self) -> String {
        self.listener.local_addr().unwrap().to_string()
    }

    /// The first octets of the next query, if one came; the connection is taken then.
    fn query(&mut self) -> Option<Vec<u8>> {
        if let Ok((conn, _)) = self.listener.accept() {
            conn.set_nonblocking(true).unwrap();
            self.conn = Some(conn);
        }
        let mut buffer = [0; 64];
        match self.conn.as_mut()?.read(&mut buffer) {
            Ok(0) => None,
            Ok(n) => Some(buffer[..n].to_vec()),
            Err(e) if e.kind() == ErrorKind::WouldBlock => None,
            Err(_) => None,
        }
    }

    fn say(&mut self, octets: &[u8]) {
        self.conn.as_mut().unwrap().write_all(octets).unwrap();
    }
}

/// Two speakers; the first says two networks, and the second has those caches.
fn two(rpki: &str) -> (Lab, Lab) {
    on(free_port(), rpki)
}

fn on(port: u16, rpki: &str) -> (Lab, Lab) {
    let networks = "networks = [\"203.0.113.0/24\", \"198.51.100.0/24\"]\n";
    // An address of the loopback is no next hop of anybody's.
    let far = "[policy.far]\n[[policy.far.rule]]\nset = { next-hop = \"192.0.2.77\" }\naction = \"accept\"\n";
    let text = neighbor(1, 2, port, "").replace("export = \"accept-all\"", "export = \"far\"");
    let mut a = Lab::new(&config(1, port, &format!("{networks}{text}{far}")));
    let mut b = Lab::new(&second(port, rpki));
    until("both are up", &mut [&mut a, &mut b], are_up);
    until("the routes are there", &mut [&mut a, &mut b], |l| {
        l[1].routes(BgpSide::Table).len() == 2
    });
    (a, b)
}

fn second(port: u16, rpki: &str) -> String {
    let text = config(2, port, &neighbor(2, 1, port, ""));
    text.replace("import = \"accept-all\"", "import = \"reject-invalid\"") + rpki
}

fn cache(lab: &Lab, n: usize) -> api::RpkiCache {
    lab.driver
        .show_caches(Instant::now())
        .unwrap()
        .swap_remove(n)
}

/// What is said of a route, and whether the import policy has let it in.
fn state(lab: &mut Lab, prefix: &str) -> (String, u64) {
    let route = lab
        .routes(BgpSide::Table)
        .into_iter()
        .find(|r| r.prefix == prefix);
    let accepted = lab.neighbors()[0].accepted;
    (route.unwrap().rpki, accepted)
}

/// Turns until the cache is asked, and answers.
fn serve(lab: &mut Lab, cache: &mut Fake, with: &[u8]) -> Vec<u8> {
    let mut asked = None;
    until("the cache is asked", &mut [lab], |_| {
        asked = cache.query();
        asked.is_some()
    });
    cache.say(with);
    asked.unwrap()
}

#[test]
fn routes_follow_what_caches_say() {
    let mut fake = listen();
    let rpki = format!("[rpki]\ncache = \"{}\"\n", fake.name());
    let (mut a, mut b) = two(&rpki);
    let (x, y) = ("203.0.113.0/24", "198.51.100.0/24");
    assert_eq!(state(&mut b, x), ("not-found".into(), 2));
    let reset = octets_of(&[Pdu::ResetQuery]);
    let whole = answer(1, &[(true, vrp(x, 64_999)), (true, vrp(y, 64_512))]);
    // In pieces that end anywhere.
    assert_eq!(serve(&mut b, &mut fake, &whole[..21]), reset);
    until("it is receiving", &mut [&mut b], |l| {
        cache(l[0], 0).state == "receiving"
    });
    assert_eq!(state(&mut b, x).0, "not-found", "half of it is nothing");
    fake.say(&whole[21..]);
    until("one is rejected", &mut [&mut a, &mut b], |l| {
        l[1].neighbors()[0].accepted == 1
    });
    assert_eq!(state(&mut b, x), ("invalid".into(), 1));
    assert_eq!(state(&mut b, y), ("valid".into(), 1));
    let c = cache(&b, 0);
    assert_eq!(
        (c.state.as_str(), c.session, c.serial),
        ("synchronised", Some(9), Some(1))
    );
    assert_eq!((c.ipv4, c.ipv6, c.version, c.connections), (2, 0, 1, 1));
    assert!(c.expires_s.unwrap() > 7000.0 && c.error.is_empty(), "{c:?}");

    // It changes its mind, and only says what is new.
    let notify = Pdu::SerialNotify {
        session: 9,
        serial: 2,
    };
    fake.say(&octets_of(&[notify]));
    let increment = answer(
        2,
        &[
            (true, vrp(x, 64_512)),
            (false, vrp(y, 64_512)),
            (true, vrp(y, 1)),
        ],
    );
    let asked = serve(&mut b, &mut fake, &increment);
    let serial = Pdu::SerialQuery {
        session: 9,
        serial: 1,
    };
    assert_eq!(asked, octets_of(&[serial]));
    until("the other is rejected", &mut [&mut a, &mut b], |l| {
        let s = |l: &mut Lab, p| state(l, p).0;
        s(l[1], x) == "valid" && s(l[1], y) == "invalid" && l[1].neighbors()[0].accepted == 1
    });
    assert_eq!(b.neighbors()[0].established, 1, "no session was disturbed");

    // It goes. What it said counts until it is too old.
    drop(fake);
    until("its end is seen", &mut [&mut b], |l| {
        cache(l[0], 0).error.contains("closed")
    });
    assert_eq!(state(&mut b, y).0, "invalid");
    let later = Instant::now() + Duration::from_secs(7201);
    for _ in 0..100 {
        b.turn_at(later);
    }
    let c = cache(&b, 0);
    assert_eq!((c.ipv4, c.expires_s), (0, None));
}

#[test]
fn bad_caches_are_left_and_hold_nobody_up() {
    let mut all: Vec<Fake> = (0..6).map(|_| listen()).collect();
    let names: Vec<String> = all.iter().map(Fake::name).collect();
    let (mut a, mut b) = two(&format!("[rpki]\ncache = {names:?}\nretry = 600\n"));
    let header = |version: u8, kind: u8, len: u32| {
        let mut out = vec![version, kind, 0, 9];
        out.extend(len.to_be_bytes());
        out
    };
    // Noise; a PDU of 2 GB; another version; a whole set twice; half a PDU and silence; nothing at all.
    serve(&mut b, &mut all[0], b"HTTP/1.1 400 Bad Request\r\n\r\n");
    serve(&mut b, &mut all[1], &header(1, 4, 1 << 31));
    serve(&mut b, &mut all[2], &header(7, 3, 8));
    let twice = vrp("203.0.113.0/24", 1);
    serve(
        &mut b,
        &mut all[3],
        &answer(1, &[(true, twice), (true, twice)]),
    );
    serve(&mut b, &mut all[4], &answer(1, &[(true, twice)])[..11]);
    until("the last is asked, and says nothing", &mut [&mut b], |_| {
        all[5].query().is_some()
    });
    until("four are left", &mut [&mut a, &mut b], |l| {
        (0..4).all(|n| cache(l[1], n).state == "idle")
    });
    for (n, word) in [
        "Protocol Version",
        "Corrupt Data",
        "Protocol Version",
        "Duplicate",
    ]
    .into_iter()
    .enumerate()
    {
        let c = cache(&b, n);
        assert!(c.error.contains(word), "{n}: {c:?}");
        assert_eq!((c.ipv4, c.expires_s), (0, None), "{n}");
    }
    assert_eq!(cache(&b, 4).state, "receiving");
    let later = Instant::now() + Duration::from_secs(61);
    b.turn_at(later);
    for n in [4, 5] {
        let c = cache(&b, n);
        assert_eq!(
            (c.state.as_str(), c.error.as_str()),
            ("idle", "the cache is silent")
        );
    }
    assert_eq!(state(&mut b, "203.0.113.0/24"), ("not-found".into(), 2));
}

/// Who says more than can be read at once is read in pieces, and the session beside it goes on.
#[test]
fn a_flood_is_read_in_pieces() {
    let mut fake = listen();
    let (mut a, mut b) = two(&format!("[rpki]\ncache = \"{}\"\n", fake.name()));
    let mut all = vec![Pdu::CacheResponse { session: 9 }];
    all.extend((0..300_000_u32).map(|n| {
        Pdu::Prefix {
            announce: true,
            vrp: Vrp {
                prefix: format!("{}/32", std::net::Ipv4Addr::from(0x0b00_0000 + n))
                    .parse()
                    .unwrap(),
                max_len: 32,
                asn: Asn(n),
            },
        }
    }));
    let octets = octets_of(&all);
    serve(&mut b, &mut fake, &[]);
    let conn = fake.conn.take().unwrap();
    conn.set_nonblocking(false).unwrap();
    let sender = std::thread::spawn(move || {
        let mut conn = conn;
        conn.write_all(&octets).unwrap();
        conn
    });
    let mut between = 0;
    until("all is read", &mut [&mut a, &mut b], |l| {
        between += 1;
        cache(l[1], 0).coming == 300_000
    });
    assert!(between > 50, "{between} turns");
    let mut conn = sender.join().unwrap();
    let end = Pdu::EndOfData {
        session: 9,
        serial: 4,
        timers: Some(Timers::default()),
    };
    conn.write_all(&octets_of(&[end])).unwrap();
    until("it counts", &mut [&mut a, &mut b], |l| {
        cache(l[1], 0).ipv4 == 300_000
    });
    assert!(are_up(&mut [&mut a, &mut b]));
    assert_eq!(b.neighbors()[0].established, 1);
}

#[test]
fn the_next_is_asked_when_the_first_fails() {
    let (mut first, mut next) = (listen(), listen());
    let names = [first.name(), next.name()];
    let text = format!("[rpki]\ncache = {names:?}\nuse = \"first\"\n");
    let port = free_port();
    let (mut a, mut b) = on(port, &text);
    let x = "203.0.113.0/24";
    serve(&mut b, &mut first, &answer(1, &[(true, vrp(x, 64_512))]));
    until("it is valid", &mut [&mut a, &mut b], |l| {
        state(l[1], x).0 == "valid"
    });
    assert_eq!(cache(&b, 1).state, "reserve");
    // It hangs up: the next is asked. What the first said counts, too, until it comes back and says something else.
    first.conn = None;
    serve(
        &mut b,
        &mut next,
        &answer(1, &[(true, vrp(x, 1)), (true, vrp(x, 2))]),
    );
    until("both count", &mut [&mut b], |l| cache(l[0], 1).ipv4 == 2);
    assert_eq!(cache(&b, 0).ipv4, 1);
    let later = Instant::now() + Duration::from_secs(5);
    let deadline = Instant::now() + Duration::from_secs(20);
    while first.query().is_none() {
        assert!(Instant::now() < deadline, "it is not tried again");
        b.turn_at(later);
    }
    first.say(&answer(2, &[(false, vrp(x, 64_512)), (true, vrp(x, 3))]));
    while cache(&b, 1).state != "reserve" {
        assert!(
            Instant::now() < deadline,
            "the second goes on: {:?}",
            cache(&b, 1)
        );
        b.turn_at(later);
    }
    assert_eq!((cache(&b, 0).ipv4, cache(&b, 1).ipv4), (1, 0));
    // Another configuration: the first stays as it is, the other is gone.
    b.configure(&second(
        port,
        &format!(
            "[rpki]\ncache = \"{}\"\nexpire = 900\nrefresh = 30\nretry = 20\n",
            names[0]
        ),
    ))
    .unwrap();
    let all = b.driver.show_caches(Instant::now()).unwrap();
    assert_eq!((all.len(), all[0].ipv4, all[0].expire_s), (1, 1, 900));
    assert!(all[0].expires_s.unwrap() <= 905.0, "{:?}", all[0]);
    // None at all: nothing that was said counts.
    b.configure(&second(port, "")).unwrap();
    until("it is forgotten", &mut [&mut a, &mut b], |l| {
        state(l[1], x).0 == "not-found"
    });
    assert_eq!(b.neighbors()[0].established, 1);
    b.configure("").unwrap();
    until("it ends", &mut [&mut b], |l| {
        l[0].driver.show_caches(Instant::now()).is_err()
    });
}
