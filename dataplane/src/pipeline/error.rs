//! ICMP errors: RFC 1812 4.3.2 and 5.2.7, RFC 4443 2.2, 2.4 and 3; RFC 4884 and 4950 for what came under labels; RFC 3032
//! 2.3 for how such an error finds its way.
//!
//! The source is the first address of the interface that the packet came in by, as traceroute wants it, and as every router
//! does it today; RFC 1812 4.3.2.4 asks for the interface the error leaves by. Without an address there, it is the first
//! one of the router. What a label led into a VRF is answered from an address of that VRF, by its table (RFC 4364 4.3.2 looks
//! at packets so, too): the interface that it came by is nothing to the customer.
//!
//! The error is looked up like any packet. When there is no route to the source and the packet came under labels, the
//! error goes on along the label switched path, under the labels that the packet would have had: who takes them off knows
//! the way (RFC 3032 2.3.2).

use super::frame::{Cast, Frame, Origin};
use super::send::{Arrived, Hop, Labels, pick, send};
use super::{Cx, Output, Scene, ip4, ip6, punt};
use crate::drops::Drop;
use crate::interface::Interface;
use crate::mbuf::Mbuf;
use fib::{Path, Target};
use net::eth::ethertype::{IPV4, IPV6};
use net::icmp_error::{self, Error4, Error6, build_error4, build_error6};
use net::ip4::Ip4;
use net::ip6::{Ip6, is_link_local};
use net::{GroupId, IfaceId, VrfId, mpls};
use std::net::{Ipv4Addr, Ipv6Addr};

/// What was wrong with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// No route covers its destination.
    NoRoute,
    /// A route that says so.
    Unreachable,
    /// Likewise, "administratively".
    Prohibited,
    /// TTL or hop limit.
    Expired,
    /// Longer than this.
    TooBig(usize),
    /// A link-local source that wants to leave its link (IPv6).
    BeyondScope,
    /// The byte of the header that is wrong (IPv4).
    Parameter(u8),
}

impl Cause {
    fn v4(self) -> Error4 {
        match self {
            Self::NoRoute => Error4::NET_UNREACHABLE,
            Self::Unreachable | Self::BeyondScope => Error4::HOST_UNREACHABLE,
            Self::Prohibited => Error4::PROHIBITED,
            Self::Expired => Error4::TTL_EXPIRED,
            Self::TooBig(mtu) => Error4::frag_needed(u16::try_from(mtu).unwrap_or(u16::MAX)),
            Self::Parameter(at) => Error4::parameter_problem(at),
        }
    }

    fn v6(self) -> Error6 {
        match self {
            Self::NoRoute | Self::Unreachable => Error6::NO_ROUTE,
            Self::Prohibited => Error6::PROHIBITED,
            Self::Expired => Error6::HOP_LIMIT_EXCEEDED,
            Self::TooBig(mtu) => Error6::packet_too_big(u32::try_from(mtu).unwrap_or(u32::MAX)),
            Self::BeyondScope => Error6::BEYOND_SCOPE,
            Self::Parameter(at) => Error6::parameter_problem(0, at.into()),
        }
    }
}

/// Where a labelled packet would have gone, and under which labels, each with a TTL of 255.
pub(super) struct Along<'a> {
    pub(super) hop: Hop<'a>,
    pub(super) labels: Labels,
}

/// A packet as it was received: the labels it came under, and the packet beneath.
#[derive(Clone, Copy)]
pub(super) struct Offender<'p> {
    pub(super) stack: &'p [u8],
    pub(super) ip: &'p [u8],
    pub(super) iface: IfaceId,
    /// Whose packet it is.
    pub(super) vrf: VrfId,
    pub(super) origin: Origin,
}

/// Answers an IPv4 packet, if that is allowed. The packet stays as it is, to be dropped by the caller.
#[cold]
pub(super) fn ip4<O: Output>(cx: &mut Cx<'_, O>, f: &mut Frame, cause: Cause) {
    as_received(f, |o| about4(cx, o, cause, None));
}

/// Answers an IPv6 packet, likewise.
#[cold]
pub(super) fn ip6<O: Output>(cx: &mut Cx<'_, O>, f: &mut Frame, cause: Cause) {
    as_received(f, |o| about6(cx, o, cause, None));
}

/// Answers a labelled packet, by what lies under its stack; other things than IP get no answer.
pub(super) fn under_labels<O: Output>(
    cx: &mut Cx<'_, O>,
    offender: Offender<'_>,
    cause: Cause,
    along: Option<Along<'_>>,
) {
    match mpls::under(offender.ip) {
        mpls::Under::Ip4 => about4(cx, offender, cause, along),
        mpls::Under::Ip6 => about6(cx, offender, cause, along),
        mpls::Under::Other => {}
    }
}

/// Uncovers the popped labels again for as long as `look` takes. Errors, and what was sent to everybody on the link
/// (RFC 1812 4.3.2.7, RFC 4443 2.4 (e)), are not looked at.
fn as_received(f: &mut Frame, look: impl FnOnce(Offender<'_>)) {
    let popped = usize::from(f.popped);
    if f.origin == Origin::Own || f.cast == Cast::Group || f.m.prepend(popped).is_none() {
        return;
    }
    if let Some((stack, ip)) = f.m.data().split_at_checked(popped) {
        look(Offender {
            stack,
            ip,
            iface: f.iface,
            vrf: f.vrf,
            origin: f.origin,
        });
    }
    punt::trim(&mut f.m, popped);
}

/// A way that an error can take: not every path is one.
fn leads_on(path: Option<&Path>) -> bool {
    path.is_some_and(|p| !matches!(p.target, Target::Discard(_)))
}

fn about4<O: Output>(cx: &mut Cx<'_, O>, o: Offender<'_>, cause: Cause, along: Option<Along<'_>>) {
    let Ok(h) = Ip4::new(o.ip) else { return };
    let to = h.src_bits();
    if o.origin == Origin::Wire && ip4::martian_source(cx, o.vrf, to)
        || !icmp_error::may_answer4(o.ip)
    {
        return;
    }
    let routed = leads_on(any_path(&cx.env, cx.env.fib.lookup4_in(o.vrf, to)));
    let (error, from) = (cause.v4(), source4(&cx.env, &o));
    let made = make(
        cx,
        (o.iface, o.vrf),
        icmp_error::MAX_LEN4,
        routed || along.is_some(),
        |out| {
            build_error4(
                out,
                from?,
                error,
                o.ip,
                Some(o.stack).filter(|s| !s.is_empty()),
            )
        },
    );
    match (made, along) {
        (Some(f), Some(along)) if !routed => go_along(cx, f, &along, IPV4),
        (Some(f), _) => ip4::route(cx, f),
        (None, _) => {}
    }
}

fn about6<O: Output>(cx: &mut Cx<'_, O>, o: Offender<'_>, cause: Cause, along: Option<Along<'_>>) {
    let Ok(h) = Ip6::new(o.ip) else { return };
    let (to, error) = (h.src_bits(), cause.v6());
    if o.origin == Origin::Wire && ip6::martian_source(cx, o.vrf, to)
        || !icmp_error::may_answer6(o.ip, error)
    {
        return;
    }
    let on_link = is_link_local(to);
    let routed = on_link || leads_on(any_path(&cx.env, cx.env.fib.lookup6_in(o.vrf, to)));
    let from = source6(&cx.env, &o, on_link);
    let made = make(
        cx,
        (o.iface, o.vrf),
        icmp_error::MAX_LEN6,
        routed || along.is_some(),
        |out| {
            build_error6(
                out,
                from?,
                error,
                o.ip,
                Some(o.stack).filter(|s| !s.is_empty()),
            )
        },
    );
    match (made, along) {
        (Some(f), Some(along)) if !routed => go_along(cx, f, &along, IPV6),
        (Some(f), _) => ip6::route(cx, f),
        (None, _) => {}
    }
}

/// Some path of the group: all of them lead on, or none does.
fn any_path<'a>(env: &Scene<'a>, group: GroupId) -> Option<&'a Path> {
    pick(env, group, || 0)
}

/// A frame with the error that `build` makes, if there is a way, a token and a buffer. It is counted as created.
fn make<O: Output>(
    cx: &mut Cx<'_, O>,
    (iface, vrf): (IfaceId, VrfId),
    most: usize,
    way: bool,
    build: impl FnOnce(&mut [u8]) -> Option<usize>,
) -> Option<Frame> {
    if !way || !cx.bucket.has(cx.env.now) {
        return None;
    }
    let mut m: Mbuf = cx.env.pool.alloc()?;
    let len = build(m.append(most)?)?;
    m.truncate(len);
    cx.bucket.take();
    cx.out.counters().created(iface, 1);
    Some(Frame::sent(m, iface, vrf, Origin::Own))
}

/// The error, under the labels of the packet it is about.
fn go_along<O: Output>(cx: &mut Cx<'_, O>, f: Frame, along: &Along<'_>, ethertype: u16) {
    if f.m.len() > along.hop.room(&along.labels) {
        return cx.drop(f, Drop::MplsTooBig);
    }
    let from = Arrived::unchanged(f.iface, f.vrf);
    send(cx, f.m, from, along.hop, &along.labels, ethertype);
}

/// Where a packet's answer may come from: the interface that it came by if that is of its VRF, then the others of that.
fn sources<'a>(env: &Scene<'a>, o: &Offender<'_>) -> impl Iterator<Item = &'a Interface> {
    let vrf = o.vrf;
    let here = env.ifaces.get(o.iface);
    let all = here.into_iter().chain(env.ifaces.iter());
    all.filter(move |i| i.vrf == vrf)
}

fn source4(env: &Scene<'_>, o: &Offender<'_>) -> Option<Ipv4Addr> {
    // A VRF without any address, into which a label leads, says where the packet came in.
    let found = sources(env, o).find_map(|i| i.v4.first());
    let found = found.or_else(|| env.ifaces.get(o.iface)?.v4.first());
    found.map(|a| a.0)
}

/// Of the same scope as its destination, or it would not get there (RFC 4443 2.2, RFC 6724 5 rule 2).
fn source6(env: &Scene<'_>, o: &Offender<'_>, on_link: bool) -> Option<Ipv6Addr> {
    let here = env.ifaces.get(o.iface)?;
    if on_link {
        return Some(here.link_local);
    }
    let found = sources(env, o).find_map(|i| i.v6.first());
    found.or_else(|| here.v6.first()).map(|a| a.0)
}
