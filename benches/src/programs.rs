//! The appliance that is measured, built as it ships.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The folder with `trunkline` and `trunkctl`: that one, else where this program is itself, with both built there.
///
/// # Errors
/// There is no such folder, or they can't be built.
pub fn folder(given: Option<&Path>) -> Result<PathBuf> {
    if let Some(folder) = given {
        let found = folder.canonicalize();
        return found.with_context(|| folder.display().to_string());
    }
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--release", "--quiet"]);
    cargo.args(["-p", "trunkline", "-p", "trunkctl"]);
    ensure!(cargo.status()?.success(), "trunkline could not be built");
    let here = std::env::current_exe()?;
    let folder = here.parent().context("this program is in no folder")?;
    Ok(folder.to_owned())
}
