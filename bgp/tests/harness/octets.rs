//! Messages made and read by hand, with nothing of `bgp::wire`: RFC 4271 4, RFC 5492 4.

use std::fmt::Write as _;

use serde::Deserialize;

/// Octets from hexadecimal digits; anything else between them is for people.
pub(crate) fn unhex(s: &str) -> Vec<u8> {
    let digits: Vec<u8> = s
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| u8::try_from(c.to_digit(16).unwrap_or_else(|| panic!("not hex: {s}"))).unwrap())
        .collect();
    let (pairs, []) = digits.as_chunks::<2>() else {
        panic!("half an octet: {s}");
    };
    pairs.iter().map(|[h, l]| h << 4 | l).collect()
}

pub(crate) fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut s, o| {
        write!(s, "{o:02x}").unwrap();
        s
    })
}

pub(crate) fn framed(kind: u8, body: &[u8]) -> Vec<u8> {
    let len = u16::try_from(19 + body.len()).expect("a message of at most 65,535 octets");
    [&[0xff; 16][..], &len.to_be_bytes(), &[kind], body].concat()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Open {
    #[serde(default = "four")]
    version: u8,
    #[serde(rename = "as")]
    asn: u16,
    hold: u16,
    id: std::net::Ipv4Addr,
    /// `CODE:HEX`.
    #[serde(default)]
    capabilities: Vec<String>,
}

fn four() -> u8 {
    4
}

impl Open {
    pub(crate) fn octets(&self) -> Vec<u8> {
        let mut caps = Vec::new();
        for c in &self.capabilities {
            let (code, value) = c.split_once(':').expect("CODE:HEX");
            let value = unhex(value);
            caps.extend([code.parse().unwrap(), u8::try_from(value.len()).unwrap()]);
            caps.extend(value);
        }
        let parameters = match u8::try_from(caps.len()) {
            Ok(0) => vec![0],
            Ok(n) if n <= 253 => [&[n + 2, 2, n], &caps[..]].concat(),
            _ => {
                // RFC 9072 2.
                let n = u16::try_from(caps.len()).unwrap();
                let (all, one) = ((n + 3).to_be_bytes(), n.to_be_bytes());
                [&[255, 255][..], &all, &[2], &one, &caps].concat()
            }
        };
        let (asn, hold) = (self.asn.to_be_bytes(), self.hold.to_be_bytes());
        let id = self.id.octets();
        framed(
            1,
            &[&[self.version][..], &asn, &hold, &id, &parameters].concat(),
        )
    }
}

/// An UPDATE, its parts in hexadecimal, its lengths worked out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Update {
    #[serde(default)]
    withdrawn: String,
    #[serde(default)]
    attributes: Vec<String>,
    #[serde(default)]
    nlri: String,
}

impl Update {
    pub(crate) fn octets(&self) -> Vec<u8> {
        let withdrawn = unhex(&self.withdrawn);
        let attributes = unhex(&self.attributes.concat());
        let len = |part: &[u8]| u16::try_from(part.len()).unwrap().to_be_bytes();
        let body = [
            &len(&withdrawn)[..],
            &withdrawn,
            &len(&attributes),
            &attributes,
            &unhex(&self.nlri),
        ];
        framed(2, &body.concat())
    }
}

/// What a message says, for people to compare with the RFC.
pub(crate) fn show(message: &[u8]) -> String {
    assert_eq!(message[..16], [0xff; 16], "a marker");
    let len = u16::from_be_bytes([message[16], message[17]]);
    assert_eq!(usize::from(len), message.len(), "the length in the header");
    let body = &message[19..];
    match message[18] {
        1 => show_open(body),
        2 => format!("UPDATE {}", hex(body)),
        3 => {
            let data = hex(&body[2..]);
            format!("NOTIFICATION {}/{} {data}", body[0], body[1])
                .trim_end()
                .to_owned()
        }
        4 => {
            assert!(body.is_empty());
            "KEEPALIVE".to_owned()
        }
        5 => format!(
            "ROUTE-REFRESH {}/{} {}",
            u16::from_be_bytes([body[0], body[1]]),
            body[3],
            body[2]
        ),
        n => panic!("a message of type {n} was sent"),
    }
}

/// A run of attributes as `FLAGS/CODE:VALUE`.
pub(crate) fn attributes(mut run: &[u8]) -> String {
    let mut all = Vec::new();
    while let [flags, code, rest @ ..] = run {
        let (len, rest) = match rest {
            [h, l, rest @ ..] if flags & 0x10 != 0 => {
                (usize::from(*h) << 8 | usize::from(*l), rest)
            }
            [l, rest @ ..] => (usize::from(*l), rest),
            [] => panic!("a cut attribute"),
        };
        let (value, rest) = rest.split_at(len);
        all.push(format!("{flags:02x}/{code}:{}", hex(value)));
        run = rest;
    }
    assert!(run.is_empty());
    all.join(" ")
}

/// A run of unicast prefixes, RFC 4271 4.3, RFC 7911 3.
pub(crate) fn prefixes(mut run: &[u8], afi: u16, add_path: bool) -> String {
    let mut all = Vec::new();
    while !run.is_empty() {
        let mut shown = String::new();
        if add_path {
            let (id, rest) = run.split_first_chunk::<4>().expect("a path identifier");
            write!(shown, "#{} ", u32::from_be_bytes(*id)).unwrap();
            run = rest;
        }
        let bits = run[0];
        let (octets, rest) = run[1..].split_at(usize::from(bits.div_ceil(8)));
        let mut whole = [0; 16];
        whole[..octets.len()].copy_from_slice(octets);
        let address = if afi == 1 {
            std::net::IpAddr::from(*whole.first_chunk::<4>().unwrap())
        } else {
            whole.into()
        };
        write!(shown, "{address}/{bits}").unwrap();
        all.push(shown);
        run = rest;
    }
    all.join(" ")
}

fn show_open(body: &[u8]) -> String {
    let &[version, a0, a1, h0, h1, i0, i1, i2, i3, ref parameters @ ..] = body else {
        panic!("a short OPEN");
    };
    let mut shown = format!(
        "OPEN version={version} as={} hold={} id={i0}.{i1}.{i2}.{i3}",
        u16::from_be_bytes([a0, a1]),
        u16::from_be_bytes([h0, h1])
    );
    let mut capabilities = match parameters {
        [0] => return shown,
        [255, 255, _, _, 2, _, _, rest @ ..] => {
            shown.push_str(" (long)");
            rest
        }
        [n, 2, m, rest @ ..] if usize::from(*n) == rest.len() + 2 && n - 2 == *m => rest,
        other => panic!("not one parameter of capabilities: {other:?}"),
    };
    while let [code, n, rest @ ..] = capabilities {
        let (value, rest) = rest.split_at(usize::from(*n));
        write!(shown, " {code}:{}", hex(value)).unwrap();
        capabilities = rest;
    }
    assert!(capabilities.is_empty());
    shown
}
