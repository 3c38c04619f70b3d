//! Progress for people: a spinner on a terminal, plain lines elsewhere (logs, CI).

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// One step that takes a while.
#[derive(Debug)]
pub struct Step {
    what: String,
    start: Instant,
    bar: Option<ProgressBar>,
}

/// Whether somebody watches.
#[must_use]
pub fn terminal() -> bool {
    std::io::stderr().is_terminal()
}

/// Begins a step.
#[must_use]
pub fn step(what: &str) -> Step {
    let bar = terminal().then(|| {
        let bar = ProgressBar::new_spinner().with_message(what.to_owned());
        if let Ok(style) = ProgressStyle::with_template("  {spinner} {msg} {elapsed:.dim}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        bar
    });
    if bar.is_none() {
        eprintln!("  … {what}");
    }
    Step {
        what: what.to_owned(),
        start: Instant::now(),
        bar,
    }
}

impl Step {
    /// Says what it is doing now.
    pub fn say(&self, what: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(format!("{}: {what}", self.what)),
            None => eprintln!("    {what}"),
        }
    }

    /// Ends it well, with what came of it.
    pub fn done(self, result: &str) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let took = self.start.elapsed().as_secs_f64();
        let result = if result.is_empty() {
            String::new()
        } else {
            format!(": {result}")
        };
        eprintln!("  ✓ {}{result} ({took:.1} s)", self.what);
    }
}

/// A heading.
pub fn title(text: &str) {
    eprintln!("\n{text}");
}

/// A line of its own.
pub fn note(text: &str) {
    eprintln!("  {text}");
}
