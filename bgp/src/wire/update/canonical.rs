//! From the attributes of a message to the form in which they are kept ([`crate::attrs`]).
//!
//! Most attributes are right as they came, and in order: runs of them are copied whole. The rest is noted while the message
//! is walked, and written anew.

use crate::attrs::{AttrBuf, RawAttrs, flag, sid_without_twins};
use crate::types::Asn;

use super::{AttrSpec, Range, Update, Walk, path};

/// How an attribute, or a run of them, gets into the canonical form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// As it came; only these run together.
    Same,
    /// With these flags, and the length in the form that it needs.
    Head,
    /// AS_PATH of two octets.
    Path,
    /// AGGREGATOR of two octets.
    Aggregator,
    /// LARGE_COMMUNITY with one in it twice (RFC 8092 6).
    LargeCommunities,
    /// PREFIX_SID with a TLV in it twice (RFC 8669 6).
    PrefixSid,
}

/// Where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) flags: u8,
    /// Type code, of the first in a run.
    pub(super) code: u8,
    /// Octets of flags, code and length.
    pub(super) head: u8,
    pub(super) how: How,
    pub(super) at: u16,
    pub(super) len: u16,
}

impl Walk<'_, '_> {
    /// Keeps a known attribute.
    #[inline]
    pub(super) fn keep(&mut self, slot: Slot, spec: &AttrSpec) {
        let passed_on = spec.flags == flag::OPTIONAL | flag::TRANSITIVE;
        let partial = if passed_on { flag::PARTIAL } else { 0 };
        self.keep_flags(slot, spec.flags | slot.flags & partial);
    }

    /// Keeps an attribute with flags that are not always those that it came with.
    #[inline]
    pub(super) fn keep_flags(&mut self, mut slot: Slot, flags: u8) {
        let long = slot.len - u16::from(slot.head) > 255;
        let want = flags | if long { flag::EXTENDED } else { 0 };
        if slot.flags != want {
            slot.flags = flags;
            slot.how = How::Head;
        }
        self.push(slot);
    }

    pub(super) fn keep_as(&mut self, mut slot: Slot, how: How) {
        let partial = slot.flags & flag::PARTIAL;
        slot.how = how;
        slot.flags = match how {
            How::Path => flag::TRANSITIVE,
            _ => flag::OPTIONAL | flag::TRANSITIVE | partial,
        };
        self.push(slot);
    }

    #[inline]
    fn push(&mut self, slot: Slot) {
        if slot.code > self.last {
            self.last = slot.code;
            if let Some(run) = self.u.slots.last_mut()
                && run.how == How::Same
                && slot.how == How::Same
                && run.at + run.len == slot.at
            {
                run.len += slot.len;
                return;
            }
        } else {
            self.u.sorted = false;
        }
        if let Err(full) = self.u.slots.try_push(slot) {
            self.u.more.push(full.element());
        }
    }
}

impl<'a> Update<'a> {
    /// Writes the attributes in canonical form, in place of what is in `buf`; its next hop is `None`: that of each
    /// [`super::Reach`] goes there. Means nothing if the routes are treated as withdrawn.
    pub fn canonical(&self, buf: &mut AttrBuf) {
        buf.next_hop = None;
        let out = buf.octets_mut();
        out.clear();
        if self.sorted && self.more.is_empty() {
            for slot in &self.slots {
                self.write(*slot, out);
            }
        } else {
            self.write_sorted(out);
        }
    }

    #[cold]
    fn write_sorted(&self, out: &mut Vec<u8>) {
        let mut all = Vec::new();
        for slot in self.slots.iter().chain(&self.more) {
            let Slot { mut at, .. } = *slot;
            if slot.how != How::Same {
                all.push(*slot);
                continue;
            }
            for a in RawAttrs(self.octets(*slot)) {
                let head = if a.flags & flag::EXTENDED == 0 { 3 } else { 4 };
                let len = a.value.len() as u16 + u16::from(head);
                let (flags, code) = (a.flags, a.code);
                all.push(Slot {
                    flags,
                    code,
                    head,
                    how: How::Same,
                    at,
                    len,
                });
                at += len;
            }
        }
        all.sort_unstable_by_key(|s| s.code);
        for slot in all {
            self.write(slot, out);
        }
    }

    fn octets(&self, slot: Slot) -> &'a [u8] {
        let (at, len) = (slot.at, slot.len);
        Range { at, len }.of_body(self.body)
    }

    #[inline]
    fn write(&self, slot: Slot, out: &mut Vec<u8>) {
        let octets = self.octets(slot);
        if slot.how == How::Same {
            out.extend_from_slice(octets);
            return;
        }
        let value = octets.get(usize::from(slot.head)..).unwrap_or_default();
        attribute(slot.flags, slot.code, out, |out| match slot.how {
            How::Same | How::Head => out.extend_from_slice(value),
            How::Path => path::merge(value, self.as4_path.of_body(self.body), out),
            How::Aggregator => self.aggregator(value, out),
            How::LargeCommunities => without_twins(value, out),
            How::PrefixSid => sid_without_twins(value, out),
        });
    }

    /// RFC 6793 4.2.3: AS4_AGGREGATOR counts if AGGREGATOR has AS_TRANS.
    fn aggregator(&self, value: &[u8], out: &mut Vec<u8>) {
        let long = self.as4_aggregator.of_body(self.body);
        match value {
            [a, b, ..] if !long.is_empty() && [*a, *b] == Asn::TRANS.short().to_be_bytes() => {
                out.extend_from_slice(long);
            }
            _ => {
                out.extend_from_slice(&[0, 0]);
                out.extend_from_slice(value);
            }
        }
    }
}

/// Appends an attribute whose value `body` writes, with a length of the form that it needs.
pub(crate) fn attribute(flags: u8, code: u8, out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[flags & !flag::EXTENDED, code, 0]);
    body(out);
    let [l0, l1] = u16::try_from(out.len() - start - 3)
        .unwrap_or(u16::MAX)
        .to_be_bytes();
    out[start + 2] = l1;
    if l0 > 0 {
        out[start] |= flag::EXTENDED;
        out.insert(start + 2, l0);
    }
}

/// Few enough to compare each with each.
const FEW: usize = 16;

/// Is a large community in it twice?
pub(super) fn has_twins(value: &[u8]) -> bool {
    let (all, _) = value.as_chunks::<12>();
    if all.len() > FEW {
        let mut sorted = all.to_vec();
        sorted.sort_unstable();
        return sorted.windows(2).any(|w| w[0] == w[1]);
    }
    (1..all.len()).any(|i| all[..i].contains(&all[i]))
}

fn without_twins(value: &[u8], out: &mut Vec<u8>) {
    let mut seen = std::collections::HashSet::new();
    for c in value.as_chunks::<12>().0 {
        if seen.insert(c) {
            out.extend_from_slice(c);
        }
    }
}

const _: () = assert!(size_of::<Slot>() == 8);
