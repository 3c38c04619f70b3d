use super::*;
use proptest::prelude::*;

fn path(i: u32) -> Path {
    Path::to(Target::Adjacency(AdjId(i)))
}

fn number(path: &Path) -> u32 {
    match path.target {
        Target::Adjacency(id) => id.0,
        _ => u32::MAX,
    }
}

fn members(all: &[(u32, u32)]) -> Vec<(Path, u32)> {
    all.iter().map(|&(i, w)| (path(i), w)).collect()
}

fn group(weights: &[u32]) -> Group {
    let all: Vec<_> = (0..).zip(weights.iter().copied()).collect();
    Group::new(&members(&all)).unwrap()
}

fn shares(weights: &[u32]) -> Vec<usize> {
    group(weights).shares().iter().map(|s| s.1).collect()
}

/// The path of each of as many flows as the larger of the two groups has buckets.
fn flows(a: &Group, b: &Group) -> Vec<(u32, u32)> {
    let n = a.buckets().max(b.buckets()) as u32;
    (0..n)
        .map(|hash| (number(a.select(hash)), number(b.select(hash))))
        .collect()
}

fn moved(a: &Group, b: &Group) -> usize {
    flows(a, b).iter().filter(|(a, b)| a != b).count()
}

#[test]
fn buckets_follow_weights() {
    assert_eq!(shares(&[1, 1]), [32, 32]);
    assert_eq!(shares(&[1, 3]), [16, 48]);
    assert_eq!(shares(&[7, 7, 14, 28]), [8, 8, 16, 32]);
    assert_eq!(shares(&[1, 1, 1]), [22, 21, 21]);
    assert_eq!(shares(&[1; 5]), [26, 26, 26, 25, 25]);
    assert_eq!(shares(&[1, 256]), [2, 510]);
    assert_eq!(shares(&[1, u32::MAX]), [1, 1023]);
    assert_eq!(shares(&[1; 256]), [16; 256]);
    assert_eq!(shares(&[1, 1, 1_000_000, 1_000_000]), [1, 1, 511, 511]);
}

#[test]
fn one_path_needs_no_bucket() {
    let g = group(&[9]);
    assert!(g.is_single());
    assert_eq!((g.shares(), g.bytes()), (vec![(&path(0), 1)], 64));
    assert_eq!(g.select(u32::MAX), &path(0));
    let twice = members(&[(7, 1), (7, 5)]);
    assert!(Group::new(&twice).unwrap().is_single());
}

/// A flow finds its bucket and its path in one line where the weights allow it.
#[test]
fn buckets_are_given_to_the_path_of_their_line() {
    for n in [4, 8, 64] {
        let g = group(&vec![1; n]);
        assert_eq!(g.lines.len(), n);
        let at_home = |(i, l): (usize, &Line)| l.buckets.iter().all(|b| usize::from(*b) == i);
        assert!(g.lines.iter().enumerate().all(at_home), "{n}");
    }
}

#[test]
fn what_is_no_group() {
    let path = Path::to(Target::Discard(Discard::Blackhole));
    assert!(Group::new(&[]).is_err());
    assert!(Group::new(&[(path.clone(), 0)]).is_err());
    assert!(Group::new(&vec![(path.clone(), 1); 257]).is_err());
    assert!(Group::new(&vec![(path, 1); 256]).is_ok());
    assert_eq!(group(&[1; 256]).shares().len(), 256);
}

#[test]
fn a_path_is_known_by_all_that_it_does() {
    let labelled = |l: u32| {
        let mut p = path(1);
        p.push.push(net::Label::new(l).unwrap());
        p
    };
    let pipe = Path {
        ttl: TtlMode::Pipe,
        ..labelled(16)
    };
    let all = [path(1), labelled(16), labelled(17), pipe].map(|p| (p, 1));
    let g = Group::new(&all).unwrap();
    assert_eq!(g.shares().len(), 4);
    let less = g.next(&all[..3]).unwrap();
    for hash in 0..64 {
        let before = g.select(hash);
        assert!(before == &all[3].0 || before == less.select(hash));
    }
}

/// Of equal paths, as many as there are lines, one that goes and comes again leaves every flow where it was.
#[test]
fn what_comes_back_gets_its_flows_back() {
    for n in [4, 8, 64] {
        let all = members(&(0..n).map(|i| (i, 1)).collect::<Vec<_>>());
        let g = Group::new(&all).unwrap();
        for gone in 0..n as usize {
            let mut left = all.clone();
            left.remove(gone);
            let back = g.next(&left).unwrap().next(&all).unwrap();
            assert_eq!(moved(&g, &back), 0, "{n}, without {gone}");
        }
    }
}

/// Members by number, with their weights: what a group goes through.
fn steps(weights: std::ops::Range<u32>) -> impl Strategy<Value = Vec<Vec<(u32, u32)>>> {
    let change = (0u32..24, proptest::option::weighted(0.6, weights));
    proptest::collection::vec(change, 1..40).prop_map(|changes| {
        let mut now: Vec<(u32, u32)> = vec![(100, 1), (101, 1)];
        let mut all = vec![now.clone()];
        for (i, weight) in changes {
            now.retain(|m| m.0 != i || now_len_is_one(&all));
            if let Some(w) = weight {
                now.retain(|m| m.0 != i);
                now.push((i, w));
            }
            all.push(now.clone());
        }
        all
    })
}

fn now_len_is_one(all: &[Vec<(u32, u32)>]) -> bool {
    all.last().is_some_and(|m| m.len() == 1)
}

/// What each member should have of so many buckets.
fn fair(all: &[(u32, u32)], total: usize) -> Vec<(u32, f64)> {
    let sum: f64 = all.iter().map(|m| f64::from(m.1)).sum();
    all.iter()
        .map(|&(i, w)| (i, f64::from(w) / sum * total as f64))
        .collect()
}

fn share_of(g: &Group, i: u32) -> usize {
    let found = g.shares().into_iter().find(|(p, _)| number(p) == i);
    found.map_or(0, |(_, n)| n)
}

/// Checks one step: shares, live paths, and how many buckets changed hands. Returns how far shares are from fair.
fn step(before: (&Group, &[(u32, u32)]), after: (&Group, &[(u32, u32)])) -> f64 {
    let ((old, was), (new, is)) = (before, after);
    assert!(new.buckets().is_power_of_two() && new.buckets() <= 4096);
    let live: Vec<u32> = is.iter().map(|m| m.0).collect();
    let flows = flows(old, new);
    assert!(flows.iter().all(|(_, to)| live.contains(to)), "a dead path");
    let came = is.iter().any(|m| !was.contains(m));
    let per_bucket = flows.len() as f64 / new.buckets() as f64;
    let moves = flows.iter().filter(|(a, b)| a != b).count() as f64 / per_bucket;
    if !came {
        // Only the flows of those that went.
        let lost = flows.iter().filter(|(a, _)| !live.contains(a)).count() as f64 / per_bucket;
        assert_eq!(moves, lost, "others moved: {was:?} to {is:?}");
    } else {
        // What the new shares ask of each, rounded to a bucket.
        let scale = new.buckets() / old.buckets();
        let must: f64 = (was.iter())
            .map(|&(i, _)| {
                let keeps = fair(is, new.buckets()).into_iter().find(|f| f.0 == i);
                let keeps = keeps.map_or(0.0, |f| f.1.floor().max(1.0));
                ((share_of(old, i) * scale) as f64 - keeps).max(0.0)
            })
            .sum();
        assert!(
            moves <= must,
            "{moves} moved, {must} had to: {was:?} to {is:?}"
        );
    }
    let fair = fair(is, new.buckets());
    let light = fair.iter().any(|f| f.1 < 1.0);
    let off = fair
        .iter()
        .map(|&(i, f)| (f - share_of(new, i) as f64).abs());
    if light { 0.0 } else { off.fold(0.0, f64::max) }
}

fn walk(steps: &[Vec<(u32, u32)>]) -> f64 {
    let mut g = Group::new(&members(&steps[0])).unwrap();
    let mut worst = 0.0f64;
    for pair in steps.windows(2) {
        let next = g.next(&members(&pair[1])).unwrap();
        worst = worst.max(step((&g, &pair[0]), (&next, &pair[1])));
        g = next;
    }
    worst
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn every_path_gets_its_share(weights in proptest::collection::vec(1u32..1000, 2..=64), hash: u32) {
        let g = group(&weights);
        let total = g.buckets();
        prop_assert!(total.is_power_of_two() && total <= 1024 && total >= 16 * weights.len());
        prop_assert_eq!(g.shares().len(), weights.len());
        prop_assert!(weights.len() > number(g.select(hash)) as usize);
        let all: Vec<_> = (0..).zip(weights).collect();
        let fair = fair(&all, total);
        // Within a bucket, unless the light paths' least bucket had to come from somewhere.
        if fair.iter().all(|f| f.1 >= 1.0) {
            for (i, f) in fair {
                prop_assert!((f - share_of(&g, i) as f64).abs() < 1.0, "{}: {} of {}", i, f, total);
            }
        }
    }

    /// Members of one weight come and go in any order.
    #[test]
    fn equal_members_move_no_more_than_they_must(steps in steps(1..2)) {
        prop_assert!(walk(&steps) < 1.0 + 1e-9);
    }

    /// Members of any weight come, go and change theirs.
    #[test]
    fn weighted_members_move_no_more_than_they_must(steps in steps(1..257)) {
        prop_assert!(walk(&steps) < 1.0 + 1e-9);
    }

    /// One more among n equal ones takes 1/(n+1), to a bucket.
    #[test]
    fn a_new_member_takes_its_share(n in 1u32..64) {
        let g = group(&vec![1; n as usize]);
        let all: Vec<_> = (0..=n).map(|i| (i, 1)).collect();
        let more = g.next(&members(&all)).unwrap();
        let part = more.buckets().div_ceil(n as usize + 1);
        prop_assert!(moved(&g, &more) <= part, "{} of {}", moved(&g, &more), more.buckets());
    }
}
