//! Results in parts: what is saved, and how a part that is measured anew joins what was measured before.
//!
//! A text begins with a head that says on which machine all of it was measured, then has a section for each part; its
//! first line says when and at which commit. Parts of two machines are never put side by side, but those of several
//! moments are: each comparison is within one part.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::host::Host;
use crate::report::{self, Bar, Report};

/// Begins the first line of a section, which goes on with the part's name and a colon.
const MARK: &str = "==== ";

/// What is to be reached, and what was by these rows.
pub type Bars = fn(&[Value]) -> Vec<Bar>;

/// One part, as it was measured.
#[derive(Debug, Clone, PartialEq)]
struct Part {
    name: String,
    text: String,
    rows: Vec<Value>,
}

/// All that is known of a kind of tables.
#[derive(Debug)]
pub struct Saved {
    head: String,
    parts: Vec<Part>,
    bars: Bars,
    /// What could not be measured.
    pub failed: Vec<String>,
}

impl Saved {
    /// Nothing yet.
    pub fn new(head: String, bars: Bars) -> Self {
        Self {
            head,
            parts: Vec::new(),
            bars,
            failed: Vec::new(),
        }
    }

    /// What was saved under a name before, to be joined by parts that are measured now.
    ///
    /// # Errors
    /// It is of another machine, or can't be read.
    pub fn load(name: &str, head: String, bars: Bars) -> Result<Self> {
        let [text, rows] = report::files(name);
        let read = |file: &Path| match fs::read_to_string(file) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other
                .with_context(|| format!("can't read {}", file.display()))
                .map(Some),
        };
        match (read(&text)?, read(&rows)?) {
            (Some(text), Some(rows)) => {
                let rows = serde_json::from_str(&rows).context("the rows saved before")?;
                Self::parse(head, bars, &text, rows)
            }
            _ => Ok(Self::new(head, bars)),
        }
    }

    fn parse(head: String, bars: Bars, text: &str, rows: Vec<Value>) -> Result<Self> {
        let mut all = Self::new(head, bars);
        let mut sections = format!("\n{text}");
        sections = sections.replace(&format!("\n{MARK}"), "\n\0");
        let mut sections = sections.split('\0');
        let old = sections.next().unwrap_or_default();
        ensure!(
            old.trim() == all.head.trim(),
            "what was saved before is of another machine or of another time's bench, and parts of both can't stand side by \
             side: measure the whole, without --only"
        );
        for section in sections {
            let name = section.split(':').next().unwrap_or_default();
            let rows = rows.iter().filter(|r| r["part"] == name).cloned().collect();
            all.parts.push(Part {
                name: name.into(),
                text: format!("{MARK}{}\n", section.trim_end()),
                rows,
            });
        }
        Ok(all)
    }

    /// Takes a part that was just measured, in place of the one of that name.
    pub fn take(&mut self, name: &str, report: &Report, host: &Host) {
        let rows = report.rows.iter().map(|r| {
            let mut row = r.json(host);
            row["part"] = name.into();
            row
        });
        let part = Part {
            name: name.into(),
            text: report.text().into(),
            rows: rows.collect(),
        };
        match self.parts.iter_mut().find(|p| p.name == name) {
            Some(old) => *old = part,
            None => self.parts.push(part),
        }
        self.failed.extend(report.failed.iter().cloned());
    }

    /// The report of a part, with its first lines.
    #[must_use]
    pub fn begin(part: &str, what: &str, host: &Host) -> Report {
        let mut report = Report::default();
        report.say(&format!(
            "{MARK}{part}: {what}; {} ({})\ncommand: {}\n",
            host.date, host.commit, host.command
        ));
        report
    }

    /// All rows.
    pub fn rows(&self) -> Vec<Value> {
        self.parts.iter().flat_map(|p| p.rows.clone()).collect()
    }

    /// The bars, as text.
    pub fn bars(&self) -> String {
        report::bars(&(self.bars)(&self.rows()))
    }

    /// Puts the parts into this order, and saves all.
    ///
    /// # Errors
    /// The file system's.
    pub fn save(
        &mut self,
        order: &[String],
        name: &str,
        json: Option<&Path>,
    ) -> io::Result<Vec<PathBuf>> {
        self.parts.retain(|p| order.contains(&p.name));
        self.parts
            .sort_by_key(|p| order.iter().position(|n| *n == p.name));
        report::save(&self.text(), &self.rows(), name, json)
    }

    fn text(&self) -> String {
        let mut text = format!("{}\n\n", self.head.trim_end());
        for part in &self.parts {
            let _ = writeln!(text, "{}\n", part.text.trim_end());
        }
        text + MARK + &self.bars()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Row;

    fn part(case: &str, ours: f64) -> Report {
        let mut report = Report::default();
        report.say(&format!("{MARK}{case}: today\n\n  a table"));
        report.rows.push(Row {
            case: case.into(),
            metric: "lookup",
            unit: "ns",
            ours: ours.into(),
            rival: None,
        });
        report
    }

    #[test]
    fn a_part_joins_what_was_saved() {
        let host = Host::default();
        let order = ["a".to_owned(), "b".to_owned()];
        let none: Bars = |_| Vec::new();
        let mut first = Saved::new("a machine\n".into(), none);
        first.take("b", &part("b", 1.0), &host);
        first.take("a", &part("a", 2.0), &host);
        first
            .parts
            .sort_by_key(|p| order.iter().position(|n| *n == p.name));

        let mut second =
            Saved::parse("a machine\n".into(), none, &first.text(), first.rows()).unwrap();
        second.parts.retain(|p| order.contains(&p.name));
        for (read, written) in second.parts.iter().zip(&first.parts) {
            assert_eq!((&read.name, &read.rows), (&written.name, &written.rows));
            assert_eq!(read.text.trim_end(), written.text.trim_end());
        }
        second.take("b", &part("b", 3.0), &host);
        let figures: Vec<f64> = second
            .rows()
            .iter()
            .filter_map(|r| r["ours"].as_f64())
            .collect();
        assert_eq!(figures, [2.0, 3.0]);
        assert!(
            second.text().starts_with("a machine\n\n==== a: today\n"),
            "{}",
            second.text()
        );

        let other = Saved::parse(
            "another machine\n".into(),
            none,
            &first.text(),
            first.rows(),
        );
        assert!(other.is_err(), "parts of two machines");
    }
}
