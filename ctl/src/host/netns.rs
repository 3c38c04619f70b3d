//! Network namespaces without a name: network_namespaces(7), setns(2), unshare(2).
//!
//! A namespace lives as long as somebody holds it: here a file, so it goes with the process, however that ends. What is to be
//! done in one is done by the calling thread, which is back when it returns; no other thread is moved.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};

/// The namespace of the calling thread.
const OWN: &str = "/proc/thread-self/ns/net";

/// A network namespace.
#[derive(Debug)]
pub(super) struct Netns(File);

impl Netns {
    /// A new one, with a loopback device that is down.
    pub(super) fn create() -> io::Result<Self> {
        // By a thread of its own: who unshares is in it.
        let made = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            File::open(OWN)
        });
        let made = made.join();
        made.unwrap_or_else(|_| Err(io::Error::other("a thread panicked")))
            .map(Self)
    }

    /// Does something in it.
    ///
    /// # Errors
    /// The kernel does not let the thread in; then nothing was done.
    pub(super) fn enter<T>(&self, what: impl FnOnce() -> T) -> io::Result<T> {
        /// Goes back, also by a panic.
        struct Back(File);
        impl Drop for Back {
            fn drop(&mut self) {
                if let Err(e) = setns(&self.0, CloneFlags::CLONE_NEWNET) {
                    // What this thread does from now on would be done in the wrong place.
                    tracing::error!("can't leave a VRF's namespace: {e}");
                    std::process::abort();
                }
            }
        }
        let back = Back(File::open(OWN)?);
        setns(&self.0, CloneFlags::CLONE_NEWNET)?;
        let done = what();
        drop(back);
        Ok(done)
    }

    /// Tells it from every other one that is held.
    pub(super) fn id(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.ino())
    }

    /// Where others find it, while this process runs.
    pub(super) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }
}
