//! The published API of a Trunkline appliance: its messages, a client, and the grammar of its commands.
//!
//! The messages are those of `proto/trunkline/v1/trunkline.proto`, which is the reference; the names in it are what
//! `trunkctl --json` prints. [`connect`] gives the asynchronous client, [`blocking::Client`] one for programs that have no
//! runtime, and [`grammar`] reads `203.0.113.0/24 via 198.51.100.3 label 100/200` for `trunkctl` and for route files alike.
#![forbid(unsafe_code)]

pub mod blocking;
mod client;
pub mod grammar;

/// Version 1 of the protocol, generated from its `.proto` file.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod v1 {
    tonic::include_proto!("trunkline.v1");
}

pub use client::{Client, ConnectError, connect};
pub use v1::*;

/// Where the appliance listens unless it is told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/trunkline/trunkline.sock";

/// The longest message either side takes, in octets; tables and commits come in several.
pub const MAX_MESSAGE: usize = 64 << 20;
