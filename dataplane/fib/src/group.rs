//! Next-hop groups: the paths that a prefix or a label shares its traffic over.
//!
//! To read: RFC 2992 (equal-cost paths by hash), RFC 3443 (TTL), RFC 5462 (TC), RFC 6790 (entropy labels). A flow's hash picks a bucket, a bucket
//! names a path; weights are shares of the buckets. A group that takes another's place keeps its buckets as far as the
//! new shares allow ("resilient hashing"): a lost path moves its own flows only. Who gets which bucket is worked out in
//! [`spread`](crate::spread).
//!
//! # Layout
//! A group is one cache line, with the path in it when there is but one. Else it points to a power of two of [`Line`]s,
//! each with a path and sixteen buckets, and buckets are given to the path of their own line where that can be: then
//! bucket and path are one line together. Left out: giving lines back when a group shrinks.

use net::{AdjId, IfaceId, LabelStack};

use crate::FibError;
use crate::spread::{self, NOBODY};

/// Most paths of a group.
pub const MAX_PATHS: usize = 256;

/// Buckets in a line.
pub(crate) const PER_LINE: usize = 16;

/// Lines of a group with more than one path, at least.
const MIN_LINES: usize = 4;

/// As many lines are taken at most so that the lightest path gets a whole bucket.
const FINE_LINES: usize = 64;

/// Where a path leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target {
    /// To a neighbour.
    Adjacency(AdjId),
    /// To whoever has the destination address on this interface's link: to be resolved first.
    Glean(IfaceId),
    /// To the router itself, at an address of this interface.
    Local(IfaceId),
    /// Nowhere.
    Discard(Discard),
}

/// What the sender of a discarded packet is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Discard {
    /// Nothing.
    Blackhole,
    /// Host unreachable (ICMP 3/1), no route to destination (ICMPv6 1/0).
    Unreachable,
    /// Communication administratively prohibited (ICMP 3/13, ICMPv6 1/1).
    Prohibit,
}

/// The TTL models of RFC 3443.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TtlMode {
    /// One TTL across the LSP: copied at push and at pop.
    #[default]
    Uniform,
    /// The LSP looks like one hop: pushed labels start at 255, and what is under the label keeps its TTL.
    Pipe,
}

/// The TC of labels pushed before an IP packet; a packet that comes labelled keeps its TC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TcMode {
    /// The three high bits of the DSCP (RFC 5462, RFC 2474 4.2.2).
    #[default]
    Dscp,
    /// Zero.
    Zero,
}

/// One way out: labels to push, and where to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Path {
    /// Where it leads.
    pub target: Target,
    /// Labels to push, outermost first.
    pub push: LabelStack,
    /// How their TTL is set.
    pub ttl: TtlMode,
    /// How their TC is set.
    pub tc: TcMode,
    /// Before an IP packet an entropy label goes below so many of them, with its indicator (RFC 6790 4.2); 0: none does.
    pub entropy: u8,
}

const _: () = assert!(size_of::<Path>() == 48); // leaves room in its line: see `Group` and `Line`

impl Path {
    /// Labels that it puts on an IP packet, an entropy label and its indicator among them.
    #[inline]
    pub fn imposes(&self) -> usize {
        self.push.len() + if self.entropy == 0 { 0 } else { 2 }
    }

    /// A path without labels.
    pub fn to(target: Target) -> Self {
        Self {
            target,
            push: LabelStack::new(),
            ttl: TtlMode::default(),
            tc: TcMode::default(),
            entropy: 0,
        }
    }
}

/// A path and sixteen of the buckets, each the number of the line whose path it names.
#[derive(Debug, Clone, PartialEq, Eq)]
#[repr(C, align(64))]
struct Line {
    path: Path,
    buckets: [u8; PER_LINE],
}

/// Paths and their buckets. Immutable: readers see a group whole, and the writer replaces it whole.
#[derive(Debug, Clone, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Group {
    /// Of a group with one path, which then needs no other cache line.
    first: Path,
    /// None when `first` is the only path, else a power of two. A line that no bucket names keeps the path that it had,
    /// so that the path gets its buckets again when it comes back.
    lines: Box<[Line]>,
}

const _: () = assert!(size_of::<Line>() == 64 && size_of::<Group>() == 64); // one cache line each

impl Group {
    /// A group that shares its traffic in proportion to the weights, to a bucket. Equal paths count as one, with the sum
    /// of their weights.
    ///
    /// # Errors
    /// No path, more than [`MAX_PATHS`], or a weight of 0.
    pub fn new(paths: &[(Path, u32)]) -> Result<Self, FibError> {
        check(paths)?;
        Ok(Self::of(paths.iter().map(|(p, w)| (p, *w))))
    }

    /// The group that takes this one's place with these paths, as few buckets changed as the shares allow. A path that
    /// is there before and after keeps its buckets up to its new share; how many change is said at
    /// [`spread::assign`](crate::spread).
    ///
    /// # Errors
    /// As [`Group::new`].
    pub fn next(&self, paths: &[(Path, u32)]) -> Result<Self, FibError> {
        check(paths)?;
        Ok(self.follow(paths.iter().map(|(p, w)| (p, *w))))
    }

    /// [`Group::new`] of paths that were checked.
    pub(crate) fn of<'p>(paths: impl Iterator<Item = (&'p Path, u32)>) -> Self {
        Self::spread(&[], paths)
    }

    /// [`Group::next`] of paths that were checked.
    pub(crate) fn follow<'p>(&self, paths: impl Iterator<Item = (&'p Path, u32)>) -> Self {
        Self::spread(&self.lines, paths)
    }

    fn spread<'p>(old: &[Line], paths: impl Iterator<Item = (&'p Path, u32)>) -> Self {
        let mut live: Vec<(&Path, u64)> = Vec::new();
        for (path, weight) in paths {
            match live.iter_mut().find(|(p, _)| *p == path) {
                Some((_, sum)) => *sum += u64::from(weight),
                None => live.push((path, u64::from(weight))),
            }
        }
        let first = live[0].0.clone();
        if live.len() == 1 {
            let lines = Box::new([]);
            return Self { first, lines };
        }
        let lines = line_count(&live, old.len());
        let places = places(&live, old, lines);
        // By line, the weight of the path there; 0 where there is none.
        let mut weights = vec![0; lines];
        let mut out: Vec<Line> = (0..lines)
            .map(|i| Line {
                path: old.get(i).map_or(&first, |l| &l.path).clone(),
                buckets: [0; PER_LINE],
            })
            .collect();
        for (&place, &(path, weight)) in places.iter().zip(&live) {
            weights[place] = weight;
            out[place].path = path.clone();
        }
        // Twice the lines, twice the buckets: each flow finds what it found before.
        let before = |b: usize| match old.len() {
            0 => NOBODY,
            n => {
                let at = old[b / PER_LINE % n].buckets[b % PER_LINE];
                let kept = old[usize::from(at)].path == out[usize::from(at)].path;
                if kept { at.into() } else { NOBODY }
            }
        };
        let before: Vec<u16> = (0..lines * PER_LINE).map(before).collect();
        let after = spread::assign(&before, &weights);
        for (line, buckets) in out.iter_mut().zip(after.chunks_exact(PER_LINE)) {
            for (to, from) in line.buckets.iter_mut().zip(buckets) {
                *to = *from as u8; // below 256, as there are at most so many lines
            }
        }
        Self {
            first,
            lines: out.into_boxed_slice(),
        }
    }

    /// The path of the flow with this hash.
    #[inline]
    pub fn select(&self, hash: u32) -> &Path {
        if self.lines.is_empty() {
            return &self.first;
        }
        let bucket = hash as usize & (self.lines.len() * PER_LINE - 1);
        let line = self.lines[bucket / PER_LINE].buckets[bucket % PER_LINE];
        &self.lines[usize::from(line)].path
    }

    /// The paths that flows take, and how many of the [`Group::buckets`] each has: the weights as they are in force.
    pub fn shares(&self) -> Vec<(&Path, usize)> {
        if self.is_single() {
            return vec![(&self.first, 1)];
        }
        let mut counts = vec![0; self.lines.len()];
        let named = self.lines.iter().flat_map(|l| l.buckets);
        named.for_each(|line| counts[usize::from(line)] += 1);
        let all = self.lines.iter().map(|l| &l.path).zip(counts);
        all.filter(|(_, n)| *n > 0).collect()
    }

    /// The paths that flows take.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.shares().into_iter().map(|(path, _)| path)
    }

    /// How many buckets there are: 1, or a power of two.
    pub fn buckets(&self) -> usize {
        (self.lines.len() * PER_LINE).max(1)
    }

    /// Whether there is one path, so that no hash is needed.
    #[inline]
    pub fn is_single(&self) -> bool {
        self.lines.is_empty()
    }

    /// Its path, when it has but one.
    pub(crate) fn only(&self) -> Option<&Path> {
        self.is_single().then_some(&self.first)
    }

    /// Bytes of it, those that it points to included.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.lines)
    }
}

/// Whether these can be the paths of a group.
pub(crate) fn check(paths: &[(Path, u32)]) -> Result<(), FibError> {
    if paths.is_empty() {
        return Err(FibError::BadPaths("it has no path"));
    }
    if paths.len() > MAX_PATHS {
        return Err(FibError::BadPaths("it has more than 256 paths"));
    }
    if paths.iter().any(|&(_, weight)| weight == 0) {
        return Err(FibError::BadPaths("a path has weight 0"));
    }
    Ok(())
}

/// How many lines these paths want: one each, so many that the lightest gets a bucket where that can be had, and none less
/// than before, as taking half of the buckets away would move flows.
fn line_count(live: &[(&Path, u64)], before: usize) -> usize {
    let least = live.len().next_power_of_two().max(MIN_LINES).max(before);
    let sum: u64 = live.iter().map(|(_, w)| w).sum();
    let lightest = live.iter().map(|(_, w)| *w).min().unwrap_or(1);
    let fine = |lines: usize| lightest * (lines * PER_LINE) as u64 >= sum;
    (0..)
        .map(|i| least << i)
        .find(|&lines| lines >= FINE_LINES || fine(lines))
        .unwrap_or(least)
}

/// The line of each path: the one that it has or had, else its place in the list, else the first that is left.
fn places(live: &[(&Path, u64)], old: &[Line], lines: usize) -> Vec<usize> {
    let mut used = vec![false; old.len()];
    for line in old.iter().flat_map(|l| l.buckets) {
        used[usize::from(line)] = true;
    }
    let mut taken = vec![false; lines];
    let mut places = vec![usize::MAX; live.len()];
    let find = |path: &Path, in_use: bool| {
        let mut all = old.iter().zip(&used);
        all.position(|(l, used)| *used == in_use && l.path == *path)
    };
    for (place, (path, _)) in places.iter_mut().zip(live) {
        if let Some(at) = find(path, true).or_else(|| find(path, false)) {
            *place = at;
            taken[at] = true;
        }
    }
    for (i, place) in places.iter_mut().enumerate() {
        if *place == usize::MAX {
            let free = |at: &usize| !taken[*at];
            *place = Some(i).filter(free).unwrap_or_else(|| {
                (0..lines).find(free).unwrap_or(0) // there are as many lines as paths
            });
            taken[*place] = true;
        }
    }
    places
}

#[cfg(test)]
mod tests;
