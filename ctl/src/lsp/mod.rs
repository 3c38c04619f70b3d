//! LSP ping and traceroute (RFC 8029) on the control thread: what drives `ldp::oam`, which does no I/O.
//!
//! Read `ldp::oam::probe` and `ldp::oam::respond` first. Requests of others come up from the workers (`PuntReason::Echo`), limited in
//! rate there and here, and are answered by the tables (`here`). Our own are put under the labels of a route (`way`) and go down to the
//! adjacency; their answers come as packets to an address of the router, and are taken before the kernel gets them, so no socket is
//! open. Each `trunkctl lsp …` is a session with a handle of its own, which ends when nobody asks for its results any more.
//!
//! Left out: IPv6 as the packet's own family (prefixes may be of either), FECs of RSVP-TE and pseudowires.

mod here;
mod mapping;
mod show;
mod way;

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ::ldp::oam::Echo;
use ::ldp::oam::probe::{Plan, Session};
use ::ldp::oam::respond::{self, Received};
use ::net::eth::ethertype::{IPV4, MPLS};
use ::net::ip4::is_host_source;
use ::net::udp4::{self, Datagram, LSP_PING};
use ::net::{IfaceId, Label, Lse, VrfId, mpls};
use dataplane::drops::Drop as Reason;
use dataplane::punt::{Inject, Punted};
use tracing::debug;

use crate::control::limit::Limit;
use crate::control::router::Router;
use crate::neigh::Held;
use crate::request::{LspCursor, Page, Refused, Reply};
use way::Way;

/// Answers a second, and at once.
const ANSWERS: (u32, u32) = (100, 50);
/// Pings and traces that may be under way.
const SESSIONS: usize = 16;
/// Who asks for results is told that there are none yet before the API thread gives up.
const PATIENCE: Duration = Duration::from_secs(5);
/// A session that nobody asks about is over.
const FORGOTTEN: Duration = Duration::from_secs(15);
/// The precedence of network control (RFC 4594: CS6), which our messages have.
const TOS: u8 = 0xc0;
/// From 1900, as NTP counts, to 1970.
const NTP: u64 = 2_208_988_800;

/// The time of day as NTP has it (RFC 5905 6): seconds in the upper half.
fn clock() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let fraction = (u64::from(since.subsec_nanos()) << 32) / 1_000_000_000;
    since.as_secs().wrapping_add(NTP) << 32 | fraction
}

/// Who waits for more.
struct Waits {
    /// Than so many settled requests.
    told: usize,
    reply: Reply<Page<api::LspProbe, LspCursor>>,
    until: Instant,
}

/// A ping or trace that is under way.
struct Running {
    session: Session,
    way: Way,
    waits: Option<Waits>,
    /// When somebody asked last.
    asked: Instant,
}

/// What is under way.
pub(crate) struct Driver {
    sessions: BTreeMap<u32, Running>,
    answers: Limit,
}

impl Default for Driver {
    fn default() -> Self {
        Self {
            sessions: BTreeMap::new(),
            answers: Limit::new(ANSWERS.0, ANSWERS.1),
        }
    }
}

impl Driver {
    /// When to turn, if nothing happens before.
    pub(crate) fn poll_at(&self) -> Option<Instant> {
        let one = |r: &Running| {
            let waits = r.waits.as_ref().map(|w| w.until);
            let over = Some(r.asked + FORGOTTEN);
            [r.session.poll_at(), waits, over]
                .into_iter()
                .flatten()
                .min()
        };
        self.sessions.values().filter_map(one).min()
    }

    /// A handle that nobody can guess: an answer has to come from somebody who has seen the request.
    fn handle(&self) -> u32 {
        loop {
            let n = RandomState::new().build_hasher().finish() as u32;
            if n != 0 && !self.sessions.contains_key(&n) {
                return n;
            }
        }
    }
}

/// The label stack of a punted packet, and the IPv4 packet under it.
fn split(kind: u16, packet: &[u8]) -> Option<(Vec<Lse>, &[u8])> {
    match kind {
        MPLS => {
            let stack = mpls::walk(packet).ok()?;
            Some((stack.entries.to_vec(), packet.get(stack.len()..)?))
        }
        IPV4 => Some((Vec::new(), packet)),
        _ => None,
    }
}

// ---- answering ----

impl Router {
    /// A worker has found an echo request.
    pub(crate) fn lsp_asked(&mut self, p: &Punted, now: Instant) {
        if !self.lsp.answers.take(now) {
            return self.give_up(p.rx_iface, Reason::LspPingLimit);
        }
        let packet = p.frame.data();
        let Some((stack, ip)) = split(p.ethertype, packet) else {
            return self.give_up(p.rx_iface, Reason::PuntUnwanted);
        };
        let asks = Datagram::parse(ip)
            .ok()
            .filter(|d| udp4::is_echo_request(ip) && is_host_source(d.src.to_bits()));
        let Some(asks) = asks else {
            return self.give_up(p.rx_iface, Reason::PuntUnwanted);
        };
        let received = Received {
            stack: stack.iter().map(|l| l.0).collect(),
            at: clock(),
        };
        let taken = self.lsp_taken(p, &stack, ip);
        let here = here::Here::new(self, p.rx_iface, taken);
        let Some(answer) = respond::respond(&here, asks.payload, &received) else {
            return;
        };
        let Some(src) = self.lsp_source(asks.src, p.rx_iface) else {
            return debug!(to = %asks.src, "LSP ping: there is no address of ours to answer from");
        };
        let mut payload = Vec::new();
        answer.echo.emit(&mut payload);
        debug!(to = %asks.src, "LSP ping: {}", answer.echo.code);
        let reply = Datagram {
            src,
            dst: asks.src,
            tos: answer.tos.unwrap_or(TOS),
            ttl: 255,
            alert: answer.alert,
            sport: LSP_PING,
            dport: asks.sport,
            payload: &payload,
        };
        if let Some(packet) = reply.emit() {
            let way = Inject::Route {
                vrf: VrfId::GLOBAL,
                iface: p.rx_iface,
            };
            self.inject(way, &packet);
        }
    }

    /// Where such a packet would go if its TTL let it: its flow may have several paths to choose from.
    fn lsp_taken(&mut self, p: &Punted, stack: &[Lse], ip: &[u8]) -> Option<(IfaceId, IpAddr)> {
        use dataplane::trace::{Arrival, End};
        if stack.is_empty() {
            return None;
        }
        let alive = stack.iter().flat_map(|l| l.with_ttl(u8::MAX).to_bytes());
        let packet: Vec<u8> = alive.chain(ip.iter().copied()).collect();
        let told = self.dp.as_mut()?.trace(Arrival {
            from: Some(p.rx_iface),
            vrf: VrfId::GLOBAL,
            labelled: true,
            packet: &packet,
        });
        match told.end {
            End::Sent {
                iface, next_hop, ..
            }
            | End::Unresolved { iface, next_hop } => Some((iface, next_hop)),
            _ => None,
        }
    }

    /// The address that messages to `to` come from: the router's identifier if it is an address of it, else one on the way.
    fn lsp_source(&self, to: Ipv4Addr, other: IfaceId) -> Option<Ipv4Addr> {
        let id = self.running.system.router_id;
        let own = id.filter(|id| self.is_own_address(IpAddr::V4(*id)));
        own.or_else(|| self.source4(to.into(), (VrfId::GLOBAL, other)))
    }

    /// Is it an address of the global table's interfaces?
    fn is_own_address(&self, address: IpAddr) -> bool {
        let mut global = self.ifaces.values().filter(|i| i.vrf == VrfId::GLOBAL);
        global.any(|i| i.conf.addresses.iter().any(|a| a.addr() == address))
    }

    // ---- asking ----

    /// Takes an answer of LSP ping. False: it is something else, for the kernel.
    pub(crate) fn lsp_answered(&mut self, p: &Punted, now: Instant) -> bool {
        let frame = p.frame.data();
        let packet = frame.get(::net::eth::HEADER_LEN..).unwrap_or(&[]);
        // What comes to a VRF's address is a customer's.
        let global = self.iface(p.iface).is_some_and(|i| i.vrf == VrfId::GLOBAL);
        if !global || !udp4::is_lsp_ping(packet) {
            return false;
        }
        let Ok(d) = Datagram::parse(packet) else {
            self.give_up(p.iface, Reason::PuntUnwanted);
            return true;
        };
        // What belongs to nobody, or came too late, is passed over.
        if let Ok(echo) = Echo::parse(d.payload)
            && let Some(r) = self.lsp.sessions.get_mut(&echo.handle)
        {
            r.session.reply(now, d.src.into(), &echo);
        }
        true
    }

    /// Begins a ping or trace, or tells more of one.
    pub(crate) fn lsp_probe(
        &mut self,
        query: &api::LspQuery,
        after: Option<LspCursor>,
        reply: Reply<Page<api::LspProbe, LspCursor>>,
        now: Instant,
    ) {
        let begun = match after {
            Some(cursor) => Ok(cursor),
            None => self.lsp_begin(query, now),
        };
        let cursor = match begun {
            Ok(cursor) => cursor,
            Err(why) => return reply.send(Err(why)),
        };
        match self.lsp.sessions.get_mut(&cursor.handle) {
            Some(r) => {
                r.asked = now;
                r.waits = Some(Waits {
                    told: cursor.told,
                    reply,
                    until: now + PATIENCE,
                });
            }
            // It was told to the end.
            None => reply.ok(Page {
                rows: Vec::new(),
                next: None,
            }),
        }
    }

    fn lsp_begin(&mut self, query: &api::LspQuery, now: Instant) -> Result<LspCursor, Refused> {
        if self.lsp.sessions.len() >= SESSIONS {
            return Err(
                format!("{SESSIONS} pings and traces are under way already; try again").into(),
            );
        }
        let (plan, way): (Plan, Way) = self.lsp_plan(query, now)?;
        let handle = self.lsp.handle();
        let running = Running {
            session: Session::new(handle, plan, now),
            way,
            waits: None,
            asked: now,
        };
        self.lsp.sessions.insert(handle, running);
        Ok(LspCursor { handle, told: 0 })
    }

    /// Sends what is due, and tells who waits.
    pub(crate) fn lsp_turn(&mut self, now: Instant) {
        if self.lsp.sessions.is_empty() {
            return;
        }
        let mut sessions = std::mem::take(&mut self.lsp.sessions);
        sessions.retain(|_, r| {
            while let Some(send) = r.session.tick(now, clock()) {
                self.lsp_send(&r.way, send.ttl, &send.octets, now);
            }
            r.tell(now) && r.asked + FORGOTTEN > now
        });
        self.lsp.sessions = sessions;
    }

    /// Sends a request to the neighbour that its way begins with.
    fn lsp_send(&mut self, way: &Way, ttl: u8, payload: &[u8], now: Instant) {
        let request = Datagram {
            src: way.src,
            dst: way.dst,
            tos: TOS,
            // Whoever looks at it without its labels is to go no further with it (RFC 8029 4.3).
            ttl: 1,
            alert: true,
            sport: LSP_PING,
            dport: LSP_PING,
            payload,
        };
        let Some(ip) = request.emit() else { return };
        let last = way.labels.len().wrapping_sub(1);
        let entry = |(i, l): (usize, &Label)| {
            let ttl = if i == 0 { ttl } else { u8::MAX };
            Lse::new(*l, TOS >> 5, i == last, ttl).to_bytes()
        };
        let mut packet: Vec<u8> = way.labels.iter().enumerate().flat_map(entry).collect();
        packet.extend(ip);
        let ethertype = if way.labels.is_empty() { IPV4 } else { MPLS };
        let (iface, address) = way.next_hop;
        match self.rib.adjacency(iface, address) {
            Some(adj) => {
                let what = Inject::ToAdj {
                    adj,
                    ethertype,
                    iface,
                };
                self.inject(what, &packet);
            }
            None => {
                let held = Held {
                    ethertype,
                    bytes: packet,
                    received_ttl: None,
                    vrf: VrfId::GLOBAL,
                };
                self.neigh
                    .resolve(now, iface, address, Some(held), &mut self.acts);
            }
        }
    }
}

impl Running {
    /// Tells who waits what is new, or that nothing is. False: all was told, and nothing more will come.
    fn tell(&mut self, now: Instant) -> bool {
        let done = self.session.is_done();
        let settled = self.session.settled();
        let ready = |w: &mut Waits| settled > w.told || done || now >= w.until;
        let Some(Waits { told, reply, .. }) = self.waits.take_if(ready) else {
            return true;
        };
        let handle = self.session.handle();
        let probes = self.session.probes().get(told..settled).unwrap_or(&[]);
        let next = LspCursor {
            handle,
            told: settled,
        };
        reply.ok(Page {
            rows: probes.iter().map(|p| show::probe(p, &self.way)).collect(),
            next: (!done).then_some(next),
        });
        !done
    }
}
