//! VPNs: what it costs when the PE in use is lost, however many prefixes hang on it, and how much memory many VRFs take.
//!
//! [`tables`] is the RIB and the forwarding tables in this process, without anything around them: the calls that the control
//! thread makes, timed one by one. [`ports`] is an appliance as a user starts it, between wires, with PEs played by this
//! process: from the loss to the first frames by the backup, and what a thousand VRFs take.

pub mod ports;
pub mod report;
pub mod tables;

/// Sizes of the VPN that loses its PE.
pub const SIZES: [u32; 3] = [10, 1_000, 100_000];

/// What is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The link to the PE in use.
    Link,
    /// Its neighbour on the way to the PE answers no more.
    Neighbor,
    /// The route to the PE.
    Route,
}

impl Loss {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Link, Self::Neighbor, Self::Route];

    /// As the rows have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Link => "link lost",
            Self::Neighbor => "neighbour lost",
            Self::Route => "next hop gone",
        }
    }
}
