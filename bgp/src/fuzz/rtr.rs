//! A cache of the RPKI that says anything: RFC 8210 5 to 8.

use std::time::{Duration, Instant};

use crate::rpki::{CacheId, Client, Event, Output, Pdu, RoaTable, Settings};

/// Octets as a source of choices; zeroes when they are used up.
struct Program<'a>(&'a [u8]);

impl<'a> Program<'a> {
    fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    fn take(&mut self, n: usize) -> &'a [u8] {
        let (head, rest) = self.0.split_at(n.min(self.0.len()));
        self.0 = rest;
        head
    }
}

/// What a test holds in its hands: the client, the table, and whether there is a connection.
struct Bed {
    client: Client,
    table: RoaTable,
    now: Instant,
    asked: bool,
    connected: bool,
    most: u64,
}

/// Reads `data` as PDUs, and as a program: what a cache sends, when it hangs up, how time passes. Returns how many records it
/// had the table hold at most. Panics only when one of our own promises is broken.
pub fn rtr(data: &[u8]) -> u64 {
    pdus(data);
    let now = Instant::now();
    let cache = CacheId::new(0).expect("the first of eight");
    let mut bed = Bed {
        client: Client::new(cache, Settings::default(), now),
        table: RoaTable::new(),
        now,
        asked: false,
        connected: false,
        most: 0,
    };
    let mut p = Program(data);
    bed.event(Event::Tick);
    while !p.0.is_empty() {
        bed.step(&mut p);
        bed.most = bed.most.max(bed.table.len() as u64);
    }
    bed.event(Event::Stop);
    assert!(bed.table.is_empty(), "it ends, and its records stay");
    assert_eq!(bed.client.poll_at(), None);
    bed.most
}

/// PDUs behind each other: what is read is written, and read again.
fn pdus(mut data: &[u8]) {
    while let Ok(Some((version, pdu, len))) = Pdu::decode(data) {
        assert!(len >= 8 && len <= data.len());
        let mut out = Vec::new();
        pdu.encode(version, &mut out);
        // What is in a router key is let go.
        if pdu != Pdu::RouterKey {
            let again = Pdu::decode(&out).expect("what we send is right");
            assert_eq!(again, Some((version, pdu, out.len())));
        }
        data = &data[len..];
    }
}

impl Bed {
    fn step(&mut self, p: &mut Program<'_>) {
        match p.byte() % 8 {
            0 if self.connected => {
                self.connected = false;
                self.event(Event::Closed("reset"));
            }
            1 => {
                self.now += Duration::from_secs(u64::from(p.byte()) * 41);
                self.due();
            }
            2 if self.connected => {
                let n = p.byte().into();
                self.event(Event::Received(p.take(n)));
            }
            3 if self.asked => {
                self.asked = false;
                self.event(Event::Closed("refused"));
            }
            _ if self.asked => {
                (self.asked, self.connected) = (false, true);
                self.event(Event::Connected);
            }
            _ if self.connected => {
                let octets = pdu(p);
                self.event(Event::Received(&octets));
            }
            _ => {
                self.now += Duration::from_secs(601);
                self.due();
            }
        }
    }

    /// Timers expire, and do not come back at once.
    fn due(&mut self) {
        if self.client.poll_at().is_some_and(|at| at <= self.now) {
            self.event(Event::Tick);
            let next = self.client.poll_at();
            assert!(next.is_none_or(|at| at > self.now), "a timer that stays");
        }
    }

    fn event(&mut self, event: Event<'_>) {
        let mut out = Vec::new();
        self.client
            .handle(self.now, event, &mut self.table, &mut out);
        for o in out {
            match o {
                Output::Connect => {
                    assert!(!self.connected && !self.asked, "two connections at once");
                    self.asked = true;
                }
                Output::Close => (self.asked, self.connected) = (false, false),
                Output::Send(octets) => {
                    assert!(self.connected, "sent to nobody");
                    assert!(matches!(Pdu::decode(&octets), Ok(Some(_))));
                }
                Output::Log(text) => assert!(!text.is_empty()),
                Output::Changed(_) => {}
            }
        }
    }
}

/// A PDU that is mostly right: its kind, its version, its session from few, its body from the program.
fn pdu(p: &mut Program<'_>) -> Vec<u8> {
    // Those that lead on are more than the others.
    const KINDS: [u8; 16] = [3, 3, 4, 4, 4, 6, 6, 7, 7, 7, 0, 1, 8, 9, 10, 11];
    let (kind, how) = (KINDS[usize::from(p.byte() % 16)], p.byte());
    let version = u8::from(how < 0xf0);
    let body = match kind {
        0 | 1 => 4,
        4 => 12,
        6 => 24,
        7 if version == 0 => 4,
        7 => 16,
        9 => 24,
        10 => 8,
        _ => 0,
    };
    let mut octets = vec![version, kind, 0, u8::from(how & 15 == 15)];
    octets.extend((8 + body as u32).to_be_bytes());
    octets.extend(p.take(body));
    octets.resize(8 + body, 0);
    if kind == 4 || kind == 6 {
        // Few records, so that they come again: announced or withdrawn, a /16 or /32 of one octet.
        let (len, most) = if kind == 4 { (16, 24) } else { (32, 48) };
        octets[8] &= 1;
        octets[9] = len;
        octets[10] = most;
        let end = octets.len() - 4;
        octets[13..end].fill(0);
    }
    octets
}
