//! Keys of TCP MD5 (RFC 2385) that change while the appliance runs: added, another one, taken away. It only listens, so what is in force
//! is what its listening socket has; nobody else's session notices.

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use super::{Around, around, asn, neighbor, sections, setup};
use crate::lab::wait::{secs, until};
use crate::peers::{Announce, Make, Setup, Speaker};
use crate::suite::Options;

/// Who changes keys, as neighbours 1 and 2.
const MAKES: [Make; 2] = [Make::Bird, Make::Frr];

fn prefix(n: u8) -> String {
    format!("198.51.{n}.0/24")
}

/// Segments that the kernel has dropped: without a key that is wanted, with one that is not, with a wrong one.
fn dropped(lab: &Around) -> Result<u64> {
    let text = lab.a.ns().run("cat /proc/net/netstat")?;
    let names = ["TCPMD5NotFound", "TCPMD5Unexpected", "TCPMD5Failure"];
    Ok(names
        .map(|n| super::features::counter(&text, n))
        .iter()
        .sum())
}

/// The sections of both neighbours; those named have a file with a key.
fn bgp(keyed: &[u8]) -> String {
    let one = |n: u8| {
        let key = format!("passive = true\npassword-file = \"key{n}\"");
        let more = if keyed.contains(&n) {
            key.as_str()
        } else {
            "passive = true"
        };
        neighbor(n, asn(n), more)
    };
    sections(&[one(1), one(2)])
}

struct Bed {
    lab: Around,
    peers: Vec<Box<dyn Speaker>>,
    started: usize,
}

impl Bed {
    /// Neighbour `n` is made anew, with that key.
    fn start(&mut self, n: u8, key: Option<&str>) -> Result<Setup> {
        let mut s = setup(n).announce(Announce::new(&prefix(n)));
        s.password = key.map(str::to_owned);
        let make = MAKES[usize::from(n) - 1];
        self.started += 1;
        let name = format!("{make:?}{}", self.started).to_lowercase();
        let space = &self.lab.spaces[usize::from(n) - 1];
        let new = make.start(self.lab.lab.folder(), &name, space, &s)?;
        match self.peers.get_mut(usize::from(n) - 1) {
            Some(old) => *old = new,
            None => self.peers.push(new),
        }
        Ok(s)
    }

    fn peer(&self, n: u8) -> &dyn Speaker {
        self.peers[usize::from(n) - 1].as_ref()
    }

    /// The appliance has another key of `n` now: who has the one before is not heard any more, who has the new one is.
    fn changed(&mut self, n: u8, key: Option<&str>) -> Result<()> {
        let peer = setup(n).peer;
        until("the session with the key before ends", secs(15), || {
            Ok(!self.peer(n).established(peer)?)
        })?;
        let before = dropped(&self.lab)?;
        until("who has the key before is not heard", secs(15), || {
            ensure!(
                !self.peer(n).established(peer)?,
                "a session with the key before"
            );
            Ok(dropped(&self.lab)? > before)
        })?;
        let gone = self.peers.get_mut(usize::from(n) - 1);
        gone.context("no neighbour")?.daemon_mut().kill()?;
        let s = self.start(n, key)?;
        self.lab.established(self.peer(n), &s)?;
        self.lab.wait_routes(&prefix(n), 1)?;
        Ok(())
    }
}

/// See the list of scenarios. RFC 2385.
///
/// # Errors
/// When it fails.
pub fn changed(o: &Options) -> Result<()> {
    let lab = around("bb-keys", &o.flavor, 2, &bgp(&[]))?;
    let first = std::fs::read_to_string(lab.a.config())?;
    let pid = lab.a.pid()?;
    let folder = lab.lab.folder().to_owned();
    let apply = |lab: &Around, keyed: &[u8]| -> Result<()> {
        let next = first.replace(bgp(&[]).trim_end(), bgp(keyed).trim_end());
        ensure!(keyed.is_empty() || next != first, "{first}");
        let file = folder.join("next.toml");
        std::fs::write(&file, next)?;
        lab.a.must(&format!("config apply {}", file.display()))?;
        Ok(())
    };
    let mut bed = Bed {
        lab,
        peers: vec![],
        started: 0,
    };
    for n in [1, 2] {
        let s = bed.start(n, None)?;
        bed.lab.established(bed.peer(n), &s)?;
    }
    for (n, other) in [(1, 2), (2, 1)] {
        let file = folder.join(format!("key{n}"));
        let of_other = setup(other).local.to_string();
        let sessions = bed.lab.neighbor(&of_other)?["established"].clone();
        let make = MAKES[usize::from(n) - 1];
        // One that had none gets one.
        std::fs::write(&file, "correct-horse\n")?;
        apply(&bed.lab, &[n])?;
        bed.changed(n, Some("correct-horse"))
            .with_context(|| format!("{make:?}: a key is added"))?;
        // Another one: the file alone changes, and the configuration is read again.
        std::fs::write(&file, "battery-staple\n")?;
        bed.lab.a.signal(Signal::SIGHUP)?;
        bed.changed(n, Some("battery-staple"))
            .with_context(|| format!("{make:?}: another key"))?;
        apply(&bed.lab, &[])?;
        bed.changed(n, None)
            .with_context(|| format!("{make:?}: the key is taken away"))?;
        let now = bed.lab.neighbor(&of_other)?["established"].clone();
        ensure!(
            now == sessions,
            "the other neighbour's session was made anew: {now}"
        );
    }
    ensure!(bed.lab.a.pid()? == pid, "the appliance is another");
    bed.lab.end(bed.peers)
}
