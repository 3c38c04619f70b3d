//! What nearly every UPDATE has, in the order in which nearly every sender has it, all as it should be: read by a short loop
//! that stops at the first attribute that is anything else. The walk (`Walk::attributes`) goes on from there, and would have
//! taken what this loop took in the same way: `fuzz` compares the two.

use std::net::Ipv4Addr;

use crate::attrs::{code, flag};
use crate::types::Relation;

use super::canonical::{How, Slot};
use super::{Walk, mp, path};

const WELL_KNOWN: u8 = flag::TRANSITIVE;
const OPTIONAL: u8 = flag::OPTIONAL;
const OPTIONAL_TRANSITIVE: u8 = flag::OPTIONAL | flag::TRANSITIVE;

impl Walk<'_, '_> {
    /// Takes attributes from `at` on as long as they are common; where it stopped. Nothing but MP_REACH_NLRI, which is not of
    /// these, was taken before. `base`: where attributes begin in the body.
    #[inline]
    pub(super) fn common(&mut self, base: u16, mut at: usize) -> usize {
        let all = self.attrs;
        let (ctx, mut last, mut seen) = (self.ctx, 0, self.seen[0]);
        // Where the run begins that is not noted yet.
        let (mut run, mut run_code) = (at, code::ORIGIN);
        while let Some((&[flags, code, len], rest)) =
            all.get(at..).and_then(|o| o.split_first_chunk())
        {
            let len = usize::from(len);
            let Some(value) = rest.get(..len).filter(|_| code > last) else {
                break;
            };
            let good = match (code, flags) {
                (code::ORIGIN, WELL_KNOWN) => matches!(value, [0..=2]),
                (code::AS_PATH, WELL_KNOWN) => path::is_plain(value, ctx),
                (code::NEXT_HOP, WELL_KNOWN) => self.common_next_hop(value),
                (code::MED, OPTIONAL) => len == 4,
                (code::LOCAL_PREF, WELL_KNOWN) => len == 4 && ctx.relation != Relation::External,
                (code::COMMUNITIES, OPTIONAL_TRANSITIVE) => len > 0 && len.is_multiple_of(4),
                (code::EXT_COMMUNITIES, OPTIONAL_TRANSITIVE) => len > 0 && len.is_multiple_of(8),
                _ => false,
            };
            if !good {
                break;
            }
            let next = at + 3 + len;
            if code == code::NEXT_HOP {
                self.note(base, run_code, run, at);
                run = next;
            } else if at == run {
                run_code = code;
            }
            (at, last, seen) = (next, code, seen | 1 << code);
        }
        self.note(base, run_code, run, at);
        self.last = last;
        self.seen[0] = seen;
        at
    }

    fn common_next_hop(&mut self, value: &[u8]) -> bool {
        let Ok(a) = <[u8; 4]>::try_from(value).map(Ipv4Addr::from) else {
            return false;
        };
        if mp::is_host4(a) {
            self.u.next_hop = Some(a);
            self.next_hop_seen = true;
        }
        self.next_hop_seen
    }

    #[inline]
    fn note(&mut self, base: u16, code: u8, from: usize, to: usize) {
        if from < to {
            let _ = self.u.slots.try_push(Slot {
                flags: 0,
                code,
                head: 3,
                how: How::Same,
                at: base + from as u16,
                len: (to - from) as u16,
            });
        }
    }
}

const _: () = assert!(super::SLOTS >= 2, "at most two runs");
