//! What operators see of what a neighbour was told: found out anew, as attributes that were told are not kept.

use std::time::Instant;

use super::export::resolved;
use super::families::Ours;
use super::outbound::Exporter;
use super::show::{LOOKED_AT, Page, Place, Wanted};
use super::{Core, Speaker};
use crate::attrs::AttrBuf;
use crate::rib::{Export as _, Path, Table};
use crate::types::{PeerId, VrfNo};

impl Speaker {
    /// Paths that a neighbour was told of, as it was told of them.
    pub(super) fn advertised_views<K: Ours>(
        &mut self,
        id: PeerId,
        wanted: &Wanted,
        from: Option<Place>,
        vrf: VrfNo,
        now: Instant,
    ) -> Page {
        let mut page = Page::default();
        let Some(g) = self.core.group_of::<K>(id) else {
            return page;
        };
        let start = match wanted {
            Wanted::All => None,
            Wanted::Exactly(net) | Wanted::Longest(net) | Wanted::Longer(net) => Some(*net),
        };
        let start = start.and_then(|net| K::within(vrf, net));
        let cursor = from.and_then(K::at).or(start).map(Table::cursor);
        let table = K::table(&mut self.core.rib).0;
        let key = match wanted {
            Wanted::Longest(net) => {
                let key = K::within(vrf, *net);
                let longest = key.and_then(|k| table.longest(k, |r| r.best));
                let Some(found) = longest else { return page };
                Some(found.key)
            }
            Wanted::Exactly(net) | Wanted::Longer(net) => K::within(vrf, *net),
            Wanted::All => None,
        };
        let cursor = match (wanted, key) {
            (Wanted::Longest(_), Some(k)) => Some(Table::cursor(k)),
            _ => cursor,
        };
        let one = matches!(wanted, Wanted::Exactly(_) | Wanted::Longest(_));
        let mut told: Vec<(K, Path)> = Vec::new();
        let mut over = one;
        let next =
            table.advertised(
                g,
                id,
                cursor,
                if one { 1 } else { LOOKED_AT },
                |k, path| match key {
                    Some(key) if one && k != key => {}
                    Some(key) if !key.covers(k) => over = true,
                    _ => told.push((k, path)),
                },
            );
        page.next = next.filter(|_| !over).map(|c| c.key().place());
        let own = self
            .peers
            .get(&id)
            .and_then(|p| p.up.as_ref())
            .map(|u| u.own)
            .unwrap_or_default();
        for (k, path) in told {
            let Some(post) = path.post else { continue };
            let Core {
                rib, gate, sides, ..
            } = &self.core;
            let side = K::side_ref(sides);
            let Some(group) = side.groups.get(&g) else {
                continue;
            };
            let mut exporter = Exporter {
                gate,
                group,
                locals: &side.locals,
                edited: &mut self.edited,
            };
            let mut out = AttrBuf::new();
            if !exporter.export(g, k, &path, rib.common.store.view(post), &mut out) {
                continue;
            }
            out.next_hop = resolved(out.next_hop, &own);
            if K::FAMILY.is_labeled() && out.view().labels().is_none() {
                out.set_labels(side.locals.get(k).as_slice());
            }
            let mut view = self.path_view(k, &path, post, now);
            view.attrs = out;
            view.best = true;
            page.paths.push(view);
        }
        page
    }
}
