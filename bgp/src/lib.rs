//! BGP-4 without I/O: bytes and time in, bytes and decisions out.
//!
//! Read first: RFC 4271; then [`types`] for the words, [`attrs`] for the one form of path attributes that everything else
//! is built on, and [`wire`] for messages. [`session`] is one neighbour without its routes, [`rib`] is routes without
//! messages, [`policy`] and [`rpki`] say what is believed; [`speaker`] puts them together, and is what a router drives.
//! The crate stands alone: it uses nothing of Trunkline's, and can be used without it.
#![forbid(unsafe_code)]

pub mod attrs;
pub mod bmp;
pub mod fuzz;
pub mod mrt;
pub mod policy;
pub mod rib;
pub mod rpki;
pub mod session;
pub mod speaker;
pub mod types;
pub mod wire;
