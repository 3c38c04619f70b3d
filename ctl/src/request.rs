//! What the API thread asks of the control thread.
//!
//! The API thread owns the configuration file and checks everything that can be checked without the machine; the control
//! thread owns the tables. Between them is a bounded channel of [`Request`]s with a waker, and one reply each. The control
//! thread never waits for the API thread: a reply nobody waits for any more is thrown away.

use std::sync::Arc;

use bgp::speaker::{Dump, Place};
use bgp::types::Family;
use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use ipnet::IpNet;
use net::Label;
use tokio::sync::oneshot;

use crate::config::Plan;

/// Requests that may wait for the control thread; more are refused as busy.
pub const QUEUE: usize = 256;

/// Why something was not done. The text names the cause and the remedy, and is shown to the user as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

impl From<String> for Refused {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Refused {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// Where the answer goes. Dropped without one, the asker is told that the control thread gave none.
#[derive(Debug)]
pub struct Reply<T>(oneshot::Sender<Result<T, Refused>>);

impl<T> Reply<T> {
    /// A reply and the end at which it arrives.
    #[must_use]
    pub fn new() -> (Self, oneshot::Receiver<Result<T, Refused>>) {
        let (tx, rx) = oneshot::channel();
        (Self(tx), rx)
    }

    /// Answers. Never blocks; nobody may be listening any more.
    pub fn send(self, answer: Result<T, Refused>) {
        let _ = self.0.send(answer);
    }

    /// Answers with a value.
    pub fn ok(self, value: T) {
        self.send(Ok(value));
    }

    /// Says no.
    pub fn refuse(self, why: impl Into<Refused>) {
        self.send(Err(why.into()));
    }

    /// True when nobody waits for the answer any more, so that a long one can be left.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.0.is_closed()
    }
}

/// One question or order for the control thread.
#[derive(Debug)]
pub enum Request {
    /// Carry out a plan, all or nothing. Answered when everything that can fail has been done; the file is saved already, and
    /// is restored if this is refused. No other `Apply` comes before the answer.
    Apply {
        /// What to do.
        plan: Box<Plan>,
        /// Done, or refused with nothing changed.
        reply: Reply<()>,
    },
    /// A page of the routing table.
    Routes {
        /// Which routes.
        query: RouteQuery,
        /// Only those after this prefix, in the order of `IpNet`; `None`: from the first.
        after: Option<IpNet>,
        /// At most this many rows; fewer may come, also none, as long as `next` says where to go on.
        limit: usize,
        /// The rows, and where to go on.
        reply: Reply<Page<api::Route, IpNet>>,
    },
    /// A page of the label table.
    Labels {
        /// This one only.
        label: Option<Label>,
        /// Only those after this one.
        after: Option<Label>,
        /// At most this many rows.
        limit: usize,
        /// The rows, and where to go on.
        reply: Reply<Page<api::LabelRoute, Label>>,
    },
    /// Which labels are for what.
    LabelRanges {
        /// It.
        reply: Reply<api::LabelRanges>,
    },
    /// Neighbours and interfaces of LDP.
    Ldp {
        /// It.
        reply: Reply<Box<api::Ldp>>,
    },
    /// A page of LDP's FECs and their labels.
    LdpBindings {
        /// This one only.
        prefix: Option<IpNet>,
        /// Only those after this one.
        after: Option<IpNet>,
        /// At most this many rows.
        limit: usize,
        /// The rows, and where to go on.
        reply: Reply<Page<api::LdpBinding, IpNet>>,
    },
    /// What LSP ping or a trace has found since.
    Lsp {
        /// What to find out; not looked at later.
        query: Box<api::LspQuery>,
        /// Which ping it is, and how much of it is known; `None`: it begins.
        after: Option<LspCursor>,
        /// The next rows, once there are some, or nothing more will come.
        reply: Reply<Page<api::LspProbe, LspCursor>>,
    },
    /// The interfaces, by name.
    Interfaces {
        /// Empty: all. Refused when there is none of that name.
        query: api::InterfaceQuery,
        /// The rows.
        reply: Reply<Vec<api::Interface>>,
    },
    /// The neighbours.
    Neighbors {
        /// Which of them.
        query: api::NeighborQuery,
        /// The rows.
        reply: Reply<Vec<api::Neighbor>>,
    },
    /// The workers.
    Workers {
        /// Whether the longest loops begin anew.
        reset: bool,
        /// The rows.
        reply: Reply<Vec<api::Worker>>,
    },
    /// What was dropped; rows that are zero are left out.
    Drops {
        /// Where.
        query: api::DropQuery,
        /// The rows.
        reply: Reply<Vec<api::Drop>>,
    },
    /// What the tables take.
    Vrfs {
        /// Empty: all.
        name: String,
        /// The rows, or that there is none of that name.
        reply: Reply<Vec<api::Vrf>>,
    },
    /// How full the tables are, and what they take.
    Memory {
        /// It.
        reply: Reply<api::Memory>,
    },
    /// What becomes of one packet.
    Explain {
        /// Which.
        query: Box<api::ExplainQuery>,
        /// It.
        reply: Reply<Box<api::Explanation>>,
    },
    /// The state of RCU.
    Rcu {
        /// It.
        reply: Reply<api::Rcu>,
    },
    /// The neighbours of BGP.
    BgpNeighbors {
        /// Which of them.
        query: api::BgpNeighborQuery,
        /// The rows.
        reply: Reply<Vec<api::BgpNeighbor>>,
    },
    /// A page of BGP's routes.
    BgpRoutes {
        /// Which routes.
        query: BgpRouteQuery,
        /// Where to go on; `None`: from the first.
        after: Option<BgpCursor>,
        /// The rows, and where to go on.
        reply: Reply<Page<api::BgpRoute, BgpCursor>>,
    },
    /// A piece of BGP's routes as MRT.
    BgpDump {
        /// Which routes; not looked at later.
        query: BgpDumpQuery,
        /// How far the dump is; `None`: it begins.
        after: Option<Box<Dump>>,
        /// Whole records, and how far the dump is.
        reply: Reply<Page<u8, Box<Dump>>>,
    },
    /// Who is told what BGP hears.
    BgpWatch {
        /// It.
        reply: Reply<api::BgpWatch>,
    },
    /// Have a neighbour of BGP do something.
    BgpCommand {
        /// Which, and what.
        command: api::BgpCommand,
        /// Done, or refused.
        reply: Reply<()>,
    },
    /// What a policy would do with a route.
    BgpPolicy {
        /// Which, and with what.
        query: Box<api::BgpPolicyQuery>,
        /// It.
        reply: Reply<Box<api::BgpPolicyTest>>,
    },
    /// The caches of the RPKI.
    Rpki {
        /// The rows.
        reply: Reply<Vec<api::RpkiCache>>,
    },
    /// What runs here. `name`, `config` and `version` may be left empty: the API thread fills them in.
    Status {
        /// It.
        reply: Reply<api::Status>,
    },
}

/// Some rows of a table, and where the next ones begin.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T, K> {
    /// In the order of their keys.
    pub rows: Vec<T>,
    /// The key of the last entry looked at, to be given as `after`; `None`: that was all.
    pub next: Option<K>,
}

/// Which routes to show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteQuery {
    /// In the table of this VRF; empty: the global one.
    pub vrf: String,
    /// By destination.
    pub matching: RouteMatch,
    /// Only this protocol's.
    pub protocol: Option<Protocol>,
}

/// Which destinations to show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RouteMatch {
    /// All.
    #[default]
    All,
    /// This very prefix.
    Exact(IpNet),
    /// The prefix and all within it.
    Within(IpNet),
    /// The one route that this address (a full-length prefix) would take.
    Longest(IpNet),
}

/// Which of BGP's routes to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BgpRouteQuery {
    /// By destination.
    pub matching: RouteMatch,
    /// Of these families, in this order; at least one.
    pub families: Vec<Family>,
    /// From which side.
    pub side: BgpSide,
    /// Of this VRF; empty: of the global table, and of VPNs.
    pub vrf: String,
}

/// From which side BGP's routes are looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BgpSide {
    /// All paths, as they are chosen from.
    Table,
    /// What this neighbour has sent, before policy.
    Received(String),
    /// What this neighbour was told.
    Advertised(String),
}

/// Which of BGP's routes to write down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BgpDumpQuery {
    /// As they came, not as the import policies left them.
    pub received: bool,
    /// Of these families.
    pub families: Vec<Family>,
}

/// How far BGP's routes have been shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BgpCursor {
    /// In this family.
    pub family: Family,
    /// From this prefix on; `None`: from the first.
    pub from: Option<Place>,
}

/// A ping or trace that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LspCursor {
    /// Which.
    pub handle: u32,
    /// Requests of it that were told of.
    pub told: usize,
}

/// Where a route comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// An address of the router.
    Local,
    /// A subnet of an interface.
    Connected,
    /// LDP.
    Ldp,
    /// The configuration.
    Static,
    /// BGP.
    Bgp,
}

impl Protocol {
    /// As in the API and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Connected => "connected",
            Self::Ldp => "ldp",
            Self::Static => "static",
            Self::Bgp => "bgp",
        }
    }
}

/// The API thread's end of the channel.
#[derive(Clone)]
pub struct Asker {
    tx: Sender<Request>,
    wake: Arc<dyn Fn() + Send + Sync>,
}

impl std::fmt::Debug for Asker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Asker")
            .field("waiting", &self.tx.len())
            .finish_non_exhaustive()
    }
}

/// Why a request could not be handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// Too many wait already.
    #[error("the control thread has more to do than it can take on; try again")]
    Busy,
    /// The appliance is going down.
    #[error("the appliance is shutting down")]
    Gone,
}

impl Asker {
    /// Hands over a request and wakes the control thread.
    ///
    /// # Errors
    /// The queue is full, or nobody reads it any more.
    pub fn ask(&self, request: Request) -> Result<(), AskError> {
        self.tx.try_send(request).map_err(|error| match error {
            TrySendError::Full(_) => AskError::Busy,
            TrySendError::Disconnected(_) => AskError::Gone,
        })?;
        (self.wake)();
        Ok(())
    }
}

/// A channel of requests; `wake` is called after each, from the API thread (with mio: `move || { let _ = waker.wake(); }`).
#[must_use]
pub fn channel(wake: impl Fn() + Send + Sync + 'static) -> (Asker, Receiver<Request>) {
    let (tx, rx) = bounded(QUEUE);
    (
        Asker {
            tx,
            wake: Arc::new(wake),
        },
        rx,
    )
}
