//! IPv6: input (RFC 8200 3; addresses, RFC 4291 2.4 to 2.8), lookup, and forwarding (RFC 8200 5, RFC 4443 3).
//!
//! Extension headers are passed on unread; so are hop-by-hop options, which RFC 8200 4.3 and RFC 9673 5 let a router leave
//! alone. Only what is for the router itself is followed to its upper layer, to tell Neighbour Discovery from the rest.
//! Left out on purpose: jumbograms (RFC 2675), routing headers (the kernel refuses them), multicast routing, and cutting
//! packets of up to 1280 bytes under labels (RFC 3032 3.5 step 4: it takes a link that IPv6 may not run on).

use super::error::{self, Cause};
use super::frame::{Cast, Frame, Frames};
use super::send::{self, Arrived, Hop, imposed, pick, send};
use super::{Cx, Output, Scene, punt};
use crate::burst::Burst;
use crate::drops::Drop;
use crate::interface::Interface;
use crate::punt::PuntReason;
use arrayvec::ArrayVec;
use fib::{Discard, Path, Target};
use net::eth::ethertype::IPV6;
use net::ip4::proto::ICMP6;
use net::ip6::{self, HEADER_LEN, Ip6, Ip6Mut, ext, is_link_local, is_multicast};
use net::{GroupId, IfaceId, MacAddr, VrfId, WireError, flow};
use std::net::{IpAddr, Ipv6Addr};

const ALL_NODES: u128 = 0xff02 << 112 | 1;
const ALL_ROUTERS: u128 = 0xff02 << 112 | 2;
/// ::1.
const LOOPBACK: u128 = 1;
/// ICMPv6 types of Neighbour Discovery: RFC 4861 4.
const ND: std::ops::RangeInclusive<u8> = 133..=137;

enum Verdict {
    /// To be looked up.
    Go,
    /// For the router, on the interface it came in by.
    Local,
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
        Verdict::Local => {
            let owner = f.iface;
            local(cx, f, owner);
        }
        Verdict::Drop(why) => cx.drop(f, why),
    }
    None
}

#[inline]
fn judge<O>(cx: &Cx<'_, O>, f: &mut Frame) -> Verdict {
    let p = match ip6::check(f.m.data()) {
        Ok(p) => p,
        Err(WireError::Version(_)) => return Verdict::Drop(Drop::Ip6BadVersion),
        Err(_) if f.m.len() < HEADER_LEN => return Verdict::Drop(Drop::Ip6Truncated),
        Err(_) => return Verdict::Drop(Drop::Ip6BadLength),
    };
    let (h, len) = (p.header(), p.bytes().len());
    if h.payload_len() == 0 && h.next_header() == ext::HOP_BY_HOP {
        return Verdict::Drop(Drop::Ip6BadLength); // a jumbogram
    }
    let Some(iface) = cx.env.ifaces.get(f.iface) else {
        return Verdict::Drop(Drop::InterfaceDown);
    };
    let discovery =
        h.next_header() == ICMP6 && p.payload().first().is_some_and(|kind| ND.contains(kind));
    let verdict = addresses(cx, f, iface, (h.src_bits(), h.dst_bits()), discovery);
    f.m.truncate(len);
    verdict
}

/// ::, ::1, groups, and IPv4 addresses in disguise are nobody's source (RFC 4291 2.5.2, 2.5.3, 2.5.5.2, 2.7); ours are not
/// another's.
#[inline]
pub(super) fn martian_source<O>(cx: &Cx<'_, O>, vrf: VrfId, src: u128) -> bool {
    !ip6::is_host_source(src) || is_mapped(src) || cx.env.ifaces.own6(vrf, src).is_some()
}

/// ::ffff:0:0/96.
#[inline]
fn is_mapped(addr: u128) -> bool {
    addr >> 32 == 0xffff
}

/// Source and destination.
#[inline]
fn addresses<O>(
    cx: &Cx<'_, O>,
    f: &Frame,
    iface: &Interface,
    (src, dst): (u128, u128),
    discovery: bool,
) -> Verdict {
    let ours = src == u128::from(iface.link_local) || cx.env.ifaces.own6(f.vrf, src).is_some();
    let allowed = if src == 0 || ours {
        // Duplicate address detection speaks from ::, and of addresses that two have (RFC 4862 5.4.3, 5.4.4).
        discovery && (ours || is_multicast(dst))
    } else {
        ip6::is_host_source(src) && !is_mapped(src)
    };
    if !allowed {
        return Verdict::Drop(Drop::MartianSource);
    }
    if is_multicast(dst) {
        return if listens(iface, dst) && iface.vrf == f.vrf {
            Verdict::Local
        } else {
            Verdict::Drop(Drop::Multicast)
        };
    }
    if f.cast == Cast::Group {
        return Verdict::Drop(Drop::LinkBroadcast);
    }
    if dst <= LOOPBACK || is_mapped(dst) {
        return Verdict::Drop(Drop::MartianDestination);
    }
    if is_link_local(dst) {
        // The router's on this link, or somebody else's, who is not reached through a router (RFC 4291 2.5.6).
        return if is_own(iface, dst) && iface.vrf == f.vrf {
            Verdict::Local
        } else {
            Verdict::Drop(Drop::LinkLocalScope)
        };
    }
    Verdict::Go
}

fn is_own(iface: &Interface, addr: u128) -> bool {
    u128::from(iface.link_local) == addr || iface.v6.iter().any(|&(a, _)| u128::from(a) == addr)
}

/// All nodes, all routers, and the solicited-node groups of the interface's addresses (RFC 4291 2.8).
fn listens(iface: &Interface, group: u128) -> bool {
    let solicited = |a: Ipv6Addr| ip6::solicited_node(a.into()) == group;
    matches!(group, ALL_NODES | ALL_ROUTERS)
        || solicited(iface.link_local)
        || iface.v6.iter().any(|&(a, _)| solicited(a))
}

/// For the router itself: Neighbour Discovery to the control thread, everything else to the kernel by the TAP of `owner`.
fn local<O: Output>(cx: &mut Cx<'_, O>, f: Frame, owner: IfaceId) {
    let Ok(up) = ip6::walk(f.m.data()) else {
        return cx.drop(f, Drop::Ip6BadExtension);
    };
    let kind = f.m.data().get(up.offset).copied().unwrap_or(0);
    let whole = up.fragment.is_none_or(|p| p.offset == 0);
    if up.proto != ICMP6 || !whole || !ND.contains(&kind) {
        return punt::to_control(cx, f, owner, PuntReason::Local, IPV6);
    }
    // RFC 4861 6.1, 7.1: it has not been forwarded. RFC 6980 5: nor fragmented.
    let hops = Ip6::new(f.m.data()).map_or(0, |h| h.hop_limit());
    if hops != u8::MAX || up.fragment.is_some() || !f.forwarded() {
        return cx.drop(f, Drop::BadNd);
    }
    let here = f.iface;
    punt::to_control(cx, f, here, PuntReason::Nd, IPV6);
}

/// Stage: looks all destinations up, then their groups and paths, and forwards.
pub(super) fn lookup<O: Output>(cx: &mut Cx<'_, O>, go: &mut Frames) {
    let env = cx.env;
    let dst: ArrayVec<u128, { Burst::CAPACITY }> =
        go.iter().map(|f| destination(f.m.data())).collect();
    let mut groups = [GroupId::NONE; Burst::CAPACITY];
    let groups = &mut groups[..dst.len()];
    match go.iter().fold(0, |any, f| any | f.vrf.0) {
        0 => env.fib.lookup6_burst(&dst, groups),
        _ => lookup_in_vrfs(&env, go, &dst, groups),
    }
    for &g in groups.iter() {
        env.fib.prefetch_group(g);
    }
    let paths: ArrayVec<Option<&Path>, { Burst::CAPACITY }> = go
        .iter()
        .zip(groups.iter())
        .map(|(f, &g)| pick(&env, g, || flow::hash_ip6(f.m.data())))
        .inspect(|path| send::prefetch(&env, *path))
        .collect();
    for (f, path) in go.drain(..).zip(paths) {
        forward(cx, f, path);
    }
}

/// The same where some frames are of a VRF: one by one.
#[inline(never)]
fn lookup_in_vrfs(env: &Scene<'_>, go: &Frames, dst: &[u128], groups: &mut [GroupId]) {
    for ((f, &dst), group) in go.iter().zip(dst).zip(groups) {
        *group = env.fib.lookup6_in(f.vrf, dst);
    }
}

#[inline]
fn destination(packet: &[u8]) -> u128 {
    Ip6::new(packet).map_or(0, |h| h.dst_bits())
}

/// Looks one packet up and forwards it: for those that did not come in a burst. A link-local destination is on the link of
/// the packet's interface, whatever the table says.
pub(super) fn route<O: Output>(cx: &mut Cx<'_, O>, f: Frame) {
    let env = cx.env;
    let dst = destination(f.m.data());
    if is_link_local(dst) {
        return on_link(cx, f, dst);
    }
    let path = pick(&env, env.fib.lookup6_in(f.vrf, dst), || {
        flow::hash_ip6(f.m.data())
    });
    forward(cx, f, path);
}

fn on_link<O: Output>(cx: &mut Cx<'_, O>, f: Frame, dst: u128) {
    let Some(iface) = cx.env.ifaces.get(f.iface) else {
        return cx.drop(f, Drop::NoAdjacency);
    };
    if f.m.len() > usize::from(iface.mtu) {
        return refuse(cx, f, Cause::TooBig(iface.mtu.into()), Drop::PacketTooBig);
    }
    let hop = Hop::Glean(iface, IpAddr::V6(dst.into()));
    let from = Arrived::unchanged(f.iface, f.vrf);
    send(cx, f.m, from, hop, &send::Labels::new(), IPV6);
}

/// Tells the sender, if that is allowed, and drops.
#[cold]
fn refuse<O: Output>(cx: &mut Cx<'_, O>, mut f: Frame, cause: Cause, why: Drop) {
    error::ip6(cx, &mut f, cause);
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
        Target::Local(owner) => local(cx, f, owner),
        Target::Discard(Discard::Blackhole) => cx.drop(f, Drop::Blackhole),
        Target::Discard(Discard::Unreachable) => {
            refuse(cx, f, Cause::Unreachable, Drop::Unreachable);
        }
        Target::Discard(Discard::Prohibit) => refuse(cx, f, Cause::Prohibited, Drop::Prohibited),
    }
}

/// To a connected network: a host that is not known yet, or the router itself, where the network is one of another VRF and has leaked.
#[cold]
fn gleaned<O: Output>(cx: &mut Cx<'_, O>, f: Frame, path: &Path, link: IfaceId) {
    let vrf = cx.env.ifaces.vrf_of(link).unwrap_or(f.vrf);
    let destination = Ip6::new(f.m.data()).map_or(0, |h| h.dst_bits());
    match cx.env.ifaces.own6(vrf, destination) {
        Some(owner) => local(cx, f, owner),
        None => out(cx, f, path),
    }
}

/// On its way: hop limit, MTU, labels, next hop.
#[inline]
fn out<O: Output>(cx: &mut Cx<'_, O>, mut f: Frame, path: &Path) {
    let Ok(h) = Ip6::new(f.m.data()) else {
        return cx.drop(f, Drop::Ip6Truncated);
    };
    let mut hops = h.hop_limit();
    let from = Arrived {
        iface: f.iface,
        vrf: f.vrf,
        ttl: hops,
    };
    if f.forwarded() {
        if is_link_local(h.src_bits()) {
            return refuse(cx, f, Cause::BeyondScope, Drop::LinkLocalScope);
        }
        hops = hops.min(f.ttl_cap);
        if hops <= 1 {
            return refuse(cx, f, Cause::Expired, Drop::TtlExpired);
        }
        hops -= 1;
    }
    let labels = imposed(path, hops, h.dscp(), || flow::hash_ip6(f.m.data()));
    let hop = match Hop::of(&cx.env, path, h.dst().into()) {
        Ok(hop) => hop,
        Err(why) => return cx.drop(f, why),
    };
    let room = hop.room(&labels);
    if f.m.len() > room {
        return refuse(cx, f, Cause::TooBig(room), Drop::PacketTooBig);
    }
    if f.forwarded()
        && let Ok(mut h) = Ip6Mut::new(f.m.data_mut())
    {
        h.set_hop_limit(hops);
    }
    send(cx, f.m, from, hop, &labels, IPV6);
}

/// A packet from the kernel: to a group by the interface whose TAP it came from, else by the table.
pub(super) fn from_kernel<O: Output>(cx: &mut Cx<'_, O>, mut f: Frame) {
    let len = match ip6::check(f.m.data()) {
        Ok(p) => p.bytes().len(),
        Err(_) => return cx.drop(f, Drop::InjectStale),
    };
    f.m.truncate(len);
    let dst = destination(f.m.data());
    if is_multicast(dst) {
        let iface = f.iface;
        return send::group(cx, f, iface, MacAddr::ipv6_multicast(dst.into()), IPV6);
    }
    route(cx, f);
}
