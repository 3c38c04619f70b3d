//! The far end of a veth that leads to a port of the router: sends any frame, and sees every frame that comes out.
//!
//! Frames are sent through an AF_PACKET socket. They are received by tcpdump, whose capture we read from a pipe: the kernel
//! takes VLAN tags off frames before a socket sees them and tells of them only beside the frame; libpcap puts them back.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Child, ChildStderr, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, bind, socket};

use super::netns::Netns;

/// A frame that was seen, and when.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The whole frame, with its VLAN tag if it had one.
    pub frame: Vec<u8>,
    /// When the kernel saw it, in its real-time clock.
    pub at: Duration,
}

/// One end of a veth, in raw frames.
#[derive(Debug)]
pub struct Wire {
    name: String,
    tx: File,
    tcpdump: Child,
    rx: Mutex<Receiver<Seen>>,
}

impl Wire {
    /// Opens device `dev` of the namespace, which must be up.
    ///
    /// # Errors
    /// When there is no such device, or tcpdump does not start.
    pub fn open(ns: &Netns, dev: &str) -> Result<Self> {
        let tx = ns
            .enter(|| raw_socket(dev))
            .with_context(|| format!("raw socket on {dev}"))?;
        let mut tcpdump = ns
            .command("tcpdump")
            .args([
                "-Z", "root", "-i", dev, "-Q", "in", "-s", "3100", "-B", "16384",
            ])
            .args(["--immediate-mode", "-U", "-w", "-"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("can't run tcpdump")?;
        let err = tcpdump
            .stderr
            .take()
            .ok_or_else(|| anyhow!("tcpdump has no stderr"))?;
        let out = tcpdump
            .stdout
            .take()
            .ok_or_else(|| anyhow!("tcpdump has no stdout"))?;
        let (give, rx) = channel();
        std::thread::spawn(move || {
            let Ok(mut pcap) = pcap_file::pcap::PcapReader::new(out) else {
                return;
            };
            while let Some(Ok(p)) = pcap.next_packet() {
                if give
                    .send(Seen {
                        frame: p.data.into_owned(),
                        at: p.timestamp,
                    })
                    .is_err()
                {
                    return;
                }
            }
        });
        let wire = Self {
            name: dev.to_owned(),
            tx: File::from(tx),
            tcpdump,
            rx: Mutex::new(rx),
        };
        listening(err)?;
        Ok(wire)
    }

    /// The device's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Puts a frame on the wire, towards the router.
    ///
    /// # Errors
    /// When the kernel refuses it: shorter than 14 bytes, longer than the device's MTU, or the device is down.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        match (&self.tx).write(frame) {
            Ok(n) if n == frame.len() => Ok(()),
            Ok(n) => bail!("{}: sent {n} of {} bytes", self.name, frame.len()),
            Err(e) => {
                Err(e).with_context(|| format!("{}: a frame of {} bytes", self.name, frame.len()))
            }
        }
    }

    /// The next frame, or `None` when none comes before the deadline.
    #[must_use]
    pub fn next(&self, deadline: Instant) -> Option<Seen> {
        let left = deadline.saturating_duration_since(Instant::now());
        self.rx
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recv_timeout(left)
            .ok()
    }

    /// All frames that have been seen and not yet taken.
    #[must_use]
    pub fn drain(&self) -> Vec<Seen> {
        self.rx
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .try_iter()
            .collect()
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let _ = self.tcpdump.kill();
        let _ = self.tcpdump.wait();
    }
}

/// An AF_PACKET socket that only sends: its protocol is 0, so the kernel queues nothing to it.
fn raw_socket(dev: &str) -> Result<OwnedFd> {
    let fd = socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    // getifaddrs gives link addresses that carry the interface's index, which is all that bind looks at.
    let addr = nix::ifaddrs::getifaddrs()?
        .filter(|i| i.interface_name == dev)
        .find_map(|i| i.address?.as_link_addr().copied())
        .ok_or_else(|| anyhow!("no device {dev}"))?;
    bind(fd.as_raw_fd(), &addr)?;
    Ok(fd)
}

/// Reads tcpdump's stderr up to the line that says it listens, then goes on reading so that it never blocks.
fn listening(err: ChildStderr) -> Result<()> {
    let mut lines = BufReader::new(err).lines();
    let mut said = String::new();
    for line in lines.by_ref() {
        let line = line?;
        if line.contains("listening on") {
            std::thread::spawn(move || lines.for_each(drop));
            return Ok(());
        }
        said.push_str(&line);
        said.push(' ');
    }
    bail!("tcpdump did not start: {said}")
}
