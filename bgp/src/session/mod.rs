//! One neighbour's session: the state machine of RFC 4271 8, its timers, and the messages that are not routes.
//!
//! Read RFC 4271 6 and 8 first, then RFC 6608, 6286, 8538, 9687. [`Session`] does no I/O: it is given time, events
//! ([`Event`]) and octets ([`Session::receive`]), and pushes what is to be done ([`Output`]). RFC 4271 has one state machine
//! for each connection and leaves open how two of them become one neighbour. Here a session has up to two connections,
//! each in a stage of its own; the state of the session is that of the connection that got furthest.
//!
//! - `config`: what a session is told. `negotiate`: two OPENs become a [`Negotiated`].
//! - `fsm`: what happens on which event; `messages`: on which message; `receive`: octets to messages.
//! - `reason`: why a session went down, in words. `counters`, `timers`: what their names say.
//! - [`graceful`]: what is kept of a neighbour that restarts, and what waits when we have.
//!
//! Departures from RFC 4271 8.2.2, each as other routers do it too:
//! - A failed attempt to connect leaves the session Active with the ConnectRetryTimer running, not Idle: in Idle it would
//!   refuse the neighbour's own attempt.
//! - A passive session (events 4, 5 and 7) never connects, so it has no ConnectRetryTimer.
//! - A NOTIFICATION is never answered, not even where OpenSent would call it unexpected (6.4 forbids the answer).
//! - Octets of a neighbour that wait to be read count as heard: its hold timer does not expire over our own slowness.
//! - In Established with graceful restart (RFC 4724 5) a new connection takes the session's place at once, unless the
//!   session is only seconds old: then it is the rest of a collision, and is compared as 6.8 says.
//!
//! Left out: sockets and all that is set on them (GTSM, TCP MD5 and AO); UPDATEs, which go to a [`Handler`] as they came
//! and are sent by who has the routes.

pub mod graceful;

#[cfg(any(test, fuzzing))]
pub mod fuzz;

mod config;
mod counters;
mod fsm;
mod messages;
mod negotiate;
mod reason;
mod receive;
mod timers;

pub use config::{
    ConfigError, FamilyConfig, GracefulConfig, MaxPrefixes, Offer, PeerAs, RoleConfig,
    SessionConfig,
};
pub use counters::{Counters, Messages};
pub use fsm::NoRefresh;
pub use negotiate::{Negotiated, PeerGraceful, Restarting};
pub use reason::{Cause, Reset, Stop};
pub use receive::{Budget, Handler};
pub use timers::{Jitter, Timer};

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::types::{Family, FamilySet};
use crate::wire::{HEADER, Header, Kind, Message, Refresh};

/// How many labels of an NLRI are taken (RFC 8277 2.1): with those of the way to the next hop, packets have room for them.
pub const MAX_LABELS: u8 = crate::attrs::MOST_LABELS as u8;

/// The states of RFC 4271 8.2.2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// No connection is made or taken.
    #[default]
    Idle,
    /// Waiting for the neighbour to connect, or for the time to try again.
    Active,
    /// Waiting for a connection to be made.
    Connect,
    /// Waiting for the neighbour's OPEN.
    OpenSent,
    /// Waiting for the KEEPALIVE that accepts our OPEN.
    OpenConfirm,
    /// Exchanging routes.
    Established,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A connection, numbered from 1 within its session; no number comes twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Conn(pub u32);

/// What happens to a session, beside octets that come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Events 1 and 3 to 7: start, unless it has. Clears what a stop, a limit or failures left.
    Start,
    /// Events 2 and 8.
    Stop(Stop),
    /// Event 16: what [`Output::Connect`] asked for is there.
    Connected(Conn),
    /// Event 18: it could not be had, or the connection ended; with the reason.
    Failed(Conn, String),
    /// Events 9 to 13 and 29: time has passed, [`Session::poll_at`] has come. To be given after what there was to read.
    Tick,
    /// The socket took `octets` of what was to be sent, and `left` are still to go (RFC 9687). Needed only when something
    /// is left, and when nothing is left any more.
    Wrote {
        /// Of which connection.
        conn: Conn,
        /// Taken now.
        octets: usize,
        /// Still waiting.
        left: usize,
    },
    /// So many UPDATEs were queued for the neighbour: they do for KEEPALIVEs (RFC 4271 4.4).
    UpdatesSent(u64),
    /// The neighbour has this many prefixes in this family now.
    Prefixes(Family, u32),
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Open a connection, and answer with [`Event::Connected`] or [`Event::Failed`].
    Connect(Conn),
    /// Try once to write what is queued, then close. Nothing follows for this connection.
    Close(Conn),
    /// Queue these octets behind what is queued.
    Send(Conn, Vec<u8>),
    /// The state is now this.
    State(State),
    /// Established: UPDATEs may be sent, and will come.
    Up(Conn, Arc<Negotiated>),
    /// Established no more.
    Down(Down),
    /// ROUTE-REFRESH of a family of the session: send all again, or a mark of RFC 7313.
    Refresh(Family, Refresh),
    /// A limit is nearly reached, or passed where it only warns.
    PrefixWarning {
        /// Of which family.
        family: Family,
        /// How many there are.
        count: u32,
        /// How many there may be.
        limit: u32,
    },
}

/// The end of an Established session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Down {
    /// Why.
    pub cause: Cause,
    /// Families whose routes stay as stale; those of the others are to be dropped.
    pub keep: Vec<Keep>,
}

/// Routes that stay while the neighbour restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Of this family.
    pub family: Family,
    /// As they are (RFC 4724).
    pub restart: Duration,
    /// And then as a last resort (RFC 9494); zero: not.
    pub long_lived: Duration,
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// We asked for it.
    Connecting,
    /// It is there, and the neighbour may speak first: DelayOpen.
    Delaying,
    OpenSent,
    OpenConfirm,
    Established,
}

/// One connection.
#[derive(Debug)]
struct Lane {
    conn: Conn,
    /// We opened it.
    ours: bool,
    stage: Stage,
    delay_at: Option<Instant>,
    hold_at: Option<Instant>,
    keepalive_at: Option<Instant>,
    send_hold_at: Option<Instant>,
    /// The beginning of a message of which the rest has not come.
    tail: Vec<u8>,
    /// Octets wait with the caller: the budget was used up.
    backlog: bool,
    /// The OPEN that was sent.
    open: Option<crate::wire::Open>,
    /// The OPEN that came, behind its header.
    heard: Vec<u8>,
    agreed: Option<Arc<Negotiated>>,
    established_at: Option<Instant>,
}

impl Lane {
    fn state(&self) -> State {
        match self.stage {
            Stage::Connecting => State::Connect,
            Stage::Delaying if self.ours => State::Connect,
            Stage::Delaying => State::Active,
            Stage::OpenSent => State::OpenSent,
            Stage::OpenConfirm => State::OpenConfirm,
            Stage::Established => State::Established,
        }
    }
}

/// What a session without a connection does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    /// Idle until it is started.
    Stopped,
    /// Idle until the IdleHoldTimer expires.
    Holding(Instant),
    /// Not Idle.
    Running,
}

/// One neighbour. See the [module](self).
#[derive(Debug)]
pub struct Session {
    config: SessionConfig,
    jitter: Jitter,
    restarting: Restarting,
    rest: Rest,
    lanes: [Option<Lane>; 2],
    connect_retry_at: Option<Instant>,
    /// Connections are refused until then: too many were opened and dropped.
    accept_at: Option<Instant>,
    next_conn: u32,
    /// ConnectRetryCounter of RFC 4271 8.1.1.
    connect_retry_counter: u32,
    /// Sessions lost in a row, for the IdleHoldTimer.
    failures: u32,
    /// Connections that ended before they were a session, in a row.
    drops: u32,
    /// The next OPEN goes without capabilities: the last one was refused for them (RFC 5492 5).
    bare: bool,
    state: State,
    since: Option<Instant>,
    last: Option<Reset>,
    last_error: Option<Reset>,
    /// Families that a warning was given for: near the limit, and past it.
    warned: FamilySet,
    passed: FamilySet,
    counters: Counters,
}

impl Session {
    /// A neighbour; Idle until [`Event::Start`]. The configuration has been [checked](SessionConfig::check).
    #[must_use]
    pub fn new(config: SessionConfig, jitter: Jitter) -> Self {
        Self {
            config,
            jitter,
            restarting: Restarting::default(),
            rest: Rest::Stopped,
            lanes: [None, None],
            connect_retry_at: None,
            accept_at: None,
            next_conn: 1,
            connect_retry_counter: 0,
            failures: 0,
            drops: 0,
            bare: false,
            state: State::Idle,
            since: None,
            last: None,
            last_error: None,
            warned: FamilySet::EMPTY,
            passed: FamilySet::EMPTY,
            counters: Counters::default(),
        }
    }

    /// What it was told.
    #[must_use]
    pub fn config(&self) -> &SessionConfig {
        &self.config
    }

    /// Tells it otherwise. What is said in OPENs counts from the next one on; to have it now, stop with
    /// [`Stop::ConfigChanged`] after this.
    pub fn set_config(&mut self, config: SessionConfig) {
        self.config = config;
    }

    /// What our OPENs say of a restart of ours, from the next one on. It is for the first session after the restart: later
    /// ones say by themselves that forwarding went on.
    pub fn set_restarting(&mut self, restarting: Restarting) {
        self.restarting = restarting;
    }

    /// Where it is.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// Since when; `None` before the first event.
    #[must_use]
    pub fn since(&self) -> Option<Instant> {
        self.since
    }

    /// Idle for good: it was stopped, or passed a limit without a restart time, or was never started.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.rest == Rest::Stopped
    }

    /// The connection and the agreement of an Established session.
    #[must_use]
    pub fn established(&self) -> Option<(Conn, &Arc<Negotiated>)> {
        let lane = self.lanes().find(|l| l.stage == Stage::Established)?;
        Some((lane.conn, lane.agreed.as_ref()?))
    }

    /// The OPENs of an Established session, ours and the neighbour's, as they went over the wire.
    #[must_use]
    pub fn opens(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        let lane = self.lanes().find(|l| l.stage == Stage::Established)?;
        let mut ours = Vec::new();
        Message::Open(lane.open.clone()?).emit(&mut ours);
        let len = u16::try_from(HEADER + lane.heard.len()).ok()?;
        let header = Header {
            len,
            kind: Kind::Open,
        };
        Some((ours, [&header.emit()[..], &lane.heard].concat()))
    }

    /// What ended the last Established session.
    #[must_use]
    pub fn last_reset(&self) -> Option<&Reset> {
        self.last.as_ref()
    }

    /// What ended the last session or attempt, whatever it was.
    #[must_use]
    pub fn last_error(&self) -> Option<&Reset> {
        self.last_error.as_ref()
    }

    /// The numbers.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// ConnectRetryCounter of RFC 4271 8.1.1: failures since it was started.
    #[must_use]
    pub fn connect_retry_counter(&self) -> u32 {
        self.connect_retry_counter
    }

    /// The timers that run, with the connection they are for; the next first.
    #[must_use]
    pub fn timers(&self) -> Vec<(Instant, Timer, Option<Conn>)> {
        let mut all: Vec<_> = self.running().collect();
        all.sort_unstable();
        all
    }

    /// When to come again with [`Event::Tick`]; `None`: not before something else happens.
    #[must_use]
    pub fn poll_at(&self) -> Option<Instant> {
        self.running().map(|(at, ..)| at).min()
    }

    fn running(&self) -> impl Iterator<Item = (Instant, Timer, Option<Conn>)> {
        let idle = match self.rest {
            Rest::Holding(at) => Some(at),
            Rest::Stopped | Rest::Running => None,
        };
        let own = [
            (idle, Timer::IdleHold),
            (self.connect_retry_at, Timer::ConnectRetry),
        ];
        let of_lanes = self.lanes().flat_map(|l| {
            let timers = [
                (l.delay_at, Timer::DelayOpen),
                (l.hold_at, Timer::Hold),
                (l.keepalive_at, Timer::Keepalive),
                (l.send_hold_at, Timer::SendHold),
            ];
            timers.map(|(at, t)| (at, t, Some(l.conn)))
        });
        let all = own.into_iter().map(|(at, t)| (at, t, None)).chain(of_lanes);
        all.filter_map(|(at, t, c)| at.map(|at| (at, t, c)))
    }

    fn lanes(&self) -> impl Iterator<Item = &Lane> {
        self.lanes.iter().flatten()
    }

    fn find(&self, conn: Conn) -> Option<usize> {
        let here = |l: &Option<Lane>| l.as_ref().is_some_and(|l| l.conn == conn);
        self.lanes.iter().position(here)
    }
}
