//! UPDATE out: RFC 4271 4.3, RFC 4760 3 and 4, RFC 7606 5.1 (MP_REACH_NLRI first, one family a message), RFC 6793 4.2.2 (AS
//! numbers for neighbours of two octets), RFC 8950, RFC 8277 2.4 (labels in withdrawals), RFC 4724 2 (End-of-RIB).
//!
//! An [`Encoder`] lays out attributes once; a [`Packer`] then fills messages with prefixes until they are full. Attributes are
//! sent as they are given: what a neighbour is not to see is taken out before (`speaker`).

use std::net::Ipv6Addr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::attrs::{View, code, flag};
use crate::types::{Asn, Family, Label, NextHop, PathId, Rd};

use super::nlri::emit_flow_len;
use super::update::{append_attribute, as4_path, shorten};
use super::{Context, HEADER, Header, Kind, Labels, RouteTarget, framed};

/// Why something cannot be sent to that neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// Not even one prefix fits beside the attributes: the route cannot be announced, and must be withdrawn if it was.
    #[error("{len} octets of attributes leave no room in a message of {max}")]
    TooLong {
        /// Octets of the attributes.
        len: usize,
        /// Octets of the longest message.
        max: usize,
    },
    /// That family has no next hops of that kind, or the neighbour does not take them (RFC 8950).
    #[error("the neighbour does not take such a next hop for {0}")]
    NextHop(Family),
    /// Of another family than the messages.
    #[error("these messages carry {0}")]
    Family(Family),
    /// None, or more than the neighbour or an NLRI takes (RFC 8277 2.1).
    #[error("the neighbour does not take {0} labels")]
    Labels(usize),
}

/// The longest NLRI that is no flow: path identifier, length, 255 bits.
const LONGEST: usize = 4 + 1 + 32;

/// Where a message's parts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// Attributes, then NLRI.
    Plain,
    /// NLRI in Withdrawn Routes.
    Withdrawn,
    /// NLRI in the first attribute; others behind it.
    Attribute,
}

/// Buffers for encoding, to be used again and again.
#[derive(Debug, Default)]
pub struct Encoder {
    /// From the header to where NLRI begin.
    front: Vec<u8>,
    /// What follows NLRI.
    back: Vec<u8>,
}

/// Fills messages with NLRI of one family; closes the last one when dropped.
#[derive(Debug)]
pub struct Packer<'e> {
    out: &'e mut Vec<u8>,
    front: &'e [u8],
    back: &'e [u8],
    layout: Layout,
    family: Family,
    withdraw: bool,
    add_path: bool,
    /// More than one label is taken.
    many: bool,
    max: usize,
    /// Where the message that is being filled begins.
    start: Option<usize>,
    messages: usize,
}

impl Encoder {
    /// Empty buffers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins messages, appended to `out`, that announce routes of a family with these attributes and next hop.
    ///
    /// # Errors
    /// The attributes are too long, or the next hop does not suit.
    pub fn announce<'e>(
        &'e mut self,
        view: View<'_>,
        family: Family,
        ctx: &Context,
        out: &'e mut Vec<u8>,
    ) -> Result<Packer<'e>, EncodeError> {
        let Self { front, back } = self;
        front.clear();
        back.clear();
        front.extend_from_slice(
            &Header {
                len: 0,
                kind: Kind::Update,
            }
            .emit(),
        );
        front.extend_from_slice(&[0; 4]);
        let hop = match (family, view.next_hop) {
            (Family::Ipv4Unicast, Some(NextHop::V4(a))) => Some(a.octets()),
            _ => None,
        };
        let layout = if hop.is_some() {
            attributes(view, hop, ctx, front);
            Layout::Plain
        } else {
            let (afi, safi) = family.code();
            let [a0, a1] = afi.to_be_bytes();
            front.extend_from_slice(&[0x90, code::MP_REACH_NLRI, 0, 0, a0, a1, safi, 0]);
            let at = front.len();
            mp_next_hop(family, view.next_hop, ctx, front).ok_or(EncodeError::NextHop(family))?;
            front[at - 1] = (front.len() - at) as u8;
            front.push(0);
            attributes(view, None, ctx, back);
            Layout::Attribute
        };
        let (len, max) = (front.len() + back.len(), ctx.max_message());
        if len + LONGEST > max {
            return Err(EncodeError::TooLong { len, max });
        }
        Ok(self.packer(layout, family, false, ctx, out))
    }

    /// Begins messages, appended to `out`, that withdraw routes of a family.
    pub fn withdraw<'e>(
        &'e mut self,
        family: Family,
        ctx: &Context,
        out: &'e mut Vec<u8>,
    ) -> Packer<'e> {
        let Self { front, back } = self;
        front.clear();
        back.clear();
        front.extend_from_slice(
            &Header {
                len: 0,
                kind: Kind::Update,
            }
            .emit(),
        );
        let layout = if family == Family::Ipv4Unicast {
            front.extend_from_slice(&[0; 2]);
            back.extend_from_slice(&[0; 2]);
            Layout::Withdrawn
        } else {
            let (afi, safi) = family.code();
            let [a0, a1] = afi.to_be_bytes();
            front.extend_from_slice(&[0; 4]);
            front.extend_from_slice(&[0x90, code::MP_UNREACH_NLRI, 0, 0, a0, a1, safi]);
            Layout::Attribute
        };
        self.packer(layout, family, true, ctx, out)
    }

    fn packer<'e>(
        &'e self,
        layout: Layout,
        family: Family,
        withdraw: bool,
        ctx: &Context,
        out: &'e mut Vec<u8>,
    ) -> Packer<'e> {
        Packer {
            out,
            front: &self.front,
            back: &self.back,
            layout,
            family,
            withdraw,
            add_path: ctx.add_path_send.contains(family),
            many: ctx.multiple_labels.contains(family),
            max: ctx.max_message(),
            start: None,
            messages: 0,
        }
    }
}

/// Appends the End-of-RIB of a family, RFC 4724 2.
pub fn end_of_rib(family: Family, out: &mut Vec<u8>) {
    let (afi, safi) = family.code();
    let [a0, a1] = afi.to_be_bytes();
    framed(Kind::Update, out, |out| match family {
        Family::Ipv4Unicast => out.extend_from_slice(&[0; 4]),
        _ => out.extend_from_slice(&[0, 0, 0, 6, 0x80, code::MP_UNREACH_NLRI, 3, a0, a1, safi]),
    });
}

/// Appends attributes in the order of their codes, NEXT_HOP among them if there is one.
fn attributes(view: View<'_>, hop: Option<[u8; 4]>, ctx: &Context, out: &mut Vec<u8>) {
    let mut hop = hop;
    let mut long_path = None;
    let mut long_aggregator = None;
    for a in view.iter().filter(|a| a.code != code::INNER) {
        if a.code > code::NEXT_HOP {
            next_hop(hop.take(), out);
        }
        if a.code > code::AS4_PATH {
            as4(long_path.take(), long_aggregator.take(), out);
        }
        match a.code {
            code::AS_PATH if !ctx.as4 => append_attribute(a.flags, a.code, out, |out| {
                if shorten(a.value, out) {
                    long_path = Some(a.value);
                }
            }),
            code::AGGREGATOR if !ctx.as4 => append_attribute(a.flags, a.code, out, |out| {
                let [a, b, c, d, rest @ ..] = a.value else {
                    return;
                };
                let asn = Asn(u32::from_be_bytes([*a, *b, *c, *d]));
                out.extend_from_slice(&asn.short().to_be_bytes());
                out.extend_from_slice(rest);
            }),
            _ => {
                let [l0, l1] = (a.value.len() as u16).to_be_bytes();
                if l0 == 0 {
                    out.extend_from_slice(&[a.flags & !flag::EXTENDED, a.code, l1]);
                } else {
                    out.extend_from_slice(&[a.flags | flag::EXTENDED, a.code, l0, l1]);
                }
                out.extend_from_slice(a.value);
            }
        }
        if a.code == code::AGGREGATOR && !ctx.as4 && !a.value.starts_with(&[0, 0]) {
            long_aggregator = Some(a.value);
        }
    }
    next_hop(hop, out);
    as4(long_path, long_aggregator, out);
}

fn next_hop(hop: Option<[u8; 4]>, out: &mut Vec<u8>) {
    if let Some([a, b, c, d]) = hop {
        out.extend_from_slice(&[flag::TRANSITIVE, code::NEXT_HOP, 4, a, b, c, d]);
    }
}

/// RFC 6793 4.2.2: what AS_TRANS stands for.
fn as4(path: Option<&[u8]>, aggregator: Option<&[u8]>, out: &mut Vec<u8>) {
    const FLAGS: u8 = flag::OPTIONAL | flag::TRANSITIVE;
    if let Some(path) = path {
        let start = out.len();
        append_attribute(FLAGS, code::AS4_PATH, out, |out| as4_path(path, out));
        if out.len() == start + 3 {
            out.truncate(start); // only confederation segments: nothing to say
        }
    }
    if let Some(a) = aggregator {
        append_attribute(FLAGS, code::AS4_AGGREGATOR, out, |out| {
            out.extend_from_slice(a);
        });
    }
}

/// Appends the next hop as MP_REACH_NLRI has it; `None` if it does not suit.
fn mp_next_hop(
    family: Family,
    hop: Option<NextHop>,
    ctx: &Context,
    out: &mut Vec<u8>,
) -> Option<()> {
    use Family::{
        Ipv4Flow, Ipv4Labeled, Ipv4Unicast, Ipv6Flow, Ipv6Labeled, Ipv6Unicast, RouteTarget, Vpnv4,
        Vpnv4Flow, Vpnv6, Vpnv6Flow,
    };
    let rd: &[u8] = match family {
        Ipv4Flow | Ipv6Flow | Vpnv4Flow | Vpnv6Flow => return Some(()),
        Vpnv4 | Vpnv6 => &[0; 8],
        Ipv4Unicast | Ipv6Unicast | Ipv4Labeled | Ipv6Labeled | RouteTarget => &[],
    };
    let six = match family {
        Ipv4Unicast | Ipv4Labeled | Vpnv4 => ctx.ext_next_hop.contains(family),
        _ => true,
    };
    out.extend_from_slice(rd);
    match hop? {
        NextHop::V4(a) => match family {
            Ipv4Labeled | Vpnv4 | RouteTarget => out.extend_from_slice(&a.octets()),
            // 6PE and 6VPE, RFC 4798 2 and RFC 4659 3.2.1.2.
            Ipv6Labeled | Vpnv6 => out.extend_from_slice(&a.to_ipv6_mapped().octets()),
            _ => return None,
        },
        NextHop::V6(a) if six => out.extend_from_slice(&a.octets()),
        NextHop::V6Both(a, _) if six && family == RouteTarget => {
            out.extend_from_slice(&a.octets());
        }
        NextHop::V6Both(a, l) if six => {
            out.extend_from_slice(&a.octets());
            out.extend_from_slice(rd);
            out.extend_from_slice(&l.octets());
        }
        _ => return None,
    }
    Some(())
}

/// A prefix that fits in a register: address octets with the length in front.
#[inline]
fn octets_of(net: IpNet) -> ([u8; 16], u8) {
    match net {
        IpNet::V4(n) => {
            let mut o = [0; 16];
            o[..4].copy_from_slice(&n.addr().octets());
            (o, n.prefix_len())
        }
        IpNet::V6(n) => (Ipv6Addr::octets(&n.addr()), n.prefix_len()),
    }
}

impl Packer<'_> {
    /// Adds a prefix of IPv4 unicast.
    ///
    /// # Errors
    /// The messages are of another family.
    #[inline]
    pub fn ipv4(&mut self, id: PathId, net: Ipv4Net) -> Result<(), EncodeError> {
        self.mine(Family::Ipv4Unicast)?;
        let bits = net.prefix_len();
        let n = usize::from(bits).div_ceil(8);
        self.room(5 + n);
        if self.add_path {
            self.out.extend_from_slice(&id.to_be_bytes());
        }
        // All octets, and then the rest off: that takes no loop.
        let [a, b, c, d] = net.addr().octets();
        self.out.extend_from_slice(&[bits, a, b, c, d]);
        self.out.truncate(self.out.len() - (4 - n));
        Ok(())
    }

    /// Adds a prefix of IPv6 unicast.
    ///
    /// # Errors
    /// The messages are of another family.
    #[inline]
    pub fn ipv6(&mut self, id: PathId, net: Ipv6Net) -> Result<(), EncodeError> {
        self.mine(Family::Ipv6Unicast)?;
        self.prefix(id, net.prefix_len(), &[], &net.addr().octets());
        Ok(())
    }

    /// Adds a prefix of either unicast family.
    ///
    /// # Errors
    /// The messages are of another family.
    pub fn net(&mut self, id: PathId, net: IpNet) -> Result<(), EncodeError> {
        match net {
            IpNet::V4(n) => self.ipv4(id, n),
            IpNet::V6(n) => self.ipv6(id, n),
        }
    }

    /// Adds a labelled prefix; labels outermost first, not looked at when withdrawing.
    ///
    /// # Errors
    /// The messages are of another family, or the labels too few or too many.
    pub fn labeled(&mut self, id: PathId, labels: &[Label], net: IpNet) -> Result<(), EncodeError> {
        self.mine(match net {
            IpNet::V4(_) => Family::Ipv4Labeled,
            IpNet::V6(_) => Family::Ipv6Labeled,
        })?;
        self.behind_labels(id, labels, &[], net)
    }

    /// Adds a VPN prefix; labels outermost first, not looked at when withdrawing.
    ///
    /// # Errors
    /// The messages are of another family, or the labels too few or too many.
    pub fn vpn(
        &mut self,
        id: PathId,
        labels: &[Label],
        rd: Rd,
        net: IpNet,
    ) -> Result<(), EncodeError> {
        self.mine(match net {
            IpNet::V4(_) => Family::Vpnv4,
            IpNet::V6(_) => Family::Vpnv6,
        })?;
        self.behind_labels(id, labels, &rd.0, net)
    }

    fn behind_labels(
        &mut self,
        id: PathId,
        labels: &[Label],
        rd: &[u8],
        net: IpNet,
    ) -> Result<(), EncodeError> {
        let mut front = Vec::with_capacity(32);
        if self.withdraw {
            front.extend_from_slice(&Labels::WITHDRAWN);
        } else if labels.is_empty() || (labels.len() > 1 && !self.many) {
            return Err(EncodeError::Labels(labels.len()));
        } else {
            Labels::emit(labels, &mut front);
        }
        front.extend_from_slice(rd);
        let (octets, bits) = octets_of(net);
        let all = u8::try_from(front.len() * 8 + usize::from(bits));
        let all = all.map_err(|_| EncodeError::Labels(labels.len()))?;
        self.prefix(id, all, &front, &octets);
        Ok(())
    }

    /// Adds a route target membership.
    ///
    /// # Errors
    /// The messages are of another family.
    pub fn route_target(&mut self, id: PathId, target: RouteTarget) -> Result<(), EncodeError> {
        self.mine(Family::RouteTarget)?;
        self.prefix(id, target.bits.min(96), &[], &target.octets);
        Ok(())
    }

    /// Adds a flow: its components, behind a route distinguisher in a VPN family. They are not checked here.
    ///
    /// # Errors
    /// A flow of 4,096 octets or more, or one that does not fit beside the attributes.
    pub fn flow(&mut self, id: PathId, rd: Option<Rd>, flow: &[u8]) -> Result<(), EncodeError> {
        let vpn = matches!(self.family, Family::Vpnv4Flow | Family::Vpnv6Flow);
        let plain = matches!(self.family, Family::Ipv4Flow | Family::Ipv6Flow);
        if !(vpn && rd.is_some() || plain && rd.is_none()) {
            return Err(EncodeError::Family(self.family));
        }
        let rd = rd.as_ref().map_or(&[][..], |r| &r.0);
        let len = rd.len() + flow.len();
        let fixed = self.front.len() + self.back.len();
        if len > 4095 || fixed + 6 + len > self.max {
            let (len, max) = (fixed + len, self.max);
            return Err(EncodeError::TooLong { len, max });
        }
        self.room(6 + len);
        if self.add_path {
            self.out.extend_from_slice(&id.to_be_bytes());
        }
        emit_flow_len(len, self.out);
        self.out.extend_from_slice(rd);
        self.out.extend_from_slice(flow);
        Ok(())
    }

    /// Closes the last message; how many there are.
    pub fn finish(mut self) -> usize {
        self.close();
        self.messages
    }

    #[inline]
    fn mine(&self, family: Family) -> Result<(), EncodeError> {
        if self.family == family {
            Ok(())
        } else {
            Err(EncodeError::Family(self.family))
        }
    }

    /// Adds one NLRI: `bits` of `front` and then `octets`, whose bits behind the prefix must be zero.
    #[inline]
    fn prefix(&mut self, id: PathId, bits: u8, front: &[u8], octets: &[u8]) {
        let n = usize::from(bits).div_ceil(8);
        self.room(5 + n);
        if self.add_path {
            self.out.extend_from_slice(&id.to_be_bytes());
        }
        self.out.push(bits);
        self.out.extend_from_slice(front);
        let octets = octets.get(..n - front.len()).unwrap_or(octets);
        self.out.extend_from_slice(octets);
    }

    /// A message with room for so many octets more.
    #[inline]
    fn room(&mut self, n: usize) {
        match self.start {
            Some(start) if self.out.len() - start + n + self.back.len() <= self.max => {}
            _ => self.open(),
        }
    }

    fn open(&mut self) {
        self.close();
        self.start = Some(self.out.len());
        self.out.extend_from_slice(self.front);
    }

    fn close(&mut self) {
        let Some(start) = self.start.take() else {
            return;
        };
        let nlri_end = self.out.len();
        self.out.extend_from_slice(self.back);
        let mut patch = |at: usize, len: usize| {
            let len = u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes();
            if let Some(field) = self.out.get_mut(start + at..start + at + 2) {
                field.copy_from_slice(&len);
            }
        };
        let end = nlri_end + self.back.len();
        patch(16, end - start);
        match self.layout {
            Layout::Plain => patch(HEADER + 2, self.front.len() - HEADER - 4),
            Layout::Withdrawn => patch(HEADER, nlri_end - start - HEADER - 2),
            Layout::Attribute => {
                patch(HEADER + 2, end - start - HEADER - 4);
                patch(HEADER + 6, nlri_end - start - HEADER - 8);
            }
        }
        self.messages += 1;
    }
}

impl Drop for Packer<'_> {
    fn drop(&mut self) {
        self.close();
    }
}
