//! The express lane: what almost every frame is, done for the whole burst at once.
//!
//! A frame takes it when nothing about it is out of the ordinary: untagged, for this router's address, of a version and
//! length that are right, without options, its TTL above 1, its destination reached by a known neighbour, and not too long.
//! Such a frame is rewritten where it lies, and its way out noted. Everything else is left *untouched* to the stages proper,
//! which say what is wrong with it. So the lane decides nothing that they would decide otherwise, and a property test holds
//! it to that: with the lane and without, the same frames leave, and the same is counted.
//!
//! The passes, each a short loop over arrays, without a branch that traffic could make unpredictable:
//!
//! | pass | from | to |
//! |------|------|----|
//! | [`Heads::read`] | headers | which frames are whose, a bit for each; IPv4 is judged here altogether |
//! | `pick` of [`ip4`], [`ip6`], [`mpls`] | those of a kind | those to look up, and their keys |
//! | lookup | keys | groups (prefetch passes are in `lookup*_burst`) |
//! | [`ways`] | groups | ways; adjacencies are asked for |
//! | `leave` of the family | ways | TTL, labels, link header; [`Hops`] |
//!
//! Left out on purpose: tagged frames that come in, stacks that end here, and what goes to the control thread.

mod ip4;
mod ip6;
mod mpls;
mod rewrite;

use super::{Cx, Output, Scene, send};
use crate::burst::{BURST, Burst};
use crate::heads::Heads;
use crate::interface::Interface;
use crate::mbuf::Mbuf;
use crate::worker::meter::Stage;
use fib::{Adjacency, Path, Target};
use net::{AdjId, GroupId, Label};

/// The way out of each frame of a burst, by its position; `None`: the stages proper see to it.
pub(super) type Hops<'a> = [Option<&'a Adjacency>; BURST];

/// What the lane did with a burst.
pub(super) struct Express<'a> {
    /// Who leaves, and where.
    pub(super) hops: Hops<'a>,
    /// Frames that belong to the interface of the port's untagged frames, a bit for each position.
    pub(super) plain: u64,
    /// Their bytes.
    pub(super) bytes: u64,
}

/// Packets to look up: where they are in the burst, and by what.
struct Keys<K> {
    at: [u8; BURST],
    key: [K; BURST],
    len: usize,
}

impl<K: Copy + Default> Keys<K> {
    #[inline]
    fn new() -> Self {
        Self {
            at: [0; BURST],
            key: [K::default(); BURST],
            len: 0,
        }
    }

    /// Adds one if `really`, without a branch.
    #[inline]
    fn push(&mut self, at: usize, key: K, really: bool) {
        let slot = self.len % BURST;
        self.at[slot] = at as u8;
        self.key[slot] = key;
        self.len += usize::from(really);
    }

    #[inline]
    fn keys(&self) -> &[K] {
        &self.key[..self.len.min(BURST)]
    }

    #[inline]
    fn positions(&self) -> impl Iterator<Item = usize> + '_ {
        let at = &self.at[..self.len.min(BURST)];
        at.iter().map(|&i| usize::from(i) % BURST)
    }
}

/// The positions of the bits that are set, lowest first.
struct Bits(u64);

impl Iterator for Bits {
    type Item = usize;
    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let at = self.0.trailing_zeros() as usize;
        self.0 &= self.0 - 1;
        Some(at)
    }
}

/// Runs the burst, which came in by `iface`, through the lane.
#[inline]
pub(super) fn run<'a, O: Output>(
    cx: &mut Cx<'a, O>,
    iface: &Interface,
    burst: &mut Burst,
) -> Express<'a> {
    let env = cx.env;
    let env = &env;
    let frames: &mut [Mbuf] = burst;
    let heads = Heads::read(env.ifaces, iface, frames);
    cx.out.mark(Stage::Classify);
    let mut hops = [None; BURST];
    if heads.good4 != 0 {
        ip4::run(env, &heads, frames, &mut hops);
        cx.out.mark(Stage::Ip4);
    }
    if heads.ip6 != 0 {
        ip6::run(env, heads.ip6, frames, &mut hops);
        cx.out.mark(Stage::Ip6);
    }
    if heads.mpls != 0 && iface.mpls {
        mpls::run(env, heads.mpls, frames, &mut hops);
        cx.out.mark(Stage::Mpls);
    }
    Express {
        hops,
        plain: heads.plain(),
        bytes: heads.bytes,
    }
}

/// Where a packet goes: to that adjacency, if it is there, by that path, if it has labels to push.
type Way<'a> = (Option<AdjId>, Option<&'a Path>);

/// The way of each group; its adjacency is asked for. `hash` is of the flow with that number, where there is a choice.
#[inline]
fn ways<'a>(env: &Scene<'a>, groups: &[GroupId], hash: impl Fn(usize) -> u32) -> [Way<'a>; BURST] {
    let mut out = [(None, None); BURST];
    for (k, (out, &group)) in out.iter_mut().zip(groups).enumerate() {
        *out = match env.fib.express(group) {
            Some(id) => (Some(id), None),
            None => by_path(send::pick(env, group, || hash(k))),
        };
        if let Some(id) = out.0 {
            env.fib.prefetch_adj(id);
        }
    }
    out
}

#[inline]
fn by_path(path: Option<&Path>) -> Way<'_> {
    match path.map(|p| p.target) {
        Some(Target::Adjacency(id)) => (Some(id), path),
        _ => (None, None),
    }
}

/// The neighbour, if frames can go there at once.
#[inline]
fn neighbour<'a>(env: &Scene<'a>, id: Option<AdjId>) -> Option<&'a Adjacency> {
    env.fib.adj(id?).filter(|adj| adj.is_complete())
}

/// The labels that a path pushes.
#[inline]
fn pushed(path: Option<&Path>) -> &[Label] {
    path.map_or(&[], |p| p.push.as_slice())
}
