//! What is measured: tables, traffic, and the bars.

use net::{Ip4Prefix, Ip6Prefix};

use crate::table::{self, Prefix};

/// Neighbours on each of the two links; routes and labels are spread over all of them by lot.
pub const NEIGHBOURS: usize = 32;
/// Labels that the label table of a case has.
pub const LABELS: u32 = 1000;
/// The first of them.
pub const FIRST_LABEL: u32 = 1000;

/// What the frames are, and what is done to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// IPv4 by one route.
    One4,
    /// IPv4 by the big table.
    Ip4,
    /// IPv6 by the big table.
    Ip6,
    /// A label exchanged for another.
    Swap,
    /// The only label taken off before the last router.
    Pop,
    /// A label put on an IPv4 packet.
    Push,
}

/// A line of the result.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// Its name.
    pub name: &'static str,
    /// Frames and work.
    pub kind: Kind,
    /// Frames in each file.
    pub frames: usize,
    /// RX queues of a port, and workers.
    pub queues: u32,
    /// What has to be reached.
    pub bars: &'static [Bar],
}

/// What has to be reached.
#[derive(Debug, Clone, Copy)]
pub enum Bar {
    /// At least that part of what testpmd does with the 4,096-frame file.
    OfFloor(f64),
    /// At least that many times what l3fwd does.
    OfL3fwd(f64),
    /// At most that many cycles a frame more than testpmd takes for the same file.
    AboveFloor(f64),
    /// At least that many times the case of one worker.
    OfOneWorker(f64),
}

const fn case(name: &'static str, kind: Kind, frames: usize, bars: &'static [Bar]) -> Case {
    Case {
        name,
        kind,
        frames,
        queues: 1,
        bars,
    }
}

/// Frames of the small file.
pub const SMALL: usize = 4096;
/// Frames of the big file.
pub const BIG: usize = 65_536;

/// All cases.
pub const CASES: &[Case] = &[
    case("ipv4-1-4k", Kind::One4, SMALL, &[]),
    case("ipv4-1-64k", Kind::One4, BIG, &[]),
    case(
        "ipv4-1m-4k",
        Kind::Ip4,
        SMALL,
        &[Bar::OfFloor(0.65), Bar::OfL3fwd(1.05)],
    ),
    case(
        "ipv4-1m-64k",
        Kind::Ip4,
        BIG,
        &[Bar::OfFloor(0.35), Bar::OfL3fwd(1.05)],
    ),
    case("ipv6-280k-4k", Kind::Ip6, SMALL, &[Bar::OfFloor(0.60)]),
    case("mpls-swap-4k", Kind::Swap, SMALL, &[Bar::AboveFloor(35.0)]),
    case("mpls-pop-4k", Kind::Pop, SMALL, &[Bar::AboveFloor(45.0)]),
    case("mpls-push-4k", Kind::Push, SMALL, &[Bar::AboveFloor(45.0)]),
    Case {
        name: "ipv4-1m-4k-2-workers",
        kind: Kind::Ip4,
        frames: SMALL,
        queues: 2,
        bars: &[Bar::OfOneWorker(1.9)],
    },
];

impl Case {
    /// Whether l3fwd can do it.
    pub fn has_l3fwd(&self) -> bool {
        matches!(self.kind, Kind::One4 | Kind::Ip4 | Kind::Ip6)
    }

    /// Buffers that a program needs: two for each frame of the files, and those under way.
    pub fn buffers(&self) -> usize {
        let preloaded = 2 * self.frames * self.queues as usize;
        (preloaded + 8192).next_power_of_two().max(16_384) - 1
    }
}

/// The tables.
#[derive(Debug)]
pub struct Tables {
    /// IPv4.
    pub v4: Vec<Ip4Prefix>,
    /// IPv6.
    pub v6: Vec<Ip6Prefix>,
    /// Where they come from.
    pub source: String,
}

impl Tables {
    /// Those of the generator.
    pub fn made() -> Self {
        Self {
            v4: table::prefixes(&table::ipv4(1, 1_168_945)),
            v6: table::prefixes(&table::ipv6(1, 279_855)),
            source: "made by the seeded generator (1,168,945 and 279,855 prefixes)".into(),
        }
    }

    /// Destinations that a router forwards to: no frame is for the links of the test, or a martian.
    pub fn usable4(p: Ip4Prefix) -> bool {
        let first = (p.first() >> 24) as u32;
        p.len() >= 8 && !matches!(first, 0 | 10 | 127 | 169 | 224..)
    }
}

/// The route that the cases with one have; its addresses are those that all frames go to.
pub fn one_route() -> Ip4Prefix {
    Ip4Prefix::new(20 << 24 | 16 << 16, 12).expect("a prefix")
}
