//! What VRFs that are no more, or have another distinguisher, leave in the tables: taken out in pieces, since it may be much.

use super::Base;
use crate::rib::{Cursor, Path, Scoped};
use crate::speaker::Core;
use crate::speaker::families::Ours;
use crate::speaker::routes::OWN;
use crate::types::{Rd, VrfNo};

/// Routes that are to be taken out, and where that goes on.
#[derive(Debug)]
pub(super) struct Errand<S, K> {
    space: S,
    /// The VRF that they are of.
    vrf: VrfNo,
    from: Option<Cursor<Scoped<S, K>>>,
}

impl<S, K> Errand<S, K> {
    pub(super) fn new(space: S, vrf: VrfNo) -> Self {
        Self {
            space,
            vrf,
            from: None,
        }
    }
}

/// What VRFs that are no more, or have another distinguisher, have left behind.
#[derive(Debug)]
pub(super) struct Leaving<K> {
    /// All routes of a VRF.
    pub(super) gone: Vec<Errand<VrfNo, K>>,
    /// What was told of a VRF's by a distinguisher.
    pub(super) told: Vec<Errand<Rd, K>>,
}

impl<K> Default for Leaving<K> {
    fn default() -> Self {
        Self {
            gone: Vec::new(),
            told: Vec::new(),
        }
    }
}

impl<K> Leaving<K> {
    fn is_empty(&self) -> bool {
        self.gone.is_empty() && self.told.is_empty()
    }
}

impl Core {
    /// Takes out of the tables some of what VRFs have left behind. True: there is more.
    pub(super) fn clear_out<B: Base>(&mut self, budget: usize) -> bool
    where
        Scoped<Rd, B>: Ours,
        Scoped<VrfNo, B>: Ours,
    {
        let mut paths = Vec::new();
        if let Some(mut errand) = B::leaving(&mut self.vpns).told.pop() {
            let (table, common) = <Scoped<Rd, B>>::table(&mut self.rib);
            let all = Scoped {
                space: errand.space,
                key: B::NONE,
            };
            // Another VRF may have the distinguisher by now.
            let of = |p: &Path| common.store.view(p.post.unwrap_or(p.pre)).table();
            let its = |p: &&Path| p.peer == OWN && of(p) == u32::from(errand.vrf.0);
            errand.from = table.longer(all, errand.from, budget, |r| {
                paths.extend(r.paths.iter().find(its).map(|p| (r.key, p.path_id)));
            });
            for (key, path_id) in paths {
                table.withdraw(common, OWN, path_id, key);
            }
            if errand.from.is_some() {
                B::leaving(&mut self.vpns).told.push(errand);
            }
        } else if let Some(mut errand) = B::leaving(&mut self.vpns).gone.pop() {
            let (table, common) = <Scoped<VrfNo, B>>::table(&mut self.rib);
            let all = Scoped {
                space: errand.space,
                key: B::NONE,
            };
            let mut paths = Vec::new();
            errand.from = table.longer(all, errand.from, budget, |r| {
                paths.extend(r.paths.iter().map(|p| (r.key, p.peer, p.path_id)));
            });
            for (key, peer, path_id) in paths {
                table.withdraw(common, peer, path_id, key);
            }
            if errand.from.is_some() {
                B::leaving(&mut self.vpns).gone.push(errand);
            }
        }
        !B::leaving(&mut self.vpns).is_empty()
    }
}
