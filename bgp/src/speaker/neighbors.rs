//! The neighbours there are, and what a new configuration means for them.
//!
//! A session is not disturbed unless it must be: what is said in OPENs has changed, or who we are. Another policy is run over
//! the routes that are there (nothing is asked of the neighbour), other limits count from the next route on.

use std::sync::Arc;
use std::time::Instant;

use super::config::{Config, Neighbor, PeerKey};
use super::families::{Kind, Ours, of_kind};
use super::import::ImportRules;
use super::inbound::Source;
use super::peer::{Peer, Up};
use super::routes::ACROSS;
use super::{Core, Ends, Speaker};
use crate::rib::PeerInfo;
use crate::session::{Event, NoRefresh, SessionConfig, Stop};
use crate::types::{FamilySet, PeerId};
use crate::wire::Refresh;

/// An operator's command could not be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// There is no such neighbour.
    #[error("no neighbour is called {0}")]
    NoNeighbor(String),
    /// The neighbour is not up, or does not know ROUTE-REFRESH.
    #[error("{0}")]
    NoRefresh(String),
}

impl Speaker {
    /// Takes another configuration. Neighbours that it does not name go; sessions of others stay up if they can.
    pub fn reconfigure(&mut self, new: Config, now: Instant) {
        let old = std::mem::replace(&mut self.config, new);
        let local_changed = old.local != self.config.local;
        self.core.gate.local = self.config.local.clone();
        if old.options != self.config.options {
            self.core.rib.common.options = self.config.options;
            for kind in Kind::ALL {
                of_kind!(kind, K => K::table(&mut self.core.rib).0.decide_all());
            }
        }
        let wanted: Vec<(PeerKey, Arc<Neighbor>)> = self.config.neighbors.clone();
        let there: Vec<PeerId> = self.peers.keys().copied().collect();
        for id in there {
            let Some(peer) = self.peers.get(&id) else {
                continue;
            };
            let now_told = match peer.dynamic {
                Some(_) => self.dynamic_config(&peer.key),
                None => wanted
                    .iter()
                    .find(|(k, _)| *k == peer.key)
                    .map(|(_, n)| n.clone()),
            };
            match now_told {
                Some(config) => self.change(id, config, local_changed, now),
                None => self.remove(id, now),
            }
        }
        for (key, config) in wanted {
            if !self.names.contains_key(&key) {
                self.add_peer(key, config, now);
            }
        }
        self.review_transit();
    }

    /// What holds for a neighbour that came by itself, if it still may.
    fn dynamic_config(&self, key: &PeerKey) -> Option<Arc<Neighbor>> {
        let PeerKey::Address(address, _) = key else {
            return None;
        };
        let covering = self
            .config
            .dynamic
            .iter()
            .filter(|d| d.prefix.contains(address));
        let entry = covering.max_by_key(|d| d.prefix.prefix_len())?;
        let mut neighbor = Neighbor::clone(&entry.neighbor);
        neighbor.session.passive = true;
        Some(Arc::new(neighbor))
    }

    fn change(&mut self, id: PeerId, config: Arc<Neighbor>, local_changed: bool, now: Instant) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        let old = std::mem::replace(&mut peer.config, config.clone());
        peer.session.set_config(config.session.clone());
        match (&old.shutdown, &config.shutdown) {
            (None, Some(text)) => {
                let stop = Event::Stop(Stop::Shutdown(text.clone()));
                self.restart_step(|r, released| r.gone(id, released));
                return self.event(id, stop, now);
            }
            (Some(_), None) => return self.event(id, Event::Start, now),
            _ => {}
        }
        // Its routes are in another table then.
        let moved = old.vrf != config.vrf || old.site != config.site;
        if local_changed || moved || !same_opens(&old.session, &config.session) {
            self.event(id, Event::Stop(Stop::ConfigChanged), now);
            return;
        }
        if old.shutdown.is_none() && self.peers.get(&id).is_some_and(|p| p.up.is_some()) {
            self.refit(id);
        }
    }

    /// Other policies and flags for a session that stays up.
    fn refit(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get(&id) else {
            return;
        };
        let Some(up) = peer.up.clone() else { return };
        let before = self.core.gate.source(id).cloned();
        let ends = peer
            .lines
            .iter()
            .find(|l| l.id == up.line)
            .and_then(|l| l.ends.clone());
        self.core.arrived(peer, &up, ends.as_ref());
        let after = self.core.gate.source(id);
        let differs = match (&before, after) {
            (Some(b), Some(a)) => b.rules != a.rules || b.policy != a.policy,
            _ => true,
        };
        if differs {
            self.core.import_again(id);
        }
        self.refit_export(id);
    }

    pub(super) fn remove(&mut self, id: PeerId, now: Instant) {
        self.event(id, Event::Stop(Stop::Deconfigured), now);
        self.restart_step(|r, released| r.gone(id, released));
        self.core.forget_all(id);
        if let Some(peer) = self.peers.get_mut(&id) {
            self.names.remove(&peer.key);
            peer.leaving = true;
        }
        self.let_go(id);
    }

    /// Neighbours that are to go do when nothing of theirs is left to be written, those that came by themselves when they are
    /// down.
    pub(super) fn let_go(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get(&id) else {
            return;
        };
        let idle = peer.lines.is_empty() && !peer.helper.is_waiting();
        let gone = peer.leaving || (peer.dynamic.is_some() && idle && peer.met);
        if gone && peer.lines.is_empty() {
            if !peer.leaving {
                self.names.remove(&peer.key);
                self.core.forget_all(id);
            }
            self.peers.remove(&id);
        }
    }

    pub(super) fn add_peer(
        &mut self,
        key: PeerKey,
        config: Arc<Neighbor>,
        now: Instant,
    ) -> Option<PeerId> {
        // A slot is free when the tables have nothing of who had it.
        let rib = &self.core.rib;
        let empty = |id: PeerId| {
            let none =
                |kind| of_kind!(kind, K => K::table_ref(rib).counts(id) == Default::default());
            Kind::ALL.into_iter().all(none)
        };
        let mut slots = (ACROSS.0 + 1..u16::MAX).map(PeerId);
        let free = slots.find(|id| !self.peers.contains_key(id) && empty(*id))?;
        self.seed = self.seed.wrapping_add(1);
        let peer = Peer::new(free, key.clone(), config, self.seed);
        let start = peer.config.shutdown.is_none();
        self.names.insert(key, free);
        self.peers.insert(free, peer);
        if start {
            self.event(free, Event::Start, now);
        }
        Some(free)
    }

    /// The neighbour that is called so.
    fn named(&self, key: &PeerKey) -> Result<PeerId, CommandError> {
        let id = self.names.get(key).copied();
        id.ok_or_else(|| CommandError::NoNeighbor(key.to_string()))
    }

    /// Ends a session with that text; it comes back.
    ///
    /// # Errors
    /// There is no such neighbour.
    pub fn reset(&mut self, key: &PeerKey, text: &str, now: Instant) -> Result<(), CommandError> {
        let id = self.named(key)?;
        let reset = Stop::Reset {
            text: text.to_owned(),
            hard: false,
        };
        self.event(id, Event::Stop(reset), now);
        Ok(())
    }

    /// Ends a session with that text until [`Speaker::start`].
    ///
    /// # Errors
    /// There is no such neighbour.
    pub fn shutdown(
        &mut self,
        key: &PeerKey,
        text: &str,
        now: Instant,
    ) -> Result<(), CommandError> {
        let id = self.named(key)?;
        self.restart_step(|r, released| r.gone(id, released));
        self.event(id, Event::Stop(Stop::Shutdown(text.to_owned())), now);
        Ok(())
    }

    /// The speaker ends: every neighbour is told, with a text.
    pub fn shut_down(&mut self, text: &str, now: Instant) {
        let ids: Vec<PeerId> = self.peers.keys().copied().collect();
        for id in ids {
            self.event(id, Event::Stop(Stop::Shutdown(text.to_owned())), now);
        }
    }

    /// Asks a neighbour to send all of its families again (RFC 2918).
    ///
    /// # Errors
    /// There is no such neighbour, it is not up, or it does not know how.
    pub fn refresh_in(&mut self, key: &PeerKey, now: Instant) -> Result<(), CommandError> {
        let id = self.named(key)?;
        let mut out = std::mem::take(&mut self.scratch);
        let mut asked = Ok(());
        if let Some(peer) = self.peers.get_mut(&id) {
            let families = peer
                .up
                .as_ref()
                .map_or(FamilySet::EMPTY, |u| u.agreed.context.families);
            if families.is_empty() {
                asked = Err(NoRefresh::NotEstablished);
            }
            for family in families.iter() {
                asked = asked.and(peer.session.refresh(family, Refresh::Request, &mut out));
            }
        }
        self.carry_out(id, &mut out, now);
        self.scratch = out;
        asked.map_err(|e| CommandError::NoRefresh(e.to_string()))
    }

    /// Tells a neighbour everything again.
    ///
    /// # Errors
    /// There is no such neighbour, or it is not up.
    pub fn refresh_out(&mut self, key: &PeerKey, now: Instant) -> Result<(), CommandError> {
        let id = self.named(key)?;
        let up = self.peers.get(&id).and_then(|p| p.up.as_ref());
        let Some(up) = up else {
            return Err(CommandError::NoRefresh(
                NoRefresh::NotEstablished.to_string(),
            ));
        };
        let families = up.agreed.context.families;
        for family in families.iter() {
            self.send_again(id, family, now);
        }
        Ok(())
    }

    /// Starts a session that was shut down.
    ///
    /// # Errors
    /// There is no such neighbour.
    pub fn start(&mut self, key: &PeerKey, now: Instant) -> Result<(), CommandError> {
        let id = self.named(key)?;
        self.event(id, Event::Start, now);
        Ok(())
    }
}

/// Do two configurations say the same in OPENs, and treat messages alike?
fn same_opens(a: &SessionConfig, b: &SessionConfig) -> bool {
    let without_limits = |c: &SessionConfig| {
        let mut c = c.clone();
        c.families.iter_mut().for_each(|f| f.max_prefixes = None);
        c.connect_retry = Default::default();
        c
    };
    without_limits(a) == without_limits(b)
}

impl Core {
    /// What is to be known of a neighbour whose session is up.
    pub(super) fn arrived(&mut self, peer: &Peer, up: &Up, ends: Option<&Ends>) {
        let config = &peer.config;
        let agreed = &up.agreed;
        let address = ends.map_or_else(
            || std::net::IpAddr::from(agreed.peer_id.octets()),
            |e| e.remote.ip(),
        );
        let info = PeerInfo {
            relation: agreed.context.relation,
            local: false,
            leaked: false,
            client: config.client,
            router_id: agreed.peer_id,
            address,
        };
        self.rib.common.peers.set(peer.id, info);
        let max = |f: &crate::session::FamilyConfig| Some((f.family, f.max_prefixes?));
        let source = Source {
            rules: ImportRules {
                relation: agreed.context.relation,
                peer_as: agreed.peer_as,
                allow_own_as: config.allow_own_as,
                role: config.session.role.map(|r| r.role),
                local_as: config.local_as,
            },
            policy: config.import.clone(),
            address,
            local: ends.map_or(address, |e| e.local.ip()),
            interface: ends.and_then(|e| e.interface.clone()),
            local_as: agreed.local_as,
            group: config.group.clone(),
            client: config.client,
            router_id: agreed.peer_id.octets().into(),
            limits: config.session.families.iter().filter_map(max).collect(),
            vrf: config.vrf,
            site: config.site,
            malformed: self.gate.source(peer.id).map_or(0, |s| s.malformed),
        };
        self.gate.set_source(peer.id, Some(source));
    }
}
