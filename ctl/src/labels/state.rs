//! The state file: the labels that were given, so that a restart gives the same ones again.
//!
//! A line a label: `LABEL OWNER FEC`. Static labels are not in it, as the configuration has them. The file is written beside
//! itself, synced and renamed, by a thread of its own: it is always a whole one, and the control thread waits for no disk. At
//! most the last second is lost by a crash; neighbours are then told other labels, as their sessions begin anew anyway.
//! What was read is held for as long as neighbours may take to come back ([`RESTART`]), and given to who asks for the same.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bgp::types::Rd;
use net::Label;
use tracing::{info, warn};

use super::{Binding, Fec, Manager, Owner};

/// How long labels of the last run wait for their owners.
pub(super) const RESTART: Duration = Duration::from_secs(300);
/// What the file begins with.
const HEAD: &str = "# Labels that this router has given: LABEL OWNER FEC. Written by trunkline; removed, others are given.\n";

/// Where it is, and who writes it now.
#[derive(Debug, Default)]
pub struct StateFile {
    path: Option<PathBuf>,
    writing: Option<JoinHandle<io::Result<()>>>,
    /// The last time it could not be written, and that was said.
    failed: bool,
}

impl StateFile {
    /// It is there.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self {
            path: Some(path.to_owned()),
            writing: None,
            failed: false,
        }
    }

    /// Takes over what the last run has left.
    pub fn restore(&self, manager: &mut Manager, now: Instant) {
        let Some(path) = &self.path else { return };
        match fs::read_to_string(path) {
            Ok(text) => {
                let found = manager.restore(&text, now);
                info!("labels: {found} of the last run are kept for who had them");
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => warn!(
                "labels: {} can't be read: {e}; other labels are given than in the last run",
                path.display()
            ),
        }
    }

    /// Has what changed written. To be called every second or so; nobody is waited for.
    pub fn turn(&mut self, manager: &mut Manager) {
        if self.writing.as_ref().is_some_and(|w| !w.is_finished()) {
            return;
        }
        self.wait(manager);
        let Some(path) = self.path.clone().filter(|_| manager.dirty) else {
            return;
        };
        manager.dirty = false;
        let text = manager.text();
        let thread = std::thread::Builder::new().name("labels".into());
        match thread.spawn(move || write(&path, text.as_deref())) {
            Ok(w) => self.writing = Some(w),
            Err(e) => self.fail(&e, manager),
        }
    }

    /// Writes what changed, and waits for it: this is the end.
    pub fn finish(&mut self, manager: &mut Manager) {
        self.wait(manager);
        self.turn(manager);
        self.wait(manager);
    }

    fn wait(&mut self, manager: &mut Manager) {
        let Some(w) = self.writing.take() else { return };
        match w.join() {
            Ok(Ok(())) => self.failed = false,
            Ok(Err(e)) => self.fail(&e, manager),
            Err(_) => self.fail(&io::Error::other("its thread has died"), manager),
        }
    }

    fn fail(&mut self, e: &io::Error, manager: &mut Manager) {
        manager.dirty = true;
        if let (Some(path), false) = (&self.path, self.failed) {
            warn!(
                "labels: {} can't be written: {e}; it is tried again, and until then a restart gives other labels",
                path.display()
            );
        }
        self.failed = true;
    }
}

/// Puts the text in the place of the file; none: the file goes.
fn write(path: &Path, text: Option<&str>) -> io::Result<()> {
    let Some(text) = text else {
        return match fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        };
    };
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let mut file = File::create(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    let directory = path.parent().filter(|p| !p.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

impl Manager {
    /// The file's text; `None`: there is nothing to be kept.
    pub(super) fn text(&self) -> Option<String> {
        let mut text = String::from(HEAD);
        let current = |l: &Label, b: &Binding| self.of.get(&(b.owner, b.fec.clone())) == Some(l);
        let all = self.labels.iter().filter(|(_, b)| b.owner != Owner::Static);
        // What has another label by now only rests: it comes last.
        let (now, rest): (Vec<_>, Vec<_>) = all.partition(|(l, b)| current(l, b));
        for (label, b) in now.into_iter().chain(rest) {
            let _ = writeln!(text, "{label} {} {}", b.owner.name(), word(&b.fec));
        }
        (text.len() > HEAD.len()).then_some(text)
    }

    /// Takes over a file's text: all of it is held, as far as it does not contradict what is there. Returns how many labels
    /// wait for who had them.
    pub(super) fn restore(&mut self, text: &str, now: Instant) -> usize {
        let end = now + RESTART.max(self.ranges.hold);
        let mut found = 0;
        for line in text
            .lines()
            .filter(|l| !l.is_empty() && !l.starts_with('#'))
        {
            let Some((label, owner, fec)) = read(line) else {
                warn!("labels: the state file has a line that means nothing: {line:?}");
                continue;
            };
            if self.labels.contains_key(&label) {
                continue;
            }
            let range = match (owner, &fec) {
                (Owner::SegmentRouting, _) => self.ranges.srgb.unwrap_or(self.ranges.dynamic),
                (_, Fec::Vrf(_)) => self.ranges.vrf.unwrap_or(self.ranges.dynamic),
                _ => self.ranges.dynamic,
            };
            let key = (owner, fec);
            // What is not in the range any more only rests.
            if range.contains(label) && !self.of.contains_key(&key) {
                self.of.insert(key.clone(), label);
                found += 1;
            }
            let (owner, fec) = key;
            let held = Some(end);
            self.labels.insert(label, Binding { owner, fec, held });
            self.ends.insert((end, label));
        }
        found
    }
}

/// A FEC in the file.
fn word(fec: &Fec) -> String {
    match fec {
        Fec::Label(l) => format!("label {l}"),
        Fec::Prefix(p) => format!("prefix {p}"),
        Fec::Vrf(name) => format!("vrf {name}"),
        Fec::VrfNextHop(name, a, dev) => format!("vrf-next-hop {a} {dev} {name}"),
        Fec::VrfPrefix(name, p) => format!("vrf-prefix {p} {name}"),
        Fec::VpnPrefix(rd, p) => format!("vpn-prefix {p} {:016x}", u64::from_be_bytes(rd.0)),
    }
}

fn read(line: &str) -> Option<(Label, Owner, Fec)> {
    let mut words = line.splitn(4, ' ');
    let label = Label::new(words.next()?.parse().ok()?).filter(|l| !l.is_reserved())?;
    let owner = words.next()?;
    let owner = Owner::ALL.into_iter().find(|o| o.name() == owner)?;
    let (kind, rest) = (words.next()?, words.next()?);
    let fec = match kind {
        "prefix" => Fec::Prefix(rest.parse().ok()?),
        "vrf" => Fec::Vrf(rest.to_owned()),
        "vrf-next-hop" => {
            let mut words = rest.splitn(3, ' ');
            let (address, dev) = (words.next()?.parse().ok()?, words.next()?);
            Fec::VrfNextHop(words.next()?.to_owned(), address, dev.to_owned())
        }
        "vrf-prefix" => {
            let (p, name) = rest.split_once(' ')?;
            Fec::VrfPrefix(name.to_owned(), p.parse().ok()?)
        }
        "vpn-prefix" => {
            let (p, rd) = rest.split_once(' ')?;
            let rd = u64::from_str_radix(rd, 16).ok()?;
            Fec::VpnPrefix(Rd(rd.to_be_bytes()), p.parse().ok()?)
        }
        _ => return None,
    };
    (owner != Owner::Static).then_some((label, owner, fec))
}
