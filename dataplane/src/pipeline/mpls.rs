//! The label stage: RFC 3031 3, RFC 3032 2 to 3, RFC 3443 (TTL), RFC 5462 (TC), RFC 4182 (explicit null), RFC 6790 (entropy
//! label), RFC 7274 (special-purpose labels), RFC 4950 and 4884 (in errors).
//!
//! [`decide`] reads the stack and says what is to be done, and touches nothing; the rest does it. So an ICMP error can show
//! the packet as it was received. A stack is read to its bottom before anything else: one without is dropped, though only
//! its top label would have been needed.
//!
//! TTL: the router takes one off a packet, however many labels it takes off. In the uniform model the TTL of a popped label
//! goes on to what it uncovers, but never raises it: RFC 3443 just copies, and a loop through a pipe and a uniform pop
//! would then live for ever. A uniform pop with a TTL of 1 leaves the verdict to what lies beneath, which may be for the
//! router itself.
//!
//! Labels 0 and 2 are popped wherever they are; 1 (router alert) is passed over and put back (nothing here wants the
//! packet); 7 (entropy label indicator) is popped together with its label. 13, 14 and the others are dropped. Under a label that
//! leads into a VRF these alone may lie: labels are the whole router's, and a customer's packet is not to choose among them.
//!
//! A VPN's label for one CE says where the packet goes: it is judged like any of that VRF, and not looked up.
//!
//! An echo request of LSP ping whose way ends here, by its labels or by its TTL, goes to the control thread as it came.
//!
//! An entropy label is put on where an IP packet gets its labels ([`super::send::imposed`]), never on a packet that comes with some.
//!
//! Left out on purpose: multicast (RFC 5332), pseudowires as such (what lies under them is passed on).

use super::error::{self, Along, Cause, Offender};
use super::frame::{Frame, Frames};
use super::send::{Arrived, Hop, Labels, pick, send};
use super::{Cx, Output, Scene, fragment, punt};
use crate::drops::Drop;
use fib::{Discard, LabelOp, Path, Target, TtlMode};
use net::eth::ethertype::{IPV4, IPV6, MPLS};
use net::ip4::{self, Ip4, Ip4Mut};
use net::ip6::{self, Ip6, Ip6Mut};
use net::mpls::{Stack, Under, under, walk};
use net::{Label, Lse, VrfId, WireError, flow, udp4};
use std::net::{IpAddr, Ipv4Addr};

/// What is to be done with a labelled packet.
enum Verdict<'a> {
    Drop(Drop),
    /// TTL; where the packet would have gone, if that was along a path; whose packet it is.
    Expired(Option<Next<'a>>, VrfId),
    /// All labels are popped: an IP packet for the router to look at.
    Ip(Exposed<'a>),
    Forward(Next<'a>),
}

/// What a stack covered.
struct Exposed<'a> {
    what: Under,
    ttl_cap: u8,
    vrf: VrfId,
    /// Where it goes, if a label said it.
    path: Option<&'a Path>,
}

/// What lies under a label that ends here, as its entry has it.
#[derive(Clone, Copy)]
struct Inside<'a> {
    /// Whose it is.
    vrf: VrfId,
    /// No other label is ours.
    last: bool,
    path: Option<&'a Path>,
}

/// A label operation.
#[derive(Clone)]
struct Next<'a> {
    path: &'a Path,
    /// Entries to take off.
    pop: usize,
    /// Of the label taken off, with the TTL that counts.
    received: Lse,
    /// What becomes of the TTL when the label goes and no other takes its place.
    mode: TtlMode,
    /// A router alert label that was on top.
    alert: Option<Lse>,
}

/// Stage: does to each packet what its label asks for. What lay under a stack that ends here joins `v4` or `v6`.
pub(super) fn run<O: Output>(
    cx: &mut Cx<'_, O>,
    frames: &mut Frames,
    v4: &mut Frames,
    v6: &mut Frames,
) {
    let env = cx.env;
    for f in frames.iter() {
        if let Ok(top) = net::mpls::top(f.m.data()) {
            env.fib.prefetch_label(top.label());
        }
    }
    for mut f in frames.drain(..) {
        let stack = match walk(f.m.data()) {
            Ok(stack) => stack,
            Err(e) => {
                cx.drop(f, malformed(e));
                continue;
            }
        };
        match decide(&env, cx.mpls_ttl, &stack, &f) {
            // What is asked is why it does not go on from here (RFC 8029 4.4): the labels say it, and those who set them.
            Verdict::Drop(why) if is_why(why) && asks(&f, &stack) => punt::echo(cx, f, true),
            Verdict::Expired(..) if asks(&f, &stack) => punt::echo(cx, f, true),
            Verdict::Drop(why) => cx.drop(f, why),
            Verdict::Expired(next, vrf) => {
                f.vrf = vrf;
                expired(cx, f, &stack, next);
            }
            Verdict::Forward(next) => forward(cx, f, &stack, &next),
            Verdict::Ip(exposed) => {
                let _ = f.m.trim_front(stack.len());
                f.popped = stack.len() as u8; // at most 16 entries
                f.vrf = exposed.vrf;
                f.ttl_cap = exposed.ttl_cap;
                match (exposed.what, exposed.path) {
                    (Under::Ip4, None) => v4.push(f),
                    (Under::Ip6, None) => v6.push(f),
                    (Under::Ip4, Some(path)) => super::ip4::along(cx, f, path),
                    (Under::Ip6, Some(path)) => super::ip6::along(cx, f, path),
                    (Under::Other, _) => cx.drop(f, Drop::MplsUnknownPayload),
                }
            }
        }
    }
}

/// Is it the label that says so, or the tables of who has it?
#[cold]
fn is_why(why: Drop) -> bool {
    use Drop::{Blackhole, Prohibited, UnknownLabel, Unreachable, VrfLabelNotLast};
    matches!(
        why,
        UnknownLabel | VrfLabelNotLast | Blackhole | Unreachable | Prohibited
    )
}

/// Is there an echo request of LSP ping under the stack?
#[cold]
fn asks(f: &Frame, stack: &Stack) -> bool {
    let packet = f.m.data().get(stack.len()..);
    packet.is_some_and(udp4::is_echo_request)
}

#[cold]
fn malformed(e: WireError) -> Drop {
    match e {
        WireError::TooDeep(_) => Drop::MplsStackTooDeep,
        WireError::Truncated { got, .. } if got < Lse::LEN => Drop::MplsTruncated,
        _ => Drop::MplsNoBottom,
    }
}

/// What one entry asks for.
enum Step<'a> {
    Drop(Drop),
    /// Take this many entries off and go on with what they covered; the explicit nulls say what that is, other labels whose.
    Pop(usize, TtlMode, Option<Under>, Option<Inside<'a>>),
    /// Go on with the next entry, but keep this one.
    Alert,
    Path(&'a Path, TtlMode),
}

/// Reads the stack from its top until something is to be done. Each round moves on by an entry at least, so a stack of
/// labels that all end here costs no more than its depth.
fn decide<'a>(env: &Scene<'a>, global: TtlMode, stack: &Stack, f: &Frame) -> Verdict<'a> {
    let (entries, packet) = (&stack.entries, f.m.data());
    let (mut at, mut cap, mut alert, mut what) = (0, u8::MAX, None, None);
    let mut inside = Inside {
        vrf: f.vrf,
        last: false,
        path: None,
    };
    while let Some(&lse) = entries.get(at) {
        let lse = lse.with_ttl(lse.ttl().min(cap));
        if inside.last && !lse.label().is_reserved() {
            return Verdict::Drop(Drop::VrfLabelNotLast);
        }
        match step(env, global, lse, packet) {
            Step::Drop(why) => return Verdict::Drop(why),
            Step::Alert => {
                (cap, alert) = (lse.ttl(), Some(lse));
                at += 1;
            }
            Step::Pop(n, mode, kind, beneath) => {
                let left = lse.ttl();
                inside = beneath.unwrap_or(inside);
                if at + n > entries.len() {
                    return Verdict::Drop(Drop::MplsReservedLabel); // an indicator of nothing
                }
                if left == 0 || left == 1 && mode == TtlMode::Pipe {
                    return Verdict::Expired(None, inside.vrf);
                }
                cap = if mode == TtlMode::Uniform {
                    left
                } else {
                    u8::MAX
                };
                (at, what) = (at + n, kind);
            }
            Step::Path(path, mode) => {
                let next = Next {
                    path,
                    pop: at + 1,
                    received: lse,
                    mode,
                    alert,
                };
                let alive = lse.ttl() > 1;
                return if alive {
                    Verdict::Forward(next)
                } else {
                    Verdict::Expired(Some(next), inside.vrf)
                };
            }
        }
    }
    let payload = packet.get(stack.len()..).unwrap_or(&[]);
    if payload.is_empty() {
        return Verdict::Drop(Drop::MplsTruncated);
    }
    Verdict::Ip(Exposed {
        what: what.unwrap_or(under(payload)),
        ttl_cap: cap,
        vrf: inside.vrf,
        path: inside.path,
    })
}

fn step<'a>(env: &Scene<'a>, global: TtlMode, lse: Lse, packet: &[u8]) -> Step<'a> {
    match lse.label() {
        Label::IPV4_EXPLICIT_NULL => Step::Pop(1, global, Some(Under::Ip4), None),
        Label::IPV6_EXPLICIT_NULL => Step::Pop(1, global, Some(Under::Ip6), None),
        Label::ENTROPY_INDICATOR if !lse.bottom() => Step::Pop(2, global, None, None),
        Label::ROUTER_ALERT if !lse.bottom() => Step::Alert,
        label if label.is_reserved() => Step::Drop(Drop::MplsReservedLabel),
        label => {
            let entry = env.fib.label(label);
            match entry.op() {
                LabelOp::Unknown => Step::Drop(Drop::UnknownLabel),
                LabelOp::PopLookup => {
                    let inside = Inside {
                        vrf: entry.vrf(),
                        last: entry.is_last(),
                        path: None,
                    };
                    Step::Pop(1, entry.ttl(), None, Some(inside))
                }
                LabelOp::Forward => match pick(env, entry.group(), || flow::hash_mpls(packet)) {
                    None => Step::Drop(Drop::UnknownLabel),
                    Some(path) => match path.target {
                        Target::Local(i) => {
                            let inside = env.ifaces.vrf_of(i).map(|vrf| Inside {
                                vrf,
                                last: vrf != VrfId::GLOBAL,
                                path: None,
                            });
                            Step::Pop(1, entry.ttl(), None, inside)
                        }
                        Target::Discard(kind) => Step::Drop(discarded(kind)),
                        Target::Adjacency(_) | Target::Glean(_) => Step::Path(path, entry.ttl()),
                    },
                },
                LabelOp::PopForward => match pick(env, entry.group(), || flow::hash_mpls(packet)) {
                    None => Step::Drop(Drop::UnknownLabel),
                    Some(path) => match inside_of(env, path) {
                        Ok(inside) => Step::Pop(1, entry.ttl(), None, Some(inside)),
                        Err(why) => Step::Drop(why),
                    },
                },
            }
        }
    }
}

/// Whose a packet is that goes along this path when its last label is off: of the VRF whose interface it leaves by.
fn inside_of<'a>(env: &Scene<'a>, path: &'a Path) -> Result<Inside<'a>, Drop> {
    let iface = match path.target {
        Target::Adjacency(id) => env.fib.adj(id).map(|adj| adj.iface),
        Target::Glean(i) | Target::Local(i) => Some(i),
        Target::Discard(kind) => return Err(discarded(kind)),
    };
    let vrf = iface.and_then(|i| env.ifaces.vrf_of(i));
    Ok(Inside {
        vrf: vrf.ok_or(Drop::NoAdjacency)?,
        last: true,
        path: Some(path),
    })
}

/// A labelled packet is not answered: the route that says so is the label's, not its sender's.
fn discarded(kind: Discard) -> Drop {
    match kind {
        Discard::Blackhole => Drop::Blackhole,
        Discard::Unreachable => Drop::Unreachable,
        Discard::Prohibit => Drop::Prohibited,
    }
}

/// The stack of the packet as it leaves.
fn labels_out(next: &Next<'_>, stack: &Stack) -> Labels {
    let (lse, path) = (next.received, next.path);
    let ttl = lse.ttl().saturating_sub(1);
    let rest = stack.entries.get(next.pop..).unwrap_or(&[]);
    let mut out = Labels::new();
    let stays = !path.push.is_empty() || !rest.is_empty();
    if let Some(alert) = next.alert.filter(|_| stays) {
        out.push(alert.with_ttl(ttl));
    }
    let last = path.push.len().wrapping_sub(1);
    for (i, &label) in path.push.iter().enumerate() {
        // The innermost takes the place of the one received; those around it are a tunnel, new here.
        let new = i != last && path.ttl == TtlMode::Pipe;
        let bottom = i == last && rest.is_empty();
        out.push(Lse::new(
            label,
            lse.tc(),
            bottom,
            if new { u8::MAX } else { ttl },
        ));
    }
    for (i, &under) in rest.iter().enumerate() {
        let bared = i == 0 && path.push.is_empty() && next.mode == TtlMode::Uniform;
        out.push(if bared {
            under.with_ttl(under.ttl().min(ttl))
        } else {
            under
        });
    }
    out
}

/// The next hop; on a connected network it is the host itself, which only a bare IP packet names.
fn hop<'a>(env: &Scene<'a>, next: &Next<'_>, labels: &Labels, ip: &[u8]) -> Result<Hop<'a>, Drop> {
    let nobody = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let dst = match (under(ip), Ip4::new(ip), Ip6::new(ip)) {
        (Under::Ip4, Ok(h), _) => h.dst().into(),
        (Under::Ip6, _, Ok(h)) => h.dst().into(),
        _ => nobody,
    };
    match Hop::of(env, next.path, dst)? {
        Hop::Glean(..) if !labels.is_empty() || dst == nobody => Err(Drop::NoAdjacency),
        hop => Ok(hop),
    }
}

/// Answers with the stack as received, by the table or along the path (RFC 3032 2.3).
#[cold]
fn expired<O: Output>(cx: &mut Cx<'_, O>, f: Frame, stack: &Stack, next: Option<Next<'_>>) {
    complain(cx, &f, stack, Cause::Expired, next.as_ref());
    cx.drop(f, Drop::MplsTtlExpired);
}

fn complain<O: Output>(
    cx: &mut Cx<'_, O>,
    f: &Frame,
    stack: &Stack,
    cause: Cause,
    next: Option<&Next<'_>>,
) {
    let Some((entries, ip)) = f.m.data().split_at_checked(stack.len()) else {
        return;
    };
    let along = next.and_then(|next| {
        let mut labels = labels_out(next, stack);
        let hop = hop(&cx.env, next, &labels, ip).ok()?;
        labels.iter_mut().for_each(|l| *l = l.with_ttl(u8::MAX));
        Some(Along { hop, labels })
    });
    let offender = Offender {
        stack: entries,
        ip,
        iface: f.iface,
        vrf: f.vrf,
        origin: f.origin,
    };
    error::under_labels(cx, offender, cause, along);
}

/// Swap, push on top, or pop before the last router.
#[inline]
fn forward<O: Output>(cx: &mut Cx<'_, O>, mut f: Frame, stack: &Stack, next: &Next<'_>) {
    let labels = labels_out(next, stack);
    let env = cx.env;
    let ip = f.m.data().get(stack.len()..).unwrap_or(&[]);
    let hop = match hop(&env, next, &labels, ip) {
        Ok(hop) => hop,
        Err(why) => return cx.drop(f, why),
    };
    // Without labels, what is left has to be something that an EtherType can name.
    let (len, ethertype) = match bare(&labels, ip) {
        Ok(it) => it,
        Err(why) => return cx.drop(f, why),
    };
    let room = hop.room(&labels);
    if len > room {
        return too_big(cx, f, stack, next, hop, &labels);
    }
    let _ = f.m.trim_front(stack.len());
    f.m.truncate(len);
    let mut from = Arrived::unchanged(f.iface, f.vrf);
    if labels.is_empty() {
        from.ttl = ttl(f.m.data());
        uncover(&mut f, next);
    }
    send(cx, f.m, from, hop, &labels, ethertype);
}

/// Length and EtherType of what leaves; an IP packet that leaves bare loses the link's padding, and must be whole.
#[inline]
fn bare(labels: &Labels, payload: &[u8]) -> Result<(usize, u16), Drop> {
    if payload.is_empty() {
        return Err(Drop::MplsTruncated);
    }
    if !labels.is_empty() {
        return Ok((payload.len(), MPLS));
    }
    match under(payload) {
        Under::Ip4 => match ip4::check_with(payload, false) {
            Ok(p) => Ok((p.bytes().len(), IPV4)),
            Err(_) => Err(Drop::Ip4BadLength),
        },
        Under::Ip6 => match ip6::check(payload) {
            Ok(p) => Ok((p.bytes().len(), IPV6)),
            Err(_) => Err(Drop::Ip6BadLength),
        },
        Under::Other => Err(Drop::MplsUnknownPayload),
    }
}

/// The TTL or hop limit of an IP packet; 0 of another.
fn ttl(packet: &[u8]) -> u8 {
    match (under(packet), Ip4::new(packet), Ip6::new(packet)) {
        (Under::Ip4, Ok(h), _) => h.ttl(),
        (Under::Ip6, _, Ok(h)) => h.hop_limit(),
        _ => 0,
    }
}

/// Gives the packet that the last label uncovered its TTL (RFC 3443 5.4): the label's in the uniform model, if lower.
fn uncover(f: &mut Frame, next: &Next<'_>) {
    if next.mode == TtlMode::Pipe {
        return;
    }
    let ttl = next.received.ttl().saturating_sub(1);
    match under(f.m.data()) {
        Under::Ip4 => {
            if let Ok(mut h) = Ip4Mut::new(f.m.data_mut())
                && h.get().ttl() > ttl
            {
                h.set_ttl(ttl);
            }
        }
        Under::Ip6 => {
            if let Ok(mut h) = Ip6Mut::new(f.m.data_mut())
                && h.get().hop_limit() > ttl
            {
                h.set_hop_limit(ttl);
            }
        }
        Under::Other => {}
    }
}

/// RFC 3032 3.4 and 3.5: an IPv4 packet is cut beneath its labels unless DF forbids; otherwise the sender is told how long
/// a packet may be.
#[cold]
fn too_big<O: Output>(
    cx: &mut Cx<'_, O>,
    mut f: Frame,
    stack: &Stack,
    next: &Next<'_>,
    hop: Hop<'_>,
    labels: &Labels,
) {
    let room = hop.room(labels);
    let ip = f.m.data().get(stack.len()..).unwrap_or(&[]);
    let why = match under(ip) {
        Under::Ip4 if Ip4::new(ip).is_ok_and(|h| !h.dont_fragment()) => {
            let _ = f.m.trim_front(stack.len());
            if labels.is_empty() {
                uncover(&mut f, next);
            }
            return fragment::send(cx, f, room, hop, labels);
        }
        Under::Ip4 => Drop::FragNeeded,
        Under::Ip6 => Drop::PacketTooBig,
        Under::Other => Drop::MplsTooBig,
    };
    complain(cx, &f, stack, Cause::TooBig(room), Some(next));
    cx.drop(f, why);
}
