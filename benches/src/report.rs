//! What a run found: rows for programs, tables for people, and the bars that were to be reached.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::host::Host;
use crate::stats::Sample;

/// One comparison, less is better: `ours` beside a rival.
#[derive(Debug, Clone)]
pub struct Row {
    /// What was done, from the general to the special, with `/` between.
    pub case: String,
    /// What was measured: "lookup", "update p99", "memory"…
    pub metric: &'static str,
    /// Its unit: "ns", "bytes", "s"…
    pub unit: &'static str,
    /// Trunkline's.
    pub ours: Sample,
    /// The rival's; none where there is nobody to compare with.
    pub rival: Option<(&'static str, Sample)>,
}

impl Row {
    /// How many times ours the rival's is.
    pub fn ratio(&self) -> Option<f64> {
        let (_, rival) = self.rival.as_ref()?;
        Some(self.ours.ratio(rival)).filter(|r| r.is_finite())
    }

    /// As `docs/benches.md` describes it.
    pub fn json(&self, host: &Host) -> Value {
        let spread = |s: &Sample| json!([round(s.spread().0), round(s.spread().1)]);
        let (name, rival) = match &self.rival {
            Some((name, s)) => (Some(name), Some(s)),
            None => (None, None),
        };
        json!({
            "case": self.case,
            "metric": self.metric,
            "unit": self.unit,
            "ours": round(self.ours.median()),
            "rival": rival.map(|s| round(s.median())),
            "rival_name": name,
            "ratio": self.ratio().map(round),
            "runs": self.ours.0.len(),
            "ours_spread": spread(&self.ours),
            "rival_spread": rival.map(spread),
            "host": host.summary(),
            "date": host.date,
            "commit": host.commit,
        })
    }
}

/// Four significant digits: nobody's clock has more.
fn round(x: f64) -> f64 {
    format!("{x:.3e}").parse().unwrap_or(x)
}

/// A figure to be reached.
#[derive(Debug, Clone)]
pub struct Bar {
    /// What it is about.
    pub what: String,
    /// At least this, or at most.
    pub want: f64,
    /// What was measured; none where nothing was.
    pub got: Option<f64>,
    /// Whether less is better.
    pub at_most: bool,
    /// Behind the numbers.
    pub unit: &'static str,
}

impl Bar {
    /// Whether it is reached.
    pub fn reached(&self) -> bool {
        self.got.is_some_and(|got| {
            if self.at_most {
                got <= self.want
            } else {
                got >= self.want
            }
        })
    }

    fn line(&self) -> String {
        let sign = if self.at_most { "<=" } else { ">=" };
        let unit = self.unit;
        let wanted = format!("{:<70} {sign} {:>7}{unit}", self.what, figure(self.want));
        match self.got {
            None => format!("{wanted}            not measured in this run"),
            Some(got) if self.reached() => {
                format!("{wanted}   {:>8}{unit}   reached", figure(got))
            }
            Some(got) => {
                let by = 100.0 * (got / self.want - 1.0).abs();
                format!("{wanted}   {:>8}{unit}   MISSED by {by:.0} %", figure(got))
            }
        }
    }
}

/// The list of bars as text.
pub fn bars(bars: &[Bar]) -> String {
    let reached = bars.iter().filter(|b| b.reached()).count();
    let mut text = format!("bars: {reached} of {} reached\n", bars.len());
    for b in bars {
        let _ = writeln!(text, "  {}", b.line());
    }
    text
}

/// A number in as many digits as say something.
pub fn figure(x: f64) -> String {
    match x.abs() {
        0.0 => "0".into(),
        a if a >= 1000.0 => format!("{x:.0}"),
        a if a >= 100.0 => format!("{x:.0}"),
        a if a >= 10.0 => format!("{x:.1}"),
        a if a >= 0.1 => format!("{x:.2}"),
        _ => format!("{x:.4}"),
    }
}

/// Columns of text, the first flush left, the others right.
#[derive(Debug, Default)]
pub struct Grid(Vec<Vec<String>>);

impl Grid {
    /// A table with this head.
    pub fn new<S: Into<String>>(head: impl IntoIterator<Item = S>) -> Self {
        Self(vec![head.into_iter().map(Into::into).collect()])
    }

    /// One more line whose cells stand under heads, which are added where they are new.
    pub fn named<'a>(&mut self, first: &str, cells: impl IntoIterator<Item = (&'a str, String)>) {
        let mut line = vec![first.to_owned()];
        for (head, cell) in cells {
            let heads = &mut self.0[0];
            let at = heads.iter().position(|h| h == head).unwrap_or_else(|| {
                heads.push(head.to_owned());
                heads.len() - 1
            });
            line.resize(line.len().max(at + 1), String::new());
            line[at] = cell;
        }
        self.0.push(line);
    }

    /// One more line.
    pub fn line<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.0.push(cells.into_iter().map(Into::into).collect());
    }

    /// As text.
    pub fn text(&self) -> String {
        let columns = self.0.iter().map(Vec::len).max().unwrap_or(0);
        let width = |i| {
            let cells = self.0.iter().filter_map(|l| l.get(i));
            cells.map(|c: &String| c.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for line in &self.0 {
            let mut out = String::new();
            for (i, (cell, &w)) in line.iter().zip(&widths).enumerate() {
                let _ = match i {
                    0 => write!(out, "  {cell:<w$}"),
                    _ => write!(out, "  {cell:>w$}"),
                };
            }
            let _ = writeln!(text, "{}", out.trim_end());
        }
        text
    }
}

/// `12.3 (11.9-14.0)`: a median and its spread.
pub fn with_spread(s: &Sample) -> String {
    let (low, high) = s.spread();
    format!("{} ({}-{})", figure(s.median()), figure(low), figure(high))
}

/// Collects what a run says, and prints it as it comes.
#[derive(Debug, Default)]
pub struct Report {
    text: String,
    /// The comparisons so far.
    pub rows: Vec<Row>,
    /// What could not be measured, and why.
    pub failed: Vec<String>,
}

impl Report {
    /// Says what could not be measured, so that the rest of the run is not lost.
    pub fn or_failed(&mut self, what: &str, done: anyhow::Result<()>) {
        if let Err(e) = done {
            self.say(&format!("NOT MEASURED: {what}: {e:#}\n"));
            self.failed.push(what.to_owned());
        }
    }

    /// Prints a text, and keeps it for the file.
    pub fn say(&mut self, text: &str) {
        println!("{text}");
        self.text.push_str(text);
        self.text.push('\n');
    }

    /// The row of that case, metric and rival.
    pub fn find(&self, case: &str, metric: &str, rival: &str) -> Option<&Row> {
        self.rows.iter().find(|r| {
            r.case == case && r.metric == metric && r.rival.as_ref().map_or("", |(n, _)| n) == rival
        })
    }

    /// All rows as JSON: a list.
    pub fn json(&self, host: &Host) -> Value {
        self.rows.iter().map(|r| r.json(host)).collect()
    }

    /// What was said.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Writes the text and the rows under `benches/results/`, and the rows to `json` where asked for.
    ///
    /// # Errors
    /// The file system's.
    pub fn save(&self, name: &str, host: &Host, json: Option<&Path>) -> io::Result<Vec<PathBuf>> {
        let rows: Vec<Value> = self.rows.iter().map(|r| r.json(host)).collect();
        save(&self.text, &rows, name, json)
    }
}

/// Where results lie: the text and the rows.
pub fn files(name: &str) -> [PathBuf; 2] {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
    ["txt", "json"].map(|end| folder.join(format!("{name}.{end}")))
}

/// Writes a text and rows where results lie, and the rows to `json` where asked for. Returns the files.
///
/// # Errors
/// The file system's.
pub fn save(
    text: &str,
    rows: &[Value],
    name: &str,
    json: Option<&Path>,
) -> io::Result<Vec<PathBuf>> {
    let lines: Vec<String> = rows.iter().map(|r| format!("  {r}")).collect();
    let rows = format!("[\n{}\n]\n", lines.join(",\n"));
    let mut files = files(name).to_vec();
    if let Some(folder) = files[0].parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(&files[0], text)?;
    fs::write(&files[1], &rows)?;
    if let Some(file) = json {
        fs::write(file, &rows)?;
        files.push(file.to_owned());
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_the_fields_that_were_promised() {
        let row = Row {
            case: "ipv4/64 groups/zipf/batch 256".into(),
            metric: "lookup",
            unit: "ns",
            ours: Sample(vec![2.0, 2.0, 4.0]),
            rival: Some(("rte_fib", Sample(vec![5.0, 6.0, 12.0]))),
        };
        let v = row.json(&Host::default());
        let keys = [
            "case",
            "metric",
            "unit",
            "ours",
            "rival",
            "rival_name",
            "ratio",
            "runs",
        ];
        assert!(keys.iter().all(|k| v.get(k).is_some()), "{v}");
        assert_eq!((&v["ours"], &v["rival"]), (&json!(2.0), &json!(6.0)));
        assert_eq!((&v["ratio"], &v["runs"]), (&json!(3.0), &json!(3)));
        assert_eq!(v["rival_spread"], json!([5.0, 12.0]));

        let alone = Row { rival: None, ..row };
        assert_eq!(alone.json(&Host::default())["ratio"], Value::Null);
    }

    #[test]
    fn bars_say_by_how_much_they_are_missed() {
        let bar = |want, got, at_most| Bar {
            what: "x".into(),
            want,
            got,
            at_most,
            unit: "x",
        };
        assert!(bar(3.0, Some(3.0), false).reached());
        assert!(!bar(3.0, None, false).reached());
        let text = bars(&[bar(4.0, Some(3.0), false), bar(2.0, Some(1.0), true)]);
        assert!(text.starts_with("bars: 1 of 2 reached"), "{text}");
        assert!(text.contains("MISSED by 25 %"), "{text}");
    }

    #[test]
    fn columns_line_up() {
        let mut g = Grid::new(["a", "b"]);
        g.line(["longer", "1.5"]);
        assert_eq!(g.text(), "  a         b\n  longer  1.5\n");
    }
}
