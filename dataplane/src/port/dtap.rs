//! What is special about DPDK's driver for TAPs: its link, its address, its signals. Read drivers/net/tap of DPDK.

use libc::{c_int, sigaction};
use net::MacAddr;
use std::os::fd::RawFd;

/// Whether a TAP is up, by poll(2): it takes frames. The driver asks the kernel for the device by its name, which finds
/// nothing, or another device, once it was renamed or moved to another network namespace.
pub(super) fn is_up(tap: RawFd) -> bool {
    let mut ready = libc::pollfd {
        fd: tap,
        events: libc::POLLOUT,
        revents: 0,
    };
    // SAFETY: one pollfd; does not wait.
    unsafe { libc::poll(&raw mut ready, 1, 0) };
    // A device that is gone is POLLERR.
    ready.revents == libc::POLLOUT
}

/// The address of our end. What the driver tells is that of the kernel's end, and no two ends of a link may have the same.
pub(super) fn mac(kernels: MacAddr) -> MacAddr {
    let mut mac = kernels;
    mac.0[3] ^= 0x80;
    mac
}

/// While it lives, no real-time signal is free. Signals sent meanwhile are lost.
///
/// The driver takes the first that is, has the kernel send it to the process for each frame, and reads nothing before it
/// came. It goes to the control thread, so a frame would wait for that, and each would disturb it. Where none is free the
/// driver asks for none, and reads whenever it is told to.
#[derive(Debug)]
pub(super) struct NoSignals(Vec<c_int>);

impl NoSignals {
    pub(super) fn new() -> Self {
        let mut all: Vec<c_int> = (libc::SIGRTMIN()..=libc::SIGRTMAX()).collect();
        all.retain(|&s| action(s, None) == Some(libc::SIG_DFL));
        for &s in &all {
            action(s, Some(libc::SIG_IGN));
        }
        Self(all)
    }
}

impl Drop for NoSignals {
    fn drop(&mut self) {
        for s in &self.0 {
            action(*s, Some(libc::SIG_DFL));
        }
    }
}

/// What is done about a signal; and what is to be done from now on, which is to ignore it or not.
fn action(signal: c_int, to: Option<libc::sighandler_t>) -> Option<libc::sighandler_t> {
    // SAFETY: all zeros is a valid sigaction: the default action, no flags, nothing blocked.
    let (mut new, mut old): (sigaction, sigaction) =
        unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
    new.sa_sigaction = to.unwrap_or(libc::SIG_DFL);
    let new = to.map_or(std::ptr::null(), |_| &raw const new);
    // SAFETY: null or a valid action, of which neither SIG_IGN nor SIG_DFL runs code; room for the old one.
    let rc = unsafe { libc::sigaction(signal, new, &raw mut old) };
    (rc == 0).then_some(old.sa_sigaction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_taken_and_given_back() {
        extern "C" fn handler(_: c_int) {}
        let mine = libc::SIGRTMIN() + 3;
        action(mine, Some(handler as *const () as libc::sighandler_t));
        let before: Vec<_> = (libc::SIGRTMIN()..=libc::SIGRTMAX())
            .map(|s| action(s, None))
            .collect();
        assert!(before.contains(&Some(libc::SIG_DFL)));
        let none = NoSignals::new();
        for s in libc::SIGRTMIN()..=libc::SIGRTMAX() {
            assert_eq!(
                action(s, None) == Some(libc::SIG_IGN),
                s != mine,
                "signal {s}"
            );
        }
        drop(none);
        let after: Vec<_> = (libc::SIGRTMIN()..=libc::SIGRTMAX())
            .map(|s| action(s, None))
            .collect();
        assert_eq!(before, after);
    }

    #[test]
    fn both_ends_have_an_address() {
        let kernels = MacAddr([0x26, 0x2c, 0x35, 0x52, 0x74, 0x6b]);
        assert_ne!(mac(kernels), kernels);
        assert_eq!(mac(mac(kernels)), kernels);
        assert!(!mac(kernels).is_multicast());
    }
}
