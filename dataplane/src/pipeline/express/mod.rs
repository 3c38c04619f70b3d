//! The express lane: what almost every frame is, done for the whole burst at once.
//!
//! A frame takes it when nothing about it is out of the ordinary: untagged, for this router's address, of a version and
//! length that are right, without options, its TTL above 1, its destination reached by a known neighbour, and not too long.
//! Such a frame is rewritten where it lies, and sent. Everything else is left *untouched* to the stages proper, which say
//! what is wrong with it. So the lane decides nothing that they would decide otherwise, and a property test holds it to
//! that: with the lane and without, the same frames leave, and the same is counted.
//!
//! The passes, each a short loop over arrays, without a branch that traffic could make unpredictable:
//!
//! | pass | from | to |
//! |------|------|----|
//! | [`Heads::read`] | headers | which frames are whose and right, a bit for each; what is to be written |
//! | lookup | destinations, labels | groups |
//! | `rewrite` of [`ip4`], [`ip6`], [`mpls`] | groups | adjacencies; TTL, labels, link header; who leaves, and where |
//! | [`Leaving::send`] | who leaves | the TX buffers, all frames for an interface in one move |
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
use crate::select::{self, Bits};
use crate::worker::meter::Stage;
use fib::{Adjacency, Express, Path, Target};
use net::{AdjId, GroupId, IfaceId, PortId};

/// What the lane did with a burst.
pub(super) struct Done {
    /// Frames that left, a bit for each position. Those that remain have closed up.
    pub(super) left: u64,
    /// Frames that belong to the interface of the port's untagged frames, likewise.
    pub(super) plain: u64,
    /// Their bytes.
    pub(super) bytes: u64,
}

/// By position: the group that a frame goes to.
type Groups = [GroupId; BURST];

/// What the passes hand on. Made once: to write zeros first would take as long as a pass does.
#[derive(Debug)]
#[repr(C, align(128))]
pub(super) struct Lane {
    heads: Heads,
    groups: Groups,
    leaving: Leaving,
}

impl Default for Lane {
    fn default() -> Self {
        Self {
            heads: Heads::default(),
            groups: [GroupId::NONE; BURST],
            leaving: Leaving {
                to: [0; BURST],
                lens: [0; BURST],
            },
        }
    }
}

impl Lane {
    /// Asks of each frame of `which` whether it leaves: `way` is given its position, itself, its group, and of `heads` its
    /// total and its word. Returns those that do not.
    #[inline(always)]
    fn each<'a>(
        &mut self,
        which: u64,
        frames: &mut [Mbuf],
        mut way: impl FnMut(usize, &mut Mbuf, GroupId, usize, u32) -> Option<Sent<'a>>,
    ) -> u64 {
        let (heads, leaving) = (&self.heads, &mut self.leaving);
        let (mut go, mut rest) = (which, 0);
        for (i, m) in frames.iter_mut().enumerate().take(BURST) {
            let this = go & 1;
            go >>= 1;
            if this == 0 {
                continue;
            }
            let (total, word) = (heads.total[i] as usize, heads.word[i]);
            match way(i, m, self.groups[i], total, word) {
                Some((adj, len)) => {
                    adj.mark_used();
                    leaving.to[i] = u32::from(adj.port.0) << 16 | u32::from(adj.iface.0);
                    leaving.lens[i] = len as u32;
                }
                None => rest |= 1 << i,
            }
        }
        rest
    }
}

/// Where frames leave to.
#[derive(Debug)]
struct Leaving {
    /// By position: the port, and the interface to count on.
    to: [u32; BURST],
    /// By position: bytes of the frame.
    lens: [u32; BURST],
}

/// Where a frame leaves to, and how long it is then.
type Sent<'a> = (&'a Adjacency, usize);

impl Leaving {
    /// Sends those of `which`, all for one interface together.
    #[inline]
    fn send<O: Output>(&self, which: u64, out: &mut O, burst: &mut Burst) {
        let mut frames = burst.open();
        let mut left = which;
        while left != 0 {
            let to = self.to[left.trailing_zeros() as usize % BURST];
            let same = select::equal(&self.to, to) & left;
            left &= !same;
            let way = (PortId((to >> 16) as u16), IfaceId(to as u16));
            out.tx_some(way, &mut frames, same, &self.lens);
        }
    }
}

/// Runs the burst, which came in by `iface`, through the lane.
#[inline]
pub(super) fn run<O: Output>(
    cx: &mut Cx<'_, O>,
    lane: &mut Lane,
    iface: &Interface,
    burst: &mut Burst,
) -> Done {
    let env = &cx.env;
    let heads = &mut lane.heads;
    heads.read(env.ifaces, iface, burst);
    cx.out.mark(Stage::Headers);

    let n = burst.len();
    let groups = &mut lane.groups;
    if heads.good4 != 0 {
        let look = |keys: &[u32], found: &mut [GroupId]| env.fib.lookup4_burst(keys, found);
        lookup((heads.good4, n), &heads.dst, groups, look);
    }
    if heads.good6 != 0 {
        let look = |keys: &[u128], found: &mut [GroupId]| env.fib.lookup6_burst(keys, found);
        lookup((heads.good6, n), &heads.dst6, groups, look);
    }
    let labelled = if iface.mpls { heads.labelled } else { 0 };
    let pipe = match labelled {
        0 => 0,
        _ => env.fib.labels_burst(&heads.word, labelled, groups),
    };
    cx.out.mark(Stage::Lookup);

    let (good4, good6) = (heads.good4, heads.good6);
    let done = Done {
        left: 0,
        plain: heads.plain(),
        bytes: heads.bytes,
    };
    let mut stay = 0;
    if good4 != 0 {
        stay |= ip4::rewrite(env, lane, good4, burst);
    }
    if good6 != 0 {
        stay |= ip6::rewrite(env, lane, good6, burst);
    }
    if labelled != 0 {
        stay |= mpls::rewrite(env, lane, (labelled, pipe), burst);
    }
    cx.out.mark(Stage::Rewrite);
    let left = (good4 | good6 | labelled) & !stay;
    lane.leaving.send(left, cx.out, burst);
    cx.out.mark(Stage::Enqueue);
    Done { left, ..done }
}

/// Looks up the frames of `which`, of `n`; their keys and groups are by position.
#[inline]
fn lookup<K: Copy + Default>(
    (which, n): (u64, usize),
    keys: &[K; BURST],
    groups: &mut Groups,
    look: impl Fn(&[K], &mut [GroupId]),
) {
    if which == select::lowest(n) {
        return look(&keys[..n], &mut groups[..n]);
    }
    let (mut some, mut found, mut len) = ([K::default(); BURST], [GroupId::NONE; BURST], 0);
    for i in Bits(which) {
        some[len % BURST] = keys[i];
        len += 1;
    }
    look(&some[..len], &mut found[..len]);
    for (i, found) in Bits(which).zip(found) {
        groups[i] = found;
    }
}

/// What a way pushes.
enum Push<'a> {
    /// Nothing.
    Nothing,
    /// A label.
    One(Express),
    /// What the path says.
    Path(&'a Path),
}

/// The way of a group, whatever it is: a neighbour that frames can go to at once, and what is pushed. `hash` is of the flow, where there is
/// a choice.
#[inline]
fn way<'a>(
    env: &Scene<'a>,
    group: GroupId,
    hash: impl FnOnce() -> u32,
) -> Option<(&'a Adjacency, Push<'a>)> {
    let (id, push) = match env.fib.express(group) {
        Some(e) if e.is_plain() => (e.adj(), Push::Nothing),
        Some(e) => (e.adj(), Push::One(e)),
        None => by_path(send::pick(env, group, hash)?)?,
    };
    let adj = env.fib.adj(id)?;
    adj.is_complete().then_some((adj, push))
}

#[inline]
fn by_path(path: &Path) -> Option<(AdjId, Push<'_>)> {
    let Target::Adjacency(id) = path.target else {
        return None;
    };
    let plain = path.push.is_empty();
    let push = if plain {
        Push::Nothing
    } else {
        Push::Path(path)
    };
    Some((id, push))
}
