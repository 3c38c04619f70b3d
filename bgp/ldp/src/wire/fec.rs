//! What a label is bound to: FEC elements. RFC 5036 3.4.1; RFC 5918 3 (typed wildcards), of which only that for prefixes.
//!
//! Left out: elements of pseudowires (RFC 8077), of point-to-multipoint paths (RFC 6388) and of topologies (RFC 7307); who
//! sends one is told that the FEC is unknown.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::read::Reader;
use super::status::{Status, WireError};
use super::tlv::{self, Tlv};
use crate::types::Family;

const WILDCARD: u8 = 1;
const PREFIX: u8 = 2;
const TYPED: u8 = 5;

/// One element of a FEC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fec {
    /// All FECs; alone, and only where labels are withdrawn or released.
    Wildcard,
    /// A prefix, its host bits zero.
    Prefix(IpNet),
    /// All prefixes of a family; only where labels are asked for, withdrawn or released (RFC 5918 3), or in an End-of-LIB.
    AllOf(Family),
}

/// Where a FEC stands, which decides what may be in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Mapping and Abort: prefixes alone.
    Named,
    /// Request, Notification: typed wildcards too.
    Typed,
    /// Withdraw, Release: all.
    Any,
}

fn malformed(what: &'static str) -> WireError {
    WireError::new(Status::MalformedTlv, what)
}

fn family(r: &mut Reader<'_>) -> Result<Family, WireError> {
    let code = r
        .u16()
        .ok_or(malformed("a FEC without its address family"))?;
    Family::from_code(code).ok_or(WireError::new(
        Status::UnsupportedFamily,
        "a FEC of a family that is neither IPv4 nor IPv6",
    ))
}

fn prefix(r: &mut Reader<'_>) -> Result<IpNet, WireError> {
    let family = family(r)?;
    let len = r.u8().ok_or(malformed("a prefix without its length"))?;
    let bytes = usize::from(len).div_ceil(8);
    let octets = r.take(bytes).ok_or(malformed("a prefix that is cut off"))?;
    let long = malformed("a prefix with more bits than an address");
    let addr = match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::from(padded::<4>(octets).ok_or(long)?)),
        Family::V6 => IpAddr::V6(Ipv6Addr::from(padded::<16>(octets).ok_or(long)?)),
    };
    let net = IpNet::new(addr, len).map_err(|_| long)?;
    Ok(net.trunc())
}

fn padded<const N: usize>(octets: &[u8]) -> Option<[u8; N]> {
    let mut all = [0; N];
    all.get_mut(..octets.len())?.copy_from_slice(octets);
    Some(all)
}

fn element(r: &mut Reader<'_>, place: Place) -> Result<Fec, WireError> {
    let unknown = |what| WireError::new(Status::UnknownFec, what);
    match r.u8() {
        Some(WILDCARD) if place == Place::Any => Ok(Fec::Wildcard),
        Some(PREFIX) => prefix(r).map(Fec::Prefix),
        Some(TYPED) if place != Place::Named => {
            let (kind, len) = (r.u8(), r.u8());
            let info = len.and_then(|n| r.take(n.into()));
            let mut info = Reader(info.ok_or(malformed("a typed wildcard that is cut off"))?);
            if kind != Some(PREFIX) {
                return Err(unknown("a typed wildcard of a FEC that is not known"));
            }
            let family = family(&mut info)?;
            if !info.is_empty() {
                return Err(malformed("a typed wildcard that is too long"));
            }
            Ok(Fec::AllOf(family))
        }
        Some(WILDCARD | TYPED) => Err(unknown("a wildcard where a FEC is to be named")),
        _ => Err(unknown("a FEC element of a type that is not known")),
    }
}

/// Reads a FEC TLV: at least one element, and a wildcard only alone.
pub(crate) fn read(tlv: &Tlv<'_>, place: Place) -> Result<Vec<Fec>, WireError> {
    let mut r = Reader(tlv.value);
    let mut fecs = vec![];
    while !r.is_empty() {
        fecs.push(element(&mut r, place)?);
    }
    match fecs.as_slice() {
        [] => Err(malformed("a FEC without elements")),
        [_] => Ok(fecs),
        _ if fecs.iter().any(|f| !matches!(f, Fec::Prefix(_))) => {
            Err(malformed("a wildcard beside other FEC elements"))
        }
        _ => Ok(fecs),
    }
}

/// Appends a FEC TLV.
pub(crate) fn put(out: &mut Vec<u8>, fecs: &[Fec]) {
    tlv::put(out, tlv::FEC, |out| {
        for fec in fecs {
            match fec {
                Fec::Wildcard => out.push(WILDCARD),
                Fec::Prefix(net) => {
                    out.push(PREFIX);
                    out.extend_from_slice(&(Family::of_net(net) as u16).to_be_bytes());
                    out.push(net.prefix_len());
                    let bytes = usize::from(net.prefix_len()).div_ceil(8);
                    match net.network() {
                        IpAddr::V4(a) => out.extend(a.octets().iter().take(bytes)),
                        IpAddr::V6(a) => out.extend(a.octets().iter().take(bytes)),
                    }
                }
                Fec::AllOf(family) => {
                    out.extend_from_slice(&[TYPED, PREFIX, 2]);
                    out.extend_from_slice(&(*family as u16).to_be_bytes());
                }
            }
        }
    });
}
