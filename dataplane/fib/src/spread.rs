//! Who gets which bucket of a group, so that few flows move: resilient hashing.
//!
//! To read: RFC 2992 3 (what a change costs with plain hashing). The least number of buckets that can change is the sum
//! of what the paths must give to come down to their shares, rounded as they come: a share of 16.4 buckets is met by 16 and
//! by 17, and a path that has either keeps it.

use crate::group::PER_LINE;

/// The owner of a bucket that has none.
pub(crate) const NOBODY: u16 = u16::MAX;

/// Gives every bucket to a line. `before` has the owner of each so far, or [`NOBODY`]; `weights` the weight of the path in
/// each line, 0 for a line without (it gets no bucket).
///
/// - Each path gets its fair share to a bucket, and at least one.
/// - When paths only go away, none of the others gives up a bucket, also where rounding would ask for it.
/// - When one comes, or weights change, no more change hands than the shares ask for.
pub(crate) fn assign(before: &[u16], weights: &[u64]) -> Vec<u16> {
    let mut owner = before.to_vec();
    let mut have = vec![0usize; weights.len()];
    for o in &mut owner {
        match weights.get(usize::from(*o)) {
            Some(w) if *w > 0 => have[usize::from(*o)] += 1,
            _ => *o = NOBODY,
        }
    }
    let want = counts(&have, weights, before.len());
    let mut more: Vec<usize> = want
        .iter()
        .zip(&have)
        .map(|(w, h)| w.saturating_sub(*h))
        .collect();
    let mut less: Vec<usize> = want
        .iter()
        .zip(&have)
        .map(|(w, h)| h.saturating_sub(*w))
        .collect();
    let home = |bucket: usize| bucket / PER_LINE;
    // What is given up and what is free goes first to the path in the same line.
    for (b, o) in owner.iter_mut().enumerate() {
        let to = home(b);
        let gives = *o == NOBODY || less[usize::from(*o)] > 0;
        if more[to] > 0 && gives {
            if *o != NOBODY {
                less[usize::from(*o)] -= 1;
            }
            more[to] -= 1;
            *o = to as u16;
        }
    }
    // Then buckets in other paths' lines are given up before those in one's own.
    for away in [true, false] {
        for (b, o) in owner.iter_mut().enumerate() {
            let at = usize::from(*o);
            if *o != NOBODY && less[at] > 0 && (home(b) != at || !away) {
                less[at] -= 1;
                *o = NOBODY;
            }
        }
    }
    let mut next = 0;
    for o in owner.iter_mut().filter(|o| **o == NOBODY) {
        while more[next] == 0 {
            next = (next + 1) % more.len();
        }
        more[next] -= 1;
        *o = next as u16;
        next = (next + 1) % more.len();
    }
    owner
}

/// How many of `total` buckets each line gets.
fn counts(have: &[usize], weights: &[u64], total: usize) -> Vec<usize> {
    let sum: u64 = weights.iter().sum();
    // Weights are sums of at most 256 of 32 bits, buckets at most 4,096: all products fit in 64 bits.
    let part = |i: usize| weights[i] * total as u64;
    let over = |i: usize, n: usize| (n as u64 * sum) as i64 - part(i) as i64;
    let live: Vec<usize> = (0..weights.len()).filter(|&i| weights[i] > 0).collect();
    let mut want = vec![0; weights.len()];
    for &i in &live {
        let least = ((part(i) / sum) as usize).max(1);
        let most = (part(i).div_ceil(sum) as usize).max(1);
        want[i] = have[i].clamp(least, most);
    }
    let none_is_new = live.iter().all(|&i| have[i] > 0);
    let mut given: usize = want.iter().sum();
    while given > total {
        // Who would get more waits, rather than that another gives, as long as that keeps it within a bucket of its share.
        let waits = |i: usize| want[i] > have[i] && over(i, want[i]) > 0;
        let spare = |&i: &usize| (none_is_new && waits(i), over(i, want[i]));
        let able = live.iter().copied().filter(|&i| want[i] > 1);
        let Some(i) = able.rev().max_by_key(spare) else {
            break;
        };
        want[i] -= 1;
        given -= 1;
    }
    while given < total {
        let Some(&i) = live.iter().min_by_key(|&&i| over(i, want[i])) else {
            break;
        };
        want[i] += 1;
        given += 1;
    }
    want
}
