//! LDP without I/O: bytes and time in, bytes and decisions out.
//!
//! Read first: RFC 5036; then [`types`] for the words and [`wire`] for messages. The crate stands alone: it uses nothing of
//! Trunkline's, and can be used without it.
#![forbid(unsafe_code)]

pub mod fuzz;
pub mod types;
pub mod wire;
