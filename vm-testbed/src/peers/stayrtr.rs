//! StayRTR: an RPKI-to-Router cache (RFC 8210) with the ROAs that it is given.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Result;
use nix::sys::signal::Signal;
use serde_json::json;

use super::Daemon;
use crate::lab::wait::secs;
use crate::lab::{Netns, cmd};

/// A running stayrtr.
#[derive(Debug)]
pub struct Stayrtr {
    daemon: Daemon,
    file: PathBuf,
}

/// A ROA: prefix, longest length, AS.
pub type Roa<'a> = (&'a str, u8, u32);

fn text(roas: &[Roa<'_>]) -> String {
    let all: Vec<_> = roas
        .iter()
        .map(|(prefix, max, asn)| {
            json!({"prefix": prefix, "maxLength": max, "asn": format!("AS{asn}"), "ta": "test"})
        })
        .collect();
    // "buildtime" in the future: it looks whether the list is old.
    json!({"metadata": {"buildtime": "2100-01-01T00:00:00Z"}, "roas": all}).to_string()
}

impl Stayrtr {
    /// Starts it at that address.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(
        folder: &Path,
        name: &str,
        ns: &Netns,
        at: SocketAddr,
        roas: &[Roa<'_>],
    ) -> Result<Self> {
        let file = folder.join(format!("{name}.json"));
        std::fs::write(&file, text(roas))?;
        let line = format!(
            "stayrtr -bind {at} -cache {} -checktime=false -refresh 3600",
            file.display()
        );
        let mut words = cmd::words(&line);
        words.extend(["-metrics.addr", ""]);
        let daemon = Daemon::start(folder, name, ns, &words)?;
        let stayrtr = Self { daemon, file };
        let port = format!(":{:04X} ", at.port());
        stayrtr.daemon.until("it listens", secs(10), || {
            let listening = ns.run("cat /proc/net/tcp /proc/net/tcp6")?;
            Ok(listening
                .lines()
                .any(|l| l.contains(&port) && l.contains(" 0A ")))
        })?;
        Ok(stayrtr)
    }

    /// Its process.
    #[must_use]
    pub fn daemon(&self) -> &Daemon {
        &self.daemon
    }

    /// Gives it other ROAs; it tells its routers.
    ///
    /// # Errors
    /// When it is gone.
    pub fn set(&self, roas: &[Roa<'_>]) -> Result<()> {
        std::fs::write(&self.file, text(roas))?;
        self.daemon.signal(Signal::SIGHUP)
    }
}
