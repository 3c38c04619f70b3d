//! Addresses and labels: RFC 5036 3.5.5 to 3.5.11.
//!
//! Left out: labels of ATM and frame relay. The RFC has mandatory parameters come first and in order; here they may come
//! in any.

use std::net::{IpAddr, Ipv4Addr};

use super::fec::{self, Fec, Place};
use super::status::{Status, WireError};
use super::tlv::{self, Tlv, Unknown};
use crate::types::{Family, Label};

/// Address and Address Withdraw: addresses of one family that the sender has, or has no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// All of them are of this one.
    pub family: Family,
    /// They.
    pub list: Vec<IpAddr>,
}

/// Label Mapping: these FECs have this label with the sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// At least one, each a prefix.
    pub fecs: Vec<Fec>,
    /// Their label.
    pub label: Label,
    /// The Request that it answers.
    pub request: Option<u32>,
    /// LSRs on the way; 0: not known.
    pub hop_count: Option<u8>,
    /// Which they are.
    pub path_vector: Option<Vec<Ipv4Addr>>,
    /// Whoever is at the end can deal with entropy labels (RFC 6790 5.1.1).
    pub entropy: bool,
    /// Unknown parameters that ask to be passed on.
    pub unknown: Vec<Unknown>,
}

/// Label Request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// For what.
    pub fecs: Vec<Fec>,
    /// LSRs on the way; 0: not known.
    pub hop_count: Option<u8>,
    /// Which they are.
    pub path_vector: Option<Vec<Ipv4Addr>>,
    /// Unknown parameters that ask to be passed on.
    pub unknown: Vec<Unknown>,
}

/// Label Withdraw and Label Release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bindings {
    /// Of what.
    pub fecs: Vec<Fec>,
    /// This label; `None`: any.
    pub label: Option<Label>,
}

/// Label Abort Request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Abort {
    /// As it was asked.
    pub fecs: Vec<Fec>,
    /// The identifier of the Request.
    pub request: u32,
}

const fn missing(what: &'static str) -> WireError {
    WireError::new(Status::MissingParameters, what)
}

fn label(t: &Tlv<'_>) -> Result<Label, WireError> {
    let n = u32::from_be_bytes(t.exactly("a generic label")?);
    Label::new(n)
        .filter(|l| l.can_be_bound())
        .ok_or(WireError::new(
            Status::MalformedTlv,
            "a label that no FEC can have",
        ))
}

fn path_vector(t: &Tlv<'_>) -> Result<Vec<Ipv4Addr>, WireError> {
    let (ids, rest) = t.value.as_chunks::<4>();
    if rest.is_empty() {
        Ok(ids.iter().map(|o| Ipv4Addr::from(*o)).collect())
    } else {
        Err(WireError::new(
            Status::MalformedTlv,
            "a path vector that is cut off",
        ))
    }
}

/// What is found in the four kinds of messages about labels.
#[derive(Default)]
struct Found {
    fecs: Option<Vec<Fec>>,
    label: Option<Label>,
    request: Option<u32>,
    hop_count: Option<u8>,
    path_vector: Option<Vec<Ipv4Addr>>,
    entropy: bool,
    unknown: Vec<Unknown>,
}

/// `known`: which parameters may stand there beside the FEC.
fn read(body: &[u8], place: Place, known: &[u16]) -> Result<(Vec<Fec>, Found), WireError> {
    let mut f = Found::default();
    f.unknown = tlv::each(body, |t| {
        match t.kind {
            tlv::FEC => f.fecs = Some(fec::read(t, place)?),
            kind if !known.contains(&kind) => return Ok(false),
            tlv::GENERIC_LABEL => f.label = Some(label(t)?),
            tlv::REQUEST_ID => {
                f.request = Some(u32::from_be_bytes(
                    t.exactly("the identifier of a request")?,
                ))
            }
            tlv::HOP_COUNT => {
                let [n] = t.exactly("a hop count")?;
                f.hop_count = Some(n);
            }
            tlv::PATH_VECTOR => f.path_vector = Some(path_vector(t)?),
            tlv::ENTROPY_LABEL => {
                let [] = t.exactly("an entropy label capability")?;
                f.entropy = true;
            }
            // A status says why (RFC 8077 5.3.3); nothing here asks.
            _ => {}
        }
        Ok(true)
    })?;
    let fecs = f.fecs.take().ok_or(missing("a message without its FEC"))?;
    Ok((fecs, f))
}

fn put_label(out: &mut Vec<u8>, label: Label) {
    tlv::put(out, tlv::GENERIC_LABEL, |out| {
        out.extend_from_slice(&label.get().to_be_bytes())
    });
}

fn put_request(out: &mut Vec<u8>, id: u32) {
    tlv::put(out, tlv::REQUEST_ID, |out| {
        out.extend_from_slice(&id.to_be_bytes())
    });
}

fn put_way(out: &mut Vec<u8>, hop_count: Option<u8>, path_vector: Option<&[Ipv4Addr]>) {
    if let Some(n) = hop_count {
        tlv::put(out, tlv::HOP_COUNT, |out| out.push(n));
    }
    if let Some(ids) = path_vector {
        tlv::put(out, tlv::PATH_VECTOR, |out| {
            out.extend(ids.iter().flat_map(Ipv4Addr::octets))
        });
    }
}

pub(crate) fn put_unknown(out: &mut Vec<u8>, unknown: &[Unknown]) {
    for u in unknown {
        tlv::put(out, u.kind | tlv::U | tlv::F, |out| {
            out.extend_from_slice(&u.value)
        });
    }
}

impl Addresses {
    pub(crate) fn parse(body: &[u8]) -> Result<Self, WireError> {
        let mut found = None;
        tlv::each(body, |t| {
            if t.kind != tlv::ADDRESS_LIST {
                return Ok(false);
            }
            let cut = WireError::new(Status::MalformedTlv, "an address list that is cut off");
            let (code, rest) = t.value.split_first_chunk().ok_or(cut)?;
            let family = Family::from_code(u16::from_be_bytes(*code)).ok_or(WireError::new(
                Status::UnsupportedFamily,
                "addresses of a family that is neither IPv4 nor IPv6",
            ))?;
            let chunks = rest.chunks_exact(family.octets());
            if !chunks.remainder().is_empty() {
                return Err(cut);
            }
            let list = chunks.filter_map(|o| match family {
                Family::V4 => o.first_chunk::<4>().map(|o| IpAddr::from(*o)),
                Family::V6 => o.first_chunk::<16>().map(|o| IpAddr::from(*o)),
            });
            found = Some(Self {
                family,
                list: list.collect(),
            });
            Ok(true)
        })?;
        found.ok_or(missing("a message without its addresses"))
    }

    pub(crate) fn emit(&self, out: &mut Vec<u8>) {
        tlv::put(out, tlv::ADDRESS_LIST, |out| {
            out.extend_from_slice(&(self.family as u16).to_be_bytes());
            for a in &self.list {
                match (self.family, a) {
                    (Family::V4, IpAddr::V4(a)) => out.extend_from_slice(&a.octets()),
                    (Family::V6, IpAddr::V6(a)) => out.extend_from_slice(&a.octets()),
                    _ => {}
                }
            }
        });
    }
}

impl Mapping {
    /// Of one prefix, with nothing beside.
    #[must_use]
    pub fn new(net: ipnet::IpNet, label: Label) -> Self {
        Self {
            fecs: vec![Fec::Prefix(net)],
            label,
            request: None,
            hop_count: None,
            path_vector: None,
            entropy: false,
            unknown: vec![],
        }
    }

    pub(crate) fn parse(body: &[u8]) -> Result<Self, WireError> {
        let known = [
            tlv::ENTROPY_LABEL,
            tlv::GENERIC_LABEL,
            tlv::REQUEST_ID,
            tlv::HOP_COUNT,
            tlv::PATH_VECTOR,
        ];
        let (fecs, f) = read(body, Place::Named, &known)?;
        Ok(Self {
            fecs,
            label: f
                .label
                .ok_or(missing("a Label Mapping without its label"))?,
            request: f.request,
            hop_count: f.hop_count,
            path_vector: f.path_vector,
            entropy: f.entropy,
            unknown: f.unknown,
        })
    }

    pub(crate) fn emit(&self, out: &mut Vec<u8>) {
        fec::put(out, &self.fecs);
        put_label(out, self.label);
        if let Some(id) = self.request {
            put_request(out, id);
        }
        put_way(out, self.hop_count, self.path_vector.as_deref());
        if self.entropy {
            // Whoever does not know it passes it on.
            tlv::put(out, tlv::ENTROPY_LABEL | tlv::U | tlv::F, |_| {});
        }
        put_unknown(out, &self.unknown);
    }
}

impl Request {
    pub(crate) fn parse(body: &[u8]) -> Result<Self, WireError> {
        let (fecs, f) = read(body, Place::Typed, &[tlv::HOP_COUNT, tlv::PATH_VECTOR])?;
        Ok(Self {
            fecs,
            hop_count: f.hop_count,
            path_vector: f.path_vector,
            unknown: f.unknown,
        })
    }

    pub(crate) fn emit(&self, out: &mut Vec<u8>) {
        fec::put(out, &self.fecs);
        put_way(out, self.hop_count, self.path_vector.as_deref());
        put_unknown(out, &self.unknown);
    }
}

impl Bindings {
    pub(crate) fn parse(body: &[u8]) -> Result<Self, WireError> {
        let (fecs, f) = read(body, Place::Any, &[tlv::GENERIC_LABEL, tlv::STATUS])?;
        Ok(Self {
            fecs,
            label: f.label,
        })
    }

    pub(crate) fn emit(&self, out: &mut Vec<u8>) {
        fec::put(out, &self.fecs);
        if let Some(l) = self.label {
            put_label(out, l);
        }
    }
}

impl Abort {
    pub(crate) fn parse(body: &[u8]) -> Result<Self, WireError> {
        let (fecs, f) = read(body, Place::Typed, &[tlv::REQUEST_ID])?;
        let request = f
            .request
            .ok_or(missing("a Label Abort Request that names no request"))?;
        Ok(Self { fecs, request })
    }

    pub(crate) fn emit(&self, out: &mut Vec<u8>) {
        fec::put(out, &self.fecs);
        put_request(out, self.request);
    }
}
