//! A table from a file as a neighbour: reads TABLE_DUMP_V2 (RFC 6396 4.3) and UPDATEs (BGP4MP, 4.4), and announces its IPv4 routes
//! over a session.
//!
//! The reader shares nothing with the appliance's. Of each prefix the first route of a dump, or what UPDATEs left of it, is told, as
//! if it came from here: this
//! neighbour's AS is put in front of the path, its address is the next hop. Files that end in `.gz` are unpacked by gzip.
//! Left out: IPv6, add-path. AS numbers of two octets (those of old UPDATEs) are made four, as they stand.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, anyhow, ensure};

use super::raw::{Raw, message};

/// What UPDATEs have left: attributes by prefix.
type Heard = BTreeMap<Vec<u8>, Vec<u8>>;
/// Routes with one set of attributes: NLRI behind each other, with their places.
type Routes = BTreeMap<Vec<u8>, Vec<Vec<u8>>>;

/// What a file has.
#[derive(Debug, Default)]
pub struct Table {
    /// Prefixes by the attributes of their first route, NEXT_HOP left out.
    routes: Routes,
}

/// Octets that are taken from the front.
struct Octets<'a>(&'a [u8]);

impl<'a> Octets<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let (a, b) = self
            .0
            .split_at_checked(n)
            .context("a record ends too early")?;
        self.0 = b;
        Ok(a)
    }

    fn number(&mut self, n: usize) -> Result<usize> {
        Ok(self
            .take(n)?
            .iter()
            .fold(0, |sum, o| sum << 8 | usize::from(*o)))
    }
}

impl Table {
    /// Reads a file.
    ///
    /// # Errors
    /// When it can't be read, or is no such dump.
    pub fn read(path: &Path) -> Result<Self> {
        let shown = || path.display().to_string();
        let octets = if path.extension().is_some_and(|e| e == "gz") {
            let out = Command::new("gzip").arg("-dc").arg(path).output()?;
            ensure!(out.status.success(), "gzip -dc {}", shown());
            out.stdout
        } else {
            std::fs::read(path).with_context(shown)?
        };
        Self::parse(&octets).with_context(shown)
    }

    fn parse(octets: &[u8]) -> Result<Self> {
        let mut rest = Octets(octets);
        let mut table = Self::default();
        let mut heard = Heard::new();
        while !rest.0.is_empty() {
            rest.take(4)?;
            let (kind, subtype, len) = (rest.number(2)?, rest.number(2)?, rest.number(4)?);
            let mut body = Octets(rest.take(len)?);
            // BGP4MP_ET: microseconds first.
            if kind == 17 {
                body.take(4)?;
            }
            match (kind, subtype) {
                (13, 2) => table.prefix(body)?,
                (16 | 17, 1 | 4) => update(body, subtype == 4, &mut heard)?,
                _ => {}
            }
        }
        for (nlri, attributes) in heard {
            table.routes.entry(attributes).or_default().push(nlri);
        }
        Ok(table)
    }

    /// RIB_IPV4_UNICAST.
    fn prefix(&mut self, mut r: Octets<'_>) -> Result<()> {
        r.take(4)?;
        let bits = r.number(1)?;
        let mut nlri = vec![u8::try_from(bits)?];
        nlri.extend(r.take(bits.div_ceil(8))?);
        if r.number(2)? == 0 {
            return Ok(());
        }
        r.take(6)?;
        let len = r.number(2)?;
        let attributes = without_next_hop(Octets(r.take(len)?))?;
        self.routes.entry(attributes).or_default().push(nlri);
        Ok(())
    }

    /// How many prefixes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.routes.values().map(Vec::len).sum()
    }

    /// Are there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// Announces all of it, and then End-of-RIB.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn announce(&self, to: &mut Raw, asn: u32, next_hop: Ipv4Addr) -> Result<()> {
        for (attributes, prefixes) in &self.routes {
            let attributes = from_here(attributes, asn, next_hop)?;
            // A message has 4,096 octets.
            let room = 4096_usize
                .checked_sub(19 + 4 + attributes.len())
                .ok_or_else(|| anyhow!("{} octets of attributes", attributes.len()))?;
            for lot in prefixes.chunks((room / 5).max(1)) {
                let mut body = vec![0, 0];
                body.extend(u16::try_from(attributes.len())?.to_be_bytes());
                body.extend(&attributes);
                body.extend(lot.concat());
                to.say(&message(2, &body))?;
            }
        }
        to.say(&message(2, &[0; 4]))
    }
}

/// BGP4MP_MESSAGE, and BGP4MP_MESSAGE_AS4: what an UPDATE announces and withdraws.
fn update(mut r: Octets<'_>, as4: bool, heard: &mut Heard) -> Result<()> {
    r.take(if as4 { 10 } else { 6 })?;
    let addresses = if r.number(2)? == 1 { 8 } else { 32 };
    r.take(addresses + 16)?;
    let len = r.number(2)?;
    if r.number(1)? != 2 {
        return Ok(());
    }
    let rest = len.checked_sub(19).context("the length of a message")?;
    let mut r = Octets(r.take(rest)?);
    let len = r.number(2)?;
    let mut withdrawn = Octets(r.take(len)?);
    while !withdrawn.0.is_empty() {
        heard.remove(&net(&mut withdrawn)?);
    }
    let len = r.number(2)?;
    let attributes = Octets(r.take(len)?);
    if r.0.is_empty() {
        return Ok(());
    }
    let attributes = without_next_hop(attributes)?;
    let attributes = match as4 {
        true => attributes,
        false => four_octets(&attributes)?,
    };
    while !r.0.is_empty() {
        heard.insert(net(&mut r)?, attributes.clone());
    }
    Ok(())
}

/// A prefix with its length.
fn net(r: &mut Octets<'_>) -> Result<Vec<u8>> {
    let bits = r.number(1)?;
    ensure!(bits <= 32, "a prefix of {bits} bits");
    Ok([&[bits as u8], r.take(bits.div_ceil(8))?].concat())
}

/// AS numbers of four octets in AS_PATH, without what stands beside those of two (RFC 6793); AGGREGATOR is left out.
fn four_octets(attributes: &[u8]) -> Result<Vec<u8>> {
    let mut out = vec![];
    let mut whole = Ok(());
    each(Octets(attributes), |flags, code, value| match code {
        2 => match widened(value) {
            Ok(path) => append(flags, 2, &path, &mut out),
            Err(e) => whole = Err(e),
        },
        7 | 17 | 18 => {}
        _ => append(flags, code, value, &mut out),
    })?;
    whole.map(|()| out)
}

fn widened(path: &[u8]) -> Result<Vec<u8>> {
    let (mut r, mut out) = (Octets(path), vec![]);
    while !r.0.is_empty() {
        let (kind, count) = (r.number(1)? as u8, r.number(1)?);
        out.extend([kind, count as u8]);
        for two in r.take(2 * count)?.chunks(2) {
            out.extend([0, 0]);
            out.extend(two);
        }
    }
    Ok(out)
}

/// Each attribute: flags, code, value.
fn each(mut r: Octets<'_>, mut f: impl FnMut(u8, u8, &[u8])) -> Result<()> {
    while !r.0.is_empty() {
        let (flags, code) = (r.number(1)? as u8, r.number(1)? as u8);
        let len = r.number(if flags & 0x10 != 0 { 2 } else { 1 })?;
        f(flags, code, r.take(len)?);
    }
    Ok(())
}

fn append(flags: u8, code: u8, value: &[u8], out: &mut Vec<u8>) {
    out.extend([flags | 0x10, code]);
    out.extend((value.len() as u16).to_be_bytes());
    out.extend(value);
}

/// Without NEXT_HOP, and what has no place in an UPDATE of IPv4.
fn without_next_hop(r: Octets<'_>) -> Result<Vec<u8>> {
    let mut out = vec![];
    each(r, |flags, code, value| {
        if !matches!(code, 3 | 14 | 15) {
            append(flags, code, value, &mut out);
        }
    })?;
    Ok(out)
}

/// The flags that an attribute must have (RFC 7606 3 c); BIRD writes none for routes that are not from BGP.
fn proper(flags: u8, code: u8) -> u8 {
    match code {
        4 => 0x80,
        6 => 0x40,
        7 | 8 | 16 | 32 => 0xc0,
        _ => flags,
    }
}

/// With our AS in front of the path, and our address as the next hop.
fn from_here(attributes: &[u8], asn: u32, next_hop: Ipv4Addr) -> Result<Vec<u8>> {
    let (mut origin, mut path, mut rest) = (0, vec![2, 1], vec![]);
    path.extend(asn.to_be_bytes());
    each(Octets(attributes), |flags, code, value| match code {
        1 => origin = value.first().copied().unwrap_or(0),
        2 => path.extend(value),
        // What stays within an AS is not told to another.
        5 | 9 | 10 => {}
        _ => append(proper(flags, code), code, value, &mut rest),
    })?;
    // Routes that somebody has not from BGP may lack what every UPDATE has.
    let mut out = vec![];
    append(0x40, 1, &[origin], &mut out);
    append(0x40, 2, &path, &mut out);
    append(0x40, 3, &next_hop.octets(), &mut out);
    out.extend(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_is_read_and_told_as_from_here() {
        let attributes = [
            &[0x40, 1, 1, 0, 0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xe9][..],
            &[0x40, 3, 4, 192, 0, 2, 1, 0x40, 5, 4, 0, 0, 0, 100],
        ]
        .concat();
        let mut body = vec![0, 0, 0, 9, 24, 203, 0, 113, 0, 1, 0, 0, 0, 0, 0, 7];
        body.extend((attributes.len() as u16).to_be_bytes());
        body.extend(&attributes);
        let mut file = vec![0, 0, 0, 1, 0, 13, 0, 2];
        file.extend((body.len() as u32).to_be_bytes());
        file.extend(body);
        let table = Table::parse(&file).unwrap();
        assert_eq!(table.len(), 1);
        let (attributes, prefixes) = table.routes.first_key_value().unwrap();
        assert_eq!(prefixes[..], [vec![24, 203, 0, 113]]);
        let told = from_here(attributes, 65001, [10, 0, 0, 2].into()).unwrap();
        let mut codes = vec![];
        each(Octets(&told), |_, code, value| {
            codes.push((code, value.to_vec()))
        })
        .unwrap();
        let path = vec![2, 1, 0, 0, 0xfd, 0xe9, 2, 1, 0, 0, 0xfd, 0xe9];
        assert_eq!(codes, [(1, vec![0]), (2, path), (3, vec![10, 0, 0, 2])]);
        assert!(Table::parse(&file[..file.len() - 1]).is_err());
    }

    /// A record of BGP4MP around an UPDATE, with AS numbers of two octets.
    fn heard(withdrawn: &[u8], attributes: &[u8], nlri: &[u8]) -> Vec<u8> {
        let len = |o: usize| (o as u16).to_be_bytes();
        let (w, a) = (len(withdrawn.len()), len(attributes.len()));
        let m = message(2, &[&w[..], withdrawn, &a, attributes, nlri].concat());
        let head = [&[0, 1, 0, 2, 0, 0, 0, 1][..], &[0; 8]].concat();
        let mut record = vec![0, 0, 0, 1, 0, 16, 0, 1];
        record.extend(((head.len() + m.len()) as u32).to_be_bytes());
        [record, head, m].concat()
    }

    #[test]
    fn what_updates_left_is_a_table() {
        let path = |asn: u8| {
            vec![
                0x40, 1, 1, 0, 0x40, 2, 4, 2, 1, 0, asn, 0x40, 3, 4, 10, 0, 0, 9,
            ]
        };
        let file = [
            heard(&[], &path(7), &[8, 20, 8, 30, 8, 40]),
            heard(&[8, 30], &path(8), &[8, 40]),
        ];
        let table = Table::parse(&file.concat()).unwrap();
        let all: Vec<_> = table.routes.iter().collect();
        assert_eq!((table.len(), all.len()), (2, 2));
        assert_eq!(all[0].1[..], [vec![8, 20]]);
        assert_eq!(all[1].1[..], [vec![8, 40]]);
        assert!(all[0].0.ends_with(&[2, 1, 0, 0, 0, 7]), "{:?}", all[0].0);
    }
}
