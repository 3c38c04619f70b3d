//! What passes the devices of a lab's namespaces, kept for whoever looks why a scenario failed: a capture for each device of each
//! namespace, `NODE.DEVICE.pcap`, with the beginning of each frame.
//!
//! Read packet(7). A packet socket sees all devices of its namespace, those that come later too, and minds none that is down;
//! tcpdump would end with its device. It is bounded: after [`MOST`] frames of a namespace no more is written, so that scenarios that
//! send by the million are not held up. Left out: VLAN tags that the kernel has taken off; what an
//! appliance sends, at its own end of a link (it is seen at the other), and what goes by AF_XDP, which the kernel shows to nobody.

use std::collections::HashMap;
use std::fs::File;
use std::io::BufWriter;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use nix::sys::socket::{
    AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, recvfrom, setsockopt, socket,
    sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use pcap_file::DataLink;
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};

use super::Netns;

/// Frames of a namespace that are written at most.
pub const MOST: usize = 20_000;
/// Bytes of each that are written.
const SNAP: usize = 256;

static ON: AtomicBool = AtomicBool::new(false);

/// From now on namespaces of labs are captured, or not.
pub fn switch(on: bool) {
    // Pairs with the load in `start`; nothing else is published by it.
    ON.store(on, Ordering::Relaxed);
}

/// Removes the captures that a scenario has left which passed.
pub fn forget(folder: &Path) {
    for e in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if e.path().extension().is_some_and(|x| x == "pcap") {
            let _ = std::fs::remove_file(e.path());
        }
    }
}

/// A running capture. Dropped, its files are whole.
#[derive(Debug)]
pub(super) struct Capture {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Capture {
    /// Of a namespace, into files that begin with `node` in `folder`, if captures are switched on. That one can't be had is no
    /// reason to fail a scenario.
    pub(super) fn start(ns: &Netns, folder: &Path, node: &str) -> Option<Self> {
        // Pairs with the store in `switch`.
        if !ON.load(Ordering::Relaxed) {
            return None;
        }
        let over = Arc::new(AtomicBool::new(false));
        let socket = ns.enter(open).ok()?;
        let files = Files {
            ns: ns.clone(),
            folder: folder.to_owned(),
            node: node.to_owned(),
            by_index: HashMap::new(),
        };
        let stop = over.clone();
        let thread = std::thread::spawn(move || run(&socket, files, &stop));
        Some(Self {
            over,
            thread: Some(thread),
        })
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        // Pairs with the load in `run`.
        self.over.store(true, Ordering::Relaxed);
        if let Some(t) = self.thread.take() {
            let _ = t.join();
        }
    }
}

/// A socket that sees every frame in the namespace of the thread, and gives up waiting now and then.
fn open() -> Result<OwnedFd> {
    let fd = socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::EthAll,
    )?;
    setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::milliseconds(100))?;
    Ok(fd)
}

struct Files {
    ns: Netns,
    folder: PathBuf,
    node: String,
    by_index: HashMap<usize, Option<PcapWriter<BufWriter<File>>>>,
}

impl Files {
    /// The file of a device; none for the loopback, and for one that has gone before its name was known.
    fn of(&mut self, index: usize) -> Option<&mut PcapWriter<BufWriter<File>>> {
        let new = match self.by_index.get(&index) {
            Some(_) => None,
            None => Some(self.create(index).ok().flatten()),
        };
        if let Some(file) = new {
            self.by_index.insert(index, file);
        }
        self.by_index.get_mut(&index)?.as_mut()
    }

    fn create(&self, index: usize) -> Result<Option<PcapWriter<BufWriter<File>>>> {
        let all = self.ns.ip("-o link show")?;
        let name = device(&all, index).context("it has gone")?;
        if name == "lo" {
            return Ok(None);
        }
        let file = File::create(self.folder.join(format!("{}.{name}.pcap", self.node)))?;
        let header = PcapHeader {
            // Readers refuse frames that were longer than this.
            snaplen: 65_535,
            datalink: DataLink::ETHERNET,
            ..PcapHeader::default()
        };
        Ok(Some(PcapWriter::with_header(BufWriter::new(file), header)?))
    }
}

/// The name of a device in what `ip -o link show` prints: `2: eth0@if3: <…`.
fn device(all: &str, index: usize) -> Option<&str> {
    let line = all.lines().find_map(|l| {
        let (number, rest) = l.split_once(": ")?;
        (number.parse() == Ok(index)).then_some(rest)
    })?;
    line.split([':', '@']).next()
}

fn run(socket: &OwnedFd, mut files: Files, over: &AtomicBool) {
    let mut frame = vec![0; 4096];
    let mut written = 0;
    // Pairs with the store in `drop`; nothing else is published by it.
    while written < MOST && !over.load(Ordering::Relaxed) {
        let Ok((len, Some(from))) = recvfrom::<LinkAddr>(socket.as_raw_fd(), &mut frame) else {
            continue; // nothing came
        };
        let Some(file) = files.of(from.ifindex()) else {
            continue;
        };
        let at = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let packet = PcapPacket::new(at, len as u32, &frame[..len.min(SNAP)]);
        if file.write_packet(&packet).is_err() {
            return; // the disk is full, or the folder has gone
        }
        written += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_known_by_their_numbers() {
        let all =
            "1: lo: <LOOPBACK,UP> mtu 65536\n2: eth0@if7: <UP> mtu 1500\n17: v-r1: <UP> mtu 1500\n";
        assert_eq!(device(all, 1), Some("lo"));
        assert_eq!(device(all, 2), Some("eth0"));
        assert_eq!(device(all, 17), Some("v-r1"));
        assert_eq!(device(all, 7), None);
    }
}
