//! Word from the kernel that the link of some device has changed: rtnetlink(7), group RTMGRP_LINK.
//!
//! Only that something changed is taken from it; what each port's link is, the port itself says. So nothing is lost when
//! messages are: the kernel then says that, which is word enough. Devices of other namespaces are not heard of.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use neli::consts::socket::{Msg, NlFamily};
use neli::socket::NlSocket;
use neli::utils::Groups;

/// `RTMGRP_LINK` of `linux/rtnetlink.h`.
const LINKS: u32 = 1;

/// Hears of links in the namespace of the thread that made it.
pub(crate) struct LinkWatch {
    socket: NlSocket,
    buffer: Vec<u8>,
}

impl LinkWatch {
    /// Begins to listen.
    pub(crate) fn open() -> io::Result<Self> {
        let socket = NlSocket::connect(NlFamily::Route, None, Groups::new_bitmask(LINKS))?;
        socket.nonblock()?;
        Ok(Self {
            socket,
            buffer: vec![0; 32768],
        })
    }

    /// Takes what has come. True: a link may have changed.
    pub(crate) fn changed(&mut self) -> bool {
        let mut any = false;
        loop {
            match self.socket.recv(&mut self.buffer[..], Msg::empty()) {
                Ok(_) => any = true,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return any,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // ENOBUFS: more came than there was room for. Once, or it would not end.
                Err(_) => return true,
            }
        }
    }
}

impl AsRawFd for LinkWatch {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl std::fmt::Debug for LinkWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LinkWatch").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn a_device_that_comes_is_heard_of() {
        // A namespace of its own, gone with the thread.
        let test = || {
            if let Err(e) = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET) {
                eprintln!("skipped: needs root for a network namespace ({e})");
                return;
            }
            let mut watch = LinkWatch::open().unwrap();
            assert!(!watch.changed());
            let mut ip = std::process::Command::new("ip");
            assert!(
                ip.args(["link", "set", "lo", "up"])
                    .status()
                    .unwrap()
                    .success()
            );
            let end = Instant::now() + Duration::from_secs(5);
            while !watch.changed() {
                assert!(Instant::now() < end, "nothing was heard");
                std::thread::yield_now();
            }
        };
        std::thread::spawn(test).join().unwrap();
    }
}
