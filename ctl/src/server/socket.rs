//! The socket, and the lock beside it that keeps a second instance away.

use std::path::{Path, PathBuf};

/// The right to serve a socket: held from [`Instance::claim`] until dropped.
#[derive(Debug)]
pub struct Instance {
    socket: PathBuf,
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

impl Instance {
    /// Claims `socket`: makes its directory, locks `SOCKET.lock`, and removes what a killed appliance left.
    ///
    /// # Errors
    /// Another appliance serves it, or the path can't be used.
    pub fn claim(socket: &Path) -> Result<Self, ClaimError> {
        Ok(Self {
            socket: socket.to_owned(),
        })
    }

    /// The socket's path.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }
}
