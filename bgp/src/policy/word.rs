//! The words that keys of a policy take, and numbers as they are compared and set.

use std::borrow::Cow;
use std::fmt;

/// One word of a configuration, whatever file format it stood in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word<'a> {
    /// Text.
    Text(Cow<'a, str>),
    /// A whole number.
    Number(i64),
    /// True or false.
    Flag(bool),
}

impl Word<'_> {
    pub(crate) fn text(text: impl fmt::Display) -> Word<'static> {
        Word::Text(Cow::Owned(text.to_string()))
    }

    /// The word as text, whether it was written as text or as a number.
    pub(crate) fn plain(&self) -> Result<Cow<'_, str>, String> {
        match self {
            Self::Text(text) => Ok(Cow::Borrowed(text)),
            Self::Number(n) => Ok(Cow::Owned(n.to_string())),
            Self::Flag(_) => Err("a string in quotes is wanted, not true or false".into()),
        }
    }

    /// The word if it is text.
    pub(crate) fn as_text(&self, example: &str) -> Result<&str, String> {
        match self {
            Self::Text(text) => Ok(text),
            _ => Err(format!(
                "a string in quotes is wanted, such as \"{example}\""
            )),
        }
    }
}

impl fmt::Display for Word<'_> {
    /// As TOML writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Number(n) => n.fmt(f),
            Self::Flag(b) => b.fmt(f),
        }
    }
}

/// What stands behind a key: one word, or a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// One word.
    One(Word<'static>),
    /// A list in brackets.
    Many(Vec<Word<'static>>),
}

impl fmt::Display for Value {
    /// As TOML writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match self {
            Self::One(word) => return word.fmt(f),
            Self::Many(words) => words,
        };
        f.write_str("[")?;
        for (i, word) in words.iter().enumerate() {
            write!(f, "{}{word}", if i == 0 { "" } else { ", " })?;
        }
        f.write_str("]")
    }
}

/// Why words are not taken for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WordError {
    /// Which of the words; `None`: all of them together.
    pub nth: Option<usize>,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl From<String> for WordError {
    fn from(message: String) -> Self {
        Self { nth: None, message }
    }
}

/// Numbers that a condition holds for: from `min` to `max`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NumRange {
    /// The least.
    pub min: u32,
    /// The most; never less than `min`.
    pub max: u32,
}

impl NumRange {
    /// Is it one of them?
    #[must_use]
    pub fn contains(self, n: u32) -> bool {
        (self.min..=self.max).contains(&n)
    }

    /// `7`, `"7"`, `"ge 3"`, `"le 50"`, `"ge 3 le 50"`.
    pub(crate) fn read(word: &Word<'_>) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{word} is neither a number from 0 to {} nor a comparison such as \"ge 3\", \"le 50\", \"ge 3 le 50\"",
                u32::MAX
            )
        };
        let text = word.plain()?;
        let mut range = Self {
            min: 0,
            max: u32::MAX,
        };
        if let Ok(n) = text.parse() {
            return Ok(Self { min: n, max: n });
        }
        let words: Vec<&str> = text.split_whitespace().collect();
        let number = |w: &str| w.parse().map_err(|_| wrong());
        match words[..] {
            ["ge", n] => range.min = number(n)?,
            ["le", n] => range.max = number(n)?,
            ["ge", n, "le", m] => (range.min, range.max) = (number(n)?, number(m)?),
            _ => return Err(wrong()),
        }
        if range.min > range.max {
            return Err(format!(
                "{word} holds for no number: {} is more than {}",
                range.min, range.max
            ));
        }
        Ok(range)
    }

    pub(crate) fn word(self) -> Word<'static> {
        match self {
            Self { min, max } if min == max => Word::Number(min.into()),
            Self { min, max: u32::MAX } => Word::text(format_args!("ge {min}")),
            Self { min: 0, max } => Word::text(format_args!("le {max}")),
            Self { min, max } => Word::text(format_args!("ge {min} le {max}")),
        }
    }
}

/// What a number of a route is compared with that it may not have: MED, LOCAL_PREF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumMatch {
    /// The route has it, and it is one of these.
    In(NumRange),
    /// The route has none.
    Missing,
}

impl NumMatch {
    /// Does it hold?
    #[must_use]
    pub fn holds(self, n: Option<u32>) -> bool {
        match (self, n) {
            (Self::In(range), Some(n)) => range.contains(n),
            (Self::In(_), None) => false,
            (Self::Missing, n) => n.is_none(),
        }
    }

    pub(crate) fn read(word: &Word<'_>) -> Result<Self, String> {
        match word {
            Word::Text(t) if t == "none" => Ok(Self::Missing),
            _ => NumRange::read(word)
                .map(Self::In)
                .map_err(|e| format!("{e}; or \"none\" for routes without")),
        }
    }

    pub(crate) fn word(self) -> Word<'static> {
        match self {
            Self::In(range) => range.word(),
            Self::Missing => Word::text("none"),
        }
    }
}

/// What is done to MED or LOCAL_PREF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumSet {
    /// It becomes this.
    To(u32),
    /// It grows by so much, to the most there is; one that is missing counts as 0 (MED) or 100 (LOCAL_PREF).
    Add(u32),
    /// It shrinks by so much, to 0.
    Sub(u32),
    /// It is taken off the route.
    Remove,
    /// It becomes the metric to the next hop (MED only).
    Igp,
}

impl NumSet {
    pub(crate) fn read(word: &Word<'_>, igp: bool) -> Result<Self, String> {
        let text = word.plain()?;
        let number = |t: &str| {
            Some(t)
                .filter(|t| t.bytes().all(|b| b.is_ascii_digit()))
                .and_then(|t| t.parse().ok())
        };
        let found = match &*text {
            "remove" => Some(Self::Remove),
            "igp" if igp => Some(Self::Igp),
            t if t.starts_with('+') => number(&t[1..]).map(Self::Add),
            // A bare -10 in TOML is a number, and means the same.
            t if t.starts_with('-') => number(&t[1..]).map(Self::Sub),
            t => number(t).map(Self::To),
        };
        found.ok_or_else(|| {
            let igp = if igp { ", \"igp\"" } else { "" };
            format!(
                "{word} is not a number from 0 to {}, \"+10\", \"-10\"{igp} or \"remove\"",
                u32::MAX
            )
        })
    }

    pub(crate) fn word(self) -> Word<'static> {
        match self {
            Self::To(n) => Word::Number(n.into()),
            Self::Add(n) => Word::text(format_args!("+{n}")),
            Self::Sub(n) => Word::text(format_args!("-{n}")),
            Self::Remove => Word::text("remove"),
            Self::Igp => Word::text("igp"),
        }
    }
}

/// What becomes of the label index (RFC 8669 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelIndex {
    /// It is this one.
    To(u32),
    /// There is none.
    Remove,
}

impl LabelIndex {
    pub(super) fn read(word: &Word<'_>) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{word} is neither an index, a number below 1048576 (there are no more labels), nor \"remove\""
            )
        };
        match word {
            Word::Text(t) if t == "remove" => Ok(Self::Remove),
            Word::Number(n) => match u32::try_from(*n) {
                Ok(n) if n < 1 << 20 => Ok(Self::To(n)),
                _ => Err(wrong()),
            },
            _ => Err(wrong()),
        }
    }

    pub(super) fn word(self) -> Word<'static> {
        match self {
            Self::To(n) => Word::Number(n.into()),
            Self::Remove => Word::text("remove"),
        }
    }
}
