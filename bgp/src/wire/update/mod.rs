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
mod common;
mod mp;
mod path;
mod table;

use std::net::Ipv4Addr;

use arrayvec::ArrayVec;

use crate::attrs::{AttrBuf, SidShape, code, flag, sid_shape};
use crate::types::{Asn, Family, FamilySet, NextHop, Relation};

use super::nlri::Form;
use super::{Context, HEADER, MAX_EXTENDED, Nlri, Notification, update_error};
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
const ERRORS: usize = 4;
/// How many runs of attributes are kept without allocating.
const SLOTS: usize = 7;

/// An UPDATE that was read.
///
/// Small, since it is handed on by value: where its parts are is kept as offsets.
#[derive(Clone, Debug)]
pub struct Update<'a> {
    body: &'a [u8],
    withdrawn: Section,
    announced: Section,
    mp_reach: Section,
    mp_unreach: Section,
    next_hop: Option<Ipv4Addr>,
    mp_next_hop: Option<NextHop>,
    slots: ArrayVec<Slot, SLOTS>,
    /// Those that `slots` has no room for.
    more: Vec<Slot>,
    /// The attributes came in the order of their codes.
    sorted: bool,
    /// AS4_PATH and AS4_AGGREGATOR of a neighbour with AS numbers of two octets.
    as4_path: Range,
    as4_aggregator: Range,
    end_of_rib: Option<Family>,
    errors: ArrayVec<AttrError, ERRORS>,
    action: Option<Action>,
}

/// A part of a message's body; empty: not there.
#[derive(Clone, Copy, Debug, Default)]
struct Range {
    at: u16,
    len: u16,
}

impl Range {
    /// That of `part` within `body`; a body is never longer than a message.
    fn of(body: &[u8], part: &[u8]) -> Self {
        let at = part.as_ptr().addr().wrapping_sub(body.as_ptr().addr());
        Self {
            at: at as u16,
            len: part.len() as u16,
        }
    }

    #[inline]
    fn of_body(self, body: &[u8]) -> &[u8] {
        let at = usize::from(self.at);
        body.get(at..at + usize::from(self.len)).unwrap_or_default()
    }
}

/// Checked NLRI, by where they are.
#[derive(Clone, Copy, Debug)]
struct Section {
    octets: Range,
    count: u16,
    family: Family,
    form: Form,
}

impl Section {
    const NONE: Self = Self {
        octets: Range { at: 0, len: 0 },
        count: 0,
        family: Family::Ipv4Unicast,
        form: Form::PLAIN,
    };

    #[inline]
    fn of(body: &[u8], n: &Nlri<'_>) -> Self {
        Self {
            octets: Range::of(body, n.octets),
            count: n.count as u16,
            family: n.family,
            form: n.form,
        }
    }

    #[inline]
    fn nlri<'a>(&self, body: &'a [u8]) -> Nlri<'a> {
        Nlri {
            family: self.family,
            form: self.form,
            octets: self.octets.of_body(body),
            count: self.count.into(),
        }
    }
}

/// What is seen while the attributes are walked.
struct Walk<'u, 'a> {
    u: &'u mut Update<'a>,
    ctx: &'u Context,
    attrs: &'a [u8],
    seen: [u64; 4],
    last: u8,
    /// NEXT_HOP was there, right or wrong.
    next_hop_seen: bool,
    /// An MP_REACH_NLRI was there, of whatever family.
    reach_seen: bool,
    /// An MP_UNREACH_NLRI without routes was there, of this family.
    empty_unreach: Option<Family>,
    /// The AS of AGGREGATOR, if it has two octets.
    aggregator: Option<u16>,
    /// There is no message around the attributes: multiprotocol ones are passed over.
    bare: bool,
}

impl<'a> Update<'a> {
    /// Reads what lies behind the header.
    ///
    /// # Errors
    /// What RFC 7606 answers with a session reset: lengths that contradict each other, NLRI that cannot be told apart,
    /// several MP_REACH_NLRI or MP_UNREACH_NLRI, and any error in an UPDATE without reachable NLRI (5.2).
    pub fn parse(body: &'a [u8], ctx: &Context) -> Result<Self, Notification> {
        Self::new::<true>(body, ctx)
    }

    /// The same without the loop for the common case: what that is compared with.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn parse_plainly(body: &'a [u8], ctx: &Context) -> Result<Self, Notification> {
        Self::new::<false>(body, ctx)
    }

    #[inline]
    fn blank(body: &'a [u8]) -> Self {
        Self {
            body,
            withdrawn: Section::NONE,
            announced: Section::NONE,
            mp_reach: Section::NONE,
            mp_unreach: Section::NONE,
            next_hop: None,
            mp_next_hop: None,
            slots: ArrayVec::new(),
            more: Vec::new(),
            sorted: true,
            as4_path: Range::default(),
            as4_aggregator: Range::default(),
            end_of_rib: None,
            errors: ArrayVec::new(),
            action: None,
        }
    }

    fn new<const COMMON: bool>(body: &'a [u8], ctx: &Context) -> Result<Self, Notification> {
        let mut u = Self::blank(body);
        u.read::<COMMON>(ctx)?;
        Ok(u)
    }

    fn read<const COMMON: bool>(&mut self, ctx: &Context) -> Result<(), Notification> {
        let body = self.body;
        let lengths = || Notification::update(update_error::MALFORMED_ATTRIBUTE_LIST, &[]);
        let network = |_| Notification::update(update_error::INVALID_NETWORK, &[]);
        // Offsets have two octets, as the length of a message has.
        let fits = body.len() <= MAX_EXTENDED - HEADER;
        let (withdrawn, rest) = counted(body).filter(|_| fits).ok_or_else(lengths)?;
        let (attrs, announced) = counted(rest).ok_or_else(lengths)?;
        let v4 = Family::Ipv4Unicast;
        if !withdrawn.is_empty() {
            let n = Nlri::parse(v4, withdrawn, true, ctx).map_err(network)?;
            self.withdrawn = Section::of(body, &n);
        }
        if !announced.is_empty() {
            let n = Nlri::parse(v4, announced, false, ctx).map_err(network)?;
            self.announced = Section::of(body, &n);
        }
        let mut walk = Walk::new(self, ctx, attrs);
        walk.attributes::<COMMON>()?;
        walk.finish()
    }

    /// Routes announced, with their next hops: NLRI, then MP_REACH_NLRI. Nothing if they are to be treated as withdrawn.
    #[inline]
    pub fn reach(&self) -> impl Iterator<Item = Reach<'a>> + use<'_, 'a> {
        let mut next = if self.action == Some(Action::TreatAsWithdraw) {
            2
        } else {
            0
        };
        std::iter::from_fn(move || {
            loop {
                let (section, next_hop) = match next {
                    0 => (&self.announced, self.next_hop.map(NextHop::V4)),
                    1 => (&self.mp_reach, self.mp_next_hop),
                    _ => return None,
                };
                next += 1;
                if section.count > 0 {
                    let nlri = section.nlri(self.body);
                    return Some(Reach { next_hop, nlri });
                }
            }
        })
    }

    /// Routes withdrawn: Withdrawn Routes, MP_UNREACH_NLRI, and those announced that are to be treated as withdrawn. They
    /// come before those of [`Update::reach`]: a prefix that is in both is announced (RFC 4271 4.3).
    #[inline]
    pub fn unreach(&self) -> impl Iterator<Item = Nlri<'a>> + use<'_, 'a> {
        let bad = self.action == Some(Action::TreatAsWithdraw);
        let mut next = 0;
        std::iter::from_fn(move || {
            loop {
                let section = match next {
                    0 => &self.withdrawn,
                    1 => &self.mp_unreach,
                    2 if bad => &self.announced,
                    3 if bad => &self.mp_reach,
                    _ => return None,
                };
                next += 1;
                if section.count > 0 {
                    return Some(section.nlri(self.body));
                }
            }
        })
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

/// Attributes without a message around them, as MRT has them: those of the canonical form into `buf`, whether an UPDATE would
/// announce with them, and NEXT_HOP.
pub(crate) fn dumped_attributes(attrs: &[u8], buf: &mut AttrBuf) -> (bool, Option<Ipv4Addr>) {
    let ctx = Context {
        as_sets: true,
        ..Context::new(Relation::Internal, FamilySet::EMPTY)
    };
    let mut u = Update::blank(attrs);
    let mut walk = Walk::new(&mut u, &ctx, attrs);
    walk.bare = true;
    let whole = walk.attributes::<true>().is_ok();
    u.canonical(buf);
    let good = whole && u.action != Some(Action::TreatAsWithdraw);
    (good, u.next_hop)
}

/// A run behind a length of two octets, and what follows it.
fn counted(o: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = o.split_first_chunk()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))
}

impl<'u, 'a> Walk<'u, 'a> {
    #[inline]
    fn new(u: &'u mut Update<'a>, ctx: &'u Context, attrs: &'a [u8]) -> Self {
        Self {
            u,
            ctx,
            attrs,
            seen: [0; 4],
            last: 0,
            next_hop_seen: false,
            reach_seen: false,
            empty_unreach: None,
            aggregator: None,
            bare: false,
        }
    }

    #[cold]
    fn error(&mut self, code: u8, cause: Cause, action: Action) {
        let _ = self.u.errors.try_push(AttrError {
            code,
            cause,
            action,
        });
        self.u.action = self.u.action.max(Some(action));
    }

    fn attributes<const COMMON: bool>(&mut self) -> Result<(), Notification> {
        let all = self.attrs;
        let base = Range::of(self.u.body, all).at;
        let mut at = 0;
        // MP_REACH_NLRI is to come first (RFC 7606 5.1).
        let mut common = COMMON && !matches!(all, [_, code::MP_REACH_NLRI, ..]);
        while let Some(rest) = all.get(at..).filter(|r| !r.is_empty()) {
            if common {
                common = false;
                at = self.common(base, at);
                continue;
            }
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
                    at: base + at as u16,
                    len: (start + len) as u16,
                    head: start as u8,
                    how: canonical::How::Same,
                };
                match code {
                    code::MP_REACH_NLRI | code::MP_UNREACH_NLRI => {
                        self.mp(whole, value)?;
                        common = COMMON && at == 0;
                    }
                    _ => self.one(whole, value),
                }
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

    /// MP_REACH_NLRI or MP_UNREACH_NLRI. With wrong flags their routes are needed all the same, to be withdrawn.
    fn mp(&mut self, slot: Slot, value: &'a [u8]) -> Result<(), Notification> {
        if self.bare {
            return Ok(());
        }
        if slot.flags & (flag::OPTIONAL | flag::TRANSITIVE) != flag::OPTIONAL {
            self.error(slot.code, Cause::Flags, Action::TreatAsWithdraw);
        }
        if slot.code == code::MP_REACH_NLRI {
            self.mp_reach(value)
        } else {
            self.mp_unreach(value)
        }
    }

    #[inline]
    fn one(&mut self, slot: Slot, value: &'a [u8]) {
        let code = slot.code;
        let Some(spec) = spec(code) else {
            return self.unknown(slot);
        };
        self.next_hop_seen |= code == code::NEXT_HOP;
        if slot.flags & (flag::OPTIONAL | flag::TRANSITIVE) != spec.flags {
            return self.error(code, Cause::Flags, Action::TreatAsWithdraw);
        }
        let in_scope = match spec.scope {
            Scope::All => true,
            Scope::Confederation => self.ctx.relation != Relation::External,
            Scope::Internal => self.ctx.relation == Relation::Internal,
        };
        if !in_scope {
            return;
        }
        let fits = match spec.length {
            Length::Exactly(n) => value.len() == usize::from(n),
            Length::Multiple(n) => !value.is_empty() && value.len().is_multiple_of(n.into()),
            Length::Aggregator => value.len() == if self.ctx.as4 { 8 } else { 6 },
            Length::Own => true,
        };
        if fits {
            self.value(slot, value, spec);
        } else if code != code::NEXT_HOP || self.u.announced.count > 0 {
            // Without routes NEXT_HOP means nothing (RFC 4760 3).
            self.error(code, Cause::Length, spec.on_error);
        }
    }

    /// An attribute of the right length and flags.
    #[inline]
    fn value(&mut self, slot: Slot, value: &'a [u8], spec: &'static AttrSpec) {
        match slot.code {
            code::ORIGIN if value.first().is_some_and(|o| *o > 2) => {
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
            code::LARGE_COMMUNITIES if canonical::has_twins(value) => {
                self.keep_as(slot, canonical::How::LargeCommunities);
            }
            code::PREFIX_SID => self.prefix_sid(slot, value, spec),
            _ => self.keep(slot, spec),
        }
    }

    /// RFC 8669 4 and 6.
    fn prefix_sid(&mut self, slot: Slot, value: &[u8], spec: &'static AttrSpec) {
        match sid_shape(value) {
            _ if !self.ctx.prefix_sid => {
                self.error(slot.code, Cause::OutOfPlace, Action::Discard);
            }
            SidShape::Good => self.keep(slot, spec),
            SidShape::Twins => self.keep_as(slot, canonical::How::PrefixSid),
            SidShape::Bad => self.error(slot.code, Cause::Length, spec.on_error),
        }
    }

    fn next_hop(&mut self, value: &[u8]) {
        let a = Ipv4Addr::from(*value.first_chunk().unwrap_or(&[0; 4]));
        if mp::is_host4(a) {
            self.u.next_hop = Some(a);
        } else if self.u.announced.count > 0 {
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
                Ok(()) => self.u.as4_path = Range::of(self.u.body, value),
                // An AS_SET hides in AS4_PATH as well as in AS_PATH (RFC 9774 3).
                Err(Cause::AsSet) => self.error(code, Cause::AsSet, Action::TreatAsWithdraw),
                Err(cause) => self.error(code, cause, Action::Discard),
            }
        } else if value.iter().take(4).all(|o| *o == 0) {
            self.error(code, Cause::AsZero, Action::Discard);
        } else {
            self.u.as4_aggregator = Range::of(self.u.body, value);
        }
    }

    /// RFC 4271 5: passed on with the Partial bit if it is transitive, else left out.
    fn unknown(&mut self, slot: Slot) {
        match slot.flags & (flag::OPTIONAL | flag::TRANSITIVE) {
            flag::OPTIONAL => {}
            f if f & flag::OPTIONAL == 0 => {
                self.error(slot.code, Cause::UnknownWellKnown, Action::TreatAsWithdraw);
            }
            // Reserved by IANA, and with a meaning of its own in here.
            _ if slot.code == code::INNER => {
                self.error(slot.code, Cause::OutOfPlace, Action::Discard);
            }
            f => self.keep_flags(slot, f | flag::PARTIAL),
        }
    }

    /// What follows from all attributes together.
    fn finish(&mut self) -> Result<(), Notification> {
        let plain = self.u.announced.count > 0;
        if plain && !self.ctx.families.contains(Family::Ipv4Unicast) {
            self.error(code::NEXT_HOP, Cause::Family, Action::Discard);
            self.u.announced = Section::NONE;
        }
        if self.u.withdrawn.count > 0 && !self.ctx.families.contains(Family::Ipv4Unicast) {
            self.error(code::NEXT_HOP, Cause::Family, Action::Discard);
            self.u.withdrawn = Section::NONE;
        }
        // RFC 6793 4.2.3: somebody who knows no AS4_ attributes has made another aggregate since.
        let other = self.aggregator.is_some_and(|a| a != Asn::TRANS.short());
        if other && self.u.as4_aggregator.len > 0 {
            self.u.as4_path = Range::default();
            self.u.as4_aggregator = Range::default();
        }
        let reachable = plain || self.reach_seen;
        if reachable {
            let must = 1 << code::ORIGIN | 1 << code::AS_PATH;
            if self.seen[0] & must != must || (plain && !self.next_hop_seen) {
                self.missing(plain);
            }
        } else {
            self.without_routes()?;
        }
        Ok(())
    }

    /// RFC 7606 3 d; NEXT_HOP goes with NLRI alone (RFC 4760 3).
    #[cold]
    fn missing(&mut self, plain: bool) {
        for code in [code::ORIGIN, code::AS_PATH, code::NEXT_HOP] {
            let needed = plain || code != code::NEXT_HOP;
            if needed && self.seen[0] & 1 << code == 0 {
                self.error(code, Cause::Missing, Action::TreatAsWithdraw);
            }
        }
    }

    /// RFC 7606 5.2: without reachable NLRI, an error may be that they were not found. RFC 4724 2: the end of a table.
    fn without_routes(&mut self) -> Result<(), Notification> {
        let unreach_alone = self.seen == [1 << code::MP_UNREACH_NLRI, 0, 0, 0];
        if self.u.action == Some(Action::TreatAsWithdraw) && !unreach_alone {
            let error = update_error::MALFORMED_ATTRIBUTE_LIST;
            return Err(Notification::update(error, &[]));
        }
        if self.u.withdrawn.count == 0 && self.u.errors.is_empty() {
            if self.attrs.is_empty() {
                self.u.end_of_rib = Some(Family::Ipv4Unicast);
            } else if unreach_alone {
                self.u.end_of_rib = self.empty_unreach;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
