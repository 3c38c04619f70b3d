//! LDP without I/O: bytes and time in, bytes and decisions out.
//!
//! Read first: RFC 5036; then [`types`] for the words and [`wire`] for messages. [`discovery`] is who is there, [`session`] is
//! one neighbour without its labels, [`bindings`] is labels without messages; [`speaker`] puts them together, and is what a
//! router drives. [`oam`] is LSP ping (RFC 8029), which stands beside it. The crate stands alone: it uses
//! nothing of Trunkline's, and can be used without it.
//!
//! Left out: what each module says of itself; above all sockets, graceful restart (RFC 3478), ordered control and labels on
//! demand, pseudowires and multipoint paths.
#![forbid(unsafe_code)]

pub mod bindings;
pub mod discovery;
pub mod fuzz;
pub mod oam;
pub mod session;
pub mod speaker;
pub mod types;
pub mod wire;
