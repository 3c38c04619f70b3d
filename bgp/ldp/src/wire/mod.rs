//! PDUs on the wire: octets in, checked shapes out, and back.
//!
//! Read RFC 5036 3.1 to 3.5 first. [`Pdu`] frames, [`Pdu::messages`] gives what is in it, [`Pdus`] packs messages into as few
//! PDUs as they need. Every error is a [`WireError`]: a status to answer with, which says itself whether it ends the session
//! (3.5.1.2); after one that does not, the next message of the PDU follows. Nothing here panics on any input, keeps state, or
//! reserves memory by a length that came.
//!
//! Left out: what a session does with a message ([`crate::session`]), and what a label is worth ([`crate::speaker`]).

mod fec;
mod hello;
mod labels;
pub(crate) mod read;
mod session;
mod status;
mod tlv;

pub use fec::Fec;
pub use hello::{DualStack, Hello};
pub use labels::{Abort, Addresses, Bindings, Mapping, Request};
pub use session::{Capabilities, Initialization, Notification, VERSION};
pub use status::{Status, TABLE, WireError};
pub use tlv::Unknown;

use crate::types::LdpId;
use read::Reader;

/// The longest PDU until a session has agreed on another, and for Hellos: the length as the PDU itself says it (3.1).
pub const DEFAULT_MAX: u16 = 4096;
/// Octets before the messages of a PDU.
pub const HEADER: usize = 10;
/// Octets that a PDU's own length does not count: version and length.
const UNCOUNTED: usize = 4;
/// Octets before the parameters of a message.
const MESSAGE_HEADER: usize = 8;
/// The shortest length of a PDU: an identifier and one message.
const MIN_LENGTH: u16 = 14;

macro_rules! messages {
    ($($name:ident($($of:ty)?) = $code:literal, $min:literal, $text:literal;)*) => {
        /// What a message says.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Body {
            $(#[doc = $text] $name $(($of))?,)*
        }

        /// Type, shortest length (3.5: the identifier and what must be there), and name of each message.
        const KINDS: &[(u16, u16, &str)] = &[$(($code, $min, $text),)*];
    };
}

messages! {
    Notification(Notification) = 0x0001, 18, "Notification";
    Hello(Hello) = 0x0100, 12, "Hello";
    Initialization(Initialization) = 0x0200, 22, "Initialization";
    KeepAlive() = 0x0201, 4, "KeepAlive";
    Capability(Capabilities) = 0x0202, 4, "Capability";
    Address(Addresses) = 0x0300, 10, "Address";
    AddressWithdraw(Addresses) = 0x0301, 10, "Address Withdraw";
    Mapping(Mapping) = 0x0400, 17, "Label Mapping";
    Request(Request) = 0x0401, 9, "Label Request";
    Withdraw(Bindings) = 0x0402, 9, "Label Withdraw";
    Release(Bindings) = 0x0403, 9, "Label Release";
    Abort(Abort) = 0x0404, 17, "Label Abort Request";
}

impl Body {
    /// Its number.
    #[must_use]
    pub const fn kind(&self) -> u16 {
        match self {
            Self::Notification(_) => 0x0001,
            Self::Hello(_) => 0x0100,
            Self::Initialization(_) => 0x0200,
            Self::KeepAlive => 0x0201,
            Self::Capability(_) => 0x0202,
            Self::Address(_) => 0x0300,
            Self::AddressWithdraw(_) => 0x0301,
            Self::Mapping(_) => 0x0400,
            Self::Request(_) => 0x0401,
            Self::Withdraw(_) => 0x0402,
            Self::Release(_) => 0x0403,
            Self::Abort(_) => 0x0404,
        }
    }

    /// Its name in RFC 5036.
    #[must_use]
    pub fn name(&self) -> &'static str {
        let row = KINDS.iter().find(|k| k.0 == self.kind());
        row.map_or("", |k| k.2)
    }

    fn parse(kind: u16, body: &[u8]) -> Result<Option<Self>, WireError> {
        Ok(Some(match kind {
            0x0001 => Self::Notification(Notification::parse(body)?),
            0x0100 => Self::Hello(Hello::parse(body)?),
            0x0200 => Self::Initialization(Initialization::parse(body)?),
            0x0201 => {
                tlv::each(body, |_| Ok(false))?;
                Self::KeepAlive
            }
            0x0202 => Self::Capability(Capabilities::parse(body)?),
            0x0300 => Self::Address(Addresses::parse(body)?),
            0x0301 => Self::AddressWithdraw(Addresses::parse(body)?),
            0x0400 => Self::Mapping(Mapping::parse(body)?),
            0x0401 => Self::Request(Request::parse(body)?),
            0x0402 => Self::Withdraw(Bindings::parse(body)?),
            0x0403 => Self::Release(Bindings::parse(body)?),
            0x0404 => Self::Abort(Abort::parse(body)?),
            _ => return Ok(None),
        }))
    }

    fn emit(&self, out: &mut Vec<u8>) {
        match self {
            Self::Notification(m) => m.emit(out),
            Self::Hello(m) => m.emit(out),
            Self::Initialization(m) => m.emit(out),
            Self::KeepAlive => {}
            Self::Capability(m) => m.emit(out),
            Self::Address(m) | Self::AddressWithdraw(m) => m.emit(out),
            Self::Mapping(m) => m.emit(out),
            Self::Request(m) => m.emit(out),
            Self::Withdraw(m) | Self::Release(m) => m.emit(out),
            Self::Abort(m) => m.emit(out),
        }
    }
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// By which a Notification names it.
    pub id: u32,
    /// What it says.
    pub body: Body,
}

impl Message {
    /// Appends it, without a PDU around it.
    pub fn emit(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.body.kind().to_be_bytes());
        tlv::sized(out, |out| {
            out.extend_from_slice(&self.id.to_be_bytes());
            self.body.emit(out);
        });
    }
}

/// A PDU whose header is right and whose octets are all there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pdu<'a> {
    /// Who sent it.
    pub id: LdpId,
    /// All its octets, header included.
    pub octets: usize,
    messages: &'a [u8],
}

impl<'a> Pdu<'a> {
    /// Reads the PDU at the start of `bytes`; `Ok(None)` while it has not all come. `max` is the longest that may come, as
    /// agreed, or [`DEFAULT_MAX`].
    ///
    /// # Errors
    /// Bad version, then bad length: both end the session.
    pub fn parse(bytes: &'a [u8], max: u16) -> Result<Option<Self>, WireError> {
        let mut r = Reader(bytes);
        let (Some(version), Some(len)) = (r.u16(), r.u16()) else {
            return Ok(None);
        };
        if version != VERSION {
            return Err(WireError::new(
                Status::BadVersion,
                "a PDU of another version",
            ));
        }
        if !(MIN_LENGTH..=max).contains(&len) {
            return Err(WireError::new(
                Status::BadPduLength,
                "a PDU that is too short or too long",
            ));
        }
        let Some(body) = r.take(len.into()) else {
            return Ok(None);
        };
        let mut r = Reader(body);
        Ok(r.array().map(|id| Self {
            id: LdpId::from_octets(id),
            octets: UNCOUNTED + body.len(),
            messages: r.0,
        }))
    }

    /// What is in it. Messages that are unknown and ignorable are passed over; nothing follows an error that ends the session.
    #[must_use]
    pub const fn messages(&self) -> Messages<'a> {
        Messages(Reader(self.messages))
    }
}

/// The messages of a PDU.
#[derive(Clone, Debug)]
pub struct Messages<'a>(Reader<'a>);

impl Messages<'_> {
    /// `Ok(None)`: one to be passed over.
    fn one(&mut self) -> Result<Option<Message>, WireError> {
        let bad = |what| WireError::new(Status::BadMessageLength, what);
        let (Some(kind), Some(len)) = (self.0.u16(), self.0.u16()) else {
            return Err(bad("a message header that is cut off"));
        };
        let ignorable = kind & tlv::U != 0;
        let kind = kind & !tlv::U;
        let id = self.0.0.first_chunk().map_or(0, |o| u32::from_be_bytes(*o));
        let row = KINDS.iter().find(|k| k.0 == kind);
        let min = row.map_or(4, |k| k.1);
        let body = self.0.take(len.into()).and_then(|m| m.get(4..));
        let body = body.ok_or(bad("a message that ends behind its PDU").of(id, kind))?;
        if len < min {
            return Err(bad("a message without room for what it must have").of(id, kind));
        }
        match Body::parse(kind, body).map_err(|e| e.of(id, kind))? {
            Some(body) => Ok(Some(Message { id, body })),
            None if ignorable => Ok(None),
            None => Err(
                WireError::new(Status::UnknownMessage, "a message of an unknown type").of(id, kind),
            ),
        }
    }
}

impl Iterator for Messages<'_> {
    type Item = Result<Message, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.0.is_empty() {
            match self.one() {
                Ok(Some(m)) => return Some(Ok(m)),
                Ok(None) => {}
                Err(e) => {
                    if e.is_fatal() {
                        self.0 = Reader(&[]);
                    }
                    return Some(Err(e));
                }
            }
        }
        None
    }
}

/// A message that fits no PDU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a message of {octets} octets does not fit a PDU of {max}: name fewer FECs or addresses in it"
)]
pub struct TooLong {
    /// Octets of the message.
    pub octets: usize,
    /// The longest PDU, as it says itself.
    pub max: u16,
}

/// Packs messages into PDUs, as many into each as fit.
#[derive(Clone, Debug)]
pub struct Pdus {
    id: LdpId,
    max: u16,
    out: Vec<u8>,
    /// Where the last PDU begins.
    at: usize,
}

impl Pdus {
    /// Of this sender, none longer than `max` says.
    #[must_use]
    pub const fn new(id: LdpId, max: u16) -> Self {
        Self {
            id,
            max,
            out: vec![],
            at: 0,
        }
    }

    /// Adds a message.
    ///
    /// # Errors
    /// It does not fit any PDU; nothing was added.
    pub fn push(&mut self, m: &Message) -> Result<(), TooLong> {
        let before = self.out.len();
        if before == 0 {
            self.header();
        }
        let start = self.out.len();
        m.emit(&mut self.out);
        let octets = self.out.len() - start;
        let max = UNCOUNTED + usize::from(self.max);
        // A length of two octets says no more than that: then it was cut.
        if HEADER + octets > max || octets >= MESSAGE_HEADER + usize::from(u16::MAX) - 4 {
            self.out.truncate(before);
            return Err(TooLong {
                octets,
                max: self.max,
            });
        }
        if self.out.len() - self.at > max {
            let message = self.out.split_off(start);
            self.close();
            self.header();
            self.out.extend_from_slice(&message);
        }
        Ok(())
    }

    /// The PDUs.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.close();
        self.out
    }

    /// Nothing in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    fn header(&mut self) {
        self.at = self.out.len();
        self.out.extend_from_slice(&VERSION.to_be_bytes());
        self.out.extend_from_slice(&[0; 2]);
        self.out.extend_from_slice(&self.id.octets());
    }

    fn close(&mut self) {
        let len = (self.out.len() - self.at).saturating_sub(UNCOUNTED);
        let len = u16::try_from(len).unwrap_or(u16::MAX);
        if let Some(o) = self.out.get_mut(self.at + 2..self.at + UNCOUNTED) {
            o.copy_from_slice(&len.to_be_bytes());
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
