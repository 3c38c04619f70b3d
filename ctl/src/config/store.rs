//! The running configuration and the file it is saved in; commits, from what was asked for to a plan.
//!
//! The order of a commit: `stage_*` (nothing is touched) → [`Store::save`] → the control thread applies the plan →
//! [`Store::keep`], or [`Store::undo`] when it refused. So what runs is always in the file, and what can't be saved never runs.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use api::Change;
use toml_edit::{DocumentMut, Item};

use super::diff::Plan;
use super::edit::edit;
use super::error::{ConfigError, Problem};
use super::model::Valid;
use super::parse::parse;
use super::save::{SaveError, describe, save};
use super::validate::Files;

/// Holds the running configuration and its file. The API thread owns it; the control thread only sees plans. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    path: PathBuf,
    text: Arc<str>,
    running: Arc<Valid>,
}

/// A commit that was found good and waits to be saved and applied.
#[derive(Debug)]
pub struct Staged {
    text: String,
    /// What to do, with the configuration that it leads to.
    pub plan: Plan,
}

impl Staged {
    /// What the control thread gets, and what is kept once it is done.
    #[must_use]
    pub fn split(self) -> (Plan, Next) {
        let next = Next {
            text: self.text.into(),
            valid: Arc::clone(&self.plan.next),
        };
        (self.plan, next)
    }
}

/// The configuration that runs once a commit is applied.
#[derive(Debug)]
pub struct Next {
    text: Arc<str>,
    valid: Arc<Valid>,
}

/// What [`Store::undo`] needs to take a save back.
#[derive(Debug)]
pub struct Saved {
    /// `None`: the file said the same already.
    old: Option<String>,
}

fn unreadable(path: &Path, error: &std::io::Error) -> ConfigError {
    let remedy = match error.kind() {
        std::io::ErrorKind::NotFound => {
            "write one (docs/configuration.md shows how), or name another with -c FILE"
        }
        std::io::ErrorKind::InvalidData => "it is not text in UTF-8",
        _ => "name another with -c FILE",
    };
    let message = format!("cannot read it: {}; {remedy}", describe(error));
    Problem {
        file: Some(path.to_owned()),
        line: 0,
        key: String::new(),
        message,
    }
    .into()
}

/// Puts a path in the place of the string that stands there.
fn rename(item: Option<&mut Item>, path: &Path) {
    if let Some(Item::Value(name)) = item {
        let decor = name.decor().clone();
        *name = path.to_string_lossy().as_ref().into();
        *name.decor_mut() = decor;
    }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|e| unreadable(path, &e))
}

/// Checks a text as the configuration file `path`.
fn understand(path: &Path, text: &str, files: Files<'_>) -> Result<Valid, ConfigError> {
    parse(path, text)?.validate(path, text, files)
}

impl Store {
    /// Reads and checks the configuration in the file `path`.
    ///
    /// # Errors
    /// The file can't be read, or is wrong.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        // Absolute, because the route file's place follows from it and the working directory may change.
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let text: Arc<str> = read(&path)?.into();
        let running = Arc::new(understand(&path, &text, Files::Read)?);
        Ok(Self {
            path,
            text,
            running,
        })
    }

    /// The configuration that runs.
    #[must_use]
    pub fn running(&self) -> &Arc<Valid> {
        &self.running
    }

    /// The file it is saved in.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The text of the running configuration, as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The configuration file as it lies on disk now.
    ///
    /// # Errors
    /// It can't be read.
    pub fn read(&self) -> Result<String, ConfigError> {
        read(&self.path)
    }

    /// Checks `text` as a configuration that lies at `path` (empty: where the running one does) against itself alone.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, text: &str, path: &Path) -> Result<Arc<Valid>, ConfigError> {
        let path = self.place(path);
        understand(path, text, Files::Read).map(Arc::new)
    }

    fn place<'p>(&'p self, path: &'p Path) -> &'p Path {
        if path.as_os_str().is_empty() {
            &self.path
        } else {
            path
        }
    }

    /// A whole configuration in the place of the running one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn stage_file(&self, text: &str, path: &Path) -> Result<Staged, ConfigError> {
        let path = self.place(path);
        let mut next = understand(path, text, Files::Read)?;
        next.policy = std::mem::take(&mut next.policy).after(&self.running.policy);
        let text = self.moved(text, path, &next).into_owned();
        Ok(Staged {
            text,
            plan: Arc::new(next).diff(&self.running),
        })
    }

    /// The text as it has to be in our own file: files of another directory that are named relative to it get their whole
    /// paths.
    fn moved<'t>(&self, text: &'t str, from: &Path, next: &Valid) -> Cow<'t, str> {
        let route_file = next.route_file.as_ref();
        let route_file = route_file.filter(|f| !Path::new(&f.written).is_absolute());
        let here = from.parent() == self.path.parent();
        if here || route_file.is_none() && next.policy.relative_files().next().is_none() {
            return Cow::Borrowed(text);
        }
        let Ok(mut doc) = text.parse::<DocumentMut>() else {
            return Cow::Borrowed(text);
        };
        if let Some(file) = route_file {
            rename(doc.get_mut("route-file"), &file.path);
        }
        for (section, name, path) in next.policy.relative_files() {
            let set = doc.get_mut(section).and_then(|all| all.get_mut(name));
            rename(set.and_then(|set| set.get_mut("file")), path);
        }
        Cow::Owned(doc.to_string())
    }

    /// Changes to the running configuration, all or none, edited into its file.
    ///
    /// # Errors
    /// A change can't be made, what comes out is wrong, or the file was changed by hand meanwhile.
    pub fn stage_changes(&self, changes: &[Change]) -> Result<Staged, ConfigError> {
        let disk = read(&self.path)?;
        let keep = Files::Keep(&self.running);
        if disk != *self.text {
            let same = understand(&self.path, &disk, keep).is_ok_and(|disk| disk == *self.running);
            if !same {
                let file = self.path.display();
                let message = format!(
                    "was changed by hand since it was loaded; \"config diff {file}\" shows how, \"config apply {file}\" takes it over; nothing was changed"
                );
                return Err(Problem {
                    file: Some(self.path.clone()),
                    line: 0,
                    key: String::new(),
                    message,
                }
                .into());
            }
        }
        let (text, forgotten) = edit(&disk, &self.running, changes)?;
        let next = understand(&self.path, &text, keep).map_err(|mut error| {
            // The lines are those of a text nobody has seen; and all was well before the change.
            for problem in error
                .problems
                .iter_mut()
                .filter(|p| p.file.as_deref() == Some(&self.path))
            {
                (problem.file, problem.line) = (None, 0);
            }
            error
        })?;
        let mut plan = Arc::new(next).diff(&self.running);
        plan.forgotten = forgotten;
        Ok(Staged { text, plan })
    }

    /// Writes a commit into the file.
    ///
    /// # Errors
    /// It can't be written; it is as it was.
    pub fn save(&self, staged: &Staged) -> Result<Saved, SaveError> {
        let disk = std::fs::read_to_string(&self.path).ok();
        if disk.as_ref() == Some(&staged.text) {
            return Ok(Saved { old: None });
        }
        save(&self.path, &staged.text)?;
        Ok(Saved { old: disk })
    }

    /// The commit was applied: it is the running configuration now.
    pub fn keep(&mut self, next: Next) {
        self.text = next.text;
        self.running = next.valid;
    }

    /// The commit was refused: the file gets its old text back.
    ///
    /// # Errors
    /// It can't be written.
    pub fn undo(&self, saved: Saved) -> Result<(), SaveError> {
        match saved.old {
            Some(old) => save(&self.path, &old),
            None => Ok(()),
        }
    }
}
