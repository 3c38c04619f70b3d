//! The words every other module speaks: AS numbers, families, sets of families, labels, route distinguishers.
//!
//! Read RFC 6793 (AS numbers of four octets), RFC 4760 (families), RFC 6286 (router ids). Prefixes are the ipnet crate's.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// An AS number of four octets (RFC 6793); shown as asplain (RFC 5396).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Asn(pub u32);

impl Asn {
    /// What a speaker of two octets sees in place of a larger number, RFC 6793 9.
    pub const TRANS: Self = Self(23456);

    /// As two octets, [`Asn::TRANS`] if it has no such form.
    #[must_use]
    pub fn short(self) -> u16 {
        u16::try_from(self.0).unwrap_or(23456)
    }

    /// RFC 7607: 0 names nobody, and is refused wherever it stands.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Asn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Asn {
    type Err = std::num::ParseIntError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        s.parse().map(Self)
    }
}

/// A BGP Identifier: four octets, not zero, unique within an AS (RFC 6286); shown as an IPv4 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouterId(Ipv4Addr);

impl RouterId {
    /// `None` for 0.0.0.0.
    #[must_use]
    pub fn new(id: Ipv4Addr) -> Option<Self> {
        (!id.is_unspecified()).then_some(Self(id))
    }

    /// As octets.
    #[must_use]
    pub fn octets(self) -> [u8; 4] {
        self.0.octets()
    }

    /// As the number that RFC 4271 compares.
    #[must_use]
    pub fn number(self) -> u32 {
        u32::from(self.0)
    }
}

impl fmt::Display for RouterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a route is of: the (AFI, SAFI) pairs that this speaker knows (RFC 4760).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Family {
    /// RFC 4271; 1/1.
    Ipv4Unicast,
    /// RFC 2545; 2/1.
    Ipv6Unicast,
    /// RFC 8277; 1/4.
    Ipv4Labeled,
    /// RFC 8277; 2/4.
    Ipv6Labeled,
    /// RFC 4364; 1/128.
    Vpnv4,
    /// RFC 4659; 2/128.
    Vpnv6,
    /// Route target membership, RFC 4684; 1/132.
    RouteTarget,
    /// FlowSpec, RFC 8955; 1/133.
    Ipv4Flow,
    /// FlowSpec, RFC 8956; 2/133.
    Ipv6Flow,
    /// FlowSpec in a VPN, RFC 8955 8; 1/134.
    Vpnv4Flow,
    /// FlowSpec in a VPN, RFC 8956; 2/134.
    Vpnv6Flow,
}

impl Family {
    /// All there are, in the order of their numbers.
    pub const ALL: [Self; 11] = [
        Self::Ipv4Unicast,
        Self::Ipv6Unicast,
        Self::Ipv4Labeled,
        Self::Ipv6Labeled,
        Self::Vpnv4,
        Self::Vpnv6,
        Self::RouteTarget,
        Self::Ipv4Flow,
        Self::Ipv6Flow,
        Self::Vpnv4Flow,
        Self::Vpnv6Flow,
    ];

    /// The family of that pair, if it is one that this speaker knows.
    #[must_use]
    pub fn from_code(afi: u16, safi: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|f| f.code() == (afi, safi))
    }

    /// AFI and SAFI.
    #[must_use]
    pub const fn code(self) -> (u16, u8) {
        match self {
            Self::Ipv4Unicast => (1, 1),
            Self::Ipv6Unicast => (2, 1),
            Self::Ipv4Labeled => (1, 4),
            Self::Ipv6Labeled => (2, 4),
            Self::Vpnv4 => (1, 128),
            Self::Vpnv6 => (2, 128),
            Self::RouteTarget => (1, 132),
            Self::Ipv4Flow => (1, 133),
            Self::Ipv6Flow => (2, 133),
            Self::Vpnv4Flow => (1, 134),
            Self::Vpnv6Flow => (2, 134),
        }
    }

    /// Do labels stand in front of its prefixes (RFC 8277)?
    #[must_use]
    pub const fn is_labeled(self) -> bool {
        matches!(
            self,
            Self::Ipv4Labeled | Self::Ipv6Labeled | Self::Vpnv4 | Self::Vpnv6
        )
    }

    /// As in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ipv4Unicast => "ipv4-unicast",
            Self::Ipv6Unicast => "ipv6-unicast",
            Self::Ipv4Labeled => "ipv4-labeled-unicast",
            Self::Ipv6Labeled => "ipv6-labeled-unicast",
            Self::Vpnv4 => "vpnv4",
            Self::Vpnv6 => "vpnv6",
            Self::RouteTarget => "rt-constraint",
            Self::Ipv4Flow => "ipv4-flowspec",
            Self::Ipv6Flow => "ipv6-flowspec",
            Self::Vpnv4Flow => "vpnv4-flowspec",
            Self::Vpnv6Flow => "vpnv6-flowspec",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Not the name of a family.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no family is called \"{0}\"; there are ipv4-unicast, ipv6-unicast, ipv4-labeled-unicast, ipv6-labeled-unicast, vpnv4, vpnv6, rt-constraint, ipv4-flowspec, ipv6-flowspec, vpnv4-flowspec, vpnv6-flowspec"
)]
pub struct NoFamily(pub String);

impl FromStr for Family {
    type Err = NoFamily;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|f| f.name() == s)
            .ok_or_else(|| NoFamily(s.to_owned()))
    }
}

/// A set of families, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FamilySet(u16);

impl FamilySet {
    /// No family.
    pub const EMPTY: Self = Self(0);

    /// Is it in the set?
    #[must_use]
    pub const fn contains(self, f: Family) -> bool {
        self.0 & (1 << f as u16) != 0
    }

    /// Puts it in.
    pub const fn insert(&mut self, f: Family) {
        self.0 |= 1 << f as u16;
    }

    /// Takes it out.
    pub const fn remove(&mut self, f: Family) {
        self.0 &= !(1 << f as u16);
    }

    /// What is in both.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// True: none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those in the set, in the order of [`Family::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Family> {
        Family::ALL.into_iter().filter(move |f| self.contains(*f))
    }
}

impl FromIterator<Family> for FamilySet {
    fn from_iter<I: IntoIterator<Item = Family>>(families: I) -> Self {
        let mut set = Self::EMPTY;
        families.into_iter().for_each(|f| set.insert(f));
        set
    }
}

/// An MPLS label of 20 bits (RFC 3032).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(u32);

impl Label {
    /// RFC 3032 2.1.
    pub const IMPLICIT_NULL: Self = Self(3);

    /// `None` above 2^20 - 1.
    #[must_use]
    pub const fn new(v: u32) -> Option<Self> {
        if v < 1 << 20 { Some(Self(v)) } else { None }
    }

    /// The upper 20 of 32 bits.
    #[must_use]
    pub const fn from_high_bits(v: u32) -> Self {
        Self(v >> 12)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// A route distinguisher (RFC 4364 4.2), as on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rd(pub [u8; 8]);

impl fmt::Display for Rd {
    /// `64512:1`, `192.0.2.1:7`; types that RFC 4364 does not know in hexadecimal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [t0, t1, a, b, c, d, e, g] = self.0;
        match u16::from_be_bytes([t0, t1]) {
            0 => write!(
                f,
                "{}:{}",
                u16::from_be_bytes([a, b]),
                u32::from_be_bytes([c, d, e, g])
            ),
            1 => write!(
                f,
                "{}:{}",
                Ipv4Addr::new(a, b, c, d),
                u16::from_be_bytes([e, g])
            ),
            2 => write!(
                f,
                "{}:{}",
                u32::from_be_bytes([a, b, c, d]),
                u16::from_be_bytes([e, g])
            ),
            _ => write!(f, "{:#018x}", u64::from_be_bytes(self.0)),
        }
    }
}

/// The number of a table of this router: 0 is the global one, others are VRFs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VrfNo(pub u16);

impl VrfNo {
    /// No VRF: the global table.
    pub const GLOBAL: Self = Self(0);
}

/// Where packets for a route are sent: NEXT_HOP, or the next hop of MP_REACH_NLRI (RFC 4760, RFC 2545 3, RFC 8950).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NextHop {
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address, global or link-local.
    V6(Ipv6Addr),
    /// A global one, and the link-local one that is preferred on a shared link.
    V6Both(Ipv6Addr, Ipv6Addr),
}

impl NextHop {
    /// The address that names the next hop when it is looked up: the global one if there are two.
    #[must_use]
    pub fn address(self) -> IpAddr {
        match self {
            Self::V4(a) => a.into(),
            Self::V6(a) | Self::V6Both(a, _) => a.into(),
        }
    }

    /// The link-local address, if there is one.
    #[must_use]
    pub fn link_local(self) -> Option<Ipv6Addr> {
        match self {
            Self::V6Both(_, l) => Some(l),
            Self::V6(a) if a.is_unicast_link_local() => Some(a),
            _ => None,
        }
    }
}

impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address().fmt(f)
    }
}

/// The slot of a neighbour: small numbers, given again when a neighbour is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u16);

/// The identifier in front of a prefix with add-path (RFC 7911); 0 without.
pub type PathId = u32;

/// What a neighbour is to this speaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Relation {
    /// In the same AS: iBGP.
    Internal,
    /// In another AS of the same confederation, RFC 5065.
    Confederation,
    /// In another AS: eBGP.
    External,
}

/// A BGP role, RFC 9234 3: what the speaker that has it is to its neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Role {
    /// Gives transit to the neighbour.
    Provider = 0,
    /// A route server.
    RouteServer = 1,
    /// A client of a route server.
    RouteServerClient = 2,
    /// Gets transit from the neighbour.
    Customer = 3,
    /// Neither: lateral peering.
    Peer = 4,
}

impl Role {
    /// `None` above 4.
    #[must_use]
    pub const fn new(r: u8) -> Option<Self> {
        match r {
            0 => Some(Self::Provider),
            1 => Some(Self::RouteServer),
            2 => Some(Self::RouteServerClient),
            3 => Some(Self::Customer),
            4 => Some(Self::Peer),
            _ => None,
        }
    }

    /// The role that the neighbour has if it is right: RFC 9234 4.2.
    #[must_use]
    pub const fn counterpart(self) -> Self {
        match self {
            Self::Provider => Self::Customer,
            Self::Customer => Self::Provider,
            Self::RouteServer => Self::RouteServerClient,
            Self::RouteServerClient => Self::RouteServer,
            Self::Peer => Self::Peer,
        }
    }

    /// As in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Provider => "provider",
            Self::RouteServer => "rs",
            Self::RouteServerClient => "rs-client",
            Self::Customer => "customer",
            Self::Peer => "peer",
        }
    }
}
