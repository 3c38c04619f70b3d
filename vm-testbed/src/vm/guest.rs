//! Commands in the guest: a virtio port carries scripts in, and their output and status out (`init.sh` is the other end).
//!
//! One command at a time. Each has its own deadline in the guest, where it is killed, and a longer one here, should the
//! guest itself hang.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::lab::cmd::Done;
use crate::lab::wait::secs;

/// How long a command may take in the guest, if nothing else is said.
const COMMAND: Duration = secs(30);
/// How much longer the guest may take to tell of it.
const SLACK: Duration = secs(30);

/// The shell of a guest.
#[derive(Debug)]
pub struct Guest {
    to: UnixStream,
    from: BufReader<UnixStream>,
}

impl Guest {
    /// Waits for the guest to come up at the other end.
    ///
    /// # Errors
    /// When it does not.
    pub fn greet(stream: UnixStream, within: Duration) -> Result<Self> {
        let mut guest = Self {
            to: stream.try_clone()?,
            from: BufReader::new(stream),
        };
        let line = guest.line(within).context("the guest does not come up")?;
        ensure!(line == "hello", "the guest says `{line}`");
        Ok(guest)
    }

    fn line(&mut self, within: Duration) -> Result<String> {
        self.to.set_read_timeout(Some(within))?;
        let mut line = String::new();
        let n = self.from.read_line(&mut line);
        let n = n.with_context(|| format!("no answer within {} s", within.as_secs()))?;
        ensure!(n > 0, "the guest has ended");
        Ok(line.trim_end().to_owned())
    }

    /// Runs a script of the shell to its end and returns what it left, whatever its status. What it starts in the
    /// background must have its output elsewhere.
    ///
    /// # Errors
    /// When the guest does not answer.
    pub fn finish(&mut self, script: &str) -> Result<Done> {
        self.finish_within(script, COMMAND)
    }

    /// The same with another deadline.
    ///
    /// # Errors
    /// When the guest does not answer.
    pub fn finish_within(&mut self, script: &str, within: Duration) -> Result<Done> {
        let request = format!("{} {}\n{script}", within.as_secs(), script.len());
        self.to.write_all(request.as_bytes())?;
        let head = self
            .line(within + SLACK)
            .with_context(|| format!("in the guest: {script}"))?;
        let mut fields = head.split(' ').map(str::parse::<usize>);
        let (Some(Ok(status)), Some(Ok(out)), Some(Ok(err))) =
            (fields.next(), fields.next(), fields.next())
        else {
            bail!("the guest answered `{head}` to: {script}");
        };
        Ok(Done {
            status: i32::try_from(status).ok(),
            stdout: self.text(out)?,
            stderr: self.text(err)?,
        })
    }

    fn text(&mut self, len: usize) -> Result<String> {
        let mut bytes = vec![0; len];
        self.from.read_exact(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Runs a script and returns its standard output.
    ///
    /// # Errors
    /// When it ends with another status than 0, with what it said.
    pub fn run(&mut self, script: &str) -> Result<String> {
        let done = self.finish(script)?;
        ensure!(
            done.ok(),
            "in the guest, `{script}` ended with {:?}: {}",
            done.status,
            done.text()
        );
        Ok(done.stdout)
    }

    /// The text of a small file, without the white space at its end; empty when it can't be read.
    ///
    /// # Errors
    /// When the guest does not answer.
    pub fn read(&mut self, path: &str) -> Result<String> {
        let done = self.finish(&format!("cat {path}"))?;
        Ok(done.stdout.trim_end().to_owned())
    }

    /// Writes a small file.
    ///
    /// # Errors
    /// When the guest can't.
    pub fn write(&mut self, path: &str, text: &str) -> Result<()> {
        self.run(&format!("cat >{path} <<'END-OF-FILE'\n{text}\nEND-OF-FILE"))
            .map(drop)
    }
}
