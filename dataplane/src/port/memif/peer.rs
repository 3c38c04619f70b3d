//! Who says what when. A client connects, is greeted, names the interface, gives memory and rings, and is connected; a
//! server answers. Each conversation is a thread of its own, which then waits for its end; none of them is ever waited for
//! by a worker.
//!
//! Read `memif.h` (see `message.rs`), and `memif_socket.c` of DPDK for the order:
//!
//! ```text
//! server: HELLO                 ACK         ACK            ACK (each ring)   CONNECTED
//! client:        INIT  ADD_REGION   ADD_RING (c2s, then s2c) …       CONNECT
//! ```
//!
//! Servers on one socket share a listener and are told apart by their `id`.

use super::message::{AddRing, Hello, Init, MODE_ETHERNET, Message, SECRET, VERSION};
use super::session::{Descriptor, MAX_LOG2, Region, Ring, Session};
use super::socket::{Address, Channel, Woken, accept, wait};
use super::{Config, Shared};
use crate::eventfd::EventFd;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// A peer that says nothing for so long, before it is connected, is let go.
const PATIENCE: Duration = Duration::from_secs(5);
/// A client tries again after so long.
const AGAIN: Duration = Duration::from_millis(100);
/// Regions that a client may give.
const MAX_REGIONS: u16 = 255;
/// What we call ourselves.
const NAME: &str = "trunkline";

/// Why a conversation ended.
enum Over {
    /// The port is closed.
    Stopped,
    /// The peer is gone, or said that it is over.
    Gone,
    /// It said or did what can't be; it is told.
    Wrong(&'static str),
}

impl From<io::Error> for Over {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

/// A port's end: what listens, or connects.
#[derive(Debug)]
pub(super) enum End {
    Client(Option<JoinHandle<()>>),
    Server(Arc<Listener>),
}

impl End {
    pub(super) fn start(shared: &Arc<Shared>) -> io::Result<Self> {
        if shared.is_client {
            let shared = shared.clone();
            let client = thread::Builder::new().name("memif".into());
            let client = client.spawn(move || keep_connected(&shared))?;
            Ok(Self::Client(Some(client)))
        } else {
            Ok(Self::Server(Listener::join(shared)?))
        }
    }

    /// Ends it: nobody talks for the port any more.
    pub(super) fn stop(&mut self, shared: &Shared) {
        match self {
            Self::Client(client) => {
                shared.stop.ring();
                if let Some(client) = client.take() {
                    // It can only fail by having panicked, and then it is over too.
                    let _ = client.join();
                }
            }
            Self::Server(listener) => listener.leave(shared),
        }
    }
}

/// Who is told of what goes wrong, and what was said.
struct Talk<'a> {
    channel: &'a Channel,
    bells: Vec<&'a EventFd>,
}

impl Talk<'_> {
    fn say(&self, message: &Message, fd: Option<&OwnedFd>) -> Result<(), Over> {
        self.say_raw(message, fd.map(AsRawFd::as_raw_fd))
    }

    fn say_raw(&self, message: &Message, fd: Option<i32>) -> Result<(), Over> {
        Ok(self.channel.send(message, NAME, fd)?)
    }

    /// What comes next; that it is over when it is.
    fn hear(&self, deadline: Option<Instant>) -> Result<(Message, Option<OwnedFd>), Over> {
        match wait(Some(self.channel.as_raw_fd()), &self.bells, deadline) {
            Woken::Stopped => Err(Over::Stopped),
            Woken::Late => Err(Over::Wrong("nothing was said for too long")),
            Woken::Ready => match self.channel.receive() {
                Ok((Message::Disconnect(_), _)) => Err(Over::Gone),
                Ok(heard) => Ok(heard),
                Err(e) if e.kind() == io::ErrorKind::InvalidData => {
                    Err(Over::Wrong("unknown message"))
                }
                Err(_) => Err(Over::Gone),
            },
        }
    }

    /// Waits for an ACK.
    fn acknowledged(&self) -> Result<(), Over> {
        match self.hear(soon())? {
            (Message::Ack, _) => Ok(()),
            _ => Err(Over::Wrong("an ACK was expected")),
        }
    }

    /// Stays until it is over.
    fn stay(&self) -> Over {
        loop {
            match self.hear(None) {
                Ok((Message::Ack, _)) => {}
                Ok(_) => return Over::Wrong("not after CONNECTED"),
                Err(over) => return over,
            }
        }
    }

    /// Tells the peer why.
    fn part(&self, over: &Over) {
        let why = match over {
            Over::Gone => return,
            Over::Stopped => "the port is closed",
            Over::Wrong(why) => why,
        };
        // Gone meanwhile is as good.
        let _ = self
            .channel
            .send(&Message::Disconnect(why.into()), NAME, None);
    }
}

fn soon() -> Option<Instant> {
    Some(Instant::now() + PATIENCE)
}

// ---- client ----

/// Connects, and again when that is over, until the port is closed.
fn keep_connected(shared: &Shared) {
    let bells = [&shared.stop];
    while wait(None, &bells, Some(Instant::now())) != Woken::Stopped {
        if let Ok(channel) = shared.config.address.connect() {
            let talk = Talk {
                channel: &channel,
                bells: bells.to_vec(),
            };
            let over = match introduce(&talk, &shared.config, shared) {
                Ok(session) => {
                    shared.set_session(Some(session));
                    talk.stay()
                }
                Err(over) => over,
            };
            shared.set_session(None);
            talk.part(&over);
        }
        wait(None, &bells, Some(Instant::now() + AGAIN));
    }
}

/// The client's part, up to being connected.
fn introduce(talk: &Talk<'_>, config: &Config, shared: &Shared) -> Result<Session, Over> {
    let Message::Hello(hello) = talk.hear(soon())?.0 else {
        return Err(Over::Wrong("a HELLO was expected"));
    };
    let last = config.queues - 1;
    if !(hello.min_version..=hello.max_version).contains(&VERSION) {
        return Err(Over::Wrong("version 2.0 is wanted"));
    }
    if hello.max_c2s < last || hello.max_s2c < last {
        return Err(Over::Wrong("fewer queues than this end has"));
    }
    let init = Message::Init(Init {
        version: VERSION,
        id: config.id,
        mode: MODE_ETHERNET,
        secret: config.secret,
    });
    talk.say(&init, None)?;
    talk.acknowledged()?;
    let log2 = config.log2.min(hello.max_log2);
    let (session, memory, size) = make_session(config, log2, shared)?;
    talk.say(&Message::AddRegion { index: 0, size }, Some(&memory))?;
    talk.acknowledged()?;
    for (c2s, rings) in [(true, &session.c2s), (false, &session.s2c)] {
        for (ring, index) in rings.iter().zip(0..) {
            let at = place(c2s, index, config, log2);
            let add = Message::AddRing(AddRing {
                c2s,
                index,
                region: 0,
                offset: at as u32,
                log2,
                private: 0,
            });
            talk.say_raw(&add, Some(ring.event()))?;
            talk.acknowledged()?;
        }
    }
    talk.say(&Message::Connect, None)?;
    match talk.hear(soon())?.0 {
        Message::Connected => Ok(session),
        _ => Err(Over::Wrong("a CONNECTED was expected")),
    }
}

/// Where a client's ring lies: those to the server first.
fn place(c2s: bool, index: u16, config: &Config, log2: u8) -> usize {
    let before = if c2s { 0 } else { config.queues };
    usize::from(before + index) * Ring::bytes(log2)
}

/// The memory of a client: rings, and the buffers of their places.
fn make_session(
    config: &Config,
    log2: u8,
    shared: &Shared,
) -> Result<(Session, OwnedFd, u64), Over> {
    let queues = config.queues;
    let rings = 2 * usize::from(queues);
    let buffers = rings * Ring::bytes(log2);
    let len = buffers + rings * (config.buffer as usize) * (1usize << log2);
    if u32::try_from(len).is_err() {
        return Err(Over::Wrong("over 4 GiB of buffers"));
    }
    let (region, memory) = Region::create(len)?;
    let mut session = Session {
        regions: vec![region],
        c2s: Vec::new(),
        s2c: Vec::new(),
        buffer: config.buffer,
    };
    for c2s in [true, false] {
        for index in 0..queues {
            let event = if c2s {
                EventFd::new()?
            } else {
                shared.wakes[usize::from(index)].event.duplicate()?
            };
            let at = place(c2s, index, config, log2);
            let ring = Ring::at(&session.regions, 0, at as u32, log2, event);
            let ring = ring.ok_or(Over::Wrong("rings outside of memory"))?;
            let first = at / Ring::bytes(log2) * usize::from(ring.size());
            for slot in 0..ring.size() {
                let buffer = first + usize::from(slot);
                let d = Descriptor {
                    flags: 0,
                    region: 0,
                    len: config.buffer,
                    offset: (buffers + buffer * config.buffer as usize) as u32,
                };
                ring.write(slot, d);
            }
            // Our own are looked at; what the server wants is its to say.
            ring.begin(!c2s);
            let to = if c2s {
                &mut session.c2s
            } else {
                &mut session.s2c
            };
            to.push(ring);
        }
    }
    Ok((session, memory, len as u64))
}

// ---- server ----

/// All who listen in this process.
static LISTENERS: Mutex<BTreeMap<Address, Arc<Listener>>> = Mutex::new(BTreeMap::new());

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A socket that is listened on, for the ports that stand there by their ids.
#[derive(Debug)]
pub(super) struct Listener {
    address: Address,
    stop: EventFd,
    ports: Mutex<BTreeMap<u32, Arc<Shared>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Listener {
    /// The listener there, with the port on it.
    fn join(shared: &Arc<Shared>) -> io::Result<Arc<Self>> {
        let Config { address, id, .. } = &shared.config;
        let mut all = lock(&LISTENERS);
        if let Some(there) = all.get(address) {
            let mut ports = lock(&there.ports);
            if ports.contains_key(id) {
                let what = format!("id {id} is taken by another port; give this one another id");
                return Err(io::Error::new(io::ErrorKind::AddrInUse, what));
            }
            ports.insert(*id, shared.clone());
            return Ok(there.clone());
        }
        let socket = address.listen()?;
        let new = Arc::new(Self {
            address: address.clone(),
            stop: EventFd::new()?,
            ports: Mutex::new([(*id, shared.clone())].into()),
            thread: Mutex::new(None),
        });
        let listener = new.clone();
        let thread = thread::Builder::new().name("memif".into());
        let thread = thread.spawn(move || listener.listen(&socket))?;
        *lock(&new.thread) = Some(thread);
        all.insert(address.clone(), new.clone());
        Ok(new)
    }

    /// Takes the port off; the last one ends it.
    fn leave(&self, shared: &Shared) {
        let mut all = lock(&LISTENERS);
        let mut ports = lock(&self.ports);
        ports.remove(&shared.config.id);
        let last = ports.is_empty();
        drop(ports);
        shared.close();
        if last {
            all.remove(&self.address);
            self.stop.ring();
            let thread = lock(&self.thread).take();
            // It can only fail by having panicked, and then it is over too.
            let _ = thread.map(JoinHandle::join);
            self.address.remove();
        }
    }

    fn listen(self: Arc<Self>, socket: &OwnedFd) {
        let mut pause = None;
        loop {
            let fd = pause.is_none().then(|| socket.as_raw_fd());
            match wait(fd, &[&self.stop], pause) {
                Woken::Stopped => return,
                Woken::Late => pause = None,
                Woken::Ready => {
                    // Without a descriptor or a thread for it, it is tried again a little later.
                    let begun = accept(socket).is_some_and(|c| self.clone().begin(c).is_ok());
                    pause = (!begun).then(|| Instant::now() + AGAIN);
                }
            }
        }
    }

    fn begin(self: Arc<Self>, channel: Channel) -> io::Result<()> {
        let talk = thread::Builder::new().name("memif".into());
        talk.spawn(move || self.talk(&channel)).map(drop)
    }

    /// One conversation, from its first word to its end.
    fn talk(&self, channel: &Channel) {
        let mut talk = Talk {
            channel,
            bells: vec![&self.stop],
        };
        let port = match self.greet(&talk) {
            Ok(port) => port,
            Err(over) => return talk.part(&over),
        };
        talk.bells = vec![&port.stop];
        let over = match serve(&talk, &port) {
            Ok(session) => match adopt(&port, &session) {
                Ok(()) => {
                    port.set_session(Some(session));
                    let said = talk.say(&Message::Connected, None);
                    said.err().unwrap_or_else(|| talk.stay())
                }
                Err(e) => e.into(),
            },
            Err(over) => over,
        };
        talk.part(&over);
        port.release();
    }

    /// Up to knowing which port is wanted, which is then ours.
    fn greet(&self, talk: &Talk<'_>) -> Result<Arc<Shared>, Over> {
        let most = u16::from(u8::MAX) - 1;
        let hello = Message::Hello(Hello {
            min_version: VERSION,
            max_version: VERSION,
            max_region: MAX_REGIONS - 1,
            max_s2c: most,
            max_c2s: most,
            max_log2: MAX_LOG2,
        });
        talk.say(&hello, None)?;
        let Message::Init(init) = talk.hear(soon())?.0 else {
            return Err(Over::Wrong("an INIT was expected"));
        };
        if init.version != VERSION {
            return Err(Over::Wrong("version 2.0 is wanted"));
        }
        if init.mode != MODE_ETHERNET {
            return Err(Over::Wrong("only Ethernet mode is known"));
        }
        let port = lock(&self.ports).get(&init.id).cloned();
        let port = port.ok_or(Over::Wrong("no such id"))?;
        if port.config.secret != [0; SECRET] && port.config.secret != init.secret {
            return Err(Over::Wrong("another secret is wanted"));
        }
        if !port.claim() {
            return Err(Over::Wrong("already connected"));
        }
        Ok(port)
    }
}

/// The server's part, from INIT to CONNECT.
fn serve(talk: &Talk<'_>, port: &Shared) -> Result<Session, Over> {
    let queues = usize::from(port.config.queues);
    let mut session = Session {
        regions: Vec::new(),
        c2s: Vec::new(),
        s2c: Vec::new(),
        buffer: 0,
    };
    loop {
        talk.say(&Message::Ack, None)?;
        match talk.hear(soon())? {
            (Message::AddRegion { index, size }, Some(fd)) => {
                if usize::from(index) != session.regions.len() || index >= MAX_REGIONS {
                    return Err(Over::Wrong("a region out of turn"));
                }
                let region = Region::map(&fd, size);
                let region = region.map_err(|_| Over::Wrong("a region can't be mapped"))?;
                session.regions.push(region);
            }
            (Message::AddRing(add), Some(fd)) => {
                let rings = if add.c2s {
                    &mut session.c2s
                } else {
                    &mut session.s2c
                };
                if usize::from(add.index) != rings.len() || rings.len() >= queues {
                    return Err(Over::Wrong("more queues than this end has"));
                }
                let event = EventFd::of(fd)?;
                let regions = &session.regions;
                let ring = Ring::at(regions, add.region, add.offset, add.log2, event);
                let ring = ring.filter(|_| add.private == 0);
                rings.push(ring.ok_or(Over::Wrong("a ring outside of its region"))?);
            }
            (Message::AddRegion { .. } | Message::AddRing(_), None) => {
                return Err(Over::Wrong("its descriptor is missing"));
            }
            (Message::Connect, _) => break,
            _ => return Err(Over::Wrong("not before CONNECT")),
        }
    }
    if session.c2s.len() < queues || session.s2c.len() < queues {
        return Err(Over::Wrong("fewer queues than this end has"));
    }
    if !session.c2s.iter().chain(&session.s2c).all(Ring::is_one) {
        return Err(Over::Wrong("a ring without its cookie"));
    }
    for ring in &session.c2s {
        ring.mask(true);
    }
    Ok(session)
}

/// Puts what the client will write to when there are frames where workers wait.
fn adopt(port: &Shared, session: &Session) -> io::Result<()> {
    for (wake, ring) in port.wakes.iter().zip(&session.c2s) {
        let before = wake.event.duplicate()?;
        wake.event.become_one_with(ring.event())?;
        // Who waits for what it was before has to look up.
        before.ring();
    }
    Ok(())
}
