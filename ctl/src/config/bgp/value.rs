//! The kinds of values in `[bgp]`: each is read from the file with a plain sentence for its mistakes, and written back.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use api::grammar::nearest;
use bgp::attrs::ExtCommunity;
use bgp::types::{Family, FamilySet, Role};
use toml::Spanned;
use toml::de::DeValue;
use toml_edit::{Array, InlineTable};

use super::super::reader::{Key, Log, Table, mistyped, number, string};
use super::super::vrf::{self, VrfName};

/// A value of a key.
pub(super) trait Word: Sized {
    /// Reads it; `None`: a mistake was noted.
    fn read<'t>(value: &'t Spanned<DeValue<'t>>, key: Key<'t>, log: &mut Log<'_>) -> Option<Self>;
    /// As in the file.
    fn write(&self) -> toml_edit::Value;
}

/// The label that a route of the router's own is told with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnLabel {
    /// Packets come without it: the hop before takes it off (RFC 3032 2.1).
    ImplicitNull,
    /// Packets come with it, for its traffic class.
    ExplicitNull,
    /// A label of this router for the prefix: it is taken off, and the packet looked up.
    Local,
}

impl OwnLabel {
    const ALL: [Self; 3] = [Self::ImplicitNull, Self::ExplicitNull, Self::Local];

    /// As in the file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ImplicitNull => "implicit-null",
            Self::ExplicitNull => "explicit-null",
            Self::Local => "local",
        }
    }
}

impl Word for OwnLabel {
    fn read<'t>(value: &'t Spanned<DeValue<'t>>, key: Key<'t>, log: &mut Log<'_>) -> Option<Self> {
        word(value, key, log, |text| {
            let found = Self::ALL.into_iter().find(|l| l.name() == text);
            found.ok_or_else(|| {
                format!("{text:?} is not \"implicit-null\", \"explicit-null\" or \"local\"")
            })
        })
    }

    fn write(&self) -> toml_edit::Value {
        self.name().into()
    }
}

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number<const MIN: u32, const MAX: u32>(pub u32);

impl<const MIN: u32, const MAX: u32> Word for Number<MIN, MAX> {
    fn read<'t>(value: &'t Spanned<DeValue<'t>>, key: Key<'t>, log: &mut Log<'_>) -> Option<Self> {
        number(value, key, MIN, MAX, log).map(Self)
    }

    fn write(&self) -> toml_edit::Value {
        i64::from(self.0).into()
    }
}

impl Word for bool {
    fn read<'t>(value: &'t Spanned<DeValue<'t>>, key: Key<'t>, log: &mut Log<'_>) -> Option<Self> {
        let found = value.get_ref().as_bool();
        if found.is_none() {
            mistyped(value, key, "true or false", log);
        }
        found
    }

    fn write(&self) -> toml_edit::Value {
        (*self).into()
    }
}

/// What a string says, by `parse`.
fn word<'t, T>(
    value: &'t Spanned<DeValue<'t>>,
    key: Key<'t>,
    log: &mut Log<'_>,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Option<T> {
    let text = string(value, key, log)?;
    parse(text.value)
        .map_err(|message| log.at(text.at, key, message))
        .ok()
}

impl Word for IpAddr {
    fn read<'t>(value: &'t Spanned<DeValue<'t>>, key: Key<'t>, log: &mut Log<'_>) -> Option<Self> {
        word(value, key, log, |text| {
            text.parse()
                .map_err(|_| format!("{text:?} is not an address such as \"198.51.100.2\""))
        })
    }

    fn write(&self) -> toml_edit::Value {
        self.to_string().into()
    }
}

impl Word for Ipv4Addr {
    fn read<'t>(value: &'t Spanned<DeValue<'t>>, key: Key<'t>, log: &mut Log<'_>) -> Option<Self> {
        word(value, key, log, |text| match text.parse::<Self>() {
            Ok(id) if !id.is_unspecified() => Ok(id),
            _ => Err(format!(
                "{text:?} is not an identifier in the form of an IPv4 address, such as \"192.0.2.1\""
            )),
        })
    }

    fn write(&self) -> toml_edit::Value {
        self.to_string().into()
    }
}

/// A line of text for people: at most 255 octets in UTF-8, no control characters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text(pub String);

impl Word for Text {
    fn read<'t>(value: &'t Spanned<DeValue<'t>>, key: Key<'t>, log: &mut Log<'_>) -> Option<Self> {
        word(value, key, log, |text| {
            match text.len() <= 255 && !text.contains(char::is_control) {
                true => Ok(Self(text.to_owned())),
                false => Err("a text has at most 255 octets and no line breaks".into()),
            }
        })
    }

    fn write(&self) -> toml_edit::Value {
        self.0.as_str().into()
    }
}

/// The name of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyName(pub String);

impl Word for PolicyName {
    fn read<'t>(value: &'t Spanned<DeValue<'t>>, key: Key<'t>, log: &mut Log<'_>) -> Option<Self> {
        word(value, key, log, |text| match text {
            "" => Err("the name of a [policy.NAME] is wanted".into()),
            _ => Ok(Self(text.to_owned())),
        })
    }

    fn write(&self) -> toml_edit::Value {
        self.0.as_str().into()
    }
}

/// The name of a VRF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InVrf(pub VrfName);

impl Word for InVrf {
    fn read<'t>(value: &'t Spanned<DeValue<'t>>, key: Key<'t>, log: &mut Log<'_>) -> Option<Self> {
        word(value, key, log, |text| vrf::name(text).map(Self))
    }

    fn write(&self) -> toml_edit::Value {
        (*self.0).into()
    }
}

/// A site of origin, RFC 4364 7: an extended community of sub-type 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site(pub ExtCommunity);

impl Word for Site {
    fn read<'t>(value: &'t Spanned<DeValue<'t>>, key: Key<'t>, log: &mut Log<'_>) -> Option<Self> {
        word(value, key, log, |text| {
            let site = text.starts_with("soo:").then(|| text.parse());
            site.and_then(Result::ok).map(Self).ok_or_else(|| {
                format!("{text:?} is not a site of origin such as \"soo:64512:7\" or \"soo:192.0.2.1:7\"")
            })
        })
    }

    fn write(&self) -> toml_edit::Value {
        self.0.to_string().into()
    }
}

/// `as` of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerAs {
    /// `"external"`: any but ours.
    External,
    /// `"internal"`: ours.
    Internal,
    /// That one.
    Number(u32),
}

impl Word for PeerAs {
    fn read<'t>(value: &'t Spanned<DeValue<'t>>, key: Key<'t>, log: &mut Log<'_>) -> Option<Self> {
        match value.get_ref() {
            DeValue::String(text) => match &**text {
                "external" => Some(Self::External),
                "internal" => Some(Self::Internal),
                other => {
                    let message = format!(
                        "{other:?} is not \"external\", \"internal\" or an AS number such as 64513 (without quotes)"
                    );
                    log.at(value.span().start, key, message);
                    None
                }
            },
            _ => number(value, key, 1, u32::MAX, log).map(Self::Number),
        }
    }

    fn write(&self) -> toml_edit::Value {
        match self {
            Self::External => "external".into(),
            Self::Internal => "internal".into(),
            Self::Number(n) => i64::from(*n).into(),
        }
    }
}

/// Seconds, 0 (never) or at least 3: RFC 4271 4.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldTime(pub u16);

impl Word for HoldTime {
    fn read<'t>(value: &'t Spanned<DeValue<'t>>, key: Key<'t>, log: &mut Log<'_>) -> Option<Self> {
        let time = number(value, key, 0, 65_535, log)?;
        if matches!(time, 1 | 2) {
            let message = "is 0 (never), or 3 to 65535 seconds (RFC 4271 4.2)";
            log.at(value.span().start, key, message);
            return None;
        }
        u16::try_from(time).ok().map(Self)
    }

    fn write(&self) -> toml_edit::Value {
        i64::from(self.0).into()
    }
}

/// The families that a session can carry in this version.
pub(super) const FAMILIES: [Family; 7] = [
    Family::Ipv4Unicast,
    Family::Ipv6Unicast,
    Family::Ipv4Labeled,
    Family::Ipv6Labeled,
    Family::Vpnv4,
    Family::Vpnv6,
    Family::RouteTarget,
];

/// A set of families, at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Families(pub FamilySet);

impl Word for Families {
    fn read<'t>(value: &'t Spanned<DeValue<'t>>, key: Key<'t>, log: &mut Log<'_>) -> Option<Self> {
        let DeValue::Array(all) = value.get_ref() else {
            mistyped(
                value,
                key,
                "a list such as [\"ipv4-unicast\", \"ipv6-unicast\"]",
                log,
            );
            return None;
        };
        let mut set = FamilySet::EMPTY;
        for one in all {
            let name = string(one, key, log)?;
            match family(name.value) {
                Ok(f) if set.contains(f) => {
                    log.at(name.at, key, format!("{f} is there twice; leave one out"));
                    return None;
                }
                Ok(f) => set.insert(f),
                Err(message) => {
                    log.at(name.at, key, message);
                    return None;
                }
            }
        }
        if set.is_empty() {
            let message = "is empty; name one family at least, or leave it out for those of the neighbour's address";
            log.at(value.span().start, key, message);
            return None;
        }
        Some(Self(set))
    }

    fn write(&self) -> toml_edit::Value {
        self.0.iter().map(Family::name).collect::<Array>().into()
    }
}

fn family(name: &str) -> Result<Family, String> {
    let known = FAMILIES.map(Family::name);
    match Family::ALL.into_iter().find(|f| f.name() == name) {
        Some(f) if FAMILIES.contains(&f) => Ok(f),
        Some(f) => Err(format!(
            "sessions for {f} are not in this version; there are {}",
            known.join(", ")
        )),
        None => Err(match nearest(name, &known) {
            Some(near) => format!("no family is called {name:?}; did you mean \"{near}\"?"),
            None => format!(
                "no family is called {name:?}; there are {}",
                known.join(", ")
            ),
        }),
    }
}

const ROLES: [(&str, Role); 5] = [
    ("provider", Role::Provider),
    ("rs", Role::RouteServer),
    ("rs-client", Role::RouteServerClient),
    ("customer", Role::Customer),
    ("peer", Role::Peer),
];

impl Word for Role {
    fn read<'t>(value: &'t Spanned<DeValue<'t>>, key: Key<'t>, log: &mut Log<'_>) -> Option<Self> {
        choice(value, key, &ROLES, log)
    }

    fn write(&self) -> toml_edit::Value {
        chosen(self, &ROLES).into()
    }
}

/// What is done when one side restarts, RFC 4724 and RFC 8538.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Graceful {
    /// The capability is not sent.
    Off,
    /// A neighbour that restarts keeps its routes for a while.
    Helper,
    /// And we ask for the same when we restart.
    Full,
}

const GRACEFUL: [(&str, Graceful); 3] = [
    ("off", Graceful::Off),
    ("helper", Graceful::Helper),
    ("full", Graceful::Full),
];

impl Word for Graceful {
    fn read<'t>(value: &'t Spanned<DeValue<'t>>, key: Key<'t>, log: &mut Log<'_>) -> Option<Self> {
        choice(value, key, &GRACEFUL, log)
    }

    fn write(&self) -> toml_edit::Value {
        chosen(self, &GRACEFUL).into()
    }
}

fn choice<'t, T: Copy>(
    value: &'t Spanned<DeValue<'t>>,
    key: Key<'t>,
    all: &[(&'static str, T)],
    log: &mut Log<'_>,
) -> Option<T> {
    word(value, key, log, |text| {
        let names: Vec<String> = all.iter().map(|(name, _)| format!("{name:?}")).collect();
        all.iter()
            .find(|(name, _)| *name == text)
            .map(|(_, value)| *value)
            .ok_or_else(|| format!("{text:?} is not one of {}", names.join(", ")))
    })
}

fn chosen<T: PartialEq>(value: &T, all: &[(&'static str, T)]) -> &'static str {
    let found = all.iter().find(|(_, v)| v == value);
    found.map_or("", |(name, _)| name)
}

/// Administrative shutdown, with the words that the neighbour is told (RFC 9003); empty: none. `true` in the file is no words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// It is not.
    No,
    /// It is.
    Yes(String),
}

impl Word for Shutdown {
    fn read<'t>(value: &'t Spanned<DeValue<'t>>, key: Key<'t>, log: &mut Log<'_>) -> Option<Self> {
        match value.get_ref() {
            DeValue::Boolean(true) => Some(Self::Yes(String::new())),
            DeValue::Boolean(false) => Some(Self::No),
            DeValue::String(_) => Text::read(value, key, log).map(|text| Self::Yes(text.0)),
            _ => {
                mistyped(
                    value,
                    key,
                    "true, false, or a text for the neighbour in quotes",
                    log,
                );
                None
            }
        }
    }

    fn write(&self) -> toml_edit::Value {
        match self {
            Self::No => false.into(),
            Self::Yes(text) if text.is_empty() => true.into(),
            Self::Yes(text) => text.as_str().into(),
        }
    }
}

/// The entries of an inline table.
fn inline<'t>(
    value: &'t Spanned<DeValue<'t>>,
    key: Key<'t>,
    known: &[&'static str],
    example: &str,
    log: &mut Log<'_>,
) -> Option<Table<'t>> {
    match value.get_ref() {
        DeValue::Table(entries) => Some(Table::new(
            entries,
            value.span().start,
            key,
            known,
            &[],
            log,
        )),
        _ => {
            mistyped(value, key, example, log);
            None
        }
    }
}

/// Several paths for a prefix, RFC 7911.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddPath {
    /// We send several.
    pub send: bool,
    /// We take several.
    pub receive: bool,
    /// At most so many for a prefix are sent; 0: all.
    pub max: u8,
}

impl Word for AddPath {
    fn read<'t>(value: &'t Spanned<DeValue<'t>>, key: Key<'t>, log: &mut Log<'_>) -> Option<Self> {
        let example = "a table such as { send = true, receive = true, max = 4 }";
        let table = inline(value, key, &["send", "receive", "max"], example, log)?;
        let max = table.number("max", 1, 255, log).unwrap_or(0);
        Some(Self {
            send: table.boolean("send", log).unwrap_or(false),
            receive: table.boolean("receive", log).unwrap_or(false),
            max: u8::try_from(max).unwrap_or(0),
        })
    }

    fn write(&self) -> toml_edit::Value {
        let mut table = InlineTable::new();
        table.insert("send", self.send.into());
        table.insert("receive", self.receive.into());
        if self.max > 0 {
            table.insert("max", i64::from(self.max).into());
        }
        table.into()
    }
}

/// How many prefixes of a family a neighbour may announce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxPrefix {
    /// With one more the session ends (RFC 4486: cease/1).
    pub limit: u32,
    /// Logged from this share of it on, in percent.
    pub warn: u8,
    /// Seconds until it may come back; `None`: not before it is told to.
    pub restart: Option<u32>,
}

impl Word for MaxPrefix {
    fn read<'t>(value: &'t Spanned<DeValue<'t>>, key: Key<'t>, log: &mut Log<'_>) -> Option<Self> {
        if value.get_ref().as_integer().is_some() {
            let limit = number(value, key, 1, u32::MAX, log)?;
            return Some(Self {
                limit,
                warn: 75,
                restart: None,
            });
        }
        let example = "a number, or a table such as { limit = 1000, warn = 75, restart = 900 }";
        let table = inline(value, key, &["limit", "warn", "restart"], example, log)?;
        if table.get("limit").is_none() {
            log.at(table.at, Key::Of(&key, "limit"), "is missing here");
        }
        let warn = table.number("warn", 1, 100, log).unwrap_or(75);
        Some(Self {
            limit: table.number("limit", 1, u32::MAX, log)?,
            warn: u8::try_from(warn).unwrap_or(75),
            restart: table.number("restart", 1, 1_000_000, log),
        })
    }

    fn write(&self) -> toml_edit::Value {
        let mut table = InlineTable::new();
        table.insert("limit", i64::from(self.limit).into());
        table.insert("warn", i64::from(self.warn).into());
        if let Some(restart) = self.restart {
            table.insert("restart", i64::from(restart).into());
        }
        table.into()
    }
}

/// `multipath`: routes that are as good as the best are used beside it, at most so many in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Multipath {
    /// Of external neighbours.
    pub ebgp: u8,
    /// Of internal ones.
    pub ibgp: u8,
    /// AS paths of the same length are as good, whichever ASes are in them.
    pub relaxed: bool,
}

impl Default for Multipath {
    fn default() -> Self {
        Self {
            ebgp: 1,
            ibgp: 1,
            relaxed: false,
        }
    }
}

impl Word for Multipath {
    fn read<'t>(value: &'t Spanned<DeValue<'t>>, key: Key<'t>, log: &mut Log<'_>) -> Option<Self> {
        let example = "a table such as { ebgp = 4, ibgp = 4, relaxed = true }";
        let table = inline(value, key, &["ebgp", "ibgp", "relaxed"], example, log)?;
        let number = |name: &str, log: &mut Log<'_>| {
            let n = table.number(name, 1, 64, log).unwrap_or(1);
            u8::try_from(n).unwrap_or(1)
        };
        Some(Self {
            ebgp: number("ebgp", log),
            ibgp: number("ibgp", log),
            relaxed: table.boolean("relaxed", log).unwrap_or(false),
        })
    }

    fn write(&self) -> toml_edit::Value {
        let mut table = InlineTable::new();
        table.insert("ebgp", i64::from(self.ebgp).into());
        table.insert("ibgp", i64::from(self.ibgp).into());
        table.insert("relaxed", self.relaxed.into());
        table.into()
    }
}

/// `med`: how MULTI_EXIT_DISC is compared. It is deterministic always: groups by neighbour AS first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Med {
    /// Also between neighbours of different ASes.
    pub always_compare: bool,
    /// A route without one is the worst, not the best.
    pub missing_as_worst: bool,
}

impl Word for Med {
    fn read<'t>(value: &'t Spanned<DeValue<'t>>, key: Key<'t>, log: &mut Log<'_>) -> Option<Self> {
        let example = "a table such as { always-compare = true, missing-as-worst = true }";
        let known = ["always-compare", "missing-as-worst"];
        let table = inline(value, key, &known, example, log)?;
        Some(Self {
            always_compare: table.boolean("always-compare", log).unwrap_or(false),
            missing_as_worst: table.boolean("missing-as-worst", log).unwrap_or(false),
        })
    }

    fn write(&self) -> toml_edit::Value {
        let mut table = InlineTable::new();
        table.insert("always-compare", self.always_compare.into());
        table.insert("missing-as-worst", self.missing_as_worst.into());
        table.into()
    }
}

/// `distance`: administrative distances, lower wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Distance {
    /// Of routes from external neighbours.
    pub ebgp: u8,
    /// Of routes from internal ones.
    pub ibgp: u8,
}

impl Default for Distance {
    fn default() -> Self {
        Self {
            ebgp: 20,
            ibgp: 200,
        }
    }
}

impl Word for Distance {
    fn read<'t>(value: &'t Spanned<DeValue<'t>>, key: Key<'t>, log: &mut Log<'_>) -> Option<Self> {
        let example = "a table such as { ebgp = 20, ibgp = 200 }";
        let table = inline(value, key, &["ebgp", "ibgp"], example, log)?;
        let default = Self::default();
        let number = |name: &str, or: u8, log: &mut Log<'_>| {
            let n = table.number(name, 1, 254, log);
            n.and_then(|n| u8::try_from(n).ok()).unwrap_or(or)
        };
        Some(Self {
            ebgp: number("ebgp", default.ebgp, log),
            ibgp: number("ibgp", default.ibgp, log),
        })
    }

    fn write(&self) -> toml_edit::Value {
        let mut table = InlineTable::new();
        table.insert("ebgp", i64::from(self.ebgp).into());
        table.insert("ibgp", i64::from(self.ibgp).into());
        table.into()
    }
}

/// `confederation`, RFC 5065.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confederation {
    /// What others see.
    pub id: u32,
    /// The other member ASes.
    pub members: Vec<u32>,
}

impl Word for Confederation {
    fn read<'t>(value: &'t Spanned<DeValue<'t>>, key: Key<'t>, log: &mut Log<'_>) -> Option<Self> {
        let example = "a table such as { id = 64512, members = [65001, 65002] }";
        let table = inline(value, key, &["id", "members"], example, log)?;
        if table.get("id").is_none() {
            log.at(table.at, Key::Of(&key, "id"), "is missing here");
        }
        let place = Key::Of(&key, "members");
        let mut members: Vec<u32> = (table.list("members").into_iter())
            .filter_map(|value| number(value, place, 1, u32::MAX, log))
            .collect();
        members.sort_unstable();
        members.dedup();
        Some(Self {
            id: table.number("id", 1, u32::MAX, log)?,
            members,
        })
    }

    fn write(&self) -> toml_edit::Value {
        let mut table = InlineTable::new();
        table.insert("id", i64::from(self.id).into());
        let members: Array = self.members.iter().map(|n| i64::from(*n)).collect();
        table.insert("members", members.into());
        table.into()
    }
}

/// The name of a file with a secret, and what was found in it. Never shown: `Debug` says how long it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretFile {
    /// As written.
    pub written: String,
    /// What it holds, without the line break at its end; empty until it was read.
    pub secret: Secret,
}

impl Word for SecretFile {
    fn read<'t>(value: &'t Spanned<DeValue<'t>>, key: Key<'t>, log: &mut Log<'_>) -> Option<Self> {
        word(value, key, log, |text| match text {
            "" => Err("the name of a file is wanted".into()),
            _ => Ok(Self {
                written: text.to_owned(),
                secret: Secret::default(),
            }),
        })
    }

    fn write(&self) -> toml_edit::Value {
        self.written.as_str().into()
    }
}

/// Octets that are in no log.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(pub Arc<[u8]>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({} octets)", self.0.len())
    }
}
