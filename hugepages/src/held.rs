//! What a process took from the machine, written down before it is taken.
//!
//! One file a process, `held.PID.json` in the run folder. An orderly end undoes each entry and
//! removes the file; after `kill -9` the next start finds a file whose process is gone and undoes
//! its entries ([`recover`]). A process id may be given out again, so the file also holds the
//! start time of its process, as `/proc/PID/stat` tells it.

use crate::{nic, pages, sys::Sys};
use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::{fs, process};

/// Something taken that must be given back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Item {
    /// Hugepages added to a node's pool.
    Pages {
        /// NUMA node.
        node: u32,
        /// Page size, KiB.
        size_kib: u64,
        /// How many were added.
        added: u64,
    },
    /// A PCI device bound to another driver.
    Nic {
        /// PCI address, `0000:3b:00.0`.
        address: String,
        /// The driver it had; none when it had none.
        driver: Option<String>,
    },
}

impl std::fmt::Display for Item {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pages {
                node,
                size_kib,
                added,
            } => {
                write!(f, "{added} hugepages of {size_kib} KiB on node {node}")
            }
            Self::Nic { address, driver } => {
                write!(
                    f,
                    "pci:{address}, taken from driver {}",
                    driver.as_deref().unwrap_or("none")
                )
            }
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Record {
    pid: u32,
    start: u64,
    items: Vec<Item>,
}

/// The record of this process.
#[derive(Debug)]
pub struct Held {
    sys: Sys,
    path: PathBuf,
    items: Vec<Item>,
}

impl Held {
    /// An empty record in `dir` (`/run/trunkline`), which is made where missing.
    ///
    /// # Errors
    /// When the folder can't be made.
    pub fn open(sys: &Sys, dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let path = dir.join(format!("held.{}.json", process::id()));
        Ok(Self {
            sys: sys.clone(),
            path,
            items: Vec::new(),
        })
    }

    /// Writes `item` down, for good once this returns; call it before taking the thing.
    ///
    /// # Errors
    /// The file system's; then nothing was noted.
    pub fn note(&mut self, item: Item) -> io::Result<()> {
        self.items.push(item);
        self.save().inspect_err(|_| {
            self.items.pop();
        })
    }

    /// What is noted now.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// Gives `item` back and strikes it off.
    ///
    /// # Errors
    /// The kernel's; the item then stays on the record.
    pub fn give_back(&mut self, item: &Item) -> io::Result<()> {
        undo(&self.sys, item)?;
        self.strike(item)
    }

    /// Strikes `item` off without undoing it: it was not taken after all.
    ///
    /// # Errors
    /// The file system's.
    pub(crate) fn strike(&mut self, item: &Item) -> io::Result<()> {
        self.items.retain(|i| i != item);
        if self.items.is_empty() {
            remove(&self.path)
        } else {
            self.save()
        }
    }

    fn save(&self) -> io::Result<()> {
        let start = start_time(&self.sys, process::id()).unwrap_or(0);
        let record = Record {
            pid: process::id(),
            start,
            items: self.items.clone(),
        };
        let temp = self.path.with_extension("new");
        let mut file = fs::File::create(&temp)?;
        file.write_all(&serde_json::to_vec(&record)?)?;
        file.sync_all()?;
        fs::rename(&temp, &self.path)
    }
}

impl Drop for Held {
    /// Gives back everything still noted, the last taken first. What can't be given back stays in
    /// the file for the next start.
    fn drop(&mut self) {
        for item in self.items.clone().into_iter().rev() {
            let _ = self.give_back(&item);
        }
    }
}

/// The records in `dir` whose processes are gone, and files that are no records.
fn orphans(sys: &Sys, dir: &Path) -> (Vec<(PathBuf, Record)>, Vec<PathBuf>) {
    let (mut dead, mut damaged) = (Vec::new(), Vec::new());
    let Ok(files) = fs::read_dir(dir) else {
        return (dead, damaged);
    };
    for path in files.flatten().map(|e| e.path()) {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if !(name.starts_with("held.") && name.ends_with(".json")) {
            continue;
        }
        match fs::read(&path)
            .ok()
            .and_then(|b| serde_json::from_slice::<Record>(&b).ok())
        {
            Some(r) if start_time(sys, r.pid) == Some(r.start) => {} // alive
            Some(r) => dead.push((path, r)),
            None => damaged.push(path),
        }
    }
    (dead, damaged)
}

/// What killed processes still hold, a line each.
pub fn dead(sys: &Sys, dir: &Path) -> Vec<String> {
    let items = orphans(sys, dir).0.into_iter().flat_map(|(_, r)| r.items);
    items.map(|i| i.to_string()).collect()
}

/// Gives back what dead processes left behind in `dir`: first what was given back, then what could
/// not be, a line each (it stays on its record for the next start).
pub fn recover(sys: &Sys, dir: &Path) -> (Vec<Item>, Vec<String>) {
    let (dead, damaged) = orphans(sys, dir);
    let mut done = Vec::new();
    let mut failed: Vec<String> = damaged
        .iter()
        .map(|p| format!("{}: not a record of ours", p.display()))
        .collect();
    for (path, record) in dead {
        let mut left = false;
        for item in record.items.into_iter().rev() {
            match undo(sys, &item) {
                Ok(()) => done.push(item),
                Err(e) => {
                    left = true;
                    failed.push(format!("{item}: {e}"));
                }
            }
        }
        if !left {
            let _ = remove(&path);
        }
    }
    (done, failed)
}

fn undo(sys: &Sys, item: &Item) -> io::Result<()> {
    match item {
        Item::Pages {
            node,
            size_kib,
            added,
        } => pages::remove(sys, *node, *size_kib, *added),
        Item::Nic { address, driver } => nic::rebind(sys, address, driver.as_deref()),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// When a process began, in clock ticks since boot; `None` when there is no such process.
fn start_time(sys: &Sys, pid: u32) -> Option<u64> {
    let stat = sys.read(format!("/proc/{pid}/stat"))?;
    // The second field is the program's name in brackets and may hold anything: count from its end.
    stat.rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(19)?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::tests::fake_node;

    fn stat(sys: &Sys, pid: u32, start: u64) {
        let dir = sys.path(format!("/proc/{pid}"));
        fs::create_dir_all(&dir).unwrap();
        let zeros = "0 ".repeat(18);
        fs::write(dir.join("stat"), format!("{pid} (a) b) S {zeros}{start} 0")).unwrap();
    }

    #[test]
    fn an_orderly_end_gives_back_and_leaves_no_file() {
        let (dir, sys) = fake_node(0, 10);
        let run = dir.path().join("run");
        stat(&sys, process::id(), 5);
        let mut held = Held::open(&sys, &run).unwrap();
        pages::reserve(&sys, &mut held, 0, 2048, 42).unwrap();
        assert_eq!(pages::pool(&sys, 0, 2048).unwrap().total, 42);
        assert_eq!(fs::read_dir(&run).unwrap().count(), 1);
        drop(held);
        assert_eq!(pages::pool(&sys, 0, 2048).unwrap().total, 10);
        assert_eq!(fs::read_dir(&run).unwrap().count(), 0);
    }

    #[test]
    fn what_a_killed_process_held_is_given_back_and_a_living_ones_is_not() {
        let (dir, sys) = fake_node(0, 10);
        let run = dir.path().join("run");
        stat(&sys, process::id(), 5);
        let mut held = Held::open(&sys, &run).unwrap();
        pages::reserve(&sys, &mut held, 0, 2048, 42).unwrap();
        std::mem::forget(held); // as kill -9 would
        assert_eq!(recover(&sys, &run).0, [], "the process is alive");
        stat(&sys, process::id(), 6); // the id given out again
        let (done, failed) = recover(&sys, &run);
        assert_eq!(
            done,
            [Item::Pages {
                node: 0,
                size_kib: 2048,
                added: 32
            }]
        );
        assert_eq!(failed, [] as [String; 0]);
        assert_eq!(pages::pool(&sys, 0, 2048).unwrap().total, 10);
        assert_eq!(recover(&sys, &run).0, [], "given back once only");
    }

    #[test]
    fn a_damaged_record_is_named_and_kept() {
        let (dir, sys) = fake_node(0, 10);
        fs::write(dir.path().join("held.7.json"), "{").unwrap();
        let (done, failed) = recover(&sys, dir.path());
        assert!(done.is_empty() && failed.len() == 1, "{failed:?}");
        assert!(dir.path().join("held.7.json").exists());
    }
}
