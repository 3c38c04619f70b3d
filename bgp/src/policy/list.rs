//! Sets from files: an entry a line. Blank lines, and what follows a `#`, are passed over.

use std::fmt;
use std::str::FromStr;

/// What is wrong with a line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineError {
    /// Counted from one.
    pub line: usize,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// Reads the entries of a file's text: prefixes, AS numbers, patterns, as their types read them.
///
/// # Errors
/// Lines that are none; not more than `most` of them.
pub fn read_list<T: FromStr<Err: fmt::Display>>(
    text: &str,
    most: usize,
) -> Result<Vec<T>, Vec<LineError>> {
    let mut entries = Vec::with_capacity(text.len() / 24);
    let mut errors = Vec::new();
    for (nth, line) in text.lines().enumerate() {
        let entry = match line.find('#') {
            Some(at) => line[..at].trim(),
            None => line.trim(),
        };
        if entry.is_empty() {
            continue;
        }
        match entry.parse() {
            Ok(entry) => entries.push(entry),
            Err(e) => errors.push(LineError {
                line: nth + 1,
                message: T::Err::to_string(&e),
            }),
        }
        if errors.len() >= most {
            break;
        }
    }
    if errors.is_empty() {
        Ok(entries)
    } else {
        Err(errors)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{AsPathPattern, AsnRange, PrefixRange};
    use super::*;

    #[test]
    fn entries_and_comments() {
        let text = "# ours\n\n203.0.113.0/24 le 28 # a customer\r\n  2001:db8::/32^+\n";
        let all: Vec<PrefixRange> = read_list(text, 5).unwrap();
        assert_eq!(all.len(), 2);
        let all: Vec<AsnRange> = read_list("AS64500\n64512-65534\n", 5).unwrap();
        assert_eq!(all.len(), 2);
        let all: Vec<AsPathPattern> = read_list("_64500$\n^$\n", 5).unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!(read_list::<AsnRange>("", 5), Ok(vec![]));
    }

    #[test]
    fn mistakes_have_their_line() {
        let text = "10.0.0.0/8\n\nx\n10.0.0.1/8\n10.0.0.0/8 le 7\n";
        let errors = read_list::<PrefixRange>(text, 2).unwrap_err();
        let lines: Vec<usize> = errors.iter().map(|e| e.line).collect();
        assert_eq!(lines, [3, 4]);
        assert!(errors[1].message.contains("the prefix is 10.0.0.0/8"));
    }
}
