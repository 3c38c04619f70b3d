//! The caches of the RPKI: connections to them, and what they say on its way to the speaker.
//!
//! Read RFC 8210 6, 8 and 10; the protocol itself is `bgp::rpki::Client`'s, a client for each cache. What they say goes into
//! one table, and a change is told to the speaker by its prefixes, which looks at the routes there in pieces. A whole set has half a
//! million records: it is read in pieces too, so sessions get their turn in between.
//!
//! Left out: TLS and SSH to a cache (RFC 8210 9). Run the cache on the router or in its own network.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use bgp::rpki::{CacheId, Client, Event, Output, Settings, State};
use bgp::speaker::Speaker;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use socket2::{Socket, TcpKeepalive};
use tracing::{info, warn};

use super::links::Links;
use super::net::{self, Wire};
use crate::config::policy::{Cache as Name, Rpki, Use};
use crate::rib::Rib;
use ::net::VrfId;

/// Octets read at once: some 3,000 records.
const PIECE: usize = 64 << 10;
/// How long caches are read in a turn.
const READING: Duration = Duration::from_millis(1);
/// How long a connection may take to be made.
const CONNECTING: Duration = Duration::from_secs(10);
/// How long a connection that is closed may still take what was written to it.
const LINGER: Duration = Duration::from_secs(1);
/// Octets that may wait to be written: a query has twelve, so whoever lets more wait reads nothing.
const UNREAD: usize = 4096;

/// A connection.
struct Conn {
    socket: Socket,
    /// It is to be made by then.
    connecting: Option<Instant>,
    readable: bool,
    /// What is still to be written.
    rest: Vec<u8>,
}

/// A cache that is configured.
struct Cache {
    name: Name,
    id: CacheId,
    /// `None`: it is in reserve.
    client: Option<Client>,
    conn: Option<Conn>,
    /// What was logged last, so that it is not said again every few seconds.
    logged: String,
    /// Its payloads, IPv4 and IPv6, when they last changed, and when that was.
    count: (usize, usize),
    changed: Option<Instant>,
    /// Connections that were made.
    connections: u64,
}

/// All of them, in the order of the configuration: the first are preferred, where that matters.
pub(super) struct Caches {
    first: usize,
    all: Vec<Cache>,
    rule: Use,
    settings: Settings,
    /// Whose turn it is to be read.
    turn: usize,
    lingering: Vec<(Socket, Instant)>,
    buffer: Box<[u8]>,
}

impl fmt::Debug for Caches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.all.iter().map(|c| c.name);
        f.debug_list().entries(names).finish()
    }
}

/// What stands around the caches.
pub(super) struct Around<'a> {
    pub(super) registry: &'a Registry,
    pub(super) speaker: &'a mut Speaker,
    pub(super) links: &'a Links<'a>,
    pub(super) rib: &'a Rib,
    pub(super) now: Instant,
}

impl Cache {
    fn new(name: Name, id: CacheId) -> Self {
        Self {
            name,
            id,
            client: None,
            conn: None,
            logged: String::new(),
            count: (0, 0),
            changed: None,
            connections: 0,
        }
    }

    /// Nothing is known of it that counts.
    fn is_empty(&self) -> bool {
        self.count == (0, 0)
    }

    /// It is connected, and has said all that it has.
    fn serves(&self) -> bool {
        let state = self.client.as_ref().map(|c| c.status());
        state.is_some_and(|s| {
            let answered = matches!(
                s.state,
                State::Synchronised | State::Asked | State::Receiving
            );
            answered && s.session.is_some() && s.expires.is_some()
        })
    }

    /// It was tried, and does not serve.
    fn fails(&self) -> bool {
        let status = self.client.as_ref().map(Client::status);
        !self.serves() && status.is_some_and(|s| s.error.is_some())
    }

    fn log(&mut self, text: &str) {
        if self.logged != text {
            warn!(cache = %self.name, "{text}");
            text.clone_into(&mut self.logged);
        }
    }

    /// Begins to connect.
    fn connect(&self, token: usize, around: &Around<'_>) -> Result<Conn, String> {
        let Name { address, port } = self.name;
        // On the router itself the kernel knows the way.
        let local = address.is_loopback() || around.links.is_standalone();
        let source: Option<IpAddr> = match local {
            true => None,
            false => around.links.source(VrfId::GLOBAL, address, around.rib),
        };
        let begin = || -> io::Result<Socket> {
            let to = net::remote(address, port, 0);
            let socket = net::connect(to, source, None, &Wire::default())?;
            // A refresh interval is an hour: without this, a cache that is gone would be missed as late.
            let alive = TcpKeepalive::new()
                .with_time(Duration::from_secs(30))
                .with_interval(Duration::from_secs(10));
            socket.set_tcp_keepalive(&alive)?;
            let interest = Interest::READABLE | Interest::WRITABLE;
            let fd = socket.as_raw_fd();
            around
                .registry
                .register(&mut SourceFd(&fd), Token(token), interest)?;
            Ok(socket)
        };
        Ok(Conn {
            socket: begin().map_err(|e| format!("can't connect: {e}"))?,
            connecting: Some(around.now + CONNECTING),
            readable: false,
            rest: Vec::new(),
        })
    }

    /// Lets go of its connection; what it is left with.
    fn drop_conn(&mut self, registry: &Registry) -> Option<Conn> {
        let conn = self.conn.take()?;
        let _ = registry.deregister(&mut SourceFd(&conn.socket.as_raw_fd()));
        Some(conn)
    }
}

impl Conn {
    /// Is it made by now? `Err`: it can't be.
    fn made(&mut self, now: Instant) -> Result<bool, String> {
        let Some(until) = self.connecting else {
            return Ok(true);
        };
        match self.socket.take_error() {
            Ok(None) => {}
            Ok(Some(e)) | Err(e) => return Err(format!("can't connect: {e}")),
        }
        if self.socket.peer_addr().is_ok() {
            self.connecting = None;
            return Ok(true);
        }
        match until <= now {
            true => Err(format!(
                "can't connect: no answer for {} s",
                CONNECTING.as_secs()
            )),
            false => Ok(false),
        }
    }

    fn write(&mut self) -> io::Result<()> {
        while !self.rest.is_empty() {
            match (&self.socket).write(&self.rest) {
                Ok(n) => drop(self.rest.drain(..n)),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

impl Caches {
    pub(super) fn new(first: usize) -> Self {
        Self {
            first,
            all: Vec::new(),
            rule: Use::All,
            settings: Settings::default(),
            turn: 0,
            lingering: Vec::new(),
            buffer: vec![0; PIECE].into(),
        }
    }

    /// Does that token belong to one of them?
    pub(super) fn owns(&self, token: usize) -> bool {
        (self.first..self.first + CacheId::MOST).contains(&token)
    }

    /// Takes over a configuration; those that stay keep what they said.
    pub(super) fn configure(&mut self, next: Option<&Rpki>, around: &mut Around<'_>) {
        let none = Rpki::default();
        let next = next.unwrap_or(&none);
        (self.rule, self.settings) = (next.rule, next.settings);
        for n in (0..self.all.len()).rev() {
            if !next.caches.contains(&self.all[n].name) {
                info!(cache = %self.all[n].name, "is no longer asked");
                self.stop(n, around);
                self.all.remove(n);
            }
        }
        let mut old = std::mem::take(&mut self.all);
        for name in &next.caches {
            let known = old.iter().position(|c| c.name == *name);
            let cache = match known {
                Some(at) => old.swap_remove(at),
                None => {
                    let taken = |id: &CacheId| old.iter().chain(&self.all).any(|c| c.id == *id);
                    let ids = (0..CacheId::MOST).filter_map(CacheId::new);
                    // There are as many as may be configured.
                    let Some(id) = ids.into_iter().find(|id| !taken(id)) else {
                        continue;
                    };
                    Cache::new(*name, id)
                }
            };
            self.all.push(cache);
        }
        for client in self.all.iter_mut().filter_map(|c| c.client.as_mut()) {
            client.set(self.settings, around.now);
        }
        self.turn = 0;
    }

    /// Everything that they said has gone with the speaker.
    pub(super) fn clear(&mut self, registry: &Registry) {
        for mut cache in self.all.drain(..) {
            cache.drop_conn(registry);
        }
    }

    /// A descriptor is ready.
    pub(super) fn ready(&mut self, token: usize, readable: bool) {
        let id = token - self.first;
        let cache = self.all.iter_mut().find(|c| c.id.index() == id);
        if let Some(conn) = cache.and_then(|c| c.conn.as_mut()) {
            conn.readable |= readable;
        }
    }

    /// When to turn again, if nothing happens before.
    pub(super) fn poll_at(&self) -> Option<Instant> {
        let clients = self.all.iter().filter_map(|c| c.client.as_ref()?.poll_at());
        let conns = self.all.iter().filter_map(|c| c.conn.as_ref()?.connecting);
        let lingering = self.lingering.iter().map(|(_, until)| *until);
        clients.chain(conns).chain(lingering).min()
    }

    /// Does a piece of everything. True: there is more at once.
    pub(super) fn turn(&mut self, around: &mut Around<'_>) -> bool {
        let now = around.now;
        self.lingering.retain(|(_, until)| *until > now);
        if self.all.is_empty() {
            return false;
        }
        self.choose(around);
        for n in 0..self.all.len() {
            let due = self.all[n].client.as_ref().and_then(Client::poll_at);
            if due.is_some_and(|at| at <= now) {
                self.event(n, Event::Tick, around);
            }
            self.flush(n, around);
        }
        let begin = Instant::now();
        for _ in 0..self.all.len() {
            self.turn = (self.turn + 1) % self.all.len();
            self.read(self.turn, around);
            if begin.elapsed() >= READING {
                break;
            }
        }
        let waits = |c: &Cache| {
            let conn = c.conn.as_ref();
            conn.is_some_and(|c| c.readable && c.connecting.is_none())
        };
        self.all.iter().any(waits)
    }

    /// Starts those that are to be asked, and stops those that need not be.
    fn choose(&mut self, around: &mut Around<'_>) {
        // With `first`, the next one is asked where those before fail, until one of them serves again.
        let mut wanted = true;
        let mut served = false;
        for n in 0..self.all.len() {
            if wanted && self.all[n].client.is_none() {
                let client = Client::new(self.all[n].id, self.settings, around.now);
                self.all[n].client = Some(client);
            } else if served && self.all[n].client.is_some() {
                info!(cache = %self.all[n].name, "is in reserve: one that is preferred answers");
                self.stop(n, around);
            }
            if self.rule == Use::First {
                served |= self.all[n].serves();
                wanted &= self.all[n].fails();
            }
        }
    }

    /// Ends what a cache does, and forgets what it said.
    fn stop(&mut self, n: usize, around: &mut Around<'_>) {
        self.event(n, Event::Stop, around);
        self.all[n].client = None;
        self.all[n].logged.clear();
        self.all[n].drop_conn(around.registry);
    }

    /// Gives a cache's client an event, and does what it wants.
    fn event(&mut self, n: usize, event: Event<'_>, around: &mut Around<'_>) {
        let cache = &mut self.all[n];
        let Some(client) = &mut cache.client else {
            return;
        };
        let mut out = Vec::new();
        let before = client.status();
        client.handle(around.now, event, around.speaker.roas(), &mut out);
        let after = client.status();
        for output in out {
            match output {
                Output::Connect => {
                    let token = self.first + cache.id.index();
                    match cache.connect(token, around) {
                        Ok(conn) => cache.conn = Some(conn),
                        Err(why) => return self.lost(n, &why, around),
                    }
                }
                Output::Send(octets) => {
                    if let Some(conn) = &mut cache.conn {
                        conn.rest.extend(octets);
                        // What goes wrong shows when it is read.
                        let _ = conn.write();
                    }
                }
                Output::Close => {
                    if let Some(conn) = cache.drop_conn(around.registry)
                        && conn.socket.shutdown(Shutdown::Write).is_ok()
                        && self.lingering.len() < CacheId::MOST
                    {
                        self.lingering.push((conn.socket, around.now + LINGER));
                    }
                }
                Output::Changed(changes) => {
                    cache.count = around.speaker.roas().count(cache.id);
                    cache.changed = Some(around.now);
                    around.speaker.validate_changes(&changes);
                }
                Output::Log(text) => cache.log(&text),
            }
        }
        if after.since != before.since && after.since.is_some() {
            let ((four, six), serial) = (cache.count, after.session.map_or(0, |s| s.1));
            if before.session.is_none() || !cache.logged.is_empty() {
                info!(cache = %cache.name, "has said all that it has: serial {serial}, {four} records of IPv4, {six} of IPv6");
            }
            cache.logged.clear();
        }
    }

    /// A connection has ended, or could not be made.
    fn lost(&mut self, n: usize, why: &str, around: &mut Around<'_>) {
        let cache = &mut self.all[n];
        cache.drop_conn(around.registry);
        let held = match cache.is_empty() {
            true => "",
            false => "; what it said counts until it expires",
        };
        cache.log(&format!("{why}{held}"));
        self.event(n, Event::Closed(why), around);
    }

    /// Looks whether a connection is made by now, and writes what waits.
    fn flush(&mut self, n: usize, around: &mut Around<'_>) {
        let Some(conn) = &mut self.all[n].conn else {
            return;
        };
        let fresh = conn.connecting.is_some();
        match conn.made(around.now) {
            Err(why) => self.lost(n, &why, around),
            Ok(true) if fresh => {
                self.all[n].connections += 1;
                self.event(n, Event::Connected, around);
            }
            Ok(true) if !conn.rest.is_empty() => {
                if let Err(e) = conn.write() {
                    self.lost(n, &e.to_string(), around);
                } else if conn.rest.len() > UNREAD {
                    self.lost(n, "it reads nothing", around);
                }
            }
            Ok(_) => {}
        }
    }

    /// Reads a piece of what a cache says.
    fn read(&mut self, n: usize, around: &mut Around<'_>) {
        let Some(conn) = &mut self.all[n].conn else {
            return;
        };
        if !conn.readable || conn.connecting.is_some() {
            return;
        }
        match (&conn.socket).read(&mut self.buffer) {
            Ok(0) => self.lost(n, "it closed the connection", around),
            Ok(len) => {
                let buffer = std::mem::take(&mut self.buffer);
                self.event(n, Event::Received(&buffer[..len]), around);
                self.buffer = buffer;
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => conn.readable = false,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => self.lost(n, &format!("the connection is lost: {e}"), around),
        }
    }

    /// The caches in the words of the API, in the order of the configuration.
    pub(super) fn show(&self, now: Instant) -> Vec<api::RpkiCache> {
        self.all.iter().map(|c| c.show(now)).collect()
    }
}

impl Cache {
    fn show(&self, now: Instant) -> api::RpkiCache {
        let ago =
            |at: Option<Instant>| at.map(|at| now.saturating_duration_since(at).as_secs_f64());
        let left =
            |at: Option<Instant>| at.map(|at| at.saturating_duration_since(now).as_secs_f64());
        let mut out = api::RpkiCache {
            cache: self.name.to_string(),
            address: self.name.address.to_string(),
            port: self.name.port.into(),
            state: "reserve".into(),
            ipv4: self.count.0 as u64,
            ipv6: self.count.1 as u64,
            changed_ago_s: ago(self.changed),
            connections: self.connections,
            ..api::RpkiCache::default()
        };
        let Some(status) = self.client.as_ref().map(Client::status) else {
            return out;
        };
        status.state.name().clone_into(&mut out.state);
        out.version = status.version.into();
        out.session = status.session.map(|s| s.0.into());
        out.serial = status.session.map(|s| s.1);
        out.updated_ago_s = ago(status.since);
        out.expires_s = left(status.expires);
        out.next_s = left(status.next);
        out.coming = status.coming as u64;
        out.refresh_s = status.timers.refresh;
        out.retry_s = status.timers.retry;
        out.expire_s = status.timers.expire;
        out.error = status.error.unwrap_or_default();
        out
    }
}

#[cfg(test)]
mod tests;
