//! Each test that `docs/rfc-bgp.md` or `docs/rfc-ldp.md` names is there: a row whose test was renamed or taken out shows nothing.

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The Rust files under a folder of the workspace, with what is in them.
fn sources(dir: &Path, found: &mut Vec<(PathBuf, String)>) {
    for e in std::fs::read_dir(dir).unwrap() {
        let path = e.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|x| x == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            found.push((path, text));
        }
    }
}

/// What stands in backticks in the last column of each row.
fn cited(page: &str) -> Vec<String> {
    let rows = page.lines().filter(|l| l.starts_with("| "));
    let last = rows.filter_map(|l| l.trim_end().strip_suffix('|')?.rsplit('|').next());
    let names = last.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    names.map(str::to_owned).collect()
}

struct Tests {
    folders: Vec<String>,
    sources: Vec<(PathBuf, String)>,
    scenarios: String,
}

/// Where the tests of the pages are.
const BGP: &[&str] = &["bgp/src", "bgp/tests", "ctl/src/bgp", "hugepages/src"];
const LDP: &[&str] = &[
    "bgp/ldp/src",
    "ctl/src/ldp",
    "ctl/src/lsp",
    "ctl/src/rib/tests",
];

impl Tests {
    fn read(dirs: &[&str]) -> Self {
        let conformance = std::fs::read_dir(root().join("bgp/tests/conformance")).unwrap();
        let mut all = vec![];
        for dir in dirs {
            sources(&root().join(dir), &mut all);
        }
        let list = root().join("vm-testbed/src/scenarios/mod.rs");
        Self {
            folders: conformance
                .map(|e| e.unwrap().file_name().into_string().unwrap())
                .collect(),
            sources: all,
            scenarios: std::fs::read_to_string(list).unwrap(),
        }
    }

    /// `update::values_that` is a test in a module `update` whose name begins so; `rpki::` is any test there; `pair` and
    /// `session::fuzz` are modules or files of tests.
    fn has_unit(&self, name: &str) -> bool {
        let mut modules: Vec<&str> = name.trim_end_matches('*').split("::").collect();
        let last = modules.pop().unwrap_or_default();
        let is_in = |(path, text): &&(PathBuf, String), module: &str| {
            let mut parts = path.iter().map(|p| p.to_string_lossy());
            let file = parts.any(|p| p == module || p.trim_end_matches(".rs") == module);
            file || text.contains(&format!("mod {module} {{"))
        };
        let marked = |text: &str| text.contains("#[test]") || text.contains("fn main()");
        let mut here = (self.sources.iter())
            .filter(|s| modules.iter().all(|m| is_in(s, m)))
            .filter(|s| marked(&s.1));
        here.any(|(path, text)| {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            let inside = path.iter().any(|p| p == last);
            text.contains(&format!("fn {last}")) || stem.ends_with(last) || inside
        })
    }

    fn has(&self, name: &str) -> bool {
        if name.starts_with("rfc") {
            let stem = name.split(['…', '*', '[']).next().unwrap_or_default();
            let stem = stem.split("NN").next().unwrap_or_default();
            return self.folders.iter().any(|f| f.starts_with(stem));
        }
        if name.contains('/') {
            return self.scenarios.contains(&format!("\"{name}\","));
        }
        self.has_unit(name)
    }
}

#[test]
fn what_the_pages_name_is_there() {
    for (page, dirs, at_least) in [("docs/rfc-bgp.md", BGP, 100), ("docs/rfc-ldp.md", LDP, 30)] {
        let text = std::fs::read_to_string(root().join(page)).unwrap();
        let (cited, tests) = (cited(&text), Tests::read(dirs));
        assert!(
            cited.len() > at_least,
            "{page}: {} names: it is read wrongly",
            cited.len()
        );
        let wrong: Vec<&String> = cited.iter().filter(|n| !tests.has(n)).collect();
        assert!(
            wrong.is_empty(),
            "{page} names what is not there: {wrong:#?}"
        );
    }
}

#[test]
fn what_is_not_there_is_found_missing() {
    let tests = Tests::read(BGP);
    for name in [
        "rfc9999-*",
        "bgp/nothing",
        "update::what_nobody_wrote",
        "nowhere::",
    ] {
        assert!(!tests.has(name), "{name}");
    }
}

/// The targets of a folder of cargo-fuzz.
fn targets(folder: &str) -> Vec<String> {
    let dir = root().join(folder).join("fuzz/fuzz_targets");
    let files = std::fs::read_dir(dir).unwrap();
    let name = |e: std::fs::DirEntry| e.path().file_stem().unwrap().to_string_lossy().into_owned();
    let mut all: Vec<String> = files.map(|f| name(f.unwrap())).collect();
    all.sort();
    all
}

/// What reads foreign octets in `bgp` has a door, each door a target, and each target is built and written down.
#[test]
fn each_door_of_fuzzers_has_a_target() {
    let read = |file: &str| std::fs::read_to_string(root().join(file)).unwrap();
    let (manifest, page) = (read("bgp/fuzz/Cargo.toml"), read("docs/testing.md"));
    let all = targets("bgp");
    let used: String = all
        .iter()
        .map(|t| read(&format!("bgp/fuzz/fuzz_targets/{t}.rs")))
        .collect();
    for t in &all {
        assert!(
            manifest.contains(&format!("name = \"{t}\"")),
            "bgp/fuzz/Cargo.toml has no {t}"
        );
        let (_, rest) = page.split_once("bgp/: ").expect("the list of targets");
        let list = rest.split_once("ctl/").map_or(rest, |l| l.0);
        let mut words = list.split(|c: char| !c.is_ascii_alphanumeric());
        assert!(
            words.any(|w| w == t),
            "docs/testing.md does not name bgp/{t}"
        );
    }
    let doors = read("bgp/src/fuzz.rs") + &read("bgp/src/session/fuzz.rs");
    let mut doors: Vec<&str> = doors
        .lines()
        .filter_map(|l| l.strip_prefix("pub fn ")?.split('(').next())
        .chain(["nlri", "rtr"])
        .collect();
    // A run of messages is what `message` gives each of its inputs to; a context is none of its own.
    doors.retain(|d| !matches!(*d, "messages" | "context"));
    for d in doors {
        assert!(
            used.contains(&format!("fuzz::{d}(")),
            "no target calls bgp::fuzz::{d}"
        );
    }
}

/// The page has the table that the scenarios take their neighbours from.
#[test]
fn the_table_of_speakers_is_that_of_the_scenarios() {
    use vm_testbed::scenarios::{ALL, bgp::speakers};
    for name in speakers::TABLE.iter().flat_map(|f| f.scenarios) {
        assert!(ALL.iter().any(|s| s.name == *name), "no scenario {name}");
    }
    let file = root().join("docs/rfc-bgp.md");
    let page = std::fs::read_to_string(&file).unwrap();
    let (head, rest) = page.split_once("\n## Speakers\n").expect("a section");
    let (section, tail) = rest.split_once("\n## ").expect("one behind it");
    let (text, table) = section.trim_end().rsplit_once("\n\n").expect("a table");
    let now = speakers::page();
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        let new = format!("{head}\n## Speakers\n{text}\n\n{now}\n## {tail}");
        return std::fs::write(&file, new).unwrap();
    }
    assert_eq!(
        table.trim_end(),
        now.trim_end(),
        "UPDATE_EXPECT=1 writes it"
    );
}
