//! What lies behind a router, and what came in: RFC 8029 3.3 (downstream mapping, deprecated), 3.4 (downstream detailed
//! mapping) and 3.5 (interface and label stack).
//!
//! Left out: what multipath information means (3.4.1.1.1); it is handed on as it came.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::fec::FecElement;
use super::{Malformed, ReturnCode, put, read};
use crate::types::Label;
use crate::wire::read::Reader;

const CUT: Malformed = Malformed("a downstream mapping that is cut off");

/// A router and its interface, numbered or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// The router's address, and the interface's.
    V4(Ipv4Addr, Ipv4Addr),
    /// The router's address, and the number of its interface.
    V4Index(Ipv4Addr, u32),
    /// The same of IPv6.
    V6(Ipv6Addr, Ipv6Addr),
    /// The same of IPv6.
    V6Index(Ipv6Addr, u32),
}

impl Hop {
    const fn code(self) -> u8 {
        match self {
            Self::V4(..) => 1,
            Self::V4Index(..) => 2,
            Self::V6(..) => 3,
            Self::V6Index(..) => 4,
        }
    }

    fn parse(code: u8, r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let hop = match code {
            1 => r
                .array::<4>()
                .zip(r.array::<4>())
                .map(|(a, i)| Self::V4(a.into(), i.into())),
            2 => r
                .array::<4>()
                .zip(r.u32())
                .map(|(a, i)| Self::V4Index(a.into(), i)),
            3 => r
                .array::<16>()
                .zip(r.array::<16>())
                .map(|(a, i)| Self::V6(a.into(), i.into())),
            4 => r
                .array::<16>()
                .zip(r.u32())
                .map(|(a, i)| Self::V6Index(a.into(), i)),
            _ => return Err(Malformed("an address of a type that is not known")),
        };
        hop.ok_or(CUT)
    }

    fn emit(self, out: &mut Vec<u8>) {
        match self {
            Self::V4(a, i) => out.extend(a.octets().into_iter().chain(i.octets())),
            Self::V4Index(a, i) => out.extend(a.octets().into_iter().chain(i.to_be_bytes())),
            Self::V6(a, i) => out.extend(a.octets().into_iter().chain(i.octets())),
            Self::V6Index(a, i) => out.extend(a.octets().into_iter().chain(i.to_be_bytes())),
        }
    }
}

/// A label that the next router will see, and who gave it: 1 static, 2 BGP, 3 LDP, 4 RSVP-TE (3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathLabel {
    /// The label.
    pub label: Label,
    /// Traffic class and bottom of stack, 4 bits.
    pub rest: u8,
    /// Who gave it.
    pub protocol: u8,
}

impl PathLabel {
    fn parse(word: u32) -> Result<Self, Malformed> {
        let [_, _, third, protocol] = word.to_be_bytes();
        Ok(Self {
            label: Label::new(word >> 12).ok_or(CUT)?,
            rest: third & 0xf,
            protocol,
        })
    }

    fn word(self) -> u32 {
        self.label.get() << 12 | u32::from(self.rest & 0xf) << 8 | u32::from(self.protocol)
    }
}

fn labels(r: &mut Reader<'_>) -> Result<Vec<PathLabel>, Malformed> {
    let mut all = vec![];
    while !r.is_empty() {
        all.push(PathLabel::parse(r.u32().ok_or(CUT)?)?);
    }
    Ok(all)
}

/// Which flows take this way (3.4.1.1.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Multipath {
    /// 0 none, 2 addresses, 4 a range of them, 8 a mask over them, 9 a mask over labels.
    pub kind: u8,
    /// As the type says.
    pub info: Vec<u8>,
}

/// Downstream Mapping, type 2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Downstream {
    /// Octets of the longest frame, labels included, that goes there.
    pub mtu: u16,
    /// I: interface and label stack are wanted.
    pub want_in_labels: bool,
    /// N: treat the packet as one that is no IP.
    pub no_ip: bool,
    /// The next router.
    pub hop: Hop,
    /// Labels deep into the stack that are looked at for choosing the way.
    pub depth_limit: u8,
    /// Which flows.
    pub multipath: Multipath,
    /// From the outermost.
    pub labels: Vec<PathLabel>,
}

/// Its flags, RFC 8029 3.3.
fn flags(want_in_labels: bool, no_ip: bool) -> u8 {
    u8::from(want_in_labels) << 1 | u8::from(no_ip)
}

impl Downstream {
    pub(super) fn parse(value: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader(value);
        let mtu = r.u16().ok_or(CUT)?;
        let [code, flags] = r.array().ok_or(CUT)?;
        let hop = Hop::parse(code, &mut r)?;
        let [kind, depth_limit] = r.array().ok_or(CUT)?;
        let len = r.u16().ok_or(CUT)?;
        let info = r.take(len.into()).ok_or(CUT)?.to_vec();
        Ok(Self {
            mtu,
            want_in_labels: flags & 2 != 0,
            no_ip: flags & 1 != 0,
            hop,
            depth_limit,
            multipath: Multipath { kind, info },
            labels: labels(&mut r)?,
        })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.mtu.to_be_bytes());
        out.extend_from_slice(&[self.hop.code(), flags(self.want_in_labels, self.no_ip)]);
        self.hop.emit(out);
        out.extend_from_slice(&[self.multipath.kind, self.depth_limit]);
        out.extend_from_slice(
            &u16::try_from(self.multipath.info.len())
                .unwrap_or(0)
                .to_be_bytes(),
        );
        out.extend_from_slice(&self.multipath.info);
        out.extend(self.labels.iter().flat_map(|l| l.word().to_be_bytes()));
    }
}

/// What becomes of the FEC stack at a router (3.4.1.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackChange {
    /// A FEC is pushed; else the outermost is popped.
    pub push: bool,
    /// With whom; `None`: not said.
    pub peer: Option<IpAddr>,
    /// The FEC that is pushed, or may be named when one is popped.
    pub fec: Option<FecElement>,
}

impl StackChange {
    fn parse(value: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader(value);
        let [operation, family, len, _] = r.array().ok_or(CUT)?;
        let push = match operation {
            1 => true,
            2 => false,
            _ => return Err(Malformed("a FEC stack change that neither pushes nor pops")),
        };
        let peer = match family {
            0 => None,
            1 => Some(IpAddr::from(r.array::<4>().ok_or(CUT)?)),
            2 => Some(IpAddr::from(r.array::<16>().ok_or(CUT)?)),
            _ => return Err(Malformed("a peer of a family that is not known")),
        };
        let mut r = Reader(r.take(len.into()).ok_or(CUT)?);
        let fec = if r.is_empty() {
            None
        } else {
            let (kind, value) = read(&mut r)?;
            // Its length has one octet, padding included.
            if value.len() > 248 {
                return Err(Malformed("a FEC that is too long for a stack change"));
            }
            Some(FecElement::parse(kind, value)?)
        };
        Ok(Self { push, peer, fec })
    }

    fn emit(&self, out: &mut Vec<u8>) {
        let mut fec = vec![];
        if let Some(f) = &self.fec {
            f.emit(&mut fec);
        }
        let family = match self.peer {
            None => 0,
            Some(IpAddr::V4(_)) => 1,
            Some(IpAddr::V6(_)) => 2,
        };
        let len = u8::try_from(fec.len()).unwrap_or(0);
        out.extend_from_slice(&[if self.push { 1 } else { 2 }, family, len, 0]);
        match self.peer {
            None => {}
            Some(IpAddr::V4(a)) => out.extend_from_slice(&a.octets()),
            Some(IpAddr::V6(a)) => out.extend_from_slice(&a.octets()),
        }
        if len > 0 {
            out.extend_from_slice(&fec);
        }
    }
}

/// Downstream Detailed Mapping, type 20.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detailed {
    /// Octets of the longest frame, labels included, that goes there.
    pub mtu: u16,
    /// I: interface and label stack are wanted.
    pub want_in_labels: bool,
    /// N: treat the packet as one that is no IP.
    pub no_ip: bool,
    /// The next router.
    pub hop: Hop,
    /// The answer for this way.
    pub code: ReturnCode,
    /// What belongs to it.
    pub subcode: u8,
    /// Which flows.
    pub multipath: Option<Multipath>,
    /// From the outermost.
    pub labels: Option<Vec<PathLabel>>,
    /// In order.
    pub changes: Vec<StackChange>,
}

impl Detailed {
    pub(super) fn parse(value: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader(value);
        let mtu = r.u16().ok_or(CUT)?;
        let [address, flags] = r.array().ok_or(CUT)?;
        let hop = Hop::parse(address, &mut r)?;
        let [code, subcode] = r.array().ok_or(CUT)?;
        let len = r.u16().ok_or(CUT)?;
        let mut d = Self {
            mtu,
            want_in_labels: flags & 2 != 0,
            no_ip: flags & 1 != 0,
            hop,
            code: ReturnCode(code),
            subcode,
            multipath: None,
            labels: None,
            changes: vec![],
        };
        let mut r = Reader(r.take(len.into()).ok_or(CUT)?);
        while !r.is_empty() {
            match read(&mut r)? {
                (1, value) => {
                    let mut r = Reader(value);
                    let kind = r.u8().ok_or(CUT)?;
                    let len = r.u16().ok_or(CUT)?;
                    r.u8().ok_or(CUT)?;
                    let info = r.take(len.into()).ok_or(CUT)?.to_vec();
                    d.multipath = Some(Multipath { kind, info });
                }
                (2, value) => d.labels = Some(labels(&mut Reader(value))?),
                (3, value) => d.changes.push(StackChange::parse(value)?),
                (kind, _) if kind < 0x8000 => return Err(Malformed("a sub-TLV that is not known")),
                _ => {}
            }
        }
        Ok(d)
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.mtu.to_be_bytes());
        out.extend_from_slice(&[self.hop.code(), flags(self.want_in_labels, self.no_ip)]);
        self.hop.emit(out);
        out.extend_from_slice(&[self.code.0, self.subcode]);
        let mut subs = vec![];
        if let Some(m) = &self.multipath {
            put(&mut subs, 1, |out| {
                out.push(m.kind);
                out.extend_from_slice(&u16::try_from(m.info.len()).unwrap_or(0).to_be_bytes());
                out.push(0);
                out.extend_from_slice(&m.info);
            });
        }
        if let Some(labels) = &self.labels {
            put(&mut subs, 2, |out| {
                out.extend(labels.iter().flat_map(|l| l.word().to_be_bytes()))
            });
        }
        for c in &self.changes {
            put(&mut subs, 3, |out| c.emit(out));
        }
        out.extend_from_slice(&u16::try_from(subs.len()).unwrap_or(0).to_be_bytes());
        out.extend_from_slice(&subs);
    }
}

/// Interface and Label Stack, type 7: how a request came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InLabels {
    /// The router that says so, and by which of its interfaces.
    pub hop: Hop,
    /// The label stack entries, from the outermost, as they came: 32 bits each.
    pub stack: Vec<u32>,
}

impl InLabels {
    pub(super) fn parse(value: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader(value);
        let [code, _, _, _] = r.array().ok_or(CUT)?;
        let hop = Hop::parse(code, &mut r)?;
        let mut stack = vec![];
        while !r.is_empty() {
            stack.push(r.u32().ok_or(CUT)?);
        }
        Ok(Self { hop, stack })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.hop.code(), 0, 0, 0]);
        self.hop.emit(out);
        out.extend(self.stack.iter().flat_map(|e| e.to_be_bytes()));
    }
}
