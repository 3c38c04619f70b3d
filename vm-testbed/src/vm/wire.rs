//! The cables of the guest's cards. The test bed holds the other ends.
//!
//! Most are pairs of Unix sockets, one Ethernet frame a datagram (`-netdev dgram`): no device, and the frames are those that
//! the card was given, bit for bit. A card with several queues needs a TAP with as many, in a namespace that has nothing
//! else in it.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::machine::{Cable, Card};
use crate::lab::wait::secs;
use crate::lab::{self, Lab, Netns};

/// One end of a cable; QEMU holds the other.
#[derive(Debug)]
pub struct Wire {
    card: &'static str,
    end: End,
}

#[derive(Debug)]
enum End {
    Sockets(Sockets),
    Tap(lab::Wire),
}

impl Wire {
    /// Makes a card's cable, before the machine starts, and returns its near end if that is the test bed's. Sockets lie in
    /// `folder`; a TAP is made in `ns`.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn open(card: &Card, folder: &Path, ns: &Netns) -> Result<Option<Self>> {
        match card.cable {
            Cable::Bed => {}
            Cable::Vhost => return Ok(None),
            Cable::Tap => {
                ns.ip(&format!("tuntap add dev {} mode tap", card.name))?;
                // Room for labels and tags above the guest's own 1500.
                ns.ip(&format!("link set {} mtu 1600", card.name))?;
                return Lab::port_end(ns, card.name).map(|()| None);
            }
        }
        let end = if card.queues > 1 {
            let (tap, multi) = (card.name, "multi_queue vnet_hdr");
            ns.ip(&format!("tuntap add dev {tap} mode tap {multi}"))?;
            Lab::port_end(ns, tap)?;
            End::Tap(lab::Wire::open(ns, tap)?)
        } else {
            End::Sockets(Sockets::open(folder, card.name)?)
        };
        Ok(Some(Self {
            card: card.name,
            end,
        }))
    }

    /// What QEMU is told of it.
    #[must_use]
    pub fn netdev(card: &Card, folder: &Path) -> String {
        let name = card.name;
        match card.cable {
            Cable::Bed => {}
            // Without vnet_hdr the guest does no offloads, and its frames are whole.
            Cable::Tap => {
                return format!(
                    "tap,id={name},ifname={name},script=no,downscript=no,vhost=off,vnet_hdr=off"
                );
            }
            Cable::Vhost => {
                return format!(
                    "vhost-user,id={name},chardev=vhost-{name},vhostforce=on \
                     -chardev socket,id=vhost-{name},path={}",
                    folder.join(format!("{name}.vhost")).display()
                );
            }
        }
        if card.queues > 1 {
            return format!(
                "tap,id={name},ifname={name},queues={},script=no,downscript=no,vhost=off",
                card.queues
            );
        }
        let (near, far) = ends(folder, name);
        format!(
            "dgram,id={name},local.type=unix,local.path={},remote.type=unix,remote.path={}",
            far.display(),
            near.display()
        )
    }

    /// The card at the other end.
    #[must_use]
    pub fn card(&self) -> &'static str {
        self.card
    }

    /// Puts a frame on the wire, towards the guest.
    ///
    /// # Errors
    /// When the machine has ended, or takes none for long.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        match &self.end {
            End::Sockets(s) => s.send(frame),
            End::Tap(t) => t.send(frame),
        }
    }

    /// The next frame from the guest, or `None` when none comes before the deadline.
    #[must_use]
    pub fn next(&self, deadline: Instant) -> Option<Vec<u8>> {
        match &self.end {
            End::Sockets(s) => {
                let left = deadline.saturating_duration_since(Instant::now());
                s.rx().recv_timeout(left).ok()
            }
            End::Tap(t) => t.next(deadline).map(|seen| seen.frame),
        }
    }

    /// All frames that have come and were not yet taken.
    #[must_use]
    pub fn drain(&self) -> Vec<Vec<u8>> {
        match &self.end {
            End::Sockets(s) => s.rx().try_iter().collect(),
            End::Tap(t) => t.drain().into_iter().map(|seen| seen.frame).collect(),
        }
    }
}

/// A pair of Unix sockets.
#[derive(Debug)]
struct Sockets {
    socket: UnixDatagram,
    far: PathBuf,
    rx: Mutex<Receiver<Vec<u8>>>,
}

impl Sockets {
    fn open(folder: &Path, name: &str) -> Result<Self> {
        let (near, far) = ends(folder, name);
        let socket = UnixDatagram::bind(&near).with_context(|| near.display().to_string())?;
        socket.set_write_timeout(Some(secs(20)))?;
        let reader = socket.try_clone()?;
        let (give, rx) = channel();
        std::thread::spawn(move || {
            let mut frame = [0; 65536];
            // Nothing is the end: the socket was shut down.
            while let Ok(n @ 1..) = reader.recv(&mut frame) {
                if give.send(frame[..n].to_vec()).is_err() {
                    return;
                }
            }
        });
        let rx = Mutex::new(rx);
        Ok(Self { socket, far, rx })
    }

    fn rx(&self) -> std::sync::MutexGuard<'_, Receiver<Vec<u8>>> {
        self.rx.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, frame: &[u8]) -> Result<()> {
        let sent = self.socket.send_to(frame, &self.far);
        let n = sent.with_context(|| format!("{} bytes to {}", frame.len(), self.far.display()))?;
        ensure!(n == frame.len(), "sent {n} of {} bytes", frame.len());
        Ok(())
    }
}

impl Drop for Sockets {
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
        let wire = Sockets::open(&folder, "a").unwrap();
        wire.send(b"to the guest").unwrap();
        let mut b = [0; 64];
        let n = machine.recv(&mut b).unwrap();
        assert_eq!(&b[..n], b"to the guest");
        machine.send_to(b"from the guest", &near).unwrap();
        let got = wire.rx().recv_timeout(secs(10));
        assert_eq!(got.as_deref(), Ok(&b"from the guest"[..]));
        drop(wire);
        let _ = std::fs::remove_dir_all(&folder);
    }
}
