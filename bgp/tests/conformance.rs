//! Conformance: a folder of `tests/conformance` is a case (RFC 4271 8 and what extends it, RFC 7606).
//!
//! `config.json` is the session's configuration, `events.jsonl` what happens to it and when, `expect.jsonl` everything it
//! did about that, and every timer that ran afterwards. Time is virtual. What is sent is written down by a reader of its
//! own (`harness/octets.rs`), so the crate cannot agree with itself on a mistake. `UPDATE_EXPECT=1` writes what was done
//! to `expect.jsonl`; read the diff.

#[path = "harness/config.rs"]
mod config;
#[path = "harness/octets.rs"]
mod octets;
#[path = "harness/run.rs"]
mod run;

use std::fs;
use std::path::{Path, PathBuf};

fn cases() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance");
    let folders = fs::read_dir(&root).expect("the folder of cases");
    let mut all: Vec<_> = folders.map(|f| f.unwrap().path()).collect();
    all.sort();
    all
}

fn name(case: &Path) -> String {
    case.file_name().unwrap().to_string_lossy().into_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The first line in which the two differ, for people.
fn difference(want: &str, got: &str) -> String {
    let (mut want, mut got) = (want.lines(), got.lines());
    for n in 1.. {
        let (w, g) = (want.next(), got.next());
        if w != g {
            let shown = |l: Option<&str>| l.unwrap_or("(nothing)").to_owned();
            return format!("line {n}\n  want {}\n  got  {}", shown(w), shown(g));
        }
    }
    unreachable!()
}

#[test]
fn every_case_does_what_was_recorded() {
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    let mut wrong = Vec::new();
    for case in cases() {
        let config = read(&case.join("config.json"));
        let events = read(&case.join("events.jsonl"));
        let got = run::run(&name(&case), &config, &events);
        let expect = case.join("expect.jsonl");
        if update {
            fs::write(&expect, got).unwrap();
            continue;
        }
        let want = read(&expect);
        if want != got {
            wrong.push(format!("{}: {}", name(&case), difference(&want, &got)));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// The events of RFC 4271 8.1, whether a speaker must know them, and what each case of one has in `expect.jsonl`: the last is
/// there in at least one of its cases, so that a folder's name is not all that there is of an event.
#[rustfmt::skip]
const EVENTS: [(u8, &str, bool, &str); 28] = [
    (1, "ManualStart", true, r#""on":"start","do":["connect 1""#),
    (2, "ManualStop", true, r#"down: shut down by the operator"#),
    (3, "AutomaticStart", false, r#""on":"start","do":["connect 2""#),
    (4, "ManualStart_with_PassiveTcpEstablishment", false, r#""on":"start","do":["state Active"]"#),
    (5, "AutomaticStart_with_PassiveTcpEstablishment", false, r#""on":"start","do":["state Active"]"#),
    (6, "AutomaticStart_with_DampPeerOscillations", false, "idle-hold in 8 s"),
    (7, "AutomaticStart_with_DampPeerOscillations_and_PassiveTcpEstablishment", false, r#""on":"idle-hold expires","do":["state Active"]"#),
    (8, "AutomaticStop", false, "NOTIFICATION 6/8"),
    (9, "ConnectRetryTimer_Expires", true, r#""on":"connect-retry expires""#),
    (10, "HoldTimer_Expires", true, "NOTIFICATION 4/0"),
    (11, "KeepaliveTimer_Expires", true, r#""on":"keepalive expires","do":["send 1: KEEPALIVE""#),
    (12, "DelayOpenTimer_Expires", false, r#""on":"delay-open expires""#),
    (13, "IdleHoldTimer_Expires", false, r#""on":"idle-hold expires""#),
    (14, "TcpConnection_Valid", false, r#""on":"accept","do":["accept 1""#),
    (15, "Tcp_CR_Invalid", false, r#""on":"accept","do":["refuse"]"#),
    (16, "Tcp_CR_Acked", true, r#""on":"connected: 1","do":["send 1: OPEN"#),
    (17, "TcpConnectionConfirmed", true, r#""on":"accept","do":["accept 1","send 1: OPEN"#),
    (18, "TcpConnectionFails", true, r#""on":"failed: "#),
    (19, "BGPOpen", true, r#""on":"open: "#),
    (20, "BGPOpen with DelayOpenTimer running", false, r#""do":["send 1: OPEN version=4 as=64512 hold=90 id=192.0.2.1 1:00010001 2: 6: 65:0000fc00 70:","send 1: KEEPALIVE""#),
    (21, "BGPHeaderErr", true, "NOTIFICATION 1/"),
    (22, "BGPOpenMsgErr", true, "NOTIFICATION 2/"),
    (23, "OpenCollisionDump", false, "NOTIFICATION 6/7"),
    (24, "NotifMsgVerErr", true, r#""on":"notification: [1, 2, 1"#),
    (25, "NotifMsg", true, r#""on":"notification: [1, 6"#),
    (26, "KeepAliveMsg", true, r#""on":"keepalive: 1""#),
    (27, "UpdateMsg", true, r#""on":"update: "#),
    (28, "UpdateMsgErr", true, "NOTIFICATION 3/"),
];

#[test]
fn each_event_of_rfc_4271_section_8_happens_in_a_case_of_its_own() {
    let all = cases();
    for (n, event, mandatory, sign) in EVENTS {
        let prefix = format!("rfc4271-8-event{n:02}-");
        let mut own = all.iter().filter(|c| name(c).starts_with(&prefix));
        assert!(
            own.any(|c| read(&c.join("expect.jsonl")).contains(sign)),
            "event {n}, {event} ({}): no case {prefix}* has {sign}",
            if mandatory { "mandatory" } else { "optional" }
        );
    }
}

/// Clauses of RFC 7606 that say what to do about something. 3 b, e, f are said again for each attribute in 7; 3 i, j, k in 5.3.
const CLAUSES: [&str; 27] = [
    "3-a", "3-c", "3-d", "3-g", "3-h", "4", "5.1", "5.2", "5.3", "5.4", "7.1", "7.2", "7.3", "7.4",
    "7.5", "7.6", "7.7", "7.8", "7.9", "7.10", "7.11", "7.12", "7.13", "7.14", "7.15", "7.16", "8",
];

#[test]
fn each_row_of_rfc_7606_has_a_case() {
    let all = cases();
    let with = |prefix: &str, sign: &str| {
        let mut own = all.iter().filter(|c| name(c).starts_with(prefix));
        own.any(|c| read(&c.join("expect.jsonl")).contains(sign))
    };
    for clause in CLAUSES {
        let prefix = format!("rfc7606-{clause}-");
        assert!(with(&prefix, ""), "no case {prefix}*");
    }
    // A row of the table is there with its action; MP_UNREACH_NLRI has no error but those that end the session.
    for row in bgp::wire::TABLE {
        let action = match row.on_error {
            bgp::wire::Action::Discard => "attribute discard",
            bgp::wire::Action::TreatAsWithdraw => "treat-as-withdraw",
        };
        let stem = row
            .rfc
            .to_lowercase()
            .replace("rfc ", "rfc")
            .replace(' ', "-");
        let ends = row.name == "MP_UNREACH_NLRI" && with(&stem, "NOTIFICATION 3/");
        let causes = [
            "its length is impossible",
            "its segments are malformed",
            "its value is impossible",
        ];
        let mut signs = causes
            .map(|cause| format!("error: {}: {cause} ({action})", row.name))
            .into_iter();
        assert!(
            ends || signs.any(|sign| with(&format!("{stem}-"), &sign)),
            "{}: no case {stem}-* has an error of it, and \"{action}\"",
            row.name
        );
    }
}
