//! Parameters: type, length, value, with the U and F bits. RFC 5036 3.3, 3.5.1.2.2.
//!
//! Left out: the forwarding of unknown parameters whose F bit is set; they are kept (`forward`) for who wants to.

use super::read::Reader;
use super::status::{Status, WireError};

pub(crate) const FEC: u16 = 0x0100;
pub(crate) const ADDRESS_LIST: u16 = 0x0101;
pub(crate) const HOP_COUNT: u16 = 0x0103;
pub(crate) const PATH_VECTOR: u16 = 0x0104;
pub(crate) const GENERIC_LABEL: u16 = 0x0200;
/// RFC 6790 5.1.1.
pub(crate) const ENTROPY_LABEL: u16 = 0x0206;
pub(crate) const STATUS: u16 = 0x0300;
pub(crate) const EXTENDED_STATUS: u16 = 0x0301;
pub(crate) const RETURNED_PDU: u16 = 0x0302;
pub(crate) const RETURNED_MESSAGE: u16 = 0x0303;
pub(crate) const HELLO_PARAMETERS: u16 = 0x0400;
pub(crate) const TRANSPORT_V4: u16 = 0x0401;
pub(crate) const CONFIG_SEQUENCE: u16 = 0x0402;
pub(crate) const TRANSPORT_V6: u16 = 0x0403;
pub(crate) const SESSION_PARAMETERS: u16 = 0x0500;
/// RFC 5561 9.
pub(crate) const DYNAMIC_ANNOUNCEMENT: u16 = 0x0506;
/// RFC 5918 4.
pub(crate) const TYPED_WILDCARD: u16 = 0x050b;
pub(crate) const REQUEST_ID: u16 = 0x0600;
/// RFC 5919 3.
pub(crate) const UNRECOGNIZED_NOTIFICATION: u16 = 0x0603;
/// RFC 7552 6.1.1.
pub(crate) const DUAL_STACK: u16 = 0x0701;

/// Ignore it if it is unknown.
pub(crate) const U: u16 = 0x8000;
/// Forward it if it is unknown.
pub(crate) const F: u16 = 0x4000;

/// One parameter as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tlv<'a> {
    /// 14 bits.
    pub(crate) kind: u16,
    pub(crate) ignorable: bool,
    pub(crate) forwarded: bool,
    pub(crate) value: &'a [u8],
}

impl<'a> Tlv<'a> {
    pub(crate) fn read(r: &mut Reader<'a>) -> Result<Self, WireError> {
        let cut = WireError::new(Status::BadTlvLength, "a TLV that ends behind its message");
        let (Some(kind), Some(len)) = (r.u16(), r.u16()) else {
            return Err(cut);
        };
        Ok(Self {
            kind: kind & !(U | F),
            ignorable: kind & U != 0,
            forwarded: kind & F != 0,
            value: r.take(len.into()).ok_or(cut)?,
        })
    }

    /// The value, which has exactly so many octets.
    pub(crate) fn exactly<const N: usize>(&self, what: &'static str) -> Result<[u8; N], WireError> {
        <[u8; N]>::try_from(self.value).map_err(|_| WireError::new(Status::MalformedTlv, what))
    }
}

/// A parameter that nobody here knows and that asks to be passed on: U and F bits set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// 14 bits.
    pub kind: u16,
    /// As it came.
    pub value: Vec<u8>,
}

/// Gives each parameter to `take`, which says whether it knows it here; returns those to be forwarded.
///
/// A wrong length anywhere is found first, since it ends the session; then they are looked at in order.
pub(crate) fn each<'a>(
    body: &'a [u8],
    mut take: impl FnMut(&Tlv<'a>) -> Result<bool, WireError>,
) -> Result<Vec<Unknown>, WireError> {
    let mut r = Reader(body);
    while !r.is_empty() {
        Tlv::read(&mut r)?;
    }
    let mut forward = vec![];
    let mut r = Reader(body);
    while !r.is_empty() {
        let tlv = Tlv::read(&mut r)?;
        if take(&tlv)? {
            continue;
        }
        if !tlv.ignorable {
            return Err(WireError::new(
                Status::UnknownTlv,
                "a TLV that is not known here",
            ));
        }
        if tlv.forwarded {
            forward.push(Unknown {
                kind: tlv.kind,
                value: tlv.value.to_vec(),
            });
        }
    }
    Ok(forward)
}

/// Appends a parameter. `kind` has its U and F bits. What is longer than a length can say is cut off: [`super::Pdus`]
/// refuses a message long before.
pub(crate) fn put(out: &mut Vec<u8>, kind: u16, value: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(&kind.to_be_bytes());
    sized(out, value);
}

/// Appends what `value` writes behind its length in two octets.
pub(crate) fn sized(out: &mut Vec<u8>, value: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend_from_slice(&[0; 2]);
    value(out);
    out.truncate(at + 2 + usize::from(u16::MAX));
    let len = u16::try_from(out.len() - at - 2).unwrap_or(u16::MAX);
    if let Some(o) = out.get_mut(at..at + 2) {
        o.copy_from_slice(&len.to_be_bytes());
    }
}
