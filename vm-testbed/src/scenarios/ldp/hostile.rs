//! Who speaks LDP badly, or not at all, on port 646: the process lives, the sessions of others go on, and it is gone when it should be.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, socket};

use super::{US, around, id};
use crate::lab::wait::{secs, until};
use crate::scenarios::pages;
use crate::suite::Options;

/// A PDU of that LSR with messages in it: (type, body).
fn pdu(lsr: [u8; 4], messages: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut inner = vec![];
    for (n, (kind, body)) in messages.iter().enumerate() {
        inner.extend(kind.to_be_bytes());
        inner.extend((body.len() as u16 + 4).to_be_bytes());
        inner.extend((n as u32 + 1).to_be_bytes());
        inner.extend(body);
    }
    let mut out = vec![0, 1];
    out.extend((inner.len() as u16 + 6).to_be_bytes());
    out.extend(lsr);
    out.extend([0, 0]);
    out.extend(inner);
    out
}

/// A TLV.
fn tlv(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut out = kind.to_be_bytes().to_vec();
    out.extend((value.len() as u16).to_be_bytes());
    out.extend(value);
    out
}

/// A Hello on a link, good for 15 s, with that transport address.
fn hello(lsr: [u8; 4]) -> Vec<u8> {
    let body = [tlv(0x0400, &[0, 15, 0, 0]), tlv(0x0401, &lsr)].concat();
    pdu(lsr, &[(0x0100, body)])
}

/// The Initialization of who has that identifier, to us.
fn init(lsr: [u8; 4]) -> Vec<u8> {
    let session = [&[0, 1, 0, 15, 0, 0, 0, 0][..], &[192, 0, 2, 5, 0, 0]].concat();
    pdu(lsr, &[(0x0200, tlv(0x0500, &session)), (0x0201, vec![])])
}

/// Octets that are the same each time and look like nothing.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut x = seed | 1;
    let one = || {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (x >> 33) as u8
    };
    std::iter::repeat_with(one).take(len).collect()
}

/// A connection from that address.
fn from(local: [u8; 4], to: SocketAddr) -> Result<TcpStream> {
    let fd = socket(
        AddressFamily::Inet,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    bind(
        fd.as_raw_fd(),
        &SockaddrStorage::from(SocketAddr::from((local, 0))),
    )?;
    connect(fd.as_raw_fd(), &SockaddrStorage::from(to))?;
    Ok(fd.into())
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn garbage(o: &Options) -> Result<()> {
    let _pages = pages(&o.flavor, 1)?;
    let x = around("ldp-hostile", &o.flavor, "ttl-security = false\n")?;
    let d1 = x.ldpd(1, "")?;
    x.up(1, &d1)?;
    let n2 = &x.spaces[1];
    // Greater than ours, so it is the one that connects.
    let bad = [192, 0, 2, 12];
    let to = SocketAddr::from(([192, 0, 2, 5], 646));
    let noisy = || {
        n2.enter(|| {
            let udp = UdpSocket::bind("10.0.2.2:0")?;
            let group = SocketAddr::from(([224, 0, 0, 2], 646));
            for seed in 0..60 {
                udp.send_to(&noise(seed, 1 + (seed as usize * 23) % 1400), group)?;
            }
            for cut in 0..hello(bad).len() {
                udp.send_to(&hello(bad)[..cut], group)?;
            }
            Ok(())
        })
    };
    until("Hellos that are none are counted", secs(10), || {
        noisy()?;
        let s = x.a.json("ldp summary")?;
        Ok(s["ignored_hellos"]["malformed"].as_u64() >= Some(200))
    })?;
    ensure!(
        x.neighbor(2)?.is_none(),
        "somebody was taken for a neighbour"
    );
    // Connections of strangers, and of who was heard: noise, half a PDU, a length that lies, messages out of turn.
    n2.enter(|| {
        let udp = UdpSocket::bind("10.0.2.2:0")?;
        let group = SocketAddr::from(([224, 0, 0, 2], 646));
        let cases: Vec<Vec<u8>> = vec![
            noise(1, 4096),
            vec![0; 4096],
            vec![0xff; 4096],
            pdu(bad, &[(0x0400, noise(2, 100))]),
            pdu(bad, &[(0x0200, noise(3, 60))]),
            [init(bad), noise(4, 4096)].concat(),
            [
                init(bad),
                pdu(bad, &[(0x0400, tlv(0x0100, &[2, 0, 1, 255, 1]))]),
            ]
            .concat(),
            [
                init(bad),
                pdu(bad, &[(0x0300, tlv(0x0101, &noise(5, 333)))]),
            ]
            .concat(),
            [init(bad), pdu([9, 9, 9, 9], &[(0x0201, vec![])])].concat(),
            hello(bad),
        ];
        for (n, octets) in cases.iter().enumerate() {
            udp.send_to(&hello(bad), group)?;
            let mut s = from(bad, to).with_context(|| format!("case {n}"))?;
            s.set_read_timeout(Some(Duration::from_secs(20)))?;
            // It may close while we write.
            let _ = s.write_all(octets);
            let _ = s.shutdown(std::net::Shutdown::Write);
            let mut said = vec![];
            let ended = s.read_to_end(&mut said);
            let reset = |e: &std::io::Error| e.kind() == std::io::ErrorKind::ConnectionReset;
            ensure!(
                ended.as_ref().map_or_else(reset, |_| true),
                "case {n}: it was not closed: {ended:?}"
            );
        }
        Ok(())
    })?;
    // Many that say nothing at all.
    let silent = n2.enter(|| -> Result<Vec<TcpStream>> {
        (0..65)
            .map(|_| TcpStream::connect(to).context("connecting"))
            .collect()
    })?;
    ensure!(
        x.operational(1)? && d1.operational(US)?,
        "n1's session has gone"
    );
    drop(silent);
    let v = x.neighbor(1)?.context("n1 has gone")?;
    ensure!(v["last_end"] == "", "n1's session has ended meanwhile: {v}");
    ensure!(x.a.alive(), "it has died");
    // One that behaves is still let in.
    let d2 = x.ldpd(2, "")?;
    x.up(2, &d2)
        .with_context(|| format!("{} comes after all that", id(2)))?;
    x.a.law()?;
    x.a.stop()
}
