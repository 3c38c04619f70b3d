//! The peer that everything is announced to: it mirrors whose path it was given for each prefix, and knows when all are right.

use std::collections::HashMap;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use net::Ip4Prefix;

use super::feed::{self, Feed};
use super::wire::{Got, NOTIFICATION, Nlri, Reader, UPDATE, Update};

/// Nobody's.
const NONE: u8 = u8::MAX;

/// What was received, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// UPDATEs that announced something.
    pub messages: u64,
    /// Prefixes announced.
    pub announced: u64,
    /// Prefixes withdrawn.
    pub withdrawn: u64,
    /// Prefixes with attributes that nobody announced for them.
    pub strange: u64,
}

/// Who announces a set with which path.
#[derive(Debug, Clone, Copy)]
struct Known {
    set: u32,
    peer: u8,
}

/// What the sink holds.
#[derive(Debug)]
pub struct Mirror {
    /// Paths and communities, and what they are of.
    known: HashMap<u64, Known>,
    /// By set, its prefixes.
    ranges: Vec<(u32, u32)>,
    prefixes: Vec<Ip4Prefix>,
    /// Where a withdrawn prefix is; made when the first one comes.
    index: HashMap<Ip4Prefix, u32>,
    /// By prefix, whose path it has.
    held: Vec<u8>,
    /// By prefix, whose it should have.
    want: Vec<u8>,
    right: usize,
    /// What has come.
    pub counts: Counts,
    /// The AS of the device, which is first in every path but those that a relay passes on.
    device: u32,
}

impl Mirror {
    /// Nothing yet, of `peers` peers; `best` says who wins a set.
    pub fn new(feed: &Feed, peers: usize, device: u32, best: impl Fn(usize) -> usize) -> Self {
        let mut known = HashMap::new();
        let mut want = vec![NONE; feed.prefixes.len()];
        for (set, s) in feed.sets.iter().enumerate() {
            let winner = best(set);
            want[s.first as usize..s.end as usize].fill(winner as u8);
            for peer in 0..peers {
                let path = feed.path(set, peer, winner);
                let id = feed::identity(path.into_iter(), &s.communities);
                let of = Known {
                    set: set as u32,
                    peer: peer as u8,
                };
                assert!(known.insert(id, of).is_none(), "two sets look alike");
            }
        }
        Self {
            known,
            ranges: feed.sets.iter().map(|s| (s.first, s.end)).collect(),
            prefixes: feed.prefixes.clone(),
            index: HashMap::new(),
            held: vec![NONE; want.len()],
            want,
            right: 0,
            counts: Counts::default(),
            device,
        }
    }

    /// From now on, the paths of this peer are right.
    pub fn want_all_of(&mut self, peer: usize) {
        self.want.fill(peer as u8);
        let pairs = self.held.iter().zip(&self.want);
        self.right = pairs.filter(|(h, w)| h == w).count();
    }

    /// Whether it holds the right path for every prefix.
    pub fn complete(&self) -> bool {
        self.right == self.want.len()
    }

    /// How many are right, of how many.
    pub fn progress(&self) -> (usize, usize) {
        (self.right, self.want.len())
    }

    fn hold(&mut self, at: usize, whose: u8) {
        let want = self.want[at];
        self.right += usize::from(whose == want);
        self.right -= usize::from(self.held[at] == want);
        self.held[at] = whose;
    }

    /// Takes an UPDATE.
    ///
    /// # Errors
    /// It can't be taken apart.
    pub fn update(&mut self, body: &[u8]) -> Result<()> {
        let u = Update::parse(body).context("an UPDATE with wrong lengths")?;
        if !u.withdrawn.is_empty() {
            self.withdraw(u.withdrawn);
        }
        if u.nlri.is_empty() {
            return Ok(());
        }
        self.counts.messages += 1;
        let device = self.device;
        let mut path = u.path().peekable();
        path.next_if_eq(&device);
        let mut communities = [0; 16];
        let mut n = 0;
        for (slot, c) in communities.iter_mut().zip(u.communities()) {
            *slot = c;
            n += 1;
        }
        let id = feed::identity(path, &communities[..n]);
        let known = self.known.get(&id).copied();
        for p in Nlri(u.nlri) {
            self.counts.announced += 1;
            let place = known.and_then(|k| {
                let (first, end) = self.ranges[k.set as usize];
                let set = &self.prefixes[first as usize..end as usize];
                let at = if set.len() < 12 {
                    set.iter().position(|q| *q == p)
                } else {
                    set.binary_search(&p).ok()
                };
                Some((at? + first as usize, k.peer))
            });
            match place {
                Some((at, peer)) => self.hold(at, peer),
                None => self.counts.strange += 1,
            }
        }
        Ok(())
    }

    fn withdraw(&mut self, nlri: &[u8]) {
        if self.index.is_empty() {
            let all = self.prefixes.iter().zip(0..);
            self.index = all.map(|(p, i)| (*p, i)).collect();
        }
        for p in Nlri(nlri) {
            self.counts.withdrawn += 1;
            match self.index.get(&p) {
                Some(&at) => self.hold(at as usize, NONE),
                None => self.counts.strange += 1,
            }
        }
    }
}

/// The sink's session.
#[derive(Debug)]
pub struct Sink {
    /// Its connection.
    pub stream: TcpStream,
    /// What was read of it.
    pub reader: Reader,
}

impl Sink {
    /// Reads until `mirror` is complete; returns when that was.
    ///
    /// # Errors
    /// The session ends, or time is up.
    pub fn until_complete(&mut self, mirror: &mut Mirror, within: Duration) -> Result<Instant> {
        let end = Instant::now() + within;
        self.stream
            .set_read_timeout(Some(Duration::from_millis(200)))?;
        loop {
            while let Some((kind, body)) = self.reader.message()? {
                match kind {
                    UPDATE => mirror.update(body)?,
                    NOTIFICATION => bail!("the device sent the sink a NOTIFICATION: {body:?}"),
                    _ => {}
                }
                if mirror.complete() {
                    return Ok(Instant::now());
                }
            }
            let (right, of) = mirror.progress();
            ensure!(
                Instant::now() < end,
                "only {right} of {of} prefixes are right at the sink after {within:?}; {:?}",
                mirror.counts
            );
            if self.reader.fill(&mut self.stream)? == Got::End {
                bail!("the device closed the sink's session; {right} of {of} prefixes were right");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bgp::wire::{self, HEADER};
    use crate::table;

    fn feed_into(m: &mut Mirror, stream: &[u8]) {
        let mut at = stream;
        while !at.is_empty() {
            let len = usize::from(u16::from_be_bytes([at[16], at[17]]));
            m.update(&at[HEADER..len]).unwrap();
            at = &at[len..];
        }
    }

    #[test]
    fn it_is_complete_with_the_winners_and_not_before() {
        let feed = Feed::of(&table::ipv4(1, 3_000), 2_000, 1);
        let best = |s: usize| feed.winner(s, 3);
        let mut m = Mirror::new(&feed, 3, 64500, best);
        let all: Vec<Vec<u8>> = (0..3)
            .map(|p| feed.encode(p, [192, 0, 2, 1].into(), best))
            .collect();
        feed_into(&mut m, &all[0]);
        let (right, of) = m.progress();
        assert!(right > 0 && right < of && of == 2_000, "{right}");
        feed_into(&mut m, &all[1]);
        feed_into(&mut m, &all[2]);
        // The last one overwrote what others had won.
        assert!(!m.complete());
        feed_into(&mut m, &all[0]);
        m.want_all_of(0);
        assert!(m.complete());
        assert_eq!(m.counts.strange, 0);
        // One prefix is taken back, and given with another's path.
        let p = feed.prefixes[7];
        let octets = usize::from(p.len()).div_ceil(8);
        let mut nlri = vec![p.len()];
        nlri.extend(&p.addr().to_be_bytes()[..octets]);
        let mut body = (nlri.len() as u16).to_be_bytes().to_vec();
        body.extend(&nlri);
        body.extend([0, 0]);
        m.update(&body).unwrap();
        assert_eq!(m.progress(), (1_999, 2_000));
        let attrs = wire::attributes(&[64500, 1, 2], [10, 0, 0, 1].into(), &[]);
        let mut odd = Vec::new();
        wire::updates(&mut odd, &attrs, &[p]);
        feed_into(&mut m, &odd);
        assert_eq!((m.progress(), m.counts.strange), ((1_999, 2_000), 1));
    }
}
