//! What a bad link does to frames, without a link: frames and time in, frames out when they are due. Read RFC 8085 3.1.1 and
//! netem(8) for what links do; the kernels this is tested on have no netem.
//!
//! In this order: the cut, loss, corruption, duplication, the rate with its queue, delay and jitter, reordering. Chance is
//! seeded. Jitter alone never changes the order. Left out: loss in bursts.

use std::collections::VecDeque;
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// So many bytes wait where the rate is limited; what comes then is lost.
const QUEUE: u64 = 64 << 10;
/// A frame that is held back to come late waits for others no longer than this.
const PATIENCE: Duration = Duration::from_millis(20);
/// The Ethernet header stays whole, so that a corrupt frame still gets where it is to be thrown away.
const HEADER: usize = 14;

/// What is wrong with a link; the default is nothing.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Faults {
    /// Of a hundred frames so many are lost.
    pub loss: f64,
    /// Of a hundred frames so many have a wrong bit.
    pub corrupt: f64,
    /// Of a hundred frames so many come twice.
    pub duplicate: f64,
    /// Of a hundred frames so many come after up to three that were behind them.
    pub reorder: f64,
    /// Every frame takes so long.
    pub delay: Duration,
    /// And up to so much longer, by chance.
    pub jitter: Duration,
    /// Bits a second; 0: as many as come.
    pub rate: u64,
    /// Nothing passes, and neither end sees why.
    pub cut: bool,
}

impl Faults {
    /// One that takes time.
    #[must_use]
    pub fn delay(ms: u64) -> Self {
        Self {
            delay: Duration::from_millis(ms),
            ..Self::default()
        }
    }

    /// Through which nothing comes.
    #[must_use]
    pub fn cut() -> Self {
        Self {
            cut: true,
            ..Self::default()
        }
    }

    /// Sets one of them by its name.
    ///
    /// # Errors
    /// When there is none of that name, or the value is out of its range.
    pub fn set(&mut self, key: &str, value: f64) -> Result<()> {
        let percent = || -> Result<f64> {
            ensure!(
                (0.0..=100.0).contains(&value),
                "{key} = {value}: it is percent, 0 to 100"
            );
            Ok(value)
        };
        let ms = || -> Result<Duration> {
            ensure!(
                (0.0..=60_000.0).contains(&value),
                "{key} = {value}: it is milliseconds, 0 to 60000"
            );
            Ok(Duration::from_secs_f64(value / 1e3))
        };
        match key {
            "loss" => self.loss = percent()?,
            "corrupt" => self.corrupt = percent()?,
            "duplicate" => self.duplicate = percent()?,
            "reorder" => self.reorder = percent()?,
            "delay-ms" => self.delay = ms()?,
            "jitter-ms" => self.jitter = ms()?,
            "rate-kbit" => {
                ensure!(
                    (1.0..=1e7).contains(&value),
                    "{key} = {value}: it is kbit/s, 1 to 10000000"
                );
                self.rate = (value * 1e3) as u64;
            }
            "cut" => {
                ensure!(
                    value == 0.0 || value == 1.0,
                    "{key} = {value}: it is 0 or 1"
                );
                self.cut = value == 1.0;
            }
            _ => bail!(
                "a link has no fault \"{key}\": there are loss, corrupt, duplicate, reorder (percent), delay-ms, jitter-ms, rate-kbit and cut"
            ),
        }
        Ok(())
    }
}

impl FromStr for Faults {
    type Err = anyhow::Error;

    /// `loss=1.5 delay-ms=20`, `cut=1`; nothing at all is a good link.
    fn from_str(s: &str) -> Result<Self> {
        let mut faults = Self::default();
        for word in s.split_whitespace() {
            let parts = word
                .split_once('=')
                .and_then(|(k, v)| Some((k, v.parse().ok()?)));
            let Some((key, value)) = parts else {
                bail!("`{word}`: a fault is a name and a number, such as loss=1.5");
            };
            faults.set(key, value)?;
        }
        Ok(faults)
    }
}

impl std::fmt::Display for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = |d: Duration| d.as_secs_f64() * 1e3;
        let all = [
            ("loss", self.loss),
            ("corrupt", self.corrupt),
            ("duplicate", self.duplicate),
            ("reorder", self.reorder),
            ("delay-ms", ms(self.delay)),
            ("jitter-ms", ms(self.jitter)),
            ("rate-kbit", self.rate as f64 / 1e3),
            ("cut", f64::from(u8::from(self.cut))),
        ];
        let there = all.iter().filter(|(_, v)| *v != 0.0);
        let words: Vec<String> = there.map(|(k, v)| format!("{k}={v}")).collect();
        f.write_str(&words.join(" "))
    }
}

/// What became of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Came in.
    pub came: u64,
    /// Lost by chance.
    pub lost: u64,
    /// Lost by the cut.
    pub cut: u64,
    /// Lost because the queue before the rate was full.
    pub full: u64,
    /// Changed.
    pub corrupted: u64,
    /// Sent twice.
    pub duplicated: u64,
    /// Held back behind others.
    pub reordered: u64,
    /// Left.
    pub sent: u64,
}

/// A frame that was held back.
#[derive(Debug)]
struct Held {
    frame: Vec<u8>,
    /// Behind so many more.
    behind: u32,
    until: Instant,
}

/// One direction of a link.
#[derive(Debug)]
pub struct Line {
    faults: Faults,
    chance: ChaCha8Rng,
    /// In the order in which they leave.
    coming: VecDeque<(Instant, Vec<u8>)>,
    held: Vec<Held>,
    /// When the rate lets the next frame begin.
    free: Option<Instant>,
    /// What has happened.
    pub tally: Tally,
}

impl Line {
    /// A line; the same seed is the same chance.
    #[must_use]
    pub fn new(faults: Faults, seed: u64) -> Self {
        Self {
            faults,
            chance: ChaCha8Rng::seed_from_u64(seed),
            coming: VecDeque::new(),
            held: Vec::new(),
            free: None,
            tally: Tally::default(),
        }
    }

    /// Other faults, for frames that come from now on; a cut takes what is on its way, too.
    pub fn set(&mut self, faults: Faults) {
        self.faults = faults;
        if faults.cut {
            self.tally.cut += (self.coming.len() + self.held.len()) as u64;
            self.coming.clear();
            self.held.clear();
        }
    }

    fn happens(&mut self, percent: f64) -> bool {
        percent > 0.0 && self.chance.random_range(0.0..100.0) < percent
    }

    /// A frame comes in.
    pub fn offer(&mut self, now: Instant, mut frame: Vec<u8>) {
        let f = self.faults;
        self.tally.came += 1;
        if f.cut {
            self.tally.cut += 1;
            return;
        }
        if self.happens(f.loss) {
            self.tally.lost += 1;
            return;
        }
        if self.happens(f.corrupt) && frame.len() > HEADER {
            let at = self.chance.random_range(HEADER..frame.len());
            frame[at] ^= 1 << self.chance.random_range(0..8);
            self.tally.corrupted += 1;
        }
        if self.happens(f.duplicate) {
            self.tally.duplicated += 1;
            self.queue(now, frame.clone());
        }
        self.queue(now, frame);
    }

    /// Rate and delay.
    fn queue(&mut self, now: Instant, frame: Vec<u8>) {
        let f = self.faults;
        let mut due = now;
        if f.rate > 0 {
            let begin = self.free.map_or(now, |free| free.max(now));
            let waiting = (begin - now).as_secs_f64() * f.rate as f64 / 8.0;
            if waiting as u64 + frame.len() as u64 > QUEUE {
                self.tally.full += 1;
                return;
            }
            due = begin + Duration::from_secs_f64(frame.len() as f64 * 8.0 / f.rate as f64);
            self.free = Some(due);
        }
        due += f.delay;
        if !f.jitter.is_zero() {
            due += f.jitter.mul_f64(self.chance.random_range(0.0..1.0));
        }
        let last = self.coming.back().map_or(due, |c| c.0);
        self.coming.push_back((due.max(last), frame));
    }

    /// When to ask for frames next; `None`: when one has come in.
    #[must_use]
    pub fn next_at(&self) -> Option<Instant> {
        let held = self.held.iter().map(|h| h.until);
        held.chain(self.coming.front().map(|c| c.0)).min()
    }

    /// The frames that leave now.
    pub fn due(&mut self, now: Instant) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        while self.coming.front().is_some_and(|c| c.0 <= now) {
            let Some((_, frame)) = self.coming.pop_front() else {
                break;
            };
            if self.happens(self.faults.reorder) {
                self.tally.reordered += 1;
                let behind = self.chance.random_range(1..=3);
                let until = now + PATIENCE;
                self.held.push(Held {
                    frame,
                    behind,
                    until,
                });
                continue;
            }
            out.push(frame);
            for h in &mut self.held {
                h.behind -= 1;
            }
            self.release(|h| h.behind == 0, &mut out);
        }
        self.release(|h| h.until <= now, &mut out);
        self.tally.sent += out.len() as u64;
        out
    }

    fn release(&mut self, ready: impl Fn(&Held) -> bool, out: &mut Vec<Vec<u8>>) {
        let (go, stay) = std::mem::take(&mut self.held).into_iter().partition(ready);
        self.held = stay;
        let go: Vec<Held> = go;
        out.extend(go.into_iter().map(|h| h.frame));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(n: u16) -> Vec<u8> {
        let mut f = vec![0; 100];
        f[20..22].copy_from_slice(&n.to_be_bytes());
        f
    }

    fn number(f: &[u8]) -> u16 {
        u16::from_be_bytes([f[20], f[21]])
    }

    /// A thousand frames, a millisecond apart, and when each came out.
    fn thousand(faults: Faults, seed: u64) -> (Line, Vec<(Duration, Vec<u8>)>) {
        let start = Instant::now();
        let (mut line, mut out) = (Line::new(faults, seed), Vec::new());
        let ms = Duration::from_millis(1);
        for n in 0..3000_u32 {
            let now = start + n * ms;
            if n < 1000 {
                line.offer(now, frame(n as u16));
            }
            while line.next_at().is_some_and(|at| at <= now) {
                out.extend(line.due(now).into_iter().map(|f| (now - start, f)));
            }
        }
        (line, out)
    }

    fn numbers(out: &[(Duration, Vec<u8>)]) -> Vec<u16> {
        out.iter().map(|(_, f)| number(f)).collect()
    }

    #[test]
    fn a_good_line_changes_nothing() {
        let (line, out) = thousand(Faults::default(), 1);
        assert_eq!(numbers(&out), (0..1000).collect::<Vec<_>>());
        assert!(
            out.iter()
                .enumerate()
                .all(|(n, (at, f))| at.as_millis() == n as u128 && *f == frame(n as u16))
        );
        assert_eq!(line.tally.sent, 1000);
    }

    #[test]
    fn loss_is_about_as_said_and_the_same_for_a_seed() {
        let faults = "loss=10".parse().unwrap();
        let (line, one) = thousand(faults, 1);
        assert!((60..150).contains(&line.tally.lost), "{:?}", line.tally);
        assert_eq!(one.len() as u64 + line.tally.lost, 1000);
        assert_eq!(numbers(&one), numbers(&thousand(faults, 1).1));
        assert_ne!(numbers(&one), numbers(&thousand(faults, 2).1));
        assert!(thousand("loss=100".parse().unwrap(), 1).1.is_empty());
    }

    #[test]
    fn delay_and_jitter_keep_the_order() {
        let (_, out) = thousand("delay-ms=20 jitter-ms=30".parse().unwrap(), 1);
        assert_eq!(numbers(&out), (0..1000).collect::<Vec<_>>());
        let took: Vec<u128> = (out.iter().enumerate())
            .map(|(n, (at, _))| at.as_millis() - n as u128)
            .collect();
        assert!(took.iter().all(|t| (20..=51).contains(t)), "{took:?}");
        assert!(took.iter().any(|t| *t > 40), "{took:?}");
    }

    #[test]
    fn reordered_frames_come_late_and_whole() {
        let (line, out) = thousand("reorder=10".parse().unwrap(), 1);
        let came = numbers(&out);
        assert!(line.tally.reordered > 50);
        assert!(came.windows(2).any(|w| w[0] > w[1]));
        let mut sorted = came.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..1000).collect::<Vec<_>>());
        // The last one waits for nobody for ever.
        let mut line = Line::new("reorder=100".parse().unwrap(), 1);
        let now = Instant::now();
        line.offer(now, frame(1));
        assert!(line.due(now).is_empty());
        assert_eq!(line.next_at(), Some(now + PATIENCE));
        assert_eq!(line.due(now + PATIENCE).len(), 1);
    }

    #[test]
    fn duplicates_and_wrong_bits() {
        let (line, out) = thousand("duplicate=20".parse().unwrap(), 1);
        assert_eq!(out.len() as u64, 1000 + line.tally.duplicated);
        assert!(line.tally.duplicated > 100);
        let (line, out) = thousand("corrupt=20".parse().unwrap(), 1);
        let wrong = |(n, (_, f)): (usize, &(Duration, Vec<u8>))| *f != frame(n as u16);
        let wrong = out.iter().enumerate().filter(|o| wrong(*o)).count() as u64;
        assert_eq!(wrong, line.tally.corrupted);
        assert!(out.iter().all(|(_, f)| f[..HEADER] == [0; HEADER]));
    }

    #[test]
    fn a_rate_has_a_queue_with_an_end() {
        // 100 bytes a millisecond are 800 kbit/s; half of that fits.
        let (line, out) = thousand("rate-kbit=400".parse().unwrap(), 1);
        assert_eq!(line.tally.full, 0, "50,000 bytes fit into the queue");
        let last = out.last().unwrap().0;
        assert!((1990..2010).contains(&last.as_millis()), "{last:?}");
        let (line, out) = thousand("rate-kbit=80".parse().unwrap(), 1);
        assert!(line.tally.full > 100, "{:?}", line.tally);
        let till = out.iter().filter(|o| o.0.as_millis() < 1000).count();
        assert!(
            (95..=101).contains(&till),
            "{till} of 100 in the first second"
        );
    }

    #[test]
    fn a_cut_takes_what_is_on_its_way() {
        let now = Instant::now();
        let mut line = Line::new(Faults::delay(5), 1);
        line.offer(now, frame(1));
        line.set(Faults::cut());
        line.offer(now, frame(2));
        assert!(line.due(now + Duration::from_secs(1)).is_empty());
        assert_eq!(line.tally.cut, 2);
        line.set(Faults::default());
        line.offer(now, frame(3));
        assert_eq!(
            numbers(
                &line
                    .due(now)
                    .into_iter()
                    .map(|f| (Duration::ZERO, f))
                    .collect::<Vec<_>>()
            ),
            [3]
        );
    }

    #[test]
    fn words_and_back() {
        let text = "loss=1.5 reorder=25 delay-ms=20 jitter-ms=0.5 rate-kbit=1000";
        assert_eq!(text.parse::<Faults>().unwrap().to_string(), text);
        assert_eq!("".parse::<Faults>().unwrap(), Faults::default());
        for (bad, why) in [
            ("loss=101", "percent, 0 to 100"),
            ("lost=1", "no fault \"lost\": there are loss"),
            ("loss", "a name and a number"),
            ("rate-kbit=0", "kbit/s"),
            ("cut=2", "0 or 1"),
        ] {
            let e = bad.parse::<Faults>().unwrap_err().to_string();
            assert!(e.contains(why), "{bad}: {e}");
        }
    }
}
