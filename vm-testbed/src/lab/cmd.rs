//! Running other programs, with a deadline, and errors that say what was run and what it said.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

/// What a finished program left.
#[derive(Debug, Clone)]
pub struct Done {
    /// Exit status; `None` when a signal ended it.
    pub status: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl From<Output> for Done {
    fn from(o: Output) -> Self {
        Self {
            status: o.status.code(),
            stdout: String::from_utf8_lossy(&o.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&o.stderr).into_owned(),
        }
    }
}

impl Done {
    /// Whether it ended with status 0.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.status == Some(0)
    }

    /// Both outputs, for messages.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr).trim().to_owned()
    }
}

/// The file of this very program, to be run once more by this process or its children, as long as it lives.
///
/// Not the path it was started from: a build that runs meanwhile (`cargo testbed test` makes several) puts another
/// program there.
#[must_use]
pub fn this_program() -> PathBuf {
    format!("/proc/{}/exe", std::process::id()).into()
}

/// Words of a command line, split at blanks.
#[must_use]
pub fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

fn shown(cmd: &Command) -> String {
    let args = cmd.get_args().map(|a| a.to_string_lossy().into_owned());
    std::iter::once(cmd.get_program().to_string_lossy().into_owned())
        .chain(args)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Runs it to its end and returns what it left, whatever its status.
///
/// # Errors
/// When it could not be started.
pub fn finish(cmd: &mut Command) -> Result<Done> {
    let out = cmd.stdin(Stdio::null()).output();
    Ok(out
        .with_context(|| format!("can't run: {}", shown(cmd)))?
        .into())
}

/// Runs it to its end and returns its standard output.
///
/// # Errors
/// When it could not be started, or ended with another status than 0.
pub fn output(cmd: &mut Command) -> Result<String> {
    let done = finish(cmd)?;
    if !done.ok() {
        let status = done
            .status
            .map_or("a signal".to_owned(), |s| format!("status {s}"));
        bail!("`{}` ended with {status}: {}", shown(cmd), done.text());
    }
    Ok(done.stdout)
}

/// Runs `line`, split at blanks.
///
/// # Errors
/// As [`output`].
pub fn run(line: &str) -> Result<String> {
    let w = words(line);
    output(Command::new(w[0]).args(&w[1..]))
}

/// Whether a program of that name is on the PATH or in the folders of the superuser.
#[must_use]
pub fn exists(program: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(["/usr/sbin", "/sbin", "/usr/local/bin"])
        .any(|d| std::path::Path::new(d).join(program).is_file())
}
