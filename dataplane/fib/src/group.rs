//! Next-hop groups: the paths that a prefix or a label shares its traffic over.
//!
//! To read: RFC 2992 (equal-cost paths by hash), RFC 3443 (TTL), RFC 5462 (TC). A flow's hash picks a bucket, a bucket
//! names a path; weights are shares of the buckets. Left out: keeping flows on their paths when others go away
//! (resilient hashing).

use net::{AdjId, IfaceId, LabelStack};

use crate::FibError;

/// Most paths of a group, and most buckets.
pub const MAX_PATHS: usize = 256;

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
#[repr(align(64))]
pub struct Path {
    /// Where it leads.
    pub target: Target,
    /// Labels to push, outermost first.
    pub push: LabelStack,
    /// How their TTL is set.
    pub ttl: TtlMode,
    /// How their TC is set.
    pub tc: TcMode,
}

const _: () = assert!(size_of::<Path>() == 64); // one cache line

impl Path {
    /// A path without labels.
    pub fn to(target: Target) -> Self {
        Self {
            target,
            push: LabelStack::new(),
            ttl: TtlMode::default(),
            tc: TcMode::default(),
        }
    }
}

/// Paths and their buckets. Immutable: readers see a group whole, and the writer replaces it whole.
#[derive(Debug, Clone)]
#[repr(C, align(64))]
pub struct Group {
    /// Of a group with one path, which then needs no other cache line.
    first: Path,
    /// Buckets less one; there is a power of two of them.
    mask: u32,
    buckets: Box<[u8]>,
    /// All paths, or none when `first` is the only one.
    paths: Box<[Path]>,
}

const _: () = assert!(size_of::<Group>() == 128); // two cache lines, adjacent

impl Group {
    /// A group that shares its traffic in proportion to the weights, as closely as 256 buckets can.
    ///
    /// # Errors
    /// No path, more than [`MAX_PATHS`], or a weight of 0.
    pub fn new(paths: &[(Path, u32)]) -> Result<Self, FibError> {
        let Some((first, _)) = paths.first() else {
            return Err(FibError::BadPaths("it has no path"));
        };
        if paths.len() > MAX_PATHS {
            return Err(FibError::BadPaths("it has more than 256 paths"));
        }
        if paths.iter().any(|&(_, weight)| weight == 0) {
            return Err(FibError::BadPaths("a path has weight 0"));
        }
        let first = first.clone();
        if paths.len() == 1 {
            return Ok(Self {
                first,
                mask: 0,
                buckets: Box::new([]),
                paths: Box::new([]),
            });
        }
        let weights: Vec<u32> = paths.iter().map(|&(_, weight)| weight).collect();
        let shares = shares(&weights);
        let each = shares
            .iter()
            .enumerate()
            .flat_map(|(i, &n)| std::iter::repeat_n(i as u8, n));
        let buckets: Box<[u8]> = each.collect();
        let paths = paths.iter().map(|(path, _)| path.clone()).collect();
        Ok(Self {
            first,
            mask: buckets.len() as u32 - 1,
            buckets,
            paths,
        })
    }

    /// The path of the flow with this hash.
    #[inline]
    pub fn select(&self, hash: u32) -> &Path {
        if self.mask == 0 {
            return &self.first;
        }
        &self.paths[usize::from(self.buckets[(hash & self.mask) as usize])]
    }

    /// All paths.
    pub fn paths(&self) -> &[Path] {
        if self.is_single() {
            std::slice::from_ref(&self.first)
        } else {
            &self.paths
        }
    }

    /// Whether there is one path, so that no hash is needed.
    #[inline]
    pub fn is_single(&self) -> bool {
        self.mask == 0
    }

    /// How many paths there are; at least one.
    #[allow(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.paths().len()
    }

    /// How many of how many buckets each path has: the weights as they are in force.
    pub fn shares(&self) -> Vec<usize> {
        let mut shares = vec![0; self.len()];
        self.buckets
            .iter()
            .for_each(|&path| shares[usize::from(path)] += 1);
        if self.is_single() {
            shares[0] = 1;
        }
        shares
    }

    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>() + self.buckets.len() + size_of_val(&*self.paths)
    }
}

/// Buckets of each path: the least power of two that gives the weights exactly, else 256 by largest remainder, and at
/// least one each.
fn shares(weights: &[u32]) -> Vec<usize> {
    let sum: u64 = weights.iter().copied().map(u64::from).sum();
    let exact = |n: usize| {
        weights
            .iter()
            .all(|&w| (u64::from(w) * n as u64).is_multiple_of(sum))
    };
    let least = weights.len().next_power_of_two();
    let total = (0..)
        .map(|i| least << i)
        .take_while(|&n| n < MAX_PATHS)
        .find(|&n| exact(n))
        .unwrap_or(MAX_PATHS);
    let part = |&w: &u32| u64::from(w) * total as u64;
    let mut shares: Vec<usize> = weights
        .iter()
        .map(|w| ((part(w) / sum) as usize).max(1))
        .collect();
    let mut order: Vec<usize> = (0..weights.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(part(&weights[i]) % sum)); // stable: equal remainders go by position
    let given: usize = shares.iter().sum();
    for &i in order.iter().take(total.saturating_sub(given)) {
        shares[i] += 1;
    }
    // The one bucket that light paths get at least may be more than their part: the heaviest give it.
    for _ in total..given {
        if let Some(most) = shares.iter_mut().max() {
            *most -= 1;
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn group(weights: &[u32]) -> Group {
        let path = |i| Path::to(Target::Adjacency(AdjId(i)));
        let paths: Vec<_> = (0..).zip(weights).map(|(i, &w)| (path(i), w)).collect();
        Group::new(&paths).unwrap()
    }

    #[test]
    fn buckets_follow_weights() {
        assert_eq!(shares(&[1, 1]), [1, 1]);
        assert_eq!(shares(&[1, 3]), [1, 3]);
        assert_eq!(shares(&[7, 7, 14, 28]), [1, 1, 2, 4]);
        assert_eq!(shares(&[1, 1, 1]), [86, 85, 85]);
        assert_eq!(shares(&[1, 2]), [85, 171]);
        assert_eq!(shares(&[1, u32::MAX]), [1, 255]);
        assert_eq!(shares(&[1; 256]), [1; 256]);
        assert_eq!(shares(&[1, 1, 1_000_000, 1_000_000]), [1, 1, 127, 127]);
    }

    #[test]
    fn one_path_needs_no_bucket() {
        let g = group(&[9]);
        assert!(g.is_single());
        assert_eq!((g.len(), g.shares()), (1, vec![1]));
        assert_eq!(g.select(u32::MAX), &g.paths()[0]);
    }

    #[test]
    fn what_is_no_group() {
        let path = Path::to(Target::Discard(Discard::Blackhole));
        assert!(Group::new(&[]).is_err());
        assert!(Group::new(&[(path.clone(), 0)]).is_err());
        assert!(Group::new(&vec![(path.clone(), 1); 257]).is_err());
        assert_eq!(Group::new(&vec![(path, 1); 256]).unwrap().len(), 256);
    }

    proptest! {
        #[test]
        fn every_path_gets_its_share(weights in proptest::collection::vec(1u32..1000, 2..=64), hash: u32) {
            let g = group(&weights);
            let shares = g.shares();
            let total: usize = shares.iter().sum();
            prop_assert!(total.is_power_of_two() && total <= 256 && total >= weights.len());
            prop_assert!(shares.iter().all(|&n| n > 0));
            prop_assert!(g.paths().contains(g.select(hash)));
            let sum: f64 = weights.iter().map(|&w| f64::from(w)).sum();
            let fair = |w: u32| f64::from(w) / sum * total as f64;
            // Within a bucket, unless the light paths' least bucket had to come from somewhere.
            if weights.iter().all(|&w| fair(w) >= 1.0) {
                for (&w, &n) in weights.iter().zip(&shares) {
                    prop_assert!((fair(w) - n as f64).abs() <= 1.0, "{w}: {n} of {total}");
                }
            }
        }
    }
}
