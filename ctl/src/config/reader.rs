//! Walks a parsed TOML document and notes what is wrong with it: unknown keys, wrong types, each with its line.

use std::fmt;
use std::path::Path;

use api::grammar::nearest;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, MAX_PROBLEMS, Problem};

/// A value and the octet of the text at which it stands.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub(super) at: usize,
    pub(super) value: T,
}

/// The mistakes found so far in one file.
pub(super) struct Log<'a> {
    file: &'a Path,
    text: &'a str,
    found: Vec<(usize, Problem)>,
}

impl<'a> Log<'a> {
    pub(super) fn new(file: &'a Path, text: &'a str) -> Self {
        Self {
            file,
            text,
            found: Vec::new(),
        }
    }

    /// Notes a mistake at the octet `at`.
    pub(super) fn at(&mut self, at: usize, key: impl fmt::Display, message: impl Into<String>) {
        if self.is_full() {
            return;
        }
        let problem = Problem {
            file: Some(self.file.to_owned()),
            line: self.line(at),
            key: key.to_string(),
            message: message.into(),
        };
        self.found.push((at, problem));
    }

    /// Notes the mistakes of another file.
    pub(super) fn others(&mut self, problems: Vec<Problem>) {
        let rest = MAX_PROBLEMS.saturating_sub(self.found.len());
        self.found
            .extend(problems.into_iter().take(rest).map(|p| (usize::MAX, p)));
    }

    pub(super) fn is_full(&self) -> bool {
        self.found.len() >= MAX_PROBLEMS
    }

    /// A number with a plus in front stands there.
    pub(super) fn is_signed(&self, at: usize) -> bool {
        self.text.as_bytes().get(at) == Some(&b'+')
    }

    /// The line of the octet `at`, counted from one.
    pub(super) fn line(&self, at: usize) -> usize {
        let before = &self.text.as_bytes()[..at.min(self.text.len())];
        1 + before.iter().filter(|b| **b == b'\n').count()
    }

    /// The verdict: `value`, or all mistakes in the order of the file.
    pub(super) fn verdict<T>(mut self, value: T) -> Result<T, ConfigError> {
        if self.found.is_empty() {
            return Ok(value);
        }
        self.found.sort_by_key(|(at, _)| *at);
        Err(ConfigError {
            problems: self.found.into_iter().map(|(_, p)| p).collect(),
        })
    }
}

/// Where a key is, built only when it is printed.
#[derive(Clone, Copy)]
pub(super) enum Key<'p> {
    Root,
    Of(&'p Key<'p>, &'p str),
    Nth(&'p Key<'p>, usize),
}

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Of(Self::Root, key) => write!(f, "{}", quoted(key)),
            Self::Of(parent, key) => write!(f, "{parent}.{}", quoted(key)),
            Self::Nth(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// A key as TOML writes it.
fn quoted(key: &str) -> String {
    let bare = !key.is_empty()
        && key
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if bare {
        key.to_owned()
    } else {
        format!("\"{key}\"")
    }
}

/// A table whose keys are known.
pub(super) struct Table<'t> {
    entries: &'t DeTable<'t>,
    /// The octet at which it begins.
    pub(super) at: usize,
    /// Its place.
    pub(super) key: Key<'t>,
}

impl<'t> Table<'t> {
    /// Notes every key that is not in `known`; of those in `later`, that they are not in this version.
    pub(super) fn new(
        entries: &'t DeTable<'t>,
        at: usize,
        key: Key<'t>,
        known: &[&'static str],
        later: &[(&str, &str)],
        log: &mut Log<'_>,
    ) -> Self {
        for name in entries.keys() {
            let word: &str = name.get_ref();
            if known.contains(&word) {
                continue;
            }
            let at = name.span().start;
            let place = Key::Of(&key, word);
            if let Some((_, sentence)) = later.iter().find(|(later, _)| *later == word) {
                log.at(at, place, *sentence);
            } else if let Some(near) = nearest(word, known) {
                log.at(at, place, format!("unknown key; did you mean \"{near}\"?"));
            } else {
                let list = known.join(", ");
                log.at(at, place, format!("unknown key; the keys here are {list}"));
            }
        }
        Self { entries, at, key }
    }

    /// The value under `name`, if there is one.
    pub(super) fn get(&self, name: &str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.entries.get(name)
    }

    /// A string.
    pub(super) fn string(&self, name: &str, log: &mut Log<'_>) -> Option<At<&'t str>> {
        let value = self.get(name)?;
        string(value, Key::Of(&self.key, name), log)
    }

    /// A string that `read` understands.
    pub(super) fn read<T>(
        &self,
        name: &str,
        log: &mut Log<'_>,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<At<T>> {
        let text = self.string(name, log)?;
        match read(text.value) {
            Ok(value) => Some(At { at: text.at, value }),
            Err(message) => {
                log.at(text.at, Key::Of(&self.key, name), message);
                None
            }
        }
    }

    /// A whole number from `least` to `most`.
    pub(super) fn number(
        &self,
        name: &str,
        least: u32,
        most: u32,
        log: &mut Log<'_>,
    ) -> Option<u32> {
        let value = self.get(name)?;
        number(value, Key::Of(&self.key, name), least, most, log)
    }

    /// `true` or `false`.
    pub(super) fn boolean(&self, name: &str, log: &mut Log<'_>) -> Option<bool> {
        let value = self.get(name)?;
        let found = value.get_ref().as_bool();
        if found.is_none() {
            mistyped(value, Key::Of(&self.key, name), "true or false", log);
        }
        found
    }

    /// A list, or one thing that stands for a list of itself. Notes anything that is not `wanted`.
    pub(super) fn list(&self, name: &str) -> Vec<&'t Spanned<DeValue<'t>>> {
        match self.get(name) {
            None => Vec::new(),
            Some(value) => match value.get_ref() {
                DeValue::Array(all) => all.iter().collect(),
                _ => vec![value],
            },
        }
    }

    /// The tables of `[[name]]`.
    pub(super) fn tables(
        &self,
        name: &str,
        log: &mut Log<'_>,
    ) -> Vec<(usize, usize, &'t DeTable<'t>)> {
        let Some(value) = self.get(name) else {
            return Vec::new();
        };
        let DeValue::Array(all) = value.get_ref() else {
            let place = Key::Of(&self.key, name);
            log.at(
                value.span().start,
                place,
                format!("a list of tables is wanted; write [[{name}]] in double brackets"),
            );
            return Vec::new();
        };
        let mut tables = Vec::with_capacity(all.len());
        for (index, entry) in all.iter().enumerate() {
            match entry.get_ref() {
                DeValue::Table(table) => tables.push((index, entry.span().start, table)),
                _ => {
                    let list = Key::Of(&self.key, name);
                    mistyped(entry, Key::Nth(&list, index), "a table", log);
                }
            }
        }
        tables
    }

    /// The table under `name`, with the keys that it may have.
    pub(super) fn section<'s>(
        &'s self,
        name: &'s str,
        known: &[&'static str],
        log: &mut Log<'_>,
    ) -> Option<Table<'s>> {
        let value = self.get(name)?;
        let key = Key::Of(&self.key, name);
        match value.get_ref() {
            DeValue::Table(table) => {
                Some(Table::new(table, value.span().start, key, known, &[], log))
            }
            _ => {
                mistyped(value, key, "a table", log);
                None
            }
        }
    }
}

/// Notes a value of the wrong type.
pub(super) fn mistyped(
    value: &Spanned<DeValue<'_>>,
    key: Key<'_>,
    wanted: &str,
    log: &mut Log<'_>,
) {
    let found = value.get_ref().type_str();
    let article = if found.starts_with(['a', 'i']) {
        "an"
    } else {
        "a"
    };
    log.at(
        value.span().start,
        key,
        format!("{wanted} is wanted, not {article} {found}"),
    );
}

/// A string.
pub(super) fn string<'t>(
    value: &'t Spanned<DeValue<'t>>,
    key: Key<'_>,
    log: &mut Log<'_>,
) -> Option<At<&'t str>> {
    let Some(text) = value.get_ref().as_str() else {
        mistyped(value, key, "a string in quotes", log);
        return None;
    };
    Some(At {
        at: value.span().start,
        value: text,
    })
}

/// A whole number from `least` to `most`.
pub(super) fn number(
    value: &Spanned<DeValue<'_>>,
    key: Key<'_>,
    least: u32,
    most: u32,
    log: &mut Log<'_>,
) -> Option<u32> {
    let Some(integer) = value.get_ref().as_integer() else {
        mistyped(value, key, "a whole number", log);
        return None;
    };
    let found = i128::from_str_radix(integer.as_str(), integer.radix()).ok();
    let good = found
        .and_then(|n| u32::try_from(n).ok())
        .filter(|n| (least..=most).contains(n));
    if good.is_none() {
        log.at(
            value.span().start,
            key,
            format!("{integer} is not a number from {least} to {most}"),
        );
    }
    good
}
