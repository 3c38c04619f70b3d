//! Communities of all kinds, and how operators write them: RFC 1997, RFC 4360, RFC 8092, and the well-known ones of
//! RFC 7999 (BLACKHOLE), RFC 8326 (GRACEFUL_SHUTDOWN), RFC 9494 (LLGR_STALE, NO_LLGR).

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// A community of RFC 1997.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Community(pub u32);

const WELL_KNOWN: [(Community, &str); 8] = [
    (Community::GRACEFUL_SHUTDOWN, "graceful-shutdown"),
    (Community::LLGR_STALE, "llgr-stale"),
    (Community::NO_LLGR, "no-llgr"),
    (Community::BLACKHOLE, "blackhole"),
    (Community::NO_EXPORT, "no-export"),
    (Community::NO_ADVERTISE, "no-advertise"),
    (Community::NO_EXPORT_SUBCONFED, "no-export-subconfed"),
    (Community::NO_PEER, "no-peer"),
];

impl Community {
    /// RFC 8326.
    pub const GRACEFUL_SHUTDOWN: Self = Self(0xffff_0000);
    /// RFC 9494 4.4.
    pub const LLGR_STALE: Self = Self(0xffff_0006);
    /// RFC 9494 4.4.
    pub const NO_LLGR: Self = Self(0xffff_0007);
    /// RFC 7999.
    pub const BLACKHOLE: Self = Self(0xffff_029a);
    /// RFC 1997.
    pub const NO_EXPORT: Self = Self(0xffff_ff01);
    /// RFC 1997.
    pub const NO_ADVERTISE: Self = Self(0xffff_ff02);
    /// RFC 1997.
    pub const NO_EXPORT_SUBCONFED: Self = Self(0xffff_ff03);
    /// RFC 3765.
    pub const NO_PEER: Self = Self(0xffff_ff04);
}

impl fmt::Display for Community {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match WELL_KNOWN.iter().find(|(c, _)| c == self) {
            Some((_, name)) => f.write_str(name),
            None => write!(f, "{}:{}", self.0 >> 16, self.0 & 0xffff),
        }
    }
}

/// Not a community.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommunityError {
    /// Not one of RFC 1997.
    #[error(
        "\"{0}\" is no community: two numbers up to 65535 (\"64512:100\") or a name such as \"no-export\", \"blackhole\", \"graceful-shutdown\""
    )]
    Standard(String),
    /// Not one of RFC 4360.
    #[error(
        "\"{0}\" is no extended community: \"target:64512:1\", \"target:192.0.2.1:1\", \"soo:64512:1\" or 16 hexadecimal digits behind 0x"
    )]
    Extended(String),
    /// Not one of RFC 8092.
    #[error("\"{0}\" is no large community: three numbers up to 4294967295, \"64512:1:2\"")]
    Large(String),
}

impl FromStr for Community {
    type Err = CommunityError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        if let Some((c, _)) = WELL_KNOWN.iter().find(|(_, name)| *name == s) {
            return Ok(*c);
        }
        let (a, b) = s.split_once(':').unwrap_or((s, ""));
        match (a.parse::<u16>(), b.parse::<u16>()) {
            (Ok(a), Ok(b)) => Ok(Self(u32::from(a) << 16 | u32::from(b))),
            _ => Err(CommunityError::Standard(s.to_owned())),
        }
    }
}

/// An extended community of RFC 4360, as on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExtCommunity(pub [u8; 8]);

/// Subtypes that have a name here: RFC 4360 4 and 5.
const SUBTYPES: [(u8, &str); 2] = [(2, "target"), (3, "soo")];

impl ExtCommunity {
    /// Is it passed on to other ASes (RFC 4360 2)?
    #[must_use]
    pub const fn is_transitive(self) -> bool {
        self.0[0] & 0x40 == 0
    }
}

impl fmt::Display for ExtCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [t, s, a, b, c, d, e, g] = self.0;
        let name = SUBTYPES
            .iter()
            .find(|(n, _)| *n == s)
            .map(|(_, name)| *name);
        match (t, name) {
            (0, Some(n)) => write!(
                f,
                "{n}:{}:{}",
                u16::from_be_bytes([a, b]),
                u32::from_be_bytes([c, d, e, g])
            ),
            (1, Some(n)) => write!(
                f,
                "{n}:{}:{}",
                Ipv4Addr::new(a, b, c, d),
                u16::from_be_bytes([e, g])
            ),
            (2, Some(n)) => write!(
                f,
                "{n}:{}:{}",
                u32::from_be_bytes([a, b, c, d]),
                u16::from_be_bytes([e, g])
            ),
            _ => write!(f, "{:#018x}", u64::from_be_bytes(self.0)),
        }
    }
}

impl FromStr for ExtCommunity {
    type Err = CommunityError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        ext(s).ok_or_else(|| CommunityError::Extended(s.to_owned()))
    }
}

fn ext(s: &str) -> Option<ExtCommunity> {
    if let Some(hex) = s.strip_prefix("0x") {
        let v = u64::from_str_radix(hex, 16)
            .ok()
            .filter(|_| hex.len() == 16)?;
        return Some(ExtCommunity(v.to_be_bytes()));
    }
    let (name, value) = s.split_once(':')?;
    let subtype = SUBTYPES.iter().find(|(_, n)| *n == name)?.0;
    let (admin, number) = value.rsplit_once(':')?;
    let mut o = [0; 8];
    o[1] = subtype;
    if let Ok(a) = admin.parse::<u16>() {
        o[2..4].copy_from_slice(&a.to_be_bytes());
        o[4..].copy_from_slice(&number.parse::<u32>().ok()?.to_be_bytes());
    } else {
        let (kind, admin) = match (admin.parse::<Ipv4Addr>(), admin.parse::<u32>()) {
            (Ok(a), _) => (1, a.octets()),
            (_, Ok(a)) => (2, a.to_be_bytes()),
            _ => return None,
        };
        o[0] = kind;
        o[2..6].copy_from_slice(&admin);
        o[6..].copy_from_slice(&number.parse::<u16>().ok()?.to_be_bytes());
    }
    Some(ExtCommunity(o))
}

/// A large community of RFC 8092.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LargeCommunity {
    /// Global Administrator: an AS number.
    pub global: u32,
    /// Local Data Part 1.
    pub local1: u32,
    /// Local Data Part 2.
    pub local2: u32,
}

impl LargeCommunity {
    /// From the wire.
    #[must_use]
    pub fn from_octets(o: &[u8; 12]) -> Self {
        let n = |i: usize| u32::from_be_bytes([o[i], o[i + 1], o[i + 2], o[i + 3]]);
        Self {
            global: n(0),
            local1: n(4),
            local2: n(8),
        }
    }

    /// To the wire.
    #[must_use]
    pub fn octets(self) -> [u8; 12] {
        let mut o = [0; 12];
        o[..4].copy_from_slice(&self.global.to_be_bytes());
        o[4..8].copy_from_slice(&self.local1.to_be_bytes());
        o[8..].copy_from_slice(&self.local2.to_be_bytes());
        o
    }
}

impl fmt::Display for LargeCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.global, self.local1, self.local2)
    }
}

impl FromStr for LargeCommunity {
    type Err = CommunityError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let parts: Result<Vec<u32>, _> = s.split(':').map(str::parse).collect();
        match parts.as_deref() {
            Ok(&[global, local1, local2]) => Ok(Self {
                global,
                local1,
                local2,
            }),
            _ => Err(CommunityError::Large(s.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_read_again() {
        for s in ["64512:100", "no-export", "blackhole", "0:0"] {
            assert_eq!(s.parse::<Community>().unwrap().to_string(), s);
        }
        for s in [
            "target:64512:70000",
            "target:192.0.2.1:7",
            "soo:4200000000:1",
            "0x8006000000000000",
        ] {
            assert_eq!(s.parse::<ExtCommunity>().unwrap().to_string(), s);
        }
        assert_eq!(
            "1:2:4294967295"
                .parse::<LargeCommunity>()
                .unwrap()
                .to_string(),
            "1:2:4294967295"
        );
    }

    #[test]
    fn what_is_none_is_refused_with_what_would_be() {
        for s in ["", "1", "65536:1", "1:65536", "1:2:3", "no-such"] {
            assert!(s.parse::<Community>().is_err(), "{s}");
        }
        for s in [
            "target:1",
            "target:70000:70000",
            "other:1:1",
            "0x12",
            "target:1.2.3:1",
        ] {
            assert!(s.parse::<ExtCommunity>().is_err(), "{s}");
        }
        let e = "1:2".parse::<LargeCommunity>().unwrap_err();
        assert!(e.to_string().contains("64512:1:2"), "{e}");
    }
}
