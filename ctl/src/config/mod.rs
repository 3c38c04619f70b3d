//! The configuration: from the text of a file to a plan that the control thread carries out.
//!
//! Phases are types (each can only be had from the one before it):
//! text → `Candidate` (well formed, every key known, each with its place in the file) → [`Valid`] (makes sense as a
//! whole) → [`Plan`] (what to do, in order, to get there from another `Valid`). Everything that can be found wrong without
//! touching the machine is found before there is a `Plan`.
//!
//! [`Store`] holds the running configuration and its file, and turns a commit into a `Plan` with the file saved first.
//! `docs/configuration.md` lists the keys.
//!

pub mod bgp;
mod diff;
mod edit;
mod error;
pub mod labels;
pub mod ldp;
mod leak;
mod model;
mod parse;
pub mod policy;
mod print;
mod reader;
mod routefile;
mod save;
mod spec;
mod store;
mod terms;
mod validate;
mod vrf;
pub mod watch;

pub use diff::{Edit, Forget, Plan, Restart, Step};
pub use error::{ConfigError, Problem};
pub use model::{
    Dataplane, Discard, Interface, LabelAction, LabelRoute, Memory, NeighborParams, NextHop, Poll,
    RouteFile, System, Target, TcMode, TtlMode, Valid, Workers,
};
pub use save::SaveError;
pub use store::{Next, Saved, Staged, Store};
pub(crate) use terms::LOOPBACK;
pub use vrf::{Dest, EXPORT_GLOBAL, GLOBAL, IMPORT_GLOBAL, LabelMode, RouteTarget, Vrf, VrfName};
pub(crate) use vrf::{distinguisher, exists as vrf_exists};

#[cfg(test)]
mod tests;
