//! Was BGP spoken here a moment ago? RFC 4724 4.1: then neighbours may have kept our routes, and are told that we restarted.
//!
//! A file beside the API's socket says so: it is touched every few seconds while a neighbour is asked to wait for us
//! (`graceful-restart = "full"`), and left where it is by an end of which neighbours are not told, a crash among them. What is
//! older than the restart time is of no use to anybody: they have waited in vain.
//!
//! Whether packets went on by our routes meanwhile (the F bit) is said as it is: where routes are put into the forwarding
//! tables they went with the process, so no; where `install = false`, others forward, so yes.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use tracing::warn;

/// Between two touches.
const EVERY: Duration = Duration::from_secs(5);

/// The file.
#[derive(Debug, Default)]
pub(super) struct Marker {
    path: Option<PathBuf>,
    /// When it is to be touched; `None`: nobody is asked to wait for us.
    next: Option<Instant>,
}

impl Marker {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: Some(path.to_owned()),
            next: None,
        }
    }

    /// Was it touched within so long?
    pub(super) fn is_fresh(&self, within: Duration) -> bool {
        let touched = self.path.as_ref().and_then(|p| fs::metadata(p).ok());
        let touched = touched.and_then(|m| m.modified().ok());
        let age = touched.and_then(|t| SystemTime::now().duration_since(t).ok());
        age.is_some_and(|age| age <= within + EVERY)
    }

    /// From now on somebody is asked to wait for us, or nobody.
    pub(super) fn keep(&mut self, wanted: bool, now: Instant) {
        if wanted {
            self.next = self.next.or(Some(now));
            self.turn(now);
        } else {
            self.next = None;
            if let Some(path) = &self.path {
                // It may never have been there.
                let _ = fs::remove_file(path);
            }
        }
    }

    pub(super) fn poll_at(&self) -> Option<Instant> {
        self.next
    }

    /// Touches it, if it is time.
    pub(super) fn turn(&mut self, now: Instant) {
        let (Some(path), true) = (&self.path, self.next.is_some_and(|at| at <= now)) else {
            return;
        };
        self.next = Some(now + EVERY);
        if let Err(e) = fs::write(path, "BGP is spoken here; neighbours wait for a restart\n") {
            warn!(
                "bgp: {} can't be written: {e}; a restart will not be known as one",
                path.display()
            );
            self.path = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_is_known_for_a_while() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.sock.restart");
        let (minute, now) = (Duration::from_secs(60), Instant::now());
        let mut m = Marker::new(&path);
        assert!(!m.is_fresh(minute) && m.poll_at().is_none());
        m.keep(true, now);
        assert!(m.is_fresh(minute) && m.poll_at() == Some(now + EVERY));
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(70))
            .unwrap();
        assert!(!m.is_fresh(minute), "they have waited in vain");
        m.turn(now + EVERY);
        assert!(m.is_fresh(minute), "touched again");
        m.keep(false, now);
        assert!(!path.exists() && m.poll_at().is_none());
    }
}
