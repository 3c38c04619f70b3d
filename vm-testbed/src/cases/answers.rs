//! What the router answers: ICMP and ICMPv6 errors, echo replies. Read RFC 792, 1812 4.3.2, 1191, 4443 2.4 and 3, 4884, 4950.

use crate::frame::{IPV4, IPV6, Ip4, Ip6, checksum, ip4, ip6, label_extension};

use super::{host, router, want};

/// An ICMP error to look for, in either family.
#[derive(Debug, Clone)]
pub struct ErrorOf {
    src: String,
    dst: String,
    ty: u8,
    code: u8,
    rest: Option<[u8; 4]>,
    quoted: Vec<u8>,
    labels: Option<Vec<u8>>,
}

impl ErrorOf {
    /// Of that type and code, from the router's address to the sender, quoting what `quoted` begins with.
    #[must_use]
    pub fn new(src: &str, dst: &str, ty: u8, code: u8, quoted: &[u8]) -> Self {
        let (src, dst) = (src.to_owned(), dst.to_owned());
        Self {
            src,
            dst,
            ty,
            code,
            rest: None,
            quoted: quoted.to_vec(),
            labels: None,
        }
    }

    /// With this second word (an MTU, a pointer).
    #[must_use]
    pub fn rest(mut self, rest: [u8; 4]) -> Self {
        self.rest = Some(rest);
        self
    }

    /// With these label stack entries in the extension of RFC 4950.
    #[must_use]
    pub fn labels(mut self, entries: &[u8]) -> Self {
        self.labels = Some(entries.to_vec());
        self
    }

    /// Whether `packet` is that error.
    ///
    /// # Errors
    /// With the first thing that is not so.
    pub fn is(&self, packet: &[u8]) -> Result<(), String> {
        if self.src.contains(':') {
            self.is6(packet)
        } else {
            self.is4(packet)
        }
    }

    fn is4(&self, p: &[u8]) -> Result<(), String> {
        want(p.len() >= 28 && p[0] >> 4 == 4 && p[9] == 1, "no ICMP")?;
        want(p[12..16] == ip4(&self.src).octets(), "another source")?;
        want(p[16..20] == ip4(&self.dst).octets(), "another destination")?;
        let hl = usize::from(p[0] & 15) * 4;
        let total = usize::from(u16::from_be_bytes([p[2], p[3]]));
        want(
            total <= p.len() && total >= hl + 8,
            "a total length beyond the frame",
        )?;
        let icmp = &p[hl..total];
        want(checksum(&[icmp]) == 0, "a wrong ICMP checksum")?;
        // RFC 1812 4.3.2.3: as much as possible without exceeding 576 bytes.
        want(total <= 576, "more than 576 bytes")?;
        self.message(icmp, 4, 576 - hl - 8)
    }

    fn is6(&self, p: &[u8]) -> Result<(), String> {
        want(p.len() >= 48 && p[0] >> 4 == 6 && p[6] == 58, "no ICMPv6")?;
        want(p[8..24] == ip6(&self.src).octets(), "another source")?;
        want(p[24..40] == ip6(&self.dst).octets(), "another destination")?;
        let len = usize::from(u16::from_be_bytes([p[4], p[5]]));
        let icmp = p
            .get(40..40 + len)
            .ok_or("a payload length beyond the frame")?;
        let pseudo = [&p[8..40], &(len as u32).to_be_bytes(), &[0, 0, 0, 58]].concat();
        want(checksum(&[&pseudo, icmp]) == 0, "a wrong ICMPv6 checksum")?;
        // RFC 4443 2.4 (c): as much as fits into the minimum MTU.
        want(len + 40 <= 1280, "more than 1280 bytes")?;
        self.message(icmp, 8, 1280 - 48)
    }

    /// Type, code, second word, the quoted packet, the extension; `unit` is what RFC 4884 counts the quoted bytes in.
    fn message(&self, icmp: &[u8], unit: usize, room: usize) -> Result<(), String> {
        let (ty, code) = (icmp[0], icmp[1]);
        if (ty, code) != (self.ty, self.code) {
            return Err(format!(
                "type {ty} code {code}, not {} {}",
                self.ty, self.code
            ));
        }
        let body = &icmp[8..];
        let Some(entries) = &self.labels else {
            if let Some(rest) = self.rest {
                want(
                    icmp[4..8] == rest,
                    &format!("second word {:?}, not {rest:?}", &icmp[4..8]),
                )?;
            }
            let all = self.quoted.len().min(room);
            want(
                body.len() >= all,
                &format!("quotes {} bytes, {all} would fit", body.len()),
            )?;
            return want(
                body.starts_with(&self.quoted[..all]),
                "quotes another packet",
            );
        };
        // RFC 4884 4: the length of the quoted datagram, padded, at least 128 bytes.
        let at = if unit == 4 { 5 } else { 4 };
        let quoted = usize::from(icmp[at]) * unit;
        want(
            quoted >= 128,
            &format!("RFC 4884 length {quoted}, under 128"),
        )?;
        want(
            body.len() >= quoted,
            "an RFC 4884 length beyond the message",
        )?;
        let n = self.quoted.len().min(quoted);
        want(body[..n] == self.quoted[..n], "quotes another packet")?;
        want(
            body[n..quoted].iter().all(|&b| b == 0),
            "pads with something else than zeros",
        )?;
        let ext = label_extension(entries);
        want(
            body[quoted..] == ext,
            &format!("extension {:02x?}, not {ext:02x?}", &body[quoted..]),
        )
    }

    /// A check for a frame from the router to host 2 of a port that carries this error.
    pub fn at(self, port: usize) -> impl Fn(&[u8]) -> Result<(), String> + 'static {
        move |f: &[u8]| {
            want(f.len() > 14, "a runt")?;
            want(
                f[..6] == host(port, 2) && f[6..12] == router(port),
                "other MAC addresses",
            )?;
            let kind = u16::from_be_bytes([f[12], f[13]]);
            want(
                kind == if self.src.contains(':') { IPV6 } else { IPV4 },
                "another EtherType",
            )?;
            self.is(&f[14..])
        }
    }
}

/// Looks for the kernel's echo reply to an IPv4 echo request, as host 2 of the port gets it.
pub fn echo_reply4(port: usize, request: &Ip4) -> impl Fn(&[u8]) -> Result<(), String> + 'static {
    let request = request.clone();
    move |f: &[u8]| {
        want(
            f.len() >= 42 && f[..6] == host(port, 2) && f[6..12] == router(port),
            "other MAC addresses",
        )?;
        let p = &f[14..];
        want(
            p[9] == 1 && p[12..16] == request.dst.octets(),
            "not from the address asked",
        )?;
        want(
            p[16..20] == request.src.octets(),
            "not to the one who asked",
        )?;
        let mut answer = request.payload.clone();
        answer[0] = 0;
        answer[2..4].fill(0);
        let c = checksum(&[&answer]);
        answer[2..4].copy_from_slice(&c.to_be_bytes());
        want(p[20..].starts_with(&answer), "another ICMP message")
    }
}

/// The same for IPv6.
pub fn echo_reply6(port: usize, request: &Ip6) -> impl Fn(&[u8]) -> Result<(), String> + 'static {
    let request = request.clone();
    move |f: &[u8]| {
        want(
            f.len() >= 62 && f[..6] == host(port, 2) && f[6..12] == router(port),
            "other MAC addresses",
        )?;
        let p = &f[14..];
        want(
            p[6] == 58 && p[8..24] == request.dst.octets(),
            "not from the address asked",
        )?;
        want(
            p[24..40] == request.src.octets(),
            "not to the one who asked",
        )?;
        want(p[40..42] == [129, 0], "no echo reply")?;
        want(p[44..] == request.payload[4..], "other contents")
    }
}
