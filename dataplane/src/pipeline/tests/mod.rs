//! The stages on real buffers: an EAL without huge pages, real tables, and an output that collects.
//!
//! Every run of [`Rig`] also checks the counting law and that no buffer is lost, and every IP packet that leaves is read by
//! etherparse, which nobody here wrote.

mod echo;
mod ether;
mod express;
mod inject;
mod ip4;
mod ip6;
mod law;
mod mpls;
mod packets;
mod rig;
mod speed;
mod trace;
mod vrf;
