//! BMP, the sender's side: RFC 7854 4 (the messages), RFC 9069 4 (Loc-RIB), RFC 8671 4 (Adj-RIB-Out).
//!
//! Octets out; whoever has the connection sends them. Every function appends one whole message. Route Mirroring and the
//! monitoring station's side are left out.

use std::net::IpAddr;

use crate::types::{Asn, Family, Rd, RouterId};

const VERSION: u8 = 3;

#[repr(u8)]
#[derive(Clone, Copy)]
enum Type {
    RouteMonitoring = 0,
    Statistics = 1,
    PeerDown = 2,
    PeerUp = 3,
    Initiation = 4,
    Termination = 5,
}

/// Which table a route is in, and so how a neighbour is written in front of it (RFC 7854 4.2, RFC 9069 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rib {
    /// As received.
    In,
    /// As received, and changed by the import policy.
    InPost,
    /// As sent, before the export policy (RFC 8671).
    Out,
    /// As sent (RFC 8671).
    OutPost,
    /// Loc-RIB: no neighbour; `filtered`: it is not all of it.
    Local {
        /// F: only some of the routes are sent.
        filtered: bool,
    },
}

/// The per-peer header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Which table.
    pub rib: Rib,
    /// Of a VRF; zero for the global one.
    pub distinguisher: Rd,
    /// The neighbour; not looked at for Loc-RIB.
    pub address: IpAddr,
    /// The neighbour's AS, or our own for Loc-RIB.
    pub asn: Asn,
    /// The neighbour's identifier, or our own for Loc-RIB.
    pub id: RouterId,
    /// AS_PATHs in what follows have AS numbers of two octets.
    pub short_as: bool,
    /// Seconds since 1970 and microseconds; 0: not known.
    pub time: (u32, u32),
}

impl Peer {
    fn emit(&self, out: &mut Vec<u8>) {
        let local = matches!(self.rib, Rib::Local { .. });
        let kind = match self.rib {
            Rib::Local { .. } => 3,
            _ if self.distinguisher == Rd::default() => 0,
            _ => 1,
        };
        let v6 = self.address.is_ipv6() && !local;
        let mut flags = u8::from(v6) << 7 | u8::from(self.short_as) << 5;
        flags |= match self.rib {
            Rib::In => 0,
            Rib::InPost => 0x40,
            Rib::Out => 0x10,
            Rib::OutPost => 0x50,
            Rib::Local { filtered } => return self.rest(3, u8::from(filtered) << 7, [0; 16], out),
        };
        self.rest(kind, flags, wide(self.address), out);
    }

    fn rest(&self, kind: u8, flags: u8, address: [u8; 16], out: &mut Vec<u8>) {
        out.extend([kind, flags]);
        out.extend(self.distinguisher.0);
        out.extend(address);
        out.extend(self.asn.0.to_be_bytes());
        out.extend(self.id.octets());
        out.extend(self.time.0.to_be_bytes());
        out.extend(self.time.1.to_be_bytes());
    }
}

/// IPv4 behind twelve octets of zero, RFC 7854 4.2.
fn wide(a: IpAddr) -> [u8; 16] {
    match a {
        IpAddr::V4(a) => {
            let mut o = [0; 16];
            o[12..].copy_from_slice(&a.octets());
            o
        }
        IpAddr::V6(a) => a.octets(),
    }
}

/// The common header, with the length of what `body` writes.
fn message(kind: Type, out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend([VERSION, 0, 0, 0, 0, kind as u8]);
    body(out);
    let len = u32::try_from(out.len() - start).unwrap_or(u32::MAX);
    if let Some(field) = out.get_mut(start + 1..start + 5) {
        field.copy_from_slice(&len.to_be_bytes());
    }
}

/// An information TLV; a value is cut at 65,535 octets.
fn tlv(kind: u16, value: &[u8], out: &mut Vec<u8>) {
    let len = u16::try_from(value.len()).unwrap_or(u16::MAX);
    out.extend(kind.to_be_bytes());
    out.extend(len.to_be_bytes());
    out.extend_from_slice(value.get(..len.into()).unwrap_or_default());
}

/// Initiation, RFC 7854 4.3: the first message, with sysName and sysDescr.
pub fn initiation(name: &str, description: &str, out: &mut Vec<u8>) {
    message(Type::Initiation, out, |out| {
        tlv(1, description.as_bytes(), out);
        tlv(2, name.as_bytes(), out);
    });
}

/// Why BMP ends, RFC 7854 4.5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Termination {
    /// The operator wants it.
    AdministrativelyClosed = 0,
    /// Not said.
    Unspecified = 1,
    /// Too much of something.
    OutOfResources = 2,
    /// Another connection to the same station.
    Redundant = 3,
    /// For good.
    PermanentlyClosed = 4,
}

/// Termination: the last message.
pub fn termination(why: Termination, text: &str, out: &mut Vec<u8>) {
    message(Type::Termination, out, |out| {
        tlv(1, &(why as u16).to_be_bytes(), out);
        if !text.is_empty() {
            tlv(0, text.as_bytes(), out);
        }
    });
}

/// Route Monitoring, RFC 7854 4.6: an UPDATE message, header included, in the form that the per-peer header says.
pub fn route_monitoring(peer: &Peer, update: &[u8], out: &mut Vec<u8>) {
    message(Type::RouteMonitoring, out, |out| {
        peer.emit(out);
        out.extend_from_slice(update);
    });
}

/// The ends of a session that came up, RFC 7854 4.10.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Up<'a> {
    /// Our address and port.
    pub local: (IpAddr, u16),
    /// The neighbour's port.
    pub remote_port: u16,
    /// The OPEN that we sent, header included.
    pub sent: &'a [u8],
    /// The OPEN that came, header included.
    pub received: &'a [u8],
    /// The name of the table: for Loc-RIB (RFC 9069 4.4) and VRFs.
    pub table: Option<&'a str>,
}

/// Peer Up. For Loc-RIB addresses and ports are zero, and the OPENs made up (RFC 9069 4.4).
pub fn peer_up(peer: &Peer, up: &Up<'_>, out: &mut Vec<u8>) {
    message(Type::PeerUp, out, |out| {
        peer.emit(out);
        if matches!(peer.rib, Rib::Local { .. }) {
            out.extend([0; 20]);
        } else {
            out.extend(wide(up.local.0));
            out.extend(up.local.1.to_be_bytes());
            out.extend(up.remote_port.to_be_bytes());
        }
        out.extend_from_slice(up.sent);
        out.extend_from_slice(up.received);
        if let Some(table) = up.table {
            tlv(3, table.as_bytes(), out);
        }
    });
}

/// Why a session went down, RFC 7854 4.9, RFC 9069 4.5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Down<'a> {
    /// We closed it, with this NOTIFICATION (header included).
    LocalNotification(&'a [u8]),
    /// We closed it without one, for this event of RFC 4271 8.1; 0: none of them.
    Local(u16),
    /// The neighbour closed it, with this NOTIFICATION (header included).
    RemoteNotification(&'a [u8]),
    /// The connection was lost.
    Remote,
    /// It is not monitored any more.
    Deconfigured,
    /// Loc-RIB: this table is not monitored any more.
    Table(&'a str),
}

/// Peer Down.
pub fn peer_down(peer: &Peer, why: &Down<'_>, out: &mut Vec<u8>) {
    message(Type::PeerDown, out, |out| {
        peer.emit(out);
        match why {
            Down::LocalNotification(n) => {
                out.push(1);
                out.extend_from_slice(n);
            }
            Down::Local(event) => {
                out.push(2);
                out.extend(event.to_be_bytes());
            }
            Down::RemoteNotification(n) => {
                out.push(3);
                out.extend_from_slice(n);
            }
            Down::Remote => out.push(4),
            Down::Deconfigured => out.push(5),
            Down::Table(name) => {
                out.push(6);
                tlv(3, name.as_bytes(), out);
            }
        }
    });
}

/// A figure of Statistics, RFC 7854 4.8 and RFC 8671 6.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stat {
    /// 0: prefixes that the import policy rejected; a counter.
    RejectedByPolicy(u32),
    /// 4: AS_PATH loops; a counter.
    AsPathLoops(u32),
    /// 7: routes in Adj-RIB-In; a gauge.
    AdjRibIn(u64),
    /// 8: routes in Loc-RIB; a gauge.
    LocRib(u64),
    /// 9: as 7, of one family.
    AdjRibInOf(Family, u64),
    /// 10: as 8, of one family.
    LocRibOf(Family, u64),
    /// 11: UPDATEs treated as withdrawn; a counter.
    UpdatesAsWithdraw(u32),
    /// 12: prefixes treated as withdrawn; a counter.
    PrefixesAsWithdraw(u32),
    /// 15: routes in Adj-RIB-Out after the export policy; a gauge.
    AdjRibOut(u64),
    /// 17: as 15, of one family.
    AdjRibOutOf(Family, u64),
}

impl Stat {
    fn emit(self, out: &mut Vec<u8>) {
        let of = |kind, f: Family, n: u64, out: &mut Vec<u8>| {
            let (afi, safi) = f.code();
            let [a0, a1] = afi.to_be_bytes();
            tlv(kind, &[&[a0, a1, safi][..], &n.to_be_bytes()].concat(), out);
        };
        match self {
            Self::RejectedByPolicy(n) => tlv(0, &n.to_be_bytes(), out),
            Self::AsPathLoops(n) => tlv(4, &n.to_be_bytes(), out),
            Self::AdjRibIn(n) => tlv(7, &n.to_be_bytes(), out),
            Self::LocRib(n) => tlv(8, &n.to_be_bytes(), out),
            Self::AdjRibInOf(f, n) => of(9, f, n, out),
            Self::LocRibOf(f, n) => of(10, f, n, out),
            Self::UpdatesAsWithdraw(n) => tlv(11, &n.to_be_bytes(), out),
            Self::PrefixesAsWithdraw(n) => tlv(12, &n.to_be_bytes(), out),
            Self::AdjRibOut(n) => tlv(15, &n.to_be_bytes(), out),
            Self::AdjRibOutOf(f, n) => of(17, f, n, out),
        }
    }
}

/// Statistics.
pub fn statistics(peer: &Peer, stats: &[Stat], out: &mut Vec<u8>) {
    message(Type::Statistics, out, |out| {
        peer.emit(out);
        let n = u32::try_from(stats.len()).unwrap_or(u32::MAX);
        out.extend(n.to_be_bytes());
        for s in stats {
            s.emit(out);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(rib: Rib) -> Peer {
        Peer {
            rib,
            distinguisher: Rd::default(),
            address: "192.0.2.1".parse().unwrap(),
            asn: Asn(4_200_000_000),
            id: RouterId::new([1, 2, 3, 4].into()).unwrap(),
            short_as: false,
            time: (7, 8),
        }
    }

    /// Version, length and type, and what follows the per-peer header.
    fn parts(out: &[u8]) -> (u8, &[u8], &[u8]) {
        assert_eq!(out[0], 3);
        let len = u32::from_be_bytes(out[1..5].try_into().unwrap());
        assert_eq!(len as usize, out.len());
        let peer = if out[5] < 4 { 48 } else { 6 };
        (out[5], &out[6..peer], &out[peer..])
    }

    #[test]
    fn a_neighbour_is_written_as_its_table_asks() {
        let mut out = Vec::new();
        route_monitoring(&peer(Rib::In), &[9; 23], &mut out);
        let (kind, head, update) = parts(&out);
        assert_eq!((kind, update), (0, &[9; 23][..]));
        let want = [
            &[0; 22][..],
            &[
                192, 0, 2, 1, 0xfa, 0x56, 0xea, 0, 1, 2, 3, 4, 0, 0, 0, 7, 0, 0, 0, 8,
            ],
        ];
        assert_eq!(head, want.concat());
        let flags = |p: Peer| {
            let mut out = Vec::new();
            p.emit(&mut out);
            assert_eq!(out.len(), 42);
            (out[0], out[1])
        };
        assert_eq!(flags(peer(Rib::InPost)), (0, 0x40));
        assert_eq!(flags(peer(Rib::Out)), (0, 0x10));
        assert_eq!(flags(peer(Rib::OutPost)), (0, 0x50));
        let six = Peer {
            address: "2001:db8::1".parse().unwrap(),
            distinguisher: Rd([0, 0, 0, 1, 0, 0, 0, 1]),
            short_as: true,
            ..peer(Rib::In)
        };
        assert_eq!(flags(six), (1, 0xa0));
        // RFC 9069 4.1 and 4.2: no address, and flags of its own.
        let local = |filtered| Peer {
            rib: Rib::Local { filtered },
            ..six
        };
        assert_eq!(
            (flags(local(false)), flags(local(true))),
            ((3, 0), (3, 0x80))
        );
        let mut out = Vec::new();
        local(false).emit(&mut out);
        assert_eq!(out[10..26], [0; 16]);
    }

    #[test]
    fn sessions_come_up_and_go_down() {
        let mut out = Vec::new();
        let up = Up {
            local: ("192.0.2.9".parse().unwrap(), 179),
            remote_port: 40_000,
            sent: &[1; 29],
            received: &[2; 30],
            table: None,
        };
        peer_up(&peer(Rib::In), &up, &mut out);
        let (kind, _, body) = parts(&out);
        assert_eq!((kind, body.len()), (3, 20 + 59));
        assert_eq!(body[12..20], [192, 0, 2, 9, 0, 179, 0x9c, 0x40]);
        out.clear();
        let table = Some("main");
        peer_up(
            &peer(Rib::Local { filtered: false }),
            &Up { table, ..up },
            &mut out,
        );
        let (_, _, body) = parts(&out);
        assert_eq!(body[..20], [0; 20]);
        assert_eq!(body[79..], *b"\0\x03\0\x04main");
        for (why, want) in [
            (Down::LocalNotification(&[7]), &[1, 7][..]),
            (Down::Local(18), &[2, 0, 18]),
            (Down::RemoteNotification(&[7]), &[3, 7]),
            (Down::Remote, &[4]),
            (Down::Deconfigured, &[5]),
            (Down::Table("x"), &[6, 0, 3, 0, 1, b'x']),
        ] {
            out.clear();
            peer_down(&peer(Rib::In), &why, &mut out);
            let (kind, _, body) = parts(&out);
            assert_eq!((kind, body), (2, want));
        }
    }

    #[test]
    fn the_rest_are_runs_of_tlvs() {
        let mut out = Vec::new();
        initiation("pe1", "Trunkline", &mut out);
        assert_eq!(
            parts(&out),
            (4, &[][..], &b"\0\x01\0\x09Trunkline\0\x02\0\x03pe1"[..])
        );
        out.clear();
        termination(Termination::OutOfResources, "full", &mut out);
        assert_eq!(
            parts(&out),
            (5, &[][..], &b"\0\x01\0\x02\0\x02\0\0\0\x04full"[..])
        );
        out.clear();
        let stats = [
            Stat::RejectedByPolicy(5),
            Stat::AdjRibIn(6),
            Stat::LocRibOf(Family::Ipv6Unicast, 7),
        ];
        statistics(&peer(Rib::In), &stats, &mut out);
        let (kind, _, body) = parts(&out);
        let want = [
            &[0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 5][..],
            &[0, 7, 0, 8, 0, 0, 0, 0, 0, 0, 0, 6],
            &[0, 10, 0, 11, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 7],
        ];
        assert_eq!((kind, body), (1, &want.concat()[..]));
    }
}
