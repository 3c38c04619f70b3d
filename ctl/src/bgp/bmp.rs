//! BMP, RFC 7854: connections to the monitoring stations of `[bmp.*]`. What they are told is the speaker's: a feed each.
//!
//! A station that is not there is tried again, at first after a second, then less and less often. One buffer a station waits to be
//! written; when it is full, the feed notes what changes and writes nothing. A station that takes nothing for a minute while something
//! waits is cut off, and tried again.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use bgp::bmp::{Termination, initiation, termination};
use bgp::speaker::{FeedId, Monitored, Speaker};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, Socket, Type};
use tracing::{info, warn};

use super::net;
use crate::config::watch::{Bmp, Monitor};

/// Octets that wait to be written to a station before its feed waits.
const ENOUGH: usize = 256 << 10;
/// Octets written to one station in a turn.
const WRITTEN: usize = 512 << 10;
/// Changes that wait in a feed; some 50 MB.
const CHANGES: usize = 500_000;
/// How long a station may take nothing.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a connection may take to be made.
const CONNECTING: Duration = Duration::from_secs(10);
/// Between two tries: from, to.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

enum State {
    /// To be tried again then.
    Waiting(Instant),
    /// A connection is being made.
    Connecting(Socket, Instant),
    Connected(Connection),
}

struct Connection {
    socket: Socket,
    feed: FeedId,
    buffer: Vec<u8>,
    start: usize,
    writable: bool,
    readable: bool,
    /// When the station took something last, or nothing waited.
    moved: Instant,
    statistics: Option<Instant>,
    bytes: u64,
}

/// A station.
pub(super) struct Station {
    name: String,
    told: Bmp,
    token: Token,
    state: State,
    since: Instant,
    /// The next pause between tries.
    pause: Duration,
    connections: u64,
    last_error: String,
}

impl Station {
    pub(super) fn new(name: &str, told: &Bmp, token: Token, now: Instant) -> Self {
        Self {
            name: name.to_owned(),
            told: told.clone(),
            token,
            state: State::Waiting(now),
            since: now,
            pause: RETRY.0,
            connections: 0,
            last_error: String::new(),
        }
    }

    pub(super) fn is(&self, name: &str, told: &Bmp) -> bool {
        self.name == name && self.told == *told
    }

    pub(super) fn token(&self) -> Token {
        self.token
    }

    /// Its descriptor is ready.
    pub(super) fn ready(&mut self, readable: bool, writable: bool) {
        if let State::Connected(c) = &mut self.state {
            c.readable |= readable;
            c.writable |= writable;
        }
    }

    /// When to turn again, if nothing happens before.
    pub(super) fn poll_at(&self) -> Instant {
        match &self.state {
            State::Waiting(at) | State::Connecting(_, at) => *at,
            State::Connected(c) => {
                let patience = c.moved + PATIENCE;
                c.statistics.map_or(patience, |at| at.min(patience))
            }
        }
    }

    /// Does a piece. True: there is more at once.
    pub(super) fn turn(
        &mut self,
        speaker: &mut Speaker,
        registry: &Registry,
        who: (&str, &str),
        source: impl Fn(IpAddr) -> Option<IpAddr>,
        now: Instant,
    ) -> bool {
        let outcome = match &mut self.state {
            State::Waiting(at) if *at > now => return false,
            State::Waiting(_) => {
                let from = self.told.source.or_else(|| source(self.told.address));
                self.connect(from, registry, now).map(|()| false)
            }
            State::Connecting(..) => self.connected(speaker, who, now),
            State::Connected(c) => {
                let every = Duration::from_secs(self.told.statistics.into());
                c.turn(speaker, every, now)
            }
        };
        outcome.unwrap_or_else(|e| {
            self.lost(&e, speaker, registry, now);
            false
        })
    }

    fn connect(
        &mut self,
        from: Option<IpAddr>,
        registry: &Registry,
        now: Instant,
    ) -> io::Result<()> {
        let to = self.told.at();
        let domain = if to.is_ipv4() {
            Domain::IPV4
        } else {
            Domain::IPV6
        };
        let socket = Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        socket.set_keepalive(true)?;
        if let Some(from) = from {
            socket.bind(&SocketAddr::new(from, 0).into())?;
        }
        match socket.connect(&to.into()) {
            Err(e) if e.raw_os_error() != Some(nix::errno::Errno::EINPROGRESS as i32) => {
                return Err(e);
            }
            _ => {}
        }
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut SourceFd(&socket.as_raw_fd()), self.token, interest)?;
        self.state = State::Connecting(socket, now + CONNECTING);
        self.since = now;
        Ok(())
    }

    /// A connection is there, or can't be had, or is still awaited.
    fn connected(
        &mut self,
        speaker: &mut Speaker,
        (name, description): (&str, &str),
        now: Instant,
    ) -> io::Result<bool> {
        let State::Connecting(socket, until) = &self.state else {
            return Ok(false);
        };
        if let Some(e) = socket.take_error()? {
            return Err(e);
        }
        if net::address(socket.peer_addr()).is_none() {
            if *until <= now {
                return Err(io::Error::new(ErrorKind::TimedOut, "nobody answers"));
            }
            return Ok(false);
        }
        let State::Connecting(socket, _) = std::mem::replace(&mut self.state, State::Waiting(now))
        else {
            return Ok(false);
        };
        let has = |m: Monitor| self.told.monitor.contains(&m);
        let what = Monitored {
            pre: has(Monitor::PrePolicy),
            post: has(Monitor::PostPolicy),
            local: has(Monitor::LocRib),
        };
        let mut buffer = Vec::new();
        initiation(name, description, &mut buffer);
        let every = Duration::from_secs(self.told.statistics.into());
        self.state = State::Connected(Connection {
            socket,
            feed: speaker.begin_feed(what, CHANGES),
            buffer,
            start: 0,
            writable: true,
            readable: true,
            moved: now,
            statistics: (!every.is_zero()).then(|| now + every),
            bytes: 0,
        });
        (self.since, self.pause) = (now, RETRY.0);
        self.connections += 1;
        info!(station = %self.name, "bmp: connected to {}", self.told.at());
        Ok(true)
    }

    /// There is no connection any more: another one is tried later.
    fn lost(&mut self, why: &io::Error, speaker: &mut Speaker, registry: &Registry, now: Instant) {
        let text = why.to_string();
        // What keeps failing in the same way is told once.
        if text != self.last_error || matches!(self.state, State::Connected(_)) {
            warn!(station = %self.name, "bmp: no connection to {}: {text}; it is tried again", self.told.at());
        }
        self.last_error = text;
        self.close(speaker, registry);
        self.state = State::Waiting(now + self.pause);
        self.since = now;
        self.pause = (self.pause * 2).min(RETRY.1);
    }

    fn close(&mut self, speaker: &mut Speaker, registry: &Registry) {
        let socket = match &self.state {
            State::Waiting(_) => return,
            State::Connecting(socket, _) => socket,
            State::Connected(c) => {
                speaker.end_feed(c.feed);
                &c.socket
            }
        };
        // It is closed in a moment, whatever the answer.
        let _ = registry.deregister(&mut SourceFd(&socket.as_raw_fd()));
    }

    /// It is not to be told any more.
    pub(super) fn end(mut self, speaker: Option<&mut Speaker>, registry: &Registry) {
        if let State::Connected(c) = &mut self.state {
            termination(
                Termination::AdministrativelyClosed,
                "the router ends it",
                &mut c.buffer,
            );
            // Once: who does not read does not hold us up.
            let _ = (&c.socket).write(&c.buffer[c.start..]);
        }
        if let Some(speaker) = speaker {
            self.close(speaker, registry);
        }
    }

    /// How it does.
    pub(super) fn show(&self, speaker: Option<&Speaker>, now: Instant) -> api::BmpStation {
        let mut out = api::BmpStation {
            name: self.name.clone(),
            address: self.told.at().to_string(),
            since_s: now.saturating_duration_since(self.since).as_secs_f64(),
            monitor: (self.told.monitor.iter())
                .map(|m| m.name().to_owned())
                .collect(),
            connections: self.connections,
            last_error: self.last_error.clone(),
            ..api::BmpStation::default()
        };
        out.state = match &self.state {
            State::Waiting(_) => "waiting",
            State::Connecting(..) => "connecting",
            State::Connected(_) => "connected",
        }
        .into();
        if let (State::Connected(c), Some(speaker)) = (&self.state, speaker) {
            let feed = speaker.feed_view(c.feed);
            out.messages = feed.messages;
            out.bytes = c.bytes;
            out.queued_bytes = c.waiting() as u64;
            out.queued_changes = feed.waiting as u64;
            out.resyncs = feed.resyncs;
            out.complete = feed.complete && c.waiting() == 0;
        }
        out
    }
}

impl Connection {
    fn waiting(&self) -> usize {
        self.buffer.len() - self.start
    }

    fn turn(&mut self, speaker: &mut Speaker, every: Duration, now: Instant) -> io::Result<bool> {
        self.read()?;
        if self.statistics.is_some_and(|at| at <= now) {
            self.statistics = Some(now + every);
            if self.waiting() < ENOUGH {
                speaker.feed_statistics(self.feed, now, &mut self.buffer);
            }
        }
        // A page at a time: a station with much to hear waits like everybody else.
        let room = self.waiting() < ENOUGH;
        let mut more = false;
        if room {
            let most = self.buffer.len() + 1;
            more = speaker.feed(self.feed, most, now, &mut self.buffer);
        }
        if self.waiting() == 0 {
            self.moved = now;
        }
        self.write(now)?;
        if now.saturating_duration_since(self.moved) >= PATIENCE {
            let text = format!(
                "it took nothing for {} s while {} octets waited",
                PATIENCE.as_secs(),
                self.waiting()
            );
            return Err(io::Error::new(ErrorKind::TimedOut, text));
        }
        // With a full buffer it goes on when the station reads.
        Ok((more && self.waiting() < ENOUGH) || (self.writable && self.waiting() > 0))
    }

    /// Nothing comes from a station but the end.
    fn read(&mut self) -> io::Result<()> {
        let mut buffer = [0; 4096];
        while std::mem::take(&mut self.readable) {
            match (&self.socket).read(&mut buffer) {
                Ok(0) => {
                    return Err(io::Error::new(
                        ErrorKind::UnexpectedEof,
                        "the station closed the connection",
                    ));
                }
                Ok(_) => self.readable = true,
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(e) if e.kind() == ErrorKind::Interrupted => self.readable = true,
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn write(&mut self, now: Instant) -> io::Result<()> {
        let mut written = 0;
        while self.writable && self.waiting() > 0 && written < WRITTEN {
            match (&self.socket).write(&self.buffer[self.start..]) {
                Ok(n) => {
                    self.start += n;
                    written += n;
                    self.bytes += n as u64;
                    self.moved = now;
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => self.writable = false,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        if self.start > 0 && (self.waiting() == 0 || self.start >= ENOUGH) {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Store;
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    /// A station that listens on the loopback, and what is told to it, at a time that the test sets.
    struct Bed {
        poll: mio::Poll,
        speaker: Speaker,
        station: Station,
        listener: TcpListener,
    }

    fn bed(now: Instant) -> Bed {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let at = listener.local_addr().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.toml");
        let text = format!(
            "[system]\nrouter-id = \"192.0.2.1\"\n[bgp]\nas = 64512\n[bmp.near]\naddress = \"{}\"\nport = {}\nstatistics = 0\n",
            at.ip(),
            at.port()
        );
        std::fs::write(&path, text).unwrap();
        let store = Store::load(&path).unwrap();
        let config =
            super::super::translate::speaker(store.running(), &|_| None, &|_| Default::default())
                .unwrap();
        let told = &store.running().watch.bmp["near"];
        Bed {
            poll: mio::Poll::new().unwrap(),
            speaker: Speaker::new(config, 1, now),
            station: Station::new("near", told, Token(1), now),
            listener,
        }
    }

    impl Bed {
        fn turn(&mut self, now: Instant) {
            let registry = self.poll.registry();
            let who = ("r1", "test");
            self.station
                .turn(&mut self.speaker, registry, who, |_| None, now);
        }

        fn shown(&self, now: Instant) -> api::BmpStation {
            self.station.show(Some(&self.speaker), now)
        }

        /// Turns until it is connected, at that time; the other end.
        fn connected(&mut self, now: Instant) -> TcpStream {
            let deadline = Instant::now() + Duration::from_secs(10);
            let mut far = None;
            while far.is_none() || self.shown(now).state != "connected" {
                assert!(Instant::now() < deadline, "{:?}", self.shown(now));
                self.turn(now);
                far = far.or_else(|| self.listener.accept().ok().map(|(s, _)| s));
            }
            let far = far.unwrap();
            far.set_nonblocking(true).unwrap();
            far
        }

        fn connection(&mut self) -> &mut Connection {
            match &mut self.station.state {
                State::Connected(c) => c,
                _ => panic!("there is no connection"),
            }
        }

        /// Fills what the kernel holds for a station that does not read, and has something wait behind that.
        fn stuff(&mut self) {
            let c = self.connection();
            while (&c.socket).write(&[0; 65536]).is_ok() {}
            c.buffer.extend([0; 1000]);
            c.writable = true;
        }
    }

    /// Reads what there is; was that the end?
    fn drain(far: &mut TcpStream) -> bool {
        let mut buffer = vec![0; 1 << 20];
        loop {
            match far.read(&mut buffer) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(e) => return e.kind() != ErrorKind::WouldBlock,
            }
        }
    }

    #[test]
    fn who_takes_nothing_is_cut_off_and_tried_again() {
        let t0 = Instant::now();
        let at = |s: f64| t0 + Duration::from_secs_f64(s);
        let mut bed = bed(t0);
        let mut far = bed.connected(t0);
        // With nothing that waits it may be silent for as long as it likes.
        bed.turn(at(1000.0));
        assert_eq!(bed.shown(at(1000.0)).state, "connected");
        bed.stuff();
        bed.turn(at(1000.0));
        bed.turn(at(1059.0));
        assert_eq!(bed.shown(at(1059.0)).queued_bytes, 1000);
        assert_eq!(bed.station.poll_at(), at(1060.0));
        // It reads in the last moment: all is well, and the minute begins anew.
        let deadline = Instant::now() + Duration::from_secs(10);
        while bed.shown(at(1059.5)).queued_bytes > 0 {
            assert!(Instant::now() < deadline, "{:?}", bed.shown(at(1059.5)));
            assert!(!drain(&mut far), "it was cut off");
            bed.station.ready(false, true);
            bed.turn(at(1059.5));
        }
        bed.turn(at(1100.0));
        bed.stuff();
        bed.turn(at(1100.0));
        bed.turn(at(1159.9));
        assert_eq!(bed.shown(at(1159.9)).state, "connected");
        bed.turn(at(1160.0));
        let shown = bed.shown(at(1160.0));
        assert_eq!(shown.state, "waiting");
        let why = "it took nothing for 60 s while 1000 octets waited";
        assert_eq!(shown.last_error, why);
        let deadline = Instant::now() + Duration::from_secs(10);
        while !drain(&mut far) {
            assert!(Instant::now() < deadline, "its connection stays");
        }
        // The next one is tried a second later, not before.
        assert_eq!(bed.station.poll_at(), at(1161.0));
        bed.turn(at(1160.9));
        assert_eq!(bed.shown(at(1160.9)).state, "waiting");
        let _far = bed.connected(at(1161.0));
        assert_eq!(bed.shown(at(1161.0)).connections, 2);
    }
}
