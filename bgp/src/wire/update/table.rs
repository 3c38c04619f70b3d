//! What each attribute must look like, and what becomes of an UPDATE where it does not: RFC 7606 7 as a table.

use crate::attrs::{code, flag};

/// What to do about an error, the stronger the larger (RFC 7606 2 and 3 h). The strongest, session reset, is an `Err` with
/// the NOTIFICATION to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// The attribute is left out; the routes stay.
    Discard,
    /// The routes count as withdrawn.
    TreatAsWithdraw,
}

/// What is wrong with an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Cause {
    /// RFC 7606 3 c.
    #[error("its flags say the wrong thing about optional or transitive")]
    Flags,
    /// RFC 7606 3 g.
    #[error("it is there twice")]
    Duplicate,
    /// RFC 7606 3 d.
    #[error("it is missing")]
    Missing,
    /// RFC 7606 4: what follows it is not read.
    #[error("it goes beyond the end of the attributes")]
    Overrun,
    /// RFC 7606 7.
    #[error("its length is impossible")]
    Length,
    /// ORIGIN above 2, a next hop that is no address of a host.
    #[error("its value is impossible")]
    Value,
    /// RFC 7606 7.2.
    #[error("its segments are malformed")]
    Segments,
    /// RFC 7607.
    #[error("AS 0 is in it")]
    AsZero,
    /// RFC 9774.
    #[error("an AS_SET or AS_CONFED_SET is in it")]
    AsSet,
    /// RFC 4271 6.3; RFC 5065 5 where confederation segments are missing or are not to be there.
    #[error("it does not begin with the neighbour's AS")]
    FirstAs,
    /// RFC 8955 4.2.
    #[error("a flow is malformed")]
    Flow,
    /// The family was not agreed on.
    #[error("its family was not negotiated")]
    Family,
    /// RFC 6793 4.1: between speakers with AS numbers of four octets.
    #[error("it has no place in this session")]
    OutOfPlace,
    /// RFC 4271 6.3: not optional, and not known.
    #[error("it claims to be well-known, and is not")]
    UnknownWellKnown,
}

/// An error, and what was done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AttrError {
    /// The attribute's type code.
    pub code: u8,
    /// What is wrong.
    pub cause: Cause,
    /// What follows from it.
    pub action: Action,
}

impl std::fmt::Display for AttrError {
    /// `ORIGIN: its value is impossible (treat-as-withdraw)`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match spec(self.code) {
            Some(s) => f.write_str(s.name)?,
            None => write!(f, "attribute {}", self.code)?,
        }
        let action = match self.action {
            Action::Discard => "attribute discard",
            Action::TreatAsWithdraw => "treat-as-withdraw",
        };
        write!(f, ": {} ({action})", self.cause)
    }
}

/// Which lengths an attribute may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// One.
    Exactly(u16),
    /// A multiple, not zero.
    Multiple(u16),
    /// AGGREGATOR: 6, or 8 with AS numbers of four octets (RFC 6793 4.1).
    Aggregator,
    /// The value's own rules say.
    Own,
}

/// From whom an attribute counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// From everybody.
    All,
    /// From within the confederation; left out unseen from other ASes (RFC 7606 7.5, RFC 5065 5.3).
    Confederation,
    /// From within the AS; left out unseen otherwise (RFC 7606 7.9, 7.10).
    Internal,
}

/// What is to be known about an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttrSpec {
    /// Type code.
    pub code: u8,
    /// As the RFC writes it.
    pub name: &'static str,
    /// Optional and Transitive, as they must be.
    pub flags: u8,
    /// Its length.
    pub length: Length,
    /// From whom.
    pub scope: Scope,
    /// What an error in length or value does. Wrong flags always make a route withdrawn (RFC 7606 3 c).
    pub on_error: Action,
    /// Where that is said.
    pub rfc: &'static str,
}

const WELL_KNOWN: u8 = flag::TRANSITIVE;
const OPTIONAL: u8 = flag::OPTIONAL;
const OPTIONAL_TRANSITIVE: u8 = flag::OPTIONAL | flag::TRANSITIVE;

const fn row(
    code: u8,
    name: &'static str,
    flags: u8,
    length: Length,
    scope: Scope,
    on_error: Action,
    rfc: &'static str,
) -> AttrSpec {
    AttrSpec {
        code,
        name,
        flags,
        length,
        scope,
        on_error,
        rfc,
    }
}

/// Every attribute that this speaker knows, in the order of the codes.
#[rustfmt::skip]
pub const TABLE: [AttrSpec; 19] = {
    use Action::{Discard, TreatAsWithdraw};
    use Length::{Aggregator, Exactly, Multiple, Own};
    use Scope::{All, Confederation, Internal};
    [
        row(code::ORIGIN, "ORIGIN", WELL_KNOWN, Exactly(1), All, TreatAsWithdraw, "RFC 7606 7.1"),
        row(code::AS_PATH, "AS_PATH", WELL_KNOWN, Own, All, TreatAsWithdraw, "RFC 7606 7.2"),
        row(code::NEXT_HOP, "NEXT_HOP", WELL_KNOWN, Exactly(4), All, TreatAsWithdraw, "RFC 7606 7.3"),
        row(code::MED, "MULTI_EXIT_DISC", OPTIONAL, Exactly(4), All, TreatAsWithdraw, "RFC 7606 7.4"),
        row(code::LOCAL_PREF, "LOCAL_PREF", WELL_KNOWN, Exactly(4), Confederation, TreatAsWithdraw, "RFC 7606 7.5"),
        row(code::ATOMIC_AGGREGATE, "ATOMIC_AGGREGATE", WELL_KNOWN, Exactly(0), All, Discard, "RFC 7606 7.6"),
        row(code::AGGREGATOR, "AGGREGATOR", OPTIONAL_TRANSITIVE, Aggregator, All, Discard, "RFC 7606 7.7"),
        row(code::COMMUNITIES, "COMMUNITIES", OPTIONAL_TRANSITIVE, Multiple(4), All, TreatAsWithdraw, "RFC 7606 7.8"),
        row(code::ORIGINATOR_ID, "ORIGINATOR_ID", OPTIONAL, Exactly(4), Internal, TreatAsWithdraw, "RFC 7606 7.9"),
        row(code::CLUSTER_LIST, "CLUSTER_LIST", OPTIONAL, Multiple(4), Internal, TreatAsWithdraw, "RFC 7606 7.10"),
        row(code::MP_REACH_NLRI, "MP_REACH_NLRI", OPTIONAL, Own, All, TreatAsWithdraw, "RFC 7606 7.11"),
        row(code::MP_UNREACH_NLRI, "MP_UNREACH_NLRI", OPTIONAL, Own, All, TreatAsWithdraw, "RFC 7606 7.12"),
        row(code::EXT_COMMUNITIES, "EXTENDED COMMUNITIES", OPTIONAL_TRANSITIVE, Multiple(8), All, TreatAsWithdraw, "RFC 7606 7.14"),
        row(code::AS4_PATH, "AS4_PATH", OPTIONAL_TRANSITIVE, Own, All, Discard, "RFC 6793 6"),
        row(code::AS4_AGGREGATOR, "AS4_AGGREGATOR", OPTIONAL_TRANSITIVE, Exactly(8), All, Discard, "RFC 6793 6"),
        row(code::IPV6_EXT_COMMUNITIES, "IPV6 EXTENDED COMMUNITIES", OPTIONAL_TRANSITIVE, Multiple(20), All, TreatAsWithdraw, "RFC 7606 7.15"),
        row(code::LARGE_COMMUNITIES, "LARGE_COMMUNITY", OPTIONAL_TRANSITIVE, Multiple(12), All, TreatAsWithdraw, "RFC 8092 6"),
        row(code::ONLY_TO_CUSTOMER, "ONLY_TO_CUSTOMER", OPTIONAL_TRANSITIVE, Exactly(4), All, TreatAsWithdraw, "RFC 9234 5"),
        row(code::PREFIX_SID, "PREFIX_SID", OPTIONAL_TRANSITIVE, Own, All, Discard, "RFC 8669 6"),
    ]
};

/// The row of each code, plus one; 0: none.
static ROWS: [u8; 256] = {
    let mut rows = [0; 256];
    let mut i = 0;
    while i < TABLE.len() {
        rows[TABLE[i].code as usize] = i as u8 + 1;
        i += 1;
    }
    rows
};
static SPECS: [AttrSpec; 19] = TABLE;

/// The row of an attribute, if it is known.
#[must_use]
#[inline]
pub fn spec(code: u8) -> Option<&'static AttrSpec> {
    let row = usize::from(ROWS[usize::from(code)]);
    SPECS.get(row.wrapping_sub(1))
}
