//! LDP on the control thread: what drives the speaker of the crate `ldp`, which does no I/O itself.
//!
//! Read the crate's `speaker` first, and `crate::bgp` for the manner. A [`Driver`] has the sockets and the time; each of its turns
//! does a bounded piece: Hellos and connections that come, octets that came, routes that changed, labels to be told, octets to
//! be written. A neighbour that reads too little is told less and heard less: nobody's queue grows.
//!
//! - `net`: sockets. `conns`: connections, and what comes and goes over them. `install`: prefixes for LDP, and labels for the
//!   RIB. `show`: the API.
//!
//! What a commit changes without ending a session: interfaces (of the others), times (for sessions that come), the null, the
//! prefixes, keys (for connections that come). Another router-id, transport address or TTL security begins anew.
//!
//! Left out: IPv6 (the crate has it), targeted neighbours (likewise), TCP-AO.

mod conns;
mod install;
mod net;
mod show;

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::ldp::discovery::PORT;
use ::ldp::session::{Cause, Proposal, State};
use ::ldp::speaker::{self, Datagram, HelloConfig, Output, Speaker};
use ::ldp::types::{Families, Family, Label, LdpId};
use ::net::{IfaceId, VrfId};
use ipnet::IpNet;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::net::if_::if_nametoindex;
use socket2::Socket;
use tracing::{debug, error, info, warn};

use crate::bgp::Links;
use crate::config::Valid;
use crate::config::ldp::Ldp;
use crate::control::limit::Limit;
use crate::labels;
use crate::rib::Rib;
use conns::Conns;
use install::Installed;

/// The token of the listening socket; those of Hellos, by interface, and of connections follow.
pub(crate) const FIRST: usize = 1 << 22;
const HELLOS: usize = FIRST + 1;
const CONNS: usize = FIRST + (1 << 17);
/// Datagrams taken from one interface in a turn.
const DATAGRAMS: usize = 32;
/// Connections taken in a turn.
const ACCEPTED: usize = 8;
/// FECs worked off in a turn.
const FECS: usize = 512;

/// Where Hellos of one interface come and go.
struct HelloSocket {
    index: u32,
    socket: UdpSocket,
    ready: bool,
}

/// What was made ready for a configuration: [`Driver::apply`] can't fail with it.
#[derive(Default)]
pub(crate) struct Prepared {
    listener: Option<Socket>,
}

/// Drives a speaker, if there is one.
pub(crate) struct Driver {
    registry: Registry,
    speaker: Option<Speaker>,
    told: Option<Arc<Ldp>>,
    listener: Option<(SocketAddr, Socket, bool)>,
    /// Whose connections are signed on it.
    signed: Vec<IpAddr>,
    hellos: BTreeMap<IfaceId, HelloSocket>,
    own: BTreeSet<IpAddr>,
    conns: Conns,
    installed: Installed,
    /// Since when sessions are operational.
    up: BTreeMap<LdpId, Instant>,
    /// Why each neighbour's last session ended, in words.
    refusals: Limit,
    buffer: Box<[u8]>,
}

/// What a turn works on.
pub(crate) struct Around<'a> {
    pub(crate) rib: &'a mut Rib,
    pub(crate) labels: &'a mut labels::Manager,
    pub(crate) links: Links<'a>,
}

impl Driver {
    pub(crate) fn new(registry: Registry) -> Self {
        Self {
            registry,
            speaker: None,
            told: None,
            listener: None,
            signed: Vec::new(),
            hellos: BTreeMap::new(),
            own: BTreeSet::new(),
            conns: Conns::new(CONNS),
            installed: Installed::default(),
            up: BTreeMap::new(),
            refusals: Limit::new(1, 5),
            buffer: vec![0; 1 << 16].into(),
        }
    }

    // ---- configuration ----

    /// Does what can fail of taking over a configuration.
    ///
    /// # Errors
    /// Cause and remedy; nothing has changed then.
    pub(crate) fn prepare(&mut self, next: &Valid) -> Result<Prepared, String> {
        let Some(ldp) = &next.ldp else {
            return Ok(Prepared::default());
        };
        let at = SocketAddr::from((ldp.transport, PORT));
        if self.listener.as_ref().is_some_and(|l| l.0 == at) {
            return Ok(Prepared::default());
        }
        let listener = net::listen(at).map_err(|e| {
            format!("ldp: can't listen on {at}: {e}; end what listens there (another LDP?), or set transport-address in [ldp]")
        })?;
        Ok(Prepared {
            listener: Some(listener),
        })
    }

    /// Takes over a configuration.
    pub(crate) fn apply(
        &mut self,
        next: &Valid,
        prepared: Prepared,
        around: &mut Around<'_>,
        now: Instant,
    ) {
        let Some(ldp) = &next.ldp else {
            if self.told.is_some() {
                info!("LDP ends: it is no longer configured");
                self.end(around, now);
                around.labels.release_all(labels::Owner::Ldp, now);
            }
            return;
        };
        let anew = |old: &Arc<Ldp>| {
            (old.router_id, old.transport, old.ttl_security)
                != (ldp.router_id, ldp.transport, ldp.ttl_security)
        };
        if self.told.as_ref().is_some_and(anew) {
            info!("LDP begins anew: its router-id, transport address or TTL security has changed");
            self.end(around, now);
        }
        if let Some(socket) = prepared.listener {
            self.listen(SocketAddr::from((ldp.transport, PORT)), socket);
        }
        if self.told.as_ref().map(|t| &t.prefixes) != Some(&ldp.prefixes) {
            self.installed.follow(&ldp.prefixes, around.rib);
            if let Some(speaker) = &mut self.speaker {
                self.installed.leave(|p| !ldp.labels(p), speaker);
            }
        }
        let speaker = self.speaker.get_or_insert_with(|| {
            info!(
                "LDP begins: {}, {} interfaces",
                ldp.router_id,
                ldp.interfaces.len()
            );
            Speaker::new(config(ldp))
        });
        speaker.set_times(ldp.hello_hold, ldp.hold);
        speaker.set_explicit_null(ldp.explicit_null);
        speaker.set_entropy(ldp.entropy);
        self.told = Some(Arc::clone(ldp));
        self.sign();
        self.links_changed(around, now);
    }

    fn listen(&mut self, at: SocketAddr, socket: Socket) {
        self.stop_listening();
        let watched = self.registry.register(
            &mut SourceFd(&socket.as_raw_fd()),
            Token(FIRST),
            Interest::READABLE,
        );
        if let Err(e) = watched {
            error!("ldp: the kernel does not watch {at}: {e}; neighbours can't connect");
        }
        self.listener = Some((at, socket, true));
        self.signed.clear();
    }

    fn stop_listening(&mut self) {
        if let Some((_, socket, _)) = self.listener.take() {
            let _ = self.registry.deregister(&mut SourceFd(&socket.as_raw_fd()));
        }
        self.signed.clear();
    }

    /// Tells the listening socket whose connections are to be signed.
    fn sign(&mut self) {
        let (Some((at, socket, _)), Some(told)) = (&self.listener, &self.told) else {
            return;
        };
        for old in std::mem::take(&mut self.signed) {
            if told.password(old).is_none()
                && let Err(e) = net::sign(socket, old, &[])
            {
                warn!("ldp: a key of {old} stays on {at}: {e}");
            }
        }
        for (peer, file) in &told.passwords {
            let peer = IpAddr::V4(*peer);
            match net::sign(socket, peer, &file.secret.0) {
                Ok(()) => self.signed.push(peer),
                Err(e) => error!(
                    "ldp: connections from {peer} can't be signed: {e}; they are taken without a key only"
                ),
            }
        }
    }

    /// The addresses or links of the router have changed.
    pub(crate) fn links_changed(&mut self, around: &mut Around<'_>, now: Instant) {
        let (Some(speaker), Some(told)) = (&mut self.speaker, &self.told) else {
            return;
        };
        let mut out = Vec::new();
        let links = &around.links;
        let mut sockets = std::mem::take(&mut self.hellos);
        for name in &told.interfaces {
            let Some(iface) = links.ifaces.get(name).filter(|i| i.up) else {
                continue;
            };
            let device = links.device(name);
            let Ok(index) = if_nametoindex(device.as_str()) else {
                continue;
            };
            let had = sockets.remove(&iface.id).filter(|s| s.index == index);
            let is_new = had.is_none();
            let socket = match had {
                Some(socket) => Ok(socket),
                None => open(&self.registry, iface.id, &device, index),
            };
            match socket {
                Ok(socket) => {
                    self.hellos.insert(iface.id, socket);
                    if is_new {
                        let families = Families::NONE.with(Family::V4);
                        speaker.set_interface(now, id(iface.id), families, &mut out);
                    }
                }
                Err(e) => error!("ldp: can't send Hellos on {name}: {e}; it has no neighbours"),
            }
        }
        for (iface, old) in sockets {
            let _ = self
                .registry
                .deregister(&mut SourceFd(&old.socket.as_raw_fd()));
            if !self.hellos.contains_key(&iface) {
                speaker.set_interface(now, id(iface), Families::NONE, &mut out);
            }
        }
        let own: BTreeSet<IpAddr> = links
            .ifaces
            .values()
            .filter(|i| i.vrf == VrfId::GLOBAL)
            .flat_map(|i| i.conf.addresses.iter().map(IpNet::addr))
            .collect();
        for a in self.own.symmetric_difference(&own) {
            speaker.set_address(*a, own.contains(a));
        }
        self.own = own;
        self.carry_out(out, around, now);
    }

    // ---- turns ----

    /// A descriptor is ready.
    pub(crate) fn event(&mut self, token: usize, readable: bool, writable: bool) {
        if token >= CONNS {
            self.conns.ready(token, readable, writable);
        } else if token == FIRST {
            if let Some(l) = &mut self.listener {
                l.2 = true;
            }
        } else if let Ok(id) = u16::try_from(token - HELLOS)
            && let Some(s) = self.hellos.get_mut(&IfaceId(id))
        {
            s.ready = true;
        }
    }

    /// When to turn again, if nothing happens before.
    pub(crate) fn poll_at(&self) -> Option<Instant> {
        let speaker = self.speaker.as_ref().and_then(Speaker::poll_at);
        speaker.into_iter().chain(self.conns.poll_at()).min()
    }

    /// The label that neighbours are told for a prefix.
    pub(crate) fn local(&self, p: &IpNet) -> Option<Label> {
        self.speaker.as_ref()?.local(p)
    }

    /// Is it spoken on that interface?
    pub(crate) fn is_on(&self, iface: IfaceId) -> bool {
        self.hellos.contains_key(&iface)
    }

    /// There are labels again.
    pub(crate) fn labels_available(&mut self) {
        if let Some(speaker) = &mut self.speaker {
            speaker.labels_available();
        }
    }

    /// Does a piece of everything. True: there is more at once.
    pub(crate) fn turn(&mut self, around: &mut Around<'_>, now: Instant) -> bool {
        self.conns.drop_lingering(now, &self.registry);
        if self.speaker.is_none() {
            return false;
        }
        let mut more = self.hear(around, now);
        more |= self.accept(around, now);
        more |= self.read(around, now);
        let Some(speaker) = &mut self.speaker else {
            return more;
        };
        let mut out = Vec::new();
        if speaker.poll_at().is_some_and(|at| at <= now) {
            speaker.tick(now, &mut out);
        }
        self.installed
            .take_routes(FECS, speaker, around.rib, around.links.valid);
        more |= around.rib.has_fecs();
        let mut source = install::Source {
            manager: &mut *around.labels,
            now,
        };
        more |= speaker.drain(now, FECS, &mut source, &mut out);
        self.carry_out(out, around, now);
        more || self.conns.wants_to_write()
    }

    /// Writes what neighbours are to hear: once the labels that they are told are in the tables. True: there is more.
    pub(crate) fn write_out(&mut self, around: &mut Around<'_>, now: Instant) -> bool {
        self.write(around, now)
    }

    /// Takes Hellos. True: there may be more.
    fn hear(&mut self, around: &mut Around<'_>, now: Instant) -> bool {
        let mut more = false;
        let ready: Vec<IfaceId> = self
            .hellos
            .iter()
            .filter(|h| h.1.ready)
            .map(|h| *h.0)
            .collect();
        for iface in ready {
            let mut left = DATAGRAMS;
            while left > 0 {
                let (Some(s), Some(speaker)) = (self.hellos.get_mut(&iface), &mut self.speaker)
                else {
                    break;
                };
                left -= 1;
                match s.socket.recv_from(&mut self.buffer) {
                    Ok((n, from)) => {
                        let mut out = Vec::new();
                        let d = Datagram {
                            iface: id(iface),
                            source: from.ip(),
                            multicast: true,
                            // Looked at for IPv6 only.
                            hops: 255,
                            octets: &self.buffer[..n],
                        };
                        speaker.hello(now, &d, &mut out);
                        self.carry_out(out, around, now);
                    }
                    Err(e) if e.kind() == ErrorKind::WouldBlock => {
                        s.ready = false;
                        break;
                    }
                    Err(e) => debug!("ldp: can't take a Hello: {e}"),
                }
            }
            more |= left == 0;
        }
        more
    }

    /// Takes connections that come. True: there may be more.
    fn accept(&mut self, around: &mut Around<'_>, now: Instant) -> bool {
        for _ in 0..ACCEPTED {
            let Some((_, listener, ready)) = self.listener.as_mut().filter(|l| l.2) else {
                return false;
            };
            match listener.accept() {
                Ok((socket, _)) => {
                    if let Err(e) = self.take_in(socket, around, now)
                        && self.refusals.take(now)
                    {
                        debug!("ldp: a connection is refused: {e}");
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => *ready = false,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => {
                    // Too many descriptors, say: tried again when the next one comes.
                    if self.refusals.take(now) {
                        warn!("ldp: can't take a connection: {e}");
                    }
                    *ready = e.kind() == ErrorKind::ConnectionAborted;
                }
            }
        }
        true
    }

    fn take_in(
        &mut self,
        socket: Socket,
        around: &mut Around<'_>,
        now: Instant,
    ) -> std::io::Result<()> {
        let Some(speaker) = &mut self.speaker else {
            return Ok(());
        };
        let ends = (
            socket.local_addr()?.as_socket(),
            socket.peer_addr()?.as_socket(),
        );
        let (Some(local), Some(remote)) = ends else {
            return Ok(());
        };
        socket.set_nonblocking(true)?;
        net::prepare(&socket, false)?;
        let mut out = Vec::new();
        let conn = speaker.accepted(now, local.ip(), remote.ip(), &mut out);
        self.conns.add(conn, socket, false, &self.registry)?;
        self.carry_out(out, around, now);
        Ok(())
    }

    /// Does what the speaker wants.
    fn carry_out(&mut self, out: Vec<Output>, around: &mut Around<'_>, now: Instant) {
        let mut all = std::collections::VecDeque::from(out);
        while let Some(o) = all.pop_front() {
            let mut then = Vec::new();
            match o {
                Output::Hello(h) => self.send_hello(&h),
                Output::Connect {
                    conn,
                    local,
                    remote,
                    gtsm,
                } => {
                    let key = self.told.as_ref().and_then(|t| t.password(remote));
                    let key = key.map(|k| Arc::clone(&k.0));
                    let made = net::connect(local, remote, gtsm, key.as_deref())
                        .and_then(|s| self.conns.add(conn, s, true, &self.registry));
                    if let (Err(e), Some(speaker)) = (made, &mut self.speaker) {
                        debug!(neighbor = %remote, "ldp: can't connect: {e}");
                        speaker.closed(now, conn, &mut then);
                    }
                }
                Output::Gtsm(conn) => {
                    if let Some(Err(e)) = self.conns.socket(conn).map(|s| net::prepare(s, true)) {
                        warn!("ldp: the TTL of a session can't be set: {e}");
                    }
                }
                Output::Send(conn, octets) => {
                    if self.conns.push(conn, &octets)
                        && let Some(speaker) = &mut self.speaker
                    {
                        speaker.set_full(conn, true);
                    }
                }
                Output::Close(conn) => self.conns.close(conn, now, &self.registry),
                Output::Install(i) => self.installed.change(i, around),
                said => self.tell(&said, around, now),
            }
            // What follows from it comes before what else there is.
            then.into_iter().rev().for_each(|o| all.push_front(o));
        }
    }

    fn send_hello(&self, h: &speaker::ToSend) {
        let socket = h
            .iface
            .and_then(|i| u16::try_from(i.0).ok())
            .and_then(|i| self.hellos.get(&IfaceId(i)));
        let (Some(s), IpAddr::V4(to)) = (socket, h.to) else {
            return;
        };
        if let Err(e) = s.socket.send_to(&h.octets, SocketAddrV4::new(to, PORT)) {
            debug!("ldp: can't send a Hello: {e}");
        }
    }

    /// Logs what operators want to know, and remembers since when sessions are there.
    fn tell(&mut self, o: &Output, around: &Around<'_>, now: Instant) {
        let name = |i: u32| {
            let id = u16::try_from(i).ok().map(IfaceId);
            let name = id.and_then(|id| around.links.names.get(&id));
            name.cloned().unwrap_or_else(|| format!("#{i}"))
        };
        match o {
            Output::Adjacency((peer, via, _), on) => {
                let over = match via {
                    speaker::Via::Link(i) => name(i.0),
                    speaker::Via::Target(a) => a.to_string(),
                };
                let what = if *on { "is heard" } else { "is heard no more" };
                info!(neighbor = %peer, interface = over, "ldp: {what}");
            }
            Output::State(peer, State::Operational) => {
                self.up.insert(*peer, now);
                info!(neighbor = %peer, "ldp: the session is operational");
            }
            Output::State(peer, state) => debug!(neighbor = %peer, "ldp: {state}"),
            Output::Ended(peer, cause) => match (self.up.remove(peer), cause) {
                (None, Cause::Connection) => debug!(neighbor = %peer, "ldp: {cause}"),
                _ => warn!(neighbor = %peer, "ldp: {cause}"),
            },
            Output::Said(peer, status) => info!(neighbor = %peer, "ldp: it says: {status}"),
            Output::EndOfLib(peer, family) => {
                debug!(neighbor = %peer, ?family, "ldp: it has told all");
            }
            _ => {}
        }
    }

    // ---- the end ----

    /// Ends all sessions, and takes everything back but the labels.
    fn end(&mut self, around: &mut Around<'_>, now: Instant) {
        self.shut_down(around, now);
        self.installed.clear(around.rib);
        around.rib.follow_fecs(None);
        self.speaker = None;
        self.told = None;
        self.own.clear();
        self.up.clear();
    }

    /// Tells all neighbours that the appliance goes down.
    pub(crate) fn shut_down(&mut self, around: &mut Around<'_>, now: Instant) {
        if let Some(speaker) = &mut self.speaker {
            let mut out = Vec::new();
            speaker.shutdown(now, &mut out);
            self.carry_out(out, around, now);
        }
        self.stop_listening();
        for (_, s) in std::mem::take(&mut self.hellos) {
            let _ = self
                .registry
                .deregister(&mut SourceFd(&s.socket.as_raw_fd()));
        }
    }
}

/// An interface, as the speaker numbers them.
fn id(iface: IfaceId) -> speaker::IfaceId {
    speaker::IfaceId(iface.0.into())
}

fn open(
    registry: &Registry,
    iface: IfaceId,
    device: &str,
    index: u32,
) -> std::io::Result<HelloSocket> {
    let socket = net::hellos(device, index)?;
    registry.register(
        &mut SourceFd(&socket.as_raw_fd()),
        Token(HELLOS + iface.index()),
        Interest::READABLE,
    )?;
    Ok(HelloSocket {
        index,
        socket,
        ready: true,
    })
}

/// The speaker's configuration.
fn config(ldp: &Ldp) -> speaker::Config {
    let id = LdpId::platform(ldp.router_id);
    // Who starts anew is known to have another configuration.
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let sequence = since.unwrap_or(Duration::ZERO).as_secs() as u32;
    speaker::Config {
        hello: HelloConfig {
            transport_v4: Some(ldp.transport),
            prefer: Family::V4,
            link_hold: ldp.hello_hold,
            gtsm: ldp.ttl_security,
            sequence,
            ..HelloConfig::new(id)
        },
        session: Proposal {
            keepalive: ldp.hold,
            ..Proposal::new(id)
        },
        explicit_null: ldp.explicit_null,
        ..speaker::Config::new(id)
    }
}
