//! The cable of a card of the guest: one Ethernet frame a datagram, over Unix sockets (`-netdev dgram`). Needs no
//! privilege and no device, and the frames are those that the card was given, bit for bit.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::lab::wait::secs;

/// One end of a cable; QEMU holds the other.
#[derive(Debug)]
pub struct Wire {
    name: String,
    socket: UnixDatagram,
    far: PathBuf,
    rx: Mutex<Receiver<Vec<u8>>>,
}

impl Wire {
    /// The near end of the cable `name`, to be made before the machine starts; sockets lie in `folder`.
    ///
    /// # Errors
    /// When the socket can't be made.
    pub fn open(folder: &Path, name: &str) -> Result<Self> {
        let (near, far) = ends(folder, name);
        let socket = UnixDatagram::bind(&near).with_context(|| near.display().to_string())?;
        socket.set_write_timeout(Some(secs(20)))?;
        let reader = socket.try_clone()?;
        let (give, rx) = channel();
        std::thread::spawn(move || {
            let mut frame = [0; 65536];
            // An empty datagram is the end, sent by `drop`.
            while let Ok(n @ 1..) = reader.recv(&mut frame) {
                if give.send(frame[..n].to_vec()).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            name: name.to_owned(),
            socket,
            far,
            rx: Mutex::new(rx),
        })
    }

    /// Its name, which is that of the card's netdev in QEMU.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What QEMU is told of it.
    #[must_use]
    pub fn netdev(folder: &Path, name: &str) -> String {
        let (near, far) = ends(folder, name);
        format!(
            "dgram,id={name},local.type=unix,local.path={},remote.type=unix,remote.path={}",
            far.display(),
            near.display()
        )
    }

    /// Puts a frame on the wire, towards the guest.
    ///
    /// # Errors
    /// When the machine has ended, or takes none for long.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        let sent = self.socket.send_to(frame, &self.far);
        let n =
            sent.with_context(|| format!("a frame of {} bytes to {}", frame.len(), self.name))?;
        ensure!(n == frame.len(), "{}: sent {n} bytes", self.name);
        Ok(())
    }

    /// The next frame from the guest, or `None` when none comes before the deadline.
    #[must_use]
    pub fn next(&self, deadline: Instant) -> Option<Vec<u8>> {
        let left = deadline.saturating_duration_since(Instant::now());
        let rx = self.rx.lock().unwrap_or_else(PoisonError::into_inner);
        rx.recv_timeout(left).ok()
    }

    /// All frames that have come and were not yet taken.
    #[must_use]
    pub fn drain(&self) -> Vec<Vec<u8>> {
        let rx = self.rx.lock().unwrap_or_else(PoisonError::into_inner);
        rx.try_iter().collect()
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
    }
}

/// The sockets: ours and QEMU's.
fn ends(folder: &Path, name: &str) -> (PathBuf, PathBuf) {
    (
        folder.join(format!("{name}.near")),
        folder.join(format!("{name}.far")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_pass_both_ways() {
        let folder = std::env::temp_dir().join(format!("tl-{}-vm-wire", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (near, far) = ends(&folder, "a");
        let machine = UnixDatagram::bind(&far).unwrap();
        let wire = Wire::open(&folder, "a").unwrap();
        wire.send(b"to the guest").unwrap();
        let mut b = [0; 64];
        let n = machine.recv(&mut b).unwrap();
        assert_eq!(&b[..n], b"to the guest");
        machine.send_to(b"from the guest", &near).unwrap();
        let got = wire.next(Instant::now() + secs(10));
        assert_eq!(got.as_deref(), Some(&b"from the guest"[..]));
        drop(wire);
        let _ = std::fs::remove_dir_all(&folder);
    }
}
