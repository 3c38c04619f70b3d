//! No label has two owners, none that is held comes back early, and a restart gives the same labels.

use super::*;
use proptest::prelude::*;
use std::collections::HashSet;

fn label(n: u32) -> Label {
    Label::new(n).unwrap()
}

fn range(first: u32, last: u32) -> Range {
    Range {
        first: label(first),
        last: label(last),
    }
}

fn ranges(dynamic: Range) -> LabelRanges {
    LabelRanges {
        dynamic,
        said: true,
        hold: Duration::from_secs(60),
        ..LabelRanges::default()
    }
}

fn prefix(n: u8) -> Fec {
    Fec::Prefix(IpNet::new([10, n, 0, 0].into(), 16).unwrap())
}

const LDP: Owner = Owner::Ldp;

#[test]
fn conflicts_are_named() {
    let (mut m, t0) = (Manager::new(ranges(range(100, 101))), Instant::now());
    let later = |s| t0 + Duration::from_secs(s);
    assert_eq!(m.allocate(LDP, &prefix(1)), Ok(label(100)));
    assert_eq!(m.allocate(LDP, &prefix(1)), Ok(label(100)), "the same");
    let fixed = |n| Fec::Label(label(n));
    let why = m.claim(Owner::Static, &fixed(100), label(100), t0);
    let why = why.unwrap_err().to_string();
    assert_eq!(
        why,
        "label 100 belongs to ldp for 10.1.0.0/16; take another"
    );
    let why = m.claim(Owner::Static, &fixed(15), label(15), t0);
    assert_eq!(why, Err(Refusal::Reserved(label(15))));
    m.claim(Owner::Static, &fixed(101), label(101), t0).unwrap();
    let why = m.allocate(LDP, &prefix(2)).unwrap_err().to_string();
    assert_eq!(
        why,
        "label-range.dynamic (100-101) has no free label: 2 are in use and 0 are held; make it larger"
    );
    assert!(!m.tick(later(1)), "nothing has come free");
    m.release(LDP, &prefix(1), later(1));
    let why = m.claim(Owner::Static, &fixed(100), label(100), later(11));
    assert!(
        why.unwrap_err().to_string().contains("another 50 s"),
        "held"
    );
    assert!(m.allocate(LDP, &prefix(2)).is_err());
    assert_eq!(m.poll_at(), Some(later(61)));
    assert!(m.tick(later(61)), "who lacked one is told");
    assert_eq!(m.allocate(LDP, &prefix(2)), Ok(label(100)));
    assert_eq!(m.user(label(100)), Some((LDP, &prefix(2))));
}

#[test]
fn ranges_are_for_their_uses() {
    let t0 = Instant::now();
    let mut m = Manager::new(LabelRanges {
        fixed: Some(range(16, 99)),
        vrf: Some(range(200, 209)),
        srgb: Some(range(16_000, 16_009)),
        ..ranges(range(100, 199))
    });
    let vrf = Fec::Vrf("blue".into());
    assert_eq!(m.allocate(Owner::Vpn, &vrf), Ok(label(200)));
    let hop = Fec::VrfNextHop("blue".into(), [192, 0, 2, 1].into(), "ce0".into());
    assert_eq!(m.allocate(Owner::Vpn, &hop), Ok(label(100)));
    let sr = Owner::SegmentRouting;
    assert_eq!(m.segment(&prefix(7), 7, t0), Ok(label(16_007)));
    assert_eq!(m.user(label(16_007)), Some((sr, &prefix(7))));
    let why = m.segment(&prefix(8), 10, t0).unwrap_err().to_string();
    assert!(
        why.starts_with("label index 10 is beyond label-range.srgb (16000-16009), which has 10"),
        "{why}"
    );
    assert!(matches!(
        m.segment(&prefix(8), 7, t0),
        Err(Refusal::Taken { owner, .. }) if owner == sr
    ));
    let why = m.may_claim(Owner::Static, &Fec::Label(label(100)), label(100), t0);
    assert!(
        matches!(
            why,
            Err(Refusal::OutOfRange {
                range: "static",
                ..
            })
        ),
        "{why:?}"
    );
    // The SRGB moves: the segment moves with it, and its old label rests.
    m.set_ranges(&LabelRanges {
        srgb: Some(range(17_000, 17_009)),
        ..ranges(range(100, 199))
    });
    assert_eq!(m.segment(&prefix(7), 7, t0), Ok(label(17_007)));
    assert_eq!(m.user(label(16_007)), None);
    assert!(matches!(
        m.claim(Owner::Static, &Fec::Label(label(16_007)), label(16_007), t0),
        Err(Refusal::Held { .. })
    ));
    assert_eq!(m.user(label(200)), Some((Owner::Vpn, &vrf)), "it keeps it");
}

#[test]
fn a_restart_gives_the_same_labels() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.labels");
    let t0 = Instant::now();
    let mut m = Manager::new(ranges(range(100, 199)));
    let mut file = StateFile::new(&path);
    let all = [
        (LDP, prefix(1)),
        (Owner::Vpn, Fec::Vrf("blue red".into())),
        (
            Owner::Vpn,
            Fec::VrfPrefix("blue red".into(), "2001:db8::/32".parse().unwrap()),
        ),
        (
            Owner::Vpn,
            Fec::VrfNextHop("blue red".into(), [192, 0, 2, 1].into(), "ce0.7".into()),
        ),
        (
            Owner::Vpn,
            Fec::VpnPrefix(
                Rd([0, 7, 0, 0, 0, 0, 0, 0xfe]),
                "10.0.0.0/8".parse().unwrap(),
            ),
        ),
        (LDP, prefix(2)),
    ];
    for (o, f) in &all {
        m.allocate(*o, f).unwrap();
    }
    m.claim(Owner::Static, &Fec::Label(label(150)), label(150), t0)
        .unwrap();
    m.release(LDP, &prefix(1), t0);
    file.finish(&mut m);
    let mut again = Manager::new(ranges(range(100, 199)));
    // Meanwhile the configuration gives one of them to a static entry.
    again
        .claim(Owner::Static, &Fec::Label(label(105)), label(105), t0)
        .unwrap();
    StateFile::new(&path).restore(&mut again, t0);
    // Who comes first gets none of theirs.
    assert_eq!(again.allocate(LDP, &prefix(9)), Ok(label(106)));
    for ((o, f), n) in all.iter().zip(100..105) {
        assert_eq!(again.allocate(*o, f), Ok(label(n)), "{f}");
    }
    assert_eq!(again.allocate(LDP, &prefix(2)), Ok(label(107)));
    let end = t0 + state::RESTART;
    again.release(LDP, &prefix(9), t0);
    again.tick(end);
    assert_eq!(again.user(label(100)), Some((LDP, &prefix(1))));
    // Nothing is left: so is no file.
    for (o, _) in &all {
        again.release_all(*o, end);
    }
    again.tick(end + Duration::from_secs(61));
    let mut file = StateFile::new(&path);
    file.finish(&mut again);
    assert!(!path.exists());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_broken_state_file_does_no_harm() {
    let mut m = Manager::new(ranges(range(100, 199)));
    let text = "100 ldp prefix 10.1.0.0/16\n100 ldp prefix 10.2.0.0/16\n101 ldp prefix 10.1.0.0/16\nx\n5 ldp prefix 10.3.0.0/16\n\
        102 static label 102\n103 who prefix 10.3.0.0/16\n300 ldp prefix 10.4.0.0/16\n104 ldp prefix\n105 ldp prefix 10.5/16\n1048576 ldp prefix 10.6.0.0/16\n";
    assert_eq!(m.restore(text, Instant::now()), 1);
}

/// What is done to a manager.
#[derive(Clone, Debug)]
enum Do {
    Allocate(Owner, u8),
    Claim(Owner, u8, u32),
    Release(Owner, u8),
    Wait(u64),
    Restart,
    Ranges(u32),
}

fn owner() -> impl Strategy<Value = Owner> {
    prop_oneof![Just(Owner::Static), Just(LDP), Just(Owner::Vpn)]
}

fn step() -> impl Strategy<Value = Do> {
    prop_oneof![
        4 => (owner(), 0u8..12).prop_map(|(o, n)| Do::Allocate(o, n)),
        2 => (owner(), 0u8..12, 10u32..34).prop_map(|(o, n, l)| Do::Claim(o, n, l)),
        3 => (owner(), 0u8..12).prop_map(|(o, n)| Do::Release(o, n)),
        2 => (0u64..50).prop_map(Do::Wait),
        1 => Just(Do::Restart),
        1 => (20u32..30).prop_map(Do::Ranges),
    ]
}

/// What must be so, kept as plainly as can be.
#[derive(Default)]
struct Model {
    used: BTreeMap<Label, (Owner, Fec)>,
    /// Released: by whom, and until when they rest.
    rests: BTreeMap<Label, (Owner, Fec, Instant)>,
}

impl Model {
    fn gives(&mut self, l: Label, owner: Owner, fec: &Fec, now: Instant, hold: Duration) {
        let old = self.used.get(&l);
        assert!(
            old.is_none_or(|o| *o == (owner, fec.clone())),
            "{l} has two owners"
        );
        if let Some((o, f, end)) = self.rests.remove(&l) {
            assert!(
                (o, &f) == (owner, fec) || now >= end,
                "{l} of {f} comes back early"
            );
        }
        self.releases(owner, fec, now + hold, Some(l));
        self.used.insert(l, (owner, fec.clone()));
    }

    fn releases(&mut self, owner: Owner, fec: &Fec, end: Instant, but: Option<Label>) {
        let of = |(l, v): (&Label, &(Owner, Fec))| {
            (Some(*l) != but && *v == (owner, fec.clone())).then_some(*l)
        };
        let gone: Vec<Label> = self.used.iter().filter_map(of).collect();
        for l in gone {
            self.used.remove(&l);
            self.rests.insert(l, (owner, fec.clone(), end));
        }
    }
}

proptest! {
    #[test]
    fn no_label_has_two_owners_and_none_comes_back_early(steps in proptest::collection::vec(step(), 1..120)) {
        let (mut now, mut last) = (Instant::now(), 25);
        let hold = Duration::from_secs(60);
        let mut m = Manager::new(ranges(range(16, last)));
        let mut model = Model::default();
        for s in steps {
            match s {
                Do::Allocate(o, n) => match m.allocate(o, &prefix(n)) {
                    Ok(l) => model.gives(l, o, &prefix(n), now, hold),
                    Err(Refusal::Exhausted { .. }) => {
                        // All of the range is somebody's, or rests.
                        let busy = |l: &u32| {
                            let l = label(*l);
                            let rests = model.rests.get(&l).is_some_and(|r| now < r.2);
                            model.used.contains_key(&l) || rests
                        };
                        prop_assert!((16..=last).all(|l| busy(&l)));
                    }
                    Err(e) => prop_assert!(false, "{e}"),
                },
                Do::Claim(o, n, l) => {
                    let l = label(l);
                    match m.claim(o, &prefix(n), l, now) {
                        Ok(()) => {
                            prop_assert!(l.get() >= 16);
                            model.gives(l, o, &prefix(n), now, hold);
                        }
                        Err(Refusal::Reserved(_)) => prop_assert!(l.get() < 16),
                        Err(Refusal::Taken { owner, fec, .. }) => {
                            prop_assert_eq!(model.used.get(&l), Some(&(owner, fec)));
                        }
                        Err(Refusal::Held { owner, fec, .. }) => {
                            let r = model.rests.get(&l).unwrap();
                            prop_assert_eq!((r.0, &r.1), (owner, &fec));
                        }
                        Err(e) => prop_assert!(false, "{e}"),
                    }
                }
                Do::Release(o, n) => {
                    m.release(o, &prefix(n), now);
                    model.releases(o, &prefix(n), now + hold, None);
                }
                Do::Wait(s) => {
                    now += Duration::from_secs(s);
                    m.tick(now);
                }
                Do::Ranges(n) => {
                    last = n;
                    m.set_ranges(&ranges(range(16, last)));
                }
                Do::Restart => {
                    let text = m.text().unwrap_or_default();
                    m = Manager::new(ranges(range(16, last)));
                    m.restore(&text, now);
                    let before = std::mem::take(&mut model);
                    // All ask again, in another order, and get what they had.
                    for (l, (o, f)) in before.used.iter().rev() {
                        let inside = (16..=last).contains(&l.get());
                        if *o != Owner::Static && inside {
                            prop_assert_eq!(m.allocate(*o, f), Ok(*l));
                            model.gives(*l, *o, f, now, hold);
                        } else if *o != Owner::Static {
                            // The range has moved away from it: it rests.
                            model.rests.insert(*l, (*o, f.clone(), now + state::RESTART));
                        }
                    }
                    // What rests goes on to, from the start on.
                    let rests = |r: &(Owner, Fec, Instant)| r.0 != Owner::Static && r.2 > now;
                    let kept = before.rests.into_iter().filter(|(_, r)| rests(r));
                    let end = now + state::RESTART;
                    model.rests.extend(kept.map(|(l, (o, f, _))| (l, (o, f, end))));
                }
            }
            let used: BTreeMap<Label, (Owner, Fec)> = m
                .labels
                .iter()
                .filter(|(_, b)| b.held.is_none())
                .map(|(l, b)| (*l, (b.owner, b.fec.clone())))
                .collect();
            prop_assert_eq!(&used, &model.used);
            let keys: HashSet<&(Owner, Fec)> = used.values().collect();
            prop_assert_eq!(keys.len(), used.len(), "a FEC has two labels");
        }
    }
}
