//! What is wrong with a configuration: where, what, and what would be right.

use std::fmt;
use std::path::PathBuf;

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file it is in; `None`: the change that was asked for, not a file.
    pub file: Option<PathBuf>,
    /// Counted from one; 0: the file as a whole.
    pub line: usize,
    /// As it would be written: `interface.wan0.mtu`; may be empty.
    pub key: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}", file.display())?;
            if self.line > 0 {
                write!(f, ":{}", self.line)?;
            }
            f.write_str(": ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// Why a configuration is refused: at least one problem, those of one file in its order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// The mistakes.
    pub problems: Vec<Problem>,
}

/// After this many mistakes the rest is not looked for.
pub(super) const MAX_PROBLEMS: usize = 20;

impl From<Problem> for ConfigError {
    fn from(problem: Problem) -> Self {
        Self {
            problems: vec![problem],
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.problems.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        if self.problems.len() >= MAX_PROBLEMS {
            f.write_str("\n(there may be more)")?;
        }
        Ok(())
    }
}
