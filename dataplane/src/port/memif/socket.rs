//! The control channel: a Unix socket that keeps messages apart (`SOCK_SEQPACKET`) and carries descriptors.
//!
//! Read unix(7), cmsg(3), poll(2). Nothing here blocks but [`wait`], which ends when a bell is rung.

use super::message::{Message, SIZE};
use crate::eventfd::EventFd;
use std::io;
use std::mem::{offset_of, size_of};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// Where an end listens: a path, or a name that is in no file system.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Address {
    pub path: String,
    pub is_abstract: bool,
}

impl Address {
    fn raw(&self) -> (libc::sockaddr_un, libc::socklen_t) {
        // SAFETY: all zeros is a valid address.
        let mut raw: libc::sockaddr_un = unsafe { std::mem::zeroed() };
        raw.sun_family = libc::AF_UNIX as libc::sa_family_t;
        let from = usize::from(self.is_abstract);
        // The last octet stays NUL; paths are 107 octets at most, which the device string was asked for.
        let room = raw.sun_path.len() - 1 - from;
        let name = &self.path.as_bytes()[..self.path.len().min(room)];
        for (to, byte) in raw.sun_path[from..].iter_mut().zip(name) {
            *to = *byte as libc::c_char;
        }
        let len = offset_of!(libc::sockaddr_un, sun_path) + 1 + name.len();
        (raw, len as libc::socklen_t)
    }

    fn bind(&self, fd: &OwnedFd) -> io::Result<()> {
        let (raw, len) = self.raw();
        // SAFETY: an address of that length.
        check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const raw).cast(), len) })
    }

    fn connect_by(&self, fd: &OwnedFd) -> io::Result<()> {
        let (raw, len) = self.raw();
        // SAFETY: an address of that length.
        check(unsafe { libc::connect(fd.as_raw_fd(), (&raw const raw).cast(), len) })
    }

    /// Listens there. What a killed process left in the file system is removed.
    pub(super) fn listen(&self) -> io::Result<OwnedFd> {
        let fd = socket()?;
        match self.bind(&fd) {
            Err(e) if e.kind() == io::ErrorKind::AddrInUse && self.is_stale() => {
                std::fs::remove_file(&self.path)?;
                self.bind(&fd)?;
            }
            other => other?,
        }
        // SAFETY: no pointers.
        check(unsafe { libc::listen(fd.as_raw_fd(), 16) })?;
        Ok(fd)
    }

    /// A socket's file to which nobody listens.
    fn is_stale(&self) -> bool {
        use std::os::unix::fs::FileTypeExt;
        let is_socket = std::fs::metadata(&self.path).is_ok_and(|m| m.file_type().is_socket());
        let refused = socket().and_then(|fd| self.connect_by(&fd)).err();
        !self.is_abstract
            && is_socket
            && refused.is_some_and(|e| e.kind() == io::ErrorKind::ConnectionRefused)
    }

    /// Takes the file away.
    pub(super) fn remove(&self) {
        if !self.is_abstract {
            // Gone already is as good, and there is nobody to tell.
            let _ = std::fs::remove_file(&self.path);
        }
    }

    /// Connects to who listens there.
    pub(super) fn connect(&self) -> io::Result<Channel> {
        let fd = socket()?;
        self.connect_by(&fd)?;
        Ok(Channel(fd))
    }
}

fn check(rc: libc::c_int) -> io::Result<()> {
    if rc < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

fn socket() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: plain system call; what it returns is ours alone.
    let fd = unsafe { libc::socket(libc::AF_UNIX, kind, 0) };
    check(fd)?;
    // SAFETY: open, and owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// What ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Woken {
    /// There is something to read, or the end of it.
    Ready,
    /// One of the bells was rung.
    Stopped,
    /// Time is over.
    Late,
}

/// Waits until there is something to read, a bell is rung, or the deadline, if there is one.
pub(super) fn wait(fd: Option<RawFd>, bells: &[&EventFd], deadline: Option<Instant>) -> Woken {
    let entry = |fd| libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    let mut all = vec![entry(fd.unwrap_or(-1))];
    all.extend(bells.iter().map(|b| entry(b.as_raw_fd())));
    loop {
        let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
        // Rounded up, so as not to spin at the end.
        let ms = left.map_or(-1, |l| (l + Duration::from_micros(999)).as_millis() as i32);
        // SAFETY: so many entries.
        let n = unsafe { libc::poll(all.as_mut_ptr(), all.len() as libc::nfds_t, ms) };
        if all[1..].iter().any(|b| b.revents != 0) && n > 0 {
            return Woken::Stopped;
        }
        match n {
            0 if left.is_some_and(|l| l.is_zero()) => return Woken::Late,
            1.. => return Woken::Ready,
            _ => {} // a signal, or a poll that ended a little early
        }
    }
}

/// Takes who has connected; `None` when nobody has, or the process has no descriptor left.
pub(super) fn accept(listener: &OwnedFd) -> Option<Channel> {
    let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    let none = std::ptr::null_mut();
    // SAFETY: nobody's address is asked for; what it returns is ours alone.
    let fd = unsafe { libc::accept4(listener.as_raw_fd(), none, none.cast(), flags) };
    // SAFETY: open, and owned by nobody else.
    (fd >= 0).then(|| Channel(unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// Room for one descriptor beside a message, aligned as the kernel wants it; and for more that nobody asked for, which a
/// peer might send to exhaust ours: they are closed.
#[repr(C, align(8))]
struct Control([u8; 256]);

/// A connection.
#[derive(Debug)]
pub(super) struct Channel(OwnedFd);

impl AsRawFd for Channel {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Channel {
    /// Sends a message, and a descriptor with it.
    pub(super) fn send(&self, message: &Message, name: &str, fd: Option<RawFd>) -> io::Result<()> {
        let mut bytes = message.write(name);
        let mut part = libc::iovec {
            iov_base: bytes.as_mut_ptr().cast(),
            iov_len: SIZE,
        };
        let mut control = Control([0; 256]);
        // SAFETY: all zeros is a valid header; the pointers are to what lives until the call is over. A control buffer of
        // 256 octets has room for one header and one descriptor.
        let n = unsafe {
            let mut header: libc::msghdr = std::mem::zeroed();
            header.msg_iov = &raw mut part;
            header.msg_iovlen = 1;
            if let Some(fd) = fd {
                let len = size_of::<RawFd>() as u32;
                header.msg_control = control.0.as_mut_ptr().cast();
                header.msg_controllen = libc::CMSG_SPACE(len) as usize;
                let c = &mut *libc::CMSG_FIRSTHDR(&raw const header);
                c.cmsg_level = libc::SOL_SOCKET;
                c.cmsg_type = libc::SCM_RIGHTS;
                c.cmsg_len = libc::CMSG_LEN(len) as usize;
                libc::CMSG_DATA(c).cast::<RawFd>().write_unaligned(fd);
            }
            libc::sendmsg(self.0.as_raw_fd(), &raw const header, libc::MSG_NOSIGNAL)
        };
        match n {
            n if n == SIZE as isize => Ok(()),
            0.. => Err(io::ErrorKind::WriteZero.into()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// What was said, and the descriptor that came with it. To be called when there is something to read.
    pub(super) fn receive(&self) -> io::Result<(Message, Option<OwnedFd>)> {
        let mut bytes = [0; SIZE];
        let mut part = libc::iovec {
            iov_base: bytes.as_mut_ptr().cast(),
            iov_len: SIZE,
        };
        let mut control = Control([0; 256]);
        let mut fds = Vec::new();
        // SAFETY: all zeros is a valid header; the pointers are to what lives until the call is over. The kernel writes whole
        // control messages; the descriptors in them are open and ours alone.
        let n = unsafe {
            let mut header: libc::msghdr = std::mem::zeroed();
            header.msg_iov = &raw mut part;
            header.msg_iovlen = 1;
            header.msg_control = control.0.as_mut_ptr().cast();
            header.msg_controllen = control.0.len();
            let flags = libc::MSG_CMSG_CLOEXEC;
            let n = libc::recvmsg(self.0.as_raw_fd(), &raw mut header, flags);
            let mut at = libc::CMSG_FIRSTHDR(&raw const header);
            while n >= 0 && !at.is_null() {
                let c = &*at;
                if c.cmsg_level == libc::SOL_SOCKET && c.cmsg_type == libc::SCM_RIGHTS {
                    let octets = c.cmsg_len - libc::CMSG_LEN(0) as usize;
                    let first = libc::CMSG_DATA(at).cast::<RawFd>();
                    for i in 0..octets / size_of::<RawFd>() {
                        fds.push(OwnedFd::from_raw_fd(first.add(i).read_unaligned()));
                    }
                }
                at = libc::CMSG_NXTHDR(&raw const header, at);
            }
            n
        };
        if n < 0 {
            return Err(io::Error::last_os_error());
        }
        if n != SIZE as isize {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let message = Message::read(&bytes).ok_or(io::ErrorKind::InvalidData)?;
        fds.truncate(1);
        Ok((message, fds.pop()))
    }
}
