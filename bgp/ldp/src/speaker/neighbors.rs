//! When a session begins and ends: RFC 5036 2.5.2, 2.5.3, 2.5.5; RFC 7552 6.1.1.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::{BACKOFF, Conn, Key, Line, Output, Peer, RETRY, Speaker};
use crate::discovery::Via;
use crate::session::{Act, Cause, Session, State};
use crate::types::{Families, LdpId};
use crate::wire::Status;

impl Speaker {
    /// Sends the Hellos that are due, and ends adjacencies whose time has come.
    pub(super) fn hellos(&mut self, now: Instant, out: &mut Vec<Output>) {
        let mut send = vec![];
        let gone = self.discovery.tick(now, &mut send);
        out.extend(send.into_iter().map(Output::Hello));
        self.gone(now, gone, out);
    }

    /// Adjacencies ended.
    pub(super) fn gone(&mut self, now: Instant, gone: Vec<Key>, out: &mut Vec<Output>) {
        let peers: BTreeSet<LdpId> = gone.iter().map(|k| k.0).collect();
        for k in gone {
            self.announced.remove(&k);
            out.push(Output::Adjacency(k, false));
        }
        for peer in peers {
            self.reconsider(now, peer, out);
        }
    }

    /// Something about a neighbour may have changed: is it there, may it have a session, is it our turn to connect?
    pub(super) fn reconsider(&mut self, now: Instant, peer: LdpId, out: &mut Vec<Output>) {
        let links = self
            .discovery
            .of(peer)
            .filter_map(|((_, via, _), a)| match via {
                Via::Link(iface) => Some((*iface, a.source)),
                Via::Target(_) => None,
            });
        let links: BTreeSet<(super::IfaceId, IpAddr)> = links.collect();
        self.lib.set_links(peer, &links);
        if self.discovery.of(peer).next().is_none() {
            self.end(now, peer, Status::HoldTimerExpired, out);
            self.peers.remove(&peer);
            return;
        }
        let families = self.discovery.families(peer);
        let p = self.peers.entry(peer).or_default();
        if p.up {
            self.lib.set_families(peer, families);
        }
        if self.discovery.is_noncompliant(peer) {
            return self.end(now, peer, Status::DualStackNoncompliance, out);
        }
        let waits = p.conn.is_some() || p.retry_at.is_some_and(|t| now < t);
        if let Some(m) = self.discovery.meeting(peer).filter(|m| m.active && !waits) {
            let conn = self.number();
            let session = Session::active(self.config.session, peer, now);
            let (local, remote, gtsm) = (m.local, m.remote, m.gtsm);
            self.lines.insert(
                conn,
                Line {
                    session,
                    local,
                    remote,
                },
            );
            if let Some(p) = self.peers.get_mut(&peer) {
                p.conn = Some(conn);
                p.retry_at = None;
            }
            out.push(Output::Connect {
                conn,
                local,
                remote,
                gtsm,
            });
        }
    }

    /// Ends the session with a neighbour, if there is one.
    pub(super) fn end(&mut self, now: Instant, peer: LdpId, status: Status, out: &mut Vec<Output>) {
        if let Some(conn) = self.peers.get(&peer).and_then(|p| p.conn) {
            self.with(now, conn, out, |s, acts| s.end(now, status, acts));
        }
    }

    /// Octets came.
    pub fn received(&mut self, now: Instant, conn: Conn, octets: &[u8], out: &mut Vec<Output>) {
        let Some(mut line) = self.lines.remove(&conn) else {
            return;
        };
        let mut acts = vec![];
        let (local, remote) = (line.local, line.remote);
        let mut admit = |id: LdpId| {
            let m = self.discovery.meeting(id);
            let met = m.is_some_and(|m| !m.active && m.local == local && m.remote == remote);
            let free = self.peers.get(&id).is_some_and(|p| p.conn.is_none());
            if met && free {
                Ok(())
            } else {
                Err(Status::NoHello)
            }
        };
        line.session.receive(now, octets, &mut admit, &mut acts);
        // A connection that came has said now whose it is.
        if let Some(p) = line.session.peer().and_then(|id| self.peers.get_mut(&id)) {
            p.conn.get_or_insert(conn);
        }
        self.lines.insert(conn, line);
        self.act(now, conn, acts, out);
    }

    /// Does what a session says.
    pub(super) fn act(&mut self, now: Instant, conn: Conn, acts: Vec<Act>, out: &mut Vec<Output>) {
        for act in acts {
            let Some(line) = self.lines.get(&conn) else {
                return;
            };
            let peer = line.session.peer();
            match act {
                Act::Send(octets) => out.push(Output::Send(conn, octets)),
                Act::State(state) => {
                    out.extend(peer.map(|p| Output::State(p, state)));
                    if let (Some(peer), State::Operational) = (peer, state) {
                        self.up(peer);
                    }
                }
                Act::Got(m) => {
                    if let Some(peer) = peer {
                        self.message(now, peer, conn, m, out);
                    }
                }
                Act::Close(cause) => {
                    self.lines.remove(&conn);
                    out.push(Output::Close(conn));
                    if let Some(peer) = peer {
                        self.down(now, peer, cause, out);
                    }
                }
            }
        }
    }

    fn up(&mut self, peer: LdpId) {
        let families = self.discovery.families(peer);
        if let Some(p) = self.peers.get_mut(&peer) {
            p.up = true;
            p.full = false;
            p.backoff = Duration::ZERO;
            p.told.clear();
            p.end_of_lib = families;
            self.lib.peer_up(peer, families);
        }
    }

    fn down(&mut self, now: Instant, peer: LdpId, cause: Cause, out: &mut Vec<Output>) {
        out.push(Output::Ended(peer, cause));
        self.lib.peer_down(peer);
        let Some(p) = self.peers.get_mut(&peer) else {
            return;
        };
        let rejected = !p.up && cause != Cause::Connection;
        if rejected {
            p.backoff = (p.backoff * 2).clamp(BACKOFF.0, BACKOFF.1);
        }
        p.retry_at = Some(now + if rejected { p.backoff } else { RETRY });
        *p = Peer {
            backoff: p.backoff,
            retry_at: p.retry_at,
            last: Some(cause),
            conn: None,
            up: false,
            full: false,
            told: BTreeSet::new(),
            end_of_lib: Families::NONE,
        };
    }
}
