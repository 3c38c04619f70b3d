//! Connections: they come, are made, are read and written in bounded pieces, and go.
//!
//! A connection that is closed after a NOTIFICATION lingers for a moment: closed at once with octets unread, the kernel
//! would send a reset, and the neighbour would never read why.

use std::collections::{HashMap, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use ::net::VrfId;
use bgp::speaker::{ConnId, Ends, PeerKey, Speaker};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::net::if_::if_nametoindex;
use socket2::Socket;
use tracing::debug;

use super::links::Links;
use super::net::{self, Wire};
use super::{CONNS, Driver};
use crate::config::VrfName;
use crate::rib::Rib;

/// Octets read at once.
const PIECE: usize = 64 << 10;
/// How long connections are read in a turn, and written.
const READING: Duration = Duration::from_millis(2);
const WRITING: Duration = Duration::from_millis(2);
/// Octets written to one connection in a turn.
const WRITTEN: usize = 256 << 10;
/// Connections taken in a turn.
const ACCEPTED: usize = 16;
/// Connections that linger at most, and for how long.
const LINGERING: usize = 64;
const LINGER: Duration = Duration::from_secs(1);

/// A connection.
struct Conn {
    id: ConnId,
    socket: Socket,
    /// It is still being made.
    connecting: bool,
    dev: Option<String>,
    /// The neighbour, if it must be on the link (RFC 4271 5.1.3: one of another AS, unless several hops are allowed).
    near: Option<IpAddr>,
    readable: bool,
    writable: bool,
    /// It waits to be read.
    queued: bool,
    /// Octets that were read, and that the speaker has not taken yet.
    rest: Vec<u8>,
    /// It is closed, but for what the neighbour may still send; until then.
    linger: Option<Instant>,
}

/// All of them, by slot; a slot and `first` make a token.
pub(super) struct Conns {
    first: usize,
    slots: Vec<Option<Conn>>,
    free: Vec<usize>,
    by_id: HashMap<ConnId, usize>,
    /// Slots that may be read.
    readable: VecDeque<usize>,
    lingering: usize,
    buffer: Box<[u8]>,
}

impl Conns {
    pub(super) fn new(first: usize) -> Self {
        Self {
            first,
            slots: Vec::new(),
            free: Vec::new(),
            by_id: HashMap::new(),
            readable: VecDeque::new(),
            lingering: 0,
            buffer: vec![0; PIECE].into(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// A descriptor is ready.
    pub(super) fn ready(&mut self, token: usize, readable: bool, writable: bool) {
        let slot = token - self.first;
        let Some(Some(conn)) = self.slots.get_mut(slot) else {
            return;
        };
        conn.readable |= readable;
        conn.writable |= writable;
        if (readable || conn.connecting) && !conn.queued {
            conn.queued = true;
            self.readable.push_back(slot);
        }
    }

    fn insert(&mut self, registry: &Registry, conn: Conn) -> io::Result<()> {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        let fd = conn.socket.as_raw_fd();
        let interest = Interest::READABLE | Interest::WRITABLE;
        let token = Token(self.first + slot);
        if let Err(e) = registry.register(&mut SourceFd(&fd), token, interest) {
            self.free.push(slot);
            return Err(e);
        }
        self.by_id.insert(conn.id, slot);
        self.slots[slot] = Some(conn);
        Ok(())
    }

    fn get(&mut self, id: ConnId) -> Option<&mut Conn> {
        self.slots.get_mut(*self.by_id.get(&id)?)?.as_mut()
    }

    fn take(&mut self, slot: usize, registry: &Registry) -> Option<Conn> {
        let conn = self.slots.get_mut(slot)?.take()?;
        let _ = registry.deregister(&mut SourceFd(&conn.socket.as_raw_fd()));
        self.free.push(slot);
        if conn.linger.is_some() {
            self.lingering -= 1;
        } else {
            self.by_id.remove(&conn.id);
        }
        Some(conn)
    }

    /// When a connection has lingered for long enough.
    pub(super) fn poll_at(&self) -> Option<Instant> {
        if self.lingering == 0 {
            return None;
        }
        self.slots.iter().flatten().filter_map(|c| c.linger).min()
    }

    /// Those that have lingered for long enough go.
    pub(super) fn drop_lingering(&mut self, now: Instant, registry: &Registry) {
        if self.lingering == 0 {
            return;
        }
        for slot in 0..self.slots.len() {
            let over = |c: &Conn| c.linger.is_some_and(|until| until <= now);
            if self.slots[slot].as_ref().is_some_and(over) {
                self.take(slot, registry);
            }
        }
    }
}

/// What came of reading a connection once.
enum Came {
    /// The speaker took it, or not all of it; there may be more.
    Some,
    /// There is nothing now.
    Nothing,
    /// It is over.
    End(String),
}

impl Driver {
    /// Takes connections that come. True: there may be more.
    pub(super) fn accept(&mut self, links: &Links<'_>, rib: &mut Rib, now: Instant) -> bool {
        let mut left = ACCEPTED;
        for n in 0..self.listeners.len() {
            while self.listeners[n].ready && left > 0 {
                match self.listeners[n].socket.accept() {
                    Ok((socket, from)) => {
                        left -= 1;
                        let from = net::address(Ok(from));
                        self.take_in(socket, from, None, links, now);
                        self.carry_out(links, rib, now);
                    }
                    Err(e) if e.kind() == ErrorKind::WouldBlock => self.listeners[n].ready = false,
                    Err(e) if e.kind() == ErrorKind::Interrupted => {}
                    Err(e) => {
                        // Too many descriptors, say: tried again when the next one comes.
                        if self.refusals.take(now) {
                            tracing::warn!("bgp: can't take a connection: {e}");
                        }
                        self.listeners[n].ready = e.kind() == ErrorKind::ConnectionAborted;
                    }
                }
            }
        }
        for n in 0..self.vpns.listeners.len() {
            while left > 0
                && let Some(l) = self.vpns.listeners.get_mut(n).filter(|l| l.listener.ready)
            {
                let vrf = (l.vrf.clone(), l.id);
                match l.listener.socket.accept() {
                    Ok((socket, from)) => {
                        left -= 1;
                        let from = net::address(Ok(from));
                        self.take_in(socket, from, Some(vrf), links, now);
                        self.carry_out(links, rib, now);
                    }
                    Err(e) if e.kind() == ErrorKind::Interrupted => {}
                    Err(e) => l.listener.ready = e.kind() == ErrorKind::ConnectionAborted,
                }
            }
        }
        let in_vrfs = self.vpns.listeners.iter().map(|l| &l.listener);
        self.listeners.iter().chain(in_vrfs).any(|l| l.ready)
    }

    fn take_in(
        &mut self,
        socket: Socket,
        from: Option<SocketAddr>,
        vrf: Option<(VrfName, VrfId)>,
        links: &Links<'_>,
        now: Instant,
    ) {
        let (Some(remote), Some(local)) = (from, net::address(socket.local_addr())) else {
            return;
        };
        let scope = net::scope(remote);
        let dev = match &vrf {
            Some((_, id)) => links.at(*id, local.ip()),
            None if scope == 0 => None,
            None => links.name(scope),
        };
        let refused = |driver: &mut Self, why: &str| {
            if driver.refusals.take(now) {
                debug!("bgp: a connection from {remote} is refused: {why}");
            }
        };
        let name = vrf.as_ref().map(|(name, _)| name);
        let Some(wire) = self.wire_of(remote.ip(), dev.as_deref(), name) else {
            return refused(self, "no such neighbour is configured");
        };
        let ready = socket
            .set_nonblocking(true)
            .and_then(|()| net::prepare(&socket, remote.is_ipv6(), wire));
        if let Err(e) = ready {
            return refused(self, &e.to_string());
        }
        let ends = Ends {
            local,
            remote,
            interface: dev.clone(),
            own: links.own(local.ip(), dev.as_deref()),
        };
        let near = wire.is_near().then_some(remote.ip());
        let id = self.speaker.as_mut().and_then(|s| s.accepted(ends, now));
        let Some(id) = id else {
            return refused(self, "its session does not take one now");
        };
        self.add(id, socket, near, false, dev, now);
    }

    fn add(
        &mut self,
        id: ConnId,
        socket: Socket,
        near: Option<IpAddr>,
        connecting: bool,
        dev: Option<String>,
        now: Instant,
    ) {
        let conn = Conn {
            id,
            socket,
            connecting,
            dev,
            near,
            readable: false,
            writable: !connecting,
            queued: false,
            rest: Vec::new(),
            linger: None,
        };
        if let Err(e) = self.conns.insert(&self.registry, conn)
            && let Some(speaker) = &mut self.speaker
        {
            speaker.failed(id, &format!("the kernel does not watch it: {e}"), now);
        }
    }

    /// Begins to connect.
    pub(super) fn connect(
        &mut self,
        id: ConnId,
        peer: &PeerKey,
        links: &Links<'_>,
        rib: &Rib,
    ) -> Result<(), String> {
        let wire = self.wires.get(peer).cloned();
        let (address, dev) = match peer {
            PeerKey::Address(a, dev) => (*a, dev.clone()),
            PeerKey::Interface(dev) => {
                let far = links.far_end(dev);
                let far = far.ok_or_else(|| format!("nobody has been heard on {dev} yet"))?;
                (IpAddr::from(far), Some(dev.clone()))
            }
        };
        let wire = wire
            .or_else(|| self.wire_of(address, dev.as_deref(), None).cloned())
            .ok_or("it is no longer configured")?;
        if wire.vrf.is_some() {
            return self.connect_in_vrf(id, address, &wire, links, rib);
        }
        let device = dev.as_deref().map(|d| links.device(d));
        let ifindex = match &device {
            Some(d) => if_nametoindex(d.as_str()).map_err(|e| format!("interface {d}: {e}"))?,
            None => 0,
        };
        let source = match (wire.source, ifindex) {
            (None, 0) if !links.is_standalone() => links.source(VrfId::GLOBAL, address, rib),
            (source, _) => source,
        };
        let to = net::remote(address, wire.port, ifindex);
        let socket =
            net::connect(to, source, device.as_deref(), &wire).map_err(|e| e.to_string())?;
        let near = wire.is_near().then_some(address);
        self.add(id, socket, near, true, dev, Instant::now());
        Ok(())
    }

    /// The same to a CE: in the namespace of its VRF, from an address of the interface that leads there.
    fn connect_in_vrf(
        &mut self,
        id: ConnId,
        address: IpAddr,
        wire: &Wire,
        links: &Links<'_>,
        rib: &Rib,
    ) -> Result<(), String> {
        let vrf = links.vrf(wire.vrf.as_ref()).ok_or("there is no such VRF")?;
        let host = links.host.ok_or("the VRF has no interface")?;
        let source = wire.source.or_else(|| links.source(vrf, address, rib));
        let source = source.ok_or("no interface of the VRF leads to it")?;
        let dev = links.at(vrf, source);
        let to = net::remote(address, wire.port, 0);
        let socket = host.enter(vrf, || net::connect(to, Some(source), None, wire));
        let socket = socket.and_then(|s| s).map_err(|e| e.to_string())?;
        let near = wire.is_near().then_some(address);
        self.add(id, socket, near, true, dev, Instant::now());
        Ok(())
    }

    /// Reads connections that have something, in turn, for a bounded time. True: there is more.
    pub(super) fn read(&mut self, links: &Links<'_>, rib: &mut Rib, now: Instant) -> bool {
        let begin = Instant::now();
        // Each once; those that have more come again in the next turn, behind the others.
        for _ in 0..self.conns.readable.len() {
            let Some(slot) = self.conns.readable.pop_front() else {
                break;
            };
            let Some(Some(conn)) = self.conns.slots.get_mut(slot) else {
                continue;
            };
            conn.queued = false;
            if conn.connecting {
                self.connected(slot, links, now);
            } else {
                let came = self.read_once(slot, now);
                match came {
                    Came::Some => self.again(slot),
                    Came::Nothing => {}
                    Came::End(why) => self.lost(slot, &why, now),
                }
            }
            self.carry_out(links, rib, now);
            if begin.elapsed() >= READING {
                break;
            }
        }
        !self.conns.readable.is_empty()
    }

    fn again(&mut self, slot: usize) {
        if let Some(Some(conn)) = self.conns.slots.get_mut(slot)
            && !conn.queued
        {
            conn.queued = true;
            self.conns.readable.push_back(slot);
        }
    }

    fn read_once(&mut self, slot: usize, now: Instant) -> Came {
        let (Some(speaker), Some(Some(conn))) = (&mut self.speaker, self.conns.slots.get_mut(slot))
        else {
            return Came::Nothing;
        };
        if !conn.rest.is_empty() {
            let taken = speaker.received(conn.id, &conn.rest, now);
            conn.rest.drain(..taken);
            if conn.rest.is_empty() {
                conn.rest = Vec::new();
            }
            return Came::Some;
        }
        let buffer = &mut self.conns.buffer;
        match (&conn.socket).read(buffer) {
            Ok(0) => Came::End("the neighbour closed the connection".into()),
            Ok(n) => {
                if conn.linger.is_none() {
                    let taken = speaker.received(conn.id, &buffer[..n], now);
                    conn.rest.extend_from_slice(&buffer[taken.min(n)..n]);
                }
                Came::Some
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                conn.readable = false;
                Came::Nothing
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => Came::Some,
            Err(e) => Came::End(e.to_string()),
        }
    }

    /// A connection that was to be made is, or can't be.
    fn connected(&mut self, slot: usize, links: &Links<'_>, now: Instant) {
        let Some(Some(conn)) = self.conns.slots.get_mut(slot) else {
            return;
        };
        let error = match conn.socket.take_error() {
            Ok(None) => None,
            Ok(Some(e)) | Err(e) => Some(e.to_string()),
        };
        if let Some(why) = error {
            return self.lost(slot, &why, now);
        }
        let Ok(remote) = conn.socket.peer_addr() else {
            // Neither yet: its descriptor was ready for something else.
            return;
        };
        let ends = net::address(Ok(remote)).zip(net::address(conn.socket.local_addr()));
        let Some((remote, local)) = ends else {
            return self.lost(slot, "the connection has no addresses", now);
        };
        conn.connecting = false;
        conn.writable = true;
        let ends = Ends {
            local,
            remote,
            interface: conn.dev.clone(),
            own: links.own(local.ip(), conn.dev.as_deref()),
        };
        let id = conn.id;
        if let Some(speaker) = &mut self.speaker {
            speaker.connected(id, ends, now);
        }
        self.again(slot);
    }

    /// A connection has ended.
    fn lost(&mut self, slot: usize, why: &str, now: Instant) {
        let Some(conn) = self.conns.take(slot, &self.registry) else {
            return;
        };
        if conn.linger.is_none()
            && let Some(speaker) = &mut self.speaker
        {
            speaker.failed(conn.id, why, now);
        }
    }

    /// Ends the connections to neighbours on a link that is down: nothing but silence could come of them, and to wait for
    /// that would take the hold time.
    pub(super) fn end_cut(&mut self, links: &Links<'_>, now: Instant) {
        for slot in 0..self.conns.slots.len() {
            let conn = self.conns.slots[slot].as_ref();
            let Some((near, dev)) = conn.and_then(|c| Some((c.near?, c.dev.as_deref()))) else {
                continue;
            };
            if let Some(name) = links.cut(near, dev) {
                self.lost(slot, &format!("interface {name} is down"), now);
            }
        }
    }

    /// Writes what there is to be written, in turn, for a bounded time. True: there is more.
    pub(super) fn write(&mut self, links: &Links<'_>, rib: &mut Rib, now: Instant) -> bool {
        let begin = Instant::now();
        let mut more = false;
        let waiting: Vec<ConnId> = match &self.speaker {
            Some(speaker) => speaker.writable().collect(),
            None => return false,
        };
        for id in waiting {
            let Some(slot) = self.conns.by_id.get(&id).copied() else {
                continue;
            };
            let ready = |c: &mut Conn| c.writable && !c.connecting;
            if !self.conns.get(id).is_some_and(ready) {
                continue;
            }
            if begin.elapsed() >= WRITING {
                more = true;
                break;
            }
            match self.write_some(slot, WRITTEN, now) {
                Ok(again) => more |= again,
                Err(e) => self.lost(slot, &e.to_string(), now),
            }
            self.carry_out(links, rib, now);
        }
        more
    }

    /// Writes to one connection. True: it would take more, and there is more.
    fn write_some(&mut self, slot: usize, most: usize, now: Instant) -> io::Result<bool> {
        let (Some(speaker), Some(Some(conn))) = (&mut self.speaker, self.conns.slots.get_mut(slot))
        else {
            return Ok(false);
        };
        let mut written = 0;
        while written < most {
            let octets = speaker.output(conn.id);
            if octets.is_empty() {
                return Ok(false);
            }
            match (&conn.socket).write(octets) {
                Ok(n) => {
                    written += n;
                    speaker.wrote(conn.id, n, now);
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    conn.writable = false;
                    // So it learns that the neighbour reads nothing (RFC 9687).
                    speaker.wrote(conn.id, 0, now);
                    return Ok(false);
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(true)
    }

    /// Closes a connection: what waits is written once, and then it lingers.
    pub(super) fn close(&mut self, id: ConnId, now: Instant) {
        if let Some(slot) = self.conns.by_id.get(&id).copied() {
            let connecting = self.conns.get(id).is_some_and(|c| c.connecting);
            let written = !connecting && self.write_some(slot, 1, now).is_ok();
            self.let_linger(slot, written, now);
        }
        if let Some(speaker) = self.speaker.as_mut() {
            Speaker::closed(speaker, id);
        }
    }

    fn let_linger(&mut self, slot: usize, written: bool, now: Instant) {
        let room = self.conns.lingering < LINGERING;
        let Some(Some(conn)) = self.conns.slots.get_mut(slot) else {
            return;
        };
        let half = written && room && conn.socket.shutdown(Shutdown::Write).is_ok();
        if !half {
            self.conns.take(slot, &self.registry);
            return;
        }
        conn.linger = Some(now + LINGER);
        conn.rest = Vec::new();
        let id = conn.id;
        self.conns.by_id.remove(&id);
        self.conns.lingering += 1;
        self.again(slot);
    }
}

const _: () = assert!(CONNS > super::LISTENERS);
