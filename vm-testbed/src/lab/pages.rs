//! Huge pages for the time of a scenario: reserved when too few are free, given back afterwards.

use std::path::Path;
use std::sync::Mutex;

use anyhow::{Context, Result, bail};

use super::signals;

const DIR: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB";

/// How many pages we have added to the pool, all holders together.
static ADDED: Mutex<u64> = Mutex::new(0);

/// Pages added to the kernel's pool; taken out again when dropped.
#[derive(Debug)]
pub struct Pages {
    added: u64,
}

fn read(key: &str) -> Result<u64> {
    let p = Path::new(DIR).join(key);
    let s = std::fs::read_to_string(&p).with_context(|| format!("{}", p.display()))?;
    Ok(s.trim().parse()?)
}

fn write(n: u64) -> Result<()> {
    let p = Path::new(DIR).join("nr_hugepages");
    std::fs::write(&p, n.to_string()).with_context(|| format!("{}", p.display()))
}

/// How many 2 MiB pages are free.
///
/// # Errors
/// When the kernel has no such pages.
pub fn free() -> Result<u64> {
    Ok(read("free_hugepages")?.saturating_sub(read("resv_hugepages").unwrap_or(0)))
}

/// How many 2 MiB pages there are.
///
/// # Errors
/// When the kernel has no such pages.
pub fn total() -> Result<u64> {
    read("nr_hugepages")
}

/// How many 2 MiB pages are taken though no process has them mapped.
///
/// # Errors
/// When the kernel has no such pages.
pub fn lost() -> Result<u64> {
    let taken = read("nr_hugepages")?.saturating_sub(read("free_hugepages")?);
    let mapped: u64 = std::fs::read_dir("/proc")?
        .flatten()
        .map(|e| mapped_by(&e.path()))
        .sum();
    Ok(taken.saturating_sub(mapped))
}

/// Huge pages of a process; 0 for what is none, or has just ended.
fn mapped_by(process: &Path) -> u64 {
    let status = std::fs::read_to_string(process.join("status")).unwrap_or_default();
    let kib = status.lines().find_map(|l| {
        l.strip_prefix("HugetlbPages:")?
            .trim()
            .strip_suffix(" kB")?
            .parse::<u64>()
            .ok()
    });
    kib.unwrap_or(0) / 2048
}

impl Pages {
    /// Sees to it that `mib` MiB of 2 MiB pages are free.
    ///
    /// # Errors
    /// When the kernel has none, or its memory is too full or too fragmented.
    pub fn reserve(mib: u64) -> Result<Self> {
        let need = mib.div_ceil(2);
        let mut added = ADDED
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let have = free()?;
        let missing = need.saturating_sub(have);
        let pages = Self { added: missing };
        if missing > 0 {
            write(read("nr_hugepages")? + missing)?;
            *added += missing;
            note(*added);
        }
        drop(added);
        let now = free()?;
        if now < need {
            bail!(
                "{need} huge pages of 2 MiB wanted, {now} could be had: memory is full or fragmented"
            );
        }
        Ok(pages)
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        let mut added = ADDED
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        give_back(self.added);
        *added -= self.added;
        note(*added);
    }
}

/// The file that says how many pages a process has added, for the one that cleans up after it.
const NOTE: &str = "huge-pages";

/// Keeps the note; without it a killed test bed's pages would stay, which is no reason to fail.
fn note(added: u64) {
    let folder = signals::folder();
    if added > 0 {
        let _ = std::fs::create_dir_all(&folder);
        let _ = std::fs::write(folder.join(NOTE), added.to_string());
    } else {
        let _ = std::fs::remove_file(folder.join(NOTE));
        let _ = std::fs::remove_dir(folder);
    }
}

/// Gives back what a dead process, whose folder this is, had added.
pub fn give_back_of(folder: &Path) {
    let added = std::fs::read_to_string(folder.join(NOTE)).ok();
    give_back(added.and_then(|s| s.parse().ok()).unwrap_or(0));
}

fn give_back(n: u64) {
    if n > 0
        && let Ok(total) = read("nr_hugepages")
    {
        let _ = write(total.saturating_sub(n));
    }
}

/// Gives back what all holders have: for the way out on a signal.
pub fn give_back_all() {
    if let Ok(mut added) = ADDED.try_lock() {
        give_back(*added);
        *added = 0;
    }
}
