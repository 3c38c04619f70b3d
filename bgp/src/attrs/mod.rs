//! Path attributes, in the one form in which they are kept, compared, edited and sent.
//!
//! Read RFC 4271 4.3 and 5, RFC 6793. The **canonical form** is a run of attributes as on the wire, in the order of
//! their type codes, each code once: AS numbers of four octets, AS4_PATH and AS4_AGGREGATOR merged away; the
//! extended-length flag only where the length needs it. The next hop and the NLRI are not in it: NEXT_HOP, MP_REACH_NLRI
//! and MP_UNREACH_NLRI are taken out, and the next hop stands beside it ([`NextHop`]). So two routes with the same
//! attributes have the same octets, interning is comparing octets, what nobody knows is carried along as it came, and
//! sending is mostly copying.
//!
//! Labels, which are a part of the path too (RFC 8277 2), stand in front of all that, under a code that is never on the wire
//! ([`View::labels`]).
//!
//! [`View`] reads it, [`AttrBuf`] edits it. Both trust the octets: they come from `wire`, which checks them, or from
//! [`AttrBuf`]. A view of anything else finds less, and never panics.

mod buf;
mod community;
mod inner;
mod labels;
mod path;
mod prefix_sid;

pub use buf::AttrBuf;
pub use community::{Community, ExtCommunity, LargeCommunity};
pub(crate) use labels::MOST as MOST_LABELS;
pub use labels::{LabelStack, Labels};
pub use path::{AsPath, Segment, SegmentKind};
pub use prefix_sid::Srgb;
pub(crate) use prefix_sid::{
    Shape as SidShape, shape as sid_shape, without_twins as sid_without_twins,
};

use std::net::Ipv4Addr;

use crate::types::{Asn, NextHop};

/// Attribute type codes, as IANA lists them.
pub mod code {
    /// Reserved; never on the wire. Here it has what a path has beside its attributes: see `inner`.
    pub const INNER: u8 = 0;
    /// RFC 4271 5.1.1.
    pub const ORIGIN: u8 = 1;
    /// RFC 4271 5.1.2, RFC 6793.
    pub const AS_PATH: u8 = 2;
    /// RFC 4271 5.1.3.
    pub const NEXT_HOP: u8 = 3;
    /// RFC 4271 5.1.4.
    pub const MED: u8 = 4;
    /// RFC 4271 5.1.5.
    pub const LOCAL_PREF: u8 = 5;
    /// RFC 4271 5.1.6.
    pub const ATOMIC_AGGREGATE: u8 = 6;
    /// RFC 4271 5.1.7.
    pub const AGGREGATOR: u8 = 7;
    /// RFC 1997.
    pub const COMMUNITIES: u8 = 8;
    /// RFC 4456.
    pub const ORIGINATOR_ID: u8 = 9;
    /// RFC 4456.
    pub const CLUSTER_LIST: u8 = 10;
    /// RFC 4760 3.
    pub const MP_REACH_NLRI: u8 = 14;
    /// RFC 4760 4.
    pub const MP_UNREACH_NLRI: u8 = 15;
    /// RFC 4360.
    pub const EXT_COMMUNITIES: u8 = 16;
    /// RFC 6793.
    pub const AS4_PATH: u8 = 17;
    /// RFC 6793.
    pub const AS4_AGGREGATOR: u8 = 18;
    /// RFC 6514 5.
    pub const PMSI_TUNNEL: u8 = 22;
    /// RFC 5701.
    pub const IPV6_EXT_COMMUNITIES: u8 = 25;
    /// RFC 7311.
    pub const AIGP: u8 = 26;
    /// RFC 8092.
    pub const LARGE_COMMUNITIES: u8 = 32;
    /// RFC 9234 5.
    pub const ONLY_TO_CUSTOMER: u8 = 35;
    /// RFC 8669.
    pub const PREFIX_SID: u8 = 40;
    /// RFC 6368.
    pub const ATTR_SET: u8 = 128;
}

/// The flags in front of an attribute, RFC 4271 4.3.
pub mod flag {
    /// Not well-known.
    pub const OPTIONAL: u8 = 0x80;
    /// Passed on by who does not know it.
    pub const TRANSITIVE: u8 = 0x40;
    /// Somebody on the way did not know it.
    pub const PARTIAL: u8 = 0x20;
    /// The length has two octets.
    pub const EXTENDED: u8 = 0x10;
}

/// ORIGIN, RFC 4271 5.1.1; the smaller is preferred.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Origin {
    /// Interior to the originating AS.
    Igp,
    /// Learned by EGP.
    Egp,
    /// By some other means.
    #[default]
    Incomplete,
}

impl Origin {
    /// `None` above 2.
    #[must_use]
    pub const fn new(o: u8) -> Option<Self> {
        match o {
            0 => Some(Self::Igp),
            1 => Some(Self::Egp),
            2 => Some(Self::Incomplete),
            _ => None,
        }
    }

    /// As operators write it: `igp`, `egp`, `incomplete`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Igp => "igp",
            Self::Egp => "egp",
            Self::Incomplete => "incomplete",
        }
    }
}

/// One attribute of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawAttr<'a> {
    /// Flags as on the wire.
    pub flags: u8,
    /// Type code.
    pub code: u8,
    /// Value.
    pub value: &'a [u8],
}

/// The attributes of a run of octets; ends at the first that is cut off.
#[derive(Clone, Debug)]
pub struct RawAttrs<'a>(pub &'a [u8]);

impl<'a> Iterator for RawAttrs<'a> {
    type Item = RawAttr<'a>;

    fn next(&mut self) -> Option<RawAttr<'a>> {
        let (&[flags, code, l0], _) = self.0.split_first_chunk::<3>()?;
        let (start, len) = if flags & flag::EXTENDED == 0 {
            (3, usize::from(l0))
        } else {
            let l1 = *self.0.get(3)?;
            (4, usize::from(u16::from_be_bytes([l0, l1])))
        };
        let value = self.0.get(start..start + len)?;
        self.0 = &self.0[start + len..];
        Some(RawAttr { flags, code, value })
    }
}

/// Attributes in canonical form, and the next hop beside them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View<'a> {
    /// The canonical octets.
    pub octets: &'a [u8],
    /// Where to send packets; `None` for routes that have none (FlowSpec).
    pub next_hop: Option<NextHop>,
}

impl<'a> View<'a> {
    /// Every attribute, in the order of the codes.
    pub fn iter(&self) -> impl Iterator<Item = RawAttr<'a>> + use<'a> {
        RawAttrs(self.octets)
    }

    /// The value of one attribute.
    #[must_use]
    pub fn get(&self, code: u8) -> Option<&'a [u8]> {
        self.iter().find(|a| a.code == code).map(|a| a.value)
    }

    fn number(&self, code: u8) -> Option<u32> {
        self.get(code)?.try_into().ok().map(u32::from_be_bytes)
    }

    /// ORIGIN; `incomplete` where it is missing.
    #[must_use]
    pub fn origin(&self) -> Origin {
        match self.get(code::ORIGIN) {
            Some([o]) => Origin::new(*o).unwrap_or_default(),
            _ => Origin::default(),
        }
    }

    /// AS_PATH; empty where it is missing.
    #[must_use]
    pub fn as_path(&self) -> AsPath<'a> {
        AsPath(self.get(code::AS_PATH).unwrap_or_default())
    }

    /// MULTI_EXIT_DISC.
    #[must_use]
    pub fn med(&self) -> Option<u32> {
        self.number(code::MED)
    }

    /// LOCAL_PREF.
    #[must_use]
    pub fn local_pref(&self) -> Option<u32> {
        self.number(code::LOCAL_PREF)
    }

    /// ATOMIC_AGGREGATE.
    #[must_use]
    pub fn atomic_aggregate(&self) -> bool {
        self.get(code::ATOMIC_AGGREGATE).is_some()
    }

    /// AGGREGATOR: who made the aggregate.
    #[must_use]
    pub fn aggregator(&self) -> Option<(Asn, Ipv4Addr)> {
        let v: [u8; 8] = self.get(code::AGGREGATOR)?.try_into().ok()?;
        let [a, b, c, d, i @ ..] = v;
        Some((Asn(u32::from_be_bytes([a, b, c, d])), i.into()))
    }

    /// COMMUNITIES (RFC 1997), as they came.
    pub fn communities(&self) -> impl Iterator<Item = Community> + use<'a> {
        let (all, _) = self.get(code::COMMUNITIES).unwrap_or_default().as_chunks();
        all.iter().map(|c| Community(u32::from_be_bytes(*c)))
    }

    /// EXTENDED COMMUNITIES (RFC 4360), as they came.
    pub fn ext_communities(&self) -> impl Iterator<Item = ExtCommunity> + use<'a> {
        let (all, _) = self
            .get(code::EXT_COMMUNITIES)
            .unwrap_or_default()
            .as_chunks();
        all.iter().map(|c| ExtCommunity(*c))
    }

    /// LARGE_COMMUNITY (RFC 8092), as they came.
    pub fn large_communities(&self) -> impl Iterator<Item = LargeCommunity> + use<'a> {
        let (all, _) = self
            .get(code::LARGE_COMMUNITIES)
            .unwrap_or_default()
            .as_chunks();
        all.iter().map(LargeCommunity::from_octets)
    }

    /// ORIGINATOR_ID (RFC 4456).
    #[must_use]
    pub fn originator_id(&self) -> Option<Ipv4Addr> {
        self.number(code::ORIGINATOR_ID).map(Ipv4Addr::from)
    }

    /// CLUSTER_LIST (RFC 4456), nearest first.
    pub fn cluster_list(&self) -> impl ExactSizeIterator<Item = Ipv4Addr> + use<'a> {
        let (all, _) = self
            .get(code::CLUSTER_LIST)
            .unwrap_or_default()
            .as_chunks::<4>();
        all.iter().map(|c| Ipv4Addr::from(*c))
    }

    /// ONLY_TO_CUSTOMER (RFC 9234).
    #[must_use]
    pub fn otc(&self) -> Option<Asn> {
        self.number(code::ONLY_TO_CUSTOMER).map(Asn)
    }

    /// A copy to edit.
    #[must_use]
    pub fn to_buf(&self) -> AttrBuf {
        AttrBuf::from_view(*self)
    }
}
