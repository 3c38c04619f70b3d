//! Sockets for LDP: Hellos, listening, connecting, and what is set on each. No protocol.
//!
//! Read RFC 5036 2.4.1 (Hellos go to all routers of a link), RFC 6720 (TTL 255 in sessions on a link), RFC 2385 (MD5). The
//! socket of Hellos is bound to the group's address and to the interface's TAP, so nothing else comes to it, and what it
//! sends leaves there with the interface's address.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use ::ldp::discovery::{ALL_ROUTERS_V4, PORT};
use hugepages::sock;
use nix::errno::Errno;
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};

/// Connections that the kernel holds until we take them.
const BACKLOG: i32 = 64;
/// The precedence of routing protocols (RFC 4594: CS6).
const TOS: u32 = 0xc0;
/// Unacknowledged for so long, a connection is given up; hold times are mostly sooner.
const USER_TIMEOUT: Duration = Duration::from_secs(180);
/// The TTL of sessions without RFC 6720.
const TTL: u32 = 64;

/// The socket of an interface's Hellos.
pub(super) fn hellos(device: &str, index: u32) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    socket.bind_device(Some(device.as_bytes()))?;
    socket.bind(&SocketAddr::from((ALL_ROUTERS_V4, PORT)).into())?;
    socket.join_multicast_v4_n(&ALL_ROUTERS_V4, &InterfaceIndexOrAddress::Index(index))?;
    socket.set_multicast_loop_v4(false)?;
    socket.set_multicast_ttl_v4(1)?;
    socket.set_tos_v4(TOS)?;
    Ok(socket.into())
}

/// Opens the listening socket.
pub(super) fn listen(at: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::IPV4,
        Type::STREAM.nonblocking(),
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    // An address that its interface is still about to get is no reason to fail.
    socket.set_freebind_v4(true)?;
    socket.set_tos_v4(TOS)?;
    // What answers a neighbour that checks the TTL has the greatest.
    socket.set_ttl_v4(255)?;
    socket.bind(&at.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// Begins to connect. The socket is writable when it is connected, or has failed.
pub(super) fn connect(
    local: IpAddr,
    remote: IpAddr,
    gtsm: bool,
    key: Option<&[u8]>,
) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::IPV4,
        Type::STREAM.nonblocking(),
        Some(Protocol::TCP),
    )?;
    prepare(&socket, gtsm)?;
    socket.set_freebind_v4(true)?;
    if let Some(key) = key {
        sock::set_md5(&socket, &sock::Peers::one(remote), key)?;
    }
    socket.bind(&SocketAddr::new(local, 0).into())?;
    match socket.connect(&SocketAddr::new(remote, PORT).into()) {
        Err(e) if e.raw_os_error() != Some(Errno::EINPROGRESS as i32) => Err(e),
        _ => Ok(socket),
    }
}

/// What is set on every connection.
pub(super) fn prepare(socket: &Socket, gtsm: bool) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    socket.set_tos_v4(TOS)?;
    socket.set_ttl_v4(if gtsm { 255 } else { TTL })?;
    match gtsm {
        true => sock::set_least_ttl(socket, false, 255),
        false => Ok(()),
    }
}

/// Has connections from `peer` signed with that key; an empty one: no longer.
pub(super) fn sign(listener: &Socket, peer: IpAddr, key: &[u8]) -> io::Result<()> {
    match sock::set_md5(listener, &sock::Peers::one(peer), key) {
        Err(e) if key.is_empty() && e.raw_os_error() == Some(Errno::ENOENT as i32) => Ok(()),
        done => done,
    }
}
