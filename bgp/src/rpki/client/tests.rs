//! A client against a cache that is written down here, in virtual time.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::super::pdu::Pdu;
use super::*;
use crate::types::Asn;

fn vrp(n: u32) -> Vrp {
    let prefix = if n.is_multiple_of(3) {
        format!("2001:db8:{n:x}::/48")
    } else {
        format!("10.{}.{}.0/24", n / 256, n % 256)
    };
    Vrp {
        prefix: prefix.parse().unwrap(),
        max_len: if n.is_multiple_of(3) { 64 } else { 28 },
        asn: Asn(64500 + n % 7),
    }
}

/// A cache as RFC 8210 8 has it, with a history of what it said at each serial.
struct Cache {
    version: u8,
    session: u16,
    serial: u32,
    history: BTreeMap<u32, BTreeSet<u32>>,
    timers: Timers,
}

impl Cache {
    fn new(version: u8) -> Self {
        Self {
            version,
            session: 7,
            serial: 1,
            history: BTreeMap::from([(1, (0..50).collect())]),
            timers: Timers::default(),
        }
    }

    fn now(&self) -> &BTreeSet<u32> {
        &self.history[&self.serial]
    }

    fn becomes(&mut self, set: BTreeSet<u32>) {
        self.serial += 1;
        self.history.insert(self.serial, set);
    }

    fn pdus(&self, all: &[Pdu<'_>]) -> Vec<u8> {
        let mut out = Vec::new();
        all.iter().for_each(|p| p.encode(self.version, &mut out));
        out
    }

    /// What it answers to octets of the client.
    fn answer(&self, octets: &[u8]) -> Vec<u8> {
        let (version, pdu, len) = Pdu::decode(octets).unwrap().unwrap();
        assert_eq!(len, octets.len());
        if version > self.version {
            return self.pdus(&[Pdu::ErrorReport {
                code: 4,
                pdu: octets,
                text: b"",
            }]);
        }
        let payload = |announce| {
            move |n: &u32| Pdu::Prefix {
                announce,
                vrp: vrp(*n),
            }
        };
        let mut all = vec![Pdu::CacheResponse {
            session: self.session,
        }];
        match pdu {
            Pdu::ResetQuery => all.extend(self.now().iter().map(payload(true))),
            Pdu::SerialQuery { session, serial } => {
                let old = match self.history.get(&serial) {
                    Some(old) if session == self.session => old,
                    _ => return self.pdus(&[Pdu::CacheReset]),
                };
                all.extend(self.now().difference(old).map(payload(true)));
                all.push(Pdu::RouterKey);
                all.extend(old.difference(self.now()).map(payload(false)));
            }
            other => panic!("a client sends no {other:?}"),
        }
        all.push(Pdu::EndOfData {
            session: self.session,
            serial: self.serial,
            timers: (self.version > 0).then_some(self.timers),
        });
        self.pdus(&all)
    }
}

struct Lab {
    client: Client,
    cache: Cache,
    table: RoaTable,
    now: Instant,
    /// Octets on their way to the client.
    wire: Vec<u8>,
    connected: bool,
    reachable: bool,
    changes: Vec<Changes>,
    logs: Vec<String>,
}

impl Lab {
    fn new(version: u8) -> Self {
        let now = Instant::now();
        Self {
            client: Client::new(CacheId::new(2).unwrap(), Settings::default(), now),
            cache: Cache::new(version),
            table: RoaTable::new(),
            now,
            wire: Vec::new(),
            connected: false,
            reachable: true,
            changes: Vec::new(),
            logs: Vec::new(),
        }
    }

    fn event(&mut self, event: Event<'_>) {
        let mut out = Vec::new();
        self.client
            .handle(self.now, event, &mut self.table, &mut out);
        for o in out {
            match o {
                Output::Connect => {
                    assert!(!self.connected, "one connection at a time");
                    if self.reachable {
                        self.connected = true;
                        self.wire.clear();
                        self.event(Event::Connected);
                    } else {
                        self.event(Event::Closed("it is gone"));
                    }
                }
                Output::Send(octets) => {
                    let report = octets[1] == 10;
                    if !report && self.reachable {
                        let answer = self.cache.answer(&octets);
                        self.wire.extend(answer);
                    }
                }
                Output::Close => {
                    self.connected = false;
                    self.wire.clear();
                }
                Output::Changed(c) => self.changes.push(c),
                Output::Log(text) => self.logs.push(text),
            }
        }
    }

    /// So many octets of what is on the way arrive.
    fn deliver(&mut self, most: usize) {
        while self.connected && !self.wire.is_empty() {
            let n = most.min(self.wire.len());
            let part: Vec<u8> = self.wire.drain(..n).collect();
            self.event(Event::Received(&part));
            if most < usize::MAX {
                return;
            }
        }
    }

    fn drop_connection(&mut self) {
        if self.connected {
            self.connected = false;
            self.wire.clear();
            self.event(Event::Closed("it is gone"));
        }
    }

    /// Time goes on, with everything that it brings.
    fn pass(&mut self, seconds: u64) {
        let end = self.now + Duration::from_secs(seconds);
        while let Some(at) = self.client.poll_at().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.event(Event::Tick);
            self.deliver(usize::MAX);
        }
        self.now = end;
    }

    fn notify(&mut self) {
        let (session, serial) = (self.cache.session, self.cache.serial);
        let octets = self.cache.pdus(&[Pdu::SerialNotify { session, serial }]);
        self.event(Event::Received(&octets));
        self.deliver(usize::MAX);
    }

    fn has(&self) -> BTreeSet<Vrp> {
        self.table.iter().collect()
    }

    fn want(&self) -> BTreeSet<Vrp> {
        self.cache.now().iter().map(|n| vrp(*n)).collect()
    }
}

#[test]
fn a_whole_set_then_increments() {
    let mut lab = Lab::new(1);
    lab.pass(0);
    assert_eq!(lab.has(), lab.want());
    assert_eq!(lab.client.status().state, State::Synchronised);
    assert_eq!(lab.client.status().session, Some((7, 1)));
    assert_eq!(
        lab.client.poll_at(),
        Some(lab.now + Duration::from_secs(3600))
    );
    lab.cache.becomes((10..60).collect());
    lab.changes.clear();
    lab.notify();
    assert_eq!(lab.has(), lab.want());
    let Changes::Within(within) = &lab.changes[0] else {
        panic!("{:?}", lab.changes)
    };
    let changed = (0..10)
        .chain(50..60)
        .map(|n| vrp(n).prefix)
        .collect::<BTreeSet<_>>();
    assert_eq!(within.iter().copied().collect::<BTreeSet<_>>(), changed);
    lab.cache.becomes(BTreeSet::new());
    lab.pass(3599);
    assert_eq!(lab.has().len(), 50);
    lab.pass(1);
    assert!(lab.has().is_empty() && lab.table.is_empty());
}

#[test]
fn a_cache_of_old_is_asked_in_its_own_version() {
    let mut lab = Lab::new(0);
    lab.pass(0);
    assert_eq!((lab.has(), lab.client.status().version), (lab.want(), 0));
    // One that only hangs up.
    let mut lab = Lab::new(0);
    lab.event(Event::Tick);
    lab.drop_connection();
    lab.pass(5);
    assert_eq!((lab.has(), lab.client.status().version), (lab.want(), 0));
    // One that answers in version 0 without saying why.
    let mut lab = Lab::new(0);
    lab.event(Event::Tick);
    lab.wire = lab.cache.answer(&lab.cache.pdus(&[Pdu::ResetQuery]));
    lab.deliver(usize::MAX);
    assert_eq!(lab.has(), lab.want());
    lab.cache.becomes((3..8).collect());
    lab.notify();
    assert_eq!(lab.has(), lab.want());
}

#[test]
fn what_a_cache_said_counts_until_it_is_too_old() {
    let mut lab = Lab::new(1);
    lab.pass(0);
    lab.reachable = false;
    lab.drop_connection();
    lab.pass(7199);
    assert_eq!(lab.has().len(), 50);
    lab.changes.clear();
    lab.pass(1);
    assert!(lab.has().is_empty());
    assert_eq!(lab.changes.len(), 1);
    assert!(lab.logs.iter().any(|l| l.contains("too old")));
    lab.reachable = true;
    lab.pass(600);
    assert_eq!(lab.has(), lab.want());
}

#[test]
fn a_new_session_starts_anew() {
    let mut lab = Lab::new(1);
    lab.pass(0);
    lab.cache.session = 8;
    lab.cache.history = BTreeMap::from([(1, (5..9).collect())]);
    lab.notify();
    assert_eq!(lab.has(), lab.want());
    assert_eq!(lab.client.status().session, Some((8, 1)));
    // One that answers an old session's question with its own: it is asked at once.
    let other = |lab: &mut Lab| {
        lab.client.session = Some((3, 1));
        let response = lab.cache.pdus(&[Pdu::CacheResponse { session: 8 }]);
        lab.client.state = State::Asked;
        lab.event(Event::Received(&response));
        assert!(lab.has().is_empty() && !lab.connected);
    };
    lab.now += Duration::from_secs(10);
    other(&mut lab);
    lab.pass(0);
    assert_eq!(lab.has(), lab.want());
    // One that does so each time is asked every other second.
    lab.now += Duration::from_secs(1);
    other(&mut lab);
    lab.pass(1);
    assert!(!lab.connected);
    lab.pass(1);
    assert_eq!(lab.has(), lab.want());
}

/// A cache that was started anew may hang up on sessions that it does not know, or report them.
#[test]
fn a_session_that_is_refused_is_not_asked_for_again() {
    for report in [false, true] {
        let mut lab = Lab::new(1);
        lab.pass(0);
        lab.cache.session = 8;
        lab.cache.history = BTreeMap::from([(1, (5..9).collect())]);
        lab.drop_connection();
        lab.now += Duration::from_secs(2);
        lab.event(Event::Tick);
        lab.wire.clear();
        if report {
            let pdu = Pdu::ErrorReport {
                code: 0,
                pdu: &[],
                text: b"",
            };
            let octets = lab.cache.pdus(&[pdu]);
            lab.event(Event::Received(&octets));
        } else {
            lab.drop_connection();
        }
        let status = lab.client.status();
        assert_eq!((status.session, status.version), (None, 1));
        assert_eq!(lab.has().len(), 50, "it counts until the new set is there");
        lab.pass(600);
        assert_eq!(lab.has(), lab.want());
        assert_eq!(lab.client.status().session, Some((8, 1)));
    }
}

#[test]
fn silence_and_errors_are_not_for_ever() {
    let mut lab = Lab::new(1);
    lab.event(Event::Tick);
    lab.wire.clear();
    lab.pass(61);
    assert!(
        lab.logs.iter().any(|l| l.contains("silent")),
        "{:?}",
        lab.logs
    );
    lab.pass(600);
    assert_eq!(lab.has(), lab.want());
    let report = lab.cache.pdus(&[Pdu::ErrorReport {
        code: 1,
        pdu: &[],
        text: b"out of\x1b memory",
    }]);
    lab.event(Event::Received(&report));
    assert!(!lab.connected);
    let error = lab.client.status().error.unwrap();
    assert!(
        error.contains("Internal Error: out of\\u{1b} memory"),
        "{error}"
    );
    lab.cache.becomes((1..3).collect());
    lab.pass(599);
    assert_eq!(lab.has().len(), 50);
    lab.pass(1);
    assert_eq!(lab.has(), lab.want());
    let none = lab.cache.pdus(&[Pdu::ErrorReport {
        code: 2,
        pdu: &[],
        text: b"",
    }]);
    lab.client.state = State::Asked;
    lab.event(Event::Received(&none));
    assert!(lab.connected, "No Data Available is not fatal");
    lab.pass(600);
    assert_eq!(lab.client.status().error, None);
}

#[test]
fn what_makes_no_sense_ends_the_connection_and_starts_anew() {
    let announce = Pdu::Prefix {
        announce: true,
        vrp: vrp(1),
    };
    let withdraw = Pdu::Prefix {
        announce: false,
        vrp: vrp(1),
    };
    let start = Pdu::CacheResponse { session: 7 };
    let end = Pdu::EndOfData {
        session: 8,
        serial: 1,
        timers: Some(Timers::default()),
    };
    for (what, pdus) in [
        (
            "Duplicate",
            &[start.clone(), announce.clone(), announce.clone()][..],
        ),
        ("Withdrawal of Unknown", &[start.clone(), withdraw]),
        ("another session", &[start.clone(), end]),
        ("not asked for", &[announce]),
        ("not asked for", &[Pdu::CacheReset]),
        ("not asked for", &[start.clone(), start]),
        ("not asked for", &[Pdu::ResetQuery]),
    ] {
        let mut lab = Lab::new(1);
        lab.event(Event::Tick);
        lab.wire = lab.cache.pdus(pdus);
        lab.deliver(usize::MAX);
        assert!(
            lab.logs.iter().any(|l| l.contains(what)),
            "{what}: {:?}",
            lab.logs
        );
        assert!(!lab.connected && lab.table.is_empty(), "{what}");
        lab.pass(600);
        assert_eq!(lab.has(), lab.want(), "{what}");
    }
    let mut lab = Lab::new(1);
    lab.event(Event::Tick);
    lab.wire = vec![1, 77, 0, 0, 0, 0, 0, 8];
    lab.deliver(usize::MAX);
    assert!(
        lab.logs.iter().any(|l| l.contains("type 77")),
        "{:?}",
        lab.logs
    );
    lab.event(Event::Stop);
    assert_eq!(lab.client.poll_at(), None);
}

#[test]
fn intervals_stay_within_bounds() {
    let t = |refresh, retry, expire| Timers {
        refresh,
        retry,
        expire,
    };
    assert_eq!(t(0, 0, 0).bounded(), t(1, 1, 600));
    assert_eq!(
        t(u32::MAX, u32::MAX, u32::MAX).bounded(),
        t(86_400, 7200, 172_800)
    );
    assert_eq!(t(3600, 600, 600).bounded(), t(3600, 600, 3601));
    let mut lab = Lab::new(1);
    lab.client.settings.refresh = Some(30);
    lab.cache.timers = t(7, 8, 900);
    lab.pass(0);
    assert_eq!(lab.client.status().timers, t(30, 8, 900));
}

#[derive(Clone, Debug)]
enum Op {
    Becomes(BTreeSet<u32>),
    Forgets,
    Session(u16),
    Notify,
    Deliver(usize),
    Drop,
    Reachable(bool),
    Pass(u64),
    Noise(Vec<u8>),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => prop::collection::btree_set(0u32..120, 0..40).prop_map(Op::Becomes),
        1 => Just(Op::Forgets),
        1 => (0u16..3).prop_map(Op::Session),
        4 => Just(Op::Notify),
        4 => (1usize..300).prop_map(Op::Deliver),
        2 => Just(Op::Drop),
        1 => any::<bool>().prop_map(Op::Reachable),
        3 => (0u64..8000).prop_map(Op::Pass),
        1 => prop::collection::vec(any::<u8>(), 0..30).prop_map(Op::Noise),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever happens in between, in the end the table has what the cache says; at all times it has what the cache said
    /// at some serial, or nothing.
    #[test]
    fn in_the_end_the_table_is_the_caches(version in 0u8..=1, ops in prop::collection::vec(op(), 0..40)) {
        let mut lab = Lab::new(version);
        let mut said: Vec<BTreeSet<Vrp>> = vec![BTreeSet::new(), lab.want()];
        let mut noise = false;
        for op in ops {
            match op {
                Op::Becomes(set) => lab.cache.becomes(set),
                Op::Forgets => { let serial = lab.cache.serial; lab.cache.history.retain(|s, _| *s == serial); }
                Op::Session(s) => {
                    // A session counts its serials anew.
                    let set = lab.cache.now().clone();
                    lab.cache.session = s;
                    lab.cache.serial += 1000;
                    lab.cache.history = BTreeMap::from([(lab.cache.serial, set)]);
                }
                Op::Notify => if lab.connected {
                    let p = [Pdu::SerialNotify { session: lab.cache.session, serial: lab.cache.serial }];
                    let octets = lab.cache.pdus(&p);
                    lab.wire.extend(octets);
                },
                Op::Deliver(n) => lab.deliver(n),
                Op::Drop => lab.drop_connection(),
                Op::Reachable(yes) => lab.reachable = yes,
                Op::Pass(s) => lab.pass(s),
                Op::Noise(octets) => if lab.connected { noise = true; lab.wire.extend(octets) },
            }
            said.push(lab.want());
            if !noise {
                let has = lab.has();
                prop_assert!(said.contains(&has), "{:?}", has);
            }
        }
        lab.reachable = true;
        lab.drop_connection();
        for _ in 0..3 {
            lab.pass(200_000);
        }
        prop_assert_eq!(lab.has(), lab.want());
    }
}
