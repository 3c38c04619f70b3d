//! Events 19 to 28, the messages: RFC 4271 8.2.2 and 6, collisions (6.8, RFC 6286 2.3), RFC 5492 5, RFC 6608, RFC 7313 4.

use std::sync::Arc;
use std::time::Instant;

use super::fsm::After;
use super::negotiate::{self, Negotiated};
use super::receive::Handler;
use super::{Cause, Output, Session, Stage};
use crate::types::Family;
use crate::wire::{
    Code, Kind, Message, Notification, Open, Refresh, RouteRefresh, cease, open_error,
};

/// So many octets of a NOTIFICATION's data are kept for who asks later: more than any text has (RFC 9003).
const KEPT: usize = 512;

impl Session {
    /// One whole message, without its header.
    pub(super) fn message<H: Handler>(
        &mut self,
        now: Instant,
        i: usize,
        kind: Kind,
        body: &[u8],
        handler: &mut H,
        out: &mut Vec<Output>,
    ) {
        let Some(stage) = self.stage(i) else {
            return;
        };
        self.counters.received.hit(kind);
        match (kind, stage) {
            (Kind::Update, Stage::Established) => self.update(now, i, body, handler, out),
            (Kind::Keepalive, Stage::Established) => self.heard(now, i),
            (Kind::RouteRefresh, Stage::Established) => self.refreshed(now, i, body, out),
            (Kind::Open, Stage::Delaying | Stage::OpenSent) => self.opened(now, i, body, out),
            (Kind::Keepalive, Stage::OpenConfirm) => self.up(now, i, out),
            (Kind::Notification, _) => self.notified(now, i, &Notification::parse(body), out),
            _ => {
                let state = self.lanes[i].as_ref().map(super::Lane::state);
                let state = state.unwrap_or_default();
                let cause = Cause::Unexpected { kind, state };
                self.lose(now, i, cause, After::Damp, out);
            }
        }
    }

    /// Events 21, 22 and 28.
    pub(super) fn refuse(
        &mut self,
        now: Instant,
        i: usize,
        (sent, why): (Notification, String),
        out: &mut Vec<Output>,
    ) {
        let cause = Cause::Refused { sent, why };
        self.lose(now, i, cause, After::Damp, out);
    }

    /// The hold timer starts anew.
    fn heard(&mut self, now: Instant, i: usize) {
        if let Some(lane) = &mut self.lanes[i]
            && let Some(agreed) = &lane.agreed
            && !agreed.hold_time.is_zero()
        {
            lane.hold_at = Some(now + agreed.hold_time);
        }
    }

    fn update<H: Handler>(
        &mut self,
        now: Instant,
        i: usize,
        body: &[u8],
        handler: &mut H,
        out: &mut Vec<Output>,
    ) {
        self.heard(now, i);
        let agreed = self.lanes[i].as_ref().and_then(|l| l.agreed.as_deref());
        let Some(Err(n)) = agreed.map(|a| handler.update(body, a)) else {
            return;
        };
        if (n.code, n.subcode) == (Code::Cease as u8, cease::MAX_PREFIXES) {
            return self.limit(now, i, limit_of(&n), out);
        }
        let why = "peer sent an UPDATE that cannot be read".to_owned();
        self.refuse(now, i, (n, why), out);
    }

    /// Events 19 and 20.
    fn opened(&mut self, now: Instant, i: usize, body: &[u8], out: &mut Vec<Output>) {
        let theirs = match Open::parse(body) {
            Ok(open) => open,
            Err(n) => {
                let why = open_why(&n).to_owned();
                return self.refuse(now, i, (n, why), out);
            }
        };
        let delayed = self.stage(i) == Some(Stage::Delaying);
        let ours = self.lanes[i].as_ref().and_then(|l| l.open.clone());
        let ours = ours.unwrap_or_else(|| self.our_open());
        let agreed = match negotiate::agree(&self.config, &ours, theirs) {
            Ok(agreed) => agreed,
            Err(refusal) => return self.refuse(now, i, refusal, out),
        };
        if !self.survives(now, i, &agreed, out) {
            return;
        }
        if delayed {
            self.send_open(now, i, out);
        }
        let Some(lane) = &mut self.lanes[i] else {
            return;
        };
        let hold = agreed.hold_time;
        lane.heard = body.to_vec();
        lane.stage = Stage::OpenConfirm;
        lane.hold_at = (!hold.is_zero()).then(|| now + hold);
        lane.agreed = Some(Arc::new(agreed));
        let conn = lane.conn;
        self.send(conn, &Message::Keepalive, out);
        self.restart_keepalive(now, i);
        self.stop_connect_retry();
    }

    /// RFC 4271 6.8: of two connections, that stays which was opened by the side with the higher identifier, or with the
    /// larger AS number where they are the same (RFC 6286 2.3).
    fn survives(
        &mut self,
        now: Instant,
        i: usize,
        agreed: &Negotiated,
        out: &mut Vec<Output>,
    ) -> bool {
        let Some(ours) = self.lanes[i].as_ref().map(|l| l.ours) else {
            return false;
        };
        let other = 1 - i;
        let compared = match &self.lanes[other] {
            Some(l) if l.stage == Stage::Established => self.config.collide_established,
            // Before its OPEN has come, nobody knows that it is from the same speaker.
            Some(l) if l.stage < Stage::OpenConfirm => return true,
            Some(_) => true,
            None => return true,
        };
        let local = (agreed.router_id.number(), agreed.local_as);
        let peer = (agreed.peer_id.number(), agreed.peer_as);
        let both_theirs = self.lanes().all(|l| !l.ours);
        let stays = compared && !both_theirs && ours == (local > peer);
        let loser = if stays { other } else { i };
        self.lose(now, loser, Cause::Collision, After::Stay, out); // event 23
        stays
    }

    /// Event 26 in OpenConfirm.
    fn up(&mut self, now: Instant, i: usize, out: &mut Vec<Output>) {
        self.close_all_but(now, i, &Cause::Collision, out);
        self.heard(now, i);
        let Some(lane) = &mut self.lanes[i] else {
            return;
        };
        let Some(agreed) = lane.agreed.clone() else {
            return;
        };
        lane.stage = Stage::Established;
        lane.established_at = Some(now);
        let conn = lane.conn;
        self.connect_retry_at = None;
        self.drops = 0;
        self.counters.established += 1;
        out.push(Output::Up(conn, agreed));
    }

    /// Events 24 and 25.
    fn notified(&mut self, now: Instant, i: usize, n: &Notification, out: &mut Vec<Output>) {
        let open = |subcode| (n.code, n.subcode) == (Code::Open as u8, subcode);
        let before = self.stage(i) == Some(Stage::OpenSent);
        let ours = self.lanes[i].as_ref().and_then(|l| l.open.as_ref());
        let bare = ours.is_some_and(|o| o.capabilities == Default::default());
        // An old neighbour that knows nothing of capabilities: the next OPEN goes without (RFC 5492 5).
        let old = before && !bare && open(open_error::UNSUPPORTED_PARAMETER) && self.can_be_bare();
        let after = if old || open(open_error::UNSUPPORTED_VERSION) {
            After::DampUncounted
        } else {
            After::Damp
        };
        let mut n = n.clone();
        n.data.truncate(KEPT);
        self.lose(now, i, Cause::Received(n), after, out);
        self.bare |= old;
    }

    /// A session without capabilities would do: IPv4 unicast is wanted, and no role is asked for.
    fn can_be_bare(&self) -> bool {
        self.config.family(Family::Ipv4Unicast).is_some()
            && !self.config.role.is_some_and(|r| r.strict)
    }

    fn refreshed(&mut self, now: Instant, i: usize, body: &[u8], out: &mut Vec<Output>) {
        let message = match RouteRefresh::parse(body) {
            Ok(m) => m,
            Err(n) => {
                let why = "peer's ROUTE-REFRESH cannot be used".to_owned();
                return self.refuse(now, i, (n, why), out);
            }
        };
        let Some(agreed) = self.lanes[i].as_ref().and_then(|l| l.agreed.as_ref()) else {
            return;
        };
        let Some(family) = message.known_family() else {
            return;
        };
        let meant = match message.refresh {
            Refresh::Request => self.config.offer.refresh,
            Refresh::Begin | Refresh::End => agreed.enhanced_refresh,
            Refresh::Unknown(_) => false,
        };
        if meant && agreed.context.families.contains(family) {
            out.push(Output::Refresh(family, message.refresh));
        }
    }
}

/// What an operator can do about an OPEN that cannot be read.
fn open_why(n: &Notification) -> &'static str {
    match n.subcode {
        open_error::UNSUPPORTED_VERSION => "peer speaks another version of BGP than 4",
        open_error::BAD_PEER_AS => {
            "peer says that its AS is 0, which names nobody: correct it there"
        }
        open_error::BAD_IDENTIFIER => {
            "peer says that its BGP identifier is 0.0.0.0: configure its router-id there"
        }
        open_error::UNSUPPORTED_PARAMETER => {
            "peer sent an optional parameter other than capabilities: switch that off there"
        }
        open_error::UNACCEPTABLE_HOLD_TIME => {
            "peer offers a hold time of 1 or 2 s: configure 0, or at least 3, there"
        }
        open_error::ROLE_MISMATCH => "peer says that it has two different roles",
        _ => "peer's OPEN is malformed",
    }
}

/// The family and limit that RFC 4486 4 has as data.
fn limit_of(n: &Notification) -> Option<(Family, u32)> {
    let [a0, a1, safi, limit @ ..] = &n.data[..] else {
        return None;
    };
    let family = Family::from_code(u16::from_be_bytes([*a0, *a1]), *safi)?;
    Some((family, u32::from_be_bytes(limit.try_into().ok()?)))
}
