//! What a process took from the machine, written down before it is taken.
//!
//! Files named `held.PID.json` or `held.PID.NAME.json` in the run folder. An orderly end undoes each
//! entry and removes the file; after `kill -9` the next start finds a file whose process is gone and
//! undoes its entries ([`recover`]). What belongs to another network namespace waits for a start
//! there. A process id may be given out again, so the file also holds the start time of its process,
//! as `/proc/PID/stat` tells it.

use crate::link::{Link, Place, Setting};
use crate::{nic, pages, sys::Sys};
use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
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
    /// A setting of one of the kernel's network interfaces.
    Link {
        /// Which.
        link: Link,
        /// What it was.
        was: Setting,
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
            Self::Link { link, was } => write!(f, "network interface {}: {was}", link.name),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Record {
    pid: u32,
    start: u64,
    items: Vec<Item>,
    /// Whether the run folder was made by us.
    #[serde(default)]
    made: bool,
}

/// Folders that were made by this process, or by one that was killed.
static MADE: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Makes a folder where missing, and remembers if it was.
///
/// # Errors
/// The file system's.
pub fn make_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(dir)?;
    remember(dir);
    Ok(())
}

/// Remembers that a folder was made by us, so that [`tidy`] removes it.
pub fn remember(dir: &Path) {
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    made.push(dir.to_owned());
}

fn is_made(dir: &Path) -> bool {
    let made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    made.iter().any(|m| m == dir)
}

/// Removes a folder that was made by [`make_dir`], if nothing is in it any more.
pub fn tidy(dir: &Path) {
    if is_made(dir) {
        let _ = fs::remove_dir(dir);
    }
}

/// A record of this process.
#[derive(Debug)]
pub struct Held {
    sys: Sys,
    /// None: it is kept in memory only.
    path: Option<PathBuf>,
    items: Vec<Item>,
}

impl Held {
    /// An empty record in `dir` (`/run/trunkline`), which is made where missing.
    ///
    /// # Errors
    /// When the folder can't be made.
    pub fn open(sys: &Sys, dir: &Path) -> io::Result<Self> {
        Self::in_file(sys, dir, &format!("held.{}.json", process::id()))
    }

    /// One of several records, told apart by `name`.
    ///
    /// # Errors
    /// When the folder can't be made.
    pub fn open_as(sys: &Sys, dir: &Path, name: &str) -> io::Result<Self> {
        Self::in_file(sys, dir, &format!("held.{}.{name}.json", process::id()))
    }

    fn in_file(sys: &Sys, dir: &Path, file: &str) -> io::Result<Self> {
        make_dir(dir)?;
        let mut held = Self::in_memory(sys);
        held.path = Some(dir.join(file));
        Ok(held)
    }

    /// A record that is not written down: an orderly end gives back what is on it, and nothing else does.
    pub fn in_memory(sys: &Sys) -> Self {
        Self {
            sys: sys.clone(),
            path: None,
            items: Vec::new(),
        }
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
    pub fn strike(&mut self, item: &Item) -> io::Result<()> {
        self.items.retain(|i| i != item);
        match &self.path {
            Some(path) if self.items.is_empty() => remove(path),
            _ => self.save(),
        }
    }

    fn save(&self) -> io::Result<()> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        let record = Record {
            pid: process::id(),
            start: start_time(&self.sys, process::id()).unwrap_or(0),
            items: self.items.clone(),
            made: path.parent().is_some_and(is_made),
        };
        record.save(path)
    }
}

impl Record {
    fn save(&self, path: &Path) -> io::Result<()> {
        let temp = path.with_extension("new");
        let mut file = fs::File::create(&temp)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_all()?;
        fs::rename(&temp, path)
    }
}

impl Drop for Held {
    /// Gives back everything still noted, the last taken first. What can't be given back stays in
    /// the file for the next start.
    fn drop(&mut self) {
        for item in self.items.clone().into_iter().rev() {
            let _ = self.give_back(&item);
        }
        if let Some(dir) = self.path.as_ref().and_then(|p| p.parent()) {
            tidy(dir);
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
    let gone = |i: &Item| matches!(i, Item::Link { link, .. } if link.place() == Place::Gone);
    items.filter(|i| !gone(i)).map(|i| i.to_string()).collect()
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
    for (path, mut record) in dead {
        if record.made {
            remember(dir);
        }
        let before = record.items.len();
        let mut left = Vec::new();
        for item in record.items.drain(..).rev() {
            if elsewhere(&item) {
                left.push(item);
                continue;
            }
            match undo(sys, &item) {
                Ok(()) => done.push(item),
                Err(e) => {
                    failed.push(format!("{item}: {e}"));
                    left.push(item);
                }
            }
        }
        left.reverse();
        record.items = left;
        if record.items.is_empty() {
            let _ = remove(&path);
        } else if record.items.len() < before {
            // What was given back must not be given back again.
            let _ = record.save(&path);
        }
    }
    tidy(dir);
    (done, failed)
}

/// Whether only a start in another network namespace can give it back.
fn elsewhere(item: &Item) -> bool {
    matches!(item, Item::Link { link, .. } if link.place() == Place::Elsewhere)
}

fn undo(sys: &Sys, item: &Item) -> io::Result<()> {
    match item {
        Item::Pages {
            node,
            size_kib,
            added,
        } => pages::remove(sys, *node, *size_kib, *added),
        Item::Nic { address, driver } => nic::rebind(sys, address, driver.as_deref()),
        Item::Link { link, was } => match link.place() {
            Place::Here => link.set(was),
            Place::Elsewhere => Err(io::Error::other("it is in another network namespace")),
            Place::Gone => Ok(()),
        },
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
        assert!(!run.exists());
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

    fn lo(namespace: u64, index: i32) -> Item {
        let link = Link {
            namespace,
            name: "lo".into(),
            index,
        };
        // Given back or not, it does no harm.
        let was = Setting::Sysctl {
            family: "none".into(),
            key: "none".into(),
            value: "0".into(),
        };
        Item::Link { link, was }
    }

    /// Of a dead process's record what can be given back goes, and what can't stays, to be tried again.
    #[test]
    fn what_cannot_be_given_back_now_stays_on_the_record() {
        let (dir, sys) = fake_node(0, 10);
        let run = dir.path().join("run");
        stat(&sys, process::id(), 5);
        let mut held = Held::open_as(&sys, &run, "lo").unwrap();
        let here = crate::link::namespace().unwrap();
        pages::reserve(&sys, &mut held, 0, 2048, 42).unwrap();
        let refused = lo(here, 1);
        for item in [refused.clone(), lo(here, 77), lo(1, 1)] {
            held.note(item).unwrap();
        }
        assert_eq!(dead(&sys, &run), [] as [String; 0], "the process is alive");
        std::mem::forget(held); // as kill -9 would
        stat(&sys, process::id(), 6); // the id given out again
        let (done, failed) = recover(&sys, &run);
        assert_eq!(done.len(), 3, "{done:?}");
        assert!(
            failed.len() == 1 && failed[0].contains("lo: none none 0"),
            "{failed:?}"
        );
        assert_eq!(pages::pool(&sys, 0, 2048).unwrap().total, 10);
        let (done, failed) = recover(&sys, &run);
        assert_eq!(
            (done, failed.len()),
            (vec![], 1),
            "the pages are given back once only"
        );
        assert_eq!(pages::pool(&sys, 0, 2048).unwrap().total, 10);
        assert_eq!(dead(&sys, &run), [refused.to_string()]);
    }

    #[test]
    fn the_folder_goes_with_what_was_in_it_if_we_made_it() {
        let (dir, sys) = fake_node(0, 10);
        stat(&sys, process::id(), 5);
        let (ours, theirs) = (dir.path().join("ours"), dir.path().join("theirs"));
        fs::create_dir(&theirs).unwrap();
        for run in [&ours, &theirs] {
            let mut a = Held::open(&sys, run).unwrap();
            let mut b = Held::open_as(&sys, run, "lo").unwrap();
            a.note(lo(1, 1)).unwrap();
            b.note(lo(1, 1)).unwrap();
            drop(a);
            assert!(run.exists());
            drop(b);
        }
        assert!(!ours.exists() && theirs.exists());
        // A killed process made it: who gives back what that held, removes it.
        let mut killed = Held::open(&sys, &ours).unwrap();
        killed.note(lo(1, 1)).unwrap();
        std::mem::forget(killed);
        MADE.lock().unwrap().clear();
        stat(&sys, process::id(), 6);
        assert_eq!(recover(&sys, &ours).0.len(), 1);
        assert!(!ours.exists());
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
