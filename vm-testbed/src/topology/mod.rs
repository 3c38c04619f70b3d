//! Whole networks in a few lines of TOML: nodes with roles, links with addresses and faults. `cargo testbed up TOPOLOGY`
//! makes one that stays; the scenarios `topology/…` make the shipped ones and take them down.
//!
//! ```toml
//! about = "a host, the appliance, FRR, and a link that loses one frame in a hundred"
//! [nodes]
//! h1 = "host"                                                   # the same as { role = "host" }
//! r1 = { role = "appliance", as = 65001 }
//! r2 = { role = "frr", as = 65002, announce = ["203.0.113.0/24"] }
//! [[links]]
//! ends = ["h1", "r1"]                                           # addresses by themselves: 10.0.N.1, .2, 2001:db8:N::1, ::2
//! [[links]]
//! ends = ["r1", "r2"]
//! addresses = [["10.7.0.1/30"], ["10.7.0.2/30"]]                # or said, for each end
//! faults = "loss=1 delay-ms=20"
//! ```
//!
//! - [`text`]: the format, and everything that is refused before anything is made. [`speakers`]: configurations. [`build`]:
//!   makes it. [`state`]: what stays up, and the commands on it.
//!
//! Two nodes with an AS that share a link have a BGP session over it; networks that lead to nodes without one are announced.
//! A node with `role = "guest"` is a machine of its own ([`guest`]). Left out: bridges with more than two ends.

pub mod build;
pub mod console;
mod entry;
pub mod guest;
pub mod speakers;
pub mod state;
pub mod text;

use std::path::Path;

use anyhow::{Context, Result, bail};

pub use build::Made;
pub use text::{Link, Node, Role, Topology};

/// Those that come with the test bed.
pub const SHIPPED: &[(&str, &str)] = &[
    ("triangle", include_str!("../../topologies/triangle.toml")),
    ("provider", include_str!("../../topologies/provider.toml")),
    (
        "leaf-spine",
        include_str!("../../topologies/leaf-spine.toml"),
    ),
    ("bad-link", include_str!("../../topologies/bad-link.toml")),
    ("guests", include_str!("../../topologies/guests.toml")),
];

/// The topology of that name, or in that file: its name and its text.
///
/// # Errors
/// When there is neither, or the file can't be read.
pub fn find(what: &str) -> Result<(String, String)> {
    let shipped = SHIPPED.iter().find(|s| s.0 == what);
    if let Some((name, text)) = shipped {
        return Ok(((*name).to_owned(), (*text).to_owned()));
    }
    let path = Path::new(what);
    let names: Vec<&str> = SHIPPED.iter().map(|s| s.0).collect();
    if !path.exists() {
        bail!(
            "`{what}` is no file and no topology that comes with the test bed; those are {}",
            names.join(", ")
        );
    }
    let name = path
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > 30 || !name.chars().all(good) {
        bail!(
            "{what}: a topology is called as its file, with small letters, digits and `-`, at most 30; rename it"
        );
    }
    if names.contains(&name.as_str()) {
        bail!(
            "{what}: a topology that comes with the test bed is called {name}; give the file another name"
        );
    }
    let text = std::fs::read_to_string(path).with_context(|| what.to_owned())?;
    Ok((name, text))
}
