//! A whole network of speakers in one process, in virtual time: read RFC 4271 9, RFC 4456 and RFC 4724 first.
//!
//! One AS with route reflectors in two clusters and routers that are their clients, and around it ASes of one router each,
//! on links to those. A seed says what the network is, how long octets are on their way and in which pieces they come, and
//! what befalls it: links cut loudly or silently, routers that die and come back, flaps, resets, several at once. After
//! each event the network has to come to rest, and then [`check`] looks at all of it.
//!
//! - [`plan`]: the network, and paths through the AS. [`world`]: time, connections, speakers. [`story`]: what happens.
//!   [`check`]: what has to hold at rest.
//!
//! Between the routers of the AS packets go as if by labels, straight to the BGP next hop: hop by hop they could loop where
//! a reflector sees another exit as the nearest than its clients do, which is the protocol's affair (RFC 4456 11) and not
//! the speaker's. For the same reason a link between clusters costs more than any way within one, and no failure splits a
//! cluster. Left out: policies, add-path, confederations, and time that speakers take.

mod check;
mod event;
mod plan;
mod story;
mod update;
mod world;

pub(crate) use story::run;

/// What to play.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// The same seed is the same story.
    pub(crate) seed: u64,
    /// Routers, [`plan::FEWEST`] to [`plan::MOST`].
    pub(crate) nodes: usize,
    /// Things that happen, one after the other.
    pub(crate) events: usize,
    /// What is wrong with the wires.
    pub(crate) wires: Wires,
}

/// What wires do to messages. All but the first are there to show that the checks see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wires {
    /// Nothing.
    Good,
    /// Every third UPDATE that does nothing but withdraw is lost.
    LoseWithdrawals,
    /// ORIGINATOR_ID and CLUSTER_LIST are cut out of UPDATEs within the AS, so that nobody can see a loop of reflectors.
    CutMarks,
    /// Every thirtieth UPDATE that announces is lost.
    LoseAnnouncements,
}

/// Pseudo-random numbers, the same each time (SplitMix64).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `n`, which is not 0.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// One time in `n`.
    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn of<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        if all.is_empty() {
            return None;
        }
        all.get(self.below(all.len()))
    }
}
