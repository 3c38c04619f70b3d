//! `memif:SOCKET`: frames through memory that is shared with another program, VPP or DPDK or a second Trunkline.
//!
//! Read the protocol's header, `memif.h` of VPP (`message.rs` and `session.rs` say where), and unix(7) on descriptors in
//! messages. One end is the server, which listens on the socket; the other is the client, which makes the memory.
//!
//! | file | what is in it |
//! |---|---|
//! | `message.rs` | what the ends say to each other |
//! | `socket.rs` | the socket over which they do |
//! | `peer.rs` | who says what when: listening, connecting, being gone |
//! | `session.rs` | the shared memory |
//! | `queue.rs` | what workers do with it |
//!
//! Departure: DPDK has a driver for this, and `dpdk:net_memif0,…` still gets it. It can't be used for a router, up to the
//! newest release: its interrupt thread unmaps the memory when the peer goes, whoever copies a frame from there at that
//! moment; closing a port frees what that thread is working with; a listener is freed while it is still listened to; and a
//! client whose server goes never connects again. See `docs/decisions/0013-own-memif.md`.
//!
//! Left out: zero copy (frames of ours would be in the hands of another process), the modes without an Ethernet header.

mod message;
mod peer;
mod queue;
mod session;
mod socket;
#[cfg(test)]
mod tests;

pub use queue::{MemifRx, MemifTx};

use super::{L2_OVERHEAD, Link, PortError, PortSpec, PortStats, WakesBy};
use crate::eal::Eal;
use crate::eventfd::EventFd;
use crate::mempool::{Mempool, Pools};
use message::SECRET;
use net::MacAddr;
use session::{MAX_LOG2, Session};
use socket::Address;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Queues that a port has at most.
const MAX_QUEUES: u16 = 255;

/// What a port was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Config {
    address: Address,
    id: u32,
    is_client: bool,
    /// All zeros: none.
    secret: [u8; SECRET],
    /// As a client: octets of a buffer, and places of a ring.
    buffer: u32,
    log2: u8,
    mac: Option<MacAddr>,
    queues: u16,
}

impl Config {
    /// Of the arguments after the socket: `,key=value` each.
    fn new(socket: &str, args: &str, queues: u16) -> Result<Self, String> {
        let mut config = Self {
            address: Address {
                path: socket.to_owned(),
                is_abstract: false,
            },
            id: 0,
            is_client: false,
            secret: [0; SECRET],
            buffer: 2048,
            log2: 10,
            mac: None,
            queues,
        };
        for arg in args.split(',').filter(|a| !a.is_empty()) {
            let (key, value) = arg.split_once('=').unwrap_or((arg, ""));
            config
                .set(key, value)
                // Not the value: it may be a secret, also where the key is misspelt.
                .map_err(|want| format!("\"{key}\": {want}"))?;
        }
        Ok(config)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), &'static str> {
        match key {
            "id" => self.id = value.parse().map_err(|_| "a number is wanted")?,
            "role" => {
                self.is_client = match value {
                    "client" | "slave" => true,
                    "server" | "master" => false,
                    _ => return Err("write role=server or role=client"),
                }
            }
            "bsize" => match value.parse() {
                Ok(n @ 1024..=65535) => self.buffer = n,
                _ => return Err("a buffer has 1024 to 65535 octets"),
            },
            "rsize" => match value.parse() {
                Ok(n @ 4..=MAX_LOG2) => self.log2 = n,
                _ => return Err("a ring has 2 to the power of 4 to 14 places: write rsize=10"),
            },
            "secret" => {
                let to = self.secret.get_mut(..value.len());
                to.ok_or("24 octets are the most")?
                    .copy_from_slice(value.as_bytes());
            }
            "mac" => self.mac = Some(value.parse().map_err(|_| "write mac=02:00:00:00:00:01")?),
            "socket-abstract" => {
                self.address.is_abstract = match value {
                    "yes" => true,
                    "no" => false,
                    _ => return Err("write yes or no"),
                }
            }
            "zero-copy" if value != "yes" => {}
            "zero-copy" => return Err("there is no zero copy; leave it out"),
            _ => {
                return Err(
                    "known are id, role, bsize, rsize, secret, mac, socket-abstract; see docs/configuration.md",
                );
            }
        }
        Ok(())
    }
}

/// What ends a worker's sleep.
#[derive(Debug)]
struct WakeUp {
    /// As a server, this is what the client gave, by the same number.
    event: EventFd,
    /// It was rung for a new session.
    rung: AtomicBool,
}

#[derive(Debug, Default)]
struct Counters {
    oversize: AtomicU64,
    broken: AtomicU64,
    no_buffer: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    session: Option<Arc<Session>>,
    /// Somebody talks to a peer for this port.
    busy: bool,
}

/// What the port, its queues and whoever talks to the peer share.
#[derive(Debug)]
struct Shared {
    config: Config,
    is_client: bool,
    /// Moves on with each session that begins or ends.
    generation: AtomicU64,
    state: Mutex<State>,
    idle: Condvar,
    /// Rung once, when the port is closed.
    stop: EventFd,
    /// By RX queue.
    wakes: Vec<WakeUp>,
    /// Whether an interrupt has come on any queue.
    interrupts: Arc<AtomicBool>,
    counters: Counters,
}

impl Shared {
    fn new(config: Config) -> std::io::Result<Arc<Self>> {
        let wake = || {
            Ok(WakeUp {
                event: EventFd::new()?,
                rung: AtomicBool::new(false),
            })
        };
        Ok(Arc::new(Self {
            is_client: config.is_client,
            generation: AtomicU64::new(0),
            state: Mutex::default(),
            idle: Condvar::new(),
            stop: EventFd::new()?,
            wakes: (0..config.queues)
                .map(|_| wake())
                .collect::<Result<_, std::io::Error>>()?,
            interrupts: Arc::default(),
            counters: Counters::default(),
            config,
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session there is now, and its number.
    fn session(&self) -> (Option<Arc<Session>>, u64) {
        let state = self.state();
        // Relaxed: it is changed under the lock.
        let generation = self.generation.load(Ordering::Relaxed);
        (state.session.clone(), generation)
    }

    /// From now on there is this session, or none.
    fn set_session(&self, session: Option<Session>) {
        let begins = session.is_some();
        let mut state = self.state();
        let old = std::mem::replace(&mut state.session, session.map(Arc::new));
        // Release: pairs with the Acquire load in `queue::Seen::look`.
        self.generation.fetch_add(1, Ordering::Release);
        drop(state);
        drop(old);
        if begins {
            // A worker that sleeps has to look: a client has buffers to offer.
            for wake in &self.wakes {
                wake.rung.store(true, Ordering::Relaxed);
                wake.event.ring();
            }
        }
    }

    /// Begins to talk to a peer; false when somebody else does.
    fn claim(&self) -> bool {
        !std::mem::replace(&mut self.state().busy, true)
    }

    /// The end of that.
    fn release(&self) {
        self.set_session(None);
        self.state().busy = false;
        self.idle.notify_all();
    }

    /// Ends what is said to a peer, and waits until it is over.
    fn close(&self) {
        const LONG: Duration = Duration::from_secs(5);
        self.stop.ring();
        let all = self.idle.wait_timeout_while(self.state(), LONG, |s| s.busy);
        drop(all);
    }
}

/// The control thread's side.
#[derive(Debug)]
pub(super) struct MemifPort {
    device: String,
    shared: Arc<Shared>,
    mac: MacAddr,
    pool: Arc<Mempool>,
    end: peer::End,
    alive: Arc<()>,
}

/// What opening gives.
pub(super) struct Opened {
    pub(super) port: MemifPort,
    pub(super) rx: Vec<MemifRx>,
    pub(super) tx: Vec<MemifTx>,
}

impl MemifPort {
    pub(super) fn open(
        eal: &Eal,
        spec: &PortSpec,
        socket: &str,
        args: &str,
        pools: &mut Pools,
    ) -> Result<Opened, PortError> {
        let device = spec.device.to_string();
        let limit = |what| PortError::Limit {
            device: device.clone(),
            what,
        };
        // Both ends must have as many queues as the other.
        let queues = spec.queues.unwrap_or(1);
        if queues > MAX_QUEUES {
            return Err(limit(format!(
                "queues = {queues}, but the device has {MAX_QUEUES}"
            )));
        }
        let config = Config::new(socket, args, queues).map_err(limit)?;
        let pool = pools.get(eal, 0, spec.mtu)?;
        let failed = |what: &str, cause| PortError::Kernel {
            device: device.clone(),
            what: what.to_owned(),
            cause,
        };
        let mac = match config.mac {
            Some(mac) => mac,
            None => random_mac().map_err(|e| failed("no hardware address for it", e))?,
        };
        let shared = Shared::new(config).map_err(|e| failed("no descriptors for it", e))?;
        let end = peer::End::start(&shared).map_err(|e| failed("can't listen there", e))?;
        let alive = Arc::new(());
        let rx = (0..queues.into()).map(|q| MemifRx::new(&shared, q, &pool, &alive));
        let rx = rx.collect();
        let tx = (0..queues.into()).map(|q| MemifTx::new(&shared, q, &alive));
        let tx = tx.collect();
        let port = Self {
            device,
            shared,
            mac,
            pool,
            end,
            alive,
        };
        Ok(Opened { port, rx, tx })
    }

    pub(super) fn mac(&self) -> MacAddr {
        self.mac
    }

    pub(super) fn wakes_by(&self) -> WakesBy {
        if self.shared.interrupts.load(Ordering::Relaxed) {
            WakesBy::Interrupt
        } else {
            WakesBy::InterruptUnseen
        }
    }

    pub(super) fn link(&self) -> Link {
        Link {
            up: self.shared.state().session.is_some(),
            mbps: 0,
        }
    }

    pub(super) fn stats(&self) -> PortStats {
        let c = &self.shared.counters;
        PortStats {
            rx_errors: c.broken.load(Ordering::Relaxed),
            rx_nombuf: c.no_buffer.load(Ordering::Relaxed),
            rx_oversize: c.oversize.load(Ordering::Relaxed),
            ..PortStats::default()
        }
    }

    pub(super) fn set_mtu(&mut self, mtu: u16) -> Result<(), PortError> {
        let fits = self.pool.data_room().saturating_sub(L2_OVERHEAD);
        if mtu > fits {
            let device = self.device.clone();
            let what = format!("MTU {mtu} is over {fits}; close and open the port");
            return Err(PortError::Limit { device, what });
        }
        Ok(())
    }

    pub(super) fn close(self) -> Result<(), PortError> {
        match Arc::strong_count(&self.alive) - 1 {
            0 => Ok(()), // by being dropped
            queues => Err(PortError::InUse {
                device: self.device.clone(),
                queues,
            }),
        }
    }
}

impl Drop for MemifPort {
    fn drop(&mut self) {
        // Queues that are still out keep the memory that they work with, and find that the session is over.
        self.end.stop(&self.shared);
    }
}

/// A local unicast address that no other port has.
fn random_mac() -> std::io::Result<MacAddr> {
    let mut octets = [0u8; 6];
    // SAFETY: so many octets to write.
    let n = unsafe { libc::getrandom(octets.as_mut_ptr().cast(), octets.len(), 0) };
    if n != octets.len() as isize {
        return Err(std::io::Error::last_os_error());
    }
    octets[0] = octets[0] & 0xfc | 2;
    Ok(MacAddr(octets))
}
