//! Connections, and what sessions want of them.
//!
//! Read `session` first. A session numbers its connections itself; here they get numbers that are the speaker's.

use std::sync::Arc;
use std::time::Instant;

use super::config::{Dynamic, Neighbor, PeerKey};
use super::inbound::Inbound;
use super::peer::{Line, Peer, Up};
use super::{Action, ConnId, Ends, Notice, Speaker};
use crate::session::{Budget, Conn, Event, Output};
use crate::types::PeerId;

impl Speaker {
    /// What is to be done next. To be asked until there is nothing after each call that changes something.
    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// A neighbour has connected. `None`: nobody that may; close it.
    pub fn accepted(&mut self, ends: Ends, now: Instant) -> Option<ConnId> {
        let id = self.find(&ends).or_else(|| self.welcome(&ends, now))?;
        let mut out = std::mem::take(&mut self.scratch);
        let peer = self.peers.get_mut(&id)?;
        let conn = peer.session.accept(now, &mut out);
        let line = conn.map(|conn| {
            self.last_conn += 1;
            let line = ConnId(self.last_conn);
            peer.lines.push(Line::new(line, conn, Some(ends), now));
            peer.met = true;
            self.conns.insert(line, id);
            line
        });
        self.carry_out(id, &mut out, now);
        self.scratch = out;
        line
    }

    /// Whose end that is.
    fn find(&self, ends: &Ends) -> Option<PeerId> {
        let address = PeerKey::Address(ends.remote.ip(), None);
        let here = || PeerKey::Address(ends.remote.ip(), ends.interface.clone());
        let link = || PeerKey::Interface(ends.interface.clone().unwrap_or_default());
        let known = |k: &PeerKey| self.names.get(k).copied();
        // Several VRFs may have one address: its interface says more.
        known(&here())
            .or_else(|| known(&address))
            .or_else(|| known(&link()))
    }

    /// A neighbour that comes by itself, if it may.
    fn welcome(&mut self, ends: &Ends, now: Instant) -> Option<PeerId> {
        let address = ends.remote.ip();
        let covers = |(_, d): &(usize, &Dynamic)| d.prefix.contains(&address);
        let all = self.config.dynamic.iter().enumerate().filter(covers);
        let (n, entry) = all.max_by_key(|(_, d)| d.prefix.prefix_len())?;
        let there = self.peers.values().filter(|p| p.dynamic == Some(n)).count();
        if there >= entry.limit {
            return None;
        }
        let mut neighbor = Neighbor::clone(&entry.neighbor);
        neighbor.session.passive = true;
        let key = PeerKey::Address(address, None);
        let id = self.add_peer(key, Arc::new(neighbor), now)?;
        self.peers.get_mut(&id)?.dynamic = Some(n);
        Some(id)
    }

    /// A connection that was asked for is there.
    pub fn connected(&mut self, conn: ConnId, ends: Ends, now: Instant) {
        let Some((id, peer)) = self.owner(conn) else {
            return;
        };
        let Some(line) = peer.line_of(conn) else {
            return;
        };
        line.ends = Some(ends);
        let conn = line.conn;
        self.event(id, Event::Connected(conn), now);
    }

    /// A connection could not be had, or has ended; why.
    pub fn failed(&mut self, conn: ConnId, why: &str, now: Instant) {
        let Some((id, peer)) = self.owner(conn) else {
            return;
        };
        let Some(n) = peer.lines.iter().position(|l| l.id == conn) else {
            return;
        };
        let line = peer.lines.swap_remove(n);
        self.conns.remove(&conn);
        self.event(id, Event::Failed(line.conn, why.to_owned()), now);
    }

    /// Octets have come. Returns how many were taken: when that is fewer than all, come again with the rest after others
    /// had their turn.
    pub fn received(&mut self, conn: ConnId, octets: &[u8], now: Instant) -> usize {
        let mut out = std::mem::take(&mut self.scratch);
        let mut taken = 0;
        let budget = Budget::default();
        // A message that makes the session want something ends a call; what comes after it is to find that done.
        while taken < octets.len().min(budget.octets) {
            let Some(id) = self.conns.get(&conn).copied() else {
                taken = octets.len();
                break;
            };
            let Some(peer) = self.peers.get_mut(&id) else {
                break;
            };
            let Some(line) = peer.lines.iter().find(|l| l.id == conn) else {
                break;
            };
            let mut ended = Vec::new();
            let mut inbound = Inbound {
                core: &mut self.core,
                peer: id,
                key: &peer.key,
                notices: &mut self.actions,
                ended: &mut ended,
                now,
            };
            let n = peer.session.receive(
                now,
                line.conn,
                &octets[taken..],
                budget,
                &mut inbound,
                &mut out,
            );
            taken += n;
            let idle = n == 0 && out.is_empty();
            self.ended(id, &ended, now);
            self.carry_out(id, &mut out, now);
            if idle {
                break;
            }
        }
        self.scratch = out;
        taken
    }

    /// What is to be written to a connection now; empty: nothing. [`Speaker::work`] puts more there as it is written.
    #[must_use]
    pub fn output(&self, conn: ConnId) -> &[u8] {
        let peer = self.conns.get(&conn).and_then(|id| self.peers.get(id));
        let line = peer.and_then(|p| p.lines.iter().find(|l| l.id == conn));
        line.map_or(&[], |l| l.queue.waiting())
    }

    /// Every connection that has something to be written.
    pub fn writable(&self) -> impl Iterator<Item = ConnId> + '_ {
        let lines = self.peers.values().flat_map(|p| &p.lines);
        lines.filter(|l| l.queue.len() > 0).map(|l| l.id)
    }

    /// The first `n` octets of that were written.
    pub fn wrote(&mut self, conn: ConnId, n: usize, now: Instant) {
        let Some((id, peer)) = self.owner(conn) else {
            return;
        };
        let Some(line) = peer.line_of(conn) else {
            return;
        };
        line.queue.wrote(n);
        line.moved = now;
        let (conn, left) = (line.conn, line.queue.len());
        self.event(
            id,
            Event::Wrote {
                conn,
                octets: n,
                left,
            },
            now,
        );
    }

    fn owner(&mut self, conn: ConnId) -> Option<(PeerId, &mut Peer)> {
        let id = *self.conns.get(&conn)?;
        Some((id, self.peers.get_mut(&id)?))
    }

    /// Gives a session an event, and does what comes of it.
    pub(super) fn event(&mut self, id: PeerId, event: Event, now: Instant) {
        let mut out = std::mem::take(&mut self.scratch);
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.session.handle(now, event, &mut out);
        }
        self.carry_out(id, &mut out, now);
        self.scratch = out;
    }

    /// Does what a session wants.
    pub(super) fn carry_out(&mut self, id: PeerId, out: &mut Vec<Output>, now: Instant) {
        for output in out.drain(..) {
            let Some(peer) = self.peers.get_mut(&id) else {
                return;
            };
            match output {
                Output::Connect(conn) => {
                    self.last_conn += 1;
                    let line = ConnId(self.last_conn);
                    peer.lines.push(Line::new(line, conn, None, now));
                    self.conns.insert(line, id);
                    let peer = peer.key.clone();
                    self.actions.push_back(Action::Connect { conn: line, peer });
                }
                Output::Close(conn) => self.close(id, conn),
                Output::Send(conn, octets) => {
                    if let Some(line) = peer.line(conn) {
                        line.queue.tail().extend_from_slice(&octets);
                    }
                }
                Output::State(state) => {
                    let key = peer.key.clone();
                    self.actions
                        .push_back(Action::Notice(key, Notice::State(state)));
                }
                Output::Up(conn, agreed) => {
                    let Some(line) = peer.line(conn) else {
                        continue;
                    };
                    let ends = line.ends.as_ref();
                    let own = ends.map(|e| e.own).unwrap_or_default();
                    let over_v4 = ends.is_some_and(|e| e.local.is_ipv4());
                    let line = line.id;
                    peer.up = Some(Up {
                        line,
                        agreed,
                        own,
                        over_v4,
                        marks: Default::default(),
                    });
                    let key = peer.key.clone();
                    self.actions.push_back(Action::Notice(key, Notice::Up));
                    self.up(id, now);
                }
                Output::Down(down) => {
                    peer.up = None;
                    let key = peer.key.clone();
                    self.down(id, &down.keep, now);
                    self.actions
                        .push_back(Action::Notice(key, Notice::Down(down.cause)));
                }
                Output::Refresh(family, kind) => self.refresh_asked(id, family, kind, now),
                Output::PrefixWarning {
                    family,
                    count,
                    limit,
                } => {
                    let key = peer.key.clone();
                    let notice = Notice::Prefixes {
                        family,
                        count,
                        limit,
                    };
                    self.actions.push_back(Action::Notice(key, notice));
                }
            }
        }
        self.let_go(id);
    }

    fn close(&mut self, id: PeerId, conn: Conn) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        let Some(line) = peer.line(conn) else { return };
        self.actions.push_back(Action::Close(line.id));
    }

    /// A connection that was to be closed is.
    pub fn closed(&mut self, conn: ConnId) {
        if let Some((id, peer)) = self.owner(conn) {
            peer.lines.retain(|l| l.id != conn);
            self.let_go(id);
        }
        self.conns.remove(&conn);
    }
}
