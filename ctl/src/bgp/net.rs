//! Sockets for BGP: listening, connecting, and what is set on each. No protocol.
//!
//! Read RFC 5082 (TTL security), RFC 2385 (MD5), RFC 5925 (AO). A neighbour on a link gets packets with TTL 1 unless it is said
//! otherwise, so that nobody farther away can take its place by mistake; whoever proves by TTL that it is near gets 255.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::time::Duration;

use hugepages::sock;
use nix::errno::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use crate::config::VrfName;
use crate::config::bgp::{AoAlgorithm, AoKey, Secret};

/// Connections that the kernel holds until we take them.
const BACKLOG: i32 = 128;
/// The precedence of routing protocols (RFC 4594: CS6).
const TOS: u32 = 0xc0;
/// Unacknowledged for so long, a connection is given up; hold timers are mostly sooner.
const USER_TIMEOUT: Duration = Duration::from_secs(180);

/// What is set on the sockets of a neighbour.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wire {
    /// The key of TCP MD5.
    pub(super) md5: Option<Secret>,
    /// The keys of TCP-AO.
    pub(super) ao: Vec<AoKey>,
    /// The TTL of what is sent; `None`: the kernel's.
    pub(super) ttl: Option<u8>,
    /// The least TTL of what is taken.
    pub(super) least_ttl: Option<u8>,
    /// Our end, if it is given.
    pub(super) source: Option<IpAddr>,
    /// The neighbour's port.
    pub(super) port: u16,
    /// The VRF that it is in; `None`: the global table.
    pub(super) vrf: Option<VrfName>,
}

impl Wire {
    /// Is what goes over it signed?
    pub(super) fn is_signed(&self) -> bool {
        self.md5.is_some() || !self.ao.is_empty()
    }

    /// Must the neighbour be on a link of ours?
    pub(super) fn is_near(&self) -> bool {
        self.ttl == Some(1) || self.least_ttl == Some(255)
    }
}

/// Opens a listening socket.
pub(super) fn listen(at: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(domain(at), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    let specific = !at.ip().is_unspecified();
    if at.is_ipv6() {
        socket.set_only_v6(true)?;
        socket.set_freebind_v6(specific)?;
        socket.set_tclass_v6(TOS)?;
        // What answers a neighbour that checks the TTL has the greatest.
        socket.set_unicast_hops_v6(255)?;
    } else {
        // An address that its interface is still about to get is no reason to fail.
        socket.set_freebind_v4(specific)?;
        socket.set_tos_v4(TOS)?;
        socket.set_ttl_v4(255)?;
    }
    socket.bind(&at.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

fn domain(at: SocketAddr) -> Domain {
    match at {
        SocketAddr::V4(_) => Domain::IPV4,
        SocketAddr::V6(_) => Domain::IPV6,
    }
}

/// Begins to connect. The socket is writable when it is connected, or has failed.
pub(super) fn connect(
    to: SocketAddr,
    from: Option<IpAddr>,
    device: Option<&str>,
    wire: &Wire,
) -> io::Result<Socket> {
    let socket = Socket::new(domain(to), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    prepare(&socket, to.is_ipv6(), wire)?;
    let peers = sock::Peers::one(to.ip());
    if let Some(key) = &wire.md5 {
        sock::set_md5(&socket, &peers, &key.0)?;
    }
    for (n, key) in wire.ao.iter().enumerate() {
        sock::add_ao(&socket, &peers, &ao(key, n == 0))?;
    }
    if let Some(device) = device {
        socket.bind_device(Some(device.as_bytes()))?;
    }
    if let Some(from) = from {
        socket.bind(&with_scope(from, 0, to).into())?;
    }
    match socket.connect(&to.into()) {
        Err(e) if e.raw_os_error() != Some(Errno::EINPROGRESS as i32) => Err(e),
        _ => Ok(socket),
    }
}

/// An address with a port, and the interface of `like`, if that has one.
fn with_scope(ip: IpAddr, port: u16, like: SocketAddr) -> SocketAddr {
    match (ip, like) {
        (IpAddr::V6(a), SocketAddr::V6(to)) if a.is_unicast_link_local() => {
            SocketAddrV6::new(a, port, 0, to.scope_id()).into()
        }
        _ => SocketAddr::new(ip, port),
    }
}

/// What is set on every connection.
pub(super) fn prepare(socket: &Socket, v6: bool, wire: &Wire) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    if let Some(ttl) = wire.ttl {
        match v6 {
            true => socket.set_unicast_hops_v6(ttl.into())?,
            false => socket.set_ttl_v4(ttl.into())?,
        }
    } else {
        // Not that of the listening socket.
        match v6 {
            true => socket.set_unicast_hops_v6(64)?,
            false => socket.set_ttl_v4(64)?,
        }
    }
    if let Some(least) = wire.least_ttl {
        sock::set_least_ttl(socket, v6, least)?;
    }
    match v6 {
        true => socket.set_tclass_v6(TOS),
        false => socket.set_tos_v4(TOS),
    }
}

/// A key as the kernel takes it.
fn ao(key: &AoKey, current: bool) -> sock::AoKey<'_> {
    sock::AoKey {
        algorithm: match key.algorithm {
            AoAlgorithm::HmacSha1 => "hmac(sha1)",
            AoAlgorithm::AesCmac => "cmac(aes128)",
        },
        send_id: key.send_id,
        receive_id: key.receive_id,
        key: &key.key.0,
        current,
    }
}

/// Has connections from `peers` signed, or no longer (`wire` is `None`).
pub(super) fn sign(listener: &Socket, peers: &sock::Peers, wire: Option<&Wire>) -> io::Result<()> {
    let none = Secret::default();
    let key = wire.and_then(|w| w.md5.as_ref());
    let gone = |e: &io::Error| e.raw_os_error() == Some(Errno::ENOENT as i32);
    match (key, sock::set_md5(listener, peers, &key.unwrap_or(&none).0)) {
        (None, Err(e)) if gone(&e) => {}
        (_, done) => done?,
    }
    for (n, key) in wire.iter().flat_map(|w| w.ao.iter().enumerate()) {
        sock::add_ao(listener, peers, &ao(key, n == 0))?;
    }
    Ok(())
}

/// Whether this kernel signs with that key of TCP-AO.
pub(super) fn try_ao(key: &AoKey) -> Result<(), String> {
    let try_it = || -> io::Result<()> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        let peers = sock::Peers::one(IpAddr::from([192, 0, 2, 1]));
        sock::add_ao(&socket, &peers, &ao(key, false))
    };
    match try_it() {
        Ok(()) => Ok(()),
        Err(e) if e.raw_os_error() == Some(Errno::ENOPROTOOPT as i32) => Err(
            "this kernel has no TCP-AO (Linux 6.7 and newer, with CONFIG_TCP_AO); use password-file, or another kernel".into(),
        ),
        Err(e) => Err(format!("the kernel does not take a key of TCP-AO: {e}")),
    }
}

/// An address of ours or a neighbour's, as the standard library has it.
pub(super) fn address(of: io::Result<socket2::SockAddr>) -> Option<SocketAddr> {
    let a = of.ok()?.as_socket()?;
    Some(match a {
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(v4) => SocketAddrV4::new(v4, v6.port()).into(),
            None => a,
        },
        SocketAddr::V4(_) => a,
    })
}

/// The link-local addresses' own scope; 0 for all others.
pub(super) fn scope(a: SocketAddr) -> u32 {
    match a {
        SocketAddr::V6(a) if a.ip().is_unicast_link_local() => a.scope_id(),
        _ => 0,
    }
}

/// `address` at `port`; on that interface if it is link-local.
pub(super) fn remote(address: IpAddr, port: u16, ifindex: u32) -> SocketAddr {
    match address {
        IpAddr::V6(a) if a.is_unicast_link_local() => SocketAddrV6::new(a, port, 0, ifindex).into(),
        a => SocketAddr::new(a, port),
    }
}

/// All link-local addresses: whoever is at the other end of a link has one.
pub(super) fn link_local(ifindex: u32) -> sock::Peers {
    sock::Peers {
        address: Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0).into(),
        prefix_len: 10,
        ifindex: Some(ifindex),
    }
}
