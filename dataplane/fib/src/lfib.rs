//! The label table: RFC 3031 3.11 (the incoming label map), one entry for each of the 2^20 labels.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};

use hugepages::HugeSlice;
use hugepages::slice::Backing;
use net::{GroupId, Label, Lse, VrfId};

use crate::TtlMode;

/// Labels that there are.
const LABELS: usize = 1 << 20;

const OP_SHIFT: u32 = 30;
const PIPE: u32 = 1 << 28;
const GROUP: u32 = (1 << 28) - 1;
/// Of [`LabelOp::PopLookup`]: no other label is looked up under it.
const LAST: u32 = 1 << 27;

/// What is done with a labelled frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabelOp {
    /// Nobody asked for this label: drop.
    Unknown,
    /// Pop it, then go the way of the group, whose path may push: a swap, a swap to a stack, or a penultimate-hop pop.
    Forward,
    /// Pop it, then look up what is under it: the next label, or at the bottom of the stack the IP packet, in the table of
    /// [`LabelEntry::vrf`].
    PopLookup,
    /// Pop it, the last, and send the IP packet under it the way of the group, without a look-up: to one CE (RFC 4364 4.3.2).
    PopForward,
}

/// An entry, packed: the operation, the TTL model of the label that ends here, and the group or the VRF. 0 is "unknown".
#[derive(Clone, Copy, PartialEq, Eq, Default)]
#[repr(transparent)]
pub struct LabelEntry(u32);

impl LabelEntry {
    /// No such label.
    pub const UNKNOWN: Self = Self(0);

    /// [`LabelOp::Forward`] to a group.
    pub const fn forward(group: GroupId, ttl: TtlMode) -> Self {
        Self(1 << OP_SHIFT | pipe(ttl) | group.0 & GROUP)
    }

    /// [`LabelOp::PopForward`] to a group.
    pub const fn pop_forward(group: GroupId, ttl: TtlMode) -> Self {
        Self(3 << OP_SHIFT | pipe(ttl) | group.0 & GROUP)
    }

    /// [`LabelOp::PopLookup`] in the global table.
    pub const fn pop_lookup(ttl: TtlMode) -> Self {
        Self::pop_lookup_in(VrfId::GLOBAL, ttl)
    }

    /// [`LabelOp::PopLookup`] in the table of a VRF (RFC 4364 4.3.2).
    pub const fn pop_lookup_in(vrf: VrfId, ttl: TtlMode) -> Self {
        Self(2 << OP_SHIFT | pipe(ttl) | vrf.0 as u32)
    }

    /// [`LabelOp::PopLookup`] in the global table, of an IP packet alone: a label under it is another router's (RFC 3031 3.18).
    pub const fn pop_last(ttl: TtlMode) -> Self {
        Self(Self::pop_lookup(ttl).0 | LAST)
    }

    /// Is a label under one that is popped somebody else's? One that leads into a VRF is the last (RFC 4364 5).
    #[inline]
    pub const fn is_last(self) -> bool {
        match self.op() {
            LabelOp::PopLookup => self.vrf().0 != VrfId::GLOBAL.0 || self.0 & LAST != 0,
            LabelOp::PopForward => true,
            LabelOp::Unknown | LabelOp::Forward => false,
        }
    }

    /// What to do.
    #[inline]
    pub const fn op(self) -> LabelOp {
        match self.0 >> OP_SHIFT {
            1 => LabelOp::Forward,
            2 => LabelOp::PopLookup,
            3 => LabelOp::PopForward,
            _ => LabelOp::Unknown,
        }
    }

    /// Where to, for [`LabelOp::Forward`] and [`LabelOp::PopForward`]; else [`GroupId::NONE`].
    #[inline]
    pub const fn group(self) -> GroupId {
        match self.op() {
            LabelOp::Forward | LabelOp::PopForward => GroupId(self.0 & GROUP),
            LabelOp::Unknown | LabelOp::PopLookup => GroupId::NONE,
        }
    }

    /// The group that it names, if its operation needs one.
    pub(crate) const fn named(self) -> Option<GroupId> {
        match self.op() {
            LabelOp::Forward | LabelOp::PopForward => Some(self.group()),
            LabelOp::Unknown | LabelOp::PopLookup => None,
        }
    }

    /// In whose table to look up, for [`LabelOp::PopLookup`]; else the global one.
    #[inline]
    pub const fn vrf(self) -> VrfId {
        match self.op() {
            LabelOp::PopLookup => VrfId((self.0 & GROUP) as u16),
            _ => VrfId::GLOBAL,
        }
    }

    /// What becomes of the popped label's TTL.
    #[inline]
    pub const fn ttl(self) -> TtlMode {
        if self.0 & PIPE == 0 {
            TtlMode::Uniform
        } else {
            TtlMode::Pipe
        }
    }
}

impl std::fmt::Debug for LabelEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:?}(group {}, VRF {}, {:?})",
            self.op(),
            self.group(),
            self.vrf(),
            self.ttl()
        )
    }
}

const fn pipe(ttl: TtlMode) -> u32 {
    match ttl {
        TtlMode::Uniform => 0,
        TtlMode::Pipe => PIPE,
    }
}

/// One replica of the label table.
pub(crate) struct Lfib(HugeSlice<[AtomicU32; LABELS]>);

impl Lfib {
    pub(crate) const BYTES: usize = LABELS * 4;

    pub(crate) fn new(node: Option<u32>) -> io::Result<Self> {
        HugeSlice::zeroed(1, Backing::Small, node).map(Self)
    }

    #[inline]
    pub(crate) fn slot(&self, label: Label) -> &AtomicU32 {
        &self.0[0][label.index() & (LABELS - 1)]
    }

    #[inline]
    pub(crate) fn get(&self, label: Label) -> LabelEntry {
        // Acquire: pairs with the Release store in `set`; the group named here was published before.
        LabelEntry(self.slot(label).load(Ordering::Acquire))
    }

    /// See [`crate::View::labels_burst`].
    #[inline]
    pub(crate) fn lookup_burst(
        &self,
        tops: &[u32; 64],
        which: u64,
        out: &mut [GroupId; 64],
    ) -> u64 {
        #[cfg(target_arch = "x86_64")]
        if wide::is_available() {
            // SAFETY: the CPU was asked.
            return unsafe { wide::lookup_burst(self, tops, which, out) };
        }
        self.lookup_each(tops, which, out)
    }

    /// The same one by one.
    fn lookup_each(&self, tops: &[u32; 64], which: u64, out: &mut [GroupId; 64]) -> u64 {
        let each = || (0..64).filter(|i| which >> i & 1 != 0);
        for i in each() {
            crate::prefetch::prefetch(self.slot(Lse(tops[i]).label()));
        }
        each().fold(0, |pipe, i| {
            let entry = self.get(Lse(tops[i]).label());
            out[i] = match entry.op() {
                LabelOp::Forward => entry.group(),
                _ => GroupId::NONE,
            };
            pipe | u64::from(entry.ttl() == TtlMode::Pipe) << i
        })
    }

    /// Sets an entry; for the one writer.
    pub(crate) fn set(&self, label: Label, entry: LabelEntry) {
        self.slot(label).store(entry.0, Ordering::Release); // pairs with `get`
    }
}

/// The same by AVX-512, eight at once. What is gathered may be stored to meanwhile: see `v4/simd.rs` on that.
#[cfg(target_arch = "x86_64")]
mod wide {
    use super::{GROUP, Lfib, OP_SHIFT, PIPE};
    use net::GroupId;
    use std::arch::x86_64::*;

    const FORWARD: i32 = 1;

    #[inline]
    pub(super) fn is_available() -> bool {
        is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl")
    }

    /// # Safety
    /// [`is_available`].
    #[target_feature(enable = "avx512f,avx512vl")]
    pub(super) unsafe fn lookup_burst(
        t: &Lfib,
        tops: &[u32; 64],
        which: u64,
        out: &mut [GroupId; 64],
    ) -> u64 {
        let mut pipe = 0;
        let (tops, out) = (tops.as_chunks::<8>().0, out.as_chunks_mut::<8>().0);
        for (i, (tops, out)) in tops.iter().zip(out).enumerate() {
            let lanes = (which >> (8 * i)) as __mmask8;
            if lanes == 0 {
                continue;
            }
            // SAFETY: eight words.
            let label = unsafe { _mm256_loadu_si256(tops.as_ptr().cast()) };
            let label = _mm256_srli_epi32::<12>(label);
            let none = _mm256_setzero_si256();
            // SAFETY: 20 bits index the whole table.
            let entry = unsafe {
                _mm256_mmask_i32gather_epi32::<4>(none, lanes, label, t.0[0].as_ptr().cast())
            };
            let op = _mm256_srli_epi32::<{ OP_SHIFT as i32 }>(entry);
            let forward = _mm256_cmpeq_epi32_mask(op, _mm256_set1_epi32(FORWARD));
            let group = _mm256_maskz_and_epi32(forward, entry, _mm256_set1_epi32(GROUP as i32));
            let piped = _mm256_test_epi32_mask(entry, _mm256_set1_epi32(PIPE as i32));
            pipe |= u64::from(piped) << (8 * i);
            // SAFETY: eight words, of which those of `lanes` are written; a `GroupId` is a `u32` and nothing more.
            unsafe { _mm256_mask_storeu_epi32(out.as_mut_ptr().cast(), lanes, group) };
        }
        pipe
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_as_one_by_one() {
        let t = Lfib::new(None).unwrap();
        let entry = |i: u32| match i % 5 {
            0 => LabelEntry::forward(GroupId(i + 1), TtlMode::Uniform),
            1 => LabelEntry::forward(GroupId(i + 1), TtlMode::Pipe),
            2 => LabelEntry::pop_lookup_in(VrfId(i as u16), TtlMode::Pipe),
            3 => LabelEntry::pop_forward(GroupId(i + 1), TtlMode::Pipe),
            _ => LabelEntry::UNKNOWN,
        };
        let label = |i: u32| Label::new((i * 40_009) & Label::MAX.get()).unwrap();
        (0..64).for_each(|i| t.set(label(i), entry(i)));
        let tops = std::array::from_fn(|i| Lse::new(label(i as u32), 3, true, 200).0);
        for which in [u64::MAX, 0, 1, 1 << 63, 0x8421_0ff0_0000_1234] {
            let before = std::array::from_fn(|i| GroupId(7000 + i as u32));
            let (mut all, mut each) = (before, before);
            let pipe = t.lookup_burst(&tops, which, &mut all);
            assert_eq!(pipe & which, t.lookup_each(&tops, which, &mut each));
            assert_eq!(all, each);
            for i in 0..64 {
                let found = match i % 5 {
                    0 | 1 => GroupId(i as u32 + 1),
                    _ => GroupId::NONE,
                };
                let want = if which >> i & 1 != 0 {
                    found
                } else {
                    before[i]
                };
                assert_eq!(all[i], want, "{i} of {which:x}");
            }
        }
    }

    #[test]
    fn entries_pack() {
        for ttl in [TtlMode::Uniform, TtlMode::Pipe] {
            let e = LabelEntry::forward(GroupId(65_535), ttl);
            assert_eq!(
                (e.op(), e.group(), e.ttl()),
                (LabelOp::Forward, GroupId(65_535), ttl)
            );
            assert!(!e.is_last());
            let e = LabelEntry::pop_forward(GroupId(0x0f00_0001), ttl);
            assert_eq!(
                (e.op(), e.group(), e.ttl(), e.vrf()),
                (
                    LabelOp::PopForward,
                    GroupId(0x0f00_0001),
                    ttl,
                    VrfId::GLOBAL
                )
            );
            assert!(e.is_last());
            let e = LabelEntry::pop_lookup(ttl);
            assert_eq!(
                (e.op(), e.group(), e.ttl()),
                (LabelOp::PopLookup, GroupId::NONE, ttl)
            );
            assert_eq!(e.vrf(), VrfId::GLOBAL);
            assert!(!e.is_last());
            let e = LabelEntry::pop_last(ttl);
            assert_eq!((e.op(), e.ttl()), (LabelOp::PopLookup, ttl));
            assert!(e.vrf() == VrfId::GLOBAL && e.is_last());
            let e = LabelEntry::pop_lookup_in(VrfId(u16::MAX), ttl);
            assert!(e.is_last());
            assert_eq!(
                (e.op(), e.group(), e.ttl(), e.vrf()),
                (LabelOp::PopLookup, GroupId::NONE, ttl, VrfId(u16::MAX))
            );
        }
        assert_eq!(LabelEntry::UNKNOWN.op(), LabelOp::Unknown);
        assert_eq!(LabelEntry::default(), LabelEntry::UNKNOWN);
    }
}
