//! Why a session is not up, in words for operators. Read RFC 4271 6, RFC 4486, RFC 9003.

use std::fmt;
use std::time::{Duration, Instant};

use super::State;
use crate::types::Family;
use crate::wire::{Kind, Notification, cease, fsm};

/// What the operator, or the rest of the router, wants of a session: events 2 and 8 of RFC 4271 8.1.2, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Down until it is started again, with a text for the other side (RFC 9003).
    Shutdown(String),
    /// The neighbour is being removed.
    Deconfigured,
    /// Down and up again, with a text (RFC 9003).
    Reset {
        /// For the other side; may be empty.
        text: String,
        /// The other side shall forget our routes meanwhile (RFC 8538).
        hard: bool,
    },
    /// Down and up again, since what was agreed on at its start has changed.
    ConfigChanged,
    /// Memory or the like ran out.
    OutOfResources,
    /// BFD saw the path go (RFC 9384).
    BfdDown,
}

/// What happened to a session or to an attempt to have one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// We ended it, as [`Stop`] says.
    Stopped(Stop),
    /// More prefixes than the limit. A handler that finds out by itself names no family.
    MaxPrefixes {
        /// What there were too many of, and the limit.
        limit: Option<(Family, u32)>,
        /// When it comes back by itself.
        restart: Option<Duration>,
    },
    /// The other side ended it.
    Received(Notification),
    /// What the other side sent is in error.
    Refused {
        /// What it was told.
        sent: Notification,
        /// What is wrong, and what would be right.
        why: String,
    },
    /// A message that has no place in this state (RFC 4271 6.6).
    Unexpected {
        /// The message.
        kind: Kind,
        /// The state.
        state: State,
    },
    /// Nothing was heard for so long.
    HoldTimer(Duration, State),
    /// Nothing was read by the neighbour for so long (RFC 9687).
    SendHoldTimer(Duration),
    /// The connection broke, or the other side closed it without a word.
    Closed(String),
    /// A connection could not be made.
    ConnectFailed(String),
    /// Nobody answered within the connect retry time.
    ConnectTimeout,
    /// Two connections at once: this one lost (RFC 4271 6.8).
    Collision,
    /// The neighbour, which knows graceful restart, opened a new connection (RFC 4724 5).
    Replaced,
}

impl Cause {
    /// The NOTIFICATION that goes with it, sent or received.
    #[must_use]
    pub fn notification(&self) -> Option<Notification> {
        match self {
            Self::Stopped(Stop::Shutdown(text)) => Some(Notification::shutdown(text)),
            Self::Stopped(Stop::Reset { text, .. }) => Some(Notification::reset(text)),
            Self::Stopped(Stop::Deconfigured) => Some(Notification::cease(cease::DECONFIGURED)),
            Self::Stopped(Stop::ConfigChanged) => Some(Notification::cease(cease::CONFIG_CHANGE)),
            Self::Stopped(Stop::OutOfResources) => {
                Some(Notification::cease(cease::OUT_OF_RESOURCES))
            }
            Self::Stopped(Stop::BfdDown) => Some(Notification::cease(cease::BFD_DOWN)),
            Self::MaxPrefixes { limit, .. } => Some(limit.map_or_else(
                || Notification::cease(cease::MAX_PREFIXES),
                |(family, n)| Notification::max_prefixes(family, n),
            )),
            Self::Received(n) | Self::Refused { sent: n, .. } => Some(n.clone()),
            Self::Unexpected { kind, state } => {
                let sub = match state {
                    State::OpenSent => fsm::IN_OPEN_SENT,
                    State::OpenConfirm => fsm::IN_OPEN_CONFIRM,
                    State::Established => fsm::IN_ESTABLISHED,
                    State::Idle | State::Connect | State::Active => return None,
                };
                Some(Notification::fsm(sub, *kind))
            }
            Self::HoldTimer(..) => Some(Notification::hold_timer_expired()),
            Self::SendHoldTimer(_) => Some(Notification::send_hold_timer_expired()),
            Self::Collision => Some(Notification::cease(cease::COLLISION)),
            Self::Closed(_) | Self::ConnectFailed(_) | Self::ConnectTimeout | Self::Replaced => {
                None
            }
        }
    }

    /// The neighbour is to forget our routes and we its, graceful restart or not: the rows of RFC 8538 5.1 that say so.
    #[must_use]
    pub fn is_hard(&self) -> bool {
        match self {
            Self::Stopped(s) => match s {
                Stop::Shutdown(_) | Stop::Deconfigured => true,
                Stop::Reset { hard, .. } => *hard,
                Stop::ConfigChanged | Stop::OutOfResources | Stop::BfdDown => false,
            },
            Self::MaxPrefixes { .. } => true,
            Self::Received(n) => n.is_hard_reset(),
            _ => false,
        }
    }
}

impl fmt::Display for Cause {
    /// `peer sent cease: administrative shutdown: "maintenance"`, `hold timer expired after 9 s: nothing was received`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped(Stop::Shutdown(t)) if t.is_empty() => {
                f.write_str("shut down by the operator")
            }
            Self::Stopped(Stop::Shutdown(t)) => write!(f, "shut down by the operator: \"{t}\""),
            Self::Stopped(Stop::Deconfigured) => f.write_str("no longer configured"),
            Self::Stopped(Stop::Reset { text, .. }) if text.is_empty() => {
                f.write_str("reset by the operator")
            }
            Self::Stopped(Stop::Reset { text, .. }) => {
                write!(f, "reset by the operator: \"{text}\"")
            }
            Self::Stopped(Stop::ConfigChanged) => {
                f.write_str("restarted for a change of its configuration")
            }
            Self::Stopped(Stop::OutOfResources) => f.write_str("stopped: out of resources"),
            Self::Stopped(Stop::BfdDown) => f.write_str("BFD says that the path is down"),
            Self::MaxPrefixes { limit, restart } => {
                match limit {
                    Some((family, n)) => write!(f, "peer sent more than {n} prefixes of {family}")?,
                    None => f.write_str("peer sent too many prefixes")?,
                }
                match restart {
                    Some(d) => write!(f, "; it is tried again after {} s", d.as_secs()),
                    None => f.write_str(
                        "; raise max-prefixes or have it send fewer, then reset the neighbour",
                    ),
                }
            }
            Self::Received(n) => write!(f, "peer sent {n}"),
            Self::Refused { sent, why } => write!(f, "{why} (we sent {sent})"),
            Self::Unexpected { kind, state } => {
                write!(
                    f,
                    "peer sent {} in {state}, where it has no place",
                    kind_name(*kind)
                )
            }
            Self::HoldTimer(d, State::Established) => {
                write!(
                    f,
                    "hold timer expired after {} s: nothing was received",
                    d.as_secs()
                )
            }
            Self::HoldTimer(d, State::OpenConfirm) => {
                write!(
                    f,
                    "hold timer expired after {} s: no KEEPALIVE answered our OPEN",
                    d.as_secs()
                )
            }
            Self::HoldTimer(d, _) => write!(f, "peer sent no OPEN within {} s", d.as_secs()),
            Self::SendHoldTimer(d) => {
                write!(
                    f,
                    "send hold timer expired after {} s: peer read nothing",
                    d.as_secs()
                )
            }
            Self::Closed(why) => write!(f, "the connection was lost: {why}"),
            Self::ConnectFailed(why) => write!(f, "cannot connect: {why}"),
            Self::ConnectTimeout => f.write_str("cannot connect: nobody answers"),
            Self::Collision => f.write_str("two connections at once: the other one was kept"),
            Self::Replaced => f.write_str("peer restarted and opened a new connection"),
        }
    }
}

pub(super) const fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Open => "OPEN",
        Kind::Update => "UPDATE",
        Kind::Notification => "NOTIFICATION",
        Kind::Keepalive => "KEEPALIVE",
        Kind::RouteRefresh => "ROUTE-REFRESH",
    }
}

/// The last thing that ended a session or an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reset {
    /// When.
    pub at: Instant,
    /// The state of the connection that it happened to.
    pub state: State,
    /// What happened.
    pub cause: Cause,
}

impl fmt::Display for Reset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)
    }
}
