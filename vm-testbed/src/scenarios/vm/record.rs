//! What ran in virtual machines and how it ended, kept from run to run under `target/`, and the page of docs/ made of it.
//!
//! A run may be of a part (`--only`): the page holds the last result of each scenario and of each card, with date and commit.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::lab::cmd;
use crate::progress;
use crate::scenarios::{self, Scenario};
use crate::vm::{Vm, image};

/// Machines started since the last scenario ended: what they are, and how long they took to come up.
static MACHINES: Mutex<Vec<Value>> = Mutex::new(vec![]);

/// The page.
const PAGE: &str = "docs/hardware.md";

/// A machine has come up.
pub fn machine(vm: &Vm) {
    let mut all = MACHINES.lock().unwrap_or_else(PoisonError::into_inner);
    all.push(json!({
        "name": vm.spec.name,
        "is": vm.spec.describe(),
        "by": vm.accel.name(),
        "boot_s": (vm.boot.as_secs_f64() * 10.0).round() / 10.0,
    }));
}

fn file() -> PathBuf {
    image::folder().join("results.json")
}

fn load() -> Value {
    let text = std::fs::read_to_string(file()).unwrap_or_default();
    serde_json::from_str(&text)
        .unwrap_or_else(|_| json!({ "scenarios": {}, "cards": {}, "machines": {} }))
}

/// Puts a value under two keys. What can't be written is no reason to fail a scenario.
fn store(kind: &str, key: &str, value: Value) {
    let mut all = load();
    all[kind][key] = value;
    let folder = image::folder();
    let written = std::fs::create_dir_all(&folder)
        .and_then(|()| std::fs::write(file(), format!("{all:#}\n")));
    if let Err(e) = written {
        progress::note(&format!("{}: {e}", file().display()));
    }
}

fn said(program: &str, args: &[&str]) -> String {
    let mut c = Command::new(program);
    c.current_dir(crate::workspace()).args(args);
    cmd::output(&mut c).map_or_else(|_| String::new(), |t| t.trim().to_owned())
}

/// Date and commit; a `+` where files differ from it.
fn stamp() -> String {
    let date = said("date", &["-u", "+%Y-%m-%d"]);
    let commit = said("git", &["rev-parse", "--short=9", "HEAD"]);
    let changed = said("git", &["status", "--porcelain", "-uno"]);
    let mark = if changed.is_empty() { "" } else { "+" };
    format!("{date}, {commit}{mark}")
}

/// A scenario has ended.
pub fn scenario(s: &Scenario, took: Duration, result: &Result<()>) {
    let machines = std::mem::take(&mut *MACHINES.lock().unwrap_or_else(PoisonError::into_inner));
    for m in &machines {
        let name = m["name"].as_str().unwrap_or_default().to_owned();
        store("machines", &name, m.clone());
    }
    let result = match result {
        Ok(()) => "passed".to_owned(),
        Err(e) => format!("{e:#}")
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned(),
    };
    let names: Vec<Value> = machines.iter().map(|m| m["name"].clone()).collect();
    let value = json!({
        "machines": names, "result": result, "seconds": took.as_secs(), "when": stamp(),
    });
    store("scenarios", s.name, value);
}

/// A make of card has been tried; the columns are those of [`COLUMNS`].
pub fn card(make: &str, columns: &Value) {
    let mut value = columns.clone();
    value["when"] = stamp().into();
    store("cards", make, value);
}

/// What is known of a card: key, and what stands over its column.
pub const COLUMNS: &[(&str, &str)] = &[
    ("qemu", "QEMU's model"),
    ("kernel", "kernel's driver"),
    ("dpdk", "DPDK's driver"),
    ("taken", "taken by vfio-pci, given back"),
    ("frames", "node 0 ↔ 1, IPv4 and IPv6"),
    ("large", "1500 octets"),
    ("link", "link down and up followed"),
    ("queues", "RX queues"),
    ("wakes", "woken by"),
    ("when", "run"),
];

/// Writes the page.
///
/// # Errors
/// When it can't be written.
pub fn save() -> Result<()> {
    let path = crate::workspace().join(PAGE);
    std::fs::write(&path, page(&load())).with_context(|| path.display().to_string())?;
    progress::note(&format!("written: {PAGE}"));
    Ok(())
}

fn text(v: &Value) -> String {
    match v {
        Value::String(s) => s.replace('|', "\\|"),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn page(all: &Value) -> String {
    let mut page = String::from(
        "# What ran in virtual machines\n\n\
         Written by `cargo testbed test --tier vm --save`; a run of a part (`--only`) renews that part. [testing.md](testing.md) says \
         how these machines are made. A `+` behind a commit: files differed from it.\n\n## Network cards\n\n",
    );
    let titles: Vec<&str> = COLUMNS.iter().map(|(_, title)| *title).collect();
    let _ = writeln!(
        page,
        "| {} |\n|{}",
        titles.join(" | "),
        "---|".repeat(titles.len())
    );
    for card in all["cards"]
        .as_object()
        .into_iter()
        .flat_map(|o| o.values())
    {
        let cells: Vec<String> = COLUMNS.iter().map(|(key, _)| text(&card[key])).collect();
        let _ = writeln!(page, "| {} |", cells.join(" | "));
    }
    page += "\n## Machines\n\n| machine | what it is | run by | shell after |\n|---|---|---|---|\n";
    for m in all["machines"]
        .as_object()
        .into_iter()
        .flat_map(|o| o.values())
    {
        let _ = writeln!(
            page,
            "| {} | {} | {} | {} s |",
            text(&m["name"]),
            text(&m["is"]),
            text(&m["by"]),
            text(&m["boot_s"])
        );
    }
    page += "\n## Scenarios\n\n`vm` is started by the first scenario that needs it, and serves the next ones.\n\n\
             | scenario | what it shows | machines started | result | time | run |\n|---|---|---|---|---|---|\n";
    for s in scenarios::ALL.iter().filter(|s| s.in_machines()) {
        let r = &all["scenarios"][s.name];
        if r.is_null() {
            let _ = writeln!(page, "| `{}` | {} | | not run yet | | |", s.name, s.what);
            continue;
        }
        let machines: Vec<String> = r["machines"]
            .as_array()
            .into_iter()
            .flatten()
            .map(text)
            .collect();
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {} | {} s | {} |",
            s.name,
            s.what,
            machines.join(", "),
            text(&r["result"]),
            text(&r["seconds"]),
            text(&r["when"])
        );
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_a_line_on_each() {
        let all = json!({
            "cards": { "e1000": { "qemu": "e1000", "frames": "yes" } },
            "machines": { "vm": { "name": "vm", "is": "2 nodes", "by": "TCG", "boot_s": 7.5 } },
            "scenarios": { "vm/boot": { "machines": ["vm"], "result": "passed", "seconds": 9, "when": "today" } },
        });
        let page = page(&all);
        assert!(page.contains("| e1000 |  |  |  | yes |"), "{page}");
        assert!(page.contains("| vm | 2 nodes | TCG | 7.5 s |"), "{page}");
        assert!(page.contains("| vm | passed | 9 s | today |"), "{page}");
        assert!(page.contains("not run yet"), "{page}");
    }
}
