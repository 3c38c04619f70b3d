//! `docs/drops.md` is made from the table of drop reasons. `UPDATE_EXPECT=1` rewrites it.

use dataplane::drops::Drop;
use std::fmt::Write;

#[test]
fn the_page_of_drop_reasons_is_current() {
    let mut page = String::from(
        "# Why a frame is dropped\n\n\
         Every drop is counted, per interface, under one of these reasons: `trunkctl drop show`, and `drops` of\n\
         `trunkctl interface show --json`. A test writes this page from `dataplane/src/drops.rs` and fails when it is out\n\
         of date (`UPDATE_EXPECT=1` rewrites it).\n\n\
         Over all interfaces, with nothing under way: `rx + injected + created = tx + punted + Σ drops`.\n\n\
         | reason | what the frame did |\n|---|---|\n",
    );
    for d in Drop::ALL {
        writeln!(page, "| `{}` | {} |", d.name(), d.doc()).unwrap();
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/drops.md");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(path, page).unwrap();
        return;
    }
    let there = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        there == page,
        "docs/drops.md is out of date: run this test with UPDATE_EXPECT=1 and look at the difference"
    );
}
