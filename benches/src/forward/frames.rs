//! The frames that the ports play, as captures. All random choices come from a seed.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::Path;
use std::time::Duration;

use net::{MacAddr, checksum};
use pcap_file::pcap::{PcapPacket, PcapWriter};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::case::{Case, FIRST_LABEL, Kind, LABELS, Tables, one_route};
use crate::traffic::{self, Kind as Pick};

/// Length of a frame without labels and IPv6, Ethernet header to payload.
pub const LEN4: usize = 64;
/// Length of an IPv6 frame.
pub const LEN6: usize = 78;

/// Writes the file of `case` that the port with the MAC address `to` plays.
///
/// # Errors
/// The file can't be written.
pub fn write(path: &Path, case: &Case, tables: &Tables, to: MacAddr, seed: u64) -> io::Result<()> {
    let file = BufWriter::new(File::create(path)?);
    let mut pcap = PcapWriter::new(file).map_err(io::Error::other)?;
    for frame in all(case, tables, to, seed) {
        let packet = PcapPacket::new(Duration::ZERO, frame.len() as u32, &frame);
        pcap.write_packet(&packet).map_err(io::Error::other)?;
    }
    Ok(())
}

/// The frames of `case` for the MAC address `to`.
pub fn all(case: &Case, tables: &Tables, to: MacAddr, seed: u64) -> impl Iterator<Item = Vec<u8>> {
    let (kind, mut rng) = (case.kind, ChaCha8Rng::seed_from_u64(seed));
    let destinations = destinations(case, tables, seed);
    destinations
        .into_iter()
        .map(move |dst| frame(kind, dst, to, &mut rng))
}

fn destinations(case: &Case, tables: &Tables, seed: u64) -> Vec<u128> {
    let pick = Pick::RouteRandom;
    match case.kind {
        Kind::Ip4 => {
            let usable: Vec<_> = tables
                .v4
                .iter()
                .copied()
                .filter(|&p| Tables::usable4(p))
                .collect();
            traffic::destinations(seed, pick, &usable, case.frames)
        }
        Kind::Ip6 => traffic::destinations(seed, pick, &tables.v6, case.frames),
        _ => traffic::destinations(seed, pick, &[one_route()], case.frames),
    }
}

fn frame(kind: Kind, dst: u128, to: MacAddr, rng: &mut ChaCha8Rng) -> Vec<u8> {
    let mut f = Vec::with_capacity(LEN6);
    f.extend(to.0);
    f.extend([0x02, 0xaa, 0, 0, 0, 1]);
    match kind {
        Kind::Ip6 => {
            f.extend([0x86, 0xdd]);
            ip6(&mut f, dst, rng);
        }
        Kind::Swap | Kind::Pop => {
            f.extend([0x88, 0x47]);
            let label = FIRST_LABEL + rng.random_range(0..LABELS);
            f.extend((label << 12 | 1 << 8 | 64).to_be_bytes()); // TC 0, bottom of the stack, TTL 64: RFC 3032 2.1
            ip4(&mut f, dst as u32, rng);
        }
        Kind::One4 | Kind::Ip4 | Kind::Push => {
            f.extend([0x08, 0x00]);
            ip4(&mut f, dst as u32, rng);
        }
    }
    f
}

/// UDP from a random address, up to the length of the frame.
fn ip4(f: &mut Vec<u8>, dst: u32, rng: &mut ChaCha8Rng) {
    let start = f.len();
    let len = (LEN4 - start) as u16;
    f.extend([0x45, 0]);
    f.extend(len.to_be_bytes());
    f.extend(rng.random::<u16>().to_be_bytes());
    f.extend([0, 0, 64, 17, 0, 0]);
    f.extend(rng.random_range(11u32 << 24..120 << 24).to_be_bytes());
    f.extend(dst.to_be_bytes());
    let sum = checksum::checksum(&f[start..]);
    f[start + 10..start + 12].copy_from_slice(&sum.to_be_bytes());
    udp(f, LEN4, rng);
}

fn ip6(f: &mut Vec<u8>, dst: u128, rng: &mut ChaCha8Rng) {
    let len = (LEN6 - f.len() - 40) as u16;
    f.extend([0x60, 0, 0, 0]);
    f.extend(len.to_be_bytes());
    f.extend([17, 64]);
    let src = 0x2001_0db8_u128 << 96 | u128::from(rng.next_u64());
    f.extend(src.to_be_bytes());
    f.extend(dst.to_be_bytes());
    udp(f, LEN6, rng);
}

fn udp(f: &mut Vec<u8>, end: usize, rng: &mut ChaCha8Rng) {
    let len = (end - f.len()) as u16;
    f.extend(rng.random::<u16>().to_be_bytes());
    f.extend(53u16.to_be_bytes());
    f.extend(len.to_be_bytes());
    f.resize(end, 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use net::ip4;

    #[test]
    fn frames_are_what_routers_forward() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let to = MacAddr([2, 0, 0, 0, 0, 1]);
        for (kind, len, at) in [
            (Kind::Ip4, 64, 14),
            (Kind::Swap, 64, 18),
            (Kind::Push, 64, 14),
        ] {
            let f = frame(kind, 0x1410_0001, to, &mut rng);
            assert_eq!(f.len(), len);
            let p = ip4::check(&f[at..]).unwrap();
            assert_eq!(p.header().dst_bits(), 0x1410_0001);
            assert_eq!(p.bytes().len(), len - at);
        }
        let f = frame(Kind::Ip6, 0x2001 << 112, to, &mut rng);
        assert_eq!(f.len(), 78);
        assert!(net::ip6::check(&f[14..]).is_ok());
    }
}
