//! `[policy.NAME]`, the sets that policies name, and `[rpki]`.
//!
//! What the words of a rule mean is `bgp::policy`'s: here are the places of the words in the file, the files of large sets,
//! and what only the whole shows. Sets and policies are compiled when the configuration is checked, so a commit that
//! is applied has them ready; what a commit does not change stays the same object, and whoever holds it can see that.

mod parse;
mod print;
mod rpki;
#[cfg(test)]
mod tests;
mod validate;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use ::bgp::policy::{BUILT_IN, Policies, Policy, PolicySpec, Sets};

pub(super) use parse::{Draft, sections};
pub(super) use print::print;
pub use print::{PolicyStep, steps};
pub use rpki::{Cache, Rpki, Use};
pub(super) use validate::{Around, validate};

/// The kinds of sets, by their sections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SetKind {
    /// `[prefix-set]`
    Prefix,
    /// `[as-set]`
    As,
    /// `[as-path-set]`
    AsPath,
    /// `[community-set]`
    Community,
    /// `[ext-community-set]`
    ExtCommunity,
    /// `[large-community-set]`
    LargeCommunity,
}

impl SetKind {
    /// All there are.
    pub const ALL: [Self; 6] = [
        Self::Prefix,
        Self::As,
        Self::AsPath,
        Self::Community,
        Self::ExtCommunity,
        Self::LargeCommunity,
    ];

    /// The name of its section.
    #[must_use]
    pub const fn section(self) -> &'static str {
        match self {
            Self::Prefix => "prefix-set",
            Self::As => "as-set",
            Self::AsPath => "as-path-set",
            Self::Community => "community-set",
            Self::ExtCommunity => "ext-community-set",
            Self::LargeCommunity => "large-community-set",
        }
    }
}

/// Where the entries of a set are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetSource {
    /// Here, as they are shown.
    Inline(Vec<String>),
    /// In a file, a line each.
    File {
        /// As written in the configuration.
        written: String,
        /// Where it was found.
        path: PathBuf,
        /// Entries in it.
        entries: usize,
    },
}

impl SetSource {
    /// Entries of it.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Inline(all) => all.len(),
            Self::File { entries, .. } => *entries,
        }
    }

    /// True: none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Every set and every policy, as written and ready to run.
#[derive(Clone, Debug, Default)]
pub struct PolicyBook {
    /// The sets by kind and name.
    pub sets: BTreeMap<(SetKind, String), SetSource>,
    /// The policies by name, without the built-in ones.
    pub specs: BTreeMap<String, PolicySpec>,
    compiled: Arc<Compiled>,
}

#[derive(Debug)]
struct Compiled {
    sets: Sets,
    policies: Policies,
}

impl Default for Compiled {
    /// What is built in.
    fn default() -> Self {
        let none = (BTreeMap::new(), Sets::default(), Policies::default());
        Self {
            policies: Policies::compile(&none.0, &none.1, &none.2).unwrap_or_default(),
            sets: none.1,
        }
    }
}

impl PartialEq for PolicyBook {
    /// The same words, and the same in the files.
    fn eq(&self, other: &Self) -> bool {
        let same = || self.compiled.sets == other.compiled.sets;
        self.sets == other.sets
            && self.specs == other.specs
            && (Arc::ptr_eq(&self.compiled, &other.compiled) || same())
    }
}

impl PolicyBook {
    /// The policy of that name, built in or written.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Policy>> {
        self.compiled.policies.get(name)
    }

    /// The names of all policies, the built-in ones too.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let own = self.specs.keys().map(String::as_str);
        own.chain(BUILT_IN)
    }

    /// The sets, ready to be asked.
    #[must_use]
    pub fn compiled_sets(&self) -> &Sets {
        &self.compiled.sets
    }

    /// Takes what is the same from `before`: then it is the same object, in memory once.
    #[must_use]
    pub(super) fn after(self, before: &Self) -> Self {
        if Arc::ptr_eq(&self.compiled, &before.compiled) {
            return self;
        }
        let mut sets = self.compiled.sets.clone();
        sets.share(&before.compiled.sets);
        match Policies::compile(&self.specs, &sets, &before.compiled.policies) {
            Ok(policies) => Self {
                compiled: Arc::new(Compiled { sets, policies }),
                ..self
            },
            // It compiled before, so this can't be; and what compiled then is right.
            Err(_) => self,
        }
    }

    /// Files that are named relative to the configuration: section, name, where it is.
    pub(super) fn relative_files(&self) -> impl Iterator<Item = (&'static str, &str, &PathBuf)> {
        self.sets.iter().filter_map(|((kind, name), source)| {
            let SetSource::File { written, path, .. } = source else {
                return None;
            };
            let relative = std::path::Path::new(written).is_relative();
            relative.then_some((kind.section(), name.as_str(), path))
        })
    }
}
