//! The life of an entry: asked for, confirmed, probed, given up. RFC 4861 7.2.2, 7.2.5, 7.3; RFC 826 for what a
//! received packet may change.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use net::arp::Arp;
use net::{IfaceId, MacAddr, ip4, ip6, nd};

use super::cache::{Entry, Key};
use super::{Act, Held, Neighbours, Params, Reason, State};

/// A resolved neighbour's Ethernet address changes at most once in this time, unless it is being asked for.
pub(super) const CHANGE_INTERVAL: Duration = Duration::from_millis(100);
/// Deadlines that one tick handles; what is left keeps [`Neighbours::poll_at`] in the past.
pub(super) const TICK_BUDGET: usize = 256;

/// What a message tells of its sender or target.
#[derive(Clone, Copy, Debug)]
pub(super) struct Evidence {
    /// Its Ethernet address, if the message has it.
    pub(super) mac: Option<MacAddr>,
    /// It answers a question of ours.
    pub(super) solicited: bool,
    /// It may replace an address already known.
    pub(super) override_: bool,
    /// Whether it is a router, if the message says so.
    pub(super) router: Option<bool>,
    /// A neighbour that is not known yet is entered.
    pub(super) create: bool,
}

impl Neighbours {
    /// A frame waits for `addr`, or its link-layer address is wanted now (`held` is `None`). Asks when nobody has.
    pub fn resolve(
        &mut self,
        now: Instant,
        iface: IfaceId,
        addr: IpAddr,
        held: Option<Held>,
        out: &mut Vec<Act>,
    ) {
        let key = (iface, addr);
        let refused = match self.cache.get(key).map(|e| (e.state, e.mac, e.deadline)) {
            None => self.start(now, key, out).err(),
            Some((State::Incomplete, ..)) => None,
            Some((State::Failed, _, until)) if until.is_some_and(|u| now < u) => {
                Some(Reason::Unresolved)
            }
            Some((State::Failed, ..)) => {
                self.ask_first(now, key, out);
                None
            }
            Some((state, mac, _)) => {
                // Resolved since the frame left for us.
                if let Some(mac) = mac {
                    out.push(Act::Resolved {
                        iface,
                        addr,
                        mac,
                        release: held.into_iter().collect(),
                    });
                }
                if state == State::Stale {
                    self.probe(now, key, out);
                }
                return;
            }
        };
        let Some(held) = held else { return };
        match refused {
            Some(reason) => out.push(Act::GiveUp {
                iface,
                addr,
                reason,
                held,
            }),
            None => self.hold(key, held, out),
        }
    }

    /// A route leads to this neighbour: it is resolved now and kept so, and asked for again when it fails.
    pub fn want(&mut self, now: Instant, iface: IfaceId, addr: IpAddr, out: &mut Vec<Act>) {
        if self.wanted.insert((iface, addr)) {
            self.enter_wanted(now, (iface, addr), out);
        }
    }

    /// No route leads to this neighbour any more; it ages like others.
    pub fn unwant(&mut self, iface: IfaceId, addr: IpAddr) {
        let key = (iface, addr);
        if self.wanted.remove(&key) {
            self.cache.update(key, |e| e.wanted = false);
        }
    }

    /// A configured neighbour. What is learned does not change it.
    pub fn add_static(
        &mut self,
        now: Instant,
        iface: IfaceId,
        addr: IpAddr,
        mac: MacAddr,
        out: &mut Vec<Act>,
    ) {
        self.statics.insert((iface, addr), mac);
        self.enter_static(now, (iface, addr), mac, out);
    }

    /// A neighbour is no longer configured. Returns whether it was.
    pub fn del_static(
        &mut self,
        now: Instant,
        iface: IfaceId,
        addr: IpAddr,
        out: &mut Vec<Act>,
    ) -> bool {
        let key = (iface, addr);
        if self.statics.remove(&key).is_none() {
            return false;
        }
        if self
            .cache
            .get(key)
            .is_some_and(|e| e.state == State::Permanent)
        {
            self.forget(key, Reason::Unresolved, out);
            if self.wanted.contains(&key) {
                self.enter_wanted(now, key, out);
            }
        }
        true
    }

    /// Forgets a learned neighbour (`neigh del`); a wanted one is asked for anew. Returns whether there was one.
    pub fn flush(
        &mut self,
        now: Instant,
        iface: IfaceId,
        addr: IpAddr,
        out: &mut Vec<Act>,
    ) -> bool {
        let key = (iface, addr);
        if self
            .cache
            .get(key)
            .is_none_or(|e| e.state == State::Permanent)
        {
            return false;
        }
        self.forget(key, Reason::Unresolved, out);
        if self.wanted.contains(&key) {
            self.enter_wanted(now, key, out);
        }
        true
    }

    /// Does what is due, [`TICK_BUDGET`] deadlines at most. `used` says whether frames went to a neighbour since it
    /// was last asked about it.
    pub fn tick(
        &mut self,
        now: Instant,
        used: &mut dyn FnMut(IfaceId, IpAddr) -> bool,
        out: &mut Vec<Act>,
    ) {
        for _ in 0..TICK_BUDGET {
            if let Some(&(at, key)) = self.own_timers.first()
                && at <= now
            {
                self.advance_own(now, key, out);
            } else if let Some(key) = self.cache.due(now) {
                self.expire(now, key, used, out);
            } else {
                return;
            }
        }
    }

    pub(super) fn enter_static(
        &mut self,
        now: Instant,
        key: Key,
        mac: MacAddr,
        out: &mut Vec<Act>,
    ) {
        if !self.ifaces.contains_key(&key.0) {
            return;
        }
        let mut entry = Entry::new(now, State::Permanent);
        entry.mac = Some(mac);
        entry.wanted = self.wanted.contains(&key);
        let release = self
            .cache
            .insert(key, entry)
            .map(|old| old.held.into())
            .unwrap_or_default();
        out.push(Act::Resolved {
            iface: key.0,
            addr: key.1,
            mac,
            release,
        });
    }

    pub(super) fn enter_wanted(&mut self, now: Instant, key: Key, out: &mut Vec<Act>) {
        if self.cache.update(key, |e| e.wanted = true).is_none() {
            // A refusal is tried again when the table has room: on the next frame for it.
            _ = self.start(now, key, out);
        }
    }

    /// Enters a neighbour and asks for it.
    fn start(&mut self, now: Instant, key: Key, out: &mut Vec<Act>) -> Result<(), Reason> {
        let wanted = self.wanted.contains(&key);
        let Some(iface) = self.ifaces.get_mut(&key.0) else {
            return Err(Reason::InterfaceDown);
        };
        if iface.own.contains_key(&key.1) || !is_host(key.1) {
            return Err(Reason::Unresolved);
        }
        // The ends of a subnet are nobody; but a next hop of a route may be off the subnet.
        if !wanted && !iface.on_link(key.1) {
            return Err(Reason::Unresolved);
        }
        if !wanted {
            // One second's worth may come at once.
            let rate = self.params.new_per_second.max(1);
            let whole = iface.allowance.max(now) + Duration::from_secs(1) / rate;
            if whole > now + Duration::from_secs(1) {
                self.stats.throttled += 1;
                return Err(Reason::Throttled);
            }
            iface.allowance = whole;
        }
        if self.cache.len() >= self.params.max_entries {
            let Some(victim) = self.cache.evictable() else {
                return Err(Reason::TableFull);
            };
            self.stats.evicted += 1;
            self.forget(victim, Reason::TableFull, out);
        }
        let mut entry = Entry::new(now, State::Incomplete);
        entry.wanted = wanted;
        self.cache.insert(key, entry);
        self.ask_first(now, key, out);
        Ok(())
    }

    /// The first question to everybody.
    fn ask_first(&mut self, now: Instant, key: Key, out: &mut Vec<Act>) {
        let deadline = now + self.params.retransmit;
        self.cache.update(key, |e| {
            e.enter(now, State::Incomplete, deadline);
            e.mac = None;
            e.probes = 1;
        });
        out.extend(self.question(key, None));
    }

    /// The first question to the neighbour itself.
    fn probe(&mut self, now: Instant, key: Key, out: &mut Vec<Act>) {
        let deadline = now + self.params.retransmit;
        let mac = self.cache.update(key, |e| {
            e.enter(now, State::Probe, deadline);
            e.probes = 1;
            e.mac
        });
        out.extend(self.question(key, mac.flatten()));
    }

    /// A question: to the neighbour at `to`, or to everybody.
    fn question(&self, (id, addr): Key, to: Option<MacAddr>) -> Option<Act> {
        let iface = self.ifaces.get(&id)?;
        let frame = match addr {
            IpAddr::V4(target) => {
                let near = iface.v4.iter().find(|(_, p)| p.contains(target.into()));
                let sender = near
                    .or(iface.v4.first())
                    .map_or(Ipv4Addr::UNSPECIFIED, |a| a.0);
                Arp::request(iface.mac, sender, target)
                    .frame(to.unwrap_or(MacAddr::BROADCAST))
                    .to_vec()
            }
            IpAddr::V6(target) => nd::solicit(iface.mac, iface.link_local?, target, to).to_vec(),
        };
        Some(Act::Send { iface: id, frame })
    }

    /// Puts a frame behind those that wait; the oldest makes room.
    fn hold(&mut self, (iface, addr): Key, held: Held, out: &mut Vec<Act>) {
        let give_up = |held| Act::GiveUp {
            iface,
            addr,
            reason: Reason::QueueFull,
            held,
        };
        let Params {
            queue,
            max_held_bytes,
            ..
        } = self.params;
        if queue == 0 || self.cache.held_bytes() + held.bytes.len() > max_held_bytes {
            out.push(give_up(held));
            return;
        }
        let oldest = self.cache.update((iface, addr), |e| {
            let oldest = if e.held.len() >= queue {
                e.held.pop_front()
            } else {
                None
            };
            e.held.push_back(held);
            oldest
        });
        out.extend(oldest.flatten().map(give_up));
    }

    /// Takes an entry out; frames that wait are given up for this reason.
    pub(super) fn forget(&mut self, key: Key, reason: Reason, out: &mut Vec<Act>) {
        let Some(entry) = self.cache.remove(key) else {
            return;
        };
        let (iface, addr) = key;
        if entry.state.is_resolved() {
            out.push(Act::Lost { iface, addr });
        }
        out.extend(entry.held.into_iter().map(|held| Act::GiveUp {
            iface,
            addr,
            reason,
            held,
        }));
    }

    /// Takes in what a message tells of a neighbour (RFC 4861 7.2.5; for ARP everything overrides).
    pub(super) fn learn(&mut self, now: Instant, key: Key, tells: Evidence, out: &mut Vec<Act>) {
        let (iface, addr) = key;
        let Some(entry) = self.cache.get(key) else {
            // Unasked: never at the cost of another entry.
            if let Some(mac) = tells
                .mac
                .filter(|_| tells.create && self.cache.len() < self.params.max_entries)
            {
                let mut entry = Entry::new(now, State::Stale);
                entry.mac = Some(mac);
                entry.deadline = Some(now + self.params.stale_poll);
                entry.router = tells.router.unwrap_or(false);
                entry.wanted = self.wanted.contains(&key);
                self.cache.insert(key, entry);
                out.push(Act::Resolved {
                    iface,
                    addr,
                    mac,
                    release: Vec::new(),
                });
            }
            return;
        };
        let differs = tells.mac.is_some_and(|mac| entry.mac != Some(mac));
        match entry.state {
            State::Permanent => self.stats.refused_changes += u64::from(differs),
            State::Incomplete | State::Failed if tells.mac.is_none() => {}
            // Unless it may override, a new address only casts doubt on the one we know.
            State::Reachable if differs && !tells.override_ => self.make_stale(now, key),
            State::Stale | State::Probe if differs && !tells.override_ => {}
            State::Reachable | State::Stale
                if differs && entry.changed.is_some_and(|c| now < c + CHANGE_INTERVAL) =>
            {
                self.stats.refused_changes += 1;
            }
            _ => self.accept(now, key, tells, differs, out),
        }
    }

    /// Believes it.
    fn accept(
        &mut self,
        now: Instant,
        key: Key,
        tells: Evidence,
        differs: bool,
        out: &mut Vec<Act>,
    ) {
        let good_until = now + reachable_time(self.params.reachable, key);
        let poll = now + self.params.stale_poll;
        let release = self.cache.update(key, |e| {
            if differs {
                e.changed = e.mac.map(|_| now).or(e.changed);
                e.mac = tells.mac;
            }
            e.router = tells.router.unwrap_or(e.router);
            if tells.solicited {
                e.enter(now, State::Reachable, good_until);
                e.confirmed = Some(now);
            } else if differs {
                e.enter(now, State::Stale, poll);
            }
            std::mem::take(&mut e.held)
        });
        if let (true, Some(mac), Some(release)) = (differs, tells.mac, release) {
            out.push(Act::Resolved {
                iface: key.0,
                addr: key.1,
                mac,
                release: release.into(),
            });
        }
    }

    fn make_stale(&mut self, now: Instant, key: Key) {
        let poll = now + self.params.stale_poll;
        self.cache.update(key, |e| e.enter(now, State::Stale, poll));
    }

    /// The deadline of an entry has come.
    fn expire(
        &mut self,
        now: Instant,
        key: Key,
        used: &mut dyn FnMut(IfaceId, IpAddr) -> bool,
        out: &mut Vec<Act>,
    ) {
        let Some(entry) = self.cache.get(key) else {
            return;
        };
        let (probes, mac, since, wanted) = (entry.probes, entry.mac, entry.since, entry.wanted);
        let ask_again = probes < self.params.max_probes;
        match entry.state {
            State::Incomplete | State::Probe if ask_again => {
                let deadline = now + self.params.retransmit;
                self.cache.update(key, |e| {
                    e.probes += 1;
                    e.deadline = Some(deadline);
                });
                out.extend(self.question(key, mac));
            }
            State::Incomplete => self.fail(now, key, out),
            State::Probe => {
                // It may have moved to another Ethernet address: everybody is asked, if anybody cares.
                out.push(Act::Lost {
                    iface: key.0,
                    addr: key.1,
                });
                if used(key.0, key.1) || wanted {
                    self.ask_first(now, key, out);
                } else {
                    self.cache.remove(key);
                }
            }
            State::Failed if wanted => self.ask_first(now, key, out),
            State::Failed => _ = self.cache.remove(key),
            State::Reachable | State::Stale if used(key.0, key.1) || wanted => {
                self.probe(now, key, out)
            }
            State::Reachable => self.make_stale(now, key),
            State::Stale if now >= since + self.params.keep_stale => {
                self.forget(key, Reason::Unresolved, out)
            }
            State::Stale => {
                let poll = now + self.params.stale_poll;
                self.cache.update(key, |e| e.deadline = Some(poll));
            }
            State::Permanent => _ = self.cache.update(key, |e| e.deadline = None),
        }
    }

    /// Nobody answered: what waits is given up, and nobody is asked for a while.
    fn fail(&mut self, now: Instant, key: Key, out: &mut Vec<Act>) {
        let until = now + self.params.hold_down;
        let held = self.cache.update(key, |e| {
            e.enter(now, State::Failed, until);
            std::mem::take(&mut e.held)
        });
        let (iface, addr) = key;
        let reason = Reason::Unresolved;
        out.extend(held.into_iter().flatten().map(|held| Act::GiveUp {
            iface,
            addr,
            reason,
            held,
        }));
    }
}

/// Whether an address can be that of one neighbour.
fn is_host(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(a) => ip4::is_host_source(a.into()),
        IpAddr::V6(a) => ip6::is_host_source(a.into()),
    }
}

/// The reachable time of one neighbour: up to an eighth less, so that those that came together part (RFC 4861 6.3.2
/// draws it at random; from the address, a test can work it out).
pub(super) fn reachable_time(base: Duration, (iface, addr): Key) -> Duration {
    let bits = match addr {
        IpAddr::V4(a) => u32::from(a).into(),
        IpAddr::V6(a) => u128::from(a) as u64,
    };
    let hash = (bits ^ u64::from(iface.0) << 48).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56;
    base - base / 2048 * (hash as u32)
}
