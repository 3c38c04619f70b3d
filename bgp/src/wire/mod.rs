//! Messages on the wire: octets in, checked shapes out, and back.
//!
//! Read RFC 4271 4 and 6 first. [`Header`] frames, [`Message`] is one framed message; [`Open`] carries [`Capabilities`]; what
//! two OPENs agreed on is a [`Context`], without which UPDATEs cannot be read. Every error is a [`Notification`] ready to
//! send. Nothing here panics on any input, and nothing keeps state.
//!
//! Left out on purpose: what a session does with a message (`session`), and what a route is worth (`rib`).

mod capability;
mod encode;
mod header;
mod nlri;
mod notification;
mod open;
mod read;
mod refresh;
mod update;

pub use capability::{Capabilities, Fqdn, GracefulRestart, LongLived};
pub use encode::{EncodeError, Encoder, Packer, end_of_rib};
pub use header::{HEADER, Header, HeaderError, Kind, MAX, MAX_EXTENDED};
pub use nlri::{
    BadFlow, BadNlri, Ipv4Prefixes, Ipv6Prefixes, Labels, Nlri, RouteTarget, check_flow,
};
pub use notification::{Code, Notification, cease, fsm, open_error, update_error};
pub use open::Open;
pub(crate) use read::Reader;
pub use refresh::{Refresh, RouteRefresh};
pub(crate) use update::dumped_attributes;
pub use update::{Action, AttrError, AttrSpec, Cause, Length, Reach, Scope, TABLE, Update, spec};

use crate::types::{Asn, FamilySet, Relation};

/// What both ends agreed on: how an UPDATE is to be read and written. Made from two OPENs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// What the neighbour is.
    pub relation: Relation,
    /// AS numbers have four octets in AS_PATH and AGGREGATOR (RFC 6793).
    pub as4: bool,
    /// Messages may have 65,535 octets (RFC 8654).
    pub extended_message: bool,
    /// Families that both have.
    pub families: FamilySet,
    /// Families whose NLRI come with path identifiers (RFC 7911).
    pub add_path_receive: FamilySet,
    /// Families whose NLRI are sent with path identifiers.
    pub add_path_send: FamilySet,
    /// Families of IPv4 whose next hop may be an IPv6 address (RFC 8950).
    pub ext_next_hop: FamilySet,
    /// Labelled and VPN families whose NLRI may have more than one label (RFC 8277 2.1).
    pub multiple_labels: FamilySet,
    /// An AS_PATH must begin with this AS, else it is malformed (RFC 4271 6.3); `None`: not looked at, as with a route
    /// server.
    pub first_as: Option<Asn>,
    /// AS_SET and AS_CONFED_SET are taken, as before RFC 9774.
    pub as_sets: bool,
    /// The neighbour is of the same SR domain: prefix-SIDs are taken from it, and told to it (RFC 8669 4 and 5).
    pub prefix_sid: bool,
}

impl Context {
    /// Four-octet AS numbers, those families, prefix-SIDs unless it is another AS, and nothing else.
    #[must_use]
    pub fn new(relation: Relation, families: FamilySet) -> Self {
        Self {
            relation,
            as4: true,
            extended_message: false,
            families,
            add_path_receive: FamilySet::EMPTY,
            add_path_send: FamilySet::EMPTY,
            ext_next_hop: FamilySet::EMPTY,
            multiple_labels: FamilySet::EMPTY,
            first_as: None,
            as_sets: false,
            prefix_sid: relation != Relation::External,
        }
    }

    /// Octets of the longest message there may be.
    #[must_use]
    pub const fn max_message(&self) -> usize {
        if self.extended_message {
            MAX_EXTENDED
        } else {
            MAX
        }
    }
}

/// A message, its header read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// OPEN.
    Open(Open),
    /// UPDATE: what lies behind the header, to be read with a [`Context`].
    Update(&'a [u8]),
    /// NOTIFICATION.
    Notification(Notification),
    /// KEEPALIVE.
    Keepalive,
    /// ROUTE-REFRESH.
    RouteRefresh(RouteRefresh),
}

impl<'a> Message<'a> {
    /// Reads what lies behind a header.
    ///
    /// # Errors
    /// The NOTIFICATION with which to end the session.
    pub fn parse(kind: Kind, body: &'a [u8]) -> Result<Self, Notification> {
        Ok(match kind {
            Kind::Open => Self::Open(Open::parse(body)?),
            Kind::Update => Self::Update(body),
            Kind::Notification => Self::Notification(Notification::parse(body)),
            Kind::Keepalive => Self::Keepalive,
            Kind::RouteRefresh => Self::RouteRefresh(RouteRefresh::parse(body)?),
        })
    }

    /// Appends the whole message, header included.
    pub fn emit(&self, out: &mut Vec<u8>) {
        match self {
            Self::Open(m) => m.emit(out),
            Self::Update(body) => framed(Kind::Update, out, |out| out.extend_from_slice(body)),
            Self::Notification(m) => m.emit(out),
            Self::Keepalive => framed(Kind::Keepalive, out, |_| {}),
            Self::RouteRefresh(m) => m.emit(out),
        }
    }
}

/// Appends a header and the body that `body` writes. What is longer than a message can be is cut off; callers never let
/// it come to that.
fn framed(kind: Kind, out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER]);
    body(out);
    out.truncate(start + MAX_EXTENDED);
    let len = u16::try_from(out.len() - start).unwrap_or(u16::MAX);
    if let Some(h) = out.get_mut(start..start + HEADER) {
        h.copy_from_slice(&Header { len, kind }.emit());
    }
}

#[cfg(test)]
mod tests;
