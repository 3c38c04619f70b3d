//! Our own addresses: announced when they come up, checked for duplicates, defended.
//!
//! RFC 5227 2.1.1 (probes), 2.3 (announcements), 2.4 (defence); RFC 4862 5.4 and RFC 4429 (optimistic duplicate
//! address detection); RFC 4861 7.2.6 (unsolicited advertisements).

use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use net::MacAddr;
use net::arp::Arp;
use net::nd::{self, AdvertFlags};

use super::cache::Key;
use super::{Act, Neighbours};

/// An address is defended at most this often (RFC 5227 1.1, DEFEND_INTERVAL).
pub(super) const DEFEND_INTERVAL: Duration = Duration::from_secs(10);
/// A conflict is forgotten after this time without another. An IPv6 address that failed its detection is tried again.
pub(super) const CONFLICT_MEMORY: Duration = Duration::from_secs(60);

/// How far an address of ours has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Being checked; the number of the next step, see `Neighbours::advance_own`.
    Checking(u8),
    /// In use, nothing more to send.
    Settled,
    /// IPv6: somebody else had it first. We neither advertise it nor answer for it (RFC 4862 5.4.5).
    Failed,
}

/// What is known of one of our addresses.
#[derive(Debug)]
pub(super) struct Own {
    phase: Phase,
    /// When something is to be done about it.
    pub(super) at: Option<Instant>,
    /// When a conflict was last answered.
    defended: Option<Instant>,
    /// Who else uses it.
    pub(super) duplicate: Option<MacAddr>,
}

impl Default for Own {
    fn default() -> Self {
        Self {
            phase: Phase::Checking(0),
            at: None,
            defended: None,
            duplicate: None,
        }
    }
}

impl Own {
    /// IPv6 duplicate address detection has not ended well yet (RFC 4429 calls it optimistic).
    pub(super) fn is_tentative(&self) -> bool {
        matches!(self.phase, Phase::Checking(0 | 1) | Phase::Failed)
    }

    /// Whether we answer solicitations for this IPv6 address.
    pub(super) fn answers(&self) -> bool {
        !(self.is_tentative() && self.duplicate.is_some())
    }
}

impl Neighbours {
    /// Does what is due for an address of ours, and sets its next time. Steps are one retransmit time apart:
    ///
    /// | step | IPv4 | IPv6 |
    /// |---|---|---|
    /// | 0 | probe, announcement | solicitation for itself, advertisement that overrides nobody |
    /// | 1 | probe | it is unique: advertisement that overrides |
    /// | 2 | probe | the same again |
    /// | 3 | announcement | |
    pub(super) fn advance_own(&mut self, now: Instant, key: Key, out: &mut Vec<Act>) {
        let (id, addr) = key;
        let Some(iface) = self.ifaces.get_mut(&id) else {
            return;
        };
        let mac = iface.mac;
        let Some(own) = iface.own.get_mut(&addr) else {
            return;
        };
        if let Some(at) = own.at.take() {
            self.own_timers.remove(&(at, key));
        }
        let step = match own.phase {
            Phase::Checking(step) => step,
            Phase::Failed => 0,
            Phase::Settled => {
                own.duplicate = None;
                return;
            }
        };
        if step == if addr.is_ipv4() { 3 } else { 2 } {
            own.phase = Phase::Settled;
        } else {
            own.phase = Phase::Checking(step + 1);
            let again = now + self.params.retransmit;
            own.at = Some(again);
            self.own_timers.insert((again, key));
        }
        let mut send = |frame: Vec<u8>| out.push(Act::Send { iface: id, frame });
        match addr {
            IpAddr::V4(a) => {
                if step < 3 {
                    send(Arp::probe(mac, a).frame(MacAddr::BROADCAST).to_vec());
                }
                if step == 0 || step == 3 {
                    send(Arp::announcement(mac, a).frame(MacAddr::BROADCAST).to_vec());
                }
            }
            IpAddr::V6(a) => {
                if step == 0 {
                    send(nd::solicit(mac, Ipv6Addr::UNSPECIFIED, a, None).to_vec());
                } else {
                    own.duplicate = None;
                }
                // One that failed before stays silent until it is unique.
                if own.answers() {
                    send(advert_all(mac, a, step > 0));
                }
            }
        }
    }

    /// Somebody else uses an address of ours. Reported and answered once in [`DEFEND_INTERVAL`]; an IPv6 address
    /// whose detection has not ended is given up instead (RFC 4862 5.4.5).
    pub(super) fn conflict(&mut self, now: Instant, key: Key, by: MacAddr, out: &mut Vec<Act>) {
        self.stats.conflicts += 1;
        let (id, addr) = key;
        let Some(iface) = self.ifaces.get_mut(&id) else {
            return;
        };
        let mac = iface.mac;
        let Some(own) = iface.own.get_mut(&addr) else {
            return;
        };
        let failed = addr.is_ipv6() && own.is_tentative();
        own.phase = if failed {
            Phase::Failed
        } else {
            Phase::Settled
        };
        own.duplicate = Some(by);
        let until = now + CONFLICT_MEMORY;
        if let Some(at) = own.at.replace(until) {
            self.own_timers.remove(&(at, key));
        }
        self.own_timers.insert((until, key));
        if own.defended.is_some_and(|d| now < d + DEFEND_INTERVAL) {
            return;
        }
        own.defended = Some(now);
        out.push(Act::Duplicate {
            iface: id,
            addr,
            by,
        });
        let frame = match addr {
            IpAddr::V4(a) => Arp::announcement(mac, a).frame(MacAddr::BROADCAST).to_vec(),
            IpAddr::V6(a) if !failed => advert_all(mac, a, true),
            IpAddr::V6(_) => return,
        };
        out.push(Act::Send { iface: id, frame });
    }

    /// Somebody else checks an address of ours for duplicates. While we check it too, that is a conflict (RFC 5227
    /// 2.1.1, RFC 4862 5.4.3); later it is for our answer to tell.
    pub(super) fn probed(&mut self, now: Instant, key: Key, by: MacAddr, out: &mut Vec<Act>) {
        let own = self.ifaces.get(&key.0).and_then(|i| i.own.get(&key.1));
        let checking = own.is_some_and(|own| match key.1 {
            IpAddr::V4(_) => matches!(own.phase, Phase::Checking(_)),
            IpAddr::V6(_) => own.is_tentative(),
        });
        if checking {
            self.conflict(now, key, by, out);
        }
    }

    /// Whether we answer solicitations for this IPv6 address.
    pub(super) fn answers_for(&self, key: Key) -> bool {
        self.ifaces
            .get(&key.0)
            .and_then(|i| i.own.get(&key.1))
            .is_some_and(Own::answers)
    }
}

/// An unsolicited advertisement to all nodes: the bytes of the frame.
pub(super) fn advert_all(mac: MacAddr, addr: Ipv6Addr, override_: bool) -> Vec<u8> {
    let flags = AdvertFlags {
        router: true,
        solicited: false,
        override_,
    };
    let to = MacAddr::ipv6_multicast(nd::ALL_NODES);
    nd::advert(mac, to, addr, nd::ALL_NODES, addr, flags).to_vec()
}
