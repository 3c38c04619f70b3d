//! Patterns over AS paths, and sets of them.
//!
//! A pattern is about whole AS numbers, not about their digits:
//!
//! | written | holds for |
//! |---|---|
//! | `64500` | a path that has 64500 somewhere |
//! | `^64500` | one that begins with it: the neighbour |
//! | `64510$` | one that ends with it: the origin |
//! | `^64500 .* 64510$` | from the one to the other; spaces and `_` only separate |
//! | `^$` | the empty path |
//! | `.` | any one number |
//! | `[64512-65534 4200000000]`, `[^64500]` | one of these; one that is none of these |
//! | `64500\|64501`, `(…)` | one or the other; grouping |
//! | `*`, `+`, `?`, `{3}`, `{2,}`, `{2,4}` behind one of these | how often |
//!
//! So what operators have in their IOS files keeps its meaning: `_64500_`, `^64500_`, `_64510$`, `^64500(_64500)*$`, and
//! `[0-9]+` for any number. Other uses of ranges of digits are refused, since they would mean AS 0 to 9 here.
//!
//! An AS_SET is one place of the path, at which every number of it stands; confederation segments (RFC 5065) are passed
//! over. A pattern is compiled to the positions of Glushkov's automaton, one bit each (Glushkov, "The abstract theory of
//! automata", 1961): a path of n numbers takes n steps over all positions, and never more.

use std::fmt;
use std::str::FromStr;

use crate::attrs::{AsPath, Segment, SegmentKind};
use crate::types::Asn;

use super::asn::{AsnRange, AsnSet};

/// Most positions of one pattern, repetitions written out.
const MAX_POSITIONS: usize = 512;
/// Deepest nesting of parentheses.
const MAX_DEPTH: usize = 50;

/// What stands at a position of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Class {
    Start,
    End,
    One(Asn),
    Of(AsnSet),
}

/// A pattern over AS paths. Two are equal if they were written alike.
#[derive(Clone, Debug)]
pub struct AsPathPattern {
    text: Box<str>,
    classes: Box<[Class]>,
    /// For each position, those that may come next; `words` words each.
    follow: Box<[u64]>,
    /// Where a match may begin.
    first: Box<[u64]>,
    /// Where it may end.
    last: Box<[u64]>,
    /// It holds for nothing at all, so everywhere.
    empty: bool,
}

impl PartialEq for AsPathPattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for AsPathPattern {}

impl fmt::Display for AsPathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Not a pattern over AS paths.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{pattern:?} is no pattern over AS paths: {cause}")]
pub struct PatternError {
    /// As it was written.
    pub pattern: String,
    /// What is wrong, and what would be right.
    pub cause: String,
}

impl FromStr for AsPathPattern {
    type Err = PatternError;

    fn from_str(s: &str) -> Result<Self, PatternError> {
        let text = s.trim();
        let fail = |cause: String| PatternError {
            pattern: text.to_owned(),
            cause,
        };
        let mut parser = Parser {
            rest: text,
            depth: 0,
        };
        let node = parser.alternatives().map_err(&fail)?;
        if !parser.rest.is_empty() {
            return Err(fail("a \")\" too many".into()));
        }
        Self::build(text, &node).map_err(fail)
    }
}

/// A pattern as a tree.
#[derive(Clone, Debug)]
enum Node {
    Leaf(Class),
    Sequence(Vec<Node>),
    Choice(Vec<Node>),
    Repeat(Box<Node>, u32, Option<u32>),
}

struct Parser<'a> {
    rest: &'a str,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn skip(&mut self) {
        self.rest = self
            .rest
            .trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '_');
    }

    fn take(&mut self, c: char) -> bool {
        match self.rest.strip_prefix(c) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn digits(&mut self) -> &'a str {
        let end = self.rest.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, rest) = self.rest.split_at(end);
        self.rest = rest;
        digits
    }

    fn alternatives(&mut self) -> Result<Node, String> {
        let mut all = vec![self.sequence()?];
        while self.take('|') {
            all.push(self.sequence()?);
        }
        Ok(match all.pop() {
            Some(only) if all.is_empty() => only,
            last => {
                all.extend(last);
                Node::Choice(all)
            }
        })
    }

    fn sequence(&mut self) -> Result<Node, String> {
        let mut all = Vec::new();
        loop {
            self.skip();
            match self.rest.chars().next() {
                None | Some(')' | '|') => return Ok(Node::Sequence(all)),
                Some(c) => {
                    let atom = self.atom(c)?;
                    all.push(self.repeated(atom)?);
                }
            }
        }
    }

    fn atom(&mut self, c: char) -> Result<Node, String> {
        if c.is_ascii_digit() {
            let digits = self.digits();
            let asn = digits.parse().map_err(|_| {
                format!("{digits} is more than an AS number, which goes up to 4294967295")
            })?;
            if self.rest.starts_with('-') {
                return Err(format!("a range stands in brackets: [{digits}-…]"));
            }
            return Ok(Node::Leaf(Class::One(Asn(asn))));
        }
        self.rest = &self.rest[c.len_utf8()..];
        match c {
            '^' => Ok(Node::Leaf(Class::Start)),
            '$' => Ok(Node::Leaf(Class::End)),
            '.' => Ok(any()),
            '[' => self.class(),
            '(' => {
                self.depth += 1;
                if self.depth > MAX_DEPTH {
                    return Err(format!("parentheses nest at most {MAX_DEPTH} deep"));
                }
                let node = self.alternatives()?;
                self.depth -= 1;
                match self.take(')') {
                    true => Ok(node),
                    false => Err("a \")\" is missing".into()),
                }
            }
            '*' | '+' | '?' | '{' => Err(format!(
                "\"{c}\" says how often, and stands behind a number, \".\", brackets or parentheses"
            )),
            _ => Err(format!(
                "{c:?} means nothing here; there are AS numbers, . ^ $ | ( ) [ ] * + ? {{ }} and _ or a space between"
            )),
        }
    }

    /// What follows `[`.
    fn class(&mut self) -> Result<Node, String> {
        let (inner, rest) = self.rest.split_once(']').ok_or("a \"]\" is missing")?;
        self.rest = rest;
        if inner == "0-9" {
            return match self.take('+') {
                true => Ok(any()),
                false => Err(
                    "[0-9] would be AS 0 to 9: patterns are about whole AS numbers; any one is \".\" (or [0-9]+)"
                        .into(),
                ),
            };
        }
        let (inner, negated) = match inner.strip_prefix('^') {
            Some(inner) => (inner, true),
            None => (inner, false),
        };
        let set = inner
            .split(|c: char| c.is_ascii_whitespace() || matches!(c, ',' | '_'))
            .filter(|word| !word.is_empty())
            .map(|word| word.parse::<AsnRange>().map_err(|e| e.to_string()))
            .collect::<Result<AsnSet, _>>()?;
        if set.is_empty() {
            return Err("brackets with nothing in them".into());
        }
        let set = if negated { set.complement() } else { set };
        Ok(Node::Leaf(Class::Of(set)))
    }

    fn repeated(&mut self, mut node: Node) -> Result<Node, String> {
        loop {
            let (least, most) = if self.take('*') {
                (0, None)
            } else if self.take('+') {
                (1, None)
            } else if self.take('?') {
                (0, Some(1))
            } else if self.take('{') {
                self.counts()?
            } else {
                return Ok(node);
            };
            node = Node::Repeat(Box::new(node), least, most);
        }
    }

    /// What follows `{`.
    fn counts(&mut self) -> Result<(u32, Option<u32>), String> {
        let wrong = || "how often is written {3}, {2,} or {2,4}, with at most 255".to_owned();
        let number = |digits: &str| digits.parse::<u8>().map(u32::from).map_err(|_| wrong());
        let least = number(self.digits())?;
        let most = if !self.take(',') {
            Some(least)
        } else if self.rest.starts_with('}') {
            None
        } else {
            Some(number(self.digits())?)
        };
        if !self.take('}') || most.is_some_and(|most| most < least.max(1)) {
            return Err(wrong());
        }
        Ok((least, most))
    }
}

fn any() -> Node {
    Node::Leaf(Class::Of(AsnSet::new(vec![AsnRange::ALL])))
}

/// What a part of a pattern may begin and end with.
struct Ends {
    empty: bool,
    first: Vec<usize>,
    last: Vec<usize>,
}

/// Positions being numbered.
#[derive(Default)]
struct Builder {
    classes: Vec<Class>,
    follow: Vec<Vec<usize>>,
}

impl Builder {
    fn walk(&mut self, node: &Node) -> Result<Ends, String> {
        match node {
            Node::Leaf(class) => {
                if self.classes.len() == MAX_POSITIONS {
                    return Err(format!(
                        "it is too long: at most {MAX_POSITIONS} places, repetitions written out"
                    ));
                }
                let at = self.classes.len();
                self.classes.push(class.clone());
                self.follow.push(Vec::new());
                Ok(Ends {
                    empty: false,
                    first: vec![at],
                    last: vec![at],
                })
            }
            Node::Sequence(parts) => {
                let mut all = nothing();
                for part in parts {
                    let next = self.walk(part)?;
                    all = self.join(all, next);
                }
                Ok(all)
            }
            Node::Choice(parts) => {
                let mut all = self.walk(&parts[0])?;
                for part in &parts[1..] {
                    let next = self.walk(part)?;
                    all.empty |= next.empty;
                    all.first.extend(next.first);
                    all.last.extend(next.last);
                }
                Ok(all)
            }
            Node::Repeat(part, least, most) => self.repeat(part, *least, *most),
        }
    }

    fn repeat(&mut self, part: &Node, least: u32, most: Option<u32>) -> Result<Ends, String> {
        let mut all = nothing();
        for i in 0..most.unwrap_or(least.max(1)) {
            let mut next = self.walk(part)?;
            if next.first.is_empty() {
                // Nothing, however often, and however deep it nests.
                return Ok(next);
            }
            if most.is_none() && i + 1 == least.max(1) {
                self.link(&next.last, &next.first);
            }
            next.empty |= i >= least;
            all = self.join(all, next);
        }
        Ok(all)
    }

    fn join(&mut self, a: Ends, b: Ends) -> Ends {
        self.link(&a.last, &b.first);
        let mut out = Ends {
            empty: a.empty && b.empty,
            first: a.first,
            last: b.last,
        };
        if a.empty {
            out.first.extend(b.first);
        }
        if b.empty {
            out.last.extend(a.last);
        }
        out
    }

    fn link(&mut self, from: &[usize], to: &[usize]) {
        for at in from {
            let follow = &mut self.follow[*at];
            follow.extend(to);
            follow.sort_unstable();
            follow.dedup();
        }
    }
}

fn nothing() -> Ends {
    Ends {
        empty: true,
        first: Vec::new(),
        last: Vec::new(),
    }
}

impl AsPathPattern {
    fn build(text: &str, node: &Node) -> Result<Self, String> {
        let mut builder = Builder::default();
        let ends = builder.walk(node)?;
        let words = builder.classes.len().div_ceil(64);
        let bits = |places: &[usize]| {
            let mut bits = vec![0_u64; words];
            for at in places {
                bits[at / 64] |= 1 << (at % 64);
            }
            bits
        };
        Ok(Self {
            text: text.into(),
            follow: builder.follow.iter().flat_map(|f| bits(f)).collect(),
            first: bits(&ends.first).into(),
            last: bits(&ends.last).into(),
            classes: builder.classes.into(),
            empty: ends.empty,
        })
    }

    /// Does it hold for that path?
    #[must_use]
    pub fn matches(&self, path: AsPath<'_>) -> bool {
        if self.empty {
            return true;
        }
        let words = self.first.len();
        let mut room = [0_u64; 2 * MAX_POSITIONS / 64];
        let (now, next) = room.split_at_mut(MAX_POSITIONS / 64);
        let mut run = Run {
            pattern: self,
            now: &mut now[..words],
            next: &mut next[..words],
        };
        run.step(Symbol::Start)
            || path.segments().any(|segment| match segment.kind {
                SegmentKind::Sequence => segment.iter().any(|asn| run.step(Symbol::One(asn))),
                SegmentKind::Set => run.step(Symbol::Set(segment)),
                SegmentKind::ConfedSequence | SegmentKind::ConfedSet => false,
            })
            || run.step(Symbol::End)
    }

    /// `Some` if the pattern says no more than that one place of the path is such a number.
    fn simple(&self) -> Option<(Place, AsnSet)> {
        let set = |class: &Class| match class {
            Class::One(asn) => Some(AsnSet::new(vec![(*asn).into()])),
            Class::Of(set) => Some(set.clone()),
            Class::Start | Class::End => None,
        };
        if self.classes.is_empty() || self.classes.len() > 2 {
            return None;
        }
        // A sequence of places, without choices or repetitions.
        let straight = self.follow.iter().enumerate().all(|(at, next)| {
            let last = at + 1 == self.classes.len();
            *next == if last { 0 } else { 2 << at }
        });
        let one_way =
            straight && self.first[..] == [1] && self.last[..] == [1 << (self.classes.len() - 1)];
        if self.empty || !one_way {
            return None;
        }
        match &self.classes[..] {
            [class] => Some((Place::Anywhere, set(class)?)),
            [Class::Start, class] => Some((Place::First, set(class)?)),
            [class, Class::End] => Some((Place::Last, set(class)?)),
            _ => None,
        }
    }
}

/// What a pattern sees, one after the other.
enum Symbol<'a> {
    Start,
    One(Asn),
    Set(Segment<'a>),
    End,
}

struct Run<'a> {
    pattern: &'a AsPathPattern,
    /// Positions that matched the symbol before.
    now: &'a mut [u64],
    next: &'a mut [u64],
}

impl Run<'_> {
    /// Takes a symbol; true: a match ends here.
    fn step(&mut self, symbol: Symbol<'_>) -> bool {
        let pattern = self.pattern;
        let words = pattern.first.len();
        self.next.copy_from_slice(&pattern.first);
        for (word, bits) in self.now.iter().enumerate() {
            let mut bits = *bits;
            while bits != 0 {
                let at = word * 64 + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                let follow = &pattern.follow[at * words..][..words];
                self.next.iter_mut().zip(follow).for_each(|(n, f)| *n |= f);
            }
        }
        let mut done = false;
        for (word, bits) in self.next.iter_mut().enumerate() {
            let mut left = *bits;
            while left != 0 {
                let bit = left & left.wrapping_neg();
                left &= left - 1;
                let class = &pattern.classes[word * 64 + bit.trailing_zeros() as usize];
                if !class.takes(&symbol) {
                    *bits &= !bit;
                }
            }
            done |= *bits & pattern.last[word] != 0;
        }
        std::mem::swap(&mut self.now, &mut self.next);
        done
    }
}

impl Class {
    fn takes(&self, symbol: &Symbol<'_>) -> bool {
        let number = |asn: Asn| match self {
            Self::One(own) => asn == *own,
            Self::Of(set) => set.contains(asn),
            Self::Start | Self::End => false,
        };
        match symbol {
            Symbol::Start => *self == Self::Start,
            Symbol::End => *self == Self::End,
            Symbol::One(asn) => number(*asn),
            Symbol::Set(all) => all.iter().any(number),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Anywhere,
    First,
    Last,
}

/// A set of patterns; it holds for a path if one of them does. Those that ask for one number in one place, of which lists
/// made from registries have tens of thousands, are searched, not tried one by one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsPathSet {
    anywhere: AsnSet,
    first: AsnSet,
    last: AsnSet,
    others: Box<[AsPathPattern]>,
}

impl AsPathSet {
    /// Of these patterns.
    #[must_use]
    pub fn new(patterns: Vec<AsPathPattern>) -> Self {
        let mut simple: [Vec<AsnRange>; 3] = Default::default();
        let mut others: Vec<AsPathPattern> = Vec::new();
        for pattern in patterns {
            match pattern.simple() {
                Some((place, set)) => simple[place as usize].extend(set.ranges()),
                None => others.push(pattern),
            }
        }
        others.sort_unstable_by(|a, b| a.text.cmp(&b.text));
        others.dedup();
        let [anywhere, first, last] = simple.map(AsnSet::new);
        Self {
            anywhere,
            first,
            last,
            others: others.into(),
        }
    }

    /// Does one of the patterns hold for that path?
    #[must_use]
    pub fn matches(&self, path: AsPath<'_>) -> bool {
        let within = |set: &AsnSet, s: Segment<'_>| s.iter().any(|asn| set.contains(asn));
        let end = |set: &AsnSet, segment: Option<Segment<'_>>, back: bool| match segment {
            None => false,
            Some(s) if s.kind == SegmentKind::Set => within(set, s),
            Some(s) if back => s.iter().next_back().is_some_and(|asn| set.contains(asn)),
            Some(s) => s.iter().next().is_some_and(|asn| set.contains(asn)),
        };
        let segments = || {
            path.segments()
                .filter(|s| !s.kind.is_confed() && s.iter().len() > 0)
        };
        (!self.first.is_empty() && end(&self.first, segments().next(), false))
            || (!self.last.is_empty() && end(&self.last, segments().last(), true))
            || (!self.anywhere.is_empty() && segments().any(|s| within(&self.anywhere, s)))
            || self.others.iter().any(|pattern| pattern.matches(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attrs::AttrBuf;
    use proptest::prelude::*;

    fn path(segments: &[(SegmentKind, Vec<u32>)]) -> AttrBuf {
        let segments: Vec<(SegmentKind, Vec<Asn>)> = segments
            .iter()
            .map(|(k, a)| (*k, a.iter().copied().map(Asn).collect()))
            .collect();
        let mut b = AttrBuf::new();
        b.set_as_path(segments.iter().map(|(k, a)| (*k, &a[..])));
        b
    }

    fn holds(pattern: &str, numbers: &[u32]) -> bool {
        let pattern: AsPathPattern = pattern.parse().unwrap();
        let b = path(&[(SegmentKind::Sequence, numbers.to_vec())]);
        let set = AsPathSet::new(vec![pattern.clone()]);
        let found = pattern.matches(b.view().as_path());
        assert_eq!(set.matches(b.view().as_path()), found, "{pattern}");
        found
    }

    #[test]
    fn patterns_mean_what_operators_know() {
        for (pattern, yes, no) in [
            ("64500", &[1, 64500, 2][..], &[1, 2, 6450, 645_001][..]),
            ("_64500_", &[64500], &[]),
            ("^64500", &[64500, 1], &[1, 64500]),
            ("^64500_", &[64500], &[1, 64500]),
            ("_64510$", &[64500, 64510], &[64510, 64500]),
            ("^64500 .* 64510$", &[64500, 1, 2, 64510], &[64500, 1, 2]),
            ("^64500 .* 64510$", &[64500, 64510], &[64500]),
            ("^$", &[], &[1]),
            ("^64500(_64500)*$", &[64500, 64500, 64500], &[64500, 1]),
            ("^64500(_[0-9]+)*_(1|2|3)$", &[64500, 9, 2], &[64500, 2, 9]),
            ("[64512-65534 4200000000]", &[1, 65000], &[1, 65535]),
            ("^[^64500]", &[1], &[64500]),
            ("^[^64500]", &[0xffff_ffff], &[]),
            ("^.{3}$", &[1, 2, 3], &[1, 2]),
            ("^.{2,4}$", &[1, 2, 3, 4], &[1, 2, 3, 4, 5]),
            (".{3,}", &[1, 2, 3, 4], &[1, 2]),
            ("^(1 2)+$", &[1, 2, 1, 2], &[1, 2, 1]),
            ("^64500$|^64501$", &[64501], &[64501, 1]),
            ("(^|7) 5", &[5], &[6, 5]),
            ("(^|7) 5", &[7, 5], &[6, 5]),
            ("^1?2?$", &[2], &[2, 1]),
            ("^1 (2|) 3$", &[1, 3], &[1, 1, 3]),
        ] {
            assert!(holds(pattern, yes), "{pattern} {yes:?}");
            assert!(!holds(pattern, no), "{pattern} {no:?}");
        }
        assert!(holds(".*", &[]) && holds("", &[1]));
    }

    #[test]
    fn sets_stand_in_one_place_and_confederations_in_none() {
        use SegmentKind::{ConfedSequence, Sequence, Set};
        let b = path(&[
            (ConfedSequence, vec![65001]),
            (Sequence, vec![1, 2]),
            (Set, vec![3, 4]),
        ]);
        for (pattern, want) in [
            ("^1 2 3$", true),
            ("^1 2 4$", true),
            ("3 4", false),
            ("65001", false),
            ("^1", true),
            ("4$", true),
            ("^...$", true),
        ] {
            let pattern: AsPathPattern = pattern.parse().unwrap();
            assert_eq!(pattern.matches(b.view().as_path()), want, "{pattern}");
            let set = AsPathSet::new(vec![pattern.clone()]);
            assert_eq!(set.matches(b.view().as_path()), want, "set of {pattern}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_what_would_be() {
        let nothing = format!("{}{}", "(".repeat(50), "){255}".repeat(50));
        assert!(nothing.parse::<AsPathPattern>().is_ok(), "and soon");
        let deep = "(".repeat(60);
        for (pattern, part) in [
            ("64500-64510", "a range stands in brackets"),
            ("[0-9]*", "AS 0 to 9"),
            ("^[0-9]", "[0-9]+"),
            ("*", "says how often"),
            ("(1", "\")\" is missing"),
            ("1)", "too many"),
            ("[1", "\"]\" is missing"),
            ("[]", "nothing in them"),
            ("[5-1]", "1-5"),
            ("1{4,2}", "{2,4}"),
            ("1{0}", "{2,4}"),
            ("1{300}", "at most 255"),
            ("(.{255}){3}", "too long"),
            ("4294967296", "4294967295"),
            ("64500 a", "'a' means nothing"),
            ("65000:1", "':' means nothing"),
            (&deep, "50 deep"),
        ] {
            let error = pattern.parse::<AsPathPattern>().unwrap_err().to_string();
            assert!(error.contains(part), "{pattern}: {error}");
        }
    }

    #[test]
    fn many_numbers_are_one_search() {
        let patterns: Vec<AsPathPattern> = (0..20_000)
            .map(|n| format!("_{}$", 100_000 + n * 2).parse().unwrap())
            .collect();
        let set = AsPathSet::new(patterns);
        assert_eq!(set.others.len(), 0);
        let ends = |n| {
            let b = path(&[(SegmentKind::Sequence, vec![1, n])]);
            set.matches(b.view().as_path())
        };
        assert!(ends(139_998) && !ends(139_999) && !ends(1));
    }

    /// The pattern as a backtracking matcher would read it: all places where a match of `node` from `at` may end.
    fn ends(node: &Node, symbols: &[Option<u32>], at: usize) -> Vec<usize> {
        let mut out = match node {
            Node::Leaf(class) => {
                let takes = symbols.get(at).is_some_and(|s| match (class, s) {
                    (Class::Start, None) => at == 0,
                    (Class::End, None) => at > 0,
                    (Class::One(a), Some(n)) => a.0 == *n,
                    (Class::Of(set), Some(n)) => set.contains(Asn(*n)),
                    _ => false,
                });
                if takes { vec![at + 1] } else { vec![] }
            }
            Node::Sequence(parts) => parts.iter().fold(vec![at], |from, part| {
                from.into_iter()
                    .flat_map(|at| ends(part, symbols, at))
                    .collect()
            }),
            Node::Choice(parts) => parts
                .iter()
                .flat_map(|part| ends(part, symbols, at))
                .collect(),
            Node::Repeat(part, least, most) => {
                let (mut from, mut found) = (vec![at], Vec::new());
                for i in 0..=most.unwrap_or(symbols.len() as u32 + least) {
                    if i >= *least {
                        found.extend(&from);
                    }
                    from = from
                        .into_iter()
                        .flat_map(|at| ends(part, symbols, at))
                        .collect();
                    from.sort_unstable();
                    from.dedup();
                }
                found
            }
        };
        out.sort_unstable();
        out.dedup();
        out
    }

    fn pattern() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            (1u32..5).prop_map(|n| n.to_string()),
            Just(".".to_owned()),
            Just("^".to_owned()),
            Just("$".to_owned()),
            (1u32..5, 0u32..3).prop_map(|(a, n)| format!("[{a}-{}]", a + n)),
            (1u32..5).prop_map(|a| format!("[^{a}]")),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 1..4).prop_map(|all| all.join(" ")),
                prop::collection::vec(inner.clone(), 1..4)
                    .prop_map(|all| format!("({})", all.join("|"))),
                (
                    inner,
                    prop::sample::select(vec!["*", "+", "?", "{2}", "{1,}", "{0,2}"])
                )
                    .prop_map(|(p, how)| format!("({p}){how}")),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3000))]

        #[test]
        fn a_pattern_finds_what_trying_everything_finds(
            text in pattern(), numbers in prop::collection::vec(1u32..6, 0..7),
        ) {
            let node = Parser { rest: &text, depth: 0 }.alternatives().unwrap();
            let symbols: Vec<Option<u32>> = std::iter::once(None)
                .chain(numbers.iter().copied().map(Some))
                .chain([None])
                .collect();
            let want = (0..=symbols.len()).any(|at| !ends(&node, &symbols, at).is_empty());
            prop_assert_eq!(holds(&text, &numbers), want, "{} {:?}", text, numbers);
        }

        #[test]
        fn any_text_is_a_pattern_or_none(text in "[0-9 .^$|()\\[\\]{},*+?_-]{0,24}") {
            if let Ok(pattern) = text.parse::<AsPathPattern>() {
                let b = path(&[(SegmentKind::Sequence, vec![1, 2, 3])]);
                let _ = pattern.matches(b.view().as_path());
                prop_assert_eq!(pattern.to_string().parse::<AsPathPattern>().unwrap(), pattern);
            }
        }
    }
}
