//! The RPKI as a router sees it: which AS may originate which prefix.
//!
//! Read RFC 6811 (origin validation), RFC 8210 (the protocol to a cache; version 0 of it is RFC 6810), RFC 8481 (what
//! not to do with it by oneself: policies decide), RFC 6907 for cases. [`RoaTable`] has what the caches said, all
//! together; [`Client`] speaks with one of them, without I/O: octets and time in, octets and changes out.
//!
//! Left out on purpose: router keys (RFC 8635), which are read and let go; ASPA (version 2 of the protocol); SSH and TLS
//! to the cache, which the reactor would bring.

mod client;
mod pdu;
mod table;

pub use client::{Client, Event, Output, Settings, State, Status, Timers};
pub use pdu::{Pdu, PduError, Reason};
pub use table::{CacheId, Changes, RoaTable, Vrp};

use crate::attrs::{AsPath, SegmentKind};
use crate::types::Asn;

/// What the RPKI says about a route and its origin, RFC 6811 2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Validity {
    /// Some covering record has this origin, and allows this length.
    Valid,
    /// Records cover it, and none of them allows it.
    Invalid,
    /// No record covers it, or no cache was heard yet.
    #[default]
    NotFound,
}

impl Validity {
    /// As in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Invalid => "invalid",
            Self::NotFound => "not-found",
        }
    }
}

/// The origin of a route as RFC 6811 2 wants it: the last AS of a path that ends in a sequence; our own if the path is
/// empty or ends within our confederation; none if it ends in a set, which no record allows.
#[must_use]
pub fn route_origin(path: AsPath<'_>, local_as: Asn) -> Option<Asn> {
    let Some(last) = path.segments().last() else {
        return Some(local_as);
    };
    match last.kind {
        SegmentKind::Sequence => last.iter().next_back(),
        SegmentKind::Set => None,
        SegmentKind::ConfedSequence | SegmentKind::ConfedSet => Some(local_as),
    }
}
