//! A neighbour that announces a whole table and then only says that it is there: RFC 4271 and 4760 just far enough.
//!
//! What it says has the shape of a full feed: about every eighth prefix begins a set of attributes of its own, paths have two to
//! seven numbers and end in the origin, half the sets have communities. The same table gives the same feed.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};

use super::raw::{self, message};
use crate::lab::Netns;
use crate::table::Route;

/// The longest message without RFC 8654, and the header of one.
const LONGEST: usize = 4096;
const HEADER: usize = 19;
/// How many prefixes of one origin share their attributes, on average.
const SHARE: u64 = 8;
/// How many paths of 2, 3, … 7 numbers there are among 100.
const LENGTHS: [u64; 6] = [8, 25, 32, 20, 10, 5];
/// Seconds; it says something every third of it.
const HOLD: u16 = 90;

/// What a feeder is and has.
#[derive(Debug, Clone)]
pub struct Feed {
    /// Its AS.
    pub asn: u32,
    /// Its address, and next hop of IPv4.
    pub local: Ipv4Addr,
    /// Its next hop of IPv6.
    pub local6: Ipv6Addr,
    /// The neighbour, who listens.
    pub peer: IpAddr,
    /// What it announces of IPv4.
    pub v4: Vec<Route>,
    /// What it announces of IPv6.
    pub v6: Vec<Route>,
}

/// A session over which a table is or was announced. It ends when dropped.
#[derive(Debug)]
pub struct Feeder {
    stop: Arc<AtomicBool>,
    stream: TcpStream,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Feeder {
    /// Opens the session and goes on in a thread of its own.
    ///
    /// # Errors
    /// When the neighbour does not want to.
    pub fn start(ns: &Netns, feed: Feed) -> Result<Self> {
        let mut stream = raw::connection(ns, feed.local.into(), feed.peer)?;
        let mut heard = Vec::new();
        stream.write_all(&open(&feed))?;
        ensure!(hear(&mut stream, &mut heard)? == 1, "no OPEN came");
        stream.write_all(&message(4, &[]))?;
        ensure!(hear(&mut stream, &mut heard)? == 4, "no KEEPALIVE came");
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, theirs) = (Arc::clone(&stop), stream.try_clone()?);
        let thread = std::thread::spawn(move || run(theirs, &feed, &stopped));
        Ok(Self {
            stop,
            stream,
            thread: Some(thread),
        })
    }

    /// An error if the session has ended.
    ///
    /// # Errors
    /// When it has, with why.
    pub fn alive(&mut self) -> Result<()> {
        let thread = self.thread.take_if(|t| t.is_finished());
        match thread.map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(Ok(()))) => Err(anyhow!("the feeder's session has ended")),
            Some(Ok(Err(e))) => Err(e.context("the feeder's session")),
            Some(Err(_)) => Err(anyhow!("the feeder panicked")),
        }
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        // Relaxed: it only says that it is enough.
        self.stop.store(true, Ordering::Relaxed);
        // It may wait for a neighbour that takes nothing.
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
        if let Some(t) = self.thread.take() {
            let _ = t.join();
        }
    }
}

/// The next message's type.
fn hear(stream: &mut TcpStream, heard: &mut Vec<u8>) -> Result<u8> {
    loop {
        if let [
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            a,
            b,
            kind,
            ..,
        ] = heard[..]
        {
            let len = usize::from(u16::from_be_bytes([a, b]));
            ensure!(len >= HEADER, "a message of {len} octets");
            if heard.len() >= len {
                heard.drain(..len);
                return Ok(kind);
            }
        }
        let mut more = [0; 4096];
        let n = stream.read(&mut more)?;
        ensure!(n > 0, "the connection was closed");
        heard.extend(&more[..n]);
    }
}

fn run(mut stream: TcpStream, feed: &Feed, stop: &AtomicBool) -> Result<()> {
    let peer = feed.peer;
    stream.set_read_timeout(Some(Duration::from_millis(100)))?;
    stream.set_write_timeout(Some(Duration::from_secs(u64::from(HOLD))))?;
    let routes = feed.v4.iter().map(|r| (r, false));
    let routes: Vec<_> = routes.chain(feed.v6.iter().map(|r| (r, true))).collect();
    for part in updates(feed, &routes) {
        if stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        stream.write_all(&part)?;
    }
    // End-of-RIB (RFC 4724 2), of both families.
    stream.write_all(&message(2, &[0, 0, 0, 0]))?;
    stream.write_all(&message(2, &[0, 0, 0, 6, 0x80, 15, 3, 0, 2, 1]))?;
    let mut said = Instant::now();
    let mut sink = [0; 65536];
    while !stop.load(Ordering::Relaxed) {
        match stream.read(&mut sink) {
            Ok(0) => return Err(anyhow!("{peer} closed the connection")),
            Ok(_) => {}
            Err(e) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&e.kind()) => {}
            Err(e) => return Err(e.into()),
        }
        if said.elapsed() > Duration::from_secs(u64::from(HOLD / 3)) {
            stream.write_all(&message(4, &[]))?;
            said = Instant::now();
        }
    }
    Ok(())
}

/// OPEN: both unicast families and numbers of four octets.
fn open(feed: &Feed) -> Vec<u8> {
    let mut caps = vec![1, 4, 0, 1, 0, 1, 1, 4, 0, 2, 0, 1, 65, 4];
    caps.extend(feed.asn.to_be_bytes());
    let mut body = vec![4];
    body.extend(u16::try_from(feed.asn).unwrap_or(23456).to_be_bytes());
    body.extend(HOLD.to_be_bytes());
    body.extend(feed.local.octets());
    body.extend([caps.len() as u8 + 2, 2, caps.len() as u8]);
    body.extend(caps);
    message(1, &body)
}

/// Numbers that look like chance and are always the same (SplitMix64).
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The set of attributes that a route has: one of so many of its origin.
fn set(r: &Route, v6: bool, of_origin: u64) -> u64 {
    let of = mix(r.addr as u64 ^ (r.addr >> 64) as u64 ^ u64::from(r.len));
    mix(u64::from(r.origin) << 1 | u64::from(v6)) ^ (of % of_origin.div_ceil(SHARE))
}

/// All UPDATEs, some hundred kilobytes at a time.
fn updates<'a>(
    feed: &'a Feed,
    routes: &'a [(&'a Route, bool)],
) -> impl Iterator<Item = Vec<u8>> + 'a {
    let mut sizes = std::collections::HashMap::<(u32, bool), u64>::new();
    for (r, v6) in routes {
        *sizes.entry((r.origin, *v6)).or_default() += 1;
    }
    let key = |(r, v6): &(&Route, bool)| (*v6, set(r, *v6, sizes[&(r.origin, *v6)]), r.origin);
    let mut all: Vec<_> = routes.iter().map(|x| (key(x), *x)).collect();
    all.sort_unstable();
    let mut out: Vec<Vec<u8>> = vec![Vec::new()];
    for same in all.chunk_by(|a, b| a.0 == b.0) {
        let ((v6, set, origin), _) = same[0];
        let attrs = attributes(feed, set, origin);
        let mut nlri = Vec::new();
        for (i, (_, (r, _))) in same.iter().enumerate() {
            prefix(r, v6, &mut nlri);
            // Room for one more, and for the MP_REACH_NLRI around it.
            if i + 1 == same.len() || HEADER + 64 + attrs.len() + nlri.len() > LONGEST - 20 {
                let m = update(feed, v6, &attrs, &std::mem::take(&mut nlri));
                match out.last_mut() {
                    Some(last) if last.len() < 256 << 10 => last.extend(m),
                    _ => out.push(m),
                }
            }
        }
    }
    out.into_iter()
}

/// ORIGIN, AS_PATH and COMMUNITIES (RFC 1997) of a set.
fn attributes(feed: &Feed, set: u64, origin: u32) -> Vec<u8> {
    let mut roll = mix(set) % 100;
    let len = LENGTHS.iter().position(|n| {
        let here = roll < *n;
        roll = roll.saturating_sub(*n);
        here
    });
    let mut path = vec![feed.asn];
    // Transit: numbers of private use (RFC 6996), always other ones than the origin's.
    let between =
        (0..len.unwrap_or(2) as u64).map(|i| 4_210_000_000 + (mix(set + i) % 9000) as u32);
    path.extend(between);
    path.push(origin);
    let mut a = vec![
        0x40,
        1,
        1,
        0,
        0x40,
        2,
        2 + 4 * path.len() as u8,
        2,
        path.len() as u8,
    ];
    a.extend(path.iter().flat_map(|n| n.to_be_bytes()));
    if mix(set ^ 1).is_multiple_of(2) {
        let n = 1 + mix(set ^ 2) % 4;
        a.extend([0xc0, 8, 4 * n as u8]);
        let values = (0..n).map(|i| 64_510 << 16 | (100 * i + mix(set ^ 3) % 100) as u32);
        a.extend(values.flat_map(u32::to_be_bytes));
    }
    a
}

fn prefix(r: &Route, v6: bool, out: &mut Vec<u8>) {
    let octets = usize::from(r.len.div_ceil(8));
    out.push(r.len);
    match v6 {
        false => out.extend(&(r.addr as u32).to_be_bytes()[..octets]),
        true => out.extend(&r.addr.to_be_bytes()[..octets]),
    }
}

fn update(feed: &Feed, v6: bool, attrs: &[u8], nlri: &[u8]) -> Vec<u8> {
    let mut all = attrs.to_vec();
    if v6 {
        all.extend([0x90, 14]);
        all.extend((5 + 16 + nlri.len() as u16).to_be_bytes());
        all.extend([0, 2, 1, 16]);
        all.extend(feed.local6.octets());
        all.push(0);
        all.extend(nlri);
    } else {
        all.extend([0x40, 3, 4]);
        all.extend(feed.local.octets());
    }
    let mut body = vec![0, 0];
    body.extend((all.len() as u16).to_be_bytes());
    body.extend(&all);
    if !v6 {
        body.extend(nlri);
    }
    message(2, &body)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::table;

    fn feed() -> Feed {
        Feed {
            asn: 64_510,
            local: Ipv4Addr::new(198, 18, 0, 1),
            local6: Ipv6Addr::LOCALHOST,
            peer: IpAddr::from([198, 18, 0, 2]),
            v4: table::ipv4(1, 20_000),
            v6: table::ipv6(1, 5_000),
        }
    }

    /// All of a feed comes out once, in messages that are not too long, in about as many sets as real feeds have.
    #[test]
    fn a_feed_is_whole_and_shared_as_real_ones_are() {
        let f = feed();
        let routes: Vec<_> = (f.v4.iter().map(|r| (r, false)))
            .chain(f.v6.iter().map(|r| (r, true)))
            .collect();
        let (mut found, mut sets) = (HashSet::new(), HashSet::new());
        for bytes in updates(&f, &routes) {
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let len = usize::from(u16::from_be_bytes([rest[16], rest[17]]));
                assert!(len <= LONGEST && rest[18] == 2, "{len}");
                let body = &rest[HEADER..len];
                let attrs = usize::from(u16::from_be_bytes([body[2], body[3]]));
                let (attrs, mut nlri) = body[4..].split_at(attrs);
                let v6 = nlri.is_empty();
                let (mut at, mut shared) = (0, attrs);
                while at < attrs.len() {
                    let long = attrs[at] & 0x10 != 0;
                    let header = if long { 4 } else { 3 };
                    let len = match long {
                        true => usize::from(u16::from_be_bytes([attrs[at + 2], attrs[at + 3]])),
                        false => usize::from(attrs[at + 2]),
                    };
                    if attrs[at + 1] == 14 {
                        (shared, nlri) = (&attrs[..at], &attrs[at + header + 5 + 16..]);
                    }
                    at += header + len;
                }
                assert_eq!(at, attrs.len());
                sets.insert(shared.to_vec());
                while let [len, more @ ..] = nlri {
                    let (octets, more) = more.split_at(usize::from(len.div_ceil(8)));
                    let mut addr = [0; 16];
                    addr[..octets.len()].copy_from_slice(octets);
                    let addr = u128::from_be_bytes(addr) >> if v6 { 0 } else { 96 };
                    assert!(found.insert((v6, addr, *len)), "twice: {addr:x}/{len}");
                    nlri = more;
                }
                rest = &rest[len..];
            }
        }
        let all = routes.iter().map(|(r, v6)| (*v6, r.addr, r.len)).collect();
        assert_eq!(found, all);
        let share = sets.len() as f64 / found.len() as f64;
        assert!((0.1..0.6).contains(&share), "{share}");
    }
}
