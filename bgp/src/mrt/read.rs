//! What is in a record: RFC 6396 4.3 and 4.4, RFC 8050 4.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::attrs::{AttrBuf, RawAttrs, code};
use crate::types::{Asn, Family, FamilySet, NextHop, PathId, Relation};
use crate::wire::{Context, Nlri, Reader, dumped_attributes};

use super::{MrtError, Record, kind};

/// A record that was looked into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// PEER_INDEX_TABLE: whom the routes that follow are from.
    Peers(PeerTable),
    /// Routes to one prefix.
    Routes(RibRoutes<'a>),
    /// A message that went over a session.
    Message(Message<'a>),
    /// A session changed from one state to another (RFC 4271 8.2.2, 1 is Idle); the message of it is empty.
    State(Message<'a>, u16, u16),
    /// Something else.
    Other,
}

/// Those that a dump's routes are from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerTable {
    /// Who wrote the dump.
    pub collector: [u8; 4],
    /// The name of the view; mostly none.
    pub view: Vec<u8>,
    /// The neighbours, by index.
    pub peers: Vec<PeerEntry>,
}

/// A neighbour of whoever wrote the dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerEntry {
    /// Its identifier.
    pub id: [u8; 4],
    /// Its address.
    pub address: IpAddr,
    /// Its AS.
    pub asn: Asn,
}

/// Routes to one prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RibRoutes<'a> {
    /// Counts the records of a dump.
    pub sequence: u32,
    /// The prefix: one NLRI, without a path identifier.
    pub nlri: Nlri<'a>,
    /// The routes.
    pub routes: Routes<'a>,
}

/// The routes of a [`RibRoutes`], one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routes<'a> {
    rest: Reader<'a>,
    left: u16,
    add_path: bool,
    family: Family,
    of: (u16, u16),
}

/// One route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RibRoute<'a> {
    /// Whom it is from: an index into [`PeerTable::peers`].
    pub peer: u16,
    /// When it came, seconds since 1970.
    pub originated: u32,
    /// Its path identifier; 0 without.
    pub path_id: PathId,
    /// Its attributes, as in the dump.
    pub attributes: &'a [u8],
    family: Family,
}

/// A message over a session, and the session's ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// The neighbour's AS.
    pub peer_as: Asn,
    /// The AS of whoever wrote this.
    pub local_as: Asn,
    /// An index that nobody fills in.
    pub interface: u16,
    /// The neighbour.
    pub peer: IpAddr,
    /// Who wrote this.
    pub local: IpAddr,
    /// AS_PATHs in it have AS numbers of four octets.
    pub as4: bool,
    /// NLRI in it have path identifiers.
    pub add_path: bool,
    /// It was sent, not received (RFC 6396 4.4.5).
    pub sent: bool,
    /// The message, header included.
    pub octets: &'a [u8],
}

impl Message<'_> {
    /// How its UPDATE is to be read: as one of a neighbour within the AS, so that nothing is left out, every family taken.
    #[must_use]
    pub fn context(&self) -> Context {
        let all = FamilySet::from_iter(Family::ALL);
        Context {
            as4: self.as4,
            as_sets: true,
            extended_message: true,
            add_path_receive: if self.add_path { all } else { FamilySet::EMPTY },
            ..Context::new(Relation::Internal, all)
        }
    }
}

/// An address by AFI.
fn address(r: &mut Reader<'_>, v6: bool) -> Option<IpAddr> {
    Some(if v6 {
        Ipv6Addr::from(r.array::<16>()?).into()
    } else {
        Ipv4Addr::from(r.array::<4>()?).into()
    })
}

fn asn(r: &mut Reader<'_>, as4: bool) -> Option<Asn> {
    Some(Asn(if as4 { r.u32()? } else { r.u16()?.into() }))
}

impl<'a> Entry<'a> {
    /// Looks into a record.
    ///
    /// # Errors
    /// It is damaged inside. The records after it are not touched by that.
    pub fn parse(record: &Record<'a>) -> Result<Self, MrtError> {
        let (kind, subtype) = (record.kind, record.subtype);
        let mut r = Reader(record.body);
        let found = match (kind, subtype) {
            (kind::TABLE_DUMP_V2, 1) => peers(&mut r).map(Self::Peers),
            (kind::TABLE_DUMP_V2, 2..=6 | 8..=12) => return routes(r, subtype),
            (kind::BGP4MP, 0 | 1 | 4..=11) => session(r, subtype),
            _ => Some(Self::Other),
        };
        found.ok_or(MrtError::Truncated(kind, subtype))
    }
}

fn peers(r: &mut Reader<'_>) -> Option<PeerTable> {
    let collector = r.array()?;
    let n = r.u16()?;
    let view = r.take(n.into())?.to_vec();
    let count = r.u16()?;
    // Each has at least 11 octets: a count alone reserves nothing.
    let mut peers = Vec::with_capacity(usize::from(count).min(r.0.len() / 11));
    for _ in 0..count {
        let how = r.u8()?;
        peers.push(PeerEntry {
            id: r.array()?,
            address: address(r, how & 1 != 0)?,
            asn: asn(r, how & 2 != 0)?,
        });
    }
    Some(PeerTable {
        collector,
        view,
        peers,
    })
}

/// RIB_IPV4_UNICAST and its like, and RIB_GENERIC, which says what it has.
fn routes(mut r: Reader<'_>, subtype: u16) -> Result<Entry<'_>, MrtError> {
    let of = (kind::TABLE_DUMP_V2, subtype);
    let cut = MrtError::Truncated(of.0, of.1);
    let add_path = subtype >= 8;
    let sequence = r.u32().ok_or(cut)?;
    let family = match subtype {
        2 | 8 => Some(Family::Ipv4Unicast),
        4 | 10 => Some(Family::Ipv6Unicast),
        6 | 12 => {
            let (afi, safi) = r.u16().zip(r.u8()).ok_or(cut)?;
            Family::from_code(afi, safi)
        }
        _ => None, // multicast
    };
    let Some(family) = family else {
        return Ok(Entry::Other);
    };
    let ctx = Context::new(Relation::Internal, FamilySet::from_iter([family]));
    let (nlri, rest) = Nlri::first(family, r.0, &ctx).map_err(|_| MrtError::Prefix(of.0, of.1))?;
    let mut rest = Reader(rest);
    let left = rest.u16().ok_or(cut)?;
    let routes = Routes {
        rest,
        left,
        add_path,
        family,
        of,
    };
    Ok(Entry::Routes(RibRoutes {
        sequence,
        nlri,
        routes,
    }))
}

impl<'a> Iterator for Routes<'a> {
    type Item = Result<RibRoute<'a>, MrtError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let one = self.one();
        if one.is_none() {
            self.left = 0;
        }
        Some(one.ok_or(MrtError::Truncated(self.of.0, self.of.1)))
    }
}

impl<'a> Routes<'a> {
    fn one(&mut self) -> Option<RibRoute<'a>> {
        let r = &mut self.rest;
        let (peer, originated) = (r.u16()?, r.u32()?);
        let path_id = if self.add_path { r.u32()? } else { 0 };
        let n = r.u16()?;
        Some(RibRoute {
            peer,
            originated,
            path_id,
            attributes: r.take(n.into())?,
            family: self.family,
        })
    }
}

impl RibRoute<'_> {
    /// Writes the attributes in canonical form, in place of what is in `buf`, its next hop with them; `false`: they are so
    /// malformed that an UPDATE with them would be treated as a withdrawal.
    pub fn canonical(&self, buf: &mut AttrBuf) -> bool {
        let (good, plain) = dumped_attributes(self.attributes, buf);
        let mp = RawAttrs(self.attributes).find(|a| a.code == code::MP_REACH_NLRI);
        buf.next_hop = match mp {
            Some(a) => mp_next_hop(a.value, self.family),
            None => plain.map(NextHop::V4),
        };
        good
    }
}

/// RFC 6396 4.3.4: the length and the next hop alone; the whole attribute begins with AFI, whose first octet is zero.
fn mp_next_hop(value: &[u8], family: Family) -> Option<NextHop> {
    let mut r = Reader(value);
    if value.first() == Some(&0) {
        r.take(3)?;
    }
    let n = r.u8()?;
    let hop = r.take(n.into())?;
    let hop = match family {
        Family::Vpnv4 | Family::Vpnv6 => hop.get(8..)?,
        _ => hop,
    };
    let six = |o: &[u8]| o.first_chunk::<16>().map(|o| Ipv6Addr::from(*o));
    match hop.len() {
        4 => Some(NextHop::V4(Ipv4Addr::from(*hop.first_chunk::<4>()?))),
        16 => six(hop).map(NextHop::V6),
        32 => match (six(hop)?, six(hop.get(16..)?)?) {
            (a, l) if l.is_unicast_link_local() && a != l => Some(NextHop::V6Both(a, l)),
            (a, _) => Some(NextHop::V6(a)),
        },
        _ => None,
    }
}

fn session(mut r: Reader<'_>, subtype: u16) -> Option<Entry<'_>> {
    let as4 = matches!(subtype, 4 | 5 | 7 | 9 | 11);
    let (peer_as, local_as) = (asn(&mut r, as4)?, asn(&mut r, as4)?);
    let interface = r.u16()?;
    let v6 = match r.u16()? {
        1 => false,
        2 => true,
        _ => return Some(Entry::Other),
    };
    let mut m = Message {
        peer_as,
        local_as,
        interface,
        peer: address(&mut r, v6)?,
        local: address(&mut r, v6)?,
        as4,
        add_path: subtype >= 8,
        sent: matches!(subtype, 6 | 7 | 10 | 11),
        octets: &[],
    };
    if subtype == 0 || subtype == 5 {
        return Some(Entry::State(m, r.u16()?, r.u16()?));
    }
    m.octets = r.0;
    Some(Entry::Message(m))
}
