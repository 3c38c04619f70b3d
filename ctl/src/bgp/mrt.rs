//! What neighbours say, into files: `[mrt]` of the configuration; records are the speaker's [`Journal`].
//!
//! A thread of its own writes, so that a slow disk holds nobody up: the control thread hands it whole records when it has room,
//! else they wait in the journal, which drops what it has no room for and counts it. A file is named by the moment at
//! which it was due to begin, `updates.20261122.160000.mrt` (UTC). A write that fails is taken back, so a file has whole
//! records only; after a crash the rest of a record at its end is cut off before more is appended.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use bgp::mrt::HEADER;
use bgp::speaker::{Journal, Speaker};
use crossbeam::channel::{Receiver, Sender, bounded};
use tracing::{error, info, warn};

use crate::config::watch::Mrt;

/// Octets that wait in the journal at most, and so many that they are handed on at once.
const MOST: usize = 4 << 20;
const ENOUGH: usize = 64 << 10;
/// Others are handed on after so long.
const LATEST: Duration = Duration::from_secs(1);
/// Lots that the writer has not written yet.
const LOTS: usize = 4;

/// What became of it.
#[derive(Clone, Debug, Default)]
struct State {
    file: Option<PathBuf>,
    octets: u64,
    /// Octets that could not be written.
    lost: u64,
    error: String,
}

/// The files, and who writes them.
pub(super) struct Log {
    told: Mrt,
    lots: Option<Sender<Vec<u8>>>,
    state: Arc<Mutex<State>>,
    writer: Option<JoinHandle<()>>,
    next: Instant,
    /// Records dropped that the operator was told of.
    told_dropped: u64,
}

impl Log {
    /// Begins to write down what neighbours say.
    pub(super) fn begin(told: &Mrt, speaker: &mut Speaker, now: Instant) -> Self {
        let (lots, from) = bounded(LOTS);
        let state = Arc::default();
        let writer = Writer {
            told: told.clone(),
            file: None,
            state: Arc::clone(&state),
        };
        let thread = std::thread::Builder::new().name("mrt".into());
        let writer = thread.spawn(move || writer.run(&from));
        if let Err(e) = &writer {
            error!("mrt: no thread could be had for the files: {e}; nothing is written");
        } else {
            info!(
                "mrt: what neighbours say is written to {}",
                told.updates.display()
            );
        }
        let journal = writer.is_ok().then(|| Journal::new(MOST));
        speaker.keep_journal(journal);
        Self {
            told: told.clone(),
            lots: Some(lots),
            state,
            writer: writer.ok(),
            next: now + LATEST,
            told_dropped: 0,
        }
    }

    pub(super) fn is(&self, told: &Mrt) -> bool {
        self.told == *told
    }

    /// When there may be something to hand on.
    pub(super) fn poll_at(&self) -> Instant {
        self.next
    }

    /// Hands on what waits, if it is much or has waited long enough.
    pub(super) fn turn(&mut self, speaker: &mut Speaker, now: Instant) {
        let Some(journal) = speaker.journal() else {
            return;
        };
        let due = self.next <= now;
        if due {
            self.next = now + LATEST;
        }
        let enough = journal.len() >= ENOUGH || (due && !journal.is_empty());
        if let Some(lots) = self.lots.as_ref().filter(|l| enough && !l.is_full()) {
            // Nobody else sends: there is room. Without a reader, what was sent is gone, as is the thread.
            let _ = lots.try_send(journal.take());
        }
        let dropped = journal.counts().1;
        if dropped > self.told_dropped && due {
            warn!(
                "mrt: {} records were dropped: the disk is slower than neighbours speak",
                dropped - self.told_dropped
            );
            self.told_dropped = dropped;
        }
    }

    /// How it goes.
    pub(super) fn show(&self, speaker: Option<&mut Speaker>) -> api::MrtLog {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let journal = speaker.and_then(Speaker::journal);
        let (records, dropped) = journal.map_or((0, 0), |j| j.counts());
        api::MrtLog {
            directory: self.told.updates.display().to_string(),
            file: (state.file.as_ref()).map_or_else(String::new, |f| f.display().to_string()),
            records,
            dropped_records: dropped,
            written_bytes: state.octets,
            lost_bytes: state.lost,
            error: state.error.clone(),
        }
    }

    /// Writes what is left.
    pub(super) fn end(mut self, speaker: Option<&mut Speaker>) {
        let rest = speaker
            .and_then(|s| s.keep_journal(None))
            .map(|mut j| j.take());
        if let (Some(lots), Some(rest)) = (self.lots.take(), rest.filter(|r| !r.is_empty())) {
            let _ = lots.send_timeout(rest, LATEST);
        }
        // Its sender is gone: it ends when it has written what it has.
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

struct Writer {
    told: Mrt,
    /// The file, its length, and when it is over.
    file: Option<(File, u64, u64)>,
    state: Arc<Mutex<State>>,
}

impl Writer {
    fn run(mut self, lots: &Receiver<Vec<u8>>) {
        let mut failing = false;
        for lot in lots {
            let done = self.write(&lot);
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            match done {
                Ok(()) => {
                    state.octets += lot.len() as u64;
                    state.error.clear();
                    if std::mem::take(&mut failing) {
                        info!("mrt: writing goes on; {} octets were lost", state.lost);
                    }
                }
                Err(e) => {
                    state.lost += lot.len() as u64;
                    state.error = format!("{}: {e}", self.told.updates.display());
                    if !std::mem::replace(&mut failing, true) {
                        error!(
                            "mrt: {}; records are lost until that is mended",
                            state.error
                        );
                    }
                }
            }
        }
    }

    fn write(&mut self, lot: &[u8]) -> io::Result<()> {
        let time = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |d| d.as_secs());
        if self.file.as_ref().is_none_or(|f| f.2 <= time) {
            self.file = None;
            let begin = time - time % u64::from(self.told.rotate);
            let name = self
                .told
                .updates
                .join(format!("updates.{}.mrt", stamp(begin)));
            let (file, len) = open(&self.told.updates, &name)?;
            self.file = Some((file, len, begin + u64::from(self.told.rotate)));
            self.state
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .file = Some(name);
            if self.told.keep > 0 {
                remove_old(&self.told.updates, self.told.keep as usize);
            }
        }
        let Some((file, len, _)) = &mut self.file else {
            return Ok(());
        };
        match file.write_all(lot) {
            Ok(()) => *len += lot.len() as u64,
            Err(e) => {
                // What was written of the lot may end inside a record.
                let back = file
                    .set_len(*len)
                    .and_then(|()| file.seek(SeekFrom::Start(*len)));
                if back.is_err() {
                    self.file = None;
                }
                return Err(e);
            }
        }
        Ok(())
    }
}

/// Opens a file to be gone on with: behind its last whole record.
fn open(directory: &Path, name: &Path) -> io::Result<(File, u64)> {
    fs::create_dir_all(directory)?;
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(name)?;
    let end = file.metadata()?.len();
    let mut at = 0;
    while at + HEADER as u64 <= end {
        let mut header = [0; HEADER];
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(&mut header)?;
        let len = u32::from_be_bytes([header[8], header[9], header[10], header[11]]);
        let next = at + HEADER as u64 + u64::from(len);
        if next > end {
            break;
        }
        at = next;
    }
    file.set_len(at)?;
    file.seek(SeekFrom::Start(at))?;
    Ok((file, at))
}

/// The oldest files go, so that `keep` stay.
fn remove_old(directory: &Path, keep: usize) {
    let ours = |name: &str| name.starts_with("updates.") && name.ends_with(".mrt");
    let Ok(all) = fs::read_dir(directory) else {
        return;
    };
    let names = all.flatten().map(|e| e.file_name());
    let mut names: Vec<_> = names.filter(|n| n.to_str().is_some_and(ours)).collect();
    names.sort_unstable();
    names.truncate(names.len().saturating_sub(keep));
    for name in names {
        let path = directory.join(name);
        if let Err(e) = fs::remove_file(&path) {
            warn!("mrt: {} can't be removed: {e}", path.display());
        }
    }
}

/// `20261122.160000` of seconds since 1970, by the calendar that always was (Hinnant, "chrono-compatible low-level date
/// algorithms").
fn stamp(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let z = days + 719_468;
    let (era, doe) = (z / 146_097, z % 146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + u64::from(month <= 2);
    format!(
        "{year:04}{month:02}{day:02}.{:02}{:02}{:02}",
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record with so many octets behind its header.
    fn record(len: u8) -> Vec<u8> {
        let mut r = vec![0, 0, 0, 1, 0, 16, 0, 4, 0, 0, 0, len];
        r.extend(vec![7; len.into()]);
        r
    }

    fn writer(dir: &Path, rotate: u32, keep: u32) -> Writer {
        Writer {
            told: Mrt {
                updates: dir.to_owned(),
                rotate,
                keep,
            },
            file: None,
            state: Arc::default(),
        }
    }

    #[test]
    fn days_have_names() {
        for (seconds, name) in [
            (0, "19700101.000000"),
            (951_782_399, "20000228.235959"),
            (951_782_400, "20000229.000000"),
            (1_795_363_200, "20261122.160000"),
            (4_107_542_400, "21000301.000000"),
        ] {
            assert_eq!(stamp(seconds), name);
        }
    }

    #[test]
    fn a_file_has_whole_records() {
        let dir = tempfile::tempdir().unwrap();
        let mut w = writer(&dir.path().join("new"), 86_400, 0);
        w.write(&[record(3), record(0)].concat()).unwrap();
        let name = w.state.lock().unwrap().file.clone().unwrap();
        drop(w);
        // A crash left a part of a record.
        let whole = fs::read(&name).unwrap();
        for cut in [5, 12, 14] {
            fs::write(&name, [&whole[..], &record(9)[..cut]].concat()).unwrap();
            let mut w = writer(&dir.path().join("new"), 86_400, 0);
            w.write(&record(1)).unwrap();
            assert_eq!(fs::read(&name).unwrap(), [&whole[..], &record(1)].concat());
            fs::write(&name, &whole).unwrap();
        }
    }

    #[test]
    fn old_files_go() {
        let dir = tempfile::tempdir().unwrap();
        for day in 1..9 {
            let name = format!("updates.2020010{day}.000000.mrt");
            fs::write(dir.path().join(name), "").unwrap();
        }
        fs::write(dir.path().join("a.txt"), "mine").unwrap();
        let mut w = writer(dir.path(), 86_400, 3);
        w.write(&record(1)).unwrap();
        let all = fs::read_dir(dir.path()).unwrap().flatten();
        let mut names: Vec<_> = all.map(|e| e.file_name().into_string().unwrap()).collect();
        names.sort();
        let last = w.state.lock().unwrap().file.clone().unwrap();
        let last = last.file_name().unwrap().to_str().unwrap().to_owned();
        let kept = ["updates.20200107.000000.mrt", "updates.20200108.000000.mrt"];
        assert_eq!(names, ["a.txt", kept[0], kept[1], &last]);
    }

    #[test]
    fn a_disk_that_is_full_is_told_of_and_costs_records_only() {
        // Nothing is written to this device, whatever its length is said to be.
        let mut w = writer(Path::new("/dev"), 86_400, 0);
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        w.file = Some((full, 0, u64::MAX));
        let state = Arc::clone(&w.state);
        let (to, from) = bounded(4);
        to.send(record(1)).unwrap();
        to.send(record(2)).unwrap();
        drop(to);
        // The second lot is refused by the directory, should the device have been given up.
        w.told.updates = PathBuf::from("/dev/full/no");
        w.run(&from);
        let state = state.lock().unwrap();
        assert_eq!((state.octets, state.lost), (0, 27));
        assert!(state.error.starts_with("/dev/full/no: "), "{}", state.error);
    }
}
