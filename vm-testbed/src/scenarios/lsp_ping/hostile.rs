//! Echo requests that lie, and far too many of them: those that are right are answered, as many as the rate lets through; nothing dies.

use std::time::Instant;

use anyhow::{Result, ensure};

use crate::cases::{Bed, host, known_hosts, ports, router};
use crate::frame::{IPV4, Ip4, Lse, MPLS, eth, labelled};
use crate::lab::wait::{secs, until};
use crate::scenarios::pages;
use crate::suite::Options;

/// What the second host's network is for the router: connected.
const PREFIX: [u8; 5] = [10, 0, 2, 0, 24];
/// The rate at which answers are given, and how many at once; as documented.
const RATE: (f64, f64) = (100.0, 50.0);

/// An echo request with these parameters.
fn message(sequence: u32, tlvs: &[u8]) -> Vec<u8> {
    let mut out = vec![0, 1, 0, 0, 1, 2, 0, 0, 0, 0, 0, 9];
    out.extend(sequence.to_be_bytes());
    out.extend([0; 16]);
    out.extend(tlvs);
    out
}

/// A target of a generic prefix.
fn target() -> Vec<u8> {
    [&[0, 1, 0, 12, 0, 14, 0, 5], &PREFIX[..], &[0, 0, 0]].concat()
}

/// In UDP and IPv4, as LSP ping sends it; the UDP length is what it is told to be.
fn packet(message: &[u8], len: Option<usize>) -> Vec<u8> {
    let length = len.unwrap_or(message.len() + 8) as u16;
    let ports = [3503u16.to_be_bytes(), 3503u16.to_be_bytes()].concat();
    let udp = [&ports[..], &length.to_be_bytes(), &[0, 0], message].concat();
    let ip = Ip4::new("10.0.1.2", "127.0.0.1", 17, udp);
    ip.with(|p| {
        p.options = vec![148, 4, 0, 0];
        p.ttl = 1;
    })
    .bytes()
}

fn frame(labels: &[Lse], packet: &[u8]) -> Vec<u8> {
    match labels {
        [] => eth(router(1), host(1, 2), IPV4, packet),
        _ => eth(router(1), host(1, 2), MPLS, &labelled(labels, packet)),
    }
}

/// The replies among what came out of port 1: code and sequence.
fn replies(seen: &[(usize, Vec<u8>)]) -> Vec<(u8, u32)> {
    let one = |(port, f): &(usize, Vec<u8>)| {
        let udp = f.get(14 + 20..)?;
        let message = udp.get(8..)?;
        let is = *port == 1
            && f.get(12..14)? == [8, 0]
            && udp.get(..4)? == [13, 175, 13, 175]
            && message.get(4)? == &2;
        let sequence: [u8; 4] = message.get(12..16)?.try_into().ok()?;
        is.then_some((*message.get(6)?, u32::from_be_bytes(sequence)))
    };
    seen.iter().filter_map(one).collect()
}

/// Octets that are the same each time and look like nothing.
struct Noise(u64);

impl Noise {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) as usize % n
    }
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn hostile(o: &Options) -> Result<()> {
    let _pages = pages(&o.flavor, 1)?;
    let config = ports(&o.flavor, 2, |_| "mpls = true");
    let mut bed = Bed::start("lsp-ping-hostile", 2, &config)?;
    for line in known_hosts(2, &[2]) {
        bed.appliance.must(&line)?;
    }
    bed.appliance.must("label add 301 pop")?;
    let begun = Instant::now();
    let answered = right(&mut bed)? + wrong(&mut bed)?;
    let many = flood(&mut bed)?;
    // However fast they came.
    let most = RATE.1 + RATE.0 * begun.elapsed().as_secs_f64() + 1.0;
    let all = answered + many;
    ensure!(
        many > 0 && (all as f64) <= most,
        "{all} answers, {most:.0} at most"
    );
    until("right ones are answered again", secs(10), || {
        let right = frame(&[Lse::new(301)], &packet(&message(7, &target()), None));
        bed.wire(1).send(&right)?;
        let seen = bed.flush()?;
        Ok(replies(&seen).contains(&(3, 7)))
    })?;
    bed.law()?;
    bed.appliance.stop()
}

/// Answered as they should be, each: by a label that ends here, one that nobody has, one whose TTL ends, and none.
fn right(bed: &mut Bed) -> Result<usize> {
    let good = packet(&message(1, &target()), None);
    let mut n = 0;
    for (labels, code) in [
        (vec![Lse::new(301)], 3),
        (vec![Lse::new(999)], 11),
        (vec![Lse::new(999).ttl(1)], 11),
        (vec![Lse::new(301), Lse::new(999)], 11),
        (vec![Lse::new(0)], 3),
        (vec![], 3),
    ] {
        bed.flush()?;
        bed.wire(1).send(&frame(&labels, &good))?;
        let seen = bed.flush()?;
        ensure!(
            replies(&seen) == [(code, 1)],
            "{} labels, code {code}: {:?}",
            labels.len(),
            replies(&seen)
        );
        n += 1;
    }
    // A parameter that has to be known, and none of the FECs; a prefix that no route covers.
    let other = [
        &[0, 1, 0, 12, 0, 14, 0, 5, 198, 51, 100, 0, 24],
        &[0; 3][..],
    ]
    .concat();
    let unknown = [&target()[..], &[0, 99, 0, 1, 5, 0, 0, 0]].concat();
    for (tlvs, code) in [(unknown, 2), (vec![], 1), (other, 4)] {
        bed.wire(1)
            .send(&frame(&[Lse::new(301)], &packet(&message(2, &tlvs), None)))?;
        let seen = bed.flush()?;
        ensure!(
            replies(&seen) == [(code, 2)],
            "code {code}: {:?}",
            replies(&seen)
        );
        n += 1;
    }
    Ok(n)
}

/// What lies about its lengths: no answer but that it can't be read, to who can be told.
fn wrong(bed: &mut Bed) -> Result<usize> {
    let whole = message(3, &target());
    let mut n = 0;
    let mut tried = vec![];
    // UDP's length: nothing, less than its header, more than there is.
    for len in [0, 7, 4000, 65535] {
        tried.push((packet(&whole, Some(len)), None));
    }
    // Parameters whose lengths go beyond the end, or beneath each other.
    for (at, octet) in [
        (33, 99),
        (34, 255),
        (35, 200),
        (35, 8),
        (38, 255),
        (39, 200),
        (44, 33),
    ] {
        let mut m = whole.clone();
        m[at] = octet;
        // An unknown type is one that was not understood.
        let code = if at == 33 { 2 } else { 1 };
        tried.push((packet(&m, None), Some(code)));
    }
    // Versions, kinds and modes that there are not.
    for (at, octet) in [(1, 2), (4, 0), (4, 2), (4, 9), (5, 1), (5, 4), (5, 200)] {
        let mut m = whole.clone();
        m[at] = octet;
        tried.push((packet(&m, None), None));
    }
    tried.push((packet(&whole[..31], None), None));
    for (p, code) in tried {
        bed.wire(1).send(&frame(&[Lse::new(301)], &p))?;
        let seen = bed.flush()?;
        let codes: Vec<u8> = replies(&seen).iter().map(|r| r.0).collect();
        ensure!(
            codes.first().copied() == code,
            "{p:02x?}: {codes:?}, not {code:?}"
        );
        n += codes.len();
    }
    Ok(n)
}

/// A few thousand of them, right ones among such that chance has changed. How many were answered.
fn flood(bed: &mut Bed) -> Result<usize> {
    let mut noise = Noise(5);
    let mut seen = 0;
    for round in 0..10 {
        for sequence in 0..400 {
            let mut m = message(sequence, &target());
            if sequence % 2 == 1 {
                for _ in 0..=noise.below(4) {
                    let at = noise.below(m.len());
                    m[at] = noise.below(256) as u8;
                }
                m.truncate(m.len() - noise.below(20));
            }
            let depth = noise.below(4);
            let labels: Vec<Lse> = (0..depth)
                .map(|_| Lse::new([301, 999, 0, 1][noise.below(4)]).ttl(noise.below(3) as u8))
                .collect();
            bed.wire(1).send(&frame(&labels, &packet(&m, None)))?;
        }
        seen += replies(&bed.flush()?).len();
        ensure!(bed.appliance.alive(), "it died in round {round}");
    }
    let drops = bed.appliance.json("drop show")?;
    let limited = drops.as_array().into_iter().flatten();
    let limited = limited.filter(|d| d["reason"] == "lsp_ping_limit");
    ensure!(limited.count() == 1, "none was over the rate: {drops}");
    Ok(seen)
}
