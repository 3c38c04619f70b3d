//! `[bgp]` as text: a table that reads back to the same, and the lines of `config diff`. No line has a secret in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use toml_edit::{Array, InlineTable, Item, Table, Value};

use super::value::{OwnLabel, PolicyName, Word};
use super::{Bgp, Neighbor, PeerKey, Settings, Speaker};

fn set(table: &mut Table, key: &str, value: impl Into<Value>) {
    table.insert(key, Item::Value(value.into()));
}

fn with_policy(
    key: &str,
    value: &str,
    policy: Option<&PolicyName>,
    (label, index): (Option<OwnLabel>, Option<u32>),
) -> Value {
    if policy.is_none() && label.is_none() {
        return value.into();
    }
    let mut table = InlineTable::new();
    table.insert(key, value.into());
    if let Some(policy) = policy {
        table.insert("policy", policy.0.as_str().into());
    }
    if let Some(label) = label {
        table.insert("label", label.write());
    }
    if let Some(index) = index {
        table.insert("label-index", i64::from(index).into());
    }
    table.into()
}

fn speaker(s: &Speaker) -> Table {
    let default = Speaker::new(s.asn);
    let mut table = Table::new();
    set(&mut table, "as", i64::from(s.asn));
    if !s.listen.is_empty() {
        let all: Array = s.listen.iter().map(ToString::to_string).collect();
        set(&mut table, "listen", all);
    }
    if s.port != default.port {
        set(&mut table, "port", i64::from(s.port));
    }
    if !s.install {
        set(&mut table, "install", false);
    }
    if s.label_delay != default.label_delay {
        set(&mut table, "label-delay", i64::from(s.label_delay));
    }
    let words = [
        ("hold-time", s.hold_time.map(|v| v.write())),
        ("connect-retry", s.connect_retry.map(|v| v.write())),
        ("restart-time", s.restart_time.map(|v| v.write())),
        ("restart-deferral", s.restart_deferral.map(|v| v.write())),
        ("cluster-id", s.cluster_id.map(|v| v.write())),
        ("confederation", s.confederation.as_ref().map(Word::write)),
        (
            "multipath",
            (s.multipath != default.multipath).then(|| s.multipath.write()),
        ),
        (
            "backup",
            (s.backup != default.backup).then(|| s.backup.write()),
        ),
        ("med", (s.med != default.med).then(|| s.med.write())),
        (
            "distance",
            (s.distance != default.distance).then(|| s.distance.write()),
        ),
    ];
    for (key, value) in words {
        if let Some(value) = value {
            set(&mut table, key, value);
        }
    }
    let switches = [
        ("prefer-oldest", s.prefer_oldest),
        ("best-external", s.best_external),
        ("next-hop-by-default", s.next_hop_by_default),
    ];
    for (key, _) in switches.iter().filter(|(_, on)| *on) {
        set(&mut table, key, true);
    }
    if !s.networks.is_empty() {
        let one = |n: &super::Network| {
            let labels = (n.label, n.index);
            with_policy("prefix", &n.prefix.to_string(), n.policy.as_ref(), labels)
        };
        set(
            &mut table,
            "networks",
            s.networks.iter().map(one).collect::<Array>(),
        );
    }
    if !s.redistribute.is_empty() {
        let one = |r: &super::Redistribute| {
            with_policy("from", r.source.name(), r.policy.as_ref(), (r.label, None))
        };
        let all: Array = s.redistribute.iter().map(one).collect();
        set(&mut table, "redistribute", all);
    }
    table
}

fn settings(s: &Settings) -> Table {
    let mut table = Table::new();
    s.write(&mut table);
    table
}

fn neighbor(n: &Neighbor) -> Table {
    let mut table = Table::new();
    if let Some(group) = &n.group {
        set(&mut table, "group", group.as_str());
    }
    n.own.write(&mut table);
    table
}

impl Bgp {
    /// The section of the file.
    pub(in crate::config) fn to_table(&self) -> Table {
        let mut table = speaker(&self.speaker);
        let mut parts = [("group", Table::new()), ("neighbor", Table::new())];
        for (name, group) in &self.groups {
            parts[0].1.insert(name, Item::Table(settings(group)));
        }
        for (key, n) in &self.neighbors {
            parts[1]
                .1
                .insert(&key.to_string(), Item::Table(neighbor(n)));
        }
        for (name, mut part) in parts {
            if !part.is_empty() {
                part.set_implicit(true);
                table.insert(name, Item::Table(part));
            }
        }
        table
    }
}

/// One line of what changes in `[bgp]`.
#[derive(Clone, Debug, PartialEq)]
pub enum BgpStep {
    /// What holds for the speaker as a whole: (as it was, as it becomes).
    Speaker(Option<Box<Speaker>>, Option<Box<Speaker>>),
    /// A group, by name.
    Group(String, Option<Box<Settings>>, Option<Box<Settings>>),
    /// A neighbour, with all that holds for it.
    Neighbor(PeerKey, Option<Box<Settings>>, Option<Box<Settings>>),
}

/// What is to be done to get from one `[bgp]` to another; a neighbour is named when anything changes that holds for it.
#[must_use]
pub fn steps(from: Option<&Arc<Bgp>>, to: Option<&Arc<Bgp>>) -> Vec<BgpStep> {
    if super::same(from, to) {
        return Vec::new();
    }
    let mut out = Vec::new();
    let speaker = |b: Option<&Arc<Bgp>>| b.map(|b| Box::new(b.speaker.clone()));
    if speaker(from) != speaker(to) {
        out.push(BgpStep::Speaker(speaker(from), speaker(to)));
    }
    let groups = |b: Option<&Arc<Bgp>>| b.map(|b| b.groups.clone()).unwrap_or_default();
    for (name, old, new) in differences(groups(from), groups(to)) {
        out.push(BgpStep::Group(name, old, new));
    }
    let neighbors = |b: Option<&Arc<Bgp>>| -> BTreeMap<PeerKey, (Option<String>, Settings)> {
        let all = b.iter().flat_map(|b| {
            let whole = |n: &Neighbor| (n.group.clone(), b.settings(n));
            b.neighbors.iter().map(move |(k, n)| (k.clone(), whole(n)))
        });
        all.collect()
    };
    for (key, old, new) in differences(neighbors(from), neighbors(to)) {
        let settings = |v: Option<Box<(Option<String>, Settings)>>| v.map(|v| Box::new(v.1));
        out.push(BgpStep::Neighbor(key, settings(old), settings(new)));
    }
    if out.is_empty() {
        // The same in other words: what was a neighbour's own is its group's now, say.
        out.push(BgpStep::Speaker(speaker(from), speaker(to)));
    }
    out
}

type Difference<K, V> = (K, Option<Box<V>>, Option<Box<V>>);

fn differences<K: Ord + Clone, V: PartialEq>(
    mut from: BTreeMap<K, V>,
    mut to: BTreeMap<K, V>,
) -> Vec<Difference<K, V>> {
    let keys: BTreeSet<K> = from.keys().chain(to.keys()).cloned().collect();
    let one = |key: K| {
        let (old, new) = (from.remove(&key), to.remove(&key));
        (old != new).then(|| (key, old.map(Box::new), new.map(Box::new)))
    };
    keys.into_iter().filter_map(one).collect()
}

/// A table without line breaks.
fn one_line(table: &Table) -> String {
    let parts: Vec<String> = table
        .iter()
        .map(|(k, v)| format!("{k} = {}", v.to_string().trim()))
        .collect();
    parts.join(", ")
}

impl fmt::Display for BgpStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, old, new) = match self {
            Self::Speaker(old, new) => {
                let text = |s: &Option<Box<Speaker>>| s.as_ref().map(|s| one_line(&speaker(s)));
                ("bgp".to_owned(), text(old), text(new))
            }
            Self::Group(name, old, new) => {
                let text = |s: &Option<Box<Settings>>| s.as_ref().map(|s| one_line(&settings(s)));
                (format!("bgp group {name}"), text(old), text(new))
            }
            Self::Neighbor(key, old, new) => {
                let text = |s: &Option<Box<Settings>>| s.as_ref().map(|s| one_line(&settings(s)));
                (format!("bgp neighbor {key}"), text(old), text(new))
            }
        };
        let sign = match (&old, &new) {
            (None, _) => "+",
            (_, None) => "-",
            _ => "~",
        };
        write!(
            f,
            "{sign} {name}: {}",
            new.as_ref().or(old.as_ref()).map_or("", String::as_str)
        )?;
        match (&old, &new) {
            (Some(old), Some(new)) if old == new => f.write_str(" (a key or a file of it changed)"),
            (Some(old), Some(_)) => write!(f, " (was {old})"),
            _ => Ok(()),
        }
    }
}
