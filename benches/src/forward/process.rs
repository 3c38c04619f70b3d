//! Programs that take turns on a core.

use std::fs;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The core that forwards; the second one, where there are two workers, is 0.
pub const CORE: usize = 1;

/// Frames received, and the time stamp counter when they were counted: one pair for each core.
pub type Reading = Vec<(u64, u64)>;

/// A program that forwards.
pub trait Racer {
    /// What it is called in the results.
    fn name(&self) -> &'static str;
    /// Its process.
    fn process(&mut self) -> &mut Process;
    /// How far it is.
    ///
    /// # Errors
    /// It has died, or does not answer.
    fn read(&mut self) -> Result<Reading>;
    /// Where its cycles go, if it knows; it was stopped, and is again.
    ///
    /// # Errors
    /// It has died, or does not answer.
    fn stages(&mut self) -> Result<Vec<(String, f64)>> {
        Ok(Vec::new())
    }
    /// After a turn: whether what it did is what was asked for.
    ///
    /// # Errors
    /// It is not.
    fn check(&mut self) -> Result<()> {
        Ok(())
    }
}

/// A child that is killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    what: String,
}

impl Process {
    /// Starts it.
    ///
    /// # Errors
    /// It can't be run.
    pub fn start(command: &mut Command) -> Result<Self> {
        let what = format!("{command:?}");
        let child = command
            .spawn()
            .with_context(|| format!("can't run {what}"))?;
        Ok(Self { child, what })
    }

    /// Its command line, as it can be typed.
    pub fn command(&self) -> String {
        self.what.replace('"', "")
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// It is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(Pid::from_raw(self.child.id() as i32), signal)
            .with_context(|| format!("{} is gone", self.what))
    }

    /// An error if it has ended.
    ///
    /// # Errors
    /// It has.
    pub fn alive(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} has ended: {status}", self.what);
        }
        Ok(())
    }

    /// Makes the threads whose name begins so SCHED_FIFO, so that nothing else is run on their cores.
    ///
    /// # Errors
    /// There is none, or it is not allowed.
    pub fn fifo(&self, thread: &str) -> Result<()> {
        let mut done = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))?.flatten() {
            let name = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
            if name.starts_with(thread) {
                let id = task.file_name();
                let status = Command::new("chrt")
                    .args(["-f", "-p", "50"])
                    .arg(id)
                    .status()?;
                ensure!(status.success(), "chrt -f -p 50 of {} failed", self.what);
                done += 1;
            }
        }
        ensure!(done > 0, "{} has no thread {thread}", self.what);
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // SIGTERM first: the appliance gives back what it took of the machine.
        let _ = self.signal(Signal::SIGCONT);
        let _ = self.signal(Signal::SIGTERM);
        let end = Instant::now() + Duration::from_secs(10);
        while Instant::now() < end {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Frames a second and cycles a frame (of one core) of a turn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Speed {
    /// Million frames a second, all cores together.
    pub mpps: f64,
    /// Cycles of the time stamp counter for a frame.
    pub cycles: f64,
}

/// Lets it run for `warm` and then for `time`, and says how fast it was. It was stopped, and is again.
///
/// # Errors
/// It has died.
pub fn turn(racer: &mut dyn Racer, warm: Duration, time: Duration, hz: f64) -> Result<Speed> {
    racer.process().alive()?;
    racer.process().signal(Signal::SIGCONT)?;
    std::thread::sleep(warm);
    let before = racer.read()?;
    std::thread::sleep(time);
    let after = racer.read()?;
    racer.check()?;
    racer.process().signal(Signal::SIGSTOP)?;
    let (mut rate, mut packets, mut cycles) = (0.0, 0.0, 0.0);
    for (a, b) in after.iter().zip(&before) {
        let (p, c) = ((a.0 - b.0) as f64, (a.1 - b.1) as f64);
        rate += p / c;
        packets += p;
        cycles += c;
    }
    ensure!(packets > 0.0, "{} moved no frame", racer.name());
    Ok(Speed {
        mpps: rate * hz / 1e6,
        cycles: cycles / packets,
    })
}

/// Waits until it moves frames. It goes on doing so.
///
/// # Errors
/// It dies, or takes more than two minutes.
pub fn wait_ready(racer: &mut dyn Racer) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(120);
    loop {
        racer.process().alive()?;
        if racer
            .read()
            .is_ok_and(|r| !r.is_empty() && r.iter().all(|x| x.0 > 1_000_000))
        {
            return Ok(());
        }
        ensure!(Instant::now() < end, "{} moves no frame", racer.name());
        std::thread::sleep(Duration::from_millis(100));
    }
}
