//! A daemon in a namespace: started with a log of its own, ended by its process id.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::lab::Netns;
use crate::lab::wait::{eventually, secs, until};

/// A running program. Dropped, it is ended: politely first, by its process id.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    log: PathBuf,
    child: Option<Child>,
}

impl Daemon {
    /// Starts `line` (a program and its arguments, no shell) in the namespace; what it says goes to `FOLDER/NAME.log`.
    ///
    /// # Errors
    /// When it can't be run.
    pub fn start<S: AsRef<OsStr>>(
        folder: &Path,
        name: &str,
        ns: &Netns,
        line: &[S],
    ) -> Result<Self> {
        Self::start_with(folder, name, ns, line, &[])
    }

    /// The same with more in its environment.
    ///
    /// # Errors
    /// When it can't be run.
    pub fn start_with<S: AsRef<OsStr>>(
        folder: &Path,
        name: &str,
        ns: &Netns,
        line: &[S],
        env: &[(&str, &str)],
    ) -> Result<Self> {
        let (program, args) = line.split_first().context("an empty command line")?;
        let log = folder.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log)?;
        let mut c = ns.command(program);
        c.args(args).envs(env.iter().copied()).current_dir(folder);
        c.stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        let child = c.spawn().with_context(|| format!("can't run {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            log,
            child: Some(child),
        })
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process.
    ///
    /// # Errors
    /// When it was ended.
    pub fn pid(&self) -> Result<Pid> {
        let child = self.child.as_ref();
        let child = child.with_context(|| format!("{} was ended", self.name))?;
        Ok(Pid::from_raw(child.id().cast_signed()))
    }

    /// Whether it still runs.
    #[must_use]
    pub fn alive(&self) -> bool {
        self.pid().is_ok_and(|p| !crate::lab::netns::ended(p))
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The last lines of its log, for messages.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    /// Waits until `cond` holds; an error of it is told when time is up.
    ///
    /// # Errors
    /// When time is up or it has ended, with what it logged.
    pub fn until(
        &self,
        what: &str,
        within: Duration,
        mut cond: impl FnMut() -> Result<bool>,
    ) -> Result<()> {
        let what = format!("{}: {what}", self.name);
        let waited = until(&what, within, || Ok(!self.alive() || cond()?));
        let said = || format!("{} said:\n{}", self.name, self.log_tail());
        waited.with_context(said)?;
        if !self.alive() {
            bail!("{what}: it has ended; {}", said());
        }
        Ok(())
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When it is not there.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(self.pid()?, signal).with_context(|| format!("{} is gone", self.name))
    }

    /// Ends it at once, without a word to its neighbours.
    ///
    /// # Errors
    /// When it is not there.
    pub fn kill(&mut self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        self.wait(secs(5))
    }

    /// Ends it as an administrator would.
    ///
    /// # Errors
    /// When it does not end within five seconds.
    pub fn stop(&mut self) -> Result<()> {
        self.signal(Signal::SIGTERM)?;
        self.wait(secs(5))
    }

    fn wait(&mut self, within: Duration) -> Result<()> {
        let what = format!("{} ends", self.name);
        let child = self.child.as_mut().context("it was ended")?;
        eventually(&what, within, || Ok(child.try_wait()?))?;
        self.child = None;
        Ok(())
    }

    /// What it has used and holds.
    ///
    /// # Errors
    /// When it is not there.
    pub fn usage(&self) -> Result<Usage> {
        let usage = Usage::of(self.pid()?);
        usage.with_context(|| format!("what {} uses; it said:\n{}", self.name, self.log_tail()))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.child.is_some() && self.stop().is_err() {
            let _ = self.kill();
        }
    }
}

/// What a process has used and holds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// CPU time of all its threads, in seconds.
    pub cpu: f64,
    /// Resident memory, in bytes.
    pub resident: u64,
    /// The most that it was.
    pub peak: u64,
}

impl Usage {
    /// That of a process.
    ///
    /// # Errors
    /// When it is not there.
    pub fn of(pid: Pid) -> Result<Self> {
        let mut ns = 0;
        for task in std::fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
            // A thread may end while we look.
            let text = std::fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            let first = text.split_whitespace().next();
            ns += first.and_then(|w| w.parse::<u64>().ok()).unwrap_or(0);
        }
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let kib = |key: &str| -> Option<u64> {
            let line = status.lines().find_map(|l| l.strip_prefix(key))?;
            line.trim().trim_end_matches(" kB").parse().ok()
        };
        let (resident, peak) = (kib("VmRSS:"), kib("VmHWM:"));
        ensure!(resident.is_some(), "process {pid} has ended");
        Ok(Self {
            cpu: ns as f64 / 1e9,
            resident: resident.unwrap_or(0) * 1024,
            peak: peak.unwrap_or(0) * 1024,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_use_something_ourselves() {
        let me = Usage::of(nix::unistd::getpid()).unwrap();
        assert!(me.resident > 100_000 && me.peak >= me.resident, "{me:?}");
        let mut x = 1u64;
        let more = || Usage::of(nix::unistd::getpid()).unwrap().cpu > me.cpu;
        until("time passes", secs(5), || {
            (0..1_000_000u64).for_each(|i| x = x.wrapping_mul(i | 1));
            Ok(more() && x != 0)
        })
        .unwrap();
    }
}
