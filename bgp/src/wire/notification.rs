//! NOTIFICATION: RFC 4271 4.5 and 6, RFC 4486 and RFC 9003 (Cease and its text), RFC 8538 (hard reset), RFC 9384 (BFD),
//! RFC 6608 (FSM errors), RFC 7313 5 (ROUTE-REFRESH errors), RFC 9687 (send hold timer), RFC 9234 (role mismatch).

use std::fmt;

use super::{HeaderError, Kind, framed};

/// Error codes, as IANA lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Code {
    /// RFC 4271 6.1.
    Header = 1,
    /// RFC 4271 6.2.
    Open = 2,
    /// RFC 4271 6.3.
    Update = 3,
    /// RFC 4271 6.5.
    HoldTimerExpired = 4,
    /// RFC 4271 6.6, RFC 6608.
    Fsm = 5,
    /// RFC 4271 6.7, RFC 4486.
    Cease = 6,
    /// RFC 7313 5.
    RouteRefresh = 7,
    /// RFC 9687.
    SendHoldTimerExpired = 8,
}

/// Subcodes of OPEN Message Error.
pub mod open_error {
    /// None of the others.
    pub const UNSPECIFIC: u8 = 0;
    /// RFC 4271 6.2; data: the version that is supported, two octets.
    pub const UNSUPPORTED_VERSION: u8 = 1;
    /// RFC 4271 6.2.
    pub const BAD_PEER_AS: u8 = 2;
    /// RFC 4271 6.2, RFC 6286.
    pub const BAD_IDENTIFIER: u8 = 3;
    /// RFC 4271 6.2.
    pub const UNSUPPORTED_PARAMETER: u8 = 4;
    /// RFC 4271 6.2.
    pub const UNACCEPTABLE_HOLD_TIME: u8 = 6;
    /// RFC 5492 5; data: the capabilities that were asked for.
    pub const UNSUPPORTED_CAPABILITY: u8 = 7;
    /// RFC 9234 4.2.
    pub const ROLE_MISMATCH: u8 = 11;
}

/// Subcodes of UPDATE Message Error that RFC 7606 left in use.
pub mod update_error {
    /// RFC 4271 6.3.
    pub const MALFORMED_ATTRIBUTE_LIST: u8 = 1;
    /// RFC 7606 7.11.
    pub const OPTIONAL_ATTRIBUTE: u8 = 9;
    /// RFC 4271 6.3.
    pub const INVALID_NETWORK: u8 = 10;
}

/// Subcodes of Finite State Machine Error, RFC 6608.
pub mod fsm {
    /// A message that OpenSent does not take.
    pub const IN_OPEN_SENT: u8 = 1;
    /// A message that OpenConfirm does not take.
    pub const IN_OPEN_CONFIRM: u8 = 2;
    /// A message that Established does not take.
    pub const IN_ESTABLISHED: u8 = 3;
}

/// Subcodes of Cease, RFC 4486 and later.
pub mod cease {
    /// More prefixes than the limit; data: family and limit.
    pub const MAX_PREFIXES: u8 = 1;
    /// The operator shut the session down; data: a text (RFC 9003).
    pub const SHUTDOWN: u8 = 2;
    /// The neighbour is no longer configured.
    pub const DECONFIGURED: u8 = 3;
    /// The operator reset the session; data: a text (RFC 9003).
    pub const RESET: u8 = 4;
    /// Connections from there are not taken.
    pub const REJECTED: u8 = 5;
    /// The configuration changed.
    pub const CONFIG_CHANGE: u8 = 6;
    /// RFC 4271 6.8.
    pub const COLLISION: u8 = 7;
    /// Short of something.
    pub const OUT_OF_RESOURCES: u8 = 8;
    /// RFC 8538; data: code, subcode and data of the NOTIFICATION that this one is instead of.
    pub const HARD_RESET: u8 = 9;
    /// RFC 9384.
    pub const BFD_DOWN: u8 = 10;
}

/// What ends a session, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// Error code; [`Code`] has those there are.
    pub code: u8,
    /// Error subcode; 0 says nothing.
    pub subcode: u8,
    /// What the code and subcode say it is.
    pub data: Vec<u8>,
}

impl Notification {
    /// Any.
    #[must_use]
    pub fn new(code: Code, subcode: u8, data: impl Into<Vec<u8>>) -> Self {
        Self {
            code: code as u8,
            subcode,
            data: data.into(),
        }
    }

    /// OPEN Message Error: a subcode of [`open_error`].
    #[must_use]
    pub fn open(subcode: u8, data: &[u8]) -> Self {
        Self::new(Code::Open, subcode, data)
    }

    /// UPDATE Message Error: a subcode of [`update_error`].
    #[must_use]
    pub fn update(subcode: u8, data: &[u8]) -> Self {
        Self::new(Code::Update, subcode, data)
    }

    /// Hold Timer Expired.
    #[must_use]
    pub fn hold_timer_expired() -> Self {
        Self::new(Code::HoldTimerExpired, 0, [])
    }

    /// Send Hold Timer Expired, RFC 9687.
    #[must_use]
    pub fn send_hold_timer_expired() -> Self {
        Self::new(Code::SendHoldTimerExpired, 0, [])
    }

    /// Finite State Machine Error: a subcode of [`fsm`], and the type of the message that came as data (RFC 6608 4).
    #[must_use]
    pub fn fsm(subcode: u8, received: Kind) -> Self {
        Self::new(Code::Fsm, subcode, [received as u8])
    }

    /// Cease: a subcode of [`cease`].
    #[must_use]
    pub fn cease(subcode: u8) -> Self {
        Self::new(Code::Cease, subcode, [])
    }

    /// Administrative Shutdown with a text (RFC 9003 2), cut at 255 octets between characters; none if it is empty.
    #[must_use]
    pub fn shutdown(text: &str) -> Self {
        Self::new(Code::Cease, cease::SHUTDOWN, communication(text))
    }

    /// Administrative Reset with a text (RFC 9003 2).
    #[must_use]
    pub fn reset(text: &str) -> Self {
        Self::new(Code::Cease, cease::RESET, communication(text))
    }

    /// Maximum Number of Prefixes Reached, with the family and the limit (RFC 4486 4).
    #[must_use]
    pub fn max_prefixes(family: crate::types::Family, limit: u32) -> Self {
        let (afi, safi) = family.code();
        let [a0, a1] = afi.to_be_bytes();
        let [l0, l1, l2, l3] = limit.to_be_bytes();
        Self::new(
            Code::Cease,
            cease::MAX_PREFIXES,
            [a0, a1, safi, l0, l1, l2, l3],
        )
    }

    /// This one as a hard reset: the neighbour is not to keep our routes (RFC 8538 3).
    #[must_use]
    pub fn hard(self) -> Self {
        let mut data = vec![self.code, self.subcode];
        data.extend(self.data);
        Self::new(Code::Cease, cease::HARD_RESET, data)
    }

    /// Is it a hard reset?
    #[must_use]
    pub fn is_hard_reset(&self) -> bool {
        (self.code, self.subcode) == (Code::Cease as u8, cease::HARD_RESET)
    }

    /// What a hard reset is instead of (RFC 8538 3.1); `None` where it does not say.
    #[must_use]
    pub fn inner(&self) -> Option<Self> {
        match &self.data[..] {
            [code, subcode, data @ ..] if self.is_hard_reset() => Some(Self {
                code: *code,
                subcode: *subcode,
                data: data.to_vec(),
            }),
            _ => None,
        }
    }

    /// What the operator over there wrote (RFC 9003), if there is a text and it is UTF-8 of the length that it says.
    #[must_use]
    pub fn communication(&self) -> Option<&str> {
        let (code, subcode, data) = match &self.data[..] {
            [code, subcode, data @ ..] if self.is_hard_reset() => (*code, *subcode, data),
            data => (self.code, self.subcode, data),
        };
        if code != Code::Cease as u8 || ![cease::SHUTDOWN, cease::RESET].contains(&subcode) {
            return None;
        }
        let (len, rest) = data.split_first()?;
        let text = rest.get(..usize::from(*len))?;
        std::str::from_utf8(text).ok().filter(|t| !t.is_empty())
    }

    /// Reads what lies behind the header. A body too short to have a subcode reads as code 0: there is nobody left to tell.
    #[must_use]
    pub fn parse(body: &[u8]) -> Self {
        let (code, subcode, data) = match body {
            [code, subcode, data @ ..] => (*code, *subcode, data),
            _ => (0, 0, &[][..]),
        };
        Self {
            code,
            subcode,
            data: data.to_vec(),
        }
    }

    /// Appends the whole message; data that would make it longer than 4,096 octets is cut (RFC 8654 5 asks to keep to that).
    pub fn emit(&self, out: &mut Vec<u8>) {
        let room = super::MAX - super::HEADER - 2;
        framed(Kind::Notification, out, |out| {
            out.extend([self.code, self.subcode]);
            out.extend_from_slice(self.data.get(..room).unwrap_or(&self.data));
        });
    }
}

fn communication(text: &str) -> Vec<u8> {
    let ends = (0..=255).rev().find(|n| text.is_char_boundary(*n));
    let text = &text.as_bytes()[..ends.unwrap_or(0).min(text.len())];
    match u8::try_from(text.len()) {
        Ok(n) if n > 0 => [&[n], text].concat(),
        _ => Vec::new(),
    }
}

impl From<HeaderError> for Notification {
    fn from(e: HeaderError) -> Self {
        match e {
            HeaderError::NotSynchronized => Self::new(Code::Header, 1, []),
            HeaderError::BadLength(l) => Self::new(Code::Header, 2, l.to_be_bytes()),
            HeaderError::BadType(t) => Self::new(Code::Header, 3, [t]),
        }
    }
}

/// The names of codes and subcodes; code alone at subcode 0.
#[rustfmt::skip]
const NAMES: [(u8, u8, &str); 42] = [
    (1, 0, "message header error"), (1, 1, "connection not synchronized"), (1, 2, "bad message length"),
    (1, 3, "bad message type"),
    (2, 0, "OPEN error"), (2, 1, "unsupported version"), (2, 2, "bad peer AS"), (2, 3, "bad BGP identifier"),
    (2, 4, "unsupported optional parameter"), (2, 6, "unacceptable hold time"), (2, 7, "unsupported capability"),
    (2, 11, "role mismatch"),
    (3, 0, "UPDATE error"), (3, 1, "malformed attribute list"), (3, 2, "unrecognized well-known attribute"),
    (3, 3, "missing well-known attribute"), (3, 4, "attribute flags error"), (3, 5, "attribute length error"),
    (3, 6, "invalid ORIGIN"), (3, 8, "invalid NEXT_HOP"), (3, 9, "optional attribute error"),
    (3, 10, "invalid network field"), (3, 11, "malformed AS_PATH"),
    (4, 0, "hold timer expired"),
    (5, 0, "finite state machine error"), (5, 1, "unexpected message in OpenSent"),
    (5, 2, "unexpected message in OpenConfirm"), (5, 3, "unexpected message in Established"),
    (6, 0, "cease"), (6, 1, "maximum number of prefixes reached"), (6, 2, "administrative shutdown"),
    (6, 3, "neighbour deconfigured"), (6, 4, "administrative reset"), (6, 5, "connection rejected"),
    (6, 6, "other configuration change"), (6, 7, "connection collision"), (6, 8, "out of resources"),
    (6, 9, "hard reset"), (6, 10, "BFD down"),
    (7, 0, "ROUTE-REFRESH error"), (7, 1, "invalid message length"),
    (8, 0, "send hold timer expired"),
];

impl fmt::Display for Notification {
    /// `cease: administrative shutdown: "moving to the new rack"`; numbers where there is no name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |c, s| {
            let found = NAMES.iter().find(|(code, sub, _)| (*code, *sub) == (c, s));
            found.map(|(_, _, name)| *name)
        };
        match (name(self.code, 0), name(self.code, self.subcode)) {
            (Some(code), _) if self.subcode == 0 => f.write_str(code)?,
            (Some(code), Some(sub)) => write!(f, "{code}: {sub}")?,
            (Some(code), None) => write!(f, "{code}: subcode {}", self.subcode)?,
            _ => write!(f, "error {}, subcode {}", self.code, self.subcode)?,
        }
        if let Some(inner) = self.inner() {
            return write!(f, ": {inner}");
        }
        match self.communication() {
            // A neighbour's text goes to terminals and logs: no control characters (RFC 9003 4).
            Some(text) => write!(f, ": \"{}\"", text.escape_debug()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn texts_are_cut_between_characters_and_shown_without_control_characters() {
        let n = Notification::shutdown(&"ü".repeat(200));
        assert_eq!(n.communication(), Some(&*"ü".repeat(127)));
        assert_eq!((n.data.len(), n.data[0]), (255, 254));
        assert_eq!(Notification::reset("").data, []);
        let n = Notification::shutdown("back at 5\u{1b}[2J").hard();
        assert_eq!(
            n.to_string(),
            "cease: hard reset: cease: administrative shutdown: \"back at 5\\u{1b}[2J\""
        );
        assert_eq!(n.communication(), Some("back at 5\u{1b}[2J"));
    }

    #[test]
    fn a_text_that_lies_about_its_length_is_none() {
        for data in [&[][..], &[0], &[5, b'a'], &[1, 0xff]] {
            let n = Notification::new(Code::Cease, cease::SHUTDOWN, data);
            assert_eq!(n.communication(), None, "{data:?}");
            let _ = n.to_string();
        }
        assert_eq!(Notification::cease(200).to_string(), "cease: subcode 200");
        assert_eq!(
            Notification::parse(&[77, 1]).to_string(),
            "error 77, subcode 1"
        );
        assert_eq!(
            Notification::from(HeaderError::BadLength(4097)).data,
            [0x10, 1]
        );
    }

    proptest! {
        #[test]
        fn what_is_emitted_is_read_again(code: u8, subcode: u8, data in prop::collection::vec(any::<u8>(), 0..300)) {
            let n = Notification { code, subcode, data };
            let mut out = Vec::new();
            n.emit(&mut out);
            prop_assert_eq!(Notification::parse(&out[super::super::HEADER..]), n.clone());
            let _ = n.to_string();
        }
    }
}
