//! A speaker with one neighbour, whose octets are said by hand, in virtual time.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bgp::policy::{Policies, Sets};
use bgp::session::{FamilyConfig, PeerAs, SessionConfig};
use bgp::speaker::{
    Action, Config, ConnId, Ends, Local, Neighbor, OwnAddresses, PeerKey, Speaker, Use,
};
use bgp::types::{Asn, Family, FamilySet, RouterId};
use bgp::wire::{Capabilities, Message, Open};
use ipnet::IpNet;

use crate::judge::{Verdict, judge};

const US: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const THEM: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

/// What became of messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// All of them.
    pub(crate) messages: u64,
    /// Those that a session must survive, and did.
    pub(crate) survived: u64,
    /// Those that had to end one, and did.
    pub(crate) ended: u64,
}

pub(crate) struct Bed {
    speaker: Speaker,
    conn: Option<ConnId>,
    now: Instant,
    as4: bool,
    add_path: bool,
    /// What the speaker said last.
    last: String,
    pub(crate) tally: Tally,
}

impl Bed {
    pub(crate) fn new(as4: bool, add_path: bool) -> Self {
        let families = [Family::Ipv4Unicast, Family::Ipv6Unicast];
        let id = RouterId::new(US).unwrap();
        let mut session = SessionConfig::new(Asn(65_000), id, PeerAs::Is(Asn(65_001)));
        session.passive = true;
        session.families = families
            .map(|f| FamilyConfig {
                add_path_receive: add_path,
                ..FamilyConfig::new(f)
            })
            .to_vec();
        let policies =
            Policies::compile(&BTreeMap::new(), &Sets::default(), &Policies::default()).unwrap();
        let accept = policies.get("accept-all").unwrap().clone();
        let mut neighbor = Neighbor::new(session);
        neighbor.import = Some(accept.clone());
        neighbor.export = Some(accept);
        let key = PeerKey::Address(THEM.into(), None);
        let local = Local {
            asn: Asn(65_000),
            router_id: id,
            cluster_id: None,
            confederation: None,
        };
        let config = Config {
            local,
            options: Default::default(),
            neighbors: vec![(key, Arc::new(neighbor))],
            dynamic: Vec::new(),
        };
        let now = Instant::now();
        Self {
            speaker: Speaker::new(config, 1, now),
            conn: None,
            now,
            as4,
            add_path,
            last: String::new(),
            tally: Tally::default(),
        }
    }

    /// All four: AS numbers of two octets or four, with path identifiers or without.
    pub(crate) fn all() -> Vec<Self> {
        let kinds = [(true, false), (true, true), (false, false), (false, true)];
        kinds.map(|(a, p)| Self::new(a, p)).into()
    }

    /// A connection, an hour after the last: whatever held the session down is over.
    fn connect(&mut self) -> ConnId {
        self.now += Duration::from_secs(3600);
        self.speaker.tick(self.now);
        self.acted();
        let own = OwnAddresses {
            v4: Some(US),
            v6: "2001:db8::1".parse().ok(),
            link_local: None,
        };
        let ends = Ends {
            local: SocketAddr::new(US.into(), 179),
            remote: SocketAddr::new(THEM.into(), 40_000),
            interface: None,
            own,
        };
        let conn = self.speaker.accepted(ends, self.now);
        let conn = conn.expect("the neighbour may connect");
        self.conn = Some(conn);
        conn
    }

    fn open(&self) -> Vec<u8> {
        let families = FamilySet::from_iter([Family::Ipv4Unicast, Family::Ipv6Unicast]);
        let open = Open {
            asn: Asn(65_001),
            hold_time: 0,
            id: RouterId::new(THEM).unwrap(),
            capabilities: Capabilities {
                families,
                route_refresh: true,
                as4: self.as4.then_some(Asn(65_001)),
                add_path_send: if self.add_path {
                    families
                } else {
                    FamilySet::EMPTY
                },
                ..Capabilities::default()
            },
        };
        let mut octets = Vec::new();
        Message::Open(open).emit(&mut octets);
        octets
    }

    fn establish(&mut self) {
        self.connect();
        let mut octets = self.open();
        Message::Keepalive.emit(&mut octets);
        assert!(self.hear(&octets), "no session comes up: {}", self.last);
    }

    /// Does what the speaker wants; whether the connection is still there.
    fn acted(&mut self) -> bool {
        while let Some(action) = self.speaker.next_action() {
            match action {
                Action::Close(c) => {
                    self.speaker.closed(c);
                    self.conn = self.conn.filter(|open| *open != c);
                }
                Action::Notice(_, n) => {
                    self.last = n.to_string();
                    assert!(!self.last.is_empty());
                }
                Action::Connect { .. } => {}
            }
        }
        self.conn.is_some()
    }

    /// Octets come; whether the connection is still there.
    fn hear(&mut self, octets: &[u8]) -> bool {
        let mut taken = 0;
        while let Some(conn) = self.conn
            && taken < octets.len()
        {
            let n = self.speaker.received(conn, &octets[taken..], self.now);
            taken += n;
            assert!(n > 0 || !self.acted(), "octets that nobody takes");
            self.acted();
        }
        self.work();
        self.acted()
    }

    fn work(&mut self) {
        let mut best = |_: IpNet, _: &[Use<'_>]| {};
        self.speaker.work(64, &mut best, self.now);
        for hop in self.speaker.next_hops().collect::<Vec<_>>() {
            if let bgp::rib::HopEvent::Wanted(id, ..) = hop {
                self.speaker.set_next_hop(id, Some(1));
            }
        }
        let ready: Vec<ConnId> = self.speaker.writable().collect();
        for c in ready {
            let n = self.speaker.output(c).len();
            self.speaker.wrote(c, n, self.now);
        }
    }

    /// The neighbour says something that may be no message at all, in a session of its own: nothing may panic.
    pub(crate) fn anything(&mut self, octets: &[u8]) {
        self.tally.messages += 1;
        self.hang_up();
        // In OpenSent, in OpenConfirm, in Established.
        for before in [Vec::new(), self.open()] {
            self.connect();
            if self.hear(&before) {
                self.hear(octets);
            }
            self.hang_up();
        }
        self.establish();
        self.hear(octets);
        self.hang_up();
    }

    fn hang_up(&mut self) {
        if let Some(conn) = self.conn.take() {
            self.speaker.failed(conn, "hung up", self.now);
        }
        self.acted();
    }

    /// An UPDATE comes whose header is right, in a session that is up. Panics if the session ends where it must not, or goes
    /// on where it must end.
    pub(crate) fn update(&mut self, message: &[u8]) {
        if self.conn.is_none() {
            self.establish();
        }
        let verdict = judge(&message[19..], self.add_path);
        let lives = self.hear(message);
        self.tally.messages += 1;
        match verdict {
            Verdict::Lives => {
                assert!(lives, "ended by what is to be survived: {message:02x?}");
                self.tally.survived += 1;
            }
            Verdict::Ends => {
                assert!(!lives, "not ended by what must end it: {message:02x?}");
                self.tally.ended += 1;
            }
            Verdict::Open => {}
        }
    }
}
