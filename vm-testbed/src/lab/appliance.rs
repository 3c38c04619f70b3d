//! A running `trunkline` in a namespace, driven through `trunkctl` as a user does it.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::cmd::{self, Done};
use super::config::{Config, Memory};
use super::counters::Counters;
use super::leftovers::Snapshot;
use super::netns::Netns;
use super::wait::{eventually, secs, until};

/// A started appliance. Dropped without [`Appliance::stop`], it is killed.
#[derive(Debug)]
pub struct Appliance {
    ns: Netns,
    config: PathBuf,
    socket: PathBuf,
    log: PathBuf,
    child: Option<Child>,
    started: Instant,
    before: Snapshot,
    pages: bool,
}

/// One of the built programs.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    crate::binaries().join(name)
}

impl Appliance {
    /// Writes the configuration and starts it; files lie in `folder`.
    ///
    /// # Errors
    /// When it can't be run.
    pub fn spawn(folder: &Path, name: &str, ns: &Netns, config: &Config) -> Result<Self> {
        let path = folder.join(format!("{name}.toml"));
        std::fs::write(&path, config.text()).with_context(|| format!("{}", path.display()))?;
        Self::spawn_file(folder, name, ns, &path, config.flavor().memory)
    }

    /// Starts it with a configuration file that is there already.
    ///
    /// # Errors
    /// When it can't be run.
    pub fn spawn_file(
        folder: &Path,
        name: &str,
        ns: &Netns,
        config: &Path,
        memory: Memory,
    ) -> Result<Self> {
        let pages = memory == Memory::Hugepages;
        let mut a = Self {
            ns: ns.clone(),
            config: config.to_owned(),
            socket: folder.join(format!("{name}.sock")),
            log: folder.join(format!("{name}.log")),
            child: None,
            started: Instant::now(),
            before: Snapshot::take(ns, pages)?,
            pages,
        };
        a.launch()?;
        Ok(a)
    }

    fn launch(&mut self) -> Result<()> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut c = self.ns.command(program("trunkline"));
        c.arg("-c")
            .arg(&self.config)
            .arg("--socket")
            .arg(&self.socket);
        c.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.started = Instant::now();
        self.child = Some(c.spawn().context("can't run trunkline")?);
        Ok(())
    }

    /// Starts it again after it has ended, with the same files.
    ///
    /// # Errors
    /// When it can't be run, or is not ready in time.
    pub fn start_again(&mut self) -> Result<()> {
        ensure!(self.child.is_none(), "it still runs");
        self.launch()?;
        self.ready()
    }

    /// When it was started.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Its namespace.
    #[must_use]
    pub fn ns(&self) -> &Netns {
        &self.ns
    }

    /// Its socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Its configuration file.
    #[must_use]
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The last lines of what it has logged, for messages.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    /// The process.
    ///
    /// # Errors
    /// When it has ended.
    pub fn pid(&self) -> Result<Pid> {
        let c = self.child.as_ref().ok_or_else(|| anyhow!("it has ended"))?;
        Ok(Pid::from_raw(c.id().cast_signed()))
    }

    /// Whether the process is there.
    #[must_use]
    pub fn alive(&self) -> bool {
        self.pid().is_ok_and(|p| !super::netns::ended(p))
    }

    /// Runs `trunkctl` on it, whatever its status.
    ///
    /// # Errors
    /// When trunkctl could not be started.
    pub fn ctl(&self, line: &str) -> Result<Done> {
        let mut c = std::process::Command::new("timeout");
        c.args(["-k", "1", "30"])
            .arg(program("trunkctl"))
            .arg("--socket")
            .arg(&self.socket);
        cmd::finish(c.args(cmd::words(line)))
    }

    /// Runs `trunkctl`, which must succeed.
    ///
    /// # Errors
    /// With what it said, when it does not.
    pub fn must(&self, line: &str) -> Result<String> {
        let done = self.ctl(line)?;
        ensure!(
            done.ok(),
            "`trunkctl {line}` ended with {:?}: {}",
            done.status,
            done.text()
        );
        Ok(done.stdout)
    }

    /// What `trunkctl --json LINE` prints.
    ///
    /// # Errors
    /// When it fails or prints no JSON.
    pub fn json(&self, line: &str) -> Result<Value> {
        let text = self.must(&format!("--json {line}"))?;
        serde_json::from_str(&text)
            .with_context(|| format!("`trunkctl --json {line}` printed no JSON: {text}"))
    }

    /// The counters of all interfaces.
    ///
    /// # Errors
    /// When they can't be had.
    pub fn counters(&self) -> Result<Counters> {
        Counters::parse(&self.json("interface show")?)
    }

    /// The counters once they have stopped moving.
    ///
    /// # Errors
    /// When they move for ten seconds.
    pub fn counters_at_rest(&self) -> Result<Counters> {
        let mut last = self.counters()?;
        eventually("the counters come to rest", secs(10), || {
            std::thread::sleep(super::wait::millis(15));
            let now = self.counters()?;
            let rest = now == last;
            last = now.clone();
            Ok(rest.then_some(now))
        })
    }

    /// Waits until the counters obey the law and stand still.
    ///
    /// # Errors
    /// When they do not within five seconds.
    pub fn law(&self) -> Result<Counters> {
        eventually("the counters add up at rest", secs(5), || {
            let c = self.counters_at_rest()?;
            c.law()?;
            Ok(Some(c))
        })
    }

    /// Waits until the API answers, every interface is there and every one that is up has link.
    ///
    /// # Errors
    /// When it ends first, with what it logged, or is not ready within ten seconds.
    pub fn ready(&self) -> Result<()> {
        let ready = until("the appliance is ready", secs(10), || {
            if !self.alive() {
                return Ok(true);
            }
            let done = self.ctl("--json interface show")?;
            ensure!(done.ok(), "{}", done.text());
            let all: Value = serde_json::from_str(&done.stdout)?;
            let all = all.as_array().ok_or_else(|| anyhow!("no array"))?;
            let wanted = std::fs::read_to_string(&self.config)?
                .matches("\n[interface.")
                .count();
            ensure!(all.len() >= wanted, "{} of {wanted} interfaces", all.len());
            Ok(all.iter().all(|i| i["link"] == "up" || i["up"] == false))
        });
        let said = || format!("trunkline said:\n{}", self.log_tail());
        ready.with_context(said)?;
        if !self.alive() {
            return Err(anyhow!("it ended at once")).with_context(said);
        }
        // The kernel calls addresses tentative for a moment after a TAP came up, and does not answer for them until then.
        until(
            "the kernel has all addresses of the router",
            secs(5),
            || Ok(self.ns.ip("-6 addr show tentative")?.trim().is_empty()),
        )
    }

    /// Waits for the process to end.
    ///
    /// # Errors
    /// When it does not.
    pub fn wait(&mut self, within: Duration) -> Result<ExitStatus> {
        let child = self
            .child
            .as_mut()
            .ok_or_else(|| anyhow!("it has ended already"))?;
        let status = eventually("trunkline ends", within, || Ok(child.try_wait()?))?;
        self.child = None;
        Ok(status)
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When the process is not there.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(self.pid()?, signal)?)
    }

    /// SIGKILL; it can be started again.
    ///
    /// # Errors
    /// When the process is not there.
    pub fn kill(&mut self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        self.wait(secs(5)).map(drop)
    }

    /// SIGTERM, and looks whether anything is left; it can be started again.
    ///
    /// # Errors
    /// When it does not end within five seconds with status 0, or leaves something.
    pub fn terminate(&mut self) -> Result<()> {
        self.signal(Signal::SIGTERM)?;
        let status = self
            .wait(secs(5))
            .with_context(|| format!("it said:\n{}", self.log_tail()))?;
        ensure!(
            status.success(),
            "after SIGTERM it ended with {status}:\n{}",
            self.log_tail()
        );
        self.nothing_left()
    }

    /// Looks whether all is as it was before it was first started.
    ///
    /// # Errors
    /// When something is left.
    pub fn nothing_left(&self) -> Result<()> {
        if self.socket.exists() {
            bail!("the socket {} is left", self.socket.display());
        }
        until("nothing of it is left", secs(3), || {
            Snapshot::take(&self.ns, self.pages)?.same_as(&self.before)?;
            Ok(true)
        })
    }

    /// Ends it for good.
    ///
    /// # Errors
    /// As [`Appliance::terminate`].
    pub fn stop(mut self) -> Result<()> {
        self.terminate()
    }

    /// Leaves it running when dropped.
    pub fn leave(mut self) {
        self.child = None;
    }

    /// Resident memory in bytes.
    ///
    /// # Errors
    /// When the process is not there.
    pub fn resident(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()?))?;
        let kib = status
            .lines()
            .find_map(|l| l.strip_prefix("VmRSS:"))
            .and_then(|v| v.trim().trim_end_matches(" kB").parse::<u64>().ok())
            .context("no VmRSS")?;
        Ok(kib * 1024)
    }

    /// CPU time it has used, all threads together.
    ///
    /// # Errors
    /// When the process is not there.
    pub fn cpu_time(&self) -> Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid()?))?;
        let rest: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap_or("")
            .split_whitespace()
            .collect();
        let ticks = |i: usize| {
            rest.get(i)
                .and_then(|v| v.parse::<u64>().ok())
                .context("stat")
        };
        // Fields 14 and 15 of proc(5), counted behind the name; a tick is 10 ms on every Linux we run on.
        Ok(Duration::from_millis((ticks(11)? + ticks(12)?) * 10))
    }
}

impl Appliance {
    /// `NAME-trunkctl.log`, beside `NAME.log`.
    fn dump_file(&self) -> Result<PathBuf> {
        let name = self.log.file_stem().context("a name")?.to_string_lossy();
        Ok(self.log.with_file_name(format!("{name}-trunkctl.log")))
    }

    /// Writes down what an unhappy end may have had to do with, beside the log. Its end does that, if it was not done before.
    pub(crate) fn last_words(&self) {
        let Ok(mut file) = self.dump_file().and_then(|f| Ok(File::create(f)?)) else {
            return;
        };
        for line in LAST_WORDS {
            if let Ok(done) = self.ctl(line) {
                let text = done.text();
                let lines: Vec<&str> = text.lines().take(LAST_LINES).collect();
                let _ = writeln!(file, "--- trunkctl {line}\n{}", lines.join("\n"));
            }
        }
    }
}

/// What is asked of an appliance that runs when its scenario has failed.
const LAST_WORDS: &[&str] = &[
    "status",
    "interface show",
    "drop show",
    "neigh show",
    "worker show",
    "rcu show",
    "memory show",
    "route show",
    "label show",
    "bgp summary",
    "bgp neighbor",
    "bgp route",
    "config show",
];
/// Lines that are kept of each: a table can have a million.
const LAST_LINES: usize = 2000;

impl Drop for Appliance {
    fn drop(&mut self) {
        let told = self.dump_file().is_ok_and(|f| f.exists());
        if self.alive() && !told {
            self.last_words();
        }
        if let Some(mut c) = self.child.take() {
            let _ = kill(Pid::from_raw(c.id().cast_signed()), Signal::SIGTERM);
            let over = until("it ends", secs(3), || Ok(c.try_wait()?.is_some()));
            if over.is_err() {
                let _ = c.kill();
                let _ = c.wait();
            }
        }
    }
}
