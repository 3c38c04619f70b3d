//! Ports end to end: in memory, over DPDK's software devices, and over veth pairs in a network namespace of the test's
//! own. Each test is a process (nextest), for the EAL starts once.
//!
//! Tests on veth need root; without it they say so and pass.

mod bench;
mod hugepages;
mod kernel;
mod software;
mod tap;

use super::*;
use crate::burst::Burst;
use crate::eal::{EalConfig, Memory};
use crate::mempool::Mempool;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An EAL without hugepages.
pub(super) fn eal() -> Eal {
    let config = EalConfig {
        memory: Memory::NoHuge,
        mem_mb: 192,
        ..EalConfig::default()
    };
    Eal::init(&config).expect("the EAL starts without hugepages")
}

pub(super) fn spec(device: &str) -> PortSpec {
    PortSpec::new(device.parse().expect("a device string"))
}

/// An open port with all its queues out.
pub(super) struct Open {
    pub(super) port: Port,
    pub(super) rx: Vec<AnyRx>,
    pub(super) tx: Vec<AnyTx>,
    pub(super) pool: Arc<Mempool>,
}

impl Open {
    pub(super) fn new(
        eal: &Eal,
        spec: &PortSpec,
        id: u16,
        pools: &mut Pools,
    ) -> Result<Self, PortError> {
        let mut port = Port::open(eal, spec, PortId(id), pools)?;
        let rx = (0..port.rx_queues())
            .map(|q| port.take_rx(q).expect("not out yet"))
            .collect();
        let tx = (0..port.tx_queues())
            .map(|q| port.take_tx(q).expect("not out yet"))
            .collect();
        let pool = pools
            .get(eal, port.node(), spec.mtu)
            .expect("made by the port");
        Ok(Self { port, rx, tx, pool })
    }

    pub(super) fn close(self) -> Result<(), PortError> {
        drop((self.rx, self.tx));
        self.port.close()
    }

    /// Sends one frame by the queue; panics when the device does not take it.
    pub(super) fn send(&mut self, queue: usize, frame: &[u8]) {
        let mut burst = Burst::new();
        burst
            .push(self.pool.alloc_from(frame).expect("a buffer"))
            .expect("room");
        eventually("the device takes a frame", || {
            self.tx[queue].tx(&mut burst);
            burst.is_empty()
        });
    }

    /// What has arrived on all queues: queue and bytes.
    pub(super) fn poll(&mut self) -> Vec<(usize, Vec<u8>)> {
        let mut all = Vec::new();
        for (q, rx) in self.rx.iter_mut().enumerate() {
            let mut burst = Burst::new();
            rx.rx(&mut burst);
            for frame in burst.drain() {
                assert_eq!(frame.nb_segs(), 1);
                assert_eq!(frame.vlan_stripped(), None);
                all.push((q, frame.data().to_vec()));
            }
        }
        all
    }

    /// Waits for `n` test frames and a little longer, to see that there are no more.
    pub(super) fn expect(&mut self, n: usize) -> Vec<(usize, Vec<u8>)> {
        let mut all = Vec::new();
        eventually(&format!("{n} frames received"), || {
            all.extend(self.poll().into_iter().filter(|(_, f)| is_test_frame(f)));
            all.len() >= n
        });
        for _ in 0..20 {
            std::thread::sleep(Duration::from_micros(500));
            all.extend(self.poll().into_iter().filter(|(_, f)| is_test_frame(f)));
        }
        assert_eq!(
            all.len(),
            n,
            "frames came twice, or frames that nobody sent"
        );
        all
    }
}

/// Frames of the tests have 0x5a in the low byte of their source address.
fn is_test_frame(frame: &[u8]) -> bool {
    frame.get(11) == Some(&0x5a)
}

/// A broadcast frame of that EtherType and length in all, each with its number in it.
pub(super) fn frame(ethertype: u16, len: usize, number: u16) -> Vec<u8> {
    let mut f = vec![0xff; 6];
    f.extend([0x02, 0, 0, 0, 0, 0x5a]);
    f.extend(ethertype.to_be_bytes());
    f.extend(number.to_be_bytes());
    f.extend((f.len()..len).map(|i| i as u8));
    f
}

pub(super) fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !done() {
        assert!(Instant::now() < deadline, "not within 10 s: {what}");
        std::thread::sleep(Duration::from_micros(100));
    }
}

fn run(command: &str) {
    let out = Command::new("sh")
        .args(["-c", command])
        .output()
        .expect("sh runs");
    assert!(
        out.status.success(),
        "{command}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
}

fn is_root() -> bool {
    // SAFETY: no pointers.
    unsafe { libc::geteuid() == 0 }
}

/// Moves this thread, and what it starts from now on, into a network namespace of its own. False, with the reason on
/// stderr, when that can't be.
fn own_network() -> bool {
    if !is_root() {
        eprintln!("skipped: network namespaces need root");
        return false;
    }
    // SAFETY: no pointers; affects this thread alone.
    let rc = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    assert_eq!(rc, 0, "unshare: {}", std::io::Error::last_os_error());
    run("ip link set lo up");
    true
}
