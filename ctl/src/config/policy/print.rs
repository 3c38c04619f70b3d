//! Policies, sets and `[rpki]` as text: tables that read back to the same, and the lines of `config diff`.

use std::fmt;
use std::sync::Arc;

use ::bgp::policy::{Action, MatchSpec, PolicySpec, RuleSpec, SetSpec, Value as Words, Word};
use toml_edit::{Array, ArrayOfTables, DocumentMut, InlineTable, Item, Table, Value};

use super::super::model::Valid;
use super::{PolicyBook, Rpki, SetKind, SetSource};

fn word(word: &Word<'_>) -> Value {
    match word {
        Word::Text(text) => text.as_ref().into(),
        Word::Number(n) => (*n).into(),
        Word::Flag(b) => (*b).into(),
    }
}

fn words(value: &Words) -> Value {
    match value {
        Words::One(one) => word(one),
        Words::Many(all) => all.iter().map(word).collect::<Array>().into(),
    }
}

fn inline<'a>(entries: impl Iterator<Item = (&'a str, Words)>) -> InlineTable {
    entries.map(|(key, value)| (key, words(&value))).collect()
}

fn set(table: &mut Table, key: &str, value: impl Into<Value>) {
    table.insert(key, Item::Value(value.into()));
}

fn rule(spec: &RuleSpec) -> Table {
    let mut table = Table::new();
    if let Some(name) = &spec.name {
        set(&mut table, "name", name.as_str());
    }
    let conditions = |m: &MatchSpec| (!m.is_empty()).then(|| inline(m.entries()));
    let settings = |s: &SetSpec| (!s.is_empty()).then(|| inline(s.entries()));
    let parts = [
        ("match", conditions(&spec.matches)),
        ("unless", conditions(&spec.unless)),
    ];
    for (key, part) in parts {
        if let Some(part) = part {
            set(&mut table, key, part);
        }
    }
    if let Some(call) = &spec.call {
        set(&mut table, "call", call.as_str());
    }
    if let Some(part) = settings(&spec.set) {
        set(&mut table, "set", part);
    }
    if spec.action != Action::Next {
        set(&mut table, "action", spec.action.name());
    }
    table
}

fn verdict(accept: bool) -> &'static str {
    if accept { "accept" } else { "reject" }
}

fn policy(spec: &PolicySpec) -> Table {
    let mut table = Table::new();
    set(&mut table, "default", verdict(spec.default));
    let rules: ArrayOfTables = spec.rules.iter().map(rule).collect();
    if !rules.is_empty() {
        table.insert("rule", Item::ArrayOfTables(rules));
    }
    table
}

fn source(source: &SetSource) -> Value {
    match source {
        SetSource::Inline(all) => all.iter().collect::<Array>().into(),
        SetSource::File { written, .. } => {
            let mut table = InlineTable::new();
            table.insert("file", written.as_str().into());
            table.into()
        }
    }
}

/// Adds the sections to a file.
pub(in crate::config) fn print(valid: &Valid, doc: &mut DocumentMut) {
    let book = &valid.policy;
    for kind in SetKind::ALL {
        let mut table = Table::new();
        for ((k, name), from) in &book.sets {
            if *k == kind {
                set(&mut table, name, source(from));
            }
        }
        if !table.is_empty() {
            doc.insert(kind.section(), Item::Table(table));
        }
    }
    if !book.specs.is_empty() {
        let mut all = Table::new();
        all.set_implicit(true);
        for (name, spec) in &book.specs {
            all.insert(name, Item::Table(policy(spec)));
        }
        doc.insert("policy", Item::Table(all));
    }
    if let Some(rpki) = &valid.rpki {
        doc.insert("rpki", Item::Table(rpki.to_table()));
    }
}

/// A change of policies, sets or `[rpki]`, as `config diff` shows it. The whole is in the configuration that a plan leads to.
#[derive(Clone, Debug, PartialEq)]
pub enum PolicyStep {
    /// A set: how many entries it had, and has.
    Set {
        /// Its kind.
        kind: SetKind,
        /// Its name.
        name: String,
        /// `None`: it is new.
        from: Option<usize>,
        /// `None`: it goes.
        to: Option<usize>,
    },
    /// A policy.
    Policy {
        /// Its name.
        name: String,
        /// `None`: it is new.
        from: Option<Box<PolicySpec>>,
        /// `None`: it goes.
        to: Option<Box<PolicySpec>>,
    },
    /// `[rpki]`.
    Rpki {
        /// `None`: there was none.
        from: Option<Arc<Rpki>>,
        /// `None`: it goes.
        to: Option<Arc<Rpki>>,
    },
}

/// What differs.
pub fn steps(from: &Valid, to: &Valid) -> Vec<PolicyStep> {
    let mut out = Vec::new();
    let (old, new) = (&from.policy, &to.policy);
    if old != new {
        sets(old, new, &mut out);
        let names = old.specs.keys().chain(new.specs.keys());
        let names: std::collections::BTreeSet<&String> = names.collect();
        for name in names {
            let (a, b) = (old.specs.get(name), new.specs.get(name));
            if a != b {
                out.push(PolicyStep::Policy {
                    name: name.clone(),
                    from: a.cloned().map(Box::new),
                    to: b.cloned().map(Box::new),
                });
            }
        }
    }
    if from.rpki != to.rpki {
        out.push(PolicyStep::Rpki {
            from: from.rpki.clone(),
            to: to.rpki.clone(),
        });
    }
    out
}

fn sets(old: &PolicyBook, new: &PolicyBook, out: &mut Vec<PolicyStep>) {
    let keys = old.sets.keys().chain(new.sets.keys());
    let keys: std::collections::BTreeSet<_> = keys.collect();
    for key in keys {
        let (a, b) = (old.sets.get(key), new.sets.get(key));
        if a != b || !old.same_set(new, key) {
            out.push(PolicyStep::Set {
                kind: key.0,
                name: key.1.clone(),
                from: a.map(SetSource::len),
                to: b.map(SetSource::len),
            });
        }
    }
}

impl PolicyBook {
    /// Does a set have the same entries in both?
    fn same_set(&self, other: &Self, (kind, name): &(SetKind, String)) -> bool {
        let (a, b) = (&self.compiled.sets, &other.compiled.sets);
        match kind {
            SetKind::Prefix => a.prefix.get(name) == b.prefix.get(name),
            SetKind::As => a.asn.get(name) == b.asn.get(name),
            SetKind::AsPath => a.as_path.get(name) == b.as_path.get(name),
            SetKind::Community => a.community.get(name) == b.community.get(name),
            SetKind::ExtCommunity => a.ext_community.get(name) == b.ext_community.get(name),
            SetKind::LargeCommunity => a.large_community.get(name) == b.large_community.get(name),
        }
    }
}

fn sign<T>(from: Option<&T>, to: Option<&T>) -> &'static str {
    match (from, to) {
        (None, _) => "+",
        (_, None) => "-",
        _ => "~",
    }
}

fn count(n: usize, what: &str) -> String {
    match n {
        1 => format!("1 {what}"),
        n => format!("{n} {what}s"),
    }
}

impl fmt::Display for PolicyStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set {
                kind,
                name,
                from,
                to,
            } => {
                let sign = sign(from.as_ref(), to.as_ref());
                write!(f, "{sign} {} {name}", kind.section())?;
                match (from, to) {
                    (Some(old), Some(new)) => write!(f, ": {} (was {old})", entries(*new)),
                    (Some(n), None) | (None, Some(n)) => write!(f, ": {}", entries(*n)),
                    (None, None) => Ok(()),
                }
            }
            Self::Policy { name, from, to } => {
                write!(f, "{} policy {name}", sign(from.as_ref(), to.as_ref()))?;
                to.as_ref().map_or(Ok(()), |spec| {
                    let rules = count(spec.rules.len(), "rule");
                    write!(f, ": {rules}, default {}", verdict(spec.default))
                })
            }
            Self::Rpki { from, to } => {
                write!(f, "{} ", sign(from.as_ref(), to.as_ref()))?;
                match to.as_ref().or(from.as_ref()) {
                    Some(rpki) => rpki.fmt(f),
                    None => Ok(()),
                }
            }
        }
    }
}

fn entries(n: usize) -> String {
    match n {
        1 => "1 entry".into(),
        n => format!("{n} entries"),
    }
}
