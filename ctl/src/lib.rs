//! The control plane of Trunkline: everything that is not a frame.
//!
//! One thread, the control thread, is the only writer of every table. It runs the reactor of [`control`], which
//! serves the API's requests ([`server`], [`request`]), the frames that workers hand up (ARP and ND in [`neigh`],
//! what is addressed to the router in [`host`]) and the changes of the configuration ([`config`], [`apply`]), and
//! drains what changed in the [`rib`] into the dataplane's tables, a slice at a time.
//!
//! Arrows: this crate alone knows both the dataplane and the API, and translates between them.
#![forbid(unsafe_code)]

pub mod apply;
mod bgp;
pub mod config;
pub mod control;
pub mod host;
pub mod labels;
mod ldp;
mod lsp;
pub mod neigh;
pub mod request;
pub mod rib;
pub mod server;
