//! One turn: a device is started, sessions are opened, the clock runs.

use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use net::Ip4Prefix;
use rand::SeedableRng;
use rand::seq::index;
use rand_chacha::ChaCha8Rng;

use super::case::{Case, What};
use super::device::{AS, Device, Kind, SINK_AS};
use super::feed::{Feed, asn, peer_address};
use super::place::{Place, SINK};
use super::sink::{Counts, Mirror, Sink};
use super::wire::{self, Got, NOTIFICATION, Nlri, Reader, UPDATE, Update};
use crate::stats::quantile;
use crate::table::Route;

/// Nobody takes longer.
const PATIENCE: Duration = Duration::from_secs(100);
/// Changes a second.
pub const CHURN: u32 = 1000;
/// Communities of changes begin here; those of the table are below.
const MARK: u32 = 0xfd00_0000;

/// What one turn gave.
#[derive(Debug, Clone, Default)]
pub struct Turn {
    /// Until the sink had everything, in seconds.
    pub seconds: f64,
    /// CPU time of the device meanwhile, in seconds.
    pub cpu: f64,
    /// The most memory it held, in MiB.
    pub peak: f64,
    /// Of that, what came with the routes: bytes for each path.
    pub path_bytes: f64,
    /// Prefixes in a message to the sink.
    pub packing: f64,
    /// Latencies in ms: half of them, 99 % of them, all of them were below. Of churn only.
    pub latency: Option<[f64; 3]>,
}

/// All that can be made before a case is run.
#[derive(Debug)]
pub struct Prepared {
    case: Case,
    pub(super) feed: Feed,
    streams: Vec<Vec<u8>>,
    /// How long the churn goes on.
    churn: Duration,
}

impl Prepared {
    /// Encodes the streams of all peers of the case.
    pub fn new(case: Case, table: &[Route<Ip4Prefix>], churn: Duration) -> Self {
        let feed = Feed::of(table, case.prefixes, 1);
        let best = |set: usize| winner(&case, &feed, set);
        let streams = (0..case.peers)
            .map(|p| feed.encode(p, peer_address(p), best))
            .collect();
        Self {
            case,
            feed,
            streams,
            churn,
        }
    }

    /// One turn of a contestant.
    ///
    /// # Errors
    /// It does not start, loses a session, or does not come to an end.
    pub fn turn(&self, kind: Kind, program: &Path) -> Result<(Turn, String)> {
        let place = Place::new(self.case.peers)?;
        let device = Device::start(kind, &place, self.case.peers, program)?;
        let command = device.command.clone();
        let done = self.on(&place, &device);
        let done = done.with_context(|| format!("{} said:\n{}", kind.name(), device.said()));
        let turn = done?;
        device.stop()?;
        Ok((turn, command))
    }

    /// Opens the sessions.
    fn sessions(&self, place: &Place, device: &Device) -> Result<(Vec<TcpStream>, Sink)> {
        let (stream, reader) = session(place, device, SINK, SINK_AS).context("the sink")?;
        let sink = Sink { stream, reader };
        let mut peers = Vec::new();
        for p in 0..self.case.peers {
            let (stream, _) = session(place, device, peer_address(p), asn(p))
                .with_context(|| format!("peer {p}"))?;
            // So that nobody waits for ever for a device that reads no more.
            stream.set_write_timeout(Some(PATIENCE))?;
            peers.push(stream);
        }
        Ok((peers, sink))
    }

    /// Everybody announces everything, until the sink has it; when that was.
    fn announce(
        &self,
        peers: &mut [TcpStream],
        sink: &mut Sink,
        mirror: &mut Mirror,
    ) -> Result<Instant> {
        std::thread::scope(|s| {
            let writers: Vec<_> = peers
                .iter_mut()
                .zip(&self.streams)
                .map(|(to, what)| s.spawn(|| to.write_all(what)))
                .collect();
            let end = sink.until_complete(mirror, PATIENCE)?;
            for w in writers {
                w.join().map_err(|_| anyhow!("a writer panicked"))??;
            }
            Ok(end)
        })
    }

    /// The device at full table.
    pub(super) fn load(&self, place: &Place, device: &Device) -> Result<(Vec<TcpStream>, Sink)> {
        let best = |set: usize| winner(&self.case, &self.feed, set);
        let mut mirror = Mirror::new(&self.feed, self.case.peers, AS, best);
        let (mut peers, mut sink) = self.sessions(place, device)?;
        self.announce(&mut peers, &mut sink, &mut mirror)?;
        Ok((peers, sink))
    }

    fn on(&self, place: &Place, device: &Device) -> Result<Turn> {
        let feed = &self.feed;
        let best = |set: usize| winner(&self.case, feed, set);
        let mut mirror = Mirror::new(feed, self.case.peers, AS, best);
        let (mut peers, mut sink) = self.sessions(place, device)?;
        let before = device.usage()?;
        let start = Instant::now();
        let end = self.announce(&mut peers, &mut sink, &mut mirror)?;
        ensure!(mirror.counts.strange == 0, "{:?}", mirror.counts);
        let mut turn = Turn {
            seconds: (end - start).as_secs_f64(),
            packing: packing(mirror.counts),
            ..Turn::default()
        };
        match self.case.what {
            What::Converge => {
                let after = device.usage()?;
                turn.cpu = after.cpu - before.cpu;
                self.memory(&mut turn, before.resident, after.peak);
            }
            What::Churn => {
                quiet(device)?;
                let loaded = device.usage()?;
                self.memory(&mut turn, before.resident, loaded.peak);
                turn.latency = Some(self.churn(&mut peers[0], &mut sink)?);
                turn.cpu = device.usage()?.cpu - loaded.cpu;
            }
            What::Failover => {
                quiet(device)?;
                let loaded = device.usage()?;
                mirror.counts = Counts::default();
                mirror.want_all_of(1);
                let start = Instant::now();
                drop(peers.remove(0));
                let end = sink.until_complete(&mut mirror, PATIENCE)?;
                let after = device.usage()?;
                turn.seconds = (end - start).as_secs_f64();
                turn.packing = packing(mirror.counts);
                turn.cpu = after.cpu - loaded.cpu;
                self.memory(&mut turn, before.resident, after.peak);
            }
        }
        Ok(turn)
    }

    fn memory(&self, turn: &mut Turn, before: u64, peak: u64) {
        let paths = (self.case.peers * self.case.prefixes) as f64;
        turn.peak = peak as f64 / f64::from(1 << 20);
        turn.path_bytes = peak.saturating_sub(before) as f64 / paths;
    }

    /// A change every millisecond, each of another prefix, known by its community. Latencies in ms.
    pub(super) fn churn(&self, peer: &mut TcpStream, sink: &mut Sink) -> Result<[f64; 3]> {
        let n = (self.churn.as_secs_f64() * f64::from(CHURN)) as usize;
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let changes: Vec<Vec<u8>> = index::sample(&mut rng, self.feed.sets.len(), n)
            .into_iter()
            .enumerate()
            .map(|(i, set)| {
                let path = self.feed.path(set, 0, 0);
                let attrs = wire::attributes(&path, peer_address(0), &[MARK + i as u32]);
                let mut out = Vec::new();
                let first = self.feed.sets[set].first as usize;
                wire::updates(&mut out, &attrs, &self.feed.prefixes[first..=first]);
                out
            })
            .collect();
        sink.stream.set_nonblocking(true)?;
        let start = Instant::now();
        let mut sent = Vec::with_capacity(n);
        let mut took = vec![None; n];
        let mut left = n;
        while left > 0 {
            let due = Duration::from_secs(1) * sent.len() as u32 / CHURN;
            if sent.len() < n && start.elapsed() >= due {
                sent.push(Instant::now());
                peer.write_all(&changes[sent.len() - 1])?;
            }
            ensure!(
                start.elapsed() < self.churn + PATIENCE / 10,
                "{left} of {n} changes never came"
            );
            match sink.reader.fill(&mut sink.stream)? {
                Got::Some => {}
                Got::Nothing => continue,
                Got::End => bail!("the device closed the sink's session"),
            }
            let now = Instant::now();
            while let Some((kind, body)) = sink.reader.message()? {
                ensure!(kind != NOTIFICATION, "a NOTIFICATION: {body:?}");
                let update = (kind == UPDATE).then(|| Update::parse(body)).flatten();
                let Some(u) = update.filter(|u| !u.nlri.is_empty()) else {
                    continue;
                };
                ensure!(Nlri(u.nlri).count() == 1, "several prefixes of one change");
                let mark = u.communities().next().and_then(|c| c.checked_sub(MARK));
                let i = mark.context("a route that was not changed")? as usize;
                if took[i]
                    .replace((now - sent[i]).as_secs_f64() * 1e3)
                    .is_none()
                {
                    left -= 1;
                }
            }
        }
        let mut all: Vec<f64> = took.into_iter().flatten().collect();
        all.sort_by(f64::total_cmp);
        Ok([0.5, 0.99, 1.0].map(|q| quantile(&all, q)))
    }
}

fn winner(case: &Case, feed: &Feed, set: usize) -> usize {
    match case.what {
        What::Converge => feed.winner(set, case.peers),
        What::Churn | What::Failover => 0,
    }
}

fn packing(c: Counts) -> f64 {
    c.announced as f64 / c.messages.max(1) as f64
}

/// Opens a session as soon as the device takes it.
fn session(
    place: &Place,
    device: &Device,
    from: Ipv4Addr,
    asn: u32,
) -> Result<(TcpStream, Reader)> {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let attempt = || -> Result<(TcpStream, Reader)> {
            let mut stream = place.connect(from)?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            let mut reader = Reader::default();
            wire::handshake(&mut stream, &mut reader, asn, from)?;
            Ok((stream, reader))
        };
        match attempt() {
            Ok(both) => return Ok(both),
            Err(e) if Instant::now() > end => return Err(e),
            Err(_) => {
                device.alive()?;
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

/// Waits until the device has nothing more to do: it used next to no CPU for a fifth of a second.
pub(super) fn quiet(device: &Device) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    let mut last = device.usage()?.cpu;
    loop {
        std::thread::sleep(Duration::from_millis(200));
        let now = device.usage()?.cpu;
        if now - last < 0.004 {
            return Ok(());
        }
        ensure!(Instant::now() < end, "the device never came to rest");
        last = now;
    }
}
