//! The decision as one would read it aloud from the RFCs, over attributes as they are.

use std::cmp::Reverse;

use super::super::{Fate, Options, PeerInfo, Step};
use crate::attrs::{AttrBuf, Community};
use crate::types::Relation;

#[derive(Clone, Debug)]
pub(super) struct Contender {
    pub(super) peer: u16,
    pub(super) path_id: u32,
    pub(super) info: PeerInfo,
    pub(super) attrs: AttrBuf,
    pub(super) metric: u32,
    pub(super) last_resort: bool,
    pub(super) long_lived: bool,
    pub(super) learnt: u32,
}

/// Keeps those for which `value` is least.
fn keep<T: Ord>(set: &mut Vec<Contender>, value: impl Fn(&Contender) -> T) {
    let least = set.iter().map(&value).min();
    set.retain(|c| Some(value(c)) == least);
}

/// Those left before router ids are looked at, and then the best of them, in order.
pub(super) fn decide(all: &[Contender], o: &Options) -> Vec<Contender> {
    let mut s = all.to_vec();
    let external = |c: &Contender| c.info.relation == Relation::External;
    keep(&mut s, |c| c.last_resort);
    keep(&mut s, |c| {
        c.long_lived
            || c.attrs
                .view()
                .communities()
                .any(|c| c == Community::LLGR_STALE)
    });
    keep(&mut s, |c| {
        Reverse(c.attrs.view().local_pref().unwrap_or(o.local_pref))
    });
    keep(&mut s, |c| !c.info.local);
    if !o.ignore_path_length {
        keep(&mut s, |c| c.attrs.view().as_path().hops());
    }
    keep(&mut s, |c| c.attrs.view().origin());
    let worst = if o.missing_med_is_worst { u32::MAX } else { 0 };
    let med = |c: &Contender| c.attrs.view().med().unwrap_or(worst);
    let before = s.clone();
    s.retain(|c| {
        let near = |d: &Contender| d.attrs.view().as_path().neighbor();
        !before
            .iter()
            .any(|d| (o.always_compare_med || near(d) == near(c)) && med(d) < med(c))
    });
    keep(&mut s, |c| c.info.leaked);
    keep(&mut s, |c| !external(c) && !c.info.leaked);
    // What has leaked was chosen where it is from.
    let stood_by = |c: &Contender| u32::from(c.path_id % 2 == 1);
    keep(&mut s, |c| match c.info.leaked {
        true => stood_by(c),
        false => c.metric,
    });
    let id = |c: &Contender| {
        let own = c.info.router_id.number();
        c.attrs.view().originator_id().map_or(own, u32::from)
    };
    s.sort_by_key(|c| {
        let age = if o.prefer_oldest && external(c) {
            c.learnt
        } else {
            0
        };
        let clusters = c.attrs.view().cluster_list().len();
        (age, id(c), clusters, c.info.address, c.path_id, c.peer)
    });
    let Some(best) = s.first().cloned() else {
        return s;
    };
    let most = if best.info.leaked {
        o.paths_external.max(o.paths_internal)
    } else if external(&best) {
        o.paths_external
    } else {
        o.paths_internal
    };
    let mut used: Vec<Contender> = vec![best];
    for c in &s[1..] {
        let same = c.attrs.view().as_path() == used[0].attrs.view().as_path();
        let fresh = used.iter().all(|u| u.attrs.next_hop != c.attrs.next_hop);
        if used.len() < usize::from(most) && fresh && (same || o.multipath_relax) {
            used.push(c.clone());
        }
    }
    used
}

/// The best of those by next hops that none of `used` has.
pub(super) fn backup(all: &[Contender], used: &[Contender], o: &Options) -> Option<Contender> {
    let same = |a: &Contender, b: &Contender| a.attrs.next_hop == b.attrs.next_hop;
    let rest = all.iter().filter(|c| !used.iter().any(|u| same(u, c)));
    decide(&rest.cloned().collect::<Vec<_>>(), o)
        .first()
        .cloned()
}

/// Is the fate right, judged by what it says alone?
pub(super) fn plausible(fate: Fate, loser: &Contender, best: &Contender, o: &Options) -> bool {
    let (l, b) = (loser.attrs.view(), best.attrs.view());
    match fate {
        Fate::Lost(Step::Settled) => loser.last_resort && !best.last_resort,
        Fate::Lost(Step::LocalPref) => {
            l.local_pref().unwrap_or(o.local_pref) < b.local_pref().unwrap_or(o.local_pref)
        }
        Fate::Lost(Step::Local) => best.info.local && !loser.info.local,
        Fate::Lost(Step::PathLength) => l.as_path().hops() > b.as_path().hops(),
        Fate::Lost(Step::Origin) => l.origin() > b.origin(),
        Fate::Lost(Step::External) => {
            best.info.relation == Relation::External && loser.info.relation != Relation::External
        }
        Fate::Lost(Step::Learned) => loser.info.leaked && !best.info.leaked,
        Fate::Lost(Step::Metric) if best.info.leaked => loser.path_id % 2 > best.path_id % 2,
        Fate::Lost(Step::Metric) => loser.metric > best.metric,
        Fate::Lost(Step::Oldest) => o.prefer_oldest && loser.learnt > best.learnt,
        _ => true,
    }
}
