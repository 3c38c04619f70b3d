//! After the RPKI has changed its mind: the routes that it concerns are run through the policies that ask for it again.
//!
//! Read RFC 6811 4 and 5. A cache changes some prefixes every few minutes, so only routes within those are looked at, in
//! pieces, between everything else. Where too much changed to go by prefixes, all are, by the walk that a changed policy has.

use std::collections::VecDeque;
use std::sync::Arc;

use super::families::{Kind, Ours, of_kind};
use super::{Core, Speaker};
use crate::policy::Policy;
use crate::rib::{Advertise, AttrId, Common, Cursor, GroupId, Key};
use crate::rpki::Changes;
use crate::types::{PathId, PeerId};

/// Prefixes that wait at most; with more, all routes are looked at.
const MOST: usize = 16_384;

/// What one family still has to look at.
#[derive(Debug)]
pub(super) struct Recheck<K> {
    waiting: VecDeque<K>,
    /// Within the first of them, where to go on.
    at: Option<Cursor<K>>,
}

impl<K> Default for Recheck<K> {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            at: None,
        }
    }
}

fn asks(policy: Option<&Arc<Policy>>) -> bool {
    policy.is_some_and(|p| p.depends().rpki)
}

impl Speaker {
    /// What the RPKI says has changed within these prefixes: policies that ask for it are run again over the routes there,
    /// in pieces, by [`Speaker::work`].
    pub fn validate_changes(&mut self, changes: &Changes) {
        self.validate_across();
        let Changes::Within(all) = changes else {
            return self.validate_again();
        };
        let up = |p: &&super::Peer| p.up.is_some();
        let mut importing = self.peers.values().filter(up);
        let imports = importing.any(|p| asks(p.config.import.as_ref()));
        if !imports && !self.core.exports_ask() {
            return;
        }
        let sides = &self.core.sides;
        let waiting = |kind| of_kind!(kind, K => K::side_ref(sides).again.waiting.len());
        let waiting: usize = Kind::ALL.into_iter().map(waiting).sum();
        if waiting + all.len() > MOST {
            return self.validate_again();
        }
        for net in all {
            for kind in Kind::ALL {
                of_kind!(kind, K => {
                    let waiting = &mut K::side(&mut self.core.sides).again.waiting;
                    waiting.extend(K::from_net(*net));
                });
            }
        }
        // What was told of by paths is told of anew as a whole.
        self.core
            .export_again(&|p, mode| asks(p.as_ref()) && by_paths(mode));
    }

    /// What the RPKI says has changed, anywhere: the same over all routes.
    pub fn validate_again(&mut self) {
        self.validate_across();
        for kind in Kind::ALL {
            of_kind!(kind, K => K::side(&mut self.core.sides).again = Recheck::default());
        }
        for peer in self.peers.values().filter(|p| p.up.is_some()) {
            if asks(peer.config.import.as_ref()) {
                self.core.import_again(peer.id);
            }
        }
        self.core.export_again(&|p, _| asks(p.as_ref()));
    }
}

/// Does a group keep what it was told path by path?
fn by_paths(mode: Advertise) -> bool {
    matches!(mode, Advertise::AddPath(_))
}

impl Core {
    fn exports_ask(&self) -> bool {
        let of = |kind| {
            of_kind!(kind, K => {
                let mut all = K::side_ref(&self.sides).groups.values();
                all.any(|g| asks(g.policy()))
            })
        };
        Kind::ALL.into_iter().any(of)
    }

    /// Goes on with it, over about `budget` prefixes. True: there is more.
    pub(super) fn recheck<K: Ours>(&mut self, budget: usize) -> bool {
        let mut again = std::mem::take(&mut K::side(&mut self.sides).again);
        if again.waiting.is_empty() {
            return false;
        }
        let marked = K::groups(self).iter();
        let marked = marked.filter(|(_, g)| asks(g.policy()) && !by_paths(g.advertise()));
        let groups: Vec<GroupId> = marked.map(|(g, _)| *g).collect();
        let asking: Vec<bool> = self
            .gate
            .sources
            .iter()
            .map(|s| s.as_ref().is_some_and(|s| asks(s.policy.as_ref())))
            .collect();
        let wanted = |peer: PeerId| asking.get(usize::from(peer.0)) == Some(&true);
        let gate = &mut self.gate;
        let (table, common) = K::table(&mut self.rib);
        let mut import = |common: &mut Common, peer: PeerId, _: PathId, key: K, pre: AttrId| {
            gate.import(common, peer, K::FAMILY, key.net(), pre)
        };
        let mut left = budget;
        while left > 0
            && let Some(net) = again.waiting.front().copied()
        {
            let (looked, next) =
                table.import_within(common, net, again.at, left, &wanted, &groups, &mut import);
            // Looking for a prefix costs something even where there is none.
            left = left.saturating_sub(looked + 1);
            again.at = next;
            if next.is_none() {
                again.waiting.pop_front();
            }
        }
        let more = !again.waiting.is_empty();
        K::side(&mut self.sides).again = again;
        more
    }
}
