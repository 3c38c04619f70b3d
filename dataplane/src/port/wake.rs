//! RX interrupts: how a queue of a DPDK driver ends the sleep of the worker that polls it.
//!
//! Read the DPDK programmer's guide on `rte_eth_dev_rx_intr_enable`, the example `l3fwd-power`, and eventfd(2). A queue that
//! has a descriptor for its interrupt is waited for like a socket. What has to be done around the sleep is told from the
//! kind of the descriptor, for DPDK keeps the kind of its interrupts to itself:
//!
//! | descriptor | whose | before the sleep | after it |
//! |---|---|---|---|
//! | `/dev/net/tun` | tap | nothing: it is readable while frames wait | nothing; reading it would take a frame |
//! | eventfd | NICs by VFIO, vhost | the interrupt is enabled, and the queue looked at once more | disabled, and the eventfd read |
//!
//! Some drivers take `intr_conf.rxq`, hand out an eventfd and never write to it (e1000e, whose MSI-X vectors stay
//! unassigned). So an interrupt has to be seen before anybody relies on it: until one has come on some queue of the port,
//! and again after [`MISSES`] bursts of frames in a row that came without one, the worker looks by time.
//!
//! Left out: UIO, whose one descriptor is shared with the driver's own interrupts; the event channels of mlx4 and mlx5;
//! several queues on one descriptor. Without interrupts are the drivers ring, null and pcap.

use crate::eventfd;
use dpdk_sys as sys;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

/// So many bursts in a row that came without their interrupt end the trust in it. One or two are chance: they came
/// between the end of a sleep and the look at the queue.
pub(super) const MISSES: u8 = 8;

/// Whether a queue's interrupt has shown to come.
#[derive(Debug)]
pub(super) struct Trust {
    seen: Arc<AtomicBool>,
    misses: u8,
}

impl Trust {
    /// Of a queue, by what was seen on any queue of its port.
    pub(super) fn new(seen: &Arc<AtomicBool>) -> Self {
        Self {
            seen: seen.clone(),
            misses: 0,
        }
    }

    /// The interrupt came.
    pub(super) fn came(&mut self) {
        self.misses = 0;
        self.seen.store(true, Relaxed);
    }

    /// Frames came, and the interrupt did not.
    pub(super) fn missed(&mut self) {
        self.misses = self.misses.saturating_add(1);
    }

    /// No interrupt comes on this queue, and none is worth enabling.
    pub(super) fn lost(&self) -> bool {
        self.misses >= MISSES
    }

    /// Frames can be relied on to end a sleep.
    pub(super) fn holds(&self) -> bool {
        !self.lost() && self.seen.load(Relaxed)
    }
}

/// What there is to do around a sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Nothing.
    Level,
    /// To enable, to disable, and to read.
    Eventfd,
}

impl Kind {
    /// The kind of an open descriptor; `None` where it is unknown what must be done with it.
    fn of(fd: RawFd) -> Option<Self> {
        // SAFETY: no pointers.
        let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
        let to = std::fs::read_link(format!("/proc/self/fd/{fd}")).ok()?;
        match to.to_str()? {
            "/dev/net/tun" => Some(Self::Level),
            "anon_inode:[eventfd]" if flags & libc::O_NONBLOCK != 0 => Some(Self::Eventfd),
            _ => None,
        }
    }
}

/// What the queues of a port share.
#[derive(Clone, Debug, Default)]
pub(super) struct Shared {
    /// Drivers change registers of the whole device to enable one queue's interrupt.
    lock: Arc<Mutex<()>>,
    seen: Arc<AtomicBool>,
}

impl Shared {
    /// Has an interrupt come on any queue?
    pub(super) fn seen(&self) -> bool {
        self.seen.load(Relaxed)
    }
}

/// The interrupt of an RX queue.
#[derive(Debug)]
pub(super) struct Wake {
    port: u16,
    queue: u16,
    fd: RawFd,
    kind: Kind,
    armed: bool,
    lock: Arc<Mutex<()>>,
    trust: Trust,
}

impl Wake {
    /// That of a queue of a started port; `None` where the driver has none that can be waited for.
    pub(super) fn of(port: u16, queue: u16, shared: &Shared) -> Option<Self> {
        // SAFETY: only reads what the driver has set up; refused with -1 where it has nothing.
        let fd = unsafe { sys::rte_eth_dev_rx_intr_ctl_q_get_fd(port, queue) };
        if fd < 0 {
            return None;
        }
        let kind = Kind::of(fd)?;
        let mut wake = Self {
            port,
            queue,
            fd,
            kind,
            // Some drivers start with it enabled.
            armed: true,
            lock: shared.lock.clone(),
            trust: Trust::new(&shared.seen),
        };
        match kind {
            Kind::Level => wake.trust.came(),
            Kind::Eventfd => {
                if wake.disable() < 0 {
                    return None;
                }
                eventfd::clear(fd); // of what nobody waited for
            }
        }
        wake.armed = false;
        Some(wake)
    }

    /// What poll(2) is to wait for.
    pub(super) fn fd(&self) -> RawFd {
        self.fd
    }

    /// It is a device's own descriptor, readable while there are frames: not an interrupt.
    pub(super) fn is_level(&self) -> bool {
        self.kind == Kind::Level
    }

    /// Is there anything to do before a sleep?
    pub(super) fn arms(&self) -> bool {
        self.kind != Kind::Level && !self.trust.lost()
    }

    /// Can it be relied on?
    pub(super) fn holds(&self) -> bool {
        self.trust.holds()
    }

    /// To be called before the last look at the queue before a sleep: a frame that comes after that look ends the sleep.
    #[cold]
    pub(super) fn arm(&mut self) {
        if !self.arms() || self.armed {
            return;
        }
        self.armed = true;
        let _one = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: a started port, whose queue is ours; one at a time, by the lock. Failing it is as if no interrupt came.
        unsafe { sys::rte_eth_dev_rx_intr_enable(self.port, self.queue) };
    }

    /// To be called after a sleep, before the queue is looked at.
    #[cold]
    pub(super) fn disarm(&mut self) {
        if !std::mem::take(&mut self.armed) {
            return;
        }
        self.disable();
        // Only now: nothing is written any more after the read, but for what is on its way.
        if eventfd::clear(self.fd) {
            self.trust.came();
        }
    }

    fn disable(&self) -> i32 {
        let _one = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: as in `arm`.
        unsafe { sys::rte_eth_dev_rx_intr_disable(self.port, self.queue) }
    }

    /// A sleep was over by time, and then there were frames.
    pub(super) fn missed(&mut self) {
        if self.kind != Kind::Level {
            self.trust.missed();
        }
    }
}

/// Queues that share a descriptor can't be told apart, nor can two workers read it: none of them is waited for.
pub(super) fn distinct(wakes: &mut [Option<Wake>]) {
    let mut fds: Vec<RawFd> = wakes.iter().flatten().map(Wake::fd).collect();
    let all = fds.len();
    fds.sort_unstable();
    fds.dedup();
    if fds.len() < all {
        wakes.fill_with(|| None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eventfd::EventFd;
    use std::os::fd::AsRawFd;

    #[test]
    fn an_interrupt_is_seen_before_it_is_relied_on() {
        let seen = Arc::new(AtomicBool::new(false));
        let (mut a, b) = (Trust::new(&seen), Trust::new(&seen));
        assert!(!a.holds() && !a.lost());
        a.came();
        assert!(
            a.holds() && b.holds(),
            "what one queue has seen goes for all"
        );
        for _ in 0..MISSES - 1 {
            a.missed();
        }
        assert!(a.holds(), "chance");
        a.came();
        for _ in 0..MISSES {
            assert!(a.holds() && !a.lost());
            a.missed();
        }
        assert!(a.lost() && !a.holds());
        assert!(b.holds() && !b.lost(), "the other queue's comes");
        for _ in 0..1000 {
            a.missed();
        }
        assert!(a.lost());
        a.came();
        assert!(a.holds(), "it came after all");
    }

    #[test]
    fn descriptors_are_known_by_their_kind() {
        let e = EventFd::new().unwrap();
        assert_eq!(Kind::of(e.as_raw_fd()), Some(Kind::Eventfd));
        // SAFETY: no pointers; leaves the flags other than O_NONBLOCK alone.
        unsafe { libc::fcntl(e.as_raw_fd(), libc::F_SETFL, 0) };
        assert_eq!(
            Kind::of(e.as_raw_fd()),
            None,
            "reading it could wait for ever"
        );
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(Kind::of(file.as_raw_fd()), None);
        assert_eq!(Kind::of(-1), None);
    }
}
