//! Labs are taken down by `Drop`; this is for the ends that run no destructors. SIGINT, SIGTERM and SIGHUP take down
//! everything this process made, and each run first removes what a killed run left behind.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard};

use anyhow::Result;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::netns;
use super::pages;

/// What the names of everything this process makes begin with.
#[must_use]
pub fn prefix() -> String {
    format!("tl-{}-", std::process::id())
}

/// The folder for the files of this process's labs.
#[must_use]
pub fn folder() -> PathBuf {
    std::env::temp_dir().join(format!("tl-{}", std::process::id()))
}

/// What else a signal is to take down: a prefix of namespaces and a folder.
static ALSO: Mutex<Option<(String, PathBuf)>> = Mutex::new(None);

/// Held for reading while something is made that a signal is to take down, and for writing from the signal on.
static MAKING: RwLock<()> = RwLock::new(());

/// To be held while something is made that [`sweep`] finds by its name. Does not come back once a signal is taking things down:
/// what were made then would be left.
pub fn making() -> RwLockReadGuard<'static, ()> {
    MAKING.read().unwrap_or_else(PoisonError::into_inner)
}

/// From now on a signal takes this down, too: what is made to stay, while it is being made.
pub fn also(prefix: &str, folder: &Path) {
    let mut also = ALSO.lock().unwrap_or_else(PoisonError::into_inner);
    *also = Some((prefix.to_owned(), folder.to_owned()));
}

/// Takes down every namespace whose name begins with `prefix`, and `folder`.
pub fn sweep(prefix: &str, folder: &std::path::Path) {
    for name in netns::named(prefix) {
        netns::remove(&name);
    }
    let _ = std::fs::remove_dir_all(folder);
}

/// Installs the handler; to be called once, first.
///
/// # Errors
/// When the kernel refuses.
pub fn install() -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            eprintln!("\ntestbed: taking the labs down …");
            let _nothing_more = MAKING.write().unwrap_or_else(PoisonError::into_inner);
            sweep(&prefix(), &folder());
            let also = ALSO.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((prefix, folder)) = also.as_ref() {
                sweep(prefix, folder);
            }
            pages::give_back_all();
            let _ = std::fs::remove_dir_all(folder());
            std::process::exit(128 + signal);
        }
    });
    Ok(())
}

/// The pid in a name like `tl-1234-lab-r1` or `tl-1234`.
fn pid_of(name: &str) -> Option<u32> {
    name.strip_prefix("tl-")?.split('-').next()?.parse().ok()
}

/// Removes the labs of test beds that are no longer alive; returns how many namespaces that were.
pub fn remove_stale() -> usize {
    let dead = |pid: u32| !std::path::Path::new(&format!("/proc/{pid}")).exists();
    let stale: Vec<String> = netns::named("tl-")
        .into_iter()
        .filter(|n| pid_of(n).is_some_and(dead))
        .collect();
    for name in &stale {
        netns::remove(name);
    }
    for entry in std::fs::read_dir(std::env::temp_dir())
        .into_iter()
        .flatten()
        .flatten()
    {
        let name = entry.file_name().into_string().unwrap_or_default();
        if pid_of(&name).is_some_and(dead) {
            pages::give_back_of(&entry.path());
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    stale.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pids_in_names() {
        assert_eq!(pid_of("tl-12-demo-r1"), Some(12));
        assert_eq!(pid_of("tl-12"), Some(12));
        assert_eq!(pid_of("tl-demo-r1"), None);
        assert_eq!(pid_of("other-12"), None);
    }
}
