//! A BGP speaker: neighbours, their sessions, what is believed of what they say, and what they are told.
//!
//! [`Speaker`] binds the other modules and does no I/O itself: who drives it opens connections when it is told to
//! ([`Action`]), gives it octets and time, takes octets to be written, and hears which routes are best. All of it is
//! synchronous, and every call does a bounded piece.
//!
//! - `config`: what it is told. `local`: who it is. `peer`: a neighbour.
//! - `neighbors`: those there are, and what a new configuration means for them.
//! - `lines`: connections, and what sessions want.
//! - `families`: the tables.
//! - `inbound`: from an UPDATE to the Adj-RIB-In; `import`: may a route be used.
//! - `outbound`: from the Loc-RIB to messages; `export`: what a route becomes on the way.
//! - `recheck`: routes that the RPKI has changed its mind about.
//! - `refresh`: what is told again. `restart`: our own restart.
//! - `routes`: the router's side: routes of its own, the best ones, next hops.
//! - `vpn`: routes of VRFs, and of VPNs. `membership`: which of them whom.
//! - `show`: what operators see. `dump`, `journal`: what is written down of it, as MRT. `monitor`: what
//!   monitoring stations are told, as BMP.
//!
//! Left out: sockets, and the order in which several sources of routes are preferred (BGP, static, connected).

mod config;
mod dump;
mod export;
mod families;
mod import;
mod inbound;
mod journal;
mod lines;
mod local;
mod membership;
mod monitor;
mod neighbors;
mod outbound;
mod peer;
mod recheck;
mod refresh;
mod restart;
mod routes;
mod show;
#[cfg(test)]
mod tests;
mod told;
mod vpn;

pub use config::{Config, Dynamic, Neighbor, PeerKey};
pub use dump::Dump;
pub use export::OwnAddresses;
pub use import::Refusal;
pub use journal::Journal;
pub use local::{Confederation, Local};
pub use monitor::{FeedId, FeedView, Monitored};
pub use neighbors::CommandError;
pub use routes::{Best, Use};
pub use show::{FamilyView, Page, PathView, PeerView, Place, Side, Wanted};
pub use vpn::{Policies as VrfPolicies, Vrf};

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::attrs::{AttrBuf, Srgb};
use crate::rib::{PeerInfo, Rib};
use crate::session::graceful::Restarter;
use crate::session::{Cause, Event, Output, State};
use crate::types::{Family, PeerId, Relation};
use crate::wire::Encoder;
use families::{Kind, Ours, Sides, of_kind};
use inbound::Gate;
use peer::Peer;
use routes::{ACROSS, LEAK, OWN};

/// A connection; no number comes twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// Both ends of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Ours.
    pub local: SocketAddr,
    /// The neighbour's.
    pub remote: SocketAddr,
    /// The interface, where addresses are link-local.
    pub interface: Option<String>,
    /// Our addresses on the way there, for next hops.
    pub own: OwnAddresses,
}

/// What whoever drives the speaker is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Open a connection, then say [`Speaker::connected`] or [`Speaker::failed`].
    Connect {
        /// How it will be called.
        conn: ConnId,
        /// To whom.
        peer: PeerKey,
    },
    /// Try once to write what [`Speaker::output`] has, then close it and say [`Speaker::closed`].
    Close(ConnId),
    /// Tell the operator.
    Notice(PeerKey, Notice),
}

/// What operators want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The session is up.
    Up,
    /// It is down.
    Down(Cause),
    /// The state is another.
    State(State),
    /// It may have so many prefixes, and has so many.
    Prefixes {
        /// Of this family.
        family: Family,
        /// Has.
        count: u32,
        /// May have.
        limit: u32,
    },
    /// An UPDATE had errors that leave the session up (RFC 7606): what was done, and why.
    Malformed(String),
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Up => f.write_str("session is up"),
            Self::Down(cause) => write!(f, "session is down: {cause}"),
            Self::State(s) => write!(f, "state is {s}"),
            Self::Prefixes {
                family,
                count,
                limit,
            } => {
                write!(f, "{count} prefixes of {family}, and {limit} are allowed")
            }
            Self::Malformed(what) => f.write_str(what),
        }
    }
}

/// Everything that is not a session.
#[derive(Debug)]
struct Core {
    gate: Gate,
    rib: Rib,
    sides: Sides,
    /// The attributes of the UPDATE at hand.
    received: AttrBuf,
    began: Instant,
    /// The time of day at some moment, as it was told last.
    wall: (Instant, Duration),
    journal: Option<Journal>,
    feeds: monitor::Feeds,
    vpns: vpn::Vpns,
    asked: membership::Asked,
    /// The labels of segments (RFC 8669).
    srgb: Option<Srgb>,
}

impl Core {
    fn new(config: &Config, now: Instant) -> Self {
        let mut rib = Rib::new();
        rib.common.options = config.options;
        let own = PeerInfo {
            relation: Relation::Internal,
            local: true,
            leaked: false,
            client: false,
            router_id: config.local.router_id,
            address: IpAddr::from(config.local.router_id.octets()),
        };
        rib.common.peers.set(OWN, own);
        let leak = PeerInfo {
            local: false,
            ..own
        };
        rib.common.peers.set(LEAK, leak);
        let across = PeerInfo {
            leaked: true,
            ..leak
        };
        rib.common.peers.set(ACROSS, across);
        Self {
            gate: Gate::new(config.local.clone()),
            rib,
            sides: Sides::default(),
            received: AttrBuf::new(),
            began: now,
            wall: (now, Duration::ZERO),
            journal: None,
            feeds: monitor::Feeds::default(),
            vpns: vpn::Vpns::default(),
            asked: membership::Asked::default(),
            srgb: None,
        }
    }

    /// The clock of the tables.
    fn seconds(&self, now: Instant) -> u32 {
        let passed = now.saturating_duration_since(self.began).as_secs();
        u32::try_from(passed).unwrap_or(u32::MAX)
    }

    /// The time of day: seconds since 1970.
    fn unix(&self, now: Instant) -> u32 {
        let (at, time) = self.wall;
        let time = time + now.saturating_duration_since(at);
        u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
    }
}

/// A speaker. See the [module](self).
#[derive(Debug)]
pub struct Speaker {
    config: Config,
    core: Core,
    peers: BTreeMap<PeerId, Peer>,
    names: HashMap<PeerKey, PeerId>,
    conns: HashMap<ConnId, PeerId>,
    last_conn: u64,
    seed: u64,
    actions: VecDeque<Action>,
    scratch: Vec<Output>,
    /// Room for messages, for what policies do, and for how many UPDATEs went to whom.
    encoder: Encoder,
    octets: Vec<u8>,
    edited: AttrBuf,
    told: BTreeMap<PeerId, u64>,
    /// Who has been told everything again, and not yet that this was all.
    again: Vec<(PeerId, Family)>,
    restarter: Restarter,
}

impl Speaker {
    /// A speaker; its neighbours are started. `seed` keeps timers of sessions apart.
    #[must_use]
    pub fn new(config: Config, seed: u64, now: Instant) -> Self {
        let mut speaker = Self {
            core: Core::new(&config, now),
            config: Config {
                neighbors: Vec::new(),
                dynamic: Vec::new(),
                ..config.clone()
            },
            peers: BTreeMap::new(),
            names: HashMap::new(),
            conns: HashMap::new(),
            last_conn: 0,
            seed,
            actions: VecDeque::new(),
            scratch: Vec::new(),
            encoder: Encoder::new(),
            octets: Vec::new(),
            edited: AttrBuf::new(),
            told: BTreeMap::new(),
            again: Vec::new(),
            restarter: Restarter::idle(),
        };
        speaker.reconfigure(config, now);
        speaker
    }

    /// What the time of day is, since 1970: for what is written down and told to monitors. To be told anew now and then.
    pub fn set_time(&mut self, now: Instant, time: Duration) {
        self.core.wall = (now, time);
    }

    /// Begins to write down what neighbours say, or ends it; what waited is given back.
    pub fn keep_journal(&mut self, journal: Option<Journal>) -> Option<Journal> {
        std::mem::replace(&mut self.core.journal, journal)
    }

    /// What was written down.
    pub fn journal(&mut self) -> Option<&mut Journal> {
        self.core.journal.as_mut()
    }

    /// How many paths were not taken since a table, or what it can hold for one prefix, was full.
    #[must_use]
    pub fn refused_paths(&self) -> u64 {
        let of = |kind| of_kind!(kind, K => K::table_ref(&self.core.rib).refused());
        Kind::ALL.into_iter().map(of).sum()
    }

    /// When to call [`Speaker::tick`], if nothing else happens before.
    #[must_use]
    pub fn poll_at(&self) -> Option<Instant> {
        let peers = self.peers.values().filter_map(Peer::poll_at);
        peers.chain(self.restarter.poll_at()).min()
    }

    /// Time has passed. To be called after octets that came were given.
    pub fn tick(&mut self, now: Instant) {
        self.restart_step(|r, released| r.tick(now, released));
        let due = |p: &&Peer| p.poll_at().is_some_and(|at| at <= now);
        let due: Vec<PeerId> = self.peers.values().filter(due).map(|p| p.id).collect();
        for id in due {
            self.event(id, Event::Tick, now);
            self.tick_stale(id, now);
            self.tick_waiting(id, now);
        }
    }
}
