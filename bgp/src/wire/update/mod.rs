//! UPDATE in: RFC 4271 4.3 and 6.3 as RFC 7606 revised them, RFC 4760 3 and 4, RFC 4724 2 (End-of-RIB). Read RFC 7606 3 to 5
//! before editing; the attributes' own rules are rows in `table`.
//!
//! [`Update::parse`] walks the message once. What it gives borrows the message; nothing is allocated unless there are more
//! attributes than anybody sends. An error that RFC 7606 answers with a session reset is an `Err` with the NOTIFICATION;
//! every other is kept in [`Update::errors`] and has been acted upon: [`Update::reach`] is empty where the routes are to be
//! treated as withdrawn, and [`Update::unreach`] has them.
//!
//! Departures: "AFI/SAFI disable" is not used, the session is reset instead (RFC 7606 lets us choose). A next hop of the
//! wrong kind of length is an error even for a family that could have been located otherwise. Families that were not
//! negotiated are left out, with a word in `errors`.

mod canonical;
mod mp;
mod path;
mod table;

use std::net::Ipv4Addr;

use arrayvec::ArrayVec;

use crate::attrs::{code, flag};
use crate::types::{Asn, Family, NextHop, Relation};

use super::{Context, Nlri, Notification, update_error};
pub use table::{Action, AttrError, AttrSpec, Cause, Length, Scope, TABLE, spec};

use canonical::Slot;
pub(super) use canonical::attribute as append_attribute;
pub(super) use path::{as4_path, shorten};

/// Routes that are announced, and their next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach<'a> {
    /// Where to; `None` for flows.
    pub next_hop: Option<NextHop>,
    /// What.
    pub nlri: Nlri<'a>,
}

/// How many errors of one message are kept; the action follows from all.
const ERRORS: usize = 8;
/// How many runs of attributes are kept without allocating.
const SLOTS: usize = 12;

/// An UPDATE that was read.
#[derive(Clone, Debug)]
pub struct Update<'a> {
    attrs: &'a [u8],
    withdrawn: Nlri<'a>,
    announced: Reach<'a>,
    mp_reach: Option<Reach<'a>>,
    mp_unreach: Option<Nlri<'a>>,
    end_of_rib: Option<Family>,
    slots: ArrayVec<Slot, SLOTS>,
    /// Those that `slots` has no room for.
    more: Vec<Slot>,
    /// The attributes came in the order of their codes.
    sorted: bool,
    /// AS4_PATH and AS4_AGGREGATOR of a neighbour with AS numbers of two octets.
    as4_path: Option<&'a [u8]>,
    as4_aggregator: Option<[u8; 8]>,
    errors: ArrayVec<AttrError, ERRORS>,
    action: Option<Action>,
}

/// What is seen while the attributes are walked.
struct Walk<'a, 'c> {
    u: Update<'a>,
    ctx: &'c Context,
    seen: [u64; 4],
    last: u8,
    next_hop: Option<NextHop>,
    /// NEXT_HOP was there, right or wrong.
    next_hop_seen: bool,
    /// An MP_REACH_NLRI was there, of whatever family.
    reach_seen: bool,
    /// The AS of AGGREGATOR, if it has two octets.
    aggregator: Option<u16>,
}

impl<'a> Update<'a> {
    /// Reads what lies behind the header.
    ///
    /// # Errors
    /// What RFC 7606 answers with a session reset: lengths that contradict each other, NLRI that cannot be told apart,
    /// several MP_REACH_NLRI or MP_UNREACH_NLRI, and any error in an UPDATE without reachable NLRI (5.2).
    pub fn parse(body: &'a [u8], ctx: &Context) -> Result<Self, Notification> {
        let lengths = || Notification::update(update_error::MALFORMED_ATTRIBUTE_LIST, &[]);
        let network = |_| Notification::update(update_error::INVALID_NETWORK, &[]);
        let (withdrawn, rest) = counted(body).ok_or_else(lengths)?;
        let (attrs, announced) = counted(rest).ok_or_else(lengths)?;
        let v4 = Family::Ipv4Unicast;
        let u = Update {
            attrs,
            withdrawn: Nlri::parse(v4, withdrawn, true, ctx).map_err(network)?,
            announced: Reach {
                next_hop: None,
                nlri: Nlri::parse(v4, announced, false, ctx).map_err(network)?,
            },
            mp_reach: None,
            mp_unreach: None,
            end_of_rib: None,
            slots: ArrayVec::new(),
            more: Vec::new(),
            sorted: true,
            as4_path: None,
            as4_aggregator: None,
            errors: ArrayVec::new(),
            action: None,
        };
        let mut walk = Walk {
            u,
            ctx,
            seen: [0; 4],
            last: 0,
            next_hop: None,
            next_hop_seen: false,
            reach_seen: false,
            aggregator: None,
        };
        walk.attributes()?;
        walk.finish()
    }

    /// Routes announced, with their next hops: NLRI, then MP_REACH_NLRI. Nothing if they are to be treated as withdrawn.
    #[inline]
    pub fn reach(&self) -> impl Iterator<Item = Reach<'a>> + use<'a> {
        let good = self.action != Some(Action::TreatAsWithdraw);
        let announced = Some(self.announced).filter(|r| good && r.nlri.count > 0);
        let mp = self.mp_reach.filter(|r| good && r.nlri.count > 0);
        announced.into_iter().chain(mp)
    }

    /// Routes withdrawn: Withdrawn Routes, MP_UNREACH_NLRI, and those announced that are to be treated as withdrawn. They
    /// come before those of [`Update::reach`]: a prefix that is in both is announced (RFC 4271 4.3).
    #[inline]
    pub fn unreach(&self) -> impl Iterator<Item = Nlri<'a>> + use<'a> {
        let bad = self.action == Some(Action::TreatAsWithdraw);
        let mp_reach = self.mp_reach.map(|r| r.nlri).filter(|_| bad);
        let all = [
            Some(self.withdrawn),
            self.mp_unreach,
            Some(self.announced.nlri).filter(|_| bad),
            mp_reach,
        ];
        all.into_iter().flatten().filter(|n| n.count > 0)
    }

    /// The family whose initial routes are now complete (RFC 4724 2).
    #[must_use]
    pub fn end_of_rib(&self) -> Option<Family> {
        self.end_of_rib
    }

    /// What was wrong, the first of it.
    #[must_use]
    pub fn errors(&self) -> &[AttrError] {
        &self.errors
    }

    /// The strongest of what was done about errors.
    #[must_use]
    pub fn action(&self) -> Option<Action> {
        self.action
    }
}

/// A run behind a length of two octets, and what follows it.
fn counted(o: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = o.split_first_chunk()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))
}

impl<'a> Walk<'a, '_> {
    #[cold]
    fn error(&mut self, code: u8, cause: Cause, action: Action) {
        let _ = self.u.errors.try_push(AttrError {
            code,
            cause,
            action,
        });
        self.u.action = self.u.action.max(Some(action));
    }

    fn attributes(&mut self) -> Result<(), Notification> {
        let all = self.u.attrs;
        let mut at = 0;
        while let Some(rest) = all.get(at..).filter(|r| !r.is_empty()) {
            let (flags, code, start, len) = match *rest {
                [f, c, l0, l1, ..] if f & flag::EXTENDED != 0 => {
                    (f, c, 4, usize::from(u16::from_be_bytes([l0, l1])))
                }
                [f, c, l, ..] if f & flag::EXTENDED == 0 => (f, c, 3, usize::from(l)),
                // RFC 7606 4: the rest is no attribute.
                [_, c, ..] => {
                    self.error(c, Cause::Overrun, Action::TreatAsWithdraw);
                    return Ok(());
                }
                _ => {
                    self.error(0, Cause::Overrun, Action::TreatAsWithdraw);
                    return Ok(());
                }
            };
            let Some(value) = rest.get(start..start + len) else {
                self.error(code, Cause::Overrun, Action::TreatAsWithdraw);
                return Ok(());
            };
            let (word, bit) = (usize::from(code >> 6), 1 << (code & 63));
            if self.seen[word] & bit != 0 {
                self.twice(code)?;
            } else {
                self.seen[word] |= bit;
                let whole = Slot {
                    flags,
                    code,
                    at: at as u16,
                    len: (start + len) as u16,
                    head: start as u8,
                    how: canonical::How::Same,
                };
                self.one(whole, value)?;
            }
            at += start + len;
        }
        Ok(())
    }

    /// RFC 7606 3 g.
    #[cold]
    fn twice(&mut self, code: u8) -> Result<(), Notification> {
        if code == code::MP_REACH_NLRI || code == code::MP_UNREACH_NLRI {
            let error = update_error::MALFORMED_ATTRIBUTE_LIST;
            return Err(Notification::update(error, &[]));
        }
        self.error(code, Cause::Duplicate, Action::Discard);
        Ok(())
    }

    #[inline]
    fn one(&mut self, slot: Slot, value: &'a [u8]) -> Result<(), Notification> {
        let code = slot.code;
        let Some(spec) = spec(code) else {
            self.unknown(slot);
            return Ok(());
        };
        if slot.flags & (flag::OPTIONAL | flag::TRANSITIVE) != spec.flags {
            self.error(code, Cause::Flags, Action::TreatAsWithdraw);
            // Their routes are needed all the same, to be withdrawn.
            if code != code::MP_REACH_NLRI && code != code::MP_UNREACH_NLRI {
                self.next_hop_seen |= code == code::NEXT_HOP;
                return Ok(());
            }
        }
        let in_scope = match spec.scope {
            Scope::All => true,
            Scope::Confederation => self.ctx.relation != Relation::External,
            Scope::Internal => self.ctx.relation == Relation::Internal,
        };
        if !in_scope {
            return Ok(());
        }
        let fits = match spec.length {
            Length::Exactly(n) => value.len() == usize::from(n),
            Length::Multiple(n) => !value.is_empty() && value.len().is_multiple_of(n.into()),
            Length::Aggregator => value.len() == if self.ctx.as4 { 8 } else { 6 },
            Length::Own => true,
        };
        if !fits {
            self.next_hop_seen |= code == code::NEXT_HOP;
            // Without routes NEXT_HOP means nothing (RFC 4760 3).
            if code != code::NEXT_HOP || self.u.announced.nlri.count > 0 {
                self.error(code, Cause::Length, spec.on_error);
            }
            return Ok(());
        }
        self.value(slot, value, spec)
    }

    /// An attribute of the right length and flags.
    #[inline]
    fn value(
        &mut self,
        slot: Slot,
        value: &'a [u8],
        spec: &'static AttrSpec,
    ) -> Result<(), Notification> {
        match slot.code {
            code::ORIGIN if value.iter().any(|o| *o > 2) => {
                self.error(slot.code, Cause::Value, spec.on_error);
            }
            code::AS_PATH => match path::check(value, self.ctx) {
                Ok(()) if self.ctx.as4 => self.keep(slot, spec),
                Ok(()) => self.keep_as(slot, canonical::How::Path),
                Err(cause) => self.error(slot.code, cause, spec.on_error),
            },
            code::NEXT_HOP => self.next_hop(value),
            code::AGGREGATOR => self.aggregator(slot, value, spec),
            code::AS4_PATH | code::AS4_AGGREGATOR => self.as4(slot.code, value),
            code::MP_REACH_NLRI => self.mp_reach(value)?,
            code::MP_UNREACH_NLRI => self.mp_unreach(value)?,
            code::LARGE_COMMUNITIES if canonical::has_twins(value) => {
                self.keep_as(slot, canonical::How::LargeCommunities);
            }
            _ => self.keep(slot, spec),
        }
        Ok(())
    }

    fn next_hop(&mut self, value: &[u8]) {
        self.next_hop_seen = true;
        let a = Ipv4Addr::from(*value.first_chunk().unwrap_or(&[0; 4]));
        if mp::is_host4(a) {
            self.next_hop = Some(NextHop::V4(a));
        } else if self.u.announced.nlri.count > 0 {
            self.error(code::NEXT_HOP, Cause::Value, Action::TreatAsWithdraw);
        }
    }

    fn aggregator(&mut self, slot: Slot, value: &[u8], spec: &'static AttrSpec) {
        let asn = if self.ctx.as4 { 4 } else { 2 };
        if value.iter().take(asn).all(|o| *o == 0) {
            self.error(slot.code, Cause::AsZero, spec.on_error);
        } else if self.ctx.as4 {
            self.keep(slot, spec);
        } else {
            self.aggregator = value.first_chunk().map(|a| u16::from_be_bytes(*a));
            self.keep_as(slot, canonical::How::Aggregator);
        }
    }

    #[cold]
    fn as4(&mut self, code: u8, value: &'a [u8]) {
        if self.ctx.as4 {
            self.error(code, Cause::OutOfPlace, Action::Discard);
        } else if code == code::AS4_PATH {
            match path::check_as4(value, self.ctx) {
                Ok(()) => self.u.as4_path = Some(value),
                // An AS_SET hides in AS4_PATH as well as in AS_PATH (RFC 9774 3).
                Err(Cause::AsSet) => self.error(code, Cause::AsSet, Action::TreatAsWithdraw),
                Err(cause) => self.error(code, cause, Action::Discard),
            }
        } else if value.iter().take(4).all(|o| *o == 0) {
            self.error(code, Cause::AsZero, Action::Discard);
        } else {
            self.u.as4_aggregator = value.first_chunk().copied();
        }
    }

    /// RFC 4271 5: passed on with the Partial bit if it is transitive, else left out.
    fn unknown(&mut self, slot: Slot) {
        match slot.flags & (flag::OPTIONAL | flag::TRANSITIVE) {
            flag::OPTIONAL => {}
            f if f & flag::OPTIONAL == 0 => {
                self.error(slot.code, Cause::UnknownWellKnown, Action::TreatAsWithdraw);
            }
            f => self.keep_flags(slot, f | flag::PARTIAL),
        }
    }

    /// What follows from all attributes together.
    fn finish(mut self) -> Result<Update<'a>, Notification> {
        let plain = self.u.announced.nlri.count > 0;
        if plain && !self.ctx.families.contains(Family::Ipv4Unicast) {
            self.error(code::NEXT_HOP, Cause::Family, Action::Discard);
            self.u.announced.nlri = Nlri::empty(Family::Ipv4Unicast);
        }
        if self.u.withdrawn.count > 0 && !self.ctx.families.contains(Family::Ipv4Unicast) {
            self.error(code::NEXT_HOP, Cause::Family, Action::Discard);
            self.u.withdrawn = Nlri::empty(Family::Ipv4Unicast);
        }
        self.u.announced.next_hop = self.next_hop;
        // RFC 6793 4.2.3: somebody who knows no AS4_ attributes has made another aggregate since.
        let other = self.aggregator.is_some_and(|a| a != Asn::TRANS.short());
        if other && self.u.as4_aggregator.is_some() {
            (self.u.as4_path, self.u.as4_aggregator) = (None, None);
        }
        let reachable = plain || self.reach_seen;
        if reachable {
            let seen = |code: u8| self.seen[0] & 1 << code != 0;
            let missing = [
                (code::ORIGIN, seen(code::ORIGIN)),
                (code::AS_PATH, seen(code::AS_PATH)),
                (code::NEXT_HOP, self.next_hop_seen || !plain),
            ];
            for (code, _) in missing.into_iter().filter(|m| !m.1) {
                self.error(code, Cause::Missing, Action::TreatAsWithdraw);
            }
        } else {
            self.without_routes()?;
        }
        Ok(self.u)
    }

    /// RFC 7606 5.2: without reachable NLRI, an error may be that they were not found. RFC 4724 2: the end of a table.
    fn without_routes(&mut self) -> Result<(), Notification> {
        let unreach_alone = self.seen == [1 << code::MP_UNREACH_NLRI, 0, 0, 0];
        if self.u.action == Some(Action::TreatAsWithdraw) && !unreach_alone {
            let error = update_error::MALFORMED_ATTRIBUTE_LIST;
            return Err(Notification::update(error, &[]));
        }
        if self.u.withdrawn.octets.is_empty() && self.u.errors.is_empty() {
            if self.u.attrs.is_empty() {
                self.u.end_of_rib = Some(Family::Ipv4Unicast);
            } else if unreach_alone {
                let empty = self.u.mp_unreach.filter(|n| n.count == 0);
                self.u.end_of_rib = empty.map(|n| n.family);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
