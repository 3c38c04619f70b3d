//! One session: the state machine of RFC 5036 2.5.4, its parameters (3.5.3) and timers (2.5.6).
//!
//! [`Session`] does no I/O: it is given time and octets, and pushes what is to be done ([`Act`]). It knows nothing of labels:
//! what comes while it is operational is handed on. Who connects again when, and whom a connection is from, is decided
//! outside ([`crate::speaker`]).
//!
//! What 2.5.4 leaves open, and is chosen here:
//! - A message that has no place in a state is answered with Shutdown.
//! - A session that is not operational after [`Proposal::setup`] is ended as one that is not heard: keepalive timer expired.
//! - A second Initialization of an operational session is passed over.
//! - On-demand distribution of a neighbour is no reason to reject it: as 3.5.3 says, both then tell unasked.
//!
//! Left out: graceful restart (RFC 3478), and what is set on sockets (TTL of RFC 6720, TCP MD5).

use std::fmt;
use std::time::{Duration, Instant};

use crate::types::LdpId;
use crate::wire::{
    Body, Capabilities, DEFAULT_MAX, Initialization, Message, Notification, Pdu, Pdus, Status,
    VERSION, WireError,
};

/// The states of 2.5.4.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// There is no connection.
    #[default]
    NonExistent,
    /// There is, and nothing was said.
    Initialized,
    /// The other's Initialization was accepted; its KeepAlive is waited for.
    OpenRec,
    /// Our Initialization was sent.
    OpenSent,
    /// Labels are told.
    Operational,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// We ended it and said this.
    #[error("we ended the session: {0}")]
    Sent(Status),
    /// What came was wrong.
    #[error("we ended the session: {0}")]
    Wrong(WireError),
    /// The other one ended it and said this.
    #[error("the neighbour ended the session: {0}")]
    Received(Status),
    /// The connection ended, or could not be made.
    #[error("the connection ended without a word, or could not be made")]
    Connection,
}

/// What a session offers.
#[derive(Clone, Copy, Debug)]
pub struct Proposal {
    /// Who we are.
    pub local: LdpId,
    /// Seconds without a word after which the other one is dead; not 0.
    pub keepalive: u16,
    /// The longest PDU, from 256 up.
    pub max_pdu: u16,
    /// How long it may take to become operational.
    pub setup: Duration,
}

impl Proposal {
    /// 180 s, 4096 octets, and 15 s to become operational.
    #[must_use]
    pub const fn new(local: LdpId) -> Self {
        Self {
            local,
            keepalive: 180,
            max_pdu: DEFAULT_MAX,
            setup: Duration::from_secs(15),
        }
    }
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Queue these octets.
    Send(Vec<u8>),
    /// The state is now this.
    State(State),
    /// A message of an operational session.
    Got(Message),
    /// Write what is queued, then close. Nothing follows.
    Close(Cause),
}

/// A session, from its connection to its end.
#[derive(Debug)]
pub struct Session {
    proposal: Proposal,
    /// Whom it is with; not known of a connection that came until it says so.
    peer: Option<LdpId>,
    state: State,
    over: bool,
    /// The beginning of a PDU of which the rest has not come.
    tail: Vec<u8>,
    message_id: u32,
    hold: Duration,
    max_pdu: u16,
    capabilities: Capabilities,
    loop_detection: bool,
    setup_at: Option<Instant>,
    hold_at: Option<Instant>,
    keepalive_at: Option<Instant>,
}

impl Session {
    /// One that we open: `peer` is whom it is to.
    #[must_use]
    pub fn active(proposal: Proposal, peer: LdpId, now: Instant) -> Self {
        Self::new(proposal, Some(peer), now)
    }

    /// One that came.
    #[must_use]
    pub fn passive(proposal: Proposal, now: Instant) -> Self {
        let mut s = Self::new(proposal, None, now);
        s.state = State::Initialized;
        s
    }

    fn new(proposal: Proposal, peer: Option<LdpId>, now: Instant) -> Self {
        Self {
            proposal,
            peer,
            state: State::NonExistent,
            over: false,
            tail: vec![],
            message_id: 0,
            hold: Duration::from_secs(proposal.keepalive.into()),
            max_pdu: DEFAULT_MAX,
            capabilities: Capabilities::default(),
            loop_detection: false,
            setup_at: Some(now + proposal.setup),
            hold_at: None,
            keepalive_at: None,
        }
    }

    /// Which.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// Whom it is with, if that is known.
    #[must_use]
    pub const fn peer(&self) -> Option<LdpId> {
        self.peer
    }

    /// What the other one can do, as far as it has said.
    #[must_use]
    pub const fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// The other one looks for loops, so it is to be told hop counts (RFC 5036 2.8).
    #[must_use]
    pub const fn wants_hop_counts(&self) -> bool {
        self.loop_detection
    }

    /// The hold time as agreed.
    #[must_use]
    pub const fn hold(&self) -> Duration {
        self.hold
    }

    /// The longest PDU as agreed.
    #[must_use]
    pub const fn max_pdu(&self) -> u16 {
        self.max_pdu
    }

    /// The connection that we asked for is there.
    pub fn connected(&mut self, now: Instant, out: &mut Vec<Act>) {
        if self.over || self.state != State::NonExistent {
            return;
        }
        self.enter(State::Initialized, out);
        if let Some(peer) = self.peer {
            let init = self.initialization(peer);
            self.send(now, [init], out);
            self.enter(State::OpenSent, out);
        }
    }

    fn initialization(&self, receiver: LdpId) -> Body {
        Body::Initialization(Initialization {
            version: VERSION,
            keepalive: self.proposal.keepalive,
            on_demand: false,
            loop_detection: false,
            path_vector_limit: 0,
            max_pdu: self.proposal.max_pdu,
            receiver,
            capabilities: Capabilities {
                dynamic: Some(true),
                typed_wildcard: Some(true),
                unrecognized_notification: Some(true),
            },
        })
    }

    fn enter(&mut self, state: State, out: &mut Vec<Act>) {
        self.state = state;
        out.push(Act::State(state));
    }

    /// Sends messages, each with a number of its own.
    pub fn send(
        &mut self,
        now: Instant,
        bodies: impl IntoIterator<Item = Body>,
        out: &mut Vec<Act>,
    ) {
        let mut pdus = Pdus::new(self.proposal.local, self.max_pdu);
        for body in bodies {
            self.message_id = self.message_id.wrapping_add(1);
            let m = Message {
                id: self.message_id,
                body,
            };
            let fits = pdus.push(&m);
            debug_assert!(
                fits.is_ok(),
                "what is sent here is short, or as long as what came: {m:?}"
            );
        }
        if !pdus.is_empty() {
            self.keepalive_at = self.keepalive_at.map(|_| now + self.hold / 3);
            out.push(Act::Send(pdus.finish()));
        }
    }

    /// Ends it, saying why.
    pub fn end(&mut self, now: Instant, status: Status, out: &mut Vec<Act>) {
        self.finish(now, &Notification::new(status), Cause::Sent(status), out);
    }

    fn finish(&mut self, now: Instant, n: &Notification, cause: Cause, out: &mut Vec<Act>) {
        if self.over {
            return;
        }
        if self.state != State::NonExistent {
            self.send(now, [Body::Notification(n.clone())], out);
        }
        self.close(cause, out);
    }

    /// The connection ended, or could not be made.
    pub fn closed(&mut self, out: &mut Vec<Act>) {
        if !self.over {
            self.close(Cause::Connection, out);
        }
    }

    fn close(&mut self, cause: Cause, out: &mut Vec<Act>) {
        self.over = true;
        self.setup_at = None;
        self.hold_at = None;
        self.keepalive_at = None;
        self.enter(State::NonExistent, out);
        out.push(Act::Close(cause));
    }

    /// When [`Self::tick`] has something to do.
    #[must_use]
    pub fn poll_at(&self) -> Option<Instant> {
        [self.setup_at, self.hold_at, self.keepalive_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant, out: &mut Vec<Act>) {
        let due = |at: Option<Instant>| at.is_some_and(|t| t <= now);
        if due(self.setup_at) || due(self.hold_at) {
            self.end(now, Status::KeepAliveExpired, out);
        } else if due(self.keepalive_at) {
            self.send(now, [Body::KeepAlive], out);
        }
    }

    /// Takes octets as they came. `admit` says, of who calls himself that on a connection that came, whether a session may be;
    /// it is asked once.
    pub fn receive(
        &mut self,
        now: Instant,
        octets: &[u8],
        admit: &mut dyn FnMut(LdpId) -> Result<(), Status>,
        out: &mut Vec<Act>,
    ) {
        if self.over {
            return;
        }
        let mut held = std::mem::take(&mut self.tail);
        held.extend_from_slice(octets);
        let mut rest = held.as_slice();
        while !self.over {
            match Pdu::parse(rest, self.max_pdu) {
                Ok(Some(pdu)) => {
                    self.pdu(now, &pdu, admit, out);
                    rest = rest.get(pdu.octets..).unwrap_or_default();
                }
                Ok(None) => break,
                Err(e) => self.wrong(now, e, out),
            }
        }
        if !self.over {
            self.tail = rest.to_vec();
        }
    }

    fn wrong(&mut self, now: Instant, e: WireError, out: &mut Vec<Act>) {
        self.finish(now, &Notification::of(&e), Cause::Wrong(e), out);
    }

    fn pdu(
        &mut self,
        now: Instant,
        pdu: &Pdu<'_>,
        admit: &mut dyn FnMut(LdpId) -> Result<(), Status>,
        out: &mut Vec<Act>,
    ) {
        if self.peer.is_some_and(|p| p != pdu.id) {
            return self.end(now, Status::BadLdpId, out);
        }
        // Any PDU is a sign of life (2.5.6).
        self.hold_at = self.hold_at.map(|_| now + self.hold);
        for m in pdu.messages() {
            match m {
                Ok(m) => self.message(now, pdu.id, m, admit, out),
                Err(e) if e.is_fatal() => self.wrong(now, e, out),
                Err(e) => {
                    self.send(now, [Body::Notification(Notification::of(&e))], out);
                    if self.state != State::Operational {
                        self.end(now, Status::Shutdown, out);
                    }
                }
            }
            if self.over {
                return;
            }
        }
    }

    /// The table of 2.5.4.
    fn message(
        &mut self,
        now: Instant,
        from: LdpId,
        m: Message,
        admit: &mut dyn FnMut(LdpId) -> Result<(), Status>,
        out: &mut Vec<Act>,
    ) {
        match (self.state, m.body) {
            (_, Body::Notification(n)) if n.fatal => {
                if n.status == Status::Shutdown && self.state == State::Operational {
                    self.send(
                        now,
                        [Body::Notification(Notification::new(Status::Shutdown))],
                        out,
                    );
                }
                self.close(Cause::Received(n.status), out);
            }
            (State::Initialized, Body::Initialization(init)) => {
                if let Err(status) = admit(from).and_then(|()| self.agree(&init)) {
                    return self.end(now, status, out);
                }
                self.peer = Some(from);
                let ours = self.initialization(from);
                self.send(now, [ours, Body::KeepAlive], out);
                self.enter(State::OpenRec, out);
            }
            (State::OpenSent, Body::Initialization(init)) => {
                if let Err(status) = self.agree(&init) {
                    return self.end(now, status, out);
                }
                self.send(now, [Body::KeepAlive], out);
                self.enter(State::OpenRec, out);
            }
            (State::OpenRec, Body::KeepAlive) => {
                self.setup_at = None;
                self.hold_at = Some(now + self.hold);
                self.keepalive_at = Some(now + self.hold / 3);
                self.enter(State::Operational, out);
            }
            (State::Operational, Body::KeepAlive | Body::Initialization(_) | Body::Hello(_)) => {}
            (State::Operational, Body::Capability(changes)) => {
                self.capabilities = self.capabilities.changed(changes);
            }
            (State::Operational, body) => out.push(Act::Got(Message { id: m.id, body })),
            _ => self.end(now, Status::Shutdown, out),
        }
    }

    /// RFC 5036 3.5.3, and the checks of 2.5.3.
    fn agree(&mut self, init: &Initialization) -> Result<(), Status> {
        if init.version != VERSION {
            return Err(Status::BadVersion);
        }
        if init.receiver != self.proposal.local {
            return Err(Status::NoHello);
        }
        if init.keepalive == 0 {
            return Err(Status::BadKeepAlive);
        }
        let keepalive = init.keepalive.min(self.proposal.keepalive);
        self.hold = Duration::from_secs(keepalive.into());
        self.max_pdu = init.longest_pdu().min(self.proposal.max_pdu);
        self.loop_detection = init.loop_detection;
        self.capabilities = init.capabilities;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
