//! Framing: the header in front of every message, RFC 4271 4.1 and the errors of 6.1; RFC 8654 (longer messages).
//!
//! Left out on purpose: what lies behind the header.

/// Octets in a header.
pub const HEADER: usize = 19;
/// The longest message there is without RFC 8654.
pub const MAX: usize = 4096;
/// The longest message there is with RFC 8654; OPEN and KEEPALIVE are never longer than [`MAX`].
pub const MAX_EXTENDED: usize = 65_535;

/// The kind of a message, RFC 4271 4.1 and RFC 2918.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Opens a session.
    Open = 1,
    /// Announces and withdraws routes.
    Update = 2,
    /// Ends a session and says why.
    Notification = 3,
    /// Keeps the hold timer from expiring.
    Keepalive = 4,
    /// Asks for all routes again.
    RouteRefresh = 5,
}

impl Kind {
    fn from_octet(o: u8) -> Option<Self> {
        [
            Self::Open,
            Self::Update,
            Self::Notification,
            Self::Keepalive,
            Self::RouteRefresh,
        ]
        .into_iter()
        .find(|k| *k as u8 == o)
    }

    /// The shortest message of this kind, header included (RFC 4271 4.2 to 4.5, RFC 2918 3).
    fn min_len(self) -> usize {
        match self {
            Self::Open => 29,
            Self::Update | Self::RouteRefresh => 23,
            Self::Notification => 21,
            Self::Keepalive => 19,
        }
    }
}

/// A header that passed every check of RFC 4271 6.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Octets of the whole message.
    pub len: u16,
    /// What it is.
    pub kind: Kind,
}

/// Message Header Error, code 1: the subcode and the data of the NOTIFICATION to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Subcode 1: the marker is not all ones.
    #[error("connection not synchronized: the marker is not all ones")]
    NotSynchronized,
    /// Subcode 2, with the length field as data.
    #[error("bad message length {0}")]
    BadLength(u16),
    /// Subcode 3, with the type field as data.
    #[error("bad message type {0}")]
    BadType(u8),
}

impl Header {
    /// Reads the header at the start of `bytes`; `Ok(None)` while fewer than [`HEADER`] octets are
    /// there. `max` is [`MAX`], or [`MAX_EXTENDED`] once RFC 8654 was agreed on.
    ///
    /// # Errors
    /// The first check that fails, in the RFC's order.
    pub fn parse(bytes: &[u8], max: usize) -> Result<Option<Self>, HeaderError> {
        let Some(h) = bytes.first_chunk::<HEADER>() else {
            return Ok(None);
        };
        if h[..16] != [0xff; 16] {
            return Err(HeaderError::NotSynchronized);
        }
        let len = u16::from_be_bytes([h[16], h[17]]);
        if !(HEADER..=max).contains(&usize::from(len)) {
            return Err(HeaderError::BadLength(len));
        }
        let kind = Kind::from_octet(h[18]).ok_or(HeaderError::BadType(h[18]))?;
        let fits = match kind {
            Kind::Keepalive => usize::from(len) == HEADER,
            Kind::Open => (kind.min_len()..=MAX).contains(&usize::from(len)), // RFC 8654 4
            _ => usize::from(len) >= kind.min_len(),
        };
        if fits {
            Ok(Some(Self { len, kind }))
        } else {
            Err(HeaderError::BadLength(len))
        }
    }

    /// The header as octets.
    #[must_use]
    pub fn emit(self) -> [u8; HEADER] {
        let mut h = [0xff; HEADER];
        h[16..18].copy_from_slice(&self.len.to_be_bytes());
        h[18] = self.kind as u8;
        h
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(len: u16, kind: u8) -> Vec<u8> {
        let mut h = vec![0xff; 16];
        h.extend(len.to_be_bytes());
        h.push(kind);
        h
    }

    #[test]
    fn each_check_of_6_1_has_its_error() {
        assert_eq!(Header::parse(&header(19, 4)[..18], MAX), Ok(None));
        let mut desync = header(19, 4);
        desync[15] = 0xfe;
        assert_eq!(
            Header::parse(&desync, MAX),
            Err(HeaderError::NotSynchronized)
        );
        for (len, kind) in [
            (18, 4),
            (20, 4),
            (4097, 2),
            (28, 1),
            (22, 2),
            (20, 3),
            (22, 5),
        ] {
            assert_eq!(
                Header::parse(&header(len, kind), MAX),
                Err(HeaderError::BadLength(len))
            );
        }
        assert_eq!(
            Header::parse(&header(19, 0), MAX),
            Err(HeaderError::BadType(0))
        );
        assert_eq!(
            Header::parse(&header(23, 6), MAX),
            Err(HeaderError::BadType(6))
        );
        let max = MAX_EXTENDED;
        assert!(Header::parse(&header(9000, 2), max).unwrap().is_some());
        assert_eq!(
            Header::parse(&header(4097, 1), max),
            Err(HeaderError::BadLength(4097))
        );
    }

    proptest! {
        #[test]
        fn what_parses_is_what_was_emitted(bytes in prop::collection::vec(any::<u8>(), 0..32), len: u16, kind in 0u8..8) {
            let _ = Header::parse(&bytes, MAX);
            if let Ok(Some(h)) = Header::parse(&header(len, kind), MAX) {
                prop_assert_eq!(h.emit().to_vec(), header(len, kind));
            }
        }
    }
}
