//! As much BGP as a load generator needs: RFC 4271, RFC 4760 and RFC 6793 for IPv4 unicast with AS numbers of four octets.
//! Left out: everything else, and on purpose every line of our own speaker, which this is to judge.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use anyhow::{Context, Result, bail, ensure};
use net::Ip4Prefix;

/// Octets of a header.
pub const HEADER: usize = 19;
const MAX: usize = 4096;
/// The type of an OPEN.
pub const OPEN: u8 = 1;
/// The type of an UPDATE.
pub const UPDATE: u8 = 2;
/// The type of a NOTIFICATION.
pub const NOTIFICATION: u8 = 3;
/// The type of a KEEPALIVE.
pub const KEEPALIVE: u8 = 4;
/// Longer than any measurement.
const HOLD: u16 = 240;

/// A message of that type around a body.
pub fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut m = vec![0xff; 16];
    m.extend(((HEADER + body.len()) as u16).to_be_bytes());
    m.push(kind);
    m.extend(body);
    m
}

fn open(asn: u32, id: Ipv4Addr) -> Vec<u8> {
    let mut capabilities = vec![1, 4, 0, 1, 0, 1, 65, 4];
    capabilities.extend(asn.to_be_bytes());
    let two = u16::try_from(asn).unwrap_or(23456);
    let mut body = vec![4];
    body.extend(two.to_be_bytes());
    body.extend(HOLD.to_be_bytes());
    body.extend(id.octets());
    body.extend([capabilities.len() as u8 + 2, 2, capabilities.len() as u8]);
    body.extend(capabilities);
    message(OPEN, &body)
}

/// Path attributes: ORIGIN, AS_PATH, NEXT_HOP, COMMUNITIES.
pub fn attributes(path: &[u32], next_hop: Ipv4Addr, communities: &[u32]) -> Vec<u8> {
    let mut a = vec![0x40, 1, 1, 0];
    a.extend([
        0x40,
        2,
        (2 + 4 * path.len()) as u8,
        2, // AS_SEQUENCE
        path.len() as u8,
    ]);
    a.extend(path.iter().flat_map(|n| n.to_be_bytes()));
    a.extend([0x40, 3, 4]);
    a.extend(next_hop.octets());
    if !communities.is_empty() {
        a.extend([0xc0, 8, (4 * communities.len()) as u8]);
        a.extend(communities.iter().flat_map(|n| n.to_be_bytes()));
    }
    a
}

/// Appends UPDATEs that announce the prefixes with these attributes, as full as they go.
pub fn updates(out: &mut Vec<u8>, attrs: &[u8], prefixes: &[Ip4Prefix]) {
    let mut start = None;
    for p in prefixes {
        let octets = usize::from(p.len()).div_ceil(8);
        if let Some(s) = start
            && out.len() - s + 1 + octets > MAX
        {
            end(out, s);
            start = None;
        }
        if start.is_none() {
            start = Some(out.len());
            out.extend([0xff; 16]);
            out.extend([0, 0, UPDATE, 0, 0]);
            out.extend((attrs.len() as u16).to_be_bytes());
            out.extend(attrs);
        }
        out.push(p.len());
        out.extend(&p.addr().to_be_bytes()[..octets]);
    }
    if let Some(s) = start {
        end(out, s);
    }
}

fn end(out: &mut [u8], start: usize) {
    let len = (out.len() - start) as u16;
    out[start + 16..start + 18].copy_from_slice(&len.to_be_bytes());
}

/// The prefixes of a list of NLRI.
pub struct Nlri<'a>(pub &'a [u8]);

impl Iterator for Nlri<'_> {
    type Item = Ip4Prefix;
    fn next(&mut self) -> Option<Ip4Prefix> {
        let (&len, rest) = self.0.split_first()?;
        let octets = usize::from(len).div_ceil(8);
        let mut addr = [0; 4];
        addr.get_mut(..octets)?.copy_from_slice(rest.get(..octets)?);
        self.0 = &rest[octets..];
        Ip4Prefix::new(u32::from_be_bytes(addr), len)
    }
}

/// An UPDATE, taken apart.
#[derive(Debug, Clone, Copy)]
pub struct Update<'a> {
    /// Withdrawn prefixes.
    pub withdrawn: &'a [u8],
    /// Attributes.
    pub attrs: &'a [u8],
    /// Announced prefixes.
    pub nlri: &'a [u8],
}

impl<'a> Update<'a> {
    /// Takes a body apart.
    pub fn parse(body: &'a [u8]) -> Option<Self> {
        let (n, rest) = body.split_first_chunk::<2>()?;
        let (withdrawn, rest) = rest.split_at_checked(u16::from_be_bytes(*n).into())?;
        let (n, rest) = rest.split_first_chunk::<2>()?;
        let (attrs, nlri) = rest.split_at_checked(u16::from_be_bytes(*n).into())?;
        Some(Self {
            withdrawn,
            attrs,
            nlri,
        })
    }

    /// The value of an attribute.
    pub fn attribute(&self, code: u8) -> Option<&'a [u8]> {
        let mut rest = self.attrs;
        loop {
            let (&[flags, kind, len], mut at) = rest.split_first_chunk::<3>()?;
            let mut len = usize::from(len);
            if flags & 0x10 != 0 {
                let (&low, more) = at.split_first()?;
                len = len << 8 | usize::from(low);
                at = more;
            }
            let (value, more) = at.split_at_checked(len)?;
            if kind == code {
                return Some(value);
            }
            rest = more;
        }
    }

    /// The numbers of an AS_PATH that is one sequence; nothing of any other.
    pub fn path(&self) -> impl Iterator<Item = u32> + Clone + 'a {
        let value = self.attribute(2).unwrap_or_default();
        let one = value.len() >= 2 && value[0] == 2 && value.len() == 2 + 4 * usize::from(value[1]);
        words(if one { &value[2..] } else { &[] })
    }

    /// The communities.
    pub fn communities(&self) -> impl Iterator<Item = u32> + Clone + 'a {
        words(self.attribute(8).unwrap_or_default())
    }
}

fn words(of: &[u8]) -> impl Iterator<Item = u32> + Clone + '_ {
    of.as_chunks().0.iter().map(|w| u32::from_be_bytes(*w))
}

/// The bytes of a session, cut into messages.
#[derive(Debug)]
pub struct Reader {
    buffer: Vec<u8>,
    from: usize,
    to: usize,
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            buffer: vec![0; 1 << 20],
            from: 0,
            to: 0,
        }
    }
}

/// What a reader got of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Got {
    /// Some bytes.
    Some,
    /// Nothing, for now.
    Nothing,
    /// The end.
    End,
}

impl Reader {
    /// Reads once.
    ///
    /// # Errors
    /// The socket's.
    pub fn fill(&mut self, from: &mut impl Read) -> Result<Got> {
        if self.buffer.len() - self.to < MAX {
            self.buffer.copy_within(self.from..self.to, 0);
            self.to -= self.from;
            self.from = 0;
        }
        match from.read(&mut self.buffer[self.to..]) {
            Ok(0) => Ok(Got::End),
            Ok(n) => {
                self.to += n;
                Ok(Got::Some)
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                Ok(Got::Nothing)
            }
            Err(e) => Err(e.into()),
        }
    }

    /// The next whole message: its type and body.
    ///
    /// # Errors
    /// Its length is wrong.
    pub fn message(&mut self) -> Result<Option<(u8, &[u8])>> {
        let at = &self.buffer[self.from..self.to];
        if at.len() < HEADER {
            return Ok(None);
        }
        let len = usize::from(u16::from_be_bytes([at[16], at[17]]));
        ensure!((HEADER..=MAX).contains(&len), "a message of {len} octets");
        if at.len() < len {
            return Ok(None);
        }
        let start = self.from;
        self.from += len;
        let m = &self.buffer[start..start + len];
        Ok(Some((m[18], &m[HEADER..])))
    }

    /// Reads until there is a message, and returns its type; a NOTIFICATION is an error.
    ///
    /// # Errors
    /// The session ends, or times out.
    pub fn wait(&mut self, from: &mut impl Read) -> Result<u8> {
        loop {
            if let Some((kind, body)) = self.message()? {
                if kind == NOTIFICATION {
                    bail!("it sent the NOTIFICATION {body:?}");
                }
                return Ok(kind);
            }
            match self.fill(from)? {
                Got::Some => {}
                Got::Nothing => bail!("it says nothing"),
                Got::End => bail!("it closed the connection"),
            }
        }
    }
}

/// Opens a session on a fresh connection: both sides' OPEN and KEEPALIVE.
///
/// # Errors
/// The other side does not want to.
pub fn handshake(
    stream: &mut TcpStream,
    reader: &mut Reader,
    asn: u32,
    id: Ipv4Addr,
) -> Result<()> {
    stream.write_all(&open(asn, id))?;
    let kind = reader.wait(stream)?;
    ensure!(kind == OPEN, "a message of type {kind} instead of an OPEN");
    stream.write_all(&message(KEEPALIVE, &[]))?;
    let kind = reader
        .wait(stream)
        .context("waiting for the first KEEPALIVE")?;
    ensure!(
        kind == KEEPALIVE,
        "a message of type {kind} instead of a KEEPALIVE"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_parsed() {
        let prefixes: Vec<Ip4Prefix> = (0..3000u32)
            .map(|i| Ip4Prefix::new(0x0b00_0000 + (i << 8), 24).unwrap())
            .chain([Ip4Prefix::new(0, 0).unwrap()])
            .collect();
        let attrs = attributes(&[4_200_000_001, 7], [192, 0, 2, 1].into(), &[0x1_0002]);
        let mut out = Vec::new();
        updates(&mut out, &attrs, &prefixes);
        let (mut reader, mut from, mut got, mut n) =
            (Reader::default(), out.as_slice(), Vec::new(), 0);
        while reader.fill(&mut from).unwrap() == Got::Some {
            while let Some((kind, body)) = reader.message().unwrap() {
                let u = Update::parse(body).unwrap();
                assert_eq!((kind, u.withdrawn.len()), (UPDATE, 0));
                assert!(u.path().eq([4_200_000_001, 7]) && u.communities().eq([0x1_0002]));
                got.extend(Nlri(u.nlri));
                n += 1;
            }
        }
        assert_eq!((got, n), (prefixes, 3));
    }
}
