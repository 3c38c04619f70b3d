//! Status codes and what they end: RFC 5036 3.4.6, 3.5.1.2, 3.9; RFC 5561 (unsupported capability), 5919 (End-of-LIB),
//! 7552 (dual stack).
//!
//! Each code is a row of [`TABLE`]: its number, its name, and whether it ends the session. A [`WireError`] is what a
//! decoder says of octets that are wrong: the code to send, and of which message.
//!
//! Left out: codes of pseudowires, of MAC withdrawal and of graceful restart; they come as [`Status::Other`].

use std::fmt;

macro_rules! statuses {
    ($($name:ident = $code:literal, $fatal:literal, $text:literal;)*) => {
        /// What a Notification says (RFC 5036 3.9).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Status {
            $(#[doc = $text] $name,)*
            /// Any other code, of 30 bits.
            Other(u32),
        }

        /// Code, name, and whether it ends the session: the E bit of 3.9.
        pub const TABLE: &[(Status, u32, bool, &str)] = &[$((Status::$name, $code, $fatal, $text),)*];

        impl Status {
            /// The number, of 30 bits.
            #[must_use]
            pub const fn code(self) -> u32 {
                match self {
                    $(Self::$name => $code,)*
                    Self::Other(n) => n & 0x3fff_ffff,
                }
            }

            /// From the number.
            #[must_use]
            pub const fn from_code(code: u32) -> Self {
                match code & 0x3fff_ffff {
                    $($code => Self::$name,)*
                    n => Self::Other(n),
                }
            }

            /// Whether it ends the session when it is sent.
            #[must_use]
            pub const fn is_fatal(self) -> bool {
                match self {
                    $(Self::$name => $fatal,)*
                    Self::Other(_) => false,
                }
            }
        }
    };
}

statuses! {
    Success = 0x00, false, "success";
    BadLdpId = 0x01, true, "bad LDP identifier";
    BadVersion = 0x02, true, "bad protocol version";
    BadPduLength = 0x03, true, "bad PDU length";
    UnknownMessage = 0x04, false, "unknown message type";
    BadMessageLength = 0x05, true, "bad message length";
    UnknownTlv = 0x06, false, "unknown TLV";
    BadTlvLength = 0x07, true, "bad TLV length";
    MalformedTlv = 0x08, true, "malformed TLV value";
    HoldTimerExpired = 0x09, true, "hold timer expired";
    Shutdown = 0x0a, true, "shutdown";
    LoopDetected = 0x0b, false, "loop detected";
    UnknownFec = 0x0c, false, "unknown FEC";
    NoRoute = 0x0d, false, "no route";
    NoLabelResources = 0x0e, false, "no label resources";
    LabelResourcesAvailable = 0x0f, false, "label resources available";
    NoHello = 0x10, true, "session rejected: no hello";
    AdvertisementMode = 0x11, true, "session rejected: parameters, advertisement mode";
    MaxPduLength = 0x12, true, "session rejected: parameters, max PDU length";
    LabelRange = 0x13, true, "session rejected: parameters, label range";
    KeepAliveExpired = 0x14, true, "keepalive timer expired";
    RequestAborted = 0x15, false, "label request aborted";
    MissingParameters = 0x16, false, "missing message parameters";
    UnsupportedFamily = 0x17, false, "unsupported address family";
    BadKeepAlive = 0x18, true, "session rejected: bad keepalive time";
    InternalError = 0x19, true, "internal error";
    UnsupportedCapability = 0x2e, false, "unsupported capability";
    EndOfLib = 0x2f, false, "End-of-LIB";
    TransportMismatch = 0x32, true, "transport connection mismatch";
    DualStackNoncompliance = 0x33, true, "dual-stack noncompliance";
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match TABLE.iter().find(|row| row.0 == *self) {
            Some(row) => f.write_str(row.3),
            None => write!(f, "status 0x{:08x}", self.code()),
        }
    }
}

/// What is wrong with octets that came: the verdict of a decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{status}: {what} (message {message_id}, type 0x{message_type:04x})")]
pub struct WireError {
    /// The code to answer with; whether the session ends is its [`Status::is_fatal`].
    pub status: Status,
    /// What was looked at.
    pub what: &'static str,
    /// Of the message; 0 when the PDU itself is wrong.
    pub message_id: u32,
    /// Of the message; 0 when the PDU itself is wrong.
    pub message_type: u16,
}

impl WireError {
    pub(crate) const fn new(status: Status, what: &'static str) -> Self {
        Self {
            status,
            what,
            message_id: 0,
            message_type: 0,
        }
    }

    /// Names the message in which it was found.
    pub(crate) const fn of(mut self, id: u32, kind: u16) -> Self {
        self.message_id = id;
        self.message_type = kind;
        self
    }

    /// Whether the session ends by it.
    #[must_use]
    pub const fn is_fatal(&self) -> bool {
        self.status.is_fatal()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5036 3.9, as printed there: the status code with its E bit.
    const PRINTED: &[u32] = &[
        0x0000_0000,
        0x8000_0001,
        0x8000_0002,
        0x8000_0003,
        0x0000_0004,
        0x8000_0005,
        0x0000_0006,
        0x8000_0007,
        0x8000_0008,
        0x8000_0009,
        0x8000_000a,
        0x0000_000b,
        0x0000_000c,
        0x0000_000d,
        0x0000_000e,
        0x0000_000f,
        0x8000_0010,
        0x8000_0011,
        0x8000_0012,
        0x8000_0013,
        0x8000_0014,
        0x0000_0015,
        0x0000_0016,
        0x0000_0017,
        0x8000_0018,
        0x8000_0019,
    ];

    #[test]
    fn codes_are_those_of_3_9() {
        for (n, printed) in PRINTED.iter().enumerate() {
            let s = Status::from_code(u32::try_from(n).unwrap());
            let e = if s.is_fatal() { 0x8000_0000 } else { 0 };
            assert_eq!(s.code() | e, *printed, "{s}");
            assert!(!matches!(s, Status::Other(_)));
        }
        assert_eq!(Status::from_code(0x2f), Status::EndOfLib);
        assert_eq!(Status::from_code(0x20), Status::Other(0x20));
        assert_eq!(Status::Other(0x20).to_string(), "status 0x00000020");
        for row in TABLE {
            assert_eq!(Status::from_code(row.1), row.0);
        }
    }
}
