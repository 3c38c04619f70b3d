//! The test bed: labs of network namespaces in which the appliance meets Linux hosts and hand-made frames, the scenarios
//! that run in them, and the demonstration. It builds without DPDK, so that it can prepare a bare machine.
//!
//! [`lab`] makes namespaces, veths and appliances; [`frame`] makes frames; [`cases`] are tables of frames in and frames out;
//! [`vm`] makes virtual machines; [`table`] makes route tables; [`topology`] reads whole networks from a few lines; [`scenarios`] are whole stories; [`suite`] runs all of it; [`setup`] installs and builds; [`fuzz`] fuzzes;
//! [`demo`] shows; [`bench`] measures; [`simulate`] plays whole networks in virtual time.
#![forbid(unsafe_code)]

pub mod bench;
pub mod cases;
pub mod demo;
pub mod frame;
pub mod fuzz;
pub mod judge;
pub mod lab;
pub mod peers;
pub mod progress;
pub mod scenarios;
pub mod setup;
pub mod simulate;
pub mod suite;
pub mod table;
pub mod topology;
pub mod vm;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

static BINARIES: OnceLock<PathBuf> = OnceLock::new();

/// The root of the workspace.
#[must_use]
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("/"))
}

/// The folder of the built programs.
#[must_use]
pub fn binaries() -> &'static Path {
    BINARIES.get_or_init(|| target_folder().join("debug"))
}

/// Says where the built programs are; to be called once, before they are used.
pub fn use_binaries(folder: PathBuf) {
    let _ = BINARIES.set(folder);
}

/// The folder in which cargo builds.
#[must_use]
pub fn target_folder() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => workspace().join(dir),
        None => workspace().join("target"),
    }
}
