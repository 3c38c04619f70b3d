//! One door to every decoder, for fuzzers: `cargo fuzz` targets call it (bgp/ldp/fuzz), and a short seeded run with mutations
//! is an ordinary test below.

use crate::oam::respond::{Entry, Received, Router, Way, respond};
use crate::oam::{Echo, FecElement, Hop, PathLabel};
use crate::types::Label;
use crate::wire::{DEFAULT_MAX, Message, Pdu, Pdus};

/// Reads `data` as PDUs, as long as they are right; what is understood is written and read again. Panics only when one of
/// our own promises is broken. Returns how many messages were understood.
pub fn pdus(mut data: &[u8]) -> usize {
    let mut found = 0;
    while let Ok(Some(pdu)) = Pdu::parse(data, DEFAULT_MAX) {
        for m in pdu.messages() {
            match m {
                Ok(m) => {
                    again(&pdu, &m);
                    found += 1;
                }
                Err(e) => assert!(e.status.code() > 0 && !e.to_string().is_empty()),
            }
        }
        data = data.get(pdu.octets..).unwrap_or_default();
    }
    found
}

/// What is sent is what was understood.
fn again(pdu: &Pdu<'_>, m: &Message) {
    let mut out = Pdus::new(pdu.id, u16::MAX);
    out.push(m).expect("what came in a PDU fits one");
    let octets = out.finish();
    let read = Pdu::parse(&octets, u16::MAX).expect("what we send is right");
    let read: Vec<_> = read.expect("all of it").messages().collect();
    assert_eq!(read, [Ok(m.clone())]);
}

/// Reads `data` as LSP ping; what is understood is written and read again. Returns whether it was.
pub fn echo(data: &[u8]) -> bool {
    // What is sent is padded; no datagram comes near where that would not fit.
    let data = data.get(..60_000).unwrap_or(data);
    let Ok(e) = Echo::parse(data) else {
        return false;
    };
    let mut octets = vec![];
    e.emit(&mut octets);
    assert_eq!(Echo::parse(&octets), Ok(e));
    true
}

/// A router of which chance says what it has: octets, each asked for again and again.
struct Chance<'a>(&'a [u8]);

impl Chance<'_> {
    fn of(&self, n: u32) -> u8 {
        let at = usize::try_from(n).unwrap_or(0) % self.0.len().max(1);
        self.0.get(at).copied().unwrap_or(0)
    }
}

impl Router for Chance<'_> {
    fn entry(&self, label: Label) -> Entry {
        assert!(label.get() > 15, "the reserved ones have their meaning");
        let to = PathLabel {
            label,
            rest: 0,
            protocol: 1,
        };
        let way = Way {
            mtu: 1500,
            hop: self.came_in(),
            mpls: !label.get().is_multiple_of(5),
            labels: vec![to],
        };
        match self.of(label.get()) {
            n @ 0..40 => Entry::Switch(vec![way; usize::from(n) % 12]),
            40..160 => Entry::Pop,
            _ => Entry::Unknown,
        }
    }

    fn mapping(&self, _: &FecElement, given: Label) -> Option<Label> {
        match self.of(given.get()) {
            0..100 => Some(given),
            100..130 => Some(Label::IMPLICIT_NULL),
            130..160 => Label::new(given.get() / 2),
            _ => None,
        }
    }

    fn tells(&self, _: &FecElement) -> bool {
        self.of(1) < 200
    }

    fn is_own(&self, _: std::net::IpAddr) -> bool {
        self.of(2) < 128
    }

    fn is_here(&self, _: std::net::IpAddr) -> bool {
        self.of(3) < 128
    }

    fn came_in(&self) -> Hop {
        Hop::V4([192, 0, 2, 1].into(), [10, 0, 0, 1].into())
    }
}

/// The longest a reply may be beyond its request: it is not to be worth forging requests for.
const LONGER: usize = 900;

/// Reads `data` as an echo request that came to a router: four octets of it, then a label stack of up to 16 entries, then the
/// datagram. Whatever it is, the answer can be read, is one, and is hardly longer. Returns whether there was one.
pub fn answered(data: &[u8]) -> bool {
    let (tables, rest) = data.split_at(data.len().min(4));
    let depth = usize::from(tables.first().copied().unwrap_or(0)) % 17;
    let (stack, octets) = rest.split_at(rest.len().min(depth * 4));
    let octets = octets.get(..60_000).unwrap_or(octets);
    let stack = stack.as_chunks().0.iter().map(|e| u32::from_be_bytes(*e));
    let received = Received {
        stack: stack.collect(),
        at: 1,
    };
    let Some(a) = respond(&Chance(tables), octets, &received) else {
        return false;
    };
    let mut out = vec![];
    a.echo.emit(&mut out);
    assert!(out.len() <= octets.len() + LONGER, "{} octets", out.len());
    assert_eq!(Echo::parse(&out), Ok(a.echo));
    assert_eq!(respond(&Chance(tables), &out, &received), None);
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::tests::{body, id};
    use proptest::strategy::{Strategy, ValueTree};
    use proptest::test_runner::TestRunner;

    /// PDUs of right messages, a few octets of which chance has changed: the same each time.
    #[test]
    fn a_seeded_run_with_mutations() {
        let mut seed = 7u64;
        let mut below = move |n: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            usize::try_from(seed >> 33).unwrap() % n
        };
        let mut runner = TestRunner::deterministic();
        let (mut whole, mut changed) = (0, 0);
        for n in 0..4000 {
            let mut out = Pdus::new(id(), DEFAULT_MAX);
            for k in 0..3 {
                let body = body().new_tree(&mut runner).unwrap().current();
                out.push(&Message {
                    id: n * 3 + k,
                    body,
                })
                .unwrap();
            }
            let right = out.finish();
            whole += pdus(&right);
            for _ in 0..20 {
                let mut octets = right.clone();
                for _ in 0..=below(3) {
                    let at = below(octets.len());
                    octets[at] = [0, 1, 0xff, 0x80, 4, 5][below(6)];
                }
                octets.truncate(octets.len() - below(8) / 6);
                changed += pdus(&octets);
            }
        }
        assert_eq!(whole, 12_000);
        assert!(
            changed > 50_000,
            "only {changed} of the changed messages were understood"
        );
    }

    /// The same for LSP ping, as a codec and as who answers.
    #[test]
    fn a_seeded_run_over_echoes() {
        let mut seed = 9u64;
        let mut below = move |n: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            usize::try_from(seed >> 33).unwrap() % n
        };
        let mut runner = TestRunner::deterministic();
        let (mut changed, mut replies) = (0, 0);
        for _ in 0..4000 {
            let right = crate::oam::tests::echo()
                .new_tree(&mut runner)
                .unwrap()
                .current();
            let mut octets = vec![];
            right.emit(&mut octets);
            assert!(echo(&octets));
            for _ in 0..20 {
                let mut octets = octets.clone();
                let at = below(octets.len());
                octets[at] = [0, 1, 2, 0xff, 0x80, 4][below(6)];
                octets.truncate(octets.len() - below(8) / 6);
                changed += usize::from(echo(&octets));
                let mut came: Vec<u8> = (0..24).map(|_| below(256) as u8).collect();
                came[0] = below(6) as u8;
                came.truncate(4 + 4 * usize::from(came[0]));
                let message = came.len();
                came.extend(octets);
                // A request that is to be answered by UDP.
                if let Some(kind) = came.get_mut(message + 4..message + 6) {
                    kind.copy_from_slice(&[1, 2]);
                }
                replies += usize::from(answered(&came));
            }
        }
        assert!(
            changed > 20_000,
            "only {changed} of the changed ones were understood"
        );
        assert!(replies > 20_000, "only {replies} were answered");
    }
}
