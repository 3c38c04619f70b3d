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

#[test]
fn each_event_of_rfc_4271_section_8_has_a_case() {
    let names: Vec<_> = cases().iter().map(|c| name(c)).collect();
    for n in 1..=28 {
        let prefix = format!("rfc4271-8-event{n:02}-");
        assert!(
            names.iter().any(|c| c.starts_with(&prefix)),
            "no case for event {n}"
        );
    }
}
