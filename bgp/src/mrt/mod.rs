//! MRT: RFC 6396 (TABLE_DUMP_V2 and BGP4MP, with the _ET form of 3), RFC 8050 (add-path), RFC 6397 not.
//!
//! Octets in and out, no files. [`Record::parse`] frames, [`Entry::parse`] says what is in a record; [`write`] makes the
//! records that this router writes. TABLE_DUMP (the first, for AS numbers of two octets), OSPF and IS-IS are records like
//! others, and not looked into.
//!
//! Departures: attributes of an IPv6 entry are taken in both forms of MP_REACH_NLRI that are about, the short one of RFC 6396
//! 4.3.4 and the whole one. A record whose inside is damaged is an error of its own: the next one can still be read.

mod read;
mod write;

pub use read::{Entry, Message, PeerEntry, PeerTable, RibRoute, RibRoutes, Routes};
pub use write::{RibEntry, message, peer_table, rib, state_change};

/// Octets of a record's header.
pub const HEADER: usize = 12;
/// The longest record that is taken: a prefix with 65,535 routes of 64 KiB each is beyond every table there is.
pub const MAX: usize = 64 << 20;

/// Types of records.
pub mod kind {
    /// RFC 6396 4.3.
    pub const TABLE_DUMP_V2: u16 = 13;
    /// RFC 6396 4.4.
    pub const BGP4MP: u16 = 16;
    /// The same with microseconds in front.
    pub const BGP4MP_ET: u16 = 17;
}

/// Why octets are no MRT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum MrtError {
    /// Nothing behind it can be found.
    #[error("a record of {0} octets: this is no MRT, or it is damaged")]
    TooLong(u32),
    /// This record ends too early for what it says it has.
    #[error("the record of type {0}, subtype {1} is cut off inside")]
    Truncated(u16, u16),
    /// A prefix that cannot be.
    #[error("the record of type {0}, subtype {1} has an impossible prefix")]
    Prefix(u16, u16),
}

/// A record: its header, and what is behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Seconds since 1970.
    pub seconds: u32,
    /// And microseconds; 0 without the _ET form.
    pub micros: u32,
    /// Type, as the plain form has it.
    pub kind: u16,
    /// Subtype.
    pub subtype: u16,
    /// What it says.
    pub body: &'a [u8],
}

impl<'a> Record<'a> {
    /// The record at the start of `bytes`, and what follows it; `None`: more octets are needed.
    ///
    /// # Errors
    /// A length that no record has.
    pub fn parse(bytes: &'a [u8]) -> Result<Option<(Self, &'a [u8])>, MrtError> {
        let Some((&[s0, s1, s2, s3, k0, k1, t0, t1, l0, l1, l2, l3], rest)) =
            bytes.split_first_chunk::<HEADER>()
        else {
            return Ok(None);
        };
        let len = u32::from_be_bytes([l0, l1, l2, l3]);
        let Some(n) = usize::try_from(len).ok().filter(|n| *n <= MAX) else {
            return Err(MrtError::TooLong(len));
        };
        let Some((mut body, rest)) = rest.split_at_checked(n) else {
            return Ok(None);
        };
        let (mut kind, subtype) = (u16::from_be_bytes([k0, k1]), u16::from_be_bytes([t0, t1]));
        let mut micros = 0;
        if kind == kind::BGP4MP_ET
            && let Some((m, tail)) = body.split_first_chunk()
        {
            (micros, body, kind) = (u32::from_be_bytes(*m), tail, kind::BGP4MP);
        }
        let record = Self {
            seconds: u32::from_be_bytes([s0, s1, s2, s3]),
            micros,
            kind,
            subtype,
            body,
        };
        Ok(Some((record, rest)))
    }
}

#[cfg(test)]
mod tests;
