//! The text of policies, sets and `[rpki]`: every key known, every word understood, each with its place.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::str::FromStr;

use ::bgp::policy::{
    Action, AsPathPattern, AsnRange, CommunityPattern, ExtPattern, LargePattern, MatchSpec,
    PolicySpec, PrefixRange, RuleSpec, SetSpec, Word, WordError,
};
use toml::Spanned;
use toml::de::DeValue;

use super::super::reader::{At, Key, Log, Table, mistyped};
use super::SetKind;
use super::rpki::{self, Rpki};

/// The entries of a set that stand in the configuration.
#[derive(Debug)]
pub(super) enum Entries {
    Prefix(Vec<PrefixRange>),
    As(Vec<AsnRange>),
    AsPath(Vec<AsPathPattern>),
    Community(Vec<CommunityPattern>),
    ExtCommunity(Vec<ExtPattern>),
    LargeCommunity(Vec<LargePattern>),
}

/// A set as it was written.
#[derive(Debug)]
pub(super) enum SetDraft {
    Inline(Entries),
    File(String),
}

/// A policy, a rule of it (0: itself), and a key as [`::bgp::policy::PolicyError`] has it.
pub(super) type Place = (String, usize, String);

/// Policies, sets and `[rpki]`, well formed.
#[derive(Debug, Default)]
pub(in crate::config) struct Draft {
    pub(super) sets: BTreeMap<(SetKind, String), At<SetDraft>>,
    pub(super) specs: BTreeMap<String, PolicySpec>,
    pub(super) places: HashMap<Place, usize>,
    pub(super) rpki: Option<Rpki>,
}

impl Draft {
    /// `[rpki]`
    pub(in crate::config) fn rpki(&self) -> Option<Rpki> {
        self.rpki.clone()
    }
}

/// The keys of a rule.
pub(in crate::config) const RULE_KEYS: [&str; 6] =
    ["name", "match", "unless", "call", "set", "action"];

/// Reads `[policy.*]`, the sets, and `[rpki]`.
pub(in crate::config) fn sections(root: &Table<'_>, log: &mut Log<'_>) -> Draft {
    let mut out = Draft::default();
    for kind in SetKind::ALL {
        sets(root, kind, &mut out, log);
    }
    policies(root, &mut out, log);
    out.rpki = rpki::section(root, log);
    out
}

/// A name that needs no quotes: it stands in keys and in what `trunkctl` shows.
fn plain_name(name: &str) -> Result<(), String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    match name.len() {
        1..=64 if name.bytes().all(plain) => Ok(()),
        _ => Err("a name has 1 to 64 letters, digits, \"-\" and \"_\"".into()),
    }
}

/// The tables under `section`, by name.
fn named<'t>(
    root: &Table<'t>,
    section: &'static str,
    hint: &str,
    log: &mut Log<'_>,
) -> Vec<(usize, &'t str, &'t Spanned<DeValue<'t>>)> {
    let Some(value) = root.get(section) else {
        return Vec::new();
    };
    let place = Key::Of(&root.key, section);
    let DeValue::Table(all) = value.get_ref() else {
        log.at(value.span().start, place, hint);
        return Vec::new();
    };
    let mut out = Vec::new();
    for (name, value) in all {
        let (at, name): (usize, &str) = (name.span().start, name.get_ref());
        match plain_name(name) {
            Ok(()) => out.push((at, name, value)),
            Err(message) => log.at(at, Key::Of(&place, name), message),
        }
    }
    out
}

fn sets(root: &Table<'_>, kind: SetKind, out: &mut Draft, log: &mut Log<'_>) {
    let section = kind.section();
    let hint = format!("sets by name are wanted; write [{section}] above NAME = [\"…\"]");
    let place = Key::Of(&root.key, section);
    for (at, name, value) in named(root, section, &hint, log) {
        let key = Key::Of(&place, name);
        let draft = match value.get_ref() {
            DeValue::Table(entries) => {
                let table = Table::new(entries, at, key, &["file"], &[], log);
                file(&table, entries.is_empty(), log).map(SetDraft::File)
            }
            _ => entries(kind, value, key, log).map(SetDraft::Inline),
        };
        if let Some(value) = draft {
            let name = name.to_owned();
            out.sets.insert((kind, name), At { at, value });
        }
    }
}

fn file(table: &Table<'_>, empty: bool, log: &mut Log<'_>) -> Option<String> {
    if empty {
        let message = "is missing; write { file = \"NAME\" }, or a list of entries";
        log.at(table.at, Key::Of(&table.key, "file"), message);
        return None;
    }
    let file = table.read("file", log, |text| match text {
        "" => Err("the name of a file is wanted".into()),
        _ => Ok(text.to_owned()),
    });
    file.map(|f| f.value)
}

fn entries(
    kind: SetKind,
    value: &Spanned<DeValue<'_>>,
    key: Key<'_>,
    log: &mut Log<'_>,
) -> Option<Entries> {
    match kind {
        SetKind::Prefix => list(value, key, log).map(Entries::Prefix),
        SetKind::As => list(value, key, log).map(Entries::As),
        SetKind::AsPath => list(value, key, log).map(Entries::AsPath),
        SetKind::Community => list(value, key, log).map(Entries::Community),
        SetKind::ExtCommunity => list(value, key, log).map(Entries::ExtCommunity),
        SetKind::LargeCommunity => list(value, key, log).map(Entries::LargeCommunity),
    }
}

/// The entries of a set; `None`: a mistake was noted.
fn list<T: FromStr<Err: Display>>(
    value: &Spanned<DeValue<'_>>,
    key: Key<'_>,
    log: &mut Log<'_>,
) -> Option<Vec<T>> {
    let mut out = Vec::new();
    let mut good = true;
    for (at, word) in words(value, key, log)? {
        let text = match &word {
            Word::Text(text) => text.to_string(),
            Word::Number(n) => n.to_string(),
            Word::Flag(_) => {
                log.at(at, key, "a string in quotes is wanted, not a boolean");
                good = false;
                continue;
            }
        };
        match text.parse() {
            Ok(entry) => out.push(entry),
            Err(e) => {
                log.at(at, key, T::Err::to_string(&e));
                good = false;
            }
        }
        if log.is_full() {
            return None;
        }
    }
    good.then_some(out)
}

/// The words behind a key, each with its place. `None`: a mistake was noted.
fn words<'t>(
    value: &'t Spanned<DeValue<'t>>,
    key: Key<'_>,
    log: &mut Log<'_>,
) -> Option<Vec<(usize, Word<'t>)>> {
    let all: Vec<&Spanned<DeValue<'_>>> = match value.get_ref() {
        DeValue::Array(all) => all.iter().collect(),
        _ => vec![value],
    };
    let mut out = Vec::with_capacity(all.len());
    for value in all {
        let at = value.span().start;
        let word = match value.get_ref() {
            DeValue::String(text) => Some(Word::Text(text.as_ref().into())),
            DeValue::Boolean(b) => Some(Word::Flag(*b)),
            DeValue::Integer(n) if log.is_signed(at) => {
                let message = format!(
                    "a change is written in quotes, \"+{n}\": without them, it is the number {n}"
                );
                log.at(at, key, message.replace("++", "+"));
                return None;
            }
            DeValue::Integer(n) => i64::from_str_radix(n.as_str(), n.radix())
                .ok()
                .map(Word::Number),
            _ => None,
        };
        let Some(word) = word else {
            mistyped(
                value,
                key,
                "a string in quotes, a number, or a list of them,",
                log,
            );
            return None;
        };
        out.push((at, word));
    }
    Some(out)
}

fn policies(root: &Table<'_>, out: &mut Draft, log: &mut Log<'_>) {
    let hint = "a table by name is wanted; write [policy.NAME] in single brackets";
    let place = Key::Of(&root.key, "policy");
    for (at, name, value) in named(root, "policy", hint, log) {
        let key = Key::Of(&place, name);
        let DeValue::Table(entries) = value.get_ref() else {
            let hint = "a table is wanted; write [policy.NAME] above the keys of a policy";
            log.at(at, key, hint);
            continue;
        };
        out.places.insert((name.to_owned(), 0, String::new()), at);
        let table = Table::new(entries, at, key, &["default", "rule"], &[], log);
        let default = table.read("default", log, |text| match text {
            "accept" => Ok(true),
            "reject" => Ok(false),
            _ => Err(format!("{text:?} is not \"accept\" or \"reject\"")),
        });
        let list = Key::Of(&table.key, "rule");
        let mut rules = Vec::new();
        for (index, at, entries) in table.tables("rule", log) {
            let table = Table::new(entries, at, Key::Nth(&list, index), &RULE_KEYS, &[], log);
            let mut note = |key: String, at: usize| {
                out.places.insert((name.to_owned(), index + 1, key), at);
            };
            note(String::new(), at);
            rules.push(rule(&table, &mut note, log));
        }
        let spec = PolicySpec {
            rules,
            default: default.is_some_and(|d| d.value),
        };
        out.specs.insert(name.to_owned(), spec);
    }
}

fn rule(table: &Table<'_>, note: &mut dyn FnMut(String, usize), log: &mut Log<'_>) -> RuleSpec {
    let mut spec = RuleSpec::default();
    if let Some(name) = table.string("name", log) {
        match name.value.len() {
            1..=64 if !name.value.contains(char::is_control) => {
                spec.name = Some(name.value.to_owned());
            }
            _ => log.at(
                name.at,
                Key::Of(&table.key, "name"),
                "a name has 1 to 64 characters",
            ),
        }
    }
    if let Some(call) = table.string("call", log) {
        note("call".into(), call.at);
        spec.call = Some(call.value.to_owned());
    }
    if let Some(action) = table.read("action", log, str::parse::<Action>) {
        note("action".into(), action.at);
        spec.action = action.value;
    }
    for (part, matches) in [("match", &mut spec.matches), ("unless", &mut spec.unless)] {
        let mut put = |key: &str, words: &[Word<'_>]| matches.put(key, words);
        keys(table, part, &MatchSpec::KEYS, &mut put, note, log);
    }
    let set = &mut spec.set;
    let mut put = |key: &str, words: &[Word<'_>]| set.put(key, words);
    keys(table, "set", &SetSpec::KEYS, &mut put, note, log);
    spec
}

/// Takes the words behind a key.
type Put<'a> = dyn FnMut(&str, &[Word<'_>]) -> Result<(), WordError> + 'a;

/// Puts what stands behind each key of a table where it belongs.
fn keys(
    table: &Table<'_>,
    part: &'static str,
    known: &[&'static str],
    put: &mut Put<'_>,
    note: &mut dyn FnMut(String, usize),
    log: &mut Log<'_>,
) {
    let Some(table) = table.section(part, known, log) else {
        return;
    };
    for name in known {
        let Some(value) = table.get(name) else {
            continue;
        };
        let key = Key::Of(&table.key, name);
        note(format!("{part}.{name}"), value.span().start);
        let Some(words) = words(value, key, log) else {
            continue;
        };
        let (places, words): (Vec<usize>, Vec<Word<'_>>) = words.into_iter().unzip();
        if let Err(e) = put(name, &words) {
            let at = e.nth.and_then(|nth| places.get(nth).copied());
            log.at(at.unwrap_or(value.span().start), key, e.message);
        }
    }
}
