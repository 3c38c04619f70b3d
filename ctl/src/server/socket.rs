//! The socket, and the lock beside it that keeps a second instance away: unix(7), flock(2).
//!
//! The lock is `SOCKET.lock`, held as long as the process lives, whatever ends it; the pid in it is for the message. The socket is
//! made in a directory of its own that nobody else may enter, given its mode, and moved into place: it is never seen with another
//! mode, and the process's umask, which other threads share, is left alone.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{
    DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown,
};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use hugepages::held;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// The longest path that the kernel takes for a socket, without its closing zero.
const MAX_PATH: usize = 107;
/// Owner and group may speak to the appliance.
const MODE: u32 = 0o660;
/// Members of this group may, where there is one.
const GROUP: &str = "trunkline";

/// The right to serve a socket: held from [`Instance::claim`] until dropped.
#[derive(Debug)]
pub struct Instance {
    socket: PathBuf,
    lock_path: PathBuf,
    /// The socket is ours to remove.
    made: bool,
    _lock: Flock<File>,
}

/// Why a socket can't be served.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// Another appliance has it.
    #[error(
        "another trunkline (pid {pid}) serves {socket}; stop it, or give this one a socket of its own with --socket PATH"
    )]
    Taken {
        /// Which socket.
        socket: PathBuf,
        /// Whose it is; "unknown" if it did not say.
        pid: String,
    },
    /// The path can't be used.
    #[error("cannot serve {socket}: {reason}")]
    Unusable {
        /// Which socket.
        socket: PathBuf,
        /// Cause and remedy.
        reason: String,
    },
}

fn beside(socket: &Path, suffix: &str) -> PathBuf {
    let mut name = socket.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

impl Instance {
    /// Claims `socket`: makes its directory, locks `SOCKET.lock`, and removes what a killed appliance left.
    ///
    /// # Errors
    /// Another appliance serves it, or the path can't be used.
    pub fn claim(socket: &Path) -> Result<Self, ClaimError> {
        let socket = std::path::absolute(socket).unwrap_or_else(|_| socket.to_owned());
        let unusable = |reason: String| ClaimError::Unusable {
            socket: socket.clone(),
            reason,
        };
        if socket.as_os_str().len() > MAX_PATH {
            return Err(unusable(format!(
                "its path is longer than {MAX_PATH} octets; choose a shorter one with --socket PATH"
            )));
        }
        let Some(parent) = socket.parent().filter(|_| socket.file_name().is_some()) else {
            return Err(unusable("it is a directory; name a file in it".into()));
        };
        let missing = !parent.is_dir();
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(parent)
            .map_err(|e| {
                unusable(format!(
                    "cannot make its directory: {e}; run this as root, or use --socket PATH"
                ))
            })?;
        if missing {
            held::remember(parent);
        }
        let lock_path = beside(&socket, ".lock");
        let lock = lock(&lock_path).map_err(|e| match e {
            LockError::Held(pid) => ClaimError::Taken {
                socket: socket.clone(),
                pid,
            },
            LockError::Io(e) => unusable(format!(
                "cannot lock {}: {e}; run this as root, or use --socket PATH",
                lock_path.display()
            )),
        })?;
        let instance = Self {
            lock_path,
            made: false,
            _lock: lock,
            socket: socket.clone(),
        };
        // From here on `instance` cleans up after itself.
        clear(&socket).map_err(unusable)?;
        Ok(instance)
    }

    /// The socket's path.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Listens on the socket, for owner and group alone.
    pub(super) fn listen(&mut self) -> io::Result<UnixListener> {
        let private = beside(&self.socket, ".new");
        let _ = std::fs::remove_file(private.join("s"));
        let _ = std::fs::remove_dir(&private);
        DirBuilder::new().mode(0o700).create(&private)?;
        let made = self.listen_in(&private);
        let _ = std::fs::remove_file(private.join("s"));
        let _ = std::fs::remove_dir(&private);
        self.made = made.is_ok();
        made
    }

    fn listen_in(&self, private: &Path) -> io::Result<UnixListener> {
        // By its descriptor, because the longer path might not fit.
        let directory = File::open(private)?;
        let listener = UnixListener::bind(format!("/proc/self/fd/{}/s", directory.as_raw_fd()))?;
        let made = private.join("s");
        std::fs::set_permissions(&made, Permissions::from_mode(MODE))?;
        if let Ok(Some(group)) = nix::unistd::Group::from_name(GROUP)
            && let Err(error) = chown(&made, None, Some(group.gid.as_raw()))
        {
            tracing::warn!(
                "cannot give {} to the group {GROUP}: {error}",
                self.socket.display()
            );
        }
        std::fs::rename(&made, &self.socket)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // The lock goes last, by itself: until then nobody else can have made these.
        if self.made {
            let _ = std::fs::remove_file(&self.socket);
        }
        let _ = std::fs::remove_file(&self.lock_path);
        if let Some(dir) = self.socket.parent() {
            held::tidy(dir);
        }
    }
}

enum LockError {
    Held(String),
    Io(io::Error),
}

fn lock(path: &Path) -> Result<Flock<File>, LockError> {
    // The one who held it removes it when done: what was locked must still be what lies there.
    for _ in 0..100 {
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644);
        let file = options.open(path).map_err(LockError::Io)?;
        let mut locked = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(locked) => locked,
            Err((mut file, Errno::EWOULDBLOCK)) => {
                let mut pid = String::new();
                let _ = file.read_to_string(&mut pid);
                let pid = pid.trim();
                return Err(LockError::Held(if pid.is_empty() {
                    "unknown".into()
                } else {
                    pid.into()
                }));
            }
            Err((_, error)) => return Err(LockError::Io(error.into())),
        };
        let same = |there: std::fs::Metadata| {
            locked
                .metadata()
                .is_ok_and(|own| (own.dev(), own.ino()) == (there.dev(), there.ino()))
        };
        if !std::fs::metadata(path).is_ok_and(same) {
            continue;
        }
        locked
            .set_len(0)
            .and_then(|()| writeln!(*locked, "{}", std::process::id()))
            .map_err(LockError::Io)?;
        return Ok(locked);
    }
    Err(LockError::Io(io::Error::other(
        "it is replaced all the time",
    )))
}

/// Removes a socket that nobody listens on.
fn clear(socket: &Path) -> Result<(), String> {
    let found = match std::fs::symlink_metadata(socket) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found.map_err(|e| e.to_string())?,
    };
    if !found.file_type().is_socket() {
        return Err(
            "something that is no socket lies there; move it away, or use --socket PATH".into(),
        );
    }
    if UnixStream::connect(socket).is_ok() {
        return Err("another program listens on it; stop that, or use --socket PATH".into());
    }
    std::fs::remove_file(socket)
        .map_err(|e| format!("cannot remove the socket that was left there: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_and_nothing_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("run/t.sock");
        let mut first = Instance::claim(&socket).unwrap();
        let listener = first.listen().unwrap();
        let found = std::fs::metadata(&socket).unwrap();
        assert_eq!(found.mode() & 0o7777, 0o660);
        UnixStream::connect(&socket).unwrap();
        let error = Instance::claim(&socket).unwrap_err().to_string();
        let start = format!(
            "another trunkline (pid {}) serves {}; stop it",
            std::process::id(),
            socket.display()
        );
        assert!(error.starts_with(&start), "{error}");
        UnixStream::connect(&socket).expect("the first one is not disturbed");
        drop((first, listener));
        let run = dir.path().join("run");
        assert!(!run.exists(), "it had made the folder");
        drop(Instance::claim(&socket).unwrap());
        assert!(!run.exists());
        // Another's folder stays.
        let theirs = dir.path().join("theirs");
        std::fs::create_dir(&theirs).unwrap();
        drop(Instance::claim(&theirs.join("t.sock")).unwrap());
        assert_eq!(std::fs::read_dir(&theirs).unwrap().count(), 0);
    }

    #[test]
    fn what_a_killed_one_left_is_cleared() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("t.sock");
        drop(UnixListener::bind(&socket).unwrap());
        std::fs::write(beside(&socket, ".lock"), "4711\n").unwrap();
        std::fs::create_dir(beside(&socket, ".new")).unwrap();
        drop(UnixListener::bind(beside(&socket, ".new").join("s")).unwrap());
        let mut instance = Instance::claim(&socket).unwrap();
        let _listener = instance.listen().unwrap();
        UnixStream::connect(&socket).unwrap();
        let pid = std::fs::read_to_string(beside(&socket, ".lock")).unwrap();
        assert_eq!(pid.trim(), std::process::id().to_string());
    }

    #[test]
    fn what_is_not_ours_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("t.sock");
        std::fs::write(&socket, "a letter").unwrap();
        let error = Instance::claim(&socket).unwrap_err().to_string();
        assert!(error.contains("no socket lies there"), "{error}");
        assert_eq!(std::fs::read_to_string(&socket).unwrap(), "a letter");

        let socket = dir.path().join("u.sock");
        let _theirs = UnixListener::bind(&socket).unwrap();
        let error = Instance::claim(&socket).unwrap_err().to_string();
        assert!(error.contains("another program listens"), "{error}");
        UnixStream::connect(&socket).unwrap();

        let long = dir.path().join("x".repeat(120));
        assert!(
            Instance::claim(&long)
                .unwrap_err()
                .to_string()
                .contains("longer than 107")
        );
    }
}
