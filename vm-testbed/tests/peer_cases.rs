//! Each case that `docs/peers-cases.md` says covers something is there, and each row says where or why not.

use std::path::{Path, PathBuf};

use vm_testbed::cases;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Everything that `cargo testbed test --list` prints.
fn names() -> Vec<String> {
    let groups = cases::groups().into_iter();
    let mut all: Vec<String> = groups
        .flat_map(|g| {
            (g.cases)()
                .into_iter()
                .map(move |c| format!("{}/{}", g.name, c.name()))
        })
        .collect();
    all.extend(vm_testbed::scenarios::ALL.iter().map(|s| s.name.to_owned()));
    all
}

fn has(names: &[String], cited: &str) -> bool {
    if let Some((module, "tests")) = cited.split_once("::") {
        let dir = root().join("ctl/src").join(module);
        return dir.join("tests.rs").exists() || dir.join("tests").is_dir();
    }
    match cited.strip_suffix('*') {
        Some(stem) => names.iter().any(|n| n.starts_with(stem)),
        None => names.iter().any(|n| n == cited),
    }
}

/// The rows: the last cell of each.
fn rows(page: &str) -> Vec<(String, String)> {
    let rows = page
        .lines()
        .filter(|l| l.starts_with("| ") && !l.starts_with("| case "));
    rows.map(|l| {
        let cells: Vec<&str> = l.trim_matches('|').split(" | ").collect();
        (
            cells[0].trim().to_owned(),
            cells[cells.len() - 1].trim().to_owned(),
        )
    })
    .collect()
}

#[test]
fn what_the_page_names_is_there() {
    let page = std::fs::read_to_string(root().join("docs/peers-cases.md")).unwrap();
    let (rows, names) = (rows(&page), names());
    assert!(
        rows.len() > 70,
        "{} rows: the page is read wrongly",
        rows.len()
    );
    let mut wrong = vec![];
    let mut cited = 0;
    for (case, here) in &rows {
        let all: Vec<&str> = here.split('`').skip(1).step_by(2).collect();
        if all.is_empty() && !here.starts_with("none") && !here.contains("each case") {
            wrong.push(format!("{case}: neither a case nor a reason"));
        }
        cited += all.len();
        wrong.extend(
            all.iter()
                .filter(|n| !has(&names, n))
                .map(|n| format!("{case}: {n}")),
        );
    }
    assert!(cited > 120, "{cited} names: the page is read wrongly");
    assert!(
        wrong.is_empty(),
        "docs/peers-cases.md names what is not there: {wrong:#?}"
    );
}

#[test]
fn our_own_table_of_them_is_named() {
    let page = std::fs::read_to_string(root().join("docs/peers-cases.md")).unwrap();
    assert!(names().iter().filter(|n| n.starts_with("peers/")).count() > 15);
    for name in ["peers/no such case", "mpls/nothing*", "nowhere::tests"] {
        assert!(!has(&names(), name), "{name}");
    }
    assert!(page.contains("`peers/"));
}
