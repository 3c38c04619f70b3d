//! A peer of our own that behaves badly: RFC 4271 just far enough to get a session, then whatever a test wants.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, socket};
use std::os::fd::AsRawFd;

use crate::lab::Netns;

/// A session that a test drives by hand.
#[derive(Debug)]
pub struct Raw {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// A message of that type around a body.
#[must_use]
pub fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut m = vec![0xff; 16];
    m.extend((19 + body.len() as u16).to_be_bytes());
    m.push(kind);
    m.extend(body);
    m
}

/// An UPDATE that announces /24s from `first` on, with a path of those numbers.
#[must_use]
pub fn announce(path: &[u32], next_hop: Ipv4Addr, first: u32, count: u32) -> Vec<u8> {
    let mut attrs = vec![
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
    attrs.extend(path.iter().flat_map(|n| n.to_be_bytes()));
    attrs.extend([0x40, 3, 4]);
    attrs.extend(next_hop.octets());
    let mut body = vec![0, 0];
    body.extend((attrs.len() as u16).to_be_bytes());
    body.extend(attrs);
    body.extend(prefixes(first, count));
    message(2, &body)
}

/// An UPDATE that withdraws them.
#[must_use]
pub fn withdraw(first: u32, count: u32) -> Vec<u8> {
    let nlri = prefixes(first, count);
    let mut body = (nlri.len() as u16).to_be_bytes().to_vec();
    body.extend(nlri);
    body.extend([0, 0]);
    message(2, &body)
}

fn prefixes(first: u32, count: u32) -> Vec<u8> {
    let nets = (0..count).map(|i| (first + (i << 8)).to_be_bytes());
    nets.flat_map(|a| [24, a[0], a[1], a[2]]).collect()
}

/// The connection that a neighbour would make, from that address of the namespace.
///
/// # Errors
/// When nobody listens.
pub fn connection(ns: &Netns, from: IpAddr, to: IpAddr) -> Result<TcpStream> {
    ns.enter(|| {
        let family = if to.is_ipv4() {
            AddressFamily::Inet
        } else {
            AddressFamily::Inet6
        };
        let fd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
        let address = |ip, port| SockaddrStorage::from(SocketAddr::new(ip, port));
        bind(fd.as_raw_fd(), &address(from, 0))?;
        connect(fd.as_raw_fd(), &address(to, 179)).with_context(|| format!("{to}, port 179"))?;
        let stream = TcpStream::from(fd);
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    })
}

impl Raw {
    /// Opens a session as `asn`, for IPv4 unicast, and waits for the first KEEPALIVE.
    ///
    /// # Errors
    /// When the other side does not want to.
    pub fn open(ns: &Netns, from: Ipv4Addr, to: IpAddr, asn: u32, hold: u16) -> Result<Self> {
        Self::open_with(ns, from, to, asn, hold, &[1, 4, 0, 1, 0, 1])
    }

    /// The same with these capabilities, beside AS numbers of four octets.
    ///
    /// # Errors
    /// When the other side does not want to.
    pub fn open_with(
        ns: &Netns,
        from: Ipv4Addr,
        to: IpAddr,
        asn: u32,
        hold: u16,
        caps: &[u8],
    ) -> Result<Self> {
        let mut raw = Self {
            stream: connection(ns, from.into(), to)?,
            buffer: Vec::new(),
        };
        let mut caps = [caps, &[65, 4]].concat();
        caps.extend(asn.to_be_bytes());
        let mut body = vec![4];
        body.extend(u16::try_from(asn).unwrap_or(23456).to_be_bytes());
        body.extend(hold.to_be_bytes());
        body.extend(from.octets());
        body.extend([caps.len() as u8 + 2, 2, caps.len() as u8]);
        body.extend(caps);
        raw.say(&message(1, &body))?;
        let (kind, body) = raw.hear()?;
        ensure!(kind == 1, "no OPEN, but type {kind}: {body:?}");
        raw.say(&message(4, &[]))?;
        let (kind, body) = raw.hear()?;
        ensure!(kind == 4, "no KEEPALIVE, but type {kind}: {body:?}");
        Ok(raw)
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn say(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// The connection.
    #[must_use]
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// The next message: its type and body.
    ///
    /// # Errors
    /// When none comes within ten seconds, or the connection ends.
    pub fn hear(&mut self) -> Result<(u8, Vec<u8>)> {
        loop {
            if let Some(len) = self.whole() {
                let m: Vec<u8> = self.buffer.drain(..len).collect();
                return Ok((m[18], m[19..].to_vec()));
            }
            let mut more = [0; 65536];
            match self.stream.read(&mut more) {
                Ok(0) => bail!("the connection was closed"),
                Ok(n) => self.buffer.extend(&more[..n]),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e).context("waiting for a message"),
            }
        }
    }

    fn whole(&self) -> Option<usize> {
        let len = usize::from(u16::from_be_bytes([
            *self.buffer.get(16)?,
            *self.buffer.get(17)?,
        ]));
        (self.buffer.len() >= len && len >= 19).then_some(len)
    }
}
