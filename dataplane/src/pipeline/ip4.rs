//! IPv4: input (RFC 1812 5.2.2, in its order; options; addresses, 5.3.4 to 5.3.7), lookup (5.2.4.3), and forwarding
//! (5.2.1.2: TTL, MTU).
//!
//! Departures, with reasons:
//! - Source routes are refused (RFC 1812 5.2.4.1 wants them, RFC 7126 4.3 and 4.4 has reasons against). Record route and
//!   timestamp are passed on as they came: a MUST of RFC 1812 4.2.2.6 and 5.3.13, but nobody's traffic depends on it, and
//!   RFC 7126 4.6 and 4.7 lets a router ignore them. A router alert is forwarded like any packet (RFC 2113 wants a look at
//!   it only from protocols that this router does not speak), but for LSP ping's to 127/8.
//! - Directed broadcasts are not forwarded (RFC 2644). One to a network of the router itself is the router's when it came
//!   from that network; to a "network address" (RFC 1812 4.2.3.1, all zeros) likewise.
//! - Link-local addresses (169.254/16) are not forwarded (RFC 3927 7).
//! - Groups: all hosts and all routers (RFC 1112, RFC 1812 2.2.8) are the router's, no others.

use super::error::{self, Cause};
use super::frame::{Cast, Frame, Frames};
use super::send::{self, Arrived, Hop, imposed, pick, send};
use super::{Cx, Output, Scene, fragment, punt};
use crate::burst::Burst;
use crate::drops::Drop;
use crate::interface::Own4;
use crate::mbuf::Checked;
use crate::punt::PuntReason;
use arrayvec::ArrayVec;
use fib::{Discard, Path, Target};
use net::eth::ethertype::IPV4;
use net::ip4::{self, HEADER_LEN, Ip4, Ip4Mut, option};
use net::{GroupId, IfaceId, VrfId, WireError, checksum, flow, udp4};
use std::net::Ipv4Addr;

const EVERYBODY: u32 = u32::MAX;
const ALL_HOSTS: u32 = 0xe000_0001;
const ALL_ROUTERS: u32 = 0xe000_0002;

/// What the input stage made of a packet.
enum Verdict {
    /// To be looked up.
    Go,
    /// For the router, on that interface.
    Local(IfaceId),
    /// An echo request of LSP ping.
    Echo,
    /// Dropped, and the sender told which byte was wrong.
    BadOption(u8),
    Drop(Drop),
}

/// Stage: checks each packet, cuts padding off, and leaves in `go` what is to be looked up.
pub(super) fn input<O: Output>(cx: &mut Cx<'_, O>, frames: &mut Frames, go: &mut Frames) {
    go.extend(frames.drain(..).filter_map(|f| passed(cx, f)));
}

/// A packet whose label has said where it goes: judged as the others, and not looked up.
pub(super) fn along<O: Output>(cx: &mut Cx<'_, O>, f: Frame, path: &Path) {
    if let Some(f) = passed(cx, f) {
        forward(cx, f, Some(path));
    }
}

/// The packet, if it is to be forwarded.
#[inline]
fn passed<O: Output>(cx: &mut Cx<'_, O>, mut f: Frame) -> Option<Frame> {
    match judge(cx, &mut f) {
        Verdict::Go => return Some(f),
        Verdict::Local(owner) => local(cx, f, owner),
        Verdict::Echo => {
            let labelled = f.popped > 0;
            punt::echo(cx, f, labelled);
        }
        Verdict::Drop(why) => cx.drop(f, why),
        Verdict::BadOption(at) => {
            error::ip4(cx, &mut f, Cause::Parameter(at));
            cx.drop(f, Drop::Ip4BadOptions);
        }
    }
    None
}

/// For the router itself: to the kernel by the TAP of `owner`.
fn local<O: Output>(cx: &mut Cx<'_, O>, f: Frame, owner: IfaceId) {
    punt::to_control(cx, f, owner, PuntReason::Local, IPV4);
}

#[inline]
fn judge<O>(cx: &Cx<'_, O>, f: &mut Frame) -> Verdict {
    let verify = match f.m.l3_checksum() {
        Checked::Good => false,
        Checked::Bad => return Verdict::Drop(Drop::Ip4BadChecksum),
        Checked::Unknown => true,
    };
    let p = match ip4::check_with(f.m.data(), verify) {
        Ok(p) => p,
        Err(e) => return Verdict::Drop(malformed(f.m.data(), e)),
    };
    let (h, len) = (p.header(), p.bytes().len());
    if h.header_len() > HEADER_LEN
        && let Some(verdict) = options(p.options())
    {
        return verdict;
    }
    let verdict = match addresses(cx, f, h.src_bits(), h.dst_bits()) {
        Verdict::Drop(Drop::MartianDestination) if asks(cx, f, p.bytes()) => Verdict::Echo,
        verdict => verdict,
    };
    f.m.truncate(len);
    verdict
}

/// Whether a packet to 127/8 is an echo request of LSP ping (RFC 8029 4.4): it came under labels, or it says that routers are to
/// look at it, and comes by an interface that has labels (the router before took the last one off).
#[cold]
fn asks<O>(cx: &Cx<'_, O>, f: &Frame, packet: &[u8]) -> bool {
    let here = |i: &crate::interface::Interface| i.mpls && udp4::has_alert(packet);
    udp4::is_echo_request(packet) && (f.popped > 0 || cx.env.ifaces.get(f.iface).is_some_and(here))
}

/// Names what [`ip4::check`] found. RFC 1812 5.2.2 has the checksum before version and header length, so when both are
/// wrong it is the checksum that counts.
#[cold]
fn malformed(packet: &[u8], e: WireError) -> Drop {
    let Ok(h) = Ip4::new(packet) else {
        return Drop::Ip4Truncated;
    };
    let extent = h.header_len().max(HEADER_LEN);
    let summed = packet.get(..extent).is_some_and(checksum::verify);
    match e {
        WireError::Truncated { need, .. } if need <= h.header_len() => Drop::Ip4BadHeaderLength,
        _ if extent <= packet.len() && !summed => Drop::Ip4BadChecksum,
        WireError::Version(_) => Drop::Ip4BadVersion,
        WireError::HeaderLength(_) => Drop::Ip4BadHeaderLength,
        _ => Drop::Ip4BadLength,
    }
}

/// Looks for what is refused, and for options that are no options (RFC 1812 4.2.2.1).
#[cold]
fn options(options: ip4::Options<'_>) -> Option<Verdict> {
    for o in options {
        match o {
            Err(at) => return Some(Verdict::BadOption(u8::try_from(at).unwrap_or(u8::MAX))),
            Ok(o)
                if matches!(
                    o.kind,
                    option::LOOSE_SOURCE_ROUTE | option::STRICT_SOURCE_ROUTE
                ) =>
            {
                return Some(Verdict::Drop(Drop::SourceRoute));
            }
            Ok(_) => {}
        }
    }
    None
}

/// May that address be the source of a packet from another host? RFC 1812 5.3.7: not 0/8, 127/8, groups, class E; nor one
/// of ours, nor a broadcast.
#[inline]
pub(super) fn martian_source<O>(cx: &Cx<'_, O>, vrf: VrfId, src: u32) -> bool {
    !ip4::is_host_source(src) || cx.env.ifaces.own4(vrf, src) != Own4::None
}

/// Source and destination, RFC 1812 5.3.4 to 5.3.7, RFC 1122 3.3.6.
#[inline]
fn addresses<O>(cx: &Cx<'_, O>, f: &Frame, src: u32, dst: u32) -> Verdict {
    // 0.0.0.0 asks everybody for its address: DHCP, RFC 2131 4.1.
    if martian_source(cx, f.vrf, src) && !(src == 0 && dst == EVERYBODY) {
        return Verdict::Drop(Drop::MartianSource);
    }
    match dst >> 24 {
        0 | 127 => Verdict::Drop(Drop::MartianDestination),
        // Groups and "everybody" are those of a link, which a label does not lead to in another VRF.
        224.. if f.popped > 0 && cx.env.ifaces.vrf_of(f.iface) != Some(f.vrf) => {
            Verdict::Drop(Drop::Multicast)
        }
        224..=239 if matches!(dst, ALL_HOSTS | ALL_ROUTERS) => Verdict::Local(f.iface),
        224..=239 => Verdict::Drop(Drop::Multicast),
        240.. if dst == EVERYBODY => Verdict::Local(f.iface),
        240.. => Verdict::Drop(Drop::MartianDestination),
        _ if f.cast == Cast::Group => match cx.env.ifaces.own4(f.vrf, dst) {
            Own4::Broadcast(i) if i == f.iface => Verdict::Local(i),
            Own4::Broadcast(_) => Verdict::Drop(Drop::Broadcast),
            _ => Verdict::Drop(Drop::LinkBroadcast),
        },
        _ => Verdict::Go,
    }
}

/// Stage: looks all destinations up (prefetch pass and load pass are in `lookup_burst`), then their groups and paths, and
/// forwards.
pub(super) fn lookup<O: Output>(cx: &mut Cx<'_, O>, go: &mut Frames) {
    let env = cx.env;
    let dst: ArrayVec<u32, { Burst::CAPACITY }> =
        go.iter().map(|f| destination(f.m.data())).collect();
    let mut groups = [GroupId::NONE; Burst::CAPACITY];
    let groups = &mut groups[..dst.len()];
    match go.iter().fold(0, |any, f| any | f.vrf.0) {
        0 => env.fib.lookup4_burst(&dst, groups),
        _ => lookup_in_vrfs(&env, go, &dst, groups),
    }
    for &g in groups.iter() {
        env.fib.prefetch_group(g);
    }
    let paths: ArrayVec<Option<&Path>, { Burst::CAPACITY }> = go
        .iter()
        .zip(groups.iter())
        .map(|(f, &g)| pick(&env, g, || flow::hash_ip4(f.m.data())))
        .inspect(|path| send::prefetch(&env, *path))
        .collect();
    for (f, path) in go.drain(..).zip(paths) {
        forward(cx, f, path);
    }
}

/// The same where some frames are of a VRF: one by one.
#[inline(never)]
fn lookup_in_vrfs(env: &Scene<'_>, go: &Frames, dst: &[u32], groups: &mut [GroupId]) {
    for ((f, &dst), group) in go.iter().zip(dst).zip(groups) {
        *group = env.fib.lookup4_in(f.vrf, dst);
    }
}

#[inline]
fn destination(packet: &[u8]) -> u32 {
    Ip4::new(packet).map_or(0, |h| h.dst_bits())
}

/// Looks one packet up and forwards it: for those that did not come in a burst.
pub(super) fn route<O: Output>(cx: &mut Cx<'_, O>, f: Frame) {
    let env = cx.env;
    let group = env.fib.lookup4_in(f.vrf, destination(f.m.data()));
    let path = pick(&env, group, || flow::hash_ip4(f.m.data()));
    forward(cx, f, path);
}

/// Tells the sender, if that is allowed, and drops.
#[cold]
fn refuse<O: Output>(cx: &mut Cx<'_, O>, mut f: Frame, cause: Cause, why: Drop) {
    error::ip4(cx, &mut f, cause);
    cx.drop(f, why);
}

/// One packet, with the path it takes.
#[inline]
fn forward<O: Output>(cx: &mut Cx<'_, O>, f: Frame, path: Option<&Path>) {
    let Some(path) = path else {
        return refuse(cx, f, Cause::NoRoute, Drop::NoRoute);
    };
    match path.target {
        Target::Adjacency(_) => out(cx, f, path),
        Target::Glean(link) => gleaned(cx, f, path, link),
        Target::Local(owner) => owned(cx, f, owner),
        Target::Discard(kind) => discarded(cx, f, kind),
    }
}

#[cold]
fn discarded<O: Output>(cx: &mut Cx<'_, O>, f: Frame, kind: Discard) {
    match kind {
        Discard::Blackhole => cx.drop(f, Drop::Blackhole),
        Discard::Unreachable => refuse(cx, f, Cause::Unreachable, Drop::Unreachable),
        Discard::Prohibit => refuse(cx, f, Cause::Prohibited, Drop::Prohibited),
    }
}

/// To an address of the router, or to a broadcast of one of its networks if the table says so.
#[cold]
fn owned<O: Output>(cx: &mut Cx<'_, O>, f: Frame, owner: IfaceId) {
    match cx.env.ifaces.own4(f.vrf, destination(f.m.data())) {
        Own4::Broadcast(i) if f.forwarded() && i != f.iface => cx.drop(f, Drop::Broadcast),
        Own4::Broadcast(i) => broadcast(cx, f, i),
        _ => local(cx, f, owner),
    }
}

/// To a connected network: everybody on it, the router itself, or a host that is not known yet. It may be one of another VRF, that
/// has leaked.
#[cold]
fn gleaned<O: Output>(cx: &mut Cx<'_, O>, f: Frame, path: &Path, link: IfaceId) {
    let vrf = cx.env.ifaces.vrf_of(link).unwrap_or(f.vrf);
    match cx.env.ifaces.own4(vrf, destination(f.m.data())) {
        Own4::None => out(cx, f, path),
        Own4::Address(owner) => local(cx, f, owner),
        Own4::Broadcast(i) if f.forwarded() && i != f.iface => cx.drop(f, Drop::Broadcast),
        Own4::Broadcast(i) => broadcast(cx, f, i),
    }
}

/// A broadcast of the network on `iface`: received from it, so for the router; or the kernel's own, so sent.
fn broadcast<O: Output>(cx: &mut Cx<'_, O>, f: Frame, iface: IfaceId) {
    if f.forwarded() {
        local(cx, f, iface);
    } else {
        send::group(cx, f, iface, net::MacAddr::BROADCAST, IPV4);
    }
}

/// On its way: TTL, MTU, labels, next hop (RFC 1812 5.2.1.2).
#[inline]
fn out<O: Output>(cx: &mut Cx<'_, O>, mut f: Frame, path: &Path) {
    let Ok(h) = Ip4::new(f.m.data()) else {
        return cx.drop(f, Drop::Ip4Truncated);
    };
    let mut ttl = h.ttl();
    let from = Arrived {
        iface: f.iface,
        vrf: f.vrf,
        ttl,
    };
    if f.forwarded() {
        if scoped(h.src_bits()) || scoped(h.dst_bits()) {
            return cx.drop(f, Drop::LinkLocalScope);
        }
        ttl = ttl.min(f.ttl_cap);
        if ttl <= 1 {
            return refuse(cx, f, Cause::Expired, Drop::TtlExpired);
        }
        ttl -= 1;
    }
    let labels = imposed(path, ttl, h.dscp(), || flow::hash_ip4(f.m.data()));
    let hop = match Hop::of(&cx.env, path, h.dst().into()) {
        Ok(hop) => hop,
        Err(why) => return cx.drop(f, why),
    };
    let room = hop.room(&labels);
    if f.m.len() > room {
        let way = Way {
            hop,
            labels: &labels,
            room,
        };
        return too_big(cx, f, ttl, way);
    }
    if f.forwarded() {
        set_ttl(&mut f, ttl);
    }
    send(cx, f.m, from, hop, &labels, IPV4);
}

/// 169.254/16.
#[inline]
fn scoped(addr: u32) -> bool {
    addr >> 16 == 0xa9fe
}

#[inline]
fn set_ttl(f: &mut Frame, ttl: u8) {
    if let Ok(mut h) = Ip4Mut::new(f.m.data_mut()) {
        h.set_ttl(ttl);
    }
}

/// Where a packet that is too big was to go.
struct Way<'w, 'a> {
    hop: Hop<'a>,
    labels: &'w send::Labels,
    /// Bytes of IP packet that fit, labels taken off.
    room: usize,
}

/// Longer than the link takes: cut, or sent back (RFC 1812 5.2.6, RFC 1191 4; RFC 3032 3.4 for what the labels take).
#[cold]
fn too_big<O: Output>(cx: &mut Cx<'_, O>, mut f: Frame, ttl: u8, way: Way<'_, '_>) {
    if Ip4::new(f.m.data()).is_ok_and(|h| h.dont_fragment()) {
        return refuse(cx, f, Cause::TooBig(way.room), Drop::FragNeeded);
    }
    if f.forwarded() {
        set_ttl(&mut f, ttl);
    }
    fragment::send(cx, f, way.room, way.hop, way.labels);
}

/// A packet from the kernel: to a group or to everybody by the interface whose TAP it came from, else by the table.
pub(super) fn from_kernel<O: Output>(cx: &mut Cx<'_, O>, f: Frame) {
    let len = match ip4::check(f.m.data()) {
        Ok(p) => p.bytes().len(),
        Err(_) => return cx.drop(f, Drop::InjectStale),
    };
    let mut f = f;
    f.m.truncate(len);
    let dst = destination(f.m.data());
    let iface = f.iface;
    match dst >> 24 {
        224..=239 => {
            let mac = net::MacAddr::ipv4_multicast(Ipv4Addr::from(dst));
            send::group(cx, f, iface, mac, IPV4);
        }
        _ if dst == EVERYBODY => send::group(cx, f, iface, net::MacAddr::BROADCAST, IPV4),
        _ => route(cx, f),
    }
}
