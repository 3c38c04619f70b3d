//! LSP ping and traceroute: RFC 8029 (echo requests and replies over UDP port 3503), with its code points as RFC 9041 has them;
//! their codec, who answers, and who asks.
//!
//! [`Echo::parse`] reads a datagram, [`Echo::emit`] writes one. What is wrong is [`Malformed`], which is return code 1; a
//! mandatory parameter that nobody here knows comes as [`Tlv::Unknown`], and [`Echo::not_understood`] says what to answer
//! (return code 2). Nothing here panics on any input, or reserves memory by a length that came.
//!
//! - `mod`: header and parameters. `fec`: what is being looked at. `path`: what lies behind a router, and what came in.
//! - [`respond`]: what to answer, by RFC 8029 4.4. [`probe`]: pings and traces, in virtual time. Neither does I/O.
//!
//! Left out: FECs of RSVP-TE, pseudowires, layer-2 VPNs and segment routing, which come as
//! [`FecElement::Other`]; reply paths (RFC 7110), and proxy and relayed messages (RFC 7555, 7743).

mod fec;
mod path;
pub mod probe;
pub mod respond;
#[cfg(test)]
mod walk;

pub use fec::FecElement;
pub use path::{Detailed, Downstream, Hop, InLabels, Multipath, PathLabel, StackChange};

use std::fmt;

use crate::wire::read::Reader;

/// Of UDP; requests come to it.
pub const PORT: u16 = 3503;
/// Octets before the parameters.
pub const HEADER: usize = 32;
/// The version of the protocol.
pub const VERSION: u16 = 1;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Asks.
    Request,
    /// Answers.
    Reply,
}

/// How an answer is to come, RFC 8029 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyMode {
    /// Not at all.
    None,
    /// In a UDP packet.
    Udp,
    /// The same, with Router Alert.
    UdpAlert,
    /// Over a control channel of the application.
    Channel,
    /// Another one, which nobody here knows.
    Other(u8),
}

impl ReplyMode {
    const fn code(self) -> u8 {
        match self {
            Self::None => 1,
            Self::Udp => 2,
            Self::UdpAlert => 3,
            Self::Channel => 4,
            Self::Other(n) => n,
        }
    }

    const fn from_code(n: u8) -> Self {
        match n {
            1 => Self::None,
            2 => Self::Udp,
            3 => Self::UdpAlert,
            4 => Self::Channel,
            n => Self::Other(n),
        }
    }
}

/// What a router answers, RFC 8029 3.1; its subcode is a depth of the label stack where [`Self::has_depth`] says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReturnCode(pub u8);

/// The names of the codes from 0 up, RFC 8029 3.1.
const CODES: [&str; 16] = [
    "no return code",
    "malformed echo request received",
    "one or more of the TLVs was not understood",
    "replying router is an egress for the FEC",
    "replying router has no mapping for the FEC",
    "downstream mapping mismatch",
    "upstream interface index unknown",
    "reserved",
    "label switched",
    "label switched but no MPLS forwarding",
    "mapping for this FEC is not the given label",
    "no label entry",
    "protocol not associated with interface",
    "premature termination of ping: the label stack shrank to a single label",
    "see the downstream detailed mapping for the return code",
    "label switched with FEC change",
];

impl ReturnCode {
    /// In requests.
    pub const NONE: Self = Self(0);
    /// The request is wrong.
    pub const MALFORMED: Self = Self(1);
    /// Mandatory parameters are not known; they are named in the answer.
    pub const NOT_UNDERSTOOD: Self = Self(2);
    /// The path ends here, as it should.
    pub const EGRESS: Self = Self(3);
    /// The FEC is not known here.
    pub const NO_MAPPING: Self = Self(4);
    /// What came is not what the router before announced.
    pub const DOWNSTREAM_MISMATCH: Self = Self(5);
    /// The sender does not know by which interface it came.
    pub const UNKNOWN_UPSTREAM: Self = Self(6);
    /// The path goes on from here.
    pub const LABEL_SWITCHED: Self = Self(8);
    /// It would, but the next hop has no MPLS.
    pub const NO_MPLS_FORWARDING: Self = Self(9);
    /// The FEC has another label here.
    pub const OTHER_LABEL: Self = Self(10);
    /// The label is not known here.
    pub const NO_LABEL_ENTRY: Self = Self(11);
    /// Nobody who tells such FECs is where it came from.
    pub const WRONG_PROTOCOL: Self = Self(12);
    /// The code is in a [`Detailed`].
    pub const SEE_DETAILED: Self = Self(14);
    /// The path goes on from here for other FECs.
    pub const FEC_CHANGE: Self = Self(15);

    /// The subcode is a depth of the label stack ("at stack-depth RSC").
    #[must_use]
    pub const fn has_depth(self) -> bool {
        matches!(self.0, 3 | 4 | 8..=12)
    }
}

impl fmt::Display for ReturnCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match CODES.get(usize::from(self.0)) {
            Some(name) => f.write_str(name),
            None => write!(f, "return code {}", self.0),
        }
    }
}

/// A message that can't be read: to be answered, if at all, with [`ReturnCode::MALFORMED`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed echo message: {0}")]
pub struct Malformed(pub &'static str);

/// What to do with a [`Tlv::Pad`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pad {
    /// Leave it out of the reply.
    Drop,
    /// Copy it into the reply.
    Copy,
}

/// A parameter, RFC 8029 3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tlv {
    /// What is looked at: from the outermost to the innermost.
    TargetFec(Vec<FecElement>),
    /// What lies behind the replying router; deprecated, but spoken.
    Downstream(Downstream),
    /// The same with sub-parameters.
    Detailed(Detailed),
    /// Fills: so many octets beside the first.
    Pad(Pad, usize),
    /// By which interface and with which labels the request came.
    InLabels(InLabels),
    /// Parameters that were not understood: types and values.
    Errored(Vec<(u16, Vec<u8>)>),
    /// The TOS octet that the reply is to have.
    ReplyTos(u8),
    /// One that nobody here knows. From 32,768 up it may be ignored; below it must not.
    Unknown(u16, Vec<u8>),
}

/// An echo request or reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Echo {
    /// Which.
    pub kind: Kind,
    /// V: check the whole FEC stack.
    pub validate_stack: bool,
    /// T: answer only if the TTL ran out.
    pub only_if_expired: bool,
    /// R: say what the way back is.
    pub reverse: bool,
    /// How to answer.
    pub reply_mode: ReplyMode,
    /// The answer.
    pub code: ReturnCode,
    /// What belongs to it.
    pub subcode: u8,
    /// The sender's, given back.
    pub handle: u32,
    /// Of the request, given back.
    pub sequence: u32,
    /// When it was sent, as NTP has it: seconds since 1900 in the upper half.
    pub sent: u64,
    /// When the request came.
    pub received: u64,
    /// In order.
    pub tlvs: Vec<Tlv>,
}

/// A parameter: type, length without padding, value, padding up to four octets (RFC 8029 3).
pub(crate) fn read<'a>(r: &mut Reader<'a>) -> Result<(u16, &'a [u8]), Malformed> {
    let cut = Malformed("a TLV that is cut off");
    let kind = r.u16().ok_or(cut)?;
    let len = usize::from(r.u16().ok_or(cut)?);
    let value = r.take(len).ok_or(cut)?;
    // The last may come without its padding.
    let pad = (4 - len % 4) % 4;
    r.take(pad.min(r.0.len())).ok_or(cut)?;
    Ok((kind, value))
}

pub(crate) fn put(out: &mut Vec<u8>, kind: u16, value: impl FnOnce(&mut Vec<u8>)) {
    let mut v = vec![];
    value(&mut v);
    v.truncate(usize::from(u16::MAX));
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&u16::try_from(v.len()).unwrap_or(u16::MAX).to_be_bytes());
    let pad = (4 - v.len() % 4) % 4;
    out.extend_from_slice(&v);
    out.extend(std::iter::repeat_n(0, pad));
}

impl Tlv {
    fn parse(kind: u16, value: &[u8]) -> Result<Self, Malformed> {
        Ok(match kind {
            1 => Self::TargetFec(fec::read_stack(value)?),
            2 => Self::Downstream(Downstream::parse(value)?),
            3 => match value.split_first() {
                Some((1, rest)) => Self::Pad(Pad::Drop, rest.len()),
                Some((2, rest)) => Self::Pad(Pad::Copy, rest.len()),
                _ => return Err(Malformed("a pad that says neither drop nor copy")),
            },
            7 => Self::InLabels(InLabels::parse(value)?),
            9 => {
                let mut r = Reader(value);
                let mut all = vec![];
                while !r.is_empty() {
                    let (kind, value) = read(&mut r)?;
                    all.push((kind, value.to_vec()));
                }
                Self::Errored(all)
            }
            10 => match value {
                [tos, _, _, _] => Self::ReplyTos(*tos),
                _ => return Err(Malformed("a reply TOS that has not four octets")),
            },
            20 => Self::Detailed(Detailed::parse(value)?),
            kind => Self::Unknown(kind, value.to_vec()),
        })
    }

    fn emit(&self, out: &mut Vec<u8>) {
        match self {
            Self::TargetFec(stack) => put(out, 1, |out| stack.iter().for_each(|f| f.emit(out))),
            Self::Downstream(d) => put(out, 2, |out| d.emit(out)),
            Self::Pad(what, n) => put(out, 3, |out| {
                out.push(if *what == Pad::Drop { 1 } else { 2 });
                out.extend(std::iter::repeat_n(0, (*n).min(usize::from(u16::MAX))));
            }),
            Self::InLabels(l) => put(out, 7, |out| l.emit(out)),
            Self::Errored(all) => put(out, 9, |out| {
                for (kind, value) in all {
                    put(out, *kind, |out| out.extend_from_slice(value));
                }
            }),
            Self::ReplyTos(tos) => put(out, 10, |out| out.extend_from_slice(&[*tos, 0, 0, 0])),
            Self::Detailed(d) => put(out, 20, |out| d.emit(out)),
            Self::Unknown(kind, value) => put(out, *kind, |out| out.extend_from_slice(value)),
        }
    }
}

impl Echo {
    /// A request to be answered by UDP.
    #[must_use]
    pub const fn request(handle: u32, sequence: u32, sent: u64, tlvs: Vec<Tlv>) -> Self {
        Self {
            kind: Kind::Request,
            validate_stack: false,
            only_if_expired: false,
            reverse: false,
            reply_mode: ReplyMode::Udp,
            code: ReturnCode::NONE,
            subcode: 0,
            handle,
            sequence,
            sent,
            received: 0,
            tlvs,
        }
    }

    /// Its answer, with what must be given back (RFC 8029 4.5).
    #[must_use]
    pub fn reply(&self, code: ReturnCode, subcode: u8, received: u64) -> Self {
        let copied = self
            .tlvs
            .iter()
            .filter(|t| matches!(t, Tlv::Pad(Pad::Copy, _)));
        Self {
            kind: Kind::Reply,
            code,
            subcode,
            received,
            tlvs: copied.cloned().collect(),
            ..*self
        }
    }

    /// Mandatory parameters that nobody here knows, as they are to be named in an answer with
    /// [`ReturnCode::NOT_UNDERSTOOD`] (RFC 8029 3.6); `None` if all are known.
    #[must_use]
    pub fn not_understood(&self) -> Option<Tlv> {
        let unknown = self.tlvs.iter().filter_map(|t| match t {
            Tlv::Unknown(kind, value) if *kind < 0x8000 => Some((*kind, value.clone())),
            _ => None,
        });
        let all: Vec<_> = unknown.collect();
        (!all.is_empty()).then_some(Tlv::Errored(all))
    }

    /// Reads a datagram.
    ///
    /// # Errors
    /// It is no such message, or a length in it is wrong.
    pub fn parse(octets: &[u8]) -> Result<Self, Malformed> {
        let (header, rest) = octets
            .split_first_chunk::<HEADER>()
            .ok_or(Malformed("shorter than its header"))?;
        let mut r = Reader(header);
        let mut word = || r.u32().unwrap_or(0);
        let [first, second, handle, sequence] = [word(), word(), word(), word()];
        let [sent_high, sent_low, received_high, received_low] = [word(), word(), word(), word()];
        let [v0, v1, _, flags] = first.to_be_bytes();
        let [kind, mode, code, subcode] = second.to_be_bytes();
        if u16::from_be_bytes([v0, v1]) != VERSION {
            return Err(Malformed("another version"));
        }
        let mut tlvs = vec![];
        let mut r = Reader(rest);
        while !r.is_empty() {
            let (kind, value) = read(&mut r)?;
            tlvs.push(Tlv::parse(kind, value)?);
        }
        Ok(Self {
            kind: match kind {
                1 => Kind::Request,
                2 => Kind::Reply,
                _ => return Err(Malformed("neither a request nor a reply")),
            },
            validate_stack: flags & 1 != 0,
            only_if_expired: flags & 2 != 0,
            reverse: flags & 4 != 0,
            reply_mode: ReplyMode::from_code(mode),
            code: ReturnCode(code),
            subcode,
            handle,
            sequence,
            sent: u64::from(sent_high) << 32 | u64::from(sent_low),
            received: u64::from(received_high) << 32 | u64::from(received_low),
            tlvs,
        })
    }

    /// Writes it. What of a parameter is longer than 65,535 octets is cut off; no datagram is as long.
    pub fn emit(&self, out: &mut Vec<u8>) {
        let flags = u16::from(self.validate_stack)
            | u16::from(self.only_if_expired) << 1
            | u16::from(self.reverse) << 2;
        out.extend_from_slice(&VERSION.to_be_bytes());
        out.extend_from_slice(&flags.to_be_bytes());
        out.push(if self.kind == Kind::Request { 1 } else { 2 });
        out.push(self.reply_mode.code());
        out.extend_from_slice(&[self.code.0, self.subcode]);
        out.extend_from_slice(&self.handle.to_be_bytes());
        out.extend_from_slice(&self.sequence.to_be_bytes());
        out.extend_from_slice(&self.sent.to_be_bytes());
        out.extend_from_slice(&self.received.to_be_bytes());
        self.tlvs.iter().for_each(|t| t.emit(out));
    }
}

#[cfg(test)]
pub(crate) mod tests;
