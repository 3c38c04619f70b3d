//! FlowSpec NLRI: RFC 8955 4.2 (IPv4), RFC 8956 3 (IPv6). A flow is kept as its components' octets; what they mean is for
//! whoever installs it.
//!
//! Departure: a component that RFC 8955 does not know makes the flow malformed, since where it ends cannot be told.

use super::super::read::Reader;

/// Why the components of a flow are not what RFC 8955 4.2 asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum BadFlow {
    /// No components.
    #[error("a flow without components")]
    Empty,
    /// Types do not increase.
    #[error("component {0} is not in its place")]
    Order(u8),
    /// A type that is not known.
    #[error("no component has type {0}")]
    Type(u8),
    /// It goes beyond the flow, or its list of values has no end.
    #[error("component {0} goes beyond the flow")]
    Overrun(u8),
    /// A prefix longer than an address, or an offset that is not within the prefix.
    #[error("component {0} has an impossible prefix")]
    Prefix(u8),
}

/// One flow and what follows it: the length has two octets from 240 up (RFC 8955 4.1).
pub(super) fn split(o: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&l0, rest) = o.split_first()?;
    if l0 < 0xf0 {
        return rest.split_at_checked(l0.into());
    }
    let (&l1, rest) = rest.split_first()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes([l0 & 0x0f, l1])))
}

/// Appends a flow's length.
pub(crate) fn emit_len(len: usize, out: &mut Vec<u8>) {
    match len {
        0..240 => out.push(len as u8),
        _ => out.extend((0xf000 | (len as u16 & 0x0fff)).to_be_bytes()),
    }
}

const DESTINATION: u8 = 1;
const SOURCE: u8 = 2;
/// The last type of IPv4: fragments.
const FRAGMENT: u8 = 12;
/// IPv6 alone.
const FLOW_LABEL: u8 = 13;

/// Are the components each whole, known, and in the order of their types?
///
/// # Errors
/// The first that is not.
pub fn check_flow(ipv6: bool, components: &[u8]) -> Result<(), BadFlow> {
    let mut r = Reader(components);
    let mut last = 0;
    while let Some(kind) = r.u8() {
        if kind <= last {
            return Err(BadFlow::Order(kind));
        }
        last = kind;
        match kind {
            DESTINATION | SOURCE => prefix(&mut r, ipv6, kind)?,
            0 | FLOW_LABEL.. if !(ipv6 && kind == FLOW_LABEL) => return Err(BadFlow::Type(kind)),
            _ => values(&mut r).ok_or(BadFlow::Overrun(kind))?,
        }
    }
    const { assert!(FRAGMENT + 1 == FLOW_LABEL) };
    if last == 0 {
        Err(BadFlow::Empty)
    } else {
        Ok(())
    }
}

/// Length, in IPv6 an offset (RFC 8956 3.1), and the bits from there on.
fn prefix(r: &mut Reader<'_>, ipv6: bool, kind: u8) -> Result<(), BadFlow> {
    let over = BadFlow::Overrun(kind);
    let bits = r.u8().ok_or(over)?;
    let offset = if ipv6 { r.u8().ok_or(over)? } else { 0 };
    let max = if ipv6 { 128 } else { 32 };
    let inside = offset < bits || (offset, bits) == (0, 0);
    if bits > max || !inside {
        return Err(BadFlow::Prefix(kind));
    }
    let octets = usize::from(bits - offset).div_ceil(8);
    r.take(octets).map(|_| ()).ok_or(over)
}

/// Operators with their values, up to the one that has the end bit.
fn values(r: &mut Reader<'_>) -> Option<()> {
    loop {
        let op = r.u8()?;
        r.take(1 << (op >> 4 & 3))?;
        if op & 0x80 != 0 {
            return Some(());
        }
    }
}
