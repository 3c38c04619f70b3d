//! Initialization, Capability and Notification: RFC 5036 3.5.3 and 3.5.1; RFC 5561 3 and 6 (capabilities), 5918 4 and
//! 5919 3 (which there are).
//!
//! Left out: the parameters of ATM and frame relay, which no packet interface has; returned PDUs and messages in a
//! Notification, which are skipped and never sent; graceful restart (RFC 3478), whose parameter is ignorable.

use super::fec::{self, Fec, Place};
use super::read::Reader;
use super::status::{Status, WireError};
use super::tlv::{self, Tlv, Unknown};
use crate::types::LdpId;

/// The version of LDP.
pub const VERSION: u16 = 1;

/// Initialization: what the sender proposes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Initialization {
    /// Of the protocol; [`VERSION`].
    pub version: u16,
    /// Seconds without a message after which the session is dead; the smaller of both counts.
    pub keepalive: u16,
    /// Labels are asked for, not told unasked.
    pub on_demand: bool,
    /// Loop detection is on.
    pub loop_detection: bool,
    /// The longest path vector, with loop detection.
    pub path_vector_limit: u8,
    /// The longest PDU; up to 255 it stands for 4096 (3.5.3).
    pub max_pdu: u16,
    /// Whom the sender means.
    pub receiver: LdpId,
    /// What else it can do.
    pub capabilities: Capabilities,
}

/// Capabilities that are named: `Some(true)` is there, `Some(false)` is withdrawn (only in a Capability message).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Capabilities may change while the session lasts (RFC 5561 9).
    pub dynamic: Option<bool>,
    /// Typed wildcards are understood (RFC 5918 4).
    pub typed_wildcard: Option<bool>,
    /// Notifications with an unknown status are ignored, so End-of-LIB may be sent (RFC 5919 3).
    pub unrecognized_notification: Option<bool>,
}

impl Capabilities {
    fn slots(&mut self) -> [(u16, &mut Option<bool>); 3] {
        [
            (tlv::DYNAMIC_ANNOUNCEMENT, &mut self.dynamic),
            (tlv::TYPED_WILDCARD, &mut self.typed_wildcard),
            (
                tlv::UNRECOGNIZED_NOTIFICATION,
                &mut self.unrecognized_notification,
            ),
        ]
    }

    /// Takes a parameter if it is one of ours.
    fn take(&mut self, t: &Tlv<'_>) -> Result<bool, WireError> {
        for (kind, slot) in self.slots() {
            if kind == t.kind {
                let state = t.value.first().ok_or(WireError::new(
                    Status::MalformedTlv,
                    "a capability without its state",
                ))?;
                *slot = Some(state & 0x80 != 0);
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(crate) fn parse(body: &[u8]) -> Result<Self, WireError> {
        let mut c = Self::default();
        tlv::each(body, |t| c.take(t))?;
        Ok(c)
    }

    pub(crate) fn emit(mut self, out: &mut Vec<u8>) {
        for (kind, slot) in self.slots() {
            if let Some(on) = *slot {
                tlv::put(out, kind | tlv::U, |out| out.push(u8::from(on) << 7));
            }
        }
    }

    /// What stands after those `changes`; dynamic announcement itself can't be changed (RFC 5561 9).
    #[must_use]
    pub fn changed(self, changes: Self) -> Self {
        Self {
            dynamic: self.dynamic,
            typed_wildcard: changes.typed_wildcard.or(self.typed_wildcard),
            unrecognized_notification: changes
                .unrecognized_notification
                .or(self.unrecognized_notification),
        }
    }
}

impl Initialization {
    /// The longest PDU that is meant.
    #[must_use]
    pub const fn longest_pdu(&self) -> u16 {
        if self.max_pdu <= 255 {
            super::DEFAULT_MAX
        } else {
            self.max_pdu
        }
    }

    pub(crate) fn parse(body: &[u8]) -> Result<Self, WireError> {
        let mut common = None;
        let mut capabilities = Capabilities::default();
        tlv::each(body, |t| {
            if t.kind != tlv::SESSION_PARAMETERS {
                return capabilities.take(t);
            }
            let o: [u8; 14] = t.exactly("session parameters")?;
            let [v0, v1, k0, k1, flags, limit, m0, m1, id @ ..] = o;
            common = Some(Self {
                version: u16::from_be_bytes([v0, v1]),
                keepalive: u16::from_be_bytes([k0, k1]),
                on_demand: flags & 0x80 != 0,
                loop_detection: flags & 0x40 != 0,
                path_vector_limit: limit,
                max_pdu: u16::from_be_bytes([m0, m1]),
                receiver: LdpId::from_octets(id),
                capabilities: Capabilities::default(),
            });
            Ok(true)
        })?;
        let init = common.ok_or(WireError::new(
            Status::MissingParameters,
            "an Initialization without its parameters",
        ))?;
        Ok(Self {
            capabilities,
            ..init
        })
    }

    pub(crate) fn emit(&self, out: &mut Vec<u8>) {
        tlv::put(out, tlv::SESSION_PARAMETERS, |out| {
            out.extend_from_slice(&self.version.to_be_bytes());
            out.extend_from_slice(&self.keepalive.to_be_bytes());
            out.push(u8::from(self.on_demand) << 7 | u8::from(self.loop_detection) << 6);
            out.push(self.path_vector_limit);
            out.extend_from_slice(&self.max_pdu.to_be_bytes());
            out.extend_from_slice(&self.receiver.octets());
        });
        self.capabilities.emit(out);
    }
}

/// Notification: an error, or news.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// What.
    pub status: Status,
    /// The sender ends the session: the E bit.
    pub fatal: bool,
    /// To be forwarded along the path of the message that it is about: the F bit.
    pub forward: bool,
    /// The message that it is about; 0: none.
    pub message_id: u32,
    /// Its type; 0: none.
    pub message_type: u16,
    /// More about it.
    pub extended: Option<u32>,
    /// Of what, with End-of-LIB.
    pub fecs: Vec<Fec>,
    /// Unknown parameters that ask to be passed on.
    pub unknown: Vec<Unknown>,
}

impl Notification {
    /// About nothing in particular; fatal if the status is.
    #[must_use]
    pub const fn new(status: Status) -> Self {
        Self {
            status,
            fatal: status.is_fatal(),
            forward: false,
            message_id: 0,
            message_type: 0,
            extended: None,
            fecs: vec![],
            unknown: vec![],
        }
    }

    /// The answer to what a decoder found.
    #[must_use]
    pub fn of(e: &WireError) -> Self {
        Self {
            message_id: e.message_id,
            message_type: e.message_type,
            ..Self::new(e.status)
        }
    }

    pub(crate) fn parse(body: &[u8]) -> Result<Self, WireError> {
        let mut n = Self::new(Status::Success);
        let mut found = false;
        n.unknown = tlv::each(body, |t| {
            match t.kind {
                tlv::STATUS => {
                    let o: [u8; 10] = t.exactly("a status")?;
                    let mut r = Reader(&o);
                    let code = r.u32().unwrap_or(0);
                    n.status = Status::from_code(code);
                    n.fatal = code & 0x8000_0000 != 0;
                    n.forward = code & 0x4000_0000 != 0;
                    n.message_id = r.u32().unwrap_or(0);
                    n.message_type = r.u16().unwrap_or(0);
                    found = true;
                }
                tlv::EXTENDED_STATUS => {
                    n.extended = Some(u32::from_be_bytes(t.exactly("an extended status")?))
                }
                tlv::FEC => n.fecs = fec::read(t, Place::Typed)?,
                tlv::RETURNED_PDU | tlv::RETURNED_MESSAGE => {}
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        if found {
            Ok(n)
        } else {
            Err(WireError::new(
                Status::MissingParameters,
                "a Notification without a status",
            ))
        }
    }

    pub(crate) fn emit(&self, out: &mut Vec<u8>) {
        tlv::put(out, tlv::STATUS, |out| {
            let bits = u32::from(self.fatal) << 31 | u32::from(self.forward) << 30;
            out.extend_from_slice(&(self.status.code() | bits).to_be_bytes());
            out.extend_from_slice(&self.message_id.to_be_bytes());
            out.extend_from_slice(&self.message_type.to_be_bytes());
        });
        if let Some(e) = self.extended {
            tlv::put(out, tlv::EXTENDED_STATUS, |out| {
                out.extend_from_slice(&e.to_be_bytes())
            });
        }
        if !self.fecs.is_empty() {
            fec::put(out, &self.fecs);
        }
        super::labels::put_unknown(out, &self.unknown);
    }
}
