//! BGP-4 without I/O: bytes and time in, bytes and decisions out.
//!
//! Read first: RFC 4271. So far the crate frames messages ([`wire`]); sessions, Adj-RIBs, decision
//! and policy are not in this version, and the appliance refuses a `[bgp]` section. The crate
//! stands alone: it uses nothing of Trunkline's, and can be used without it.
#![forbid(unsafe_code)]

pub mod wire;
