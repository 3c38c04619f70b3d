//! The page that is saved: a block for each case, with the date and commit of its measurement. A run of some cases takes the
//! place of theirs on the page that is there, so that a long run can be made in parts; each block says of which.

use std::collections::BTreeSet;

use serde_json::Value;

/// What ends the blocks.
const COMMANDS: &str = "commands:";

/// A page.
#[derive(Debug, Default, PartialEq)]
pub struct Page {
    /// Host and versions, and the head of the table.
    pub head: String,
    /// By name, in the order of the cases.
    pub blocks: Vec<(String, String)>,
    /// What was run.
    pub commands: BTreeSet<String>,
}

impl Page {
    /// Reads what [`Page::text`] wrote.
    pub fn parse(text: &str) -> Self {
        let (body, commands) = text.split_once(COMMANDS).unwrap_or((text, ""));
        let (head, table) = body.split_once("\n\n").unwrap_or((body, ""));
        let mut page = Self {
            head: format!("{head}\n\n"),
            blocks: Vec::new(),
            commands: commands
                .lines()
                .filter(|l| !l.is_empty())
                .map(str::to_owned)
                .collect(),
        };
        for line in table.lines().filter(|l| !l.is_empty()) {
            match line.split_whitespace().next() {
                Some("case") => page.head += &format!("{line}\n"),
                Some(name) if !line.starts_with(' ') => {
                    page.blocks.push((name.to_owned(), format!("{line}\n")));
                }
                _ => {
                    if let Some((_, block)) = page.blocks.last_mut() {
                        *block += &format!("{line}\n");
                    }
                }
            }
        }
        page
    }

    /// This page with what the older one has beside it, in the order of `names`.
    #[must_use]
    pub fn joined(mut self, old: Self, names: &[&str]) -> Self {
        for (name, block) in old.blocks {
            if names.contains(&name.as_str()) && !self.blocks.iter().any(|(n, _)| *n == name) {
                self.blocks.push((name, block));
            }
        }
        let place = |name: &str| names.iter().position(|n| *n == name);
        self.blocks.sort_by_key(|(name, _)| place(name));
        self.commands.extend(old.commands);
        self
    }

    /// As it is saved.
    pub fn text(&self) -> String {
        let blocks: String = self.blocks.iter().map(|(_, b)| b.as_str()).collect();
        let commands: Vec<&str> = self.commands.iter().map(String::as_str).collect();
        format!(
            "{}{blocks}\n{COMMANDS}\n{}\n",
            self.head,
            commands.join("\n")
        )
    }
}

/// The rows of a run, and those of the file that are of other cases.
pub fn join_rows(mut new: Vec<Value>, old: &str) -> Vec<Value> {
    let old: Vec<Value> = serde_json::from_str(old).unwrap_or_default();
    let measured = |row: &Value| new.iter().any(|n| n["case"] == row["case"]);
    let kept: Vec<Value> = old.into_iter().filter(|row| !measured(row)).collect();
    new.extend(kept);
    new.sort_by_key(|row| row["case"].as_str().unwrap_or_default().to_owned());
    new
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn parts_make_a_whole() {
        let page = |names: &[&str], what: &str| Page {
            head: "host\nversions\n\ncase  program\n".into(),
            blocks: names
                .iter()
                .map(|n| ((*n).to_owned(), format!("{n}  ours 1\n      {what}\n")))
                .collect(),
            commands: [format!("run {what}")].into(),
        };
        let order = ["a", "b", "c"];
        let old = page(&["a", "c", "gone"], "old");
        assert_eq!(Page::parse(&old.text()), old);
        let all = page(&["c", "b"], "new").joined(old, &order);
        let names: Vec<&str> = all.blocks.iter().map(|(n, _)| n.as_str()).collect();
        assert_eq!(names, order);
        assert!(all.blocks[0].1.contains("old") && all.blocks[2].1.contains("new"));
        assert_eq!(all.commands.len(), 2);
        assert_eq!(Page::parse(&all.text()), all);
    }

    #[test]
    fn rows_of_other_cases_stay() {
        let row = |case: &str, ours: u32| json!({"case": case, "ours": ours});
        let old = json!([row("a", 1), row("b", 1)]).to_string();
        let all = join_rows(vec![row("b", 2), row("b", 3)], &old);
        assert_eq!(all, [row("a", 1), row("b", 2), row("b", 3)]);
        assert_eq!(join_rows(vec![row("b", 2)], "").len(), 1);
    }
}
