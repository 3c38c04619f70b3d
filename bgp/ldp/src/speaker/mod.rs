//! A whole speaker: neighbours, their sessions, and their labels. What a router drives.
//!
//! [`Speaker`] is told of interfaces, addresses, routes, datagrams and what happens to TCP connections, each with the time, and
//! pushes what is to be done ([`Output`]). Labels are worked off by [`Speaker::drain`] a piece at a time, so that a table of any
//! size holds up nobody. When nothing comes, [`Speaker::tick`] is to be called at [`Speaker::poll_at`].
//!
//! - `mod`: what it is told, and what it says. `neighbors`: when a session begins and ends (RFC 5036 2.5). `messages`: what
//!   comes over one.
//!
//! Chosen here: a connection that was lost, or could not be made, is tried again after [`RETRY`]; one that was rejected after
//! 15 s, and then after twice as long each time up to 2 minutes (2.5.3), or at once when the neighbour's Hellos say that its
//! configuration has changed. A second connection of a neighbour that has one is closed.
//!
//! Left out: sockets and what is set on them; pseudowires, multipoint paths, graceful restart (RFC 3478), IGP synchronization
//! (RFC 5443), session protection (RFC 5036 2.5.5's timers alone decide).

mod messages;
mod neighbors;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use ipnet::IpNet;

use crate::bindings::Lib;
pub use crate::bindings::{Install, Labels, NextHop, OutLabel, Path, Route, Shown};
pub use crate::discovery::{Datagram, HelloConfig, IfaceId, Ignored, Key, ToSend, Via};
use crate::discovery::{Discovery, Heard};
use crate::session::{Act, Cause, Proposal, Session, State};
use crate::types::{Families, Family, Label, LdpId};
use crate::wire::{Addresses, Body, Fec, Notification, Status};

/// Until a connection that was lost, or could not be made, is tried again.
pub const RETRY: Duration = Duration::from_secs(5);
/// The first wait after a session was rejected, and the longest (RFC 5036 2.5.3).
pub const BACKOFF: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(120));
/// Connections that have not said yet whose they are; more are closed.
const STRANGERS: usize = 64;
/// Messages that are sent in one piece.
const PIECE: usize = 256;

/// A TCP connection; no number comes twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Conn(pub u64);

/// How a speaker is to be.
#[derive(Clone, Debug)]
pub struct Config {
    /// Towards neighbours.
    pub hello: HelloConfig,
    /// Towards those with a session.
    pub session: Proposal,
    /// Prefixes that end here are told with an explicit null, so that the last hop still has a label (and its traffic class).
    pub explicit_null: bool,
    /// FECs that one neighbour may tell; what is more is released.
    pub max_bindings: usize,
    /// Addresses that one neighbour may have; more end its session.
    pub max_addresses: usize,
}

impl Config {
    /// All of it as it is by default: see [`HelloConfig::new`] and [`Proposal::new`]; a million FECs, 65,536 addresses.
    #[must_use]
    pub const fn new(id: LdpId) -> Self {
        Self {
            hello: HelloConfig::new(id),
            session: Proposal::new(id),
            explicit_null: false,
            max_bindings: 1_000_000,
            max_addresses: 65_536,
        }
    }
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send a datagram to port 646; on a link with TTL 1 (IPv4) or hop limit 255 (IPv6).
    Hello(ToSend),
    /// Connect to port 646 there, from there; then [`Speaker::connected`] or [`Speaker::closed`].
    Connect {
        /// To be named so.
        conn: Conn,
        /// From.
        local: IpAddr,
        /// To.
        remote: IpAddr,
        /// With a TTL of 255, and taking no other (RFC 6720).
        gtsm: bool,
    },
    /// A connection that came: its TTL is to be 255, and no other is to be taken (RFC 6720).
    Gtsm(Conn),
    /// Queue these octets behind what is queued.
    Send(Conn, Vec<u8>),
    /// Try once to write what is queued, then close. Nothing follows for this connection.
    Close(Conn),
    /// An adjacency has come or gone.
    Adjacency(Key, bool),
    /// The state of the session with that neighbour.
    State(LdpId, State),
    /// A session ended, for this reason.
    Ended(LdpId, Cause),
    /// A neighbour says something that ends nothing.
    Said(LdpId, Status),
    /// A neighbour has told all of that family (RFC 5919).
    EndOfLib(LdpId, Family),
    /// Change what is installed.
    Install(Install),
}

/// A connection and its session.
#[derive(Debug)]
struct Line {
    session: Session,
    local: IpAddr,
    remote: IpAddr,
}

/// A neighbour: it has an adjacency.
#[derive(Debug, Default)]
struct Peer {
    conn: Option<Conn>,
    backoff: Duration,
    /// We do not connect before.
    retry_at: Option<Instant>,
    up: bool,
    /// Its socket takes nothing now.
    full: bool,
    /// Our addresses, as it knows them.
    told: BTreeSet<IpAddr>,
    /// Families of which it has not been told the end.
    end_of_lib: Families,
    last: Option<Cause>,
}

/// A neighbour, to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownPeer {
    /// Who.
    pub id: LdpId,
    /// Of its session.
    pub state: State,
    /// Between these, while there is a connection: ours, theirs.
    pub addresses: Option<(IpAddr, IpAddr)>,
    /// The hold time as agreed.
    pub hold: Option<Duration>,
    /// Why the session before ended.
    pub last: Option<Cause>,
}

/// LDP of one router.
#[derive(Debug)]
pub struct Speaker {
    config: Config,
    discovery: Discovery,
    lib: Lib,
    peers: BTreeMap<LdpId, Peer>,
    lines: BTreeMap<Conn, Line>,
    next_conn: u64,
    own: BTreeSet<IpAddr>,
    ignored: BTreeMap<Ignored, u64>,
    /// Adjacencies of which it was said that they are there.
    announced: BTreeSet<Key>,
}

impl Speaker {
    /// Knows nobody yet.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            discovery: Discovery::new(config.hello.clone()),
            lib: Lib::new(config.explicit_null, config.max_bindings),
            config,
            peers: BTreeMap::new(),
            lines: BTreeMap::new(),
            next_conn: 0,
            own: BTreeSet::new(),
            ignored: BTreeMap::new(),
            announced: BTreeSet::new(),
        }
    }

    /// LDP is on for this interface in those families; [`Families::NONE`]: off, also when its link is down.
    pub fn set_interface(
        &mut self,
        now: Instant,
        iface: IfaceId,
        families: Families,
        out: &mut Vec<Output>,
    ) {
        let gone = self.discovery.set_interface(now, iface, families);
        self.gone(now, gone, out);
        self.hellos(now, out);
    }

    /// A targeted neighbour is wanted there, or no more.
    pub fn set_target(&mut self, now: Instant, to: IpAddr, on: bool, out: &mut Vec<Output>) {
        let gone = self.discovery.set_target(now, to, on);
        self.gone(now, gone, out);
        self.hellos(now, out);
    }

    /// From now on Hellos on links are good for so many seconds, and sessions offer to end after so many without a word;
    /// those that are there stay as they were agreed on.
    pub fn set_times(&mut self, link_hold: u16, keepalive: u16) {
        self.discovery.set_link_hold(link_hold);
        self.config.session.keepalive = keepalive;
    }

    /// Prefixes that end here are told with an explicit null from now on, or with an implicit one.
    pub fn set_explicit_null(&mut self, on: bool) {
        self.lib.set_explicit_null(on);
    }

    /// Entropy labels are dealt with from now on (RFC 6790), or are not: neighbours are told, and paths say of theirs whether they
    /// can have one.
    pub fn set_entropy(&mut self, on: bool) {
        self.lib.set_entropy(on);
    }

    /// This address is ours, or no more. Link-local ones are told nobody (RFC 7552 7.1).
    pub fn set_address(&mut self, addr: IpAddr, on: bool) {
        let local = matches!(addr, IpAddr::V6(a) if a.is_unicast_link_local());
        if on && !local {
            self.own.insert(addr);
        } else {
            self.own.remove(&addr);
        }
    }

    /// The route of a prefix, if it is to have a label; who drives this chooses which do. Takes effect in [`Self::drain`].
    pub fn set_route(&mut self, net: IpNet, route: Option<Route>) {
        self.lib.set_route(net, route);
    }

    /// There are labels again.
    pub fn labels_available(&mut self) {
        self.lib.ask_again();
    }

    /// A datagram came.
    pub fn hello(&mut self, now: Instant, d: &Datagram<'_>, out: &mut Vec<Output>) {
        match self.discovery.hear(now, d) {
            Heard::New(peer) => {
                let keys: Vec<Key> = self.discovery.of(peer).map(|(k, _)| *k).collect();
                let new = keys.into_iter().filter(|k| self.announced.insert(*k));
                out.extend(new.map(|k| Output::Adjacency(k, true)));
                // Ours first: then the other one knows us when we connect.
                self.hellos(now, out);
                self.reconsider(now, peer, out);
            }
            Heard::Again(peer) => self.reconsider(now, peer, out),
            Heard::Changed(peer) => {
                if let Some(p) = self.peers.get_mut(&peer) {
                    p.backoff = Duration::ZERO;
                    p.retry_at = None;
                }
                self.reconsider(now, peer, out);
            }
            Heard::Mismatch(peer) => {
                self.end(now, peer, Status::TransportMismatch, out);
                let gone = self.discovery.forget(peer);
                self.gone(now, gone, out);
            }
            Heard::Ignored(why) => *self.ignored.entry(why).or_default() += 1,
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.hellos(now, out);
        let due = |line: &Line| line.session.poll_at().is_some_and(|t| t <= now);
        let due: Vec<Conn> = self
            .lines
            .iter()
            .filter(|l| due(l.1))
            .map(|l| *l.0)
            .collect();
        for conn in due {
            self.with(now, conn, out, |s, acts| s.tick(now, acts));
        }
        let due = |p: &Peer| p.conn.is_none() && p.retry_at.is_some_and(|t| t <= now);
        let due: Vec<LdpId> = self
            .peers
            .iter()
            .filter(|p| due(p.1))
            .map(|p| *p.0)
            .collect();
        for peer in due {
            if let Some(p) = self.peers.get_mut(&peer) {
                p.retry_at = None;
            }
            self.reconsider(now, peer, out);
        }
    }

    /// When [`Self::tick`] has something to do.
    #[must_use]
    pub fn poll_at(&self) -> Option<Instant> {
        let sessions = self.lines.values().filter_map(|l| l.session.poll_at());
        let waiting = self.peers.values().filter(|p| p.conn.is_none());
        let retries = waiting.filter_map(|p| p.retry_at);
        self.discovery
            .poll_at()
            .into_iter()
            .chain(sessions)
            .chain(retries)
            .min()
    }

    /// A connection came to port 646. Its first octets may follow at once.
    pub fn accepted(
        &mut self,
        now: Instant,
        local: IpAddr,
        remote: IpAddr,
        out: &mut Vec<Output>,
    ) -> Conn {
        let conn = self.number();
        let strangers = self
            .lines
            .values()
            .filter(|l| l.session.peer().is_none())
            .count();
        if strangers >= STRANGERS || self.lines.values().any(|l| l.remote == remote) {
            out.push(Output::Close(conn));
            return conn;
        }
        let meetings = self.peers.keys().filter_map(|p| self.discovery.meeting(*p));
        if meetings.into_iter().any(|m| m.remote == remote && m.gtsm) {
            out.push(Output::Gtsm(conn));
        }
        let session = Session::passive(self.config.session, now);
        self.lines.insert(
            conn,
            Line {
                session,
                local,
                remote,
            },
        );
        conn
    }

    /// What [`Output::Connect`] asked for is there.
    pub fn connected(&mut self, now: Instant, conn: Conn, out: &mut Vec<Output>) {
        self.with(now, conn, out, |s, acts| s.connected(now, acts));
    }

    /// A connection ended, or could not be had.
    pub fn closed(&mut self, now: Instant, conn: Conn, out: &mut Vec<Output>) {
        self.with(now, conn, out, Session::closed);
    }

    /// A connection's socket takes no more octets, or does again: what [`Self::drain`] has for it waits.
    pub fn set_full(&mut self, conn: Conn, full: bool) {
        if let Some(p) = self.peers.values_mut().find(|p| p.conn == Some(conn)) {
            p.full = full;
        }
    }

    /// Works off what routes, addresses and messages have changed: at most `budget` FECs, and as many for each neighbour.
    /// Returns whether there is more to do now.
    pub fn drain(
        &mut self,
        now: Instant,
        budget: usize,
        labels: &mut dyn Labels,
        out: &mut Vec<Output>,
    ) -> bool {
        let mut installs = vec![];
        let left = self.lib.drain(budget, labels, &mut installs);
        out.extend(installs.into_iter().map(Output::Install));
        let up: Vec<LdpId> = self
            .peers
            .iter()
            .filter(|p| p.1.up && !p.1.full)
            .map(|p| *p.0)
            .collect();
        let mut more = left > 0;
        for peer in up {
            self.tell_addresses(now, peer, out);
            more |= self.tell_labels(now, peer, budget, left == 0, out);
        }
        more
    }

    /// Neighbours and their sessions.
    pub fn neighbors(&self) -> impl Iterator<Item = ShownPeer> {
        self.peers.iter().map(|(id, p)| {
            let line = p.conn.and_then(|c| self.lines.get(&c));
            ShownPeer {
                id: *id,
                state: line.map_or(State::NonExistent, |l| l.session.state()),
                addresses: line.map(|l| (l.local, l.remote)),
                hold: line.filter(|_| p.up).map(|l| l.session.hold()),
                last: p.last,
            }
        })
    }

    /// Adjacencies.
    #[must_use]
    pub const fn discovery(&self) -> &Discovery {
        &self.discovery
    }

    /// FECs and their labels.
    pub fn bindings(&self) -> impl Iterator<Item = Shown> {
        self.lib.show()
    }

    /// The label that neighbours are told for a prefix.
    #[must_use]
    pub fn local(&self, net: &IpNet) -> Option<Label> {
        self.lib.local(net)
    }

    /// Hellos that were ignored, by reason.
    #[must_use]
    pub const fn ignored(&self) -> &BTreeMap<Ignored, u64> {
        &self.ignored
    }

    /// Ends all sessions with Shutdown.
    pub fn shutdown(&mut self, now: Instant, out: &mut Vec<Output>) {
        let all: Vec<Conn> = self.lines.keys().copied().collect();
        for conn in all {
            self.with(now, conn, out, |s, acts| s.end(now, Status::Shutdown, acts));
        }
    }

    fn number(&mut self) -> Conn {
        self.next_conn += 1;
        Conn(self.next_conn)
    }

    /// Lets a session do something, and does what it says.
    fn with(
        &mut self,
        now: Instant,
        conn: Conn,
        out: &mut Vec<Output>,
        f: impl FnOnce(&mut Session, &mut Vec<Act>),
    ) {
        if let Some(line) = self.lines.get_mut(&conn) {
            let mut acts = vec![];
            f(&mut line.session, &mut acts);
            self.act(now, conn, acts, out);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
