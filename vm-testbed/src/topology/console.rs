//! The console of a guest, for a person at a terminal: keys go in as they are pressed, and what it says comes out.
//!
//! The terminal is set by stty(1) and set back at the end. Ctrl-] leaves, as in telnet.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::lab::cmd;

/// The key that leaves.
const LEAVE: u8 = 0x1d;

/// The terminal without echo, line by line no more; as before when dropped.
struct Raw {
    before: String,
}

impl Raw {
    fn new() -> Result<Self> {
        let before = stty(&["-g"])?.trim().to_owned();
        stty(&["raw", "-echo"])?;
        Ok(Self { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = stty(&[&self.before]);
    }
}

fn stty(args: &[&str]) -> Result<String> {
    let out = Command::new("stty")
        .args(args)
        .stdin(std::process::Stdio::inherit())
        .output()
        .context("can't run stty")?;
    let done = cmd::Done::from(out);
    anyhow::ensure!(done.ok(), "stty {args:?}: {}", done.text());
    Ok(done.stdout)
}

/// Sits a person at it.
///
/// # Errors
/// When the machine does not run, or standard input is no terminal.
pub fn sit_at(socket: &Path, node: &str) -> Result<()> {
    let console = UnixStream::connect(socket)
        .with_context(|| format!("{}: the machine of {node} does not run", socket.display()))?;
    eprintln!("The console of {node}: Enter wakes it, Ctrl-] leaves it.");
    let raw = Raw::new()?;
    let to = console.try_clone()?;
    std::thread::spawn(move || {
        let _ = keys(std::io::stdin().lock(), &to);
        let _ = to.shutdown(Shutdown::Both);
    });
    let shown = show(&console, std::io::stdout().lock());
    drop(raw);
    eprintln!();
    shown
}

/// Carries keys in until the one that leaves.
fn keys(mut from: impl Read, mut to: impl Write) -> Result<()> {
    let mut some = [0; 256];
    loop {
        let n = from.read(&mut some)?;
        let end = some[..n].iter().position(|b| *b == LEAVE);
        to.write_all(&some[..end.unwrap_or(n)])?;
        if n == 0 || end.is_some() {
            return Ok(());
        }
    }
}

/// Carries out what the guest says, as it comes.
fn show(mut from: impl Read, mut to: impl Write) -> Result<()> {
    let mut some = [0; 4096];
    loop {
        let n = from.read(&mut some)?;
        if n == 0 {
            return Ok(());
        }
        to.write_all(&some[..n])?;
        to.flush()?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_pass_until_the_one_that_leaves() {
        let mut taken = vec![];
        keys(&b"ls\r\x03more\x1dnever"[..], &mut taken).unwrap();
        assert_eq!(taken, b"ls\r\x03more");
        let mut shown = vec![];
        show(&b"said"[..], &mut shown).unwrap();
        assert_eq!(shown, b"said");
    }
}
