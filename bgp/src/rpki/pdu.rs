//! PDUs of the RPKI-to-router protocol: RFC 8210 5, and version 0 of them in RFC 6810 5.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::types::Asn;

use super::client::Timers;
use super::table::Vrp;

/// The versions that are spoken: RFC 6810, RFC 8210.
pub(super) const VERSIONS: std::ops::RangeInclusive<u8> = 0..=1;
/// Octets in front of every PDU.
pub(super) const HEADER: usize = 8;
/// The longest PDU that is read: error reports carry a PDU and a text, router keys a key.
const LONGEST: usize = 65_535;

/// Why a session is ended, RFC 8210 12.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Reason {
    /// What came makes no sense.
    CorruptData = 0,
    /// Nobody's fault but the sender's.
    InternalError = 1,
    /// The cache has nothing yet. Not fatal.
    NoData = 2,
    /// The query makes no sense.
    InvalidRequest = 3,
    /// Another version is wanted.
    UnsupportedVersion = 4,
    /// A PDU of a type that is not known.
    UnsupportedType = 5,
    /// A withdrawal of what was never announced.
    UnknownWithdrawal = 6,
    /// An announcement of what was announced.
    Duplicate = 7,
    /// A version that was not agreed on.
    UnexpectedVersion = 8,
}

impl Reason {
    const ALL: [Self; 9] = [
        Self::CorruptData,
        Self::InternalError,
        Self::NoData,
        Self::InvalidRequest,
        Self::UnsupportedVersion,
        Self::UnsupportedType,
        Self::UnknownWithdrawal,
        Self::Duplicate,
        Self::UnexpectedVersion,
    ];

    /// As RFC 8210 12 calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CorruptData => "Corrupt Data",
            Self::InternalError => "Internal Error",
            Self::NoData => "No Data Available",
            Self::InvalidRequest => "Invalid Request",
            Self::UnsupportedVersion => "Unsupported Protocol Version",
            Self::UnsupportedType => "Unsupported PDU Type",
            Self::UnknownWithdrawal => "Withdrawal of Unknown Record",
            Self::Duplicate => "Duplicate Announcement Received",
            Self::UnexpectedVersion => "Unexpected Protocol Version",
        }
    }
}

/// A PDU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pdu<'a> {
    /// 5.2: the cache has something new.
    SerialNotify {
        /// The cache's session.
        session: u16,
        /// What it is at.
        serial: u32,
    },
    /// 5.3: what came after this serial?
    SerialQuery {
        /// The cache's session.
        session: u16,
        /// What we are at.
        serial: u32,
    },
    /// 5.4: what is there?
    ResetQuery,
    /// 5.5: an answer begins.
    CacheResponse {
        /// The cache's session.
        session: u16,
    },
    /// 5.6 and 5.7.
    Prefix {
        /// False: withdrawn.
        announce: bool,
        /// What.
        vrp: Vrp,
    },
    /// 5.8: the answer is complete.
    EndOfData {
        /// The cache's session.
        session: u16,
        /// What it is about.
        serial: u32,
        /// Version 1 has them.
        timers: Option<Timers>,
    },
    /// 5.9: there is no such increment; ask for everything.
    CacheReset,
    /// 5.10: read, and let go.
    RouterKey,
    /// 5.11.
    ErrorReport {
        /// As on the wire; those that are not known too.
        code: u16,
        /// The PDU that it is about, as far as it was sent.
        pdu: &'a [u8],
        /// For people.
        text: &'a [u8],
    },
}

/// What is wrong with a PDU.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {text}", reason.name())]
pub struct PduError {
    /// What to tell the cache.
    pub reason: Reason,
    /// What is wrong, in words.
    pub text: String,
}

fn corrupt(text: impl Into<String>) -> PduError {
    PduError {
        reason: Reason::CorruptData,
        text: text.into(),
    }
}

fn be16(b: &[u8], at: usize) -> u16 {
    b.get(at..)
        .and_then(|b| b.first_chunk())
        .map_or(0, |b| u16::from_be_bytes(*b))
}

fn be32(b: &[u8], at: usize) -> u32 {
    b.get(at..)
        .and_then(|b| b.first_chunk())
        .map_or(0, |b| u32::from_be_bytes(*b))
}

impl<'a> Pdu<'a> {
    /// Reads the first PDU of `b`: its version, itself, and its length. `None`: it is not whole yet.
    ///
    /// # Errors
    /// It makes no sense, whatever may follow.
    pub fn decode(b: &'a [u8]) -> Result<Option<(u8, Self, usize)>, PduError> {
        let Some(head) = b.first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let [version, kind, ..] = *head;
        let (field, len) = (be16(head, 2), be32(head, 4) as usize);
        if !VERSIONS.contains(&version) {
            return Err(PduError {
                reason: Reason::UnsupportedVersion,
                text: format!("version {version} is not 0 or 1"),
            });
        }
        let fits = match kind {
            0 | 1 => len == 12,
            2 | 3 | 8 => len == HEADER,
            4 => len == 20,
            6 => len == 32,
            7 if version == 0 => len == 12,
            7 => len == 24,
            9 => (32..=LONGEST).contains(&len),
            10 => (16..=LONGEST).contains(&len),
            _ => {
                return Err(PduError {
                    reason: Reason::UnsupportedType,
                    text: format!("type {kind} is not known"),
                });
            }
        };
        if !fits {
            return Err(corrupt(format!(
                "a PDU of type {kind} is not {len} octets long"
            )));
        }
        let Some(body) = b.get(HEADER..len) else {
            return Ok(None);
        };
        let pdu = match kind {
            0 => Self::SerialNotify {
                session: field,
                serial: be32(body, 0),
            },
            1 => Self::SerialQuery {
                session: field,
                serial: be32(body, 0),
            },
            2 => Self::ResetQuery,
            3 => Self::CacheResponse { session: field },
            4 | 6 => prefix(kind == 4, body)?,
            7 => Self::EndOfData {
                session: field,
                serial: be32(body, 0),
                timers: (version > 0).then(|| Timers {
                    refresh: be32(body, 4),
                    retry: be32(body, 8),
                    expire: be32(body, 12),
                }),
            },
            8 => Self::CacheReset,
            9 => Self::RouterKey,
            _ => report(field, body)?,
        };
        Ok(Some((version, pdu, len)))
    }

    /// Appends it as on the wire in that version.
    pub fn encode(&self, version: u8, out: &mut Vec<u8>) {
        let start = out.len();
        let (kind, field) = match self {
            Self::SerialNotify { session, .. } => (0, *session),
            Self::SerialQuery { session, .. } => (1, *session),
            Self::ResetQuery => (2, 0),
            Self::CacheResponse { session } => (3, *session),
            Self::Prefix { vrp, .. } => (if vrp.prefix.addr().is_ipv4() { 4 } else { 6 }, 0),
            Self::EndOfData { session, .. } => (7, *session),
            Self::CacheReset => (8, 0),
            Self::RouterKey => (9, 0),
            Self::ErrorReport { code, .. } => (10, *code),
        };
        out.extend([version, kind]);
        out.extend(field.to_be_bytes());
        out.extend([0; 4]);
        match self {
            Self::SerialNotify { serial, .. } | Self::SerialQuery { serial, .. } => {
                out.extend(serial.to_be_bytes());
            }
            Self::Prefix { announce, vrp } => {
                out.extend([u8::from(*announce), vrp.prefix.prefix_len(), vrp.max_len, 0]);
                match vrp.prefix.addr() {
                    IpAddr::V4(a) => out.extend(a.octets()),
                    IpAddr::V6(a) => out.extend(a.octets()),
                }
                out.extend(vrp.asn.0.to_be_bytes());
            }
            Self::EndOfData { serial, timers, .. } => {
                out.extend(serial.to_be_bytes());
                if version > 0 {
                    let t = timers.unwrap_or_default();
                    out.extend(
                        [t.refresh, t.retry, t.expire]
                            .iter()
                            .flat_map(|n| n.to_be_bytes()),
                    );
                }
            }
            Self::RouterKey => out.extend([0; 24]),
            Self::ErrorReport { pdu, text, .. } => {
                for part in [pdu, text] {
                    out.extend((part.len() as u32).to_be_bytes());
                    out.extend(*part);
                }
            }
            Self::ResetQuery | Self::CacheResponse { .. } | Self::CacheReset => {}
        }
        let len = (out.len() - start) as u32;
        out[start + 4..start + HEADER].copy_from_slice(&len.to_be_bytes());
    }
}

/// Flags, length, maximum length, zero; address; AS number.
fn prefix(four: bool, body: &[u8]) -> Result<Pdu<'static>, PduError> {
    let (address, rest): (IpAddr, &[u8]) = match (body.get(4..), four) {
        (Some([a, b, c, d, rest @ ..]), true) => ([*a, *b, *c, *d].into(), rest),
        (Some(b), false) => match b.split_first_chunk::<16>() {
            Some((a, rest)) => ((*a).into(), rest),
            None => return Err(corrupt("a prefix is cut off")),
        },
        _ => return Err(corrupt("a prefix is cut off")),
    };
    let (flags, len, max_len) = (body[0], body[1], body[2]);
    let net = IpNet::new(address, len)
        .map_err(|_| corrupt(format!("{address} has no length of {len}")))?;
    if max_len < len || max_len > net.max_prefix_len() {
        return Err(corrupt(format!(
            "{net} has a maximum length of {max_len}, which is not from {len} to {}",
            net.max_prefix_len()
        )));
    }
    Ok(Pdu::Prefix {
        announce: flags & 1 != 0,
        vrp: Vrp {
            prefix: net.trunc(),
            max_len,
            asn: Asn(be32(rest, 0)),
        },
    })
}

fn report(code: u16, body: &[u8]) -> Result<Pdu<'_>, PduError> {
    fn part(b: &[u8]) -> Option<(&[u8], &[u8])> {
        let (len, rest) = b.split_first_chunk::<4>()?;
        rest.split_at_checked(u32::from_be_bytes(*len) as usize)
    }
    let parts = part(body).and_then(|(pdu, rest)| Some((pdu, part(rest)?)));
    match parts {
        Some((pdu, (text, []))) => Ok(Pdu::ErrorReport { code, pdu, text }),
        _ => Err(corrupt(
            "the parts of an error report are not as long as it says",
        )),
    }
}

/// What a code of an error report says.
pub(super) fn code_name(code: u16) -> String {
    match Reason::ALL.into_iter().find(|r| *r as u16 == code) {
        Some(reason) => reason.name().to_owned(),
        None => format!("error {code}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn some_pdu() -> impl Strategy<Value = (u8, Pdu<'static>)> {
        const TEXT: &[u8] = b"a text for people";
        let net = prop_oneof![
            (any::<u32>(), 0u8..=32)
                .prop_map(|(a, l)| IpNet::new(IpAddr::V4(a.into()), l).unwrap().trunc()),
            (any::<u128>(), 0u8..=128)
                .prop_map(|(a, l)| IpNet::new(IpAddr::V6(a.into()), l).unwrap().trunc()),
        ];
        let prefix = (net, any::<u8>(), any::<u32>(), any::<bool>()).prop_map(
            |(prefix, more, asn, announce)| {
                let (len, most) = (prefix.prefix_len(), prefix.max_prefix_len());
                let vrp = Vrp {
                    prefix,
                    max_len: len + more % (most - len + 1),
                    asn: Asn(asn),
                };
                Pdu::Prefix { announce, vrp }
            },
        );
        let timers = any::<(u32, u32, u32)>().prop_map(|(refresh, retry, expire)| Timers {
            refresh,
            retry,
            expire,
        });
        let pdu = prop_oneof![
            any::<(u16, u32)>().prop_map(|(session, serial)| Pdu::SerialNotify { session, serial }),
            any::<(u16, u32)>().prop_map(|(session, serial)| Pdu::SerialQuery { session, serial }),
            Just(Pdu::ResetQuery),
            any::<u16>().prop_map(|session| Pdu::CacheResponse { session }),
            prefix,
            (any::<(u16, u32)>(), timers).prop_map(|((session, serial), timers)| Pdu::EndOfData {
                session,
                serial,
                timers: Some(timers)
            }),
            Just(Pdu::CacheReset),
            Just(Pdu::RouterKey),
            (any::<u16>(), 0..TEXT.len(), 0..TEXT.len()).prop_map(|(code, a, b)| {
                Pdu::ErrorReport {
                    code,
                    pdu: &TEXT[..a],
                    text: &TEXT[b..],
                }
            }),
        ];
        (0u8..=1, pdu).prop_map(|(version, pdu)| match (version, pdu) {
            (
                0,
                Pdu::EndOfData {
                    session, serial, ..
                },
            ) => (
                0,
                Pdu::EndOfData {
                    session,
                    serial,
                    timers: None,
                },
            ),
            both => both,
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn what_is_written_is_read((version, pdu) in some_pdu(), more in prop::collection::vec(any::<u8>(), 0..9)) {
            let mut b = Vec::new();
            pdu.encode(version, &mut b);
            let len = b.len();
            for short in 0..len {
                prop_assert_eq!(Pdu::decode(&b[..short]), Ok(None));
            }
            b.extend(more);
            prop_assert_eq!(Pdu::decode(&b), Ok(Some((version, pdu, len))));
        }

        #[test]
        fn any_octets_are_read_or_refused((version, pdu) in some_pdu(), at in any::<usize>(), with in any::<u8>(), cut in any::<usize>()) {
            let mut b = Vec::new();
            pdu.encode(version, &mut b);
            let at = at % b.len();
            b[at] = with;
            b.truncate(cut % (b.len() + 1) + b.len() / 2);
            if let Ok(Some((_, pdu, len))) = Pdu::decode(&b) {
                prop_assert!(len <= b.len());
                if let Pdu::Prefix { vrp, .. } = pdu {
                    prop_assert_eq!(vrp.prefix, vrp.prefix.trunc());
                    prop_assert!(vrp.max_len >= vrp.prefix.prefix_len());
                }
            }
        }

        #[test]
        fn noise_is_no_pdu(b in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = Pdu::decode(&b);
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_for_what_it_is() {
        let mut b = Vec::new();
        Pdu::ResetQuery.encode(1, &mut b);
        let with = |at: usize, v: u8| {
            let mut b = b.clone();
            b[at] = v;
            Pdu::decode(&b).unwrap_err().reason
        };
        assert_eq!(with(0, 2), Reason::UnsupportedVersion);
        assert_eq!(with(1, 11), Reason::UnsupportedType);
        assert_eq!(with(1, 5), Reason::UnsupportedType);
        assert_eq!(with(7, 9), Reason::CorruptData);
        assert_eq!(
            with(4, 1),
            Reason::CorruptData,
            "16 million octets are not waited for"
        );
    }
}
