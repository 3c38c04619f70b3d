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

    /// Takes up the shell of a guest that came up for another process. What was answered to that one and not read is passed
    /// over.
    ///
    /// # Errors
    /// When the guest does not answer; for one because another process has its shell.
    pub fn resume(stream: UnixStream, within: Duration) -> Result<Self> {
        let mut guest = Self {
            to: stream.try_clone()?,
            from: BufReader::new(stream),
        };
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
        let word = format!("resumed-{}-{}", std::process::id(), now.as_nanos());
        let script = format!("echo {word}");
        guest
            .to
            .write_all(format!("10 {}\n{script}", script.len()).as_bytes())?;
        guest.to.set_read_timeout(Some(within))?;
        loop {
            let mut line = vec![];
            let n = guest.from.read_until(b'\n', &mut line);
            let n = n.context("the guest does not answer; does another process use its shell?")?;
            ensure!(n > 0, "the guest has ended");
            if line.strip_suffix(b"\n") == Some(word.as_bytes()) {
                return Ok(guest);
            }
        }
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

    /// Runs a script up to the first command that fails, and returns its standard output.
    ///
    /// # Errors
    /// When a command of it ends with another status than 0, with what it said.
    pub fn each(&mut self, script: &str, within: Duration) -> Result<String> {
        let done = self.finish_within(&format!("set -e\n{script}"), within)?;
        ensure!(
            done.ok(),
            "in the guest, the script ended with {:?}: {}",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_left_unread_is_passed_over() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let guest = std::thread::spawn(move || {
            let mut guest = BufReader::new(theirs);
            // The rest of an answer that nobody waited for any more, without an end of its line.
            guest.get_mut().write_all(b"0 7 0\nhalf \xff\nan").unwrap();
            for answer in ["", "said"] {
                let mut head = String::new();
                guest.read_line(&mut head).unwrap();
                let len: usize = head.trim().split(' ').nth(1).unwrap().parse().unwrap();
                let mut script = vec![0; len];
                guest.read_exact(&mut script).unwrap();
                let script = String::from_utf8(script).unwrap();
                let text = match answer {
                    "" => format!("{}\n", script.strip_prefix("echo ").unwrap()),
                    other => other.to_owned(),
                };
                let all = format!("0 {} 0\n{text}", text.len());
                guest.get_mut().write_all(all.as_bytes()).unwrap();
            }
        });
        let mut shell = Guest::resume(ours, secs(10)).unwrap();
        assert_eq!(shell.run("anything").unwrap(), "said");
        guest.join().unwrap();
    }
}
