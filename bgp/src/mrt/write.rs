//! The records that this router writes: PEER_INDEX_TABLE, RIB_* (RIB_GENERIC where there is none of the family), with
//! path identifiers by RFC 8050; BGP4MP_MESSAGE_AS4 and BGP4MP_STATE_CHANGE_AS4.

use std::net::IpAddr;

use crate::attrs::{View, code, flag};
use crate::types::{Family, NextHop, PathId};

use super::{HEADER, Message, PeerTable, kind};

/// A record with the length of what `body` writes.
fn record(time: u32, kind: u16, subtype: u16, out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend(time.to_be_bytes());
    out.extend(kind.to_be_bytes());
    out.extend(subtype.to_be_bytes());
    out.extend([0; 4]);
    body(out);
    let len = u32::try_from(out.len() - start - HEADER).unwrap_or(u32::MAX);
    if let Some(field) = out.get_mut(start + 8..start + HEADER) {
        field.copy_from_slice(&len.to_be_bytes());
    }
}

fn address(a: IpAddr, out: &mut Vec<u8>) {
    match a {
        IpAddr::V4(a) => out.extend(a.octets()),
        IpAddr::V6(a) => out.extend(a.octets()),
    }
}

/// Appends PEER_INDEX_TABLE, which comes first in a dump; no more than 65,535 peers and octets of the name.
pub fn peer_table(time: u32, table: &PeerTable, out: &mut Vec<u8>) {
    record(time, kind::TABLE_DUMP_V2, 1, out, |out| {
        out.extend(table.collector);
        let view = u16::try_from(table.view.len()).unwrap_or(0);
        out.extend(view.to_be_bytes());
        out.extend_from_slice(table.view.get(..view.into()).unwrap_or_default());
        let n = u16::try_from(table.peers.len()).unwrap_or(u16::MAX);
        out.extend(n.to_be_bytes());
        for p in table.peers.iter().take(n.into()) {
            out.push(2 | u8::from(p.address.is_ipv6()));
            out.extend(p.id);
            address(p.address, out);
            out.extend(p.asn.0.to_be_bytes());
        }
    });
}

/// A route of a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RibEntry<'a> {
    /// Whom it is from: an index into the peer table.
    pub peer: u16,
    /// When it came, seconds since 1970.
    pub originated: u32,
    /// Its path identifier.
    pub path_id: PathId,
    /// Its attributes.
    pub attributes: View<'a>,
}

/// Appends the routes to one prefix. `nlri`: one NLRI of the family, without a path identifier. `add_path`: path identifiers are
/// written (RFC 8050). Of more than 65,535 routes the rest is left out, as are those with attributes longer than that.
pub fn rib(
    time: u32,
    sequence: u32,
    (family, nlri): (Family, &[u8]),
    add_path: bool,
    routes: &[RibEntry<'_>],
    out: &mut Vec<u8>,
) {
    let plain = match family {
        Family::Ipv4Unicast => 2,
        Family::Ipv6Unicast => 4,
        _ => 6,
    };
    let subtype = if add_path { plain + 6 } else { plain };
    record(time, kind::TABLE_DUMP_V2, subtype, out, |out| {
        out.extend(sequence.to_be_bytes());
        if plain == 6 {
            out.extend(family.code().0.to_be_bytes());
            out.push(family.code().1);
        }
        out.extend_from_slice(nlri);
        let at = out.len();
        out.extend([0; 2]);
        let mut n = 0u16;
        for r in routes {
            let start = out.len();
            route(family, r, add_path, out);
            let len = u16::try_from(out.len() - start - head(add_path));
            let (Ok(len), true) = (len, n < u16::MAX) else {
                out.truncate(start);
                continue;
            };
            out[start + head(add_path) - 2..start + head(add_path)]
                .copy_from_slice(&len.to_be_bytes());
            n += 1;
        }
        out[at..at + 2].copy_from_slice(&n.to_be_bytes());
    });
}

/// Octets in front of a route's attributes.
const fn head(add_path: bool) -> usize {
    if add_path { 12 } else { 8 }
}

fn route(family: Family, r: &RibEntry<'_>, add_path: bool, out: &mut Vec<u8>) {
    out.extend(r.peer.to_be_bytes());
    out.extend(r.originated.to_be_bytes());
    if add_path {
        out.extend(r.path_id.to_be_bytes());
    }
    out.extend([0; 2]);
    let hop = r.attributes.next_hop;
    let (plain, mp) = match (family, hop) {
        (Family::Ipv4Unicast, Some(NextHop::V4(a))) => (Some(a), None),
        _ => (None, hop),
    };
    // Where NEXT_HOP and MP_REACH_NLRI go among the others.
    let octets = r.attributes.octets;
    let before = |code: u8| {
        let all = r.attributes.iter().take_while(|a| a.code < code);
        let len = |n: usize| n + if n > 255 { 4 } else { 3 };
        let n: usize = all.map(|a| len(a.value.len())).sum();
        n.min(octets.len())
    };
    let (hop_at, mp_at) = (before(code::NEXT_HOP), before(code::MP_REACH_NLRI));
    out.extend_from_slice(&octets[..hop_at]);
    if let Some(a) = plain {
        out.extend([flag::TRANSITIVE, code::NEXT_HOP, 4]);
        out.extend(a.octets());
    }
    out.extend_from_slice(&octets[hop_at..mp_at]);
    if let Some(hop) = mp {
        mp_reach(family, hop, out);
    }
    out.extend_from_slice(&octets[mp_at..]);
}

/// RFC 6396 4.3.4: the length and the next hop alone.
fn mp_reach(family: Family, hop: NextHop, out: &mut Vec<u8>) {
    let rd: &[u8] = match family {
        Family::Vpnv4 | Family::Vpnv6 => &[0; 8],
        _ => &[],
    };
    let octets = match hop {
        NextHop::V4(a) => [rd, &a.octets()].concat(),
        NextHop::V6(a) => [rd, &a.octets()].concat(),
        // A VPN's second address would have a distinguisher again, which no reader of dumps expects.
        NextHop::V6Both(a, _) if !rd.is_empty() => [rd, &a.octets()].concat(),
        NextHop::V6Both(a, l) => [a.octets(), l.octets()].concat(),
    };
    let n = octets.len() as u8;
    out.extend([flag::OPTIONAL, code::MP_REACH_NLRI, n + 1, n]);
    out.extend(octets);
}

fn ends(m: &Message<'_>, out: &mut Vec<u8>) {
    out.extend(m.peer_as.0.to_be_bytes());
    out.extend(m.local_as.0.to_be_bytes());
    out.extend(m.interface.to_be_bytes());
    out.extend(if m.peer.is_ipv6() { [0, 2] } else { [0, 1] });
    address(m.peer, out);
    address(m.local, out);
}

/// Appends BGP4MP_MESSAGE_AS4 or one of its like: by whether it was sent, and has path identifiers. A session with AS numbers
/// of two octets is written as BGP4MP_MESSAGE. Both addresses are of one family.
pub fn message(time: u32, m: &Message<'_>, out: &mut Vec<u8>) {
    let subtype = match (m.as4, m.sent, m.add_path) {
        (false, false, false) => 1,
        (true, false, false) => 4,
        (false, true, false) => 6,
        (true, true, false) => 7,
        (false, false, true) => 8,
        (true, false, true) => 9,
        (false, true, true) => 10,
        (true, true, true) => 11,
    };
    record(time, kind::BGP4MP, subtype, out, |out| {
        if m.as4 {
            ends(m, out);
        } else {
            out.extend(m.peer_as.short().to_be_bytes());
            out.extend(m.local_as.short().to_be_bytes());
            let from = out.len();
            ends(m, out);
            out.drain(from..from + 8);
        }
        out.extend_from_slice(m.octets);
    });
}

/// Appends BGP4MP_STATE_CHANGE_AS4; states by the numbers of RFC 6396 4.4.1.
pub fn state_change(time: u32, m: &Message<'_>, (old, new): (u16, u16), out: &mut Vec<u8>) {
    record(time, kind::BGP4MP, 5, out, |out| {
        ends(m, out);
        out.extend(old.to_be_bytes());
        out.extend(new.to_be_bytes());
    });
}
