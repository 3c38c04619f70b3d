//! A network namespace: made, entered, and taken down with all that runs in it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::cmd::{self, Done};
use super::signals;
use super::wait::{millis, secs, until};

/// A network namespace under `/run/netns`. This is its name: the [`Lab`](super::Lab) that made it takes it down.
#[derive(Debug, Clone)]
pub struct Netns {
    name: String,
}

impl Netns {
    /// Makes it, with its loopback up.
    ///
    /// # Errors
    /// When `ip netns add` does, for one because the name is taken.
    pub fn create(name: &str) -> Result<Self> {
        let making = signals::making();
        cmd::run(&format!("ip netns add {name}"))?;
        drop(making);
        let ns = Self {
            name: name.to_owned(),
        };
        ns.ip("link set lo up")?;
        Ok(ns)
    }

    /// One that is there already.
    #[must_use]
    pub fn known(name: &str) -> Self {
        Self {
            name: name.to_owned(),
        }
    }

    /// Its name, as `ip netns` knows it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }

    /// `ip` inside.
    ///
    /// # Errors
    /// When it fails.
    pub fn ip(&self, args: &str) -> Result<String> {
        cmd::output(
            Command::new("ip")
                .args(["-n", &self.name])
                .args(cmd::words(args)),
        )
    }

    /// A command that will run inside.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut c = Command::new("ip");
        c.args(["netns", "exec", &self.name]).arg(program);
        c
    }

    /// Runs `line`, split at blanks, inside, for 60 s at most; whatever its status.
    ///
    /// # Errors
    /// When it could not be started.
    pub fn finish(&self, line: &str) -> Result<Done> {
        cmd::finish(
            self.command("timeout")
                .args(["-k", "1", "60"])
                .args(cmd::words(line)),
        )
    }

    /// Runs `line`, split at blanks, inside, for 60 s at most, and returns its standard output.
    ///
    /// # Errors
    /// When it ends with another status than 0.
    pub fn run(&self, line: &str) -> Result<String> {
        cmd::output(
            self.command("timeout")
                .args(["-k", "1", "60"])
                .args(cmd::words(line)),
        )
    }

    /// Calls `f` on a thread that is inside.
    ///
    /// # Errors
    /// When the namespace can't be entered, or `f` fails or panics.
    pub fn enter<T: Send>(&self, f: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let path = self.path();
        std::thread::scope(|s| {
            s.spawn(move || {
                let ns = File::open(&path).with_context(|| format!("{}", path.display()))?;
                setns(&ns, CloneFlags::CLONE_NEWNET).context("setns")?;
                f()
            })
            .join()
            .map_err(|_| anyhow!("a thread inside the namespace panicked"))?
        })
    }

    /// Writes `/proc/sys/net/KEY`; `key` with slashes.
    ///
    /// # Errors
    /// When there is no such key.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        self.enter(|| {
            let p = Path::new("/proc/sys/net").join(key);
            std::fs::write(&p, value).with_context(|| format!("{}", p.display()))
        })
    }
}

/// Names of all namespaces that begin with `prefix`.
#[must_use]
pub fn named(prefix: &str) -> Vec<String> {
    let dir = std::fs::read_dir("/run/netns").into_iter().flatten();
    dir.filter_map(|e| e.ok()?.file_name().into_string().ok())
        .filter(|n| n.starts_with(prefix))
        .collect()
}

fn pids(name: &str) -> Vec<Pid> {
    let out = cmd::run(&format!("ip netns pids {name}")).unwrap_or_default();
    out.lines()
        .filter_map(|l| l.trim().parse().ok().map(Pid::from_raw))
        .collect()
}

/// Ends what runs in the namespace, politely first, and deletes it. Never fails: it is called while cleaning up.
pub fn remove(name: &str) {
    let me = nix::unistd::getpid();
    for (signal, patience) in [(Signal::SIGTERM, secs(5)), (Signal::SIGKILL, secs(2))] {
        let left: Vec<Pid> = pids(name).into_iter().filter(|&p| p != me).collect();
        if left.is_empty() {
            break;
        }
        for pid in &left {
            let _ = kill(*pid, signal);
        }
        let _ = until("the namespace's processes have ended", patience, || {
            Ok(left.iter().all(|p| ended(*p)))
        });
    }
    if cmd::run(&format!("ip netns del {name}")).is_err() {
        // A namespace that is being left by its last process can be busy for a moment.
        let _ = until("the namespace is gone", millis(500), || {
            Ok(cmd::run(&format!("ip netns del {name}")).is_ok())
        });
    }
}

/// Whether the process has ended: gone, or a zombie that waits for its parent.
#[must_use]
pub fn ended(pid: Pid) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat
            .rsplit(')')
            .next()
            .is_some_and(|s| s.trim_start().starts_with('Z')),
        Err(_) => true,
    }
}
