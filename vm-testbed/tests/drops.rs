//! Every reason for a drop is shown by a test: the page `docs/drops.md` has them all. `--no-capture` prints which shows what.
//!
//! Best is a case, which wants the frame counted under that reason and nothing else; then a scenario that looks at the counter;
//! for what no frame from outside can bring about (a full ring, a buffer too few), a unit test with real buffers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The reasons, from the first column of the page.
fn reasons() -> Vec<String> {
    let page = std::fs::read_to_string(root().join("docs/drops.md")).unwrap();
    let name = |l: &str| Some(l.strip_prefix("| `")?.split_once('`')?.0.to_owned());
    page.lines().filter_map(name).collect()
}

/// `no_tx_room`, as the variant is spelled: `NoTxRoom`.
fn variant(reason: &str) -> String {
    let word = |w: &str| w[..1].to_uppercase() + &w[1..];
    reason.split('_').map(word).collect()
}

/// The Rust files under a folder.
fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for e in std::fs::read_dir(dir).unwrap() {
        let path = e.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|x| x == "rs") {
            found.push(path);
        }
    }
}

/// The functions of a file that speak of something, of those marked with `mark` right before them.
fn functions(text: &str, mark: &str, speaks: &dyn Fn(&str) -> bool) -> Vec<String> {
    let mut found = vec![];
    for piece in text.split(mark).skip(1) {
        let Some((_, rest)) = piece.split_once("fn ") else {
            continue;
        };
        let name: String = (rest.chars())
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect();
        if speaks(rest) {
            found.push(name);
        }
    }
    found
}

/// `what` as a whole word: `Unresolved` is not in `UnresolvedHop`.
fn word(text: &str, what: &str) -> bool {
    text.match_indices(what).any(|(at, _)| {
        let next = text[at + what.len()..].chars().next();
        !next.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

/// Where a reason is looked for in a text.
fn elsewhere(reason: &str) -> Vec<String> {
    let mut found = vec![];
    let (quoted, variants) = (
        format!("\"{reason}\""),
        ["Drop", "Reason"].map(|t| format!("{t}::{}", variant(reason))),
    );
    let mut files = vec![];
    sources(&root().join("vm-testbed/src/scenarios"), &mut files);
    for f in files {
        let text = std::fs::read_to_string(&f).unwrap();
        for name in functions(&text, "\npub ", &|body| body.contains(&quoted)) {
            let stem = f.file_stem().unwrap().to_string_lossy().into_owned();
            found.push(format!("scenario {stem}::{name}"));
        }
    }
    let mut files = vec![];
    sources(&root().join("dataplane/src"), &mut files);
    sources(&root().join("dataplane/tests"), &mut files);
    for f in files {
        let text = std::fs::read_to_string(&f).unwrap();
        let speaks = |body: &str| variants.iter().any(|v| word(body, v));
        for name in functions(&text, "#[test]", &speaks) {
            let at = f.strip_prefix(root()).unwrap().display().to_string();
            found.push(format!("unit test {at} {name}"));
        }
    }
    found
}

#[test]
fn every_reason_is_shown_by_a_test() {
    let mut cases: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for g in vm_testbed::cases::groups() {
        for c in (g.cases)() {
            for r in c.reasons() {
                let name = format!("case {}/{}", g.name, c.name());
                cases.entry(r.to_owned()).or_default().push(name);
            }
        }
    }
    let reasons = reasons();
    assert!(reasons.len() > 50, "the page is not read: {reasons:?}");
    for r in cases.keys() {
        assert!(
            reasons.contains(r),
            "{:?} wants {r:?}, which is no reason",
            cases[r]
        );
    }
    let mut open = vec![];
    for r in &reasons {
        let mut by = cases.remove(r).unwrap_or_default();
        by.extend(elsewhere(r));
        match by.first() {
            Some(first) => println!("{r}: {first}, and {} more", by.len() - 1),
            None => open.push(r),
        }
    }
    assert!(open.is_empty(), "no test shows these reasons: {open:?}");
}

#[test]
fn mentions_are_found_and_nothing_else() {
    let text = "#[test]\nfn a() { Drop::NoRoute }\n#[test]\nfn b_2() { Drop::NoRouteX }\nfn c() {}";
    let of = |v: &str| functions(text, "#[test]", &|body| word(body, v));
    assert_eq!(of("Drop::NoRoute"), ["a"]);
    assert_eq!(of("Drop::NoRouteX"), ["b_2"]);
    assert!(of("Drop::Runt").is_empty());
    assert_eq!(variant("ip6_bad_nd"), "Ip6BadNd");
}
