//! Whole networks in virtual time: they come to rest, agree, and forward without loops or holes whatever befalls them.
//! See `network/mod.rs`; `cargo testbed simulate` plays more of them.

mod network;

use network::{Options, Wires, run};

fn story(seed: u64, nodes: usize) -> Options {
    Options {
        seed,
        nodes,
        events: 20,
        wires: Wires::Good,
    }
}

#[test]
fn dozens_of_speakers_agree_after_each_event() {
    for seed in 1..=2 {
        let told = run(story(seed, 40), &mut |_| {});
        let summary = told.unwrap_or_else(|why| panic!("{why}"));
        assert!(summary.updates > 1000, "{summary}");
    }
}

#[test]
fn small_networks_agree_after_each_event() {
    for seed in 100..=112 {
        run(story(seed, 10 + seed as usize % 9), &mut |_| {}).unwrap_or_else(|why| panic!("{why}"));
    }
}

#[test]
fn the_same_seed_is_the_same_story() {
    let [one, two] = [7, 7].map(|seed| run(story(seed, 16), &mut |_| {}).unwrap());
    assert_eq!(one, two);
    assert_ne!(one.digest, run(story(8, 16), &mut |_| {}).unwrap().digest);
}

/// How many of six stories fail on such wires, and the first reason.
fn failures(wires: Wires) -> (usize, String) {
    let told = (1..=6).map(|seed| {
        run(
            Options {
                wires,
                ..story(seed, 16)
            },
            &mut |_| {},
        )
    });
    let reasons: Vec<String> = told.filter_map(Result::err).collect();
    (reasons.len(), reasons.first().cloned().unwrap_or_default())
}

#[test]
fn a_network_has_some_routers() {
    let why = run(story(1, 3), &mut |_| {}).unwrap_err();
    assert!(why.contains("take 10 to"), "{why}");
}

#[test]
fn lost_withdrawals_are_seen() {
    let (n, why) = failures(Wires::LoseWithdrawals);
    assert!(n >= 5, "{n} of 6: {why}");
    assert!(
        why.contains("seed 1, 16 routers") && why.contains("simulate --seed 1"),
        "{why}"
    );
}

#[test]
fn lost_announcements_are_seen() {
    let (n, why) = failures(Wires::LoseAnnouncements);
    assert_eq!(n, 6, "{why}");
}

#[test]
fn reflectors_without_marks_are_seen() {
    // Only where reflectors are each other's clients: half of the networks.
    let (n, why) = failures(Wires::CutMarks);
    assert!(n >= 2, "{n} of 6: {why}");
}
