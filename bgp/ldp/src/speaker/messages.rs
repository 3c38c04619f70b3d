//! What comes over an operational session, and what is told there: RFC 5036 3.5.5 to 3.5.11, appendix A; RFC 5919.

use std::time::Instant;

use super::{
    Addresses, Body, Conn, Families, Family, Fec, IpAddr, LdpId, Notification, Output, PIECE,
    Speaker, Status,
};
use crate::bindings::Mapped;
use crate::wire::{Bindings, Mapping, Message, Request};

impl Speaker {
    pub(super) fn message(
        &mut self,
        now: Instant,
        peer: LdpId,
        conn: Conn,
        m: Message,
        out: &mut Vec<Output>,
    ) {
        let about = |status| {
            Body::Notification(Notification {
                message_id: m.id,
                message_type: m.body.kind(),
                ..Notification::new(status)
            })
        };
        let mut answers = vec![];
        match &m.body {
            Body::Address(a) => {
                for addr in &a.list {
                    if !self.lib.own(peer, *addr, self.config.max_addresses) {
                        return self.end(now, peer, Status::InternalError, out);
                    }
                }
            }
            Body::AddressWithdraw(a) => a.list.iter().for_each(|addr| self.lib.disown(peer, *addr)),
            Body::Mapping(x) => {
                let full = self.mapping(peer, x, &mut answers);
                answers.extend(full.map(about));
            }
            Body::Withdraw(b) => {
                for fec in &b.fecs {
                    self.lib.withdrawn(peer, *fec, b.label);
                }
                // Answered whether it was known or not (A.1.5).
                answers.push(Body::Release(b.clone()));
            }
            Body::Release(b) => {
                for fec in &b.fecs {
                    self.lib.released(peer, *fec, b.label);
                }
            }
            Body::Request(Request { fecs, .. }) => {
                for fec in fecs {
                    answers.extend(self.lib.requested(peer, *fec, m.id).err().map(about));
                }
            }
            Body::Notification(n) => match (n.status, n.fecs.as_slice()) {
                (Status::EndOfLib, [Fec::AllOf(family)]) => {
                    out.push(Output::EndOfLib(peer, *family))
                }
                _ => out.push(Output::Said(peer, n.status)),
            },
            // An Abort: what was asked is answered already.
            _ => {}
        }
        self.say(now, conn, answers, out);
    }

    /// The status of what could not be kept.
    fn mapping(&mut self, peer: LdpId, x: &Mapping, answers: &mut Vec<Body>) -> Option<Status> {
        let mut full = None;
        for fec in &x.fecs {
            let Fec::Prefix(net) = *fec else {
                continue;
            };
            let release = match self.lib.mapping(peer, net, x.label, x.entropy) {
                Mapped::Kept => continue,
                Mapped::InPlaceOf(old) => old,
                Mapped::Full => {
                    full = Some(Status::NoLabelResources);
                    x.label
                }
            };
            answers.push(Body::Release(Bindings {
                fecs: vec![*fec],
                label: Some(release),
            }));
        }
        full
    }

    fn say(&mut self, now: Instant, conn: Conn, bodies: Vec<Body>, out: &mut Vec<Output>) {
        if !bodies.is_empty() {
            self.with(now, conn, out, |s, acts| s.send(now, bodies, acts));
        }
    }

    /// Tells a neighbour which addresses we have, as far as it does not know. Before any label: those are of no use without.
    pub(super) fn tell_addresses(&mut self, now: Instant, peer: LdpId, out: &mut Vec<Output>) {
        let families = self.discovery.families(peer);
        let Some(p) = self.peers.get_mut(&peer) else {
            return;
        };
        let Some(conn) = p.conn else {
            return;
        };
        let wanted = |a: &&IpAddr| families.has(Family::of(**a));
        let now_own: std::collections::BTreeSet<IpAddr> =
            self.own.iter().filter(wanted).copied().collect();
        if now_own == p.told {
            return;
        }
        let mut bodies = vec![];
        for family in Family::ALL {
            let of = |a: &&IpAddr| Family::of(**a) == family;
            let gone: Vec<IpAddr> = p.told.difference(&now_own).filter(of).copied().collect();
            let new: Vec<IpAddr> = now_own.difference(&p.told).filter(of).copied().collect();
            // Twelve of IPv6 fit the shortest PDU that can be agreed on.
            let lists = |all: Vec<IpAddr>| -> Vec<Addresses> {
                let chunks = all.chunks(12).map(<[IpAddr]>::to_vec);
                chunks.map(|list| Addresses { family, list }).collect()
            };
            bodies.extend(lists(gone).into_iter().map(Body::AddressWithdraw));
            bodies.extend(lists(new).into_iter().map(Body::Address));
        }
        p.told = now_own;
        self.say(now, conn, bodies, out);
    }

    /// Tells a neighbour labels; returns whether there are more. `settled`: all routes are known to it, or queued.
    pub(super) fn tell_labels(
        &mut self,
        now: Instant,
        peer: LdpId,
        budget: usize,
        settled: bool,
        out: &mut Vec<Output>,
    ) -> bool {
        let Some(conn) = self.peers.get(&peer).and_then(|p| p.conn) else {
            return false;
        };
        let Some(session) = self.lines.get(&conn).map(|l| &l.session) else {
            return false;
        };
        let (counts, can) = (session.wants_hop_counts(), session.capabilities());
        let mut left = budget;
        while left > 0 {
            let piece = left.min(PIECE);
            let queued = self.lib.queued(peer);
            let bodies = self.lib.tell(peer, piece, counts);
            self.say(now, conn, bodies, out);
            left -= piece;
            if queued <= piece {
                break;
            }
        }
        let more = self.lib.queued(peer) > 0;
        if settled && !more {
            let both =
                can.typed_wildcard == Some(true) && can.unrecognized_notification == Some(true);
            self.end_of_lib(now, peer, conn, both, out);
        }
        more
    }

    /// All was told (RFC 5919 4): said once in a session and family, to who understands it.
    fn end_of_lib(
        &mut self,
        now: Instant,
        peer: LdpId,
        conn: Conn,
        understood: bool,
        out: &mut Vec<Output>,
    ) {
        let Some(p) = self.peers.get_mut(&peer) else {
            return;
        };
        let families = std::mem::replace(&mut p.end_of_lib, Families::NONE);
        if !understood {
            return;
        }
        let ends = Family::ALL
            .into_iter()
            .filter(|f| families.has(*f))
            .map(|family| {
                Body::Notification(Notification {
                    fecs: vec![Fec::AllOf(family)],
                    ..Notification::new(Status::EndOfLib)
                })
            });
        self.say(now, conn, ends.collect(), out);
    }
}
