//! Patterns over communities of all three kinds, and sets of them.
//!
//! Every number of a community may be a number, a range, or `*`: `64512:100`, `64512:*`, `*:666`, `64512:100-199`;
//! `64512:1:*`; `target:64512:*`, `soo:*`. A well-known community goes by its name. An administrator that is an AS number
//! is the same in two octets and in four; one that is an address matches that address alone.
//!
//! Read RFC 1997, RFC 4360 (and RFC 5668 for AS numbers of four octets), RFC 8092.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;
use std::sync::Arc;

use crate::attrs::{AttrBuf, Community, ExtCommunity, LargeCommunity, View, code, flag};

use super::compile::Sets;

/// Of all attributes that hold communities: RFC 1997, RFC 4360 2, RFC 8092 3.
const FLAGS: u8 = flag::OPTIONAL | flag::TRANSITIVE;

/// A number of a community: from one to another, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    min: u32,
    max: u32,
}

impl Part {
    fn one(n: u32) -> Self {
        Self { min: n, max: n }
    }

    fn any(most: u32) -> Self {
        Self { min: 0, max: most }
    }

    fn read(text: &str, most: u32) -> Option<Self> {
        let number = |t: &str| {
            let plain = !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
            t.parse::<u32>().ok().filter(|n| plain && *n <= most)
        };
        let part = match text.split_once('-') {
            _ if text == "*" => Self::any(most),
            Some((a, b)) => Self {
                min: number(a)?,
                max: number(b)?,
            },
            None => Self::one(number(text)?),
        };
        (part.min <= part.max).then_some(part)
    }

    fn contains(self, n: u32) -> bool {
        (self.min..=self.max).contains(&n)
    }

    fn single(self) -> Option<u32> {
        (self.min == self.max).then_some(self.min)
    }

    fn show(self, most: u32, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            _ if self == Self::any(most) => f.write_str("*"),
            Self { min, max } if min == max => write!(f, "{min}"),
            Self { min, max } => write!(f, "{min}-{max}"),
        }
    }
}

/// A kind of communities, and the patterns over them.
pub trait Pattern:
    Clone + fmt::Debug + fmt::Display + FromStr<Err = PatternError> + PartialEq
{
    /// What it is about.
    type Item: Copy + fmt::Debug + fmt::Display + Ord + FromStr;

    /// Does it hold for that community?
    fn matches(&self, c: Self::Item) -> bool;

    /// The one community that it holds for, if there is only one.
    fn single(&self) -> Option<Self::Item>;

    /// The communities of its kind that a route has.
    fn items<'a>(view: View<'a>) -> impl Iterator<Item = Self::Item> + use<'a, Self>;

    /// Keeps those of a route for which `keep` holds.
    fn retain(buf: &mut AttrBuf, keep: impl FnMut(Self::Item) -> bool);

    /// Adds one to a route. One too many for an attribute is left out.
    fn append(buf: &mut AttrBuf, c: Self::Item);

    /// The sets of its kind.
    fn sets(sets: &Sets) -> &BTreeMap<String, Arc<CommunitySet<Self>>>;
}

/// Not a pattern over communities.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Not of RFC 1997.
    #[error(
        "{0:?} is no community and no pattern of them: two numbers up to 65535 as in \"64512:100\", \"64512:*\", \"64512:100-199\", or a name such as \"no-export\", \"blackhole\", \"graceful-shutdown\""
    )]
    Standard(String),
    /// Not of RFC 4360.
    #[error(
        "{0:?} is no extended community and no pattern of them: \"target:64512:1\", \"target:192.0.2.1:1\", \"soo:64512:*\", \"target:*\", or 16 hexadecimal digits behind 0x"
    )]
    Extended(String),
    /// Not of RFC 8092.
    #[error(
        "{0:?} is no large community and no pattern of them: three numbers as in \"64512:1:2\", \"64512:1:*\", \"64512:100-199:*\""
    )]
    Large(String),
}

/// A pattern over communities of RFC 1997.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommunityPattern {
    high: Part,
    low: Part,
}

const SHORT: u32 = 0xffff;

impl Pattern for CommunityPattern {
    type Item = Community;

    fn matches(&self, c: Community) -> bool {
        self.high.contains(c.0 >> 16) && self.low.contains(c.0 & SHORT)
    }

    fn single(&self) -> Option<Community> {
        Some(Community(self.high.single()? << 16 | self.low.single()?))
    }

    fn items<'a>(view: View<'a>) -> impl Iterator<Item = Community> + use<'a> {
        view.communities()
    }

    fn retain(buf: &mut AttrBuf, mut keep: impl FnMut(Community) -> bool) {
        buf.retain_items(code::COMMUNITIES, |c: &[u8; 4]| {
            keep(Community(u32::from_be_bytes(*c)))
        });
    }

    fn append(buf: &mut AttrBuf, c: Community) {
        buf.append(FLAGS, code::COMMUNITIES, &c.0.to_be_bytes());
    }

    fn sets(sets: &Sets) -> &BTreeMap<String, Arc<CommunitySet<Self>>> {
        &sets.community
    }
}

impl From<Community> for CommunityPattern {
    fn from(c: Community) -> Self {
        Self {
            high: Part::one(c.0 >> 16),
            low: Part::one(c.0 & SHORT),
        }
    }
}

impl fmt::Display for CommunityPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(c) = self.single() {
            return write!(f, "{c}");
        }
        self.high.show(SHORT, f)?;
        f.write_str(":")?;
        self.low.show(SHORT, f)
    }
}

impl FromStr for CommunityPattern {
    type Err = PatternError;

    fn from_str(s: &str) -> Result<Self, PatternError> {
        if let Ok(c) = s.parse::<Community>() {
            return Ok(c.into());
        }
        let parts = s
            .split_once(':')
            .and_then(|(a, b)| Some((Part::read(a, SHORT)?, Part::read(b, SHORT)?)));
        let (high, low) = parts.ok_or_else(|| PatternError::Standard(s.to_owned()))?;
        Ok(Self { high, low })
    }
}

/// Who administers an extended community.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Admin {
    /// An AS, in two octets or in four; or, with `*`, an address as well.
    As(Part),
    Any,
    Address(Ipv4Addr),
}

/// A pattern over extended communities of RFC 4360.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtPattern {
    /// That one, octet for octet.
    One(ExtCommunity),
    /// Those of a subtype whose fields are so.
    Fields {
        /// Route target (2), route origin (3).
        subtype: u8,
        /// Whose they are, and their number.
        fields: ExtFields,
    },
}

/// The fields of an extended community behind its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtFields {
    admin: Admin,
    local: Part,
}

const SUBTYPES: [(u8, &str); 2] = [(2, "target"), (3, "soo")];

impl Pattern for ExtPattern {
    type Item = ExtCommunity;

    fn matches(&self, c: ExtCommunity) -> bool {
        let (subtype, fields) = match self {
            Self::One(own) => return *own == c,
            Self::Fields { subtype, fields } => (*subtype, fields),
        };
        let [kind, sub, a, b, d, e, g, h] = c.0;
        if sub != subtype {
            return false;
        }
        let short = u32::from(u16::from_be_bytes([g, h]));
        let long = u32::from_be_bytes([a, b, d, e]);
        // RFC 4360 3.1 (AS of two octets), 3.2 (address), RFC 5668 (AS of four octets).
        let (admin, local) = match kind {
            0 => (
                Admin::As(Part::one(u16::from_be_bytes([a, b]).into())),
                u32::from_be_bytes([d, e, g, h]),
            ),
            1 => (Admin::Address(long.into()), short),
            2 => (Admin::As(Part::one(long)), short),
            _ => return false,
        };
        fields.local.contains(local)
            && match (fields.admin, admin) {
                (Admin::Any, _) => true,
                (Admin::As(part), Admin::As(n)) => part.contains(n.min),
                (Admin::Address(own), Admin::Address(theirs)) => own == theirs,
                _ => false,
            }
    }

    fn single(&self) -> Option<ExtCommunity> {
        match self {
            Self::One(c) => Some(*c),
            Self::Fields { .. } => None,
        }
    }

    fn items<'a>(view: View<'a>) -> impl Iterator<Item = ExtCommunity> + use<'a> {
        view.ext_communities()
    }

    fn retain(buf: &mut AttrBuf, mut keep: impl FnMut(ExtCommunity) -> bool) {
        buf.retain_items(code::EXT_COMMUNITIES, |c: &[u8; 8]| keep(ExtCommunity(*c)));
    }

    fn append(buf: &mut AttrBuf, c: ExtCommunity) {
        buf.append(FLAGS, code::EXT_COMMUNITIES, &c.0);
    }

    fn sets(sets: &Sets) -> &BTreeMap<String, Arc<CommunitySet<Self>>> {
        &sets.ext_community
    }
}

impl From<ExtCommunity> for ExtPattern {
    fn from(c: ExtCommunity) -> Self {
        Self::One(c)
    }
}

impl fmt::Display for ExtPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (subtype, fields) = match self {
            Self::One(c) => return write!(f, "{c}"),
            Self::Fields { subtype, fields } => (subtype, fields),
        };
        let name = SUBTYPES
            .iter()
            .find(|(n, _)| n == subtype)
            .map_or("?", |(_, name)| name);
        write!(f, "{name}:")?;
        match fields.admin {
            Admin::Any if fields.local == Part::any(u32::MAX) => return f.write_str("*"),
            Admin::Any => f.write_str("*")?,
            Admin::As(part) => part.show(u32::MAX, f)?,
            Admin::Address(a) => write!(f, "{a}")?,
        }
        f.write_str(":")?;
        fields.local.show(u32::MAX, f)
    }
}

impl FromStr for ExtPattern {
    type Err = PatternError;

    fn from_str(s: &str) -> Result<Self, PatternError> {
        if let Ok(c) = s.parse::<ExtCommunity>() {
            return Ok(c.into());
        }
        let fields = || {
            let (name, rest) = s.split_once(':')?;
            let subtype = SUBTYPES.iter().find(|(_, n)| *n == name)?.0;
            if rest == "*" {
                return Some((subtype, Admin::Any, Part::any(u32::MAX)));
            }
            let (admin, local) = rest.rsplit_once(':')?;
            let local = Part::read(local, u32::MAX)?;
            let admin = match admin.parse::<Ipv4Addr>() {
                Ok(a) => Admin::Address(a),
                Err(_) if admin == "*" => Admin::Any,
                Err(_) => Admin::As(Part::read(admin, u32::MAX)?),
            };
            // Two plain numbers that were no community fit into none.
            let plain = !matches!(admin, Admin::Any)
                && local.single().is_some()
                && !matches!(admin, Admin::As(p) if p.single().is_none());
            (!plain).then_some((subtype, admin, local))
        };
        let (subtype, admin, local) =
            fields().ok_or_else(|| PatternError::Extended(s.to_owned()))?;
        Ok(Self::Fields {
            subtype,
            fields: ExtFields { admin, local },
        })
    }
}

/// A pattern over large communities, RFC 8092.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LargePattern([Part; 3]);

impl Pattern for LargePattern {
    type Item = LargeCommunity;

    fn matches(&self, c: LargeCommunity) -> bool {
        let [global, local1, local2] = self.0;
        global.contains(c.global) && local1.contains(c.local1) && local2.contains(c.local2)
    }

    fn single(&self) -> Option<LargeCommunity> {
        let [global, local1, local2] = self.0;
        Some(LargeCommunity {
            global: global.single()?,
            local1: local1.single()?,
            local2: local2.single()?,
        })
    }

    fn items<'a>(view: View<'a>) -> impl Iterator<Item = LargeCommunity> + use<'a> {
        view.large_communities()
    }

    fn retain(buf: &mut AttrBuf, mut keep: impl FnMut(LargeCommunity) -> bool) {
        buf.retain_items(code::LARGE_COMMUNITIES, |c: &[u8; 12]| {
            keep(LargeCommunity::from_octets(c))
        });
    }

    fn append(buf: &mut AttrBuf, c: LargeCommunity) {
        buf.append(FLAGS, code::LARGE_COMMUNITIES, &c.octets());
    }

    fn sets(sets: &Sets) -> &BTreeMap<String, Arc<CommunitySet<Self>>> {
        &sets.large_community
    }
}

impl From<LargeCommunity> for LargePattern {
    fn from(c: LargeCommunity) -> Self {
        Self([c.global, c.local1, c.local2].map(Part::one))
    }
}

impl fmt::Display for LargePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c] = self.0;
        a.show(u32::MAX, f)?;
        f.write_str(":")?;
        b.show(u32::MAX, f)?;
        f.write_str(":")?;
        c.show(u32::MAX, f)
    }
}

impl FromStr for LargePattern {
    type Err = PatternError;

    fn from_str(s: &str) -> Result<Self, PatternError> {
        let parts: Option<Vec<Part>> = s.split(':').map(|t| Part::read(t, u32::MAX)).collect();
        match parts.as_deref() {
            Some(&[a, b, c]) => Ok(Self([a, b, c])),
            _ => Err(PatternError::Large(s.to_owned())),
        }
    }
}

/// A set of communities: single ones, which are searched, and patterns, which are tried.
#[derive(Clone, Debug, PartialEq)]
pub struct CommunitySet<P: Pattern> {
    single: Box<[P::Item]>,
    patterns: Box<[P]>,
}

/// A set of communities of RFC 1997.
pub type Communities = CommunitySet<CommunityPattern>;
/// A set of extended communities.
pub type ExtCommunities = CommunitySet<ExtPattern>;
/// A set of large communities.
pub type LargeCommunities = CommunitySet<LargePattern>;

impl<P: Pattern> CommunitySet<P> {
    /// Of these patterns.
    #[must_use]
    pub fn new(patterns: &[P]) -> Self {
        let single: BTreeSet<P::Item> = patterns.iter().filter_map(P::single).collect();
        let patterns = patterns.iter().filter(|p| p.single().is_none());
        Self {
            single: single.into_iter().collect(),
            patterns: patterns.cloned().collect(),
        }
    }

    /// Is that community in it?
    #[must_use]
    pub fn contains(&self, c: P::Item) -> bool {
        self.single.binary_search(&c).is_ok() || self.patterns.iter().any(|p| p.matches(c))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check<P: Pattern>(pattern: &str, yes: &[&str], no: &[&str])
    where
        <P::Item as FromStr>::Err: fmt::Debug,
    {
        let p: P = pattern.parse().unwrap();
        assert_eq!(p.to_string().parse::<P>().unwrap(), p, "{pattern} as {p}");
        let set = CommunitySet::new(std::slice::from_ref(&p));
        for (all, want) in [(yes, true), (no, false)] {
            for c in all {
                let c: P::Item = c.parse().unwrap();
                assert_eq!(p.matches(c), want, "{pattern} of {c}");
                assert_eq!(set.contains(c), want, "set of {pattern} of {c}");
            }
        }
    }

    #[test]
    fn wildcards_and_ranges() {
        type C = CommunityPattern;
        check::<C>("64512:*", &["64512:0", "64512:65535"], &["64513:0"]);
        check::<C>("*:666", &["1:666", "65535:666"], &["1:667"]);
        check::<C>("64512:100-199", &["64512:100", "64512:199"], &["64512:99"]);
        check::<C>("blackhole", &["65535:666", "blackhole"], &["no-export"]);
        check::<C>("*:*", &["0:0", "no-export"], &[]);
        type L = LargePattern;
        check::<L>("64512:1:*", &["64512:1:4294967295"], &["64512:2:1"]);
        check::<L>("64512:1-3:7", &["64512:2:7"], &["64512:2:8", "64512:4:7"]);
        type E = ExtPattern;
        check::<E>(
            "target:64512:*",
            &["target:64512:70000"],
            &["soo:64512:1", "target:64513:1", "target:0.0.252.0:1"],
        );
        check::<E>("target:64512:*", &["0x02020000fc000001"], &[]);
        check::<E>(
            "target:*",
            &["target:1:1", "target:192.0.2.1:1"],
            &["soo:1:1"],
        );
        check::<E>("soo:*:7", &["soo:192.0.2.1:7", "soo:70000:7"], &["soo:1:8"]);
        check::<E>(
            "target:192.0.2.1:*",
            &["target:192.0.2.1:9"],
            &["target:192.0.2.2:9"],
        );
        check::<E>("target:1:2", &["target:1:2"], &["0x0202000000010002"]);
        check::<E>(
            "target:64512-64515:1-2",
            &["target:64514:2"],
            &["target:64514:3"],
        );
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_what_would_be() {
        for s in ["", "1", "65536:1", "1:2:3", "1:5-2", "1:-2", "a:*", "*"] {
            let error = s.parse::<CommunityPattern>().unwrap_err().to_string();
            assert!(error.contains("\"64512:*\""), "{error}");
        }
        for s in [
            "target",
            "x:*",
            "target:70000:70000",
            "target:1",
            "0x12",
            "target:192.0.2.1:70000",
        ] {
            let error = s.parse::<ExtPattern>().unwrap_err().to_string();
            assert!(error.contains("\"soo:64512:*\""), "{s}: {error}");
        }
        for s in ["1:2", "1:2:3:4", "1:2:4294967296", "::"] {
            let error = s.parse::<LargePattern>().unwrap_err().to_string();
            assert!(error.contains("\"64512:1:*\""), "{error}");
        }
    }

    proptest! {
        #[test]
        fn a_set_has_what_one_of_its_patterns_has(
            patterns in prop::collection::vec(("[0-3]|\\*|[0-2]-3", "[0-3]|\\*|[0-2]-3"), 0..8),
            c in (0u32..5, 0u32..5),
        ) {
            let patterns: Vec<CommunityPattern> =
                patterns.iter().map(|(a, b)| format!("{a}:{b}").parse().unwrap()).collect();
            let set = CommunitySet::new(&patterns);
            let c = Community(c.0 << 16 | c.1);
            prop_assert_eq!(set.contains(c), patterns.iter().any(|p| p.matches(c)));
            for p in patterns {
                prop_assert_eq!(p.to_string().parse(), Ok(p));
            }
        }
    }
}
