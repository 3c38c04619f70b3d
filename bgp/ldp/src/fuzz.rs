//! One door to every decoder, for fuzzers: `cargo fuzz` targets call it (bgp/ldp/fuzz), and a short seeded run with mutations
//! is an ordinary test below.

use crate::oam::Echo;
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
    /// The same for LSP ping.
    #[test]
    fn a_seeded_run_over_echoes() {
        let mut seed = 9u64;
        let mut below = move |n: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            usize::try_from(seed >> 33).unwrap() % n
        };
        let mut runner = TestRunner::deterministic();
        let mut changed = 0;
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
            }
        }
        assert!(
            changed > 20_000,
            "only {changed} of the changed ones were understood"
        );
    }
}
