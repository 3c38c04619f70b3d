//! What tcpdump reads in a frame: the witness from outside that a frame is what was meant.

use std::process::Stdio;
use std::time::Instant;

use anyhow::{Result, ensure};

use super::Netns;
use super::wait::{millis, secs, until};

/// tcpdump at a device of a namespace reads one frame that passes the filter and has these words, while `make` makes such
/// frames.
///
/// # Errors
/// When it sees none in time, or reads something else.
pub fn seen(
    (ns, dev): (&Netns, &str),
    filter: &str,
    words: &[&str],
    make: impl Fn() -> Result<()>,
) -> Result<()> {
    let mut dump = ns
        .command("timeout")
        .args(["15", "tcpdump", "-Z", "root", "-n", "-l"])
        .args(["--immediate-mode", "-c", "1", "-i", dev, filter])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let begun = Instant::now();
    until("tcpdump has seen such a frame", secs(12), || {
        make()?;
        std::thread::sleep(millis(50));
        Ok(dump.try_wait()?.is_some())
    })?;
    let text = String::from_utf8(dump.wait_with_output()?.stdout)?;
    ensure!(
        words.iter().all(|w| text.contains(w)),
        "after {:?} tcpdump on {dev} says: {text:?}, not {words:?}",
        begun.elapsed()
    );
    Ok(())
}
