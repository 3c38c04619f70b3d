//! What only the whole shows to be wrong with policies: files that can't be read, sets and policies that are not there.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use ::bgp::policy::{
    AsPathSet, Cause, CommunitySet, Pattern, Policies, PolicyError, PrefixSet, Sets, read_list,
};
use api::grammar::nearest;

use super::super::error::{MAX_PROBLEMS, Problem};
use super::super::reader::{At, Log};
use super::parse::{Draft, Entries, SetDraft};
use super::{Compiled, PolicyBook, SetKind, SetSource};

/// What policies stand on.
pub(in crate::config) struct Around<'a> {
    /// The configuration file.
    pub(in crate::config) file: &'a Path,
    /// What runs, if the files that it names are not to be read again.
    pub(in crate::config) keep: Option<&'a PolicyBook>,
}

/// Reads the files, and compiles everything.
pub(in crate::config) fn validate(
    draft: Draft,
    around: &Around<'_>,
    log: &mut Log<'_>,
) -> PolicyBook {
    let mut book = PolicyBook {
        specs: draft.specs,
        ..PolicyBook::default()
    };
    let mut sets = Sets::default();
    let mut good = true;
    for ((kind, name), At { at, value }) in draft.sets {
        let source = match value {
            SetDraft::Inline(entries) => Ok(inline(entries, &name, &mut sets)),
            SetDraft::File(written) => file(kind, &name, written, around, &mut sets),
        };
        match source {
            Ok(source) => {
                book.sets.insert((kind, name), source);
            }
            Err(FileError::Here(message)) => {
                log.at(at, format!("{}.{name}", kind.section()), message);
                good = false;
            }
            Err(FileError::Lines(problems)) => {
                log.others(problems);
                good = false;
            }
        }
    }
    if !good {
        // Then names are missing that are not missing.
        return book;
    }
    let before = around.keep.map(|book| &book.compiled);
    let no_sets = Sets::default();
    sets.share(before.map_or(&no_sets, |before| &before.sets));
    let none = Policies::default();
    let running = before.map_or(&none, |before| &before.policies);
    match Policies::compile(&book.specs, &sets, running) {
        Ok(policies) => book.compiled = Arc::new(Compiled { sets, policies }),
        Err(errors) => {
            for error in errors {
                let exact = (error.policy.clone(), error.rule, error.key.clone());
                let rule = (error.policy.clone(), error.rule, String::new());
                let at = draft.places.get(&exact).or_else(|| draft.places.get(&rule));
                let at = at.copied().unwrap_or(0);
                log.at(at, place(&error), sentence(&error.cause, &book));
            }
        }
    }
    book
}

/// As `policy.NAME.rule[0].match.prefix-set`.
fn place(error: &PolicyError) -> String {
    let mut place = format!("policy.{}", error.policy);
    if let Some(index) = error.rule.checked_sub(1) {
        place.push_str(&format!(".rule[{index}]"));
    }
    if !error.key.is_empty() {
        place.push('.');
        place.push_str(&error.key);
    }
    place
}

/// What is wrong, with the name that may have been meant.
fn sentence(cause: &Cause, book: &PolicyBook) -> String {
    let (name, names): (&str, Vec<&str>) = match cause {
        Cause::NoSet { kind, name } => {
            let of_kind = book.sets.keys().filter(|(k, _)| k.section() == *kind);
            (name, of_kind.map(|(_, name)| name.as_str()).collect())
        }
        Cause::NoPolicy(name) => (name, book.specs.keys().map(String::as_str).collect()),
        _ => return cause.to_string(),
    };
    match (nearest(name, &names), cause) {
        (Some(near), Cause::NoSet { kind, .. }) => {
            format!("there is no {kind} {name:?}; did you mean \"{near}\"?")
        }
        (Some(near), _) => format!("there is no policy {name:?}; did you mean \"{near}\"?"),
        (None, _) => cause.to_string(),
    }
}

fn inline(entries: Entries, name: &str, sets: &mut Sets) -> SetSource {
    fn texts<T: Display>(all: &[T]) -> Vec<String> {
        all.iter().map(ToString::to_string).collect()
    }
    let texts = match &entries {
        Entries::Prefix(all) => texts(all),
        Entries::As(all) => texts(all),
        Entries::AsPath(all) => texts(all),
        Entries::Community(all) => texts(all),
        Entries::ExtCommunity(all) => texts(all),
        Entries::LargeCommunity(all) => texts(all),
    };
    put(entries, name, sets);
    SetSource::Inline(texts)
}

/// Builds a set of its entries.
fn put(entries: Entries, name: &str, sets: &mut Sets) {
    fn communities<P: Pattern>(all: &[P]) -> Arc<CommunitySet<P>> {
        Arc::new(CommunitySet::new(all))
    }
    let name = name.to_owned();
    match entries {
        Entries::Prefix(all) => {
            sets.prefix.insert(name, Arc::new(PrefixSet::new(all)));
        }
        Entries::As(all) => {
            sets.asn.insert(name, Arc::new(all.into_iter().collect()));
        }
        Entries::AsPath(all) => {
            sets.as_path.insert(name, Arc::new(AsPathSet::new(all)));
        }
        Entries::Community(all) => {
            sets.community.insert(name, communities(&all));
        }
        Entries::ExtCommunity(all) => {
            sets.ext_community.insert(name, communities(&all));
        }
        Entries::LargeCommunity(all) => {
            sets.large_community.insert(name, communities(&all));
        }
    }
}

/// Why the entries of a file can't be had.
enum FileError {
    /// Said where the file is named.
    Here(String),
    /// Some of its lines are wrong.
    Lines(Vec<Problem>),
}

fn file(
    kind: SetKind,
    name: &str,
    written: String,
    around: &Around<'_>,
    sets: &mut Sets,
) -> Result<SetSource, FileError> {
    let directory = around.file.parent().unwrap_or(Path::new(""));
    let path = directory.join(&written);
    if let Some(entries) = around
        .keep
        .and_then(|book| kept(book, kind, name, &path, sets))
    {
        return Ok(SetSource::File {
            written,
            path,
            entries,
        });
    }
    let text = std::fs::read_to_string(&path).map_err(|error| {
        FileError::Here(format!(
            "cannot read {}: {error}; correct the name, or write a list of entries",
            path.display()
        ))
    })?;
    let entries = match kind {
        SetKind::Prefix => lines(&text, &path).map(Entries::Prefix),
        SetKind::As => lines(&text, &path).map(Entries::As),
        SetKind::AsPath => lines(&text, &path).map(Entries::AsPath),
        SetKind::Community => lines(&text, &path).map(Entries::Community),
        SetKind::ExtCommunity => lines(&text, &path).map(Entries::ExtCommunity),
        SetKind::LargeCommunity => lines(&text, &path).map(Entries::LargeCommunity),
    }?;
    let count = entries.len();
    if count == 0 {
        return Err(FileError::Here(format!(
            "{} has no entry; if nothing is meant, write {name} = []",
            path.display()
        )));
    }
    put(entries, name, sets);
    Ok(SetSource::File {
        written,
        path,
        entries: count,
    })
}

impl Entries {
    fn len(&self) -> usize {
        match self {
            Self::Prefix(all) => all.len(),
            Self::As(all) => all.len(),
            Self::AsPath(all) => all.len(),
            Self::Community(all) => all.len(),
            Self::ExtCommunity(all) => all.len(),
            Self::LargeCommunity(all) => all.len(),
        }
    }
}

fn lines<T: FromStr<Err: Display>>(text: &str, path: &Path) -> Result<Vec<T>, FileError> {
    read_list(text, MAX_PROBLEMS).map_err(|errors| {
        let problem = |e: ::bgp::policy::LineError| Problem {
            file: Some(path.to_owned()),
            line: e.line,
            key: String::new(),
            message: e.message,
        };
        FileError::Lines(errors.into_iter().map(problem).collect())
    })
}

/// Takes over what runs of the same file; how many entries it has.
fn kept(
    book: &PolicyBook,
    kind: SetKind,
    name: &str,
    path: &Path,
    sets: &mut Sets,
) -> Option<usize> {
    fn copy<T>(
        from: &BTreeMap<String, Arc<T>>,
        old: &str,
        to: &mut BTreeMap<String, Arc<T>>,
        name: &str,
    ) {
        if let Some(set) = from.get(old) {
            to.insert(name.to_owned(), Arc::clone(set));
        }
    }
    // The same file under another name is the same file.
    let ((_, old), source) = book.sets.iter().find(|((k, _), source)| {
        *k == kind && matches!(source, SetSource::File { path: p, .. } if p == path)
    })?;
    let from = &book.compiled.sets;
    match kind {
        SetKind::Prefix => copy(&from.prefix, old, &mut sets.prefix, name),
        SetKind::As => copy(&from.asn, old, &mut sets.asn, name),
        SetKind::AsPath => copy(&from.as_path, old, &mut sets.as_path, name),
        SetKind::Community => copy(&from.community, old, &mut sets.community, name),
        SetKind::ExtCommunity => copy(&from.ext_community, old, &mut sets.ext_community, name),
        SetKind::LargeCommunity => {
            copy(&from.large_community, old, &mut sets.large_community, name)
        }
    }
    Some(source.len())
}
