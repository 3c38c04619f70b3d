//! Tables and traffic for measurements, and the side-by-side runs against rivals.
//!
//! `cargo testbed bench fib` and `cargo testbed bench forward` measure Trunkline beside its rivals ([`tables`],
//! [`forward`]); `cargo bench -p benches` is a quick look for developers, Trunkline alone. What is random comes from a seed. The tables
//! are made up in the shape of the Internet's ([`table`]); files with real ones can be named. Only ratios within one run of
//! one machine mean anything. `docs/benches.md` has the rest.
#![forbid(unsafe_code)]

pub mod bgp;
pub mod contest;
pub mod family;
pub mod forward;
pub mod growth;
pub mod host;
pub mod programs;
pub mod report;
pub mod saved;
pub mod shape;
pub mod sharing;
pub mod stats;
pub mod table;
pub mod tables;
pub mod traffic;
pub mod vpn;
