//! What the measurement ran on, and how it got a quiet place there: real-time priority, hugepages.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hugepages::held::{self, Held};
use hugepages::pages;
use hugepages::sys::Sys;

/// The machine and the moment. No names: results are published.
#[derive(Debug, Clone, Default)]
pub struct Host {
    /// Model of the processor.
    pub cpu: String,
    /// Cores that are online.
    pub cores: usize,
    /// Release of the kernel.
    pub kernel: String,
    /// Whether the processor has AVX-512.
    pub avx512: bool,
    /// Where the rivals' tables lie.
    pub memory: String,
    /// UTC, to the minute.
    pub date: String,
    /// Commit of the working tree, with a `+` where it was changed.
    pub commit: String,
    /// The command that was given.
    pub command: String,
}

impl Host {
    /// This one.
    pub fn here(memory: String, command: String) -> Self {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |name: &str| {
            let line = info.lines().find(|l| l.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let model = field("model name").unwrap_or_default();
        let numbers = ["cpu family", "model\t", "stepping"].map(|n| field(n).unwrap_or_default());
        let first = |program: &str, args: &[&str]| {
            let out = Command::new(program)
                .args(args)
                .current_dir(env!("CARGO_MANIFEST_DIR"))
                .stderr(Stdio::null())
                .output();
            out.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned())
                .unwrap_or_default()
        };
        let changed = first("git", &["status", "--porcelain", "--untracked-files=no"]);
        let commit = first("git", &["rev-parse", "--short=10", "HEAD"]);
        Self {
            cpu: format!("{model} (family/model/stepping {})", numbers.join("/")),
            cores: info.lines().filter(|l| l.starts_with("processor")).count(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
                .unwrap_or_default()
                .trim()
                .to_owned(),
            avx512: field("flags").is_some_and(|f| f.split(' ').any(|w| w == "avx512f")),
            memory,
            date: first("date", &["-u", "+%Y-%m-%dT%H:%MZ"]),
            commit: format!("{commit}{}", if changed.is_empty() { "" } else { "+" }),
            command,
        }
    }

    /// In one line.
    pub fn summary(&self) -> String {
        let simd = if self.avx512 { "AVX-512" } else { "no AVX-512" };
        format!(
            "{}, {} cores, {simd}, Linux {}, {}",
            self.cpu, self.cores, self.kernel, self.memory
        )
    }
}

/// A command line as it is published: of files their names only, and without the folder that programs were taken from.
pub fn command_line(args: impl Iterator<Item = String>) -> String {
    let mut all: Vec<String> = Vec::new();
    for arg in args {
        if all.last().is_some_and(|a| a == "--programs") {
            all.pop();
            continue;
        }
        all.push(file_name(Path::new(&arg)));
    }
    all.join(" ")
}

/// The last part of a path: where it lies is nobody's business.
#[must_use]
pub fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}

/// While this lives, the calling thread goes before all others on its core.
#[derive(Debug)]
pub struct Realtime {
    thread: Option<String>,
}

impl Realtime {
    /// For the calling thread; without effect where the user may not.
    pub fn enter() -> Self {
        let thread = fs::read_link("/proc/thread-self")
            .ok()
            .and_then(|p| Some(p.file_name()?.to_str()?.to_owned()));
        let thread = thread.filter(|t| chrt(&["-f", "-p", "50", t]));
        Self { thread }
    }

    /// Whether it worked.
    pub fn is_on(&self) -> bool {
        self.thread.is_some()
    }
}

impl Drop for Realtime {
    fn drop(&mut self) {
        if let Some(t) = &self.thread {
            chrt(&["-o", "-p", "0", t]);
        }
    }
}

fn chrt(args: &[&str]) -> bool {
    Command::new("chrt")
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
}

/// Lets others have the core for a moment. A thread that keeps it with real-time priority is stopped by the kernel for 50 ms
/// of each second in which others wait, and that would be in somebody's figures.
pub fn breathe() {
    std::thread::sleep(Duration::from_millis(4));
}

/// Breathes often enough for work that goes on for longer than a second: 4 ms of each 40, where the kernel would take 50 of
/// each 1,000 in one piece.
#[derive(Debug)]
pub struct Breath(Instant);

impl Breath {
    /// Breathes now, for the first time.
    pub fn start() -> Self {
        breathe();
        Self(Instant::now())
    }

    /// To be called between two things that are measured; sleeps if it is time to.
    pub fn when_due(&mut self) {
        if self.0.elapsed() > Duration::from_millis(36) {
            *self = Self::start();
        }
    }
}

/// Hugepages for the rivals' tables, given back with it.
#[derive(Debug)]
pub struct Reserved {
    _held: Held,
}

impl Reserved {
    /// As many MiB of 2 MiB pages, on the first node that has them.
    ///
    /// # Errors
    /// Why there are none, in one line.
    pub fn new(mib: u64) -> Result<Self, String> {
        const SIZE_KIB: u64 = 2048;
        let sys = Sys::default();
        // A folder of its own: what a killed run left is given back, and nothing else is.
        let dir = Path::new("/run/trunkline-bench");
        held::recover(&sys, dir);
        let mut held = Held::open_as(&sys, dir, "bench").map_err(|e| e.to_string())?;
        let node = pages::pools(&sys)
            .iter()
            .find(|p| p.size_kib == SIZE_KIB)
            .map_or(0, |p| p.node);
        pages::reserve(&sys, &mut held, node, SIZE_KIB, mib * 1024 / SIZE_KIB)
            .map_err(|e| e.to_string())?;
        Ok(Self { _held: held })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_published_has_no_paths() {
        let args = "--join --table /a/b/t4.xz --programs /x/release --only ipv4-1,mpls --rounds 3";
        let shown = command_line(args.split(' ').map(str::to_owned));
        assert_eq!(shown, "--join --table t4.xz --only ipv4-1,mpls --rounds 3");
    }
}
