//! The control thread: one reactor that turns through everything there is to do, a bounded piece of each at a time.
//!
//! A turn: what the workers have punted, what the kernel has sent, what the API asks, the neighbours' timers, the links,
//! a slice of what is to be written into the tables. While there is more of anything the next turn comes at once, else the
//! thread sleeps until a descriptor is ready or a timer is due. The reactor itself is all of the I/O in here; what it drives
//! is told the time (HABITS 4).

mod explain;
pub(crate) mod limit;
pub(crate) mod router;
mod show;
mod start;
mod traffic;
pub(crate) mod unplug;

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crossbeam::channel::Receiver;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use net::IfaceId;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use tracing::{debug, error, info, warn};

use crate::bgp::LISTENERS;
use crate::config::{Plan, Store};
use crate::host::links::LinkWatch;
use crate::labels::StateFile;
use crate::neigh::{Neighbours, Params};
use crate::request::{self, Reply, Request};
use crate::server::{Instance, Server};
use router::Router;

/// What the reactor's descriptors are known by.
pub(crate) mod tokens {
    /// The API thread has asked something.
    pub(crate) const REQUESTS: usize = 0;
    /// A worker has punted something and gone to sleep.
    pub(crate) const PUNTS: usize = 1;
    /// A signal to end, to read the configuration again.
    pub(crate) const TERM: usize = 2;
    pub(crate) const HUP: usize = 3;
    /// The link of a device of the kernel may have changed.
    pub(crate) const LINKS: usize = 4;
    /// The TAP of interface 0; the others follow.
    pub(crate) const FIRST_TAP: usize = 16;
}

/// How often the links are looked at of devices that the kernel does not tell of.
const LINKS: Duration = Duration::from_millis(20);
/// How often all others are, should the kernel have told nobody.
const ALL_LINKS: Duration = Duration::from_millis(100);
/// How often the rest is looked after: DPDK's log, stalled workers.
const CHORES: Duration = Duration::from_secs(1);
/// The longest sleep.
const LONGEST: Duration = Duration::from_millis(500);
/// API requests taken in one turn.
const REQUESTS: usize = 16;
/// Events taken in one turn; what is left comes with the next.
const EVENTS: usize = 256;

/// The pieces of a core that this thread asks for, so that it does not wait long for one where others are busy.
const PIECE: Duration = Duration::from_micros(100);

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The configuration file.
    pub config: PathBuf,
    /// The socket of the API.
    pub socket: PathBuf,
    /// When the process began.
    pub began: Instant,
}

/// Runs the appliance until it is told to end.
///
/// # Errors
/// Why it could not start: cause and remedy, in one line. Nothing is left behind then.
pub fn run(options: &Options) -> Result<(), String> {
    // Before any other thread is made, which are not to have it.
    if let Err(e) = hugepages::sched::set_slice(PIECE) {
        debug!("the kernel gives no short slices of a core: {e}");
    }
    let instance = Instance::claim(&options.socket).map_err(|e| e.to_string())?;
    let store = Store::load(&options.config).map_err(|e| e.to_string())?;
    let mut control =
        Control::new(options.began).map_err(|e| format!("can't set up the control thread: {e}"))?;
    control.router.machine.recover();
    let mut marker = options.socket.clone().into_os_string();
    marker.push(".restart");
    control.router.bgp.set_marker(std::path::Path::new(&marker));
    let mut state = store.path().as_os_str().to_owned();
    state.push(".labels");
    control.router.label_file = StateFile::new(std::path::Path::new(&state));
    let plan = Box::new(Plan::initial(store.running().clone()));
    control.router.apply(plan, Instant::now())?;
    // After the static ones: what contradicts the configuration is nobody's any more.
    let (file, labels) = (&control.router.label_file, &mut control.router.labels);
    file.restore(labels, Instant::now());
    let waker = Waker::new(control.poll.registry(), Token(tokens::REQUESTS))
        .map_err(|e| format!("can't make a waker: {e}"))?;
    let (asker, requests) = request::channel(move || {
        let _ = waker.wake();
    });
    let server = Server::start(instance, store, asker)
        .map_err(|e| format!("can't serve {}: {e}", options.socket.display()))?;
    control.serve(&server, &requests);
    info!("ending");
    // What was applied stays saved.
    control.applied.drain(..).for_each(|reply| reply.ok(()));
    // First nobody asks any more, then nothing is forwarded any more, then everything is given back.
    drop(requests);
    drop(server);
    control.end();
    Ok(())
}

/// The reactor.
struct Control {
    poll: Poll,
    router: Router,
    term: UnixStream,
    hup: UnixStream,
    links: LinkWatch,
    began: Instant,
    ready: Option<Duration>,
    next_links: Instant,
    next_all_links: Instant,
    next_chores: Instant,
    /// Who waits for the tables to hold what was applied.
    applied: Vec<Reply<()>>,
}

impl Control {
    fn new(began: Instant) -> io::Result<Self> {
        let poll = Poll::new()?;
        let (term, hup) = (signal_pipe(&[SIGTERM, SIGINT])?, signal_pipe(&[SIGHUP])?);
        for (pipe, token) in [(&term, tokens::TERM), (&hup, tokens::HUP)] {
            poll.registry().register(
                &mut SourceFd(&pipe.as_raw_fd()),
                Token(token),
                Interest::READABLE,
            )?;
        }
        let links = LinkWatch::open()?;
        poll.registry().register(
            &mut SourceFd(&links.as_raw_fd()),
            Token(tokens::LINKS),
            Interest::READABLE,
        )?;
        let router = Router::new(
            poll.registry().try_clone()?,
            Neighbours::new(Params::default()),
        )?;
        let now = Instant::now();
        Ok(Self {
            poll,
            router,
            term,
            hup,
            links,
            began,
            ready: None,
            next_links: now + LINKS,
            next_all_links: now + ALL_LINKS,
            next_chores: now + CHORES,
            applied: Vec::new(),
        })
    }

    /// Turns until a signal says to end.
    fn serve(&mut self, server: &Server, requests: &Receiver<Request>) {
        let mut events = Events::with_capacity(EVENTS);
        let mut more = true;
        loop {
            let timeout = if more {
                Duration::ZERO
            } else {
                self.timeout(Instant::now())
            };
            match self.poll.poll(&mut events, Some(timeout)) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => {
                    error!("can't wait for events: {e}");
                    return;
                }
                Ok(()) => {}
            }
            let tokens: BTreeSet<usize> = events.iter().map(|e| e.token().0).collect();
            if tokens.contains(&tokens::TERM) && emptied(&self.term) {
                return;
            }
            if tokens.contains(&tokens::HUP) && emptied(&self.hup) {
                info!("SIGHUP: reading the configuration again");
                server.reload();
            }
            if tokens.contains(&tokens::LINKS) && self.links.changed() {
                self.next_all_links = Instant::now();
            }
            for event in &events {
                let token = event.token().0;
                let over = event.is_error() || event.is_read_closed();
                let readable = event.is_readable() || over;
                let writable = event.is_writable() || over;
                if token >= crate::ldp::FIRST {
                    self.router.ldp.event(token, readable, writable);
                } else if token >= LISTENERS {
                    self.router.bgp.event(token, readable, writable);
                }
            }
            let taps = tokens.range(tokens::FIRST_TAP..LISTENERS);
            let ids = taps
                .filter_map(|t| u16::try_from(t - tokens::FIRST_TAP).ok())
                .map(IfaceId);
            self.router.readable.extend(ids);
            more = self.turn(requests);
        }
    }

    /// Does a piece of everything. True: there is more at once.
    fn turn(&mut self, requests: &Receiver<Request>) -> bool {
        let now = Instant::now();
        // First, as flows wait for it.
        self.look_at_links(now);
        let mut more = self.router.punts(now);
        more |= self.router.taps(now);
        for request in requests.try_iter().take(REQUESTS) {
            self.answer(request, now);
        }
        more |= !requests.is_empty();
        self.router.carry_out(now);
        if self.router.neigh.poll_at().is_some_and(|at| at <= now) {
            self.router.tick(now);
        }
        if self.next_chores <= now {
            self.next_chores = now + CHORES;
            self.router.chores(now);
        }
        let learning = self.router.bgp_turn(now);
        more |= learning;
        let draining = self.router.drain(now, learning);
        more |= self.router.tell(now);
        more |= self.router.bgp_resolved(now);
        more |= self.router.ldp_turn(now);
        self.router.lsp_turn(now);
        self.router.carry_out(now);
        self.router.flush();
        if !draining {
            // Who is told that it is done finds it done: shown, and in force.
            self.applied.drain(..).for_each(|reply| reply.ok(()));
            if self.ready.is_none() {
                self.announce_ready();
            }
        }
        more |= draining;
        more
    }

    /// Looks at the links that are due.
    fn look_at_links(&mut self, now: Instant) {
        if self.next_all_links <= now {
            (self.next_links, self.next_all_links) = (now + LINKS, now + ALL_LINKS);
            self.router.poll_links(now, true);
        } else if self.next_links <= now {
            self.next_links = now + LINKS;
            self.router.poll_links(now, false);
        }
    }

    /// How long nothing is due.
    fn timeout(&self, now: Instant) -> Duration {
        let due = |at: Instant| at.saturating_duration_since(now);
        let links = if self.router.has_untold_links() {
            self.next_links.min(self.next_all_links)
        } else {
            self.next_all_links
        };
        let mut t = LONGEST.min(due(links)).min(due(self.next_chores));
        let r = &self.router;
        let timers = [
            r.neigh.poll_at(),
            r.bgp.poll_at(),
            r.ldp.poll_at(),
            r.lsp.poll_at(),
        ];
        for at in timers.into_iter().flatten() {
            t = t.min(due(at));
        }
        match &self.router.dp {
            Some(dp) => t.min(dp.punt_timeout()),
            None => t,
        }
    }

    fn announce_ready(&mut self) {
        let took = self.began.elapsed();
        self.ready = Some(took);
        let (ifaces, sizes) = (self.router.ifaces.len(), self.router.rib.sizes());
        let workers = self.router.dp.as_ref().map_or(0, |dp| dp.seats().len());
        let plural = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        info!(
            "ready in {:.2} s: {}, {}, {}",
            took.as_secs_f64(),
            plural(ifaces, "interface"),
            plural(workers, "worker"),
            plural(sizes.prefixes, "route"),
        );
    }

    fn answer(&mut self, request: Request, now: Instant) {
        let r = &mut self.router;
        match request {
            Request::Apply { plan, reply } => {
                let steps = plan.len();
                match r.apply(plan, now) {
                    Ok(()) => {
                        debug!(steps, "configuration applied");
                        self.applied.push(reply);
                    }
                    Err(cause) => {
                        debug!(steps, "a change was refused: {cause}");
                        reply.refuse(cause);
                    }
                }
            }
            Request::Routes {
                query,
                after,
                limit,
                reply,
            } => reply.send(r.show_routes(&query, after, limit)),
            Request::Labels {
                label,
                after,
                limit,
                reply,
            } => reply.ok(r.show_labels(label, after, limit)),
            Request::LabelRanges { reply } => reply.ok(r.show_label_ranges()),
            Request::Ldp { reply } => {
                let (ldp, around) = r.ldp_parts();
                reply.send(ldp.show(&around.links, now).map(Box::new));
            }
            Request::LdpBindings {
                prefix,
                after,
                limit,
                reply,
            } => {
                let (ldp, around) = r.ldp_parts();
                reply.send(ldp.show_bindings(prefix, after, limit, &around.links));
            }
            Request::Lsp {
                query,
                after,
                reply,
            } => r.lsp_probe(&query, after, reply, now),
            Request::Interfaces { query, reply } => reply.send(r.show_interfaces(&query.name)),
            Request::Neighbors { query, reply } => reply.send(r.show_neighbors(&query, now)),
            Request::Workers { reset, reply } => reply.ok(r.show_workers(reset)),
            Request::Drops { query, reply } => reply.send(r.show_drops(&query.interface)),
            Request::Vrfs { name, reply } => reply.send(r.show_vrfs(&name)),
            Request::Memory { reply } => reply.ok(r.show_memory()),
            Request::Rcu { reply } => reply.ok(r.show_rcu()),
            Request::Explain { query, reply } => {
                reply.send(r.explain(&query, now).map(Box::new));
            }
            Request::BgpNeighbors { query, reply } => {
                reply.send(r.bgp.show_neighbors(&query.address, now));
            }
            Request::BgpRoutes {
                query,
                after,
                reply,
            } => reply.send(r.show_bgp_routes(&query, after, now)),
            Request::BgpPolicy { query, reply } => {
                let done = r.bgp.try_policy(&query, &r.running, now);
                reply.send(done.map(Box::new));
            }
            Request::Rpki { reply } => reply.send(r.bgp.show_caches(now)),
            Request::BgpDump {
                query,
                after,
                reply,
            } => reply.send(r.bgp.dump(&query, after, now)),
            Request::BgpWatch { reply } => reply.ok(r.bgp.show_watch(now)),
            Request::BgpCommand { command, reply } => reply.send(r.bgp_command(&command, now)),
            Request::Status { reply } => reply.ok(self.status(now)),
        }
    }

    fn status(&self, now: Instant) -> api::Status {
        let r = &self.router;
        let name = |text: &str| text.to_owned();
        api::Status {
            pid: std::process::id(),
            uptime_s: now.saturating_duration_since(self.began).as_secs_f64(),
            startup_ms: self.ready.map_or(0.0, |t| t.as_secs_f64() * 1000.0),
            ready: self.ready.is_some(),
            memory: match (&r.dp, r.settings.memory) {
                (None, _) => name("none"),
                (_, crate::config::Memory::NoHuge) => name("no-huge"),
                (_, crate::config::Memory::Hugepages) => name("hugepages"),
            },
            poll: match r.settings.poll {
                crate::config::Poll::Adaptive => name("adaptive"),
                crate::config::Poll::Busy => name("busy"),
            },
            workers: r.dp.as_ref().map_or(0, |dp| dp.seats().len() as u32),
            router_id: r
                .running
                .system
                .router_id
                .map(|id| id.to_string())
                .unwrap_or_default(),
            ..api::Status::default()
        }
    }

    /// Gives everything back: ports and workers, TAPs and rules, huge pages, NICs.
    fn end(mut self) {
        self.router.end();
        info!("ended after {:.1} s", self.began.elapsed().as_secs_f64());
    }
}

impl Router {
    /// What is looked after once a second.
    fn chores(&mut self, now: Instant) {
        for line in dataplane::eal::take_log() {
            warn!("DPDK: {line}");
        }
        self.look_at_cards(now);
        self.rib.retry();
        let available = self.labels.tick(now);
        for label in self.labels.take_freed() {
            self.rib.end_leaving(label);
        }
        if available {
            self.ldp.labels_available();
            self.bgp.labels_available();
        }
        self.label_file.turn(&mut self.labels);
        let Some(dp) = &mut self.dp else { return };
        let stalls = self.watchdog.observe(now, &dp.rcu_status());
        for s in &stalls.began {
            warn!(
                "{} has not reported for {:.1} s, so nothing that was replaced since is freed; is its CPU taken by a real-time process?",
                s.name,
                s.since.as_secs_f64()
            );
        }
        for s in &stalls.ended {
            info!(
                "{} reports again, after {:.1} s or more",
                s.name,
                s.since.as_secs_f64()
            );
        }
        for w in dp.worker_stats().iter().filter(|w| !w.alive) {
            if self.dead.insert(w.worker) {
                error!(
                    "worker {} has died, and what it polled is no longer forwarded; restart the appliance and report its last words",
                    w.worker
                );
            }
        }
    }

    /// Takes everything down, in order.
    fn end(&mut self) {
        self.bgp_shut_down(Instant::now());
        let (ldp, mut around) = self.ldp_parts();
        ldp.shut_down(&mut around, Instant::now());
        self.label_file.finish(&mut self.labels);
        if let Some(dp) = &mut self.dp
            && let Err(e) = dp.shutdown()
        {
            error!("{e}; the next start gives huge pages and NICs back");
            self.machine.abandon();
        }
        self.host = None;
        self.dp = None;
        self.machine.give_back();
    }
}

/// A pipe that gets a byte with each of these signals.
fn signal_pipe(signals: &[i32]) -> io::Result<UnixStream> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    for s in signals {
        signal_hook::low_level::pipe::register(*s, theirs.try_clone()?)?;
    }
    Ok(ours)
}

/// Takes what is in a signal's pipe. True: there was something.
fn emptied(mut pipe: &UnixStream) -> bool {
    let mut buffer = [0; 64];
    let mut any = false;
    while let Ok(n) = io::Read::read(&mut pipe, &mut buffer) {
        if n == 0 {
            break;
        }
        any = true;
    }
    any
}
