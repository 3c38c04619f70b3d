//! Options of TCP sockets that no crate has safely: signatures (RFC 2385, RFC 5925) and the least TTL (RFC 5082).
//!
//! Read first: the kernel's `include/uapi/linux/tcp.h` (`tcp_md5sig`, `tcp_ao_add`) and `Documentation/networking/tcp_ao.rst`.
//! They are here since this crate is about the kernel, and the control plane has no unsafe code.
//!
//! Left out: changing the keys of TCP-AO while a connection runs.

use std::ffi::c_int;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};

/// The longest key: TCP_MD5SIG_MAXKEYLEN, TCP_AO_MAXKEYLEN.
pub const MAX_KEY: usize = 80;

const TCP_MD5SIG_EXT: c_int = 32;
const TCP_AO_ADD_KEY: c_int = 38;
const TCP_MD5SIG_FLAG_PREFIX: u8 = 1;
const TCP_MD5SIG_FLAG_IFINDEX: u8 = 2;
const IPV6_MINHOPCOUNT: c_int = 73;

/// Whom a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peers {
    /// The address, or the first of them.
    pub address: IpAddr,
    /// How many of its bits count: 32 or 128 for that address alone.
    pub prefix_len: u8,
    /// Only on this interface.
    pub ifindex: Option<u32>,
}

impl Peers {
    /// That address alone.
    #[must_use]
    pub fn one(address: IpAddr) -> Self {
        let prefix_len = if address.is_ipv4() { 32 } else { 128 };
        Self {
            address,
            prefix_len,
            ifindex: None,
        }
    }

    /// As a `sockaddr_storage`.
    fn storage(&self) -> [u8; 128] {
        let mut out = [0; 128];
        match self.address {
            IpAddr::V4(a) => {
                out[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
                out[4..8].copy_from_slice(&a.octets());
            }
            IpAddr::V6(a) => {
                out[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
                out[8..24].copy_from_slice(&a.octets());
            }
        }
        out
    }
}

/// `struct tcp_md5sig`
#[repr(C)]
struct Md5 {
    address: [u8; 128],
    flags: u8,
    prefix_len: u8,
    key_len: u16,
    ifindex: c_int,
    key: [u8; MAX_KEY],
}

const _: () = assert!(size_of::<Md5>() == 216);

/// `struct tcp_ao_add`
#[repr(C)]
struct Ao {
    address: [u8; 128],
    algorithm: [u8; 64],
    ifindex: i32,
    /// Bit 0: send with it from now on. Bit 1: ask the other side to.
    set: u32,
    reserved: u16,
    prefix_len: u8,
    send_id: u8,
    receive_id: u8,
    mac_len: u8,
    key_flags: u8,
    key_len: u8,
    key: [u8; MAX_KEY],
}

const _: () = assert!(size_of::<Ao>() == 288);

fn set<T>(socket: &impl AsFd, level: c_int, name: c_int, value: &T) -> io::Result<()> {
    // SAFETY: the kernel reads size_of::<T>() octets of `value`, which lives until it returns, and keeps no pointer.
    let done = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    match done {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Segments to and from `peers` are signed with `key` (RFC 2385); an empty key: no longer. On a listening socket it holds
/// for the connections that come. `peers` is of the socket's own IP version.
///
/// # Errors
/// The key is too long, or the kernel does not sign.
pub fn set_md5(socket: &impl AsFd, peers: &Peers, key: &[u8]) -> io::Result<()> {
    if key.len() > MAX_KEY {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let whole = if peers.address.is_ipv4() { 32 } else { 128 };
    let mut flags = 0;
    if peers.prefix_len < whole {
        flags |= TCP_MD5SIG_FLAG_PREFIX;
    }
    if peers.ifindex.is_some() {
        flags |= TCP_MD5SIG_FLAG_IFINDEX;
    }
    let mut option = Md5 {
        address: peers.storage(),
        flags,
        prefix_len: peers.prefix_len,
        key_len: key.len() as u16,
        ifindex: peers.ifindex.map_or(0, u32::cast_signed),
        key: [0; MAX_KEY],
    };
    option.key[..key.len()].copy_from_slice(key);
    // Without flags the older option is enough, which every kernel has.
    let name = if flags == 0 {
        libc::TCP_MD5SIG
    } else {
        TCP_MD5SIG_EXT
    };
    set(socket, libc::IPPROTO_TCP, name, &option)
}

/// A key of TCP-AO.
#[derive(Clone, Copy, Debug)]
pub struct AoKey<'a> {
    /// The kernel's name of the MAC: `hmac(sha1)`, `cmac(aes128)`.
    pub algorithm: &'a str,
    /// KeyID of segments that are sent.
    pub send_id: u8,
    /// KeyID of segments that are taken.
    pub receive_id: u8,
    /// The master key.
    pub key: &'a [u8],
    /// Send with it.
    pub current: bool,
}

/// Segments to and from `peers` are signed with `key` (RFC 5925).
///
/// # Errors
/// The key is too long, or the kernel has no TCP-AO (`ENOPROTOOPT`).
pub fn add_ao(socket: &impl AsFd, peers: &Peers, key: &AoKey<'_>) -> io::Result<()> {
    let name = key.algorithm.as_bytes();
    if key.key.len() > MAX_KEY || name.len() >= 64 {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let mut option = Ao {
        address: peers.storage(),
        algorithm: [0; 64],
        ifindex: 0,
        set: if key.current { 3 } else { 0 },
        reserved: 0,
        prefix_len: peers.prefix_len,
        send_id: key.send_id,
        receive_id: key.receive_id,
        mac_len: 12,
        key_flags: 0,
        key_len: key.key.len() as u8,
        key: [0; MAX_KEY],
    };
    option.algorithm[..name.len()].copy_from_slice(name);
    option.key[..key.key.len()].copy_from_slice(key.key);
    set(socket, libc::IPPROTO_TCP, TCP_AO_ADD_KEY, &option)
}

/// Only segments whose TTL (hop limit) is at least `least` are taken (RFC 5082).
///
/// # Errors
/// The kernel refuses.
pub fn set_least_ttl(socket: &impl AsFd, v6: bool, least: u8) -> io::Result<()> {
    let least = c_int::from(least);
    match v6 {
        true => set(socket, libc::IPPROTO_IPV6, IPV6_MINHOPCOUNT, &least),
        false => set(socket, libc::IPPROTO_IP, libc::IP_MINTTL, &least),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::time::Duration;

    /// A connection from 127.0.0.1 to a listener; the listener has the first key, who connects the second.
    fn connects(listener_key: &[u8], key: &[u8], prefix_len: u8) -> bool {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peers = Peers {
            prefix_len,
            ..Peers::one("127.0.0.1".parse().unwrap())
        };
        set_md5(&listener, &peers, listener_key).unwrap();
        let to = listener.local_addr().unwrap();
        let (done, outcome) = std::sync::mpsc::channel();
        let key = key.to_vec();
        std::thread::spawn(move || done.send(connect(to, &key)));
        // A wrong signature is dropped in silence, so there is nothing but time to tell.
        let Ok(Ok(mut stream)) = outcome.recv_timeout(Duration::from_secs(1)) else {
            return false;
        };
        let (mut server, _) = listener.accept().unwrap();
        server.write_all(b"x").unwrap();
        let mut one = [0];
        stream.read_exact(&mut one).is_ok()
    }

    fn connect(to: SocketAddr, key: &[u8]) -> io::Result<TcpStream> {
        // SAFETY: a plain system call; the descriptor is new, and owned by nobody else.
        let stream = unsafe {
            let fd = libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0);
            <std::net::TcpStream as std::os::fd::FromRawFd>::from_raw_fd(fd)
        };
        set_md5(&stream, &Peers::one(to.ip()), key)?;
        let mut address = Peers::one(to.ip()).storage();
        address[2..4].copy_from_slice(&to.port().to_be_bytes());
        // SAFETY: `address` is a sockaddr_in in 16 of its octets, and lives until the call returns.
        let done = unsafe { libc::connect(stream.as_raw_fd(), address.as_ptr().cast(), 16) };
        match done {
            0 => Ok(stream),
            _ => Err(io::Error::last_os_error()),
        }
    }

    #[test]
    fn signatures() {
        assert!(connects(b"geheim", b"geheim", 32));
        assert!(connects(b"geheim", b"geheim", 8), "of a whole network");
        assert!(!connects(b"geheim", b"geheimer", 32));
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let peers = Peers::one("127.0.0.1".parse().unwrap());
        assert!(set_md5(&socket, &peers, &[0; 81]).is_err());
    }

    #[test]
    fn ttl_of_either_version() {
        let v4 = TcpListener::bind("127.0.0.1:0").unwrap();
        set_least_ttl(&v4, false, 255).unwrap();
        let to = v4.local_addr().unwrap();
        // Linux sends with 64: the SYN is dropped.
        let error = TcpStream::connect_timeout(&to, Duration::from_millis(300)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        set_least_ttl(&v4, false, 64).unwrap();
        TcpStream::connect_timeout(&to, Duration::from_secs(5)).unwrap();
        if let Ok(v6) = TcpListener::bind("[::1]:0") {
            set_least_ttl(&v6, true, 255).unwrap();
        }
    }

    #[test]
    fn tcp_ao_is_set_or_refused() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let key = AoKey {
            algorithm: "hmac(sha1)",
            send_id: 1,
            receive_id: 2,
            key: b"geheim",
            current: false,
        };
        let peers = Peers::one("127.0.0.1".parse().unwrap());
        match add_ao(&socket, &peers, &key) {
            Ok(()) => {}
            Err(e) => assert_eq!(e.raw_os_error(), Some(libc::ENOPROTOOPT), "{e}"),
        }
    }
}
