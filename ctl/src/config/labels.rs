//! `[label-range]`: which labels are for what, and how long those that were released are held.
//!
//! Where nothing is said, `[[label]]` may have any label that nobody has, and all others are given from 100000 on.

use std::fmt;
use std::time::Duration;

use net::Label;
use toml_edit::{DocumentMut, Item, Table as Toml, Value};

use super::parse;
use super::reader::{Key, Log, Table};

/// Where labels are given from, where nothing is said.
const DYNAMIC: Range = Range {
    first: Label::new(100_000).expect("20 bits"),
    last: Label::MAX,
};
/// How long released labels are held, where nothing is said.
const HOLD: Duration = Duration::from_secs(60);

/// Labels from one to another, both of them in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first.
    pub first: Label,
    /// The last; not less.
    pub last: Label,
}

impl Range {
    /// Is it one of them?
    #[must_use]
    pub fn contains(&self, label: Label) -> bool {
        (self.first..=self.last).contains(&label)
    }

    /// How many there are.
    #[must_use]
    pub fn size(&self) -> u32 {
        self.last.get() - self.first.get() + 1
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// `[label-range]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelRanges {
    /// `static`: of `[[label]]`; left out: any that nobody else has.
    pub fixed: Option<Range>,
    /// `dynamic`: of LDP and BGP.
    pub dynamic: Range,
    /// Whether `dynamic` was said.
    pub said: bool,
    /// `vrf`: of whole VRFs; left out: they are dynamic.
    pub vrf: Option<Range>,
    /// `srgb`: of segments.
    pub srgb: Option<Range>,
    /// `hold-time`: how long what was released is held.
    pub hold: Duration,
}

impl Default for LabelRanges {
    fn default() -> Self {
        Self {
            fixed: None,
            dynamic: DYNAMIC,
            said: false,
            vrf: None,
            srgb: None,
            hold: HOLD,
        }
    }
}

impl LabelRanges {
    /// Those that there are, by their keys.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, Range)> {
        let all = [
            ("static", self.fixed),
            ("dynamic", Some(self.dynamic)),
            ("vrf", self.vrf),
            ("srgb", self.srgb),
        ];
        all.into_iter().filter_map(|(name, r)| Some((name, r?)))
    }

    /// Whether `[[label]]` may have that one.
    ///
    /// # Errors
    /// Why not, and what would be right.
    pub(super) fn check_static(&self, label: Label) -> Result<(), String> {
        if let Some(all) = self.fixed {
            return match all.contains(label) {
                true => Ok(()),
                false => Err(format!(
                    "is not in label-range.static ({all}); take one that is, or change the range"
                )),
            };
        }
        // What nobody said is no promise.
        let mut said = self.named().filter(|(n, _)| self.said || *n != "dynamic");
        match said.find(|(_, r)| r.contains(label)) {
            Some((name, all)) => Err(format!(
                "is in label-range.{name} ({all}), and would be given to others; take one outside of it"
            )),
            None => Ok(()),
        }
    }
}

/// `16000-23999`
fn range(text: &str) -> Result<Range, String> {
    let form = "write it like \"16000-23999\"";
    let number = |t: &str| -> Result<Label, String> {
        let n: u32 = t
            .trim()
            .parse()
            .map_err(|_| format!("{text:?} is no range of labels; {form}"))?;
        match Label::new(n) {
            None => Err(format!("{n} is not a label: 16 to {}", Label::MAX)),
            Some(l) if l.is_reserved() => {
                Err(format!("label {n} is reserved (RFC 3032); begin at 16"))
            }
            Some(l) => Ok(l),
        }
    };
    let (first, last) = text
        .split_once('-')
        .ok_or_else(|| format!("{text:?} is no range of labels; {form}"))?;
    let (first, last) = (number(first)?, number(last)?);
    match first <= last {
        true => Ok(Range { first, last }),
        false => Err(format!(
            "{text:?} counts down; write \"{last}-{first}\" if that is meant"
        )),
    }
}

/// Reads the section.
pub(super) fn section(root: &Table<'_>, log: &mut Log<'_>) -> LabelRanges {
    let mut out = LabelRanges::default();
    let keys = ["static", "dynamic", "vrf", "srgb", "hold-time"];
    let Some(table) = root.section("label-range", &keys, log) else {
        return out;
    };
    let mut places = Vec::new();
    let mut one = |name: &'static str, log: &mut Log<'_>| {
        let found = table.read(name, log, range)?;
        places.push((name, found.value, found.at));
        Some(found.value)
    };
    out.fixed = one("static", log);
    if let Some(dynamic) = one("dynamic", log) {
        (out.dynamic, out.said) = (dynamic, true);
    }
    out.vrf = one("vrf", log);
    out.srgb = one("srgb", log);
    if let Some(hold) = parse::seconds(&table, "hold-time", log) {
        out.hold = hold;
    }
    if !out.said {
        places.push(("dynamic", out.dynamic, table.at));
    }
    for (n, (name, a, at)) in places.iter().enumerate() {
        for (other, b, other_at) in &places[..n] {
            if a.overlaps(b) {
                let unsaid = match out.said {
                    true => "",
                    false => ", where nothing is said",
                };
                let (name, a, at, other, b) = match *name {
                    "dynamic" if !out.said => (other, b, other_at, name, a),
                    _ => (name, a, at, other, b),
                };
                let hint = match *other {
                    "dynamic" => unsaid,
                    _ => "",
                };
                log.at(
                    *at,
                    Key::Of(&table.key, name),
                    format!("{a} overlaps {other} ({b}{hint}); a label is for one use"),
                );
            }
        }
    }
    out
}

impl LabelRanges {
    /// Writes what was said.
    pub(super) fn print(&self, doc: &mut DocumentMut) {
        let mut table = Toml::new();
        let mut set = |key: &str, value: Value| drop(table.insert(key, Item::Value(value)));
        let said = self.named().filter(|(n, _)| self.said || *n != "dynamic");
        for (name, range) in said {
            set(name, range.to_string().into());
        }
        if self.hold != HOLD {
            set("hold-time", self.hold.as_secs_f64().into());
        }
        if !table.is_empty() {
            doc.insert("label-range", Item::Table(table));
        }
    }
}

/// A change of `[label-range]`, as `config diff` shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct RangeStep(pub LabelRanges);

impl fmt::Display for RangeStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("~ label-range:")?;
        for (name, range) in self.0.named() {
            write!(f, " {name} {range}")?;
        }
        write!(f, " hold-time {}", self.0.hold.as_secs_f64())
    }
}
