//! The labels of this router: which are whose, and for what. RFC 3031 2.4 and 3.1 (labels are local), RFC 3032 2.1 (0 to 15 are
//! reserved), RFC 8402 2 (the SRGB).
//!
//! Whoever wants incoming labels (`[[label]]`, LDP, BGP, VPNs) asks a [`Manager`]: [`Manager::allocate`] gives any label of the
//! range that is for it, [`Manager::claim`] takes one by its number. An [`Owner`] has at most one label for a [`Fec`], and a
//! label has at most one owner; what would break that is refused, and the refusal names both.
//!
//! A label that was released is held for a while: frames with it may be under way, and neighbours may still send them, so
//! another FEC gets it only later, and where its own has another label now, its entry stays for as long (`rib::leaving`). Its own FEC gets it back at any time. That is also how a restart works: what the state file
//! ([`state`]) has of the last run is held, and who asks again for the same gets the same.
//!
//! Left out: label spaces of interfaces, ranges that grow by themselves. A range that is made smaller takes no label away from
//! who has it.

mod state;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use bgp::types::Rd;
use ipnet::IpNet;
use net::Label;

use crate::config::Edit;
use crate::config::labels::{LabelRanges, Range};
pub use state::StateFile;

/// Who has a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// `[[label]]`, or `trunkctl label add`.
    Static,
    /// LDP.
    Ldp,
    /// BGP's labelled unicast routes (RFC 8277).
    LabeledUnicast,
    /// L3VPNs (RFC 4364).
    Vpn,
    /// Segment routing (RFC 8402).
    SegmentRouting,
}

impl Owner {
    const ALL: [Self; 5] = [
        Self::Static,
        Self::Ldp,
        Self::LabeledUnicast,
        Self::Vpn,
        Self::SegmentRouting,
    ];

    /// Its name in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::Ldp => "ldp",
            Self::LabeledUnicast => "labeled-unicast",
            Self::Vpn => "vpn",
            Self::SegmentRouting => "segment-routing",
        }
    }
}

/// What a label stands for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fec {
    /// A label that was asked for by its number, and stands for nothing else.
    Label(Label),
    /// A prefix of the global table.
    Prefix(IpNet),
    /// All of a VRF.
    Vrf(String),
    /// All of a VRF that goes to this next hop, on that interface.
    VrfNextHop(String, IpAddr, String),
    /// A prefix of a VRF.
    VrfPrefix(String, IpNet),
    /// A prefix of a VPN of others, by its distinguisher.
    VpnPrefix(Rd, IpNet),
}

impl fmt::Display for Fec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Label(l) => write!(f, "label {l}"),
            Self::Prefix(p) => p.fmt(f),
            Self::Vrf(name) => write!(f, "vrf {name}"),
            Self::VrfNextHop(name, a, dev) => write!(f, "via {a} dev {dev} vrf {name}"),
            Self::VrfPrefix(name, p) => write!(f, "{p} vrf {name}"),
            Self::VpnPrefix(rd, p) => write!(f, "{p} rd {rd}"),
        }
    }
}

/// Why there is no label.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Another has it.
    #[error("label {label} belongs to {} for {fec}; take another", .owner.name())]
    Taken {
        /// The label that was wanted.
        label: Label,
        /// Who has it.
        owner: Owner,
        /// For what.
        fec: Fec,
    },
    /// Another had it a moment ago.
    #[error("label {label} belonged to {} for {fec} a moment ago and is held for another {left} s, as frames may still come with it; take another, or wait", .owner.name())]
    Held {
        /// The label that was wanted.
        label: Label,
        /// Who had it.
        owner: Owner,
        /// For what.
        fec: Fec,
        /// Seconds until it is free.
        left: u64,
    },
    /// 0 to 15 have a meaning of their own.
    #[error("label {0} is reserved (RFC 3032 2.1); labels begin at 16")]
    Reserved(Label),
    /// The SRGB has fewer labels than that.
    #[error(
        "label index {index} is beyond label-range.srgb ({all}), which has {} labels; take a smaller one, or make the range larger", .all.size()
    )]
    BeyondSrgb {
        /// The index.
        index: u32,
        /// What the SRGB is.
        all: Range,
    },
    /// It is not in the range for that use.
    #[error(
        "label {label} is not in label-range.{range} ({all}); take one that is, or change the range"
    )]
    OutOfRange {
        /// The label that was wanted.
        label: u32,
        /// The range's key.
        range: &'static str,
        /// What it is.
        all: Range,
    },
    /// The range is used up.
    #[error(
        "label-range.{range} ({all}) has no free label: {used} are in use and {held} are held; make it larger"
    )]
    Exhausted {
        /// The range's key.
        range: &'static str,
        /// What it is.
        all: Range,
        /// Of it, in use.
        used: usize,
        /// Of it, held.
        held: usize,
    },
    /// A segment needs an SRGB.
    #[error("there is no SRGB for label index {0}; set label-range.srgb")]
    NoSrgb(u32),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Binding {
    owner: Owner,
    fec: Fec,
    /// Released, and another's from then on.
    held: Option<Instant>,
}

/// The labels of a range that nobody has, as far as that is known: none is missing here; some that are here were claimed
/// since by their number.
#[derive(Clone, Debug)]
struct Pool {
    range: Range,
    /// From here on no label was given yet.
    fresh: u32,
    /// Those that came back, the first first: so a label rests for as long as it can.
    back: VecDeque<Label>,
}

impl Pool {
    const fn new(range: Range) -> Self {
        Self {
            range,
            fresh: range.first.get(),
            back: VecDeque::new(),
        }
    }

    fn take(&mut self, is_free: impl Fn(Label) -> bool) -> Option<Label> {
        while self.fresh <= self.range.last.get() {
            let label = Label::new(self.fresh);
            self.fresh += 1;
            if let Some(l) = label.filter(|l| is_free(*l)) {
                return Some(l);
            }
        }
        while let Some(l) = self.back.pop_front() {
            if is_free(l) {
                return Some(l);
            }
        }
        None
    }

    fn give_back(&mut self, label: Label) {
        if self.range.contains(label) && label.get() < self.fresh {
            self.back.push_back(label);
        }
    }
}

/// A range as it is used, to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Its key in `[label-range]`.
    pub name: &'static str,
    /// The labels.
    pub range: Range,
    /// Of them, in use.
    pub used: usize,
    /// Of them, held.
    pub held: usize,
}

/// Who has which label. Time is given to it; it does no I/O but by [`StateFile`].
#[derive(Debug)]
pub struct Manager {
    ranges: LabelRanges,
    dynamic: Pool,
    vrf: Option<Pool>,
    labels: BTreeMap<Label, Binding>,
    of: HashMap<(Owner, Fec), Label>,
    /// Held labels by when they are free.
    ends: BTreeSet<(Instant, Label)>,
    /// Something has changed that the state file does not have.
    dirty: bool,
    /// Somebody got none; told once there may be one.
    lacking: bool,
    /// Somebody did not get the very one that is his; told once any has come free.
    contended: bool,
    /// Those that have come free, until somebody asks.
    freed: Vec<Label>,
}

impl Default for Manager {
    fn default() -> Self {
        Self::new(LabelRanges::default())
    }
}

impl Manager {
    /// Nobody has a label.
    #[must_use]
    pub fn new(ranges: LabelRanges) -> Self {
        Self {
            dynamic: Pool::new(ranges.dynamic),
            vrf: ranges.vrf.map(Pool::new),
            ranges,
            labels: BTreeMap::new(),
            of: HashMap::new(),
            ends: BTreeSet::new(),
            dirty: false,
            lacking: false,
            contended: false,
            freed: Vec::new(),
        }
    }

    /// The ranges are these from now on. Nobody loses a label by that.
    pub fn set_ranges(&mut self, ranges: &LabelRanges) {
        if self.ranges == *ranges {
            return;
        }
        self.ranges = ranges.clone();
        self.dynamic = Pool::new(ranges.dynamic);
        self.vrf = ranges.vrf.map(Pool::new);
        self.lacking = true;
    }

    /// A label for `fec`: the one that `owner` has for it, or had if it is still held, else a free one of the range for that
    /// use.
    ///
    /// # Errors
    /// There is none.
    pub fn allocate(&mut self, owner: Owner, fec: &Fec) -> Result<Label, Refusal> {
        if let Some(label) = self.again(owner, fec) {
            return Ok(label);
        }
        let (pool, name) = match (&mut self.vrf, fec) {
            (Some(pool), Fec::Vrf(_)) => (pool, "vrf"),
            _ => (&mut self.dynamic, "dynamic"),
        };
        let labels = &self.labels;
        let Some(label) = pool.take(|l| !labels.contains_key(&l)) else {
            let range = pool.range;
            self.lacking = true;
            let (used, held) = self.count(range);
            return Err(Refusal::Exhausted {
                range: name,
                all: range,
                used,
                held,
            });
        };
        self.insert(label, owner, fec);
        Ok(label)
    }

    /// The label of a segment, for `fec`: the SRGB's first and `index` more (RFC 8669 4.1). Another that it had before rests.
    ///
    /// # Errors
    /// There is no SRGB, or it has not so many labels, or another has that one; [`Self::tick`] tells when it may be had.
    pub fn segment(&mut self, fec: &Fec, index: u32, now: Instant) -> Result<Label, Refusal> {
        let all = self.ranges.srgb.ok_or(Refusal::NoSrgb(index))?;
        let label = (index < all.size()).then(|| Label::new(all.first.get() + index));
        let label = label.flatten().ok_or(Refusal::BeyondSrgb { index, all })?;
        let done = self.claim(Owner::SegmentRouting, fec, label, now);
        self.contended |= done.is_err();
        done.map(|()| label)
    }

    /// This very label for `fec`; the one that `owner` had for it before is held from `now` on.
    ///
    /// # Errors
    /// Another has it, or had it a moment ago; it is reserved, or not for this use.
    pub fn claim(
        &mut self,
        owner: Owner,
        fec: &Fec,
        label: Label,
        now: Instant,
    ) -> Result<(), Refusal> {
        self.may_claim(owner, fec, label, now)?;
        if self.of.get(&(owner, fec.clone())) != Some(&label) {
            self.release(owner, fec, now);
            match self.labels.get_mut(&label) {
                Some(b) => drop(self.of.insert((owner, b.fec.clone()), label)),
                None => self.insert(label, owner, fec),
            }
        }
        self.again(owner, fec);
        Ok(())
    }

    /// Whether [`Self::claim`] would be refused.
    ///
    /// # Errors
    /// Why.
    pub fn may_claim(
        &self,
        owner: Owner,
        fec: &Fec,
        label: Label,
        now: Instant,
    ) -> Result<(), Refusal> {
        if label.is_reserved() {
            return Err(Refusal::Reserved(label));
        }
        if let (Owner::Static, Some(all)) = (owner, self.ranges.fixed)
            && !all.contains(label)
        {
            return Err(Refusal::OutOfRange {
                label: label.get(),
                range: "static",
                all,
            });
        }
        self.may_have(owner, fec, label, now)
    }

    /// Whether a label is nobody else's, whatever the ranges are.
    fn may_have(&self, owner: Owner, fec: &Fec, label: Label, now: Instant) -> Result<(), Refusal> {
        match self.labels.get(&label) {
            Some(b) if b.owner != owner || b.fec != *fec => Err(match b.held {
                None => Refusal::Taken {
                    label,
                    owner: b.owner,
                    fec: b.fec.clone(),
                },
                Some(end) => Refusal::Held {
                    label,
                    owner: b.owner,
                    fec: b.fec.clone(),
                    left: end.saturating_duration_since(now).as_secs_f64().ceil() as u64,
                },
            }),
            _ => Ok(()),
        }
    }

    /// `owner` uses its label of `fec` no more: it is held from `now` on.
    pub fn release(&mut self, owner: Owner, fec: &Fec, now: Instant) {
        let Some(&label) = self.of.get(&(owner, fec.clone())) else {
            return;
        };
        if let Some(b) = self.labels.get_mut(&label)
            && b.held.is_none()
        {
            let end = now + self.ranges.hold;
            b.held = Some(end);
            self.ends.insert((end, label));
            self.dirty = true;
        }
    }

    /// All labels of an owner are released: it has ended.
    pub fn release_all(&mut self, owner: Owner, now: Instant) {
        let of = |b: &Binding| b.owner == owner && b.held.is_none();
        let all: Vec<Fec> = self
            .labels
            .values()
            .filter(|b| of(b))
            .map(|b| b.fec.clone())
            .collect();
        for fec in all {
            self.release(owner, &fec, now);
        }
    }

    /// Frees what was held for long enough. True: who got no label may ask again.
    pub fn tick(&mut self, now: Instant) -> bool {
        let mut any = false;
        while let Some(&(end, label)) = self.ends.first() {
            if end > now {
                break;
            }
            self.forget(label);
            self.freed.push(label);
            any = true;
        }
        let may = self.lacking && (any || self.has_room()) || self.contended && any;
        self.lacking &= !may;
        self.contended &= !may;
        may
    }

    /// Those that were held and are free since this was asked last: what their entries still did has ended.
    pub fn take_freed(&mut self) -> Vec<Label> {
        std::mem::take(&mut self.freed)
    }

    /// When [`Self::tick`] has something to do.
    #[must_use]
    pub fn poll_at(&self) -> Option<Instant> {
        self.ends.first().map(|(end, _)| *end)
    }

    fn has_room(&self) -> bool {
        let room = |p: &Pool| p.fresh <= p.range.last.get() || !p.back.is_empty();
        room(&self.dynamic) || self.vrf.as_ref().is_some_and(room)
    }

    /// The label that `owner` has for `fec`, in use again if it was held.
    fn again(&mut self, owner: Owner, fec: &Fec) -> Option<Label> {
        let label = *self.of.get(&(owner, fec.clone()))?;
        if let Some(end) = self.labels.get_mut(&label)?.held.take() {
            self.ends.remove(&(end, label));
            self.dirty = true;
        }
        Some(label)
    }

    fn insert(&mut self, label: Label, owner: Owner, fec: &Fec) {
        let fec = fec.clone();
        self.of.insert((owner, fec.clone()), label);
        let held = None;
        self.labels.insert(label, Binding { owner, fec, held });
        self.dirty = true;
    }

    fn forget(&mut self, label: Label) {
        let Some(b) = self.labels.remove(&label) else {
            return;
        };
        if let Some(end) = b.held {
            self.ends.remove(&(end, label));
        }
        self.dirty = true;
        let of = (b.owner, b.fec);
        // It may have another by now.
        if self.of.get(&of) == Some(&label) {
            self.of.remove(&of);
        }
        self.dynamic.give_back(label);
        if let Some(pool) = &mut self.vrf {
            pool.give_back(label);
        }
    }

    fn count(&self, range: Range) -> (usize, usize) {
        let of = self.labels.range(range.first..=range.last);
        of.fold((0, 0), |(used, held), (_, b)| match b.held {
            None => (used + 1, held),
            Some(_) => (used, held + 1),
        })
    }

    /// Who uses a label, and for what; `None` also while it is held.
    #[must_use]
    pub fn user(&self, label: Label) -> Option<(Owner, &Fec)> {
        let b = self.labels.get(&label).filter(|b| b.held.is_none())?;
        Some((b.owner, &b.fec))
    }

    /// Who had a label that is held, for what, and until when.
    #[must_use]
    pub fn held(&self, label: Label) -> Option<(Owner, &Fec, Instant)> {
        let b = self.labels.get(&label)?;
        Some((b.owner, &b.fec, b.held?))
    }

    /// The label that `owner` uses for `fec`; `None` also while it is held.
    #[must_use]
    pub fn used(&self, owner: Owner, fec: &Fec) -> Option<Label> {
        let label = *self.of.get(&(owner, fec.clone()))?;
        self.labels.get(&label)?.held.is_none().then_some(label)
    }

    /// The ranges, and how full they are.
    #[must_use]
    pub fn usage(&self) -> Vec<Usage> {
        let named = self.ranges.named();
        let one = |(name, range): (&'static str, Range)| {
            let (used, held) = self.count(range);
            Usage {
                name,
                range,
                used,
                held,
            }
        };
        named.map(one).collect()
    }

    /// How long released labels are held.
    #[must_use]
    pub fn hold(&self) -> Duration {
        self.ranges.hold
    }
}

// ---- static labels ----

/// Whether static labels can become what these edits say. That they are in their range was found with the configuration.
///
/// # Errors
/// The label, and who has it.
pub fn check_static<V>(
    manager: &Manager,
    edits: &[Edit<Label, V>],
    now: Instant,
) -> Result<(), String> {
    for e in edits.iter().filter(|e| e.to.is_some()) {
        manager
            .may_have(Owner::Static, &Fec::Label(e.key), e.key, now)
            .map_err(|why| why.to_string())?;
    }
    Ok(())
}

/// Takes over what [`check_static`] found good.
pub fn commit_static<V>(manager: &mut Manager, edits: &[Edit<Label, V>], now: Instant) {
    for e in edits {
        let fec = Fec::Label(e.key);
        match &e.to {
            Some(_) => {
                if let Err(why) = manager.claim(Owner::Static, &fec, e.key, now) {
                    tracing::error!("label {}: {why}; this is a bug, please report it", e.key);
                }
            }
            None => manager.release(Owner::Static, &fec, now),
        }
    }
}
