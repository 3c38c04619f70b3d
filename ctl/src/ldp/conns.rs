//! Connections of LDP: made, read and written in bounded pieces, closed.
//!
//! What is to be sent waits here, as much of it as the speaker has made before it was told that a connection is full. A full
//! one is not read either: each message that comes may make one that goes, and who reads nothing is not to fill our memory.
//! A connection that is closed after a Notification lingers for a moment: closed at once with octets unread, the kernel would
//! send a reset, and the neighbour would never read why.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use ::ldp::speaker::Conn as Id;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use socket2::Socket;

use super::{Around, Driver};

/// Octets that wait to be sent, from which on a connection is full, and below which it is not any more.
const FULL: (usize, usize) = (256 << 10, 64 << 10);
/// Connections that linger at most, and for how long.
const LINGERING: usize = 32;
const LINGER: Duration = Duration::from_secs(1);
/// Pieces read from one connection in a turn.
const PIECES: usize = 4;

/// A connection.
struct Conn {
    id: Id,
    socket: Socket,
    /// It is still being made.
    connecting: bool,
    readable: bool,
    writable: bool,
    /// Its socket takes nothing until it is said to be writable again.
    blocked: bool,
    full: bool,
    /// Octets to be sent.
    out: Vec<u8>,
    /// It is closed, but for what the neighbour may still send; until then.
    linger: Option<Instant>,
}

/// All of them, by slot; a slot and `first` make a token.
pub(super) struct Conns {
    first: usize,
    slots: Vec<Option<Conn>>,
    by_id: HashMap<Id, usize>,
    lingering: usize,
}

impl Conns {
    pub(super) fn new(first: usize) -> Self {
        Self {
            first,
            slots: Vec::new(),
            by_id: HashMap::new(),
            lingering: 0,
        }
    }

    /// A descriptor is ready.
    pub(super) fn ready(&mut self, token: usize, readable: bool, writable: bool) {
        if let Some(Some(c)) = self.slots.get_mut(token - self.first) {
            c.readable |= readable;
            c.writable |= writable;
            c.blocked &= !writable;
        }
    }

    pub(super) fn add(
        &mut self,
        id: Id,
        socket: Socket,
        connecting: bool,
        registry: &Registry,
    ) -> io::Result<()> {
        let free = self.slots.iter().position(Option::is_none);
        let slot = free.unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        registry.register(
            &mut SourceFd(&socket.as_raw_fd()),
            Token(self.first + slot),
            Interest::READABLE | Interest::WRITABLE,
        )?;
        self.by_id.insert(id, slot);
        self.slots[slot] = Some(Conn {
            id,
            socket,
            connecting,
            readable: false,
            writable: false,
            blocked: false,
            full: false,
            out: Vec::new(),
            linger: None,
        });
        Ok(())
    }

    fn get(&mut self, id: Id) -> Option<&mut Conn> {
        self.slots.get_mut(*self.by_id.get(&id)?)?.as_mut()
    }

    pub(super) fn socket(&mut self, id: Id) -> Option<&Socket> {
        self.get(id).map(|c| &c.socket)
    }

    /// Queues octets. True: it is full from now on.
    pub(super) fn push(&mut self, id: Id, octets: &[u8]) -> bool {
        let Some(c) = self.get(id) else { return false };
        c.out.extend_from_slice(octets);
        let full = c.out.len() >= FULL.0;
        full && !std::mem::replace(&mut c.full, full)
    }

    /// Closes a connection: what waits is written once, and then it lingers.
    pub(super) fn close(&mut self, id: Id, now: Instant, registry: &Registry) {
        let Some(slot) = self.by_id.remove(&id) else {
            return;
        };
        let room = self.lingering < LINGERING;
        let Some(Some(c)) = self.slots.get_mut(slot) else {
            return;
        };
        let written = !c.connecting && c.write().is_ok();
        if written && room && c.socket.shutdown(Shutdown::Write).is_ok() {
            c.linger = Some(now + LINGER);
            c.out = Vec::new();
            self.lingering += 1;
        } else {
            self.take(slot, registry);
        }
    }

    fn take(&mut self, slot: usize, registry: &Registry) {
        let Some(c) = self.slots.get_mut(slot).and_then(Option::take) else {
            return;
        };
        let _ = registry.deregister(&mut SourceFd(&c.socket.as_raw_fd()));
        match c.linger {
            Some(_) => self.lingering -= 1,
            None => drop(self.by_id.remove(&c.id)),
        }
    }

    /// Is there something that a connection would take?
    pub(super) fn wants_to_write(&self) -> bool {
        self.slots.iter().flatten().any(Conn::wants_to_write)
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

impl Conn {
    fn wants_to_write(&self) -> bool {
        !(self.connecting || self.blocked || self.linger.is_some() || self.out.is_empty())
    }

    /// Writes what waits, as much as is taken.
    fn write(&mut self) -> io::Result<()> {
        let mut done = 0;
        let result = loop {
            if done == self.out.len() {
                break Ok(());
            }
            match (&self.socket).write(&self.out[done..]) {
                Ok(n) => done += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    self.blocked = true;
                    break Ok(());
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => break Err(e),
            }
        };
        self.out.drain(..done);
        result
    }
}

impl Driver {
    /// Reads connections that have something. True: there may be more.
    pub(super) fn read(&mut self, around: &mut Around<'_>, now: Instant) -> bool {
        let mut more = false;
        for slot in 0..self.conns.slots.len() {
            let Some(Some(c)) = self.conns.slots.get(slot) else {
                continue;
            };
            if c.connecting && (c.readable || c.writable) {
                self.connected(slot, around, now);
            }
            for piece in 0..PIECES {
                let Some(Some(c)) = self.conns.slots.get(slot) else {
                    break;
                };
                if !c.readable || c.connecting || c.full {
                    break;
                }
                self.read_once(slot, around, now);
                more |= piece + 1 == PIECES;
            }
        }
        more
    }

    fn read_once(&mut self, slot: usize, around: &mut Around<'_>, now: Instant) {
        let (Some(speaker), Some(Some(c))) = (&mut self.speaker, self.conns.slots.get_mut(slot))
        else {
            return;
        };
        let mut out = Vec::new();
        match (&c.socket).read(&mut self.buffer) {
            Ok(n) if n > 0 => {
                if c.linger.is_none() {
                    speaker.received(now, c.id, &self.buffer[..n], &mut out);
                }
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => c.readable = false,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Ok(_) | Err(_) => {
                let (id, lingers) = (c.id, c.linger.is_some());
                self.conns.take(slot, &self.registry);
                if !lingers {
                    speaker.closed(now, id, &mut out);
                }
            }
        }
        self.carry_out(out, around, now);
    }

    /// A connection that was to be made is, or can't be.
    fn connected(&mut self, slot: usize, around: &mut Around<'_>, now: Instant) {
        let (Some(speaker), Some(Some(c))) = (&mut self.speaker, self.conns.slots.get_mut(slot))
        else {
            return;
        };
        let mut out = Vec::new();
        match c.socket.take_error() {
            Ok(None) if c.socket.peer_addr().is_err() => {
                // Neither yet: its descriptor was ready for something else.
                (c.readable, c.writable) = (false, false);
                return;
            }
            Ok(None) => {
                c.connecting = false;
                speaker.connected(now, c.id, &mut out);
            }
            Ok(Some(e)) | Err(e) => {
                tracing::debug!("ldp: can't connect: {e}");
                let id = c.id;
                self.conns.take(slot, &self.registry);
                speaker.closed(now, id, &mut out);
            }
        }
        self.carry_out(out, around, now);
    }

    /// Writes what there is to be written, as far as it is taken. True: one that was full may be read again.
    pub(super) fn write(&mut self, around: &mut Around<'_>, now: Instant) -> bool {
        let mut more = false;
        for slot in 0..self.conns.slots.len() {
            let (Some(speaker), Some(Some(c))) =
                (&mut self.speaker, self.conns.slots.get_mut(slot))
            else {
                continue;
            };
            if !c.wants_to_write() {
                continue;
            }
            let id = c.id;
            if c.write().is_err() {
                self.conns.take(slot, &self.registry);
                let mut out = Vec::new();
                speaker.closed(now, id, &mut out);
                self.carry_out(out, around, now);
            } else if c.full && c.out.len() < FULL.1 {
                c.full = false;
                speaker.set_full(id, false);
                more = true;
            }
        }
        more
    }
}
