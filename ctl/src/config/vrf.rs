//! `[vrf.NAME]`: RFC 4364 3 and 4.2 (route distinguishers), 4.3.1 and RFC 4360 4 (route targets); RFC 4659 for IPv6.
//!
//! A VRF is a table of its own, for the interfaces that name it. What its routes are to BGP follows from its distinguisher and
//! its targets: `crate::bgp::vpn`. Left out: targets in hexadecimal, `import` by policy.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;
use std::sync::Arc;

use ::bgp::types::{Family, Rd};
use api::grammar::nearest;
use ipnet::IpNet;
use toml::de::DeValue;
use toml_edit::{Array, Item, Table as OutTable};

use super::bgp::{Bgp, Neighbor, Origin, PolicyName};
use super::model::TtlMode;
use super::reader::{At, Key, Log, Table, string};
use super::{print, terms};

/// Most VRFs: each has a number of 16 bits, and those that went are not given to others soon.
const MAX_VRFS: usize = 4096;
/// The longest name, as of an interface.
const MAX_NAME: usize = 15;

/// The name of a VRF; shared, since many routes have it.
pub type VrfName = Arc<str>;

/// The global table, where a table is named.
pub const GLOBAL: &str = "global";

/// The keys of the policies by which routes of BGP go between a VRF and the global table.
pub const IMPORT_GLOBAL: &str = "import-global";
/// See [`IMPORT_GLOBAL`].
pub const EXPORT_GLOBAL: &str = "export-global";

/// What a static route is to: a prefix in a table. Ordered by table, the global one first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dest {
    /// `None`: the global table.
    pub vrf: Option<VrfName>,
    /// The prefix.
    pub prefix: IpNet,
}

impl From<IpNet> for Dest {
    fn from(prefix: IpNet) -> Self {
        Self { vrf: None, prefix }
    }
}

impl FromStr for Dest {
    type Err = ipnet::AddrParseError;

    /// A prefix of the global table.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<IpNet>().map(Self::from)
    }
}

impl fmt::Display for Dest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.vrf {
            None => self.prefix.fmt(f),
            Some(vrf) => write!(f, "{} vrf {vrf}", self.prefix),
        }
    }
}

/// A route target: an extended community of sub-type 2 (RFC 4360 4, RFC 5668), as on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteTarget(pub [u8; 8]);

/// The sub-type of a route target.
const TARGET: u8 = 2;

impl fmt::Display for RouteTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rd = self.0;
        rd[1] = rd[0];
        rd[0] = 0;
        write!(f, "target:{}", Rd(rd))
    }
}

/// `ASN:NUMBER` or `ADDRESS:NUMBER`, the eight octets of a distinguisher of types 0, 1 and 2.
fn octets(text: &str) -> Result<[u8; 8], String> {
    let wrong = || {
        format!(
            "{text:?} is not ASN:NUMBER or ADDRESS:NUMBER, such as \"64512:1\" or \"192.0.2.1:7\""
        )
    };
    let (admin, number) = text.rsplit_once(':').ok_or_else(wrong)?;
    let short = |kind: u8, admin: [u8; 4], number: &str| {
        let number: u16 = number.parse().map_err(|_| {
            format!("{text:?}: {number} is not a number up to 65535, which is all that fits here")
        })?;
        let ([a, b, c, d], [e, g]) = (admin, number.to_be_bytes());
        Ok([0, kind, a, b, c, d, e, g])
    };
    if let Ok(address) = admin.parse::<Ipv4Addr>() {
        return short(1, address.octets(), number);
    }
    let asn: u32 = admin.parse().map_err(|_| wrong())?;
    match u16::try_from(asn) {
        Err(_) => short(2, asn.to_be_bytes(), number),
        Ok(asn) => {
            let ([a, b], number) = (asn.to_be_bytes(), number.parse::<u32>());
            let [c, d, e, g] = number.map_err(|_| wrong())?.to_be_bytes();
            Ok([0, 0, a, b, c, d, e, g])
        }
    }
}

/// A distinguisher as it is written.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn distinguisher(text: &str) -> Result<Rd, String> {
    octets(text).map(Rd)
}

fn target(text: &str) -> Result<RouteTarget, String> {
    let Some(rest) = text.strip_prefix("target:") else {
        return Err(format!(
            "{text:?} is not a route target such as \"target:64512:1\""
        ));
    };
    let mut out = octets(rest)?;
    out[0] = out[1];
    out[1] = TARGET;
    Ok(RouteTarget(out))
}

/// `label-mode`, RFC 4364 4.3.2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LabelMode {
    /// One for all of them.
    #[default]
    PerVrf,
    /// One each.
    PerPrefix,
    /// One for each next hop, and one for what has none, or several.
    PerNextHop,
}

impl LabelMode {
    const fn name(self) -> &'static str {
        match self {
            Self::PerVrf => "per-vrf",
            Self::PerPrefix => "per-prefix",
            Self::PerNextHop => "per-next-hop",
        }
    }

    fn read(text: &str) -> Result<Self, String> {
        let all = [Self::PerVrf, Self::PerPrefix, Self::PerNextHop];
        let found = all.into_iter().find(|m| m.name() == text);
        found.ok_or_else(|| {
            format!("{text:?} is not \"per-vrf\", \"per-prefix\", or \"per-next-hop\"")
        })
    }
}

/// `[vrf.NAME]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vrf {
    /// Tells its routes from those of others in BGP; no two VRFs have the same.
    pub rd: Option<Rd>,
    /// Routes with one of these are taken in.
    pub import: Vec<RouteTarget>,
    /// Its routes are told with these.
    pub export: Vec<RouteTarget>,
    /// What becomes of routes that come in, and of those that are told, beside what targets say: policies.
    pub import_policy: Option<PolicyName>,
    /// See [`Vrf::import_policy`].
    pub export_policy: Option<PolicyName>,
    /// Routes of the global table's BGP that this policy accepts come in.
    pub import_global: Option<PolicyName>,
    /// Its own, of CEs and those that `redistribute` names, go to the global table as far as this accepts them.
    pub export_global: Option<PolicyName>,
    /// Which of its routes are told beside those of CEs; left out: connected and static ones.
    pub redistribute: Option<BTreeSet<Origin>>,
    /// Of labels that lead into it, and of labels that its routes push; left out: `dataplane.mpls-ttl`.
    pub mpls_ttl: Option<TtlMode>,
    /// `label-mode`: which labels its routes are told with.
    pub label_mode: LabelMode,
    /// Packets that leave by labels get an entropy label below them (RFC 6790).
    pub entropy: bool,
}

impl fmt::Display for Vrf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(rd) = self.rd {
            write!(f, " rd {rd}")?;
        }
        self.import
            .iter()
            .try_for_each(|t| write!(f, " import {t}"))?;
        self.export
            .iter()
            .try_for_each(|t| write!(f, " export {t}"))?;
        for (key, policy) in self.policies() {
            write!(f, " {key} {}", policy.0)?;
        }
        if let Some(all) = &self.redistribute {
            f.write_str(" redistribute")?;
            all.iter().try_for_each(|o| write!(f, " {}", o.name()))?;
        }
        if self.label_mode != LabelMode::default() {
            write!(f, " label-mode {}", self.label_mode.name())?;
        }
        if self.entropy {
            f.write_str(" entropy-label")?;
        }
        self.mpls_ttl
            .map_or(Ok(()), |mode| write!(f, " ttl {}", print::ttl(mode)))
    }
}

impl Vrf {
    /// Are routes of that source told, beside those of CEs?
    #[must_use]
    pub fn redistributes(&self, source: Origin) -> bool {
        self.redistribute
            .as_ref()
            .is_none_or(|all| all.contains(&source))
    }

    /// Its policies, with their keys.
    fn policies(&self) -> impl Iterator<Item = (&'static str, &PolicyName)> {
        let all = [
            ("import-policy", &self.import_policy),
            ("export-policy", &self.export_policy),
            (IMPORT_GLOBAL, &self.import_global),
            (EXPORT_GLOBAL, &self.export_global),
        ];
        all.into_iter()
            .filter_map(|(key, p)| Some((key, p.as_ref()?)))
    }

    /// Its section of the file.
    pub(super) fn to_table(&self) -> OutTable {
        let mut table = OutTable::new();
        let mut set = |key: &str, value: toml_edit::Value| table.insert(key, Item::Value(value));
        if let Some(rd) = self.rd {
            set("rd", rd.to_string().into());
        }
        for (key, targets) in [("import", &self.import), ("export", &self.export)] {
            if !targets.is_empty() {
                let all: Array = targets.iter().map(ToString::to_string).collect();
                set(key, all.into());
            }
        }
        for (key, policy) in self.policies() {
            set(key, policy.0.as_str().into());
        }
        if let Some(all) = &self.redistribute {
            let all: Array = all.iter().map(|o| o.name()).collect();
            set("redistribute", all.into());
        }
        if let Some(mode) = self.mpls_ttl {
            set("mpls-ttl", print::ttl(mode).into());
        }
        if self.label_mode != LabelMode::default() {
            set("label-mode", self.label_mode.name().into());
        }
        if self.entropy {
            set("entropy-label", true.into());
        }
        table
    }
}

/// Whether a VRF may be called so.
pub(super) fn name(text: &str) -> Result<VrfName, String> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match text {
        GLOBAL | "default" | "all" => Err(format!(
            "a VRF can't be called {text:?}, which could be taken for the global table; choose another name"
        )),
        _ if (1..=MAX_NAME).contains(&text.len()) && text.chars().all(good) => Ok(text.into()),
        _ => Err(format!(
            "{text:?} can't be a VRF's name: 1 to {MAX_NAME} letters, digits, '-', '_' or '.'"
        )),
    }
}

/// The policies of VRFs are among those that there are.
pub(super) fn with_policies(
    vrfs: &BTreeMap<VrfName, Vrf>,
    places: &HashMap<VrfName, usize>,
    known: &[&str],
    log: &mut Log<'_>,
) {
    for (name, vrf) in vrfs {
        for (key, PolicyName(policy)) in vrf.policies() {
            if known.contains(&policy.as_str()) {
                continue;
            }
            let message = match nearest(policy, known) {
                Some(near) => format!("there is no policy {policy:?}; did you mean \"{near}\"?"),
                None => format!("there is no policy {policy:?}; write it as [policy.{policy}]"),
            };
            let at = places.get(name).copied().unwrap_or_default();
            log.at(at, format!("vrf.{name}.{key}"), message);
        }
    }
}

/// Routes that go between a VRF and the global table are BGP's: without it such a policy is a mistake.
pub(super) fn without_bgp(
    vrfs: &BTreeMap<VrfName, Vrf>,
    places: &HashMap<VrfName, usize>,
    log: &mut Log<'_>,
) {
    for (name, vrf) in vrfs {
        for (key, _) in vrf.policies() {
            if [IMPORT_GLOBAL, EXPORT_GLOBAL].contains(&key) {
                let at = places.get(name).copied().unwrap_or_default();
                let message = "it is about routes of BGP, and there is no [bgp]; add that, or write a [[route]] with via-table";
                log.at(at, format!("vrf.{name}.{key}"), message);
            }
        }
    }
}

/// With BGP, a target is for another VRF of this router, or for other routers. Those that are for neither are mistakes.
pub(super) fn matchable(
    vrfs: &BTreeMap<VrfName, Vrf>,
    places: &HashMap<VrfName, usize>,
    bgp: &Bgp,
    log: &mut Log<'_>,
) {
    let vpn = |n: &Neighbor| {
        let families = bgp.settings(n).families.map(|f| f.0).unwrap_or_default();
        families.contains(Family::Vpnv4) || families.contains(Family::Vpnv6)
    };
    if bgp.neighbors.values().any(vpn) {
        return;
    }
    type List = fn(&Vrf) -> &Vec<RouteTarget>;
    let import: List = |v| &v.import;
    let export: List = |v| &v.export;
    let both = [
        ("import", import, export, "exports"),
        ("export", export, import, "imports"),
    ];
    for (name, vrf) in vrfs {
        let others = || vrfs.iter().filter(|(n, _)| *n != name);
        for (key, list, other, verb) in both {
            let alone = |t: &&RouteTarget| !others().any(|(_, v)| other(v).contains(t));
            if let Some(target) = list(vrf).iter().find(alone) {
                let at = places.get(name).copied().unwrap_or_default();
                let message = format!(
                    "nobody can match {target}: no other VRF here {verb} it, and no neighbour has \"vpnv4\" or \"vpnv6\" among its families; add either, or leave it out"
                );
                log.at(at, format!("vrf.{name}.{key}"), message);
            }
        }
    }
}

/// The name of a table: a VRF's, or the global one's.
pub(super) fn table_name(text: &str) -> Result<VrfName, String> {
    match text {
        GLOBAL => Ok(text.into()),
        other => name(other),
    }
}

/// The key `vrf` of a table, if it has one.
pub(super) fn of(table: &Table<'_>, log: &mut Log<'_>) -> Option<At<VrfName>> {
    if let Some(value) = table.get("vrf")
        && matches!(value.get_ref(), DeValue::Array(_))
    {
        let message = "one name is wanted, such as \"blue\": nothing is in two VRFs";
        log.at(value.span().start, Key::Of(&table.key, "vrf"), message);
        return None;
    }
    table.read("vrf", log, name)
}

/// All `[vrf.NAME]`.
pub(super) fn sections(root: &Table<'_>, log: &mut Log<'_>) -> Vec<At<(VrfName, Vrf)>> {
    let mut out = Vec::new();
    let Some(value) = root.get("vrf") else {
        return out;
    };
    let place = Key::Of(&root.key, "vrf");
    let DeValue::Table(all) = value.get_ref() else {
        let hint = "a table by name is wanted; write [vrf.NAME] in single brackets";
        log.at(value.span().start, place, hint);
        return out;
    };
    for (found, value) in all {
        let at = found.span().start;
        let key = Key::Of(&place, found.get_ref());
        let DeValue::Table(entries) = value.get_ref() else {
            let hint = "a table is wanted; write [vrf.NAME] above the keys of a VRF";
            log.at(at, key, hint);
            continue;
        };
        let known = [
            "rd",
            "import",
            "export",
            "import-policy",
            "export-policy",
            IMPORT_GLOBAL,
            EXPORT_GLOBAL,
            "redistribute",
            "mpls-ttl",
            "label-mode",
            "entropy-label",
        ];
        let table = Table::new(entries, at, key, &known, &[], log);
        let vrf = Vrf {
            rd: table.read("rd", log, distinguisher).map(|rd| rd.value),
            import: targets(&table, "import", log),
            export: targets(&table, "export", log),
            import_policy: policy(&table, "import-policy", log),
            export_policy: policy(&table, "export-policy", log),
            import_global: policy(&table, IMPORT_GLOBAL, log),
            export_global: policy(&table, EXPORT_GLOBAL, log),
            redistribute: redistribute(&table, log),
            mpls_ttl: table.read("mpls-ttl", log, terms::ttl).map(|t| t.value),
            label_mode: (table.read("label-mode", log, LabelMode::read))
                .map_or_else(LabelMode::default, |m| m.value),
            entropy: table.boolean("entropy-label", log).unwrap_or(false),
        };
        match name(found.get_ref()) {
            Ok(name) => out.push(At {
                at,
                value: (name, vrf),
            }),
            Err(message) => log.at(at, key, message),
        }
    }
    out
}

fn policy(table: &Table<'_>, key: &'static str, log: &mut Log<'_>) -> Option<PolicyName> {
    let named = |text: &str| match text {
        "" => Err("the name of a [policy.NAME] is wanted".to_owned()),
        name => Ok(PolicyName(name.to_owned())),
    };
    table.read(key, log, named).map(|p| p.value)
}

fn redistribute(table: &Table<'_>, log: &mut Log<'_>) -> Option<BTreeSet<Origin>> {
    let key = Key::Of(&table.key, "redistribute");
    table.get("redistribute")?;
    let mut out = BTreeSet::new();
    for value in table.list("redistribute") {
        let Some(text) = string(value, key, log) else {
            continue;
        };
        match text.value {
            "connected" => drop(out.insert(Origin::Connected)),
            "static" => drop(out.insert(Origin::Static)),
            other => log.at(
                text.at,
                key,
                format!("{other:?} is not \"connected\" or \"static\""),
            ),
        }
    }
    Some(out)
}

fn targets(table: &Table<'_>, which: &'static str, log: &mut Log<'_>) -> Vec<RouteTarget> {
    let key = Key::Of(&table.key, which);
    let mut out = Vec::new();
    for value in table.list(which) {
        let Some(text) = string(value, key, log) else {
            continue;
        };
        match target(text.value) {
            Ok(found) if out.contains(&found) => log.at(text.at, key, "is there twice"),
            Ok(found) => out.push(found),
            Err(message) => log.at(text.at, key, message),
        }
    }
    out
}

/// The VRFs, no two with one distinguisher.
pub(super) fn validate(
    drafts: Vec<At<(VrfName, Vrf)>>,
    log: &mut Log<'_>,
) -> BTreeMap<VrfName, Vrf> {
    if drafts.len() > MAX_VRFS {
        let message = format!("{} VRFs; at most {MAX_VRFS} are possible", drafts.len());
        log.at(drafts[MAX_VRFS].at, "vrf", message);
    }
    let mut by_rd: HashMap<Rd, VrfName> = HashMap::new();
    let mut out = BTreeMap::new();
    let mut drafts = drafts;
    drafts.sort_by_key(|draft| draft.at);
    for At {
        at,
        value: (name, vrf),
    } in drafts
    {
        if let Some(rd) = vrf.rd
            && let Some(other) = by_rd.insert(rd, Arc::clone(&name))
        {
            let message = format!(
                "{rd} is the distinguisher of {other} already; each VRF needs its own, or their routes are the same to BGP"
            );
            log.at(at, format!("vrf.{name}.rd"), message);
        }
        out.insert(name, vrf);
    }
    out
}

/// A table by its name, as routes name it; `None`: the global one.
pub(crate) fn table_of(name: &VrfName) -> Option<&VrfName> {
    (**name != *GLOBAL).then_some(name)
}

/// Whether there is a VRF of this name.
pub(crate) fn exists(vrfs: &BTreeMap<VrfName, Vrf>, name: &str) -> Result<(), String> {
    if vrfs.contains_key(name) {
        return Ok(());
    }
    let names: Vec<&str> = vrfs.keys().map(|n| &**n).collect();
    let hint = match nearest(name, &names) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None if names.is_empty() => format!("add [vrf.{name}]"),
        None if names.len() <= 8 => format!("the VRFs are {}", names.join(", ")),
        None => "trunkctl vrf show lists them".to_owned(),
    };
    Err(format!("there is no VRF {name:?}; {hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distinguishers_and_targets_are_as_on_the_wire() {
        for (text, bytes) in [
            ("64512:1", [0, 0, 0xfc, 0, 0, 0, 0, 1]),
            ("64512:4294967295", [0, 0, 0xfc, 0, 255, 255, 255, 255]),
            ("192.0.2.1:7", [0, 1, 192, 0, 2, 1, 0, 7]),
            ("4200000000:9", [0, 2, 0xfa, 0x56, 0xea, 0, 0, 9]),
        ] {
            let rd = distinguisher(text).unwrap();
            assert_eq!((rd.0, rd.to_string()), (bytes, text.to_owned()));
            let rt = target(&format!("target:{text}")).unwrap();
            let mut wanted = bytes;
            (wanted[0], wanted[1]) = (bytes[1], 2);
            assert_eq!((rt.0, rt.to_string()), (wanted, format!("target:{text}")));
        }
        for wrong in [
            "",
            "1",
            "x:1",
            "1:x",
            "192.0.2.1:65536",
            "4200000000:65536",
            "1:4294967296",
        ] {
            assert!(distinguisher(wrong).is_err(), "{wrong}");
            assert!(target(&format!("target:{wrong}")).is_err(), "{wrong}");
        }
        assert!(target("64512:1").is_err(), "it says what it is");
    }

    #[test]
    fn the_global_table_comes_first() {
        let dest = |vrf: Option<&str>, p: &str| Dest {
            vrf: vrf.map(Into::into),
            prefix: p.parse().unwrap(),
        };
        let mut all = [
            dest(Some("b"), "10.0.0.0/8"),
            dest(Some("a"), "192.0.2.0/24"),
            dest(None, "2001:db8::/32"),
        ];
        all.sort();
        assert_eq!(
            all.map(|d| d.to_string()),
            ["2001:db8::/32", "192.0.2.0/24 vrf a", "10.0.0.0/8 vrf b"]
        );
    }
}
