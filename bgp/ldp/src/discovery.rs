//! Who is there: Hellos on links and to targets, and the adjacencies that they make. RFC 5036 2.4, 2.5.5, 3.5.2; RFC 6720
//! (the G flag); RFC 7552 5 and 6 (IPv6, dual stack).
//!
//! [`Discovery`] is told of interfaces, targets and Hellos that came, and says what to send and which adjacencies come and
//! go. All adjacencies with one LDP identifier are one peer; [`Discovery::meeting`] says over which addresses its session is
//! to be made, and by whom.
//!
//! Departure from 2.5.5: an interface sends a Hello at once when a new neighbour is heard, beside the regular ones: who
//! connects then is known to the other one, which else would reject it.
//!
//! Left out: label spaces of interfaces (a Hello with one is ignored), targeted neighbours over IPv6 link-local addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use crate::types::{Families, Family, LdpId};
use crate::wire::{Body, DEFAULT_MAX, DualStack, Hello, Message, Pdu, Pdus};

/// Where Hellos go on a link: all routers (RFC 5036 2.4.1, RFC 7552 5.1).
pub const ALL_ROUTERS_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 2);
/// The same over IPv6.
pub const ALL_ROUTERS_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
/// UDP and TCP alike.
pub const PORT: u16 = 646;
/// Seconds that a Hello without a time of its own is good for, on a link (3.5.2).
pub const DEFAULT_LINK_HOLD: u16 = 15;
/// To a target.
pub const DEFAULT_TARGETED_HOLD: u16 = 45;
/// A hold time that never ends.
pub const INFINITE: u16 = 0xffff;

/// An interface, as who uses this numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IfaceId(pub u32);

/// Over what an adjacency is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Via {
    /// A link.
    Link(IfaceId),
    /// Any way to this address.
    Target(IpAddr),
}

/// What this router is for its neighbours.
#[derive(Clone, Debug)]
pub struct HelloConfig {
    /// Who.
    pub id: LdpId,
    /// Where sessions over IPv4 end; `None`: no IPv4.
    pub transport_v4: Option<Ipv4Addr>,
    /// The same of IPv6.
    pub transport_v6: Option<Ipv6Addr>,
    /// What sessions with dual-stack neighbours run over; the other one must have the same (RFC 7552 6.1.1).
    pub prefer: Family,
    /// Seconds that our Hellos are good for on links; at least 3, or [`INFINITE`].
    pub link_hold: u16,
    /// To targets.
    pub targeted_hold: u16,
    /// Offer a TTL of 255 in sessions with neighbours on a link.
    pub gtsm: bool,
    /// Answer targeted Hellos that ask for it, though nobody configured it.
    pub accept_targeted: bool,
    /// Changes with the configuration.
    pub sequence: u32,
}

impl HelloConfig {
    /// With the times of RFC 5036, IPv6 preferred (RFC 7552 6.1.1), GTSM on, targets only as configured.
    #[must_use]
    pub const fn new(id: LdpId) -> Self {
        Self {
            id,
            transport_v4: Some(id.lsr),
            transport_v6: None,
            prefer: Family::V6,
            link_hold: DEFAULT_LINK_HOLD,
            targeted_hold: DEFAULT_TARGETED_HOLD,
            gtsm: true,
            accept_targeted: false,
            sequence: 1,
        }
    }

    /// Where our sessions end in that family.
    #[must_use]
    pub fn transport(&self, family: Family) -> Option<IpAddr> {
        match family {
            Family::V4 => self.transport_v4.map(IpAddr::V4),
            Family::V6 => self.transport_v6.map(IpAddr::V6),
        }
    }

    const fn is_dual(&self) -> bool {
        self.transport_v4.is_some() && self.transport_v6.is_some()
    }
}

/// A datagram that came to [`PORT`].
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// In by this interface.
    pub iface: IfaceId,
    /// From.
    pub source: IpAddr,
    /// To all routers of the link.
    pub multicast: bool,
    /// TTL or hop limit; 255 must be seen with IPv6 on a link (RFC 7552 5.1, 9).
    pub hops: u8,
    /// What is in it.
    pub octets: &'a [u8],
}

/// What a Hello led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// There is an adjacency now that was not.
    New(LdpId),
    /// It goes on.
    Again(LdpId),
    /// It goes on, and the neighbour's configuration has changed: try again at once (2.5.3).
    Changed(LdpId),
    /// Nothing came of it.
    Ignored(Ignored),
    /// The neighbour wants its sessions over the other family: none may be (RFC 7552 6.1.1).
    Mismatch(LdpId),
}

/// Why a Hello was ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ignored {
    /// It is no Hello, or a wrong one.
    Malformed,
    /// It is our own.
    Own,
    /// Its label space is not that of a platform.
    LabelSpace,
    /// LDP is not on for this interface and family.
    NotEnabled,
    /// Targeted, but nobody configured it.
    NotConfigured,
    /// To all routers and targeted, or neither.
    Kind,
    /// Over IPv6 on a link, and not from that link: hop limit or source.
    NotOnLink,
    /// No transport address that a session could be made to.
    NoTransport,
    /// A dual-stack preference that means nothing.
    DualStack,
}

/// What one neighbour says over one link or target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adjacency {
    /// Where its Hellos come from.
    pub source: IpAddr,
    /// Where its sessions end.
    pub transport: IpAddr,
    /// As agreed; `None`: for ever.
    pub hold: Option<Duration>,
    /// Gone then.
    pub expires: Option<Instant>,
    /// Offers a TTL of 255.
    pub gtsm: bool,
    /// Says that it is dual-stack.
    pub dual_stack: bool,
    sequence: Option<u32>,
}

/// Who, over what, in which family.
pub type Key = (LdpId, Via, Family);

/// Where a session is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meeting {
    /// Our address.
    pub local: IpAddr,
    /// Theirs.
    pub remote: IpAddr,
    /// We connect.
    pub active: bool,
    /// With a TTL of 255.
    pub gtsm: bool,
}

/// A Hello to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToSend {
    /// Out by this interface; `None`: as routed.
    pub iface: Option<IfaceId>,
    /// To this address, port 646, from our address there (a target: from our transport address).
    pub to: IpAddr,
    /// The datagram.
    pub octets: Vec<u8>,
}

#[derive(Debug)]
struct Link {
    families: Families,
    next: Instant,
}

#[derive(Debug)]
struct Target {
    configured: bool,
    next: Instant,
}

/// All that is known of who is there.
#[derive(Debug)]
pub struct Discovery {
    config: HelloConfig,
    links: BTreeMap<IfaceId, Link>,
    targets: BTreeMap<IpAddr, Target>,
    adjacencies: BTreeMap<Key, Adjacency>,
    message_id: u32,
}

/// The hold time of an adjacency: the smaller of both, with the default for 0 (3.5.2).
#[must_use]
pub fn agreed_hold(ours: u16, theirs: u16, default: u16) -> Option<Duration> {
    let or_default = |n| if n == 0 { default } else { n };
    let n = or_default(ours).min(or_default(theirs));
    (n != INFINITE).then(|| Duration::from_secs(n.into()))
}

/// How often Hellos are sent: three times in their hold time.
fn interval(hold: u16, default: u16) -> Duration {
    let hold = match hold {
        0 | INFINITE => default,
        n => n,
    };
    (Duration::from_secs(hold.into()) / 3).max(Duration::from_secs(1))
}

impl Discovery {
    /// Nobody is there yet.
    #[must_use]
    pub const fn new(config: HelloConfig) -> Self {
        Self {
            config,
            links: BTreeMap::new(),
            targets: BTreeMap::new(),
            adjacencies: BTreeMap::new(),
            message_id: 0,
        }
    }

    /// As it was given.
    #[must_use]
    pub const fn config(&self) -> &HelloConfig {
        &self.config
    }

    /// Hellos on links are good for so many seconds from now on; neighbours see that the configuration has changed.
    pub fn set_link_hold(&mut self, hold: u16) {
        if std::mem::replace(&mut self.config.link_hold, hold) != hold {
            self.config.sequence = self.config.sequence.wrapping_add(1);
        }
    }

    /// Hellos go out of this interface from now on, in those families of which there is a transport address; with none, no
    /// more. Adjacencies over what is off end; they are returned.
    pub fn set_interface(&mut self, now: Instant, iface: IfaceId, families: Families) -> Vec<Key> {
        let on = Family::ALL
            .into_iter()
            .filter(|f| families.has(*f) && self.config.transport(*f).is_some());
        let families = on.fold(Families::NONE, Families::with);
        if families == Families::NONE {
            self.links.remove(&iface);
        } else {
            self.links.insert(
                iface,
                Link {
                    families,
                    next: now,
                },
            );
        }
        self.end(|(_, via, family), _| *via == Via::Link(iface) && !families.has(*family))
    }

    /// Targeted Hellos go there from now on, or no more. Adjacencies that end are returned.
    pub fn set_target(&mut self, now: Instant, to: IpAddr, on: bool) -> Vec<Key> {
        if on {
            let t = self.targets.entry(to).or_insert(Target {
                configured: true,
                next: now,
            });
            t.configured = true;
            return vec![];
        }
        self.targets.remove(&to);
        self.end(|(_, via, _), _| *via == Via::Target(to))
    }

    fn end(&mut self, which: impl Fn(&Key, &Adjacency) -> bool) -> Vec<Key> {
        let gone = self.adjacencies.iter().filter(|(k, a)| which(k, a));
        let gone: Vec<Key> = gone.map(|(k, _)| *k).collect();
        for k in &gone {
            self.adjacencies.remove(k);
        }
        for (_, via, _) in &gone {
            // Who only asked to be answered is answered no more.
            if let Via::Target(a) = via {
                self.targets
                    .remove(a)
                    .filter(|t| t.configured)
                    .map(|t| self.targets.insert(*a, t));
            }
        }
        gone
    }

    /// Takes what came.
    pub fn hear(&mut self, now: Instant, d: &Datagram<'_>) -> Heard {
        match self.check(d) {
            Ok((id, hello, transport)) => self.adjacent(now, d, id, &hello, transport),
            Err(heard) => heard,
        }
    }

    /// RFC 5036 3.5.2.1, RFC 7552 5 and 6.
    fn check(&self, d: &Datagram<'_>) -> Result<(LdpId, Hello, IpAddr), Heard> {
        let ignored = |why| Err(Heard::Ignored(why));
        let Ok(Some(pdu)) = Pdu::parse(d.octets, DEFAULT_MAX) else {
            return ignored(Ignored::Malformed);
        };
        let Some(Ok(Message {
            body: Body::Hello(hello),
            ..
        })) = pdu.messages().next()
        else {
            return ignored(Ignored::Malformed);
        };
        if pdu.id.lsr == self.config.id.lsr {
            return ignored(Ignored::Own);
        }
        if pdu.id.lsr.is_unspecified() {
            return ignored(Ignored::Malformed);
        }
        if pdu.id.space != 0 {
            return ignored(Ignored::LabelSpace);
        }
        if hello.targeted == d.multicast {
            return ignored(Ignored::Kind);
        }
        let family = Family::of(d.source);
        if hello.targeted {
            let configured = self.targets.get(&d.source).is_some_and(|t| t.configured);
            if self.config.transport(family).is_none() {
                return ignored(Ignored::NotEnabled);
            }
            let asked = hello.request && self.config.accept_targeted;
            if !configured && !asked {
                return ignored(Ignored::NotConfigured);
            }
        } else if !self
            .links
            .get(&d.iface)
            .is_some_and(|l| l.families.has(family))
        {
            return ignored(Ignored::NotEnabled);
        }
        if let IpAddr::V6(source) = d.source {
            let local = source.is_unicast_link_local();
            if hello.targeted == local || (!hello.targeted && d.hops != 255) {
                return ignored(Ignored::NotOnLink);
            }
        }
        match hello.dual_stack {
            Some(DualStack::Unknown(_)) => return ignored(Ignored::DualStack),
            Some(DualStack::Prefers(f)) if self.config.is_dual() && f != self.config.prefer => {
                return Err(Heard::Mismatch(pdu.id));
            }
            _ => {}
        }
        let transport = hello.transport(family).unwrap_or(d.source);
        let usable = match transport {
            IpAddr::V4(a) => !a.is_unspecified() && !a.is_multicast() && !a.is_broadcast(),
            IpAddr::V6(a) => !a.is_unspecified() && !a.is_multicast() && !a.is_unicast_link_local(),
        };
        if !usable || Some(transport) == self.config.transport(family) {
            return ignored(Ignored::NoTransport);
        }
        Ok((pdu.id, hello, transport))
    }

    fn adjacent(
        &mut self,
        now: Instant,
        d: &Datagram<'_>,
        id: LdpId,
        hello: &Hello,
        transport: IpAddr,
    ) -> Heard {
        let (via, hold) = if hello.targeted {
            let hold = agreed_hold(self.config.targeted_hold, hello.hold, DEFAULT_TARGETED_HOLD);
            (Via::Target(d.source), hold)
        } else {
            let hold = agreed_hold(self.config.link_hold, hello.hold, DEFAULT_LINK_HOLD);
            (Via::Link(d.iface), hold)
        };
        let key = (id, via, Family::of(d.source));
        let a = Adjacency {
            source: d.source,
            transport,
            hold,
            expires: hold.map(|h| now + h),
            gtsm: hello.gtsm,
            dual_stack: hello.dual_stack.is_some(),
            sequence: hello.config_sequence,
        };
        let before = self.adjacencies.insert(key, a);
        let Some(before) = before else {
            match via {
                Via::Link(iface) => {
                    if let Some(l) = self.links.get_mut(&iface) {
                        l.next = now;
                    }
                }
                Via::Target(to) => {
                    let t = self.targets.entry(to).or_insert(Target {
                        configured: false,
                        next: now,
                    });
                    t.next = now;
                }
            }
            return Heard::New(id);
        };
        if before.sequence == hello.config_sequence {
            Heard::Again(id)
        } else {
            Heard::Changed(id)
        }
    }

    /// Forgets a neighbour whose Hellos contradict ours.
    pub fn forget(&mut self, peer: LdpId) -> Vec<Key> {
        self.end(|(id, ..), _| *id == peer)
    }

    /// What is to be sent by now, and which adjacencies are over.
    pub fn tick(&mut self, now: Instant, send: &mut Vec<ToSend>) -> Vec<Key> {
        let over = self.end(|_, a| a.expires.is_some_and(|t| t <= now));
        let mut due: Vec<(Via, Families)> = vec![];
        for (iface, l) in &mut self.links {
            if l.next <= now {
                l.next = now + interval(self.config.link_hold, DEFAULT_LINK_HOLD);
                due.push((Via::Link(*iface), l.families));
            }
        }
        for (to, t) in &mut self.targets {
            if t.next <= now {
                t.next = now + interval(self.config.targeted_hold, DEFAULT_TARGETED_HOLD);
                due.push((Via::Target(*to), Families::NONE.with(Family::of(*to))));
            }
        }
        for (via, families) in due {
            for family in Family::ALL {
                if families.has(family) {
                    send.extend(self.hello(via, family));
                }
            }
        }
        over
    }

    /// A Hello of ours; none without a transport address in that family.
    fn hello(&mut self, via: Via, family: Family) -> Option<ToSend> {
        let transport = self.config.transport(family)?;
        let (iface, to) = match (via, family) {
            (Via::Target(to), _) => (None, to),
            (Via::Link(iface), Family::V4) => (Some(iface), ALL_ROUTERS_V4.into()),
            (Via::Link(iface), Family::V6) => (Some(iface), ALL_ROUTERS_V6.into()),
        };
        let configured = self.targets.get(&to).is_some_and(|t| t.configured);
        let hello = Hello {
            hold: if iface.is_some() {
                self.config.link_hold
            } else {
                self.config.targeted_hold
            },
            targeted: iface.is_none(),
            request: iface.is_none() && configured,
            gtsm: self.config.gtsm && iface.is_some(),
            // Only that of the family which carries it (RFC 7552 6.1).
            transport_v4: if let IpAddr::V4(a) = transport {
                Some(a)
            } else {
                None
            },
            transport_v6: if let IpAddr::V6(a) = transport {
                Some(a)
            } else {
                None
            },
            config_sequence: Some(self.config.sequence),
            dual_stack: self
                .config
                .is_dual()
                .then_some(DualStack::Prefers(self.config.prefer)),
        };
        self.message_id = self.message_id.wrapping_add(1);
        let mut pdus = Pdus::new(self.config.id, DEFAULT_MAX);
        let body = Body::Hello(hello);
        pdus.push(&Message {
            id: self.message_id,
            body,
        })
        .ok()?;
        Some(ToSend {
            iface,
            to,
            octets: pdus.finish(),
        })
    }

    /// When [`Self::tick`] has something to do.
    #[must_use]
    pub fn poll_at(&self) -> Option<Instant> {
        let links = self.links.values().map(|l| l.next);
        let targets = self.targets.values().map(|t| t.next);
        let holds = self.adjacencies.values().filter_map(|a| a.expires);
        links.chain(targets).chain(holds).min()
    }

    /// The adjacencies with that neighbour.
    pub fn of(&self, peer: LdpId) -> impl Iterator<Item = (&Key, &Adjacency)> {
        let first = (peer, Via::Link(IfaceId(0)), Family::V4);
        self.adjacencies
            .range(first..)
            .take_while(move |(k, _)| k.0 == peer)
    }

    /// All of them.
    pub fn adjacencies(&self) -> impl Iterator<Item = (&Key, &Adjacency)> {
        self.adjacencies.iter()
    }

    /// All neighbours.
    #[must_use]
    pub fn peers(&self) -> BTreeSet<LdpId> {
        self.adjacencies.keys().map(|k| k.0).collect()
    }

    /// The families whose labels that neighbour is to be told: those of its Hellos, or both if it says that it has both
    /// (RFC 7552 7).
    #[must_use]
    pub fn families(&self, peer: LdpId) -> Families {
        let all = self.of(peer);
        all.fold(Families::NONE, |set, ((.., family), a)| {
            if a.dual_stack {
                Families::BOTH
            } else {
                set.with(*family)
            }
        })
    }

    /// Both families without saying so: no session may be (RFC 7552 6.1.1).
    #[must_use]
    pub fn is_noncompliant(&self, peer: LdpId) -> bool {
        let dual = self.config.is_dual();
        dual && self.families(peer) == Families::BOTH && !self.of(peer).any(|(_, a)| a.dual_stack)
    }

    /// Over what the session with that neighbour is to be made: `None` if there is no adjacency that can be used.
    ///
    /// Who has the greater transport address connects (2.5.2). Dual-stack routers meet over the preferred family.
    #[must_use]
    pub fn meeting(&self, peer: LdpId) -> Option<Meeting> {
        if self.is_noncompliant(peer) {
            return None;
        }
        let both = self.config.is_dual() && self.of(peer).any(|(_, a)| a.dual_stack);
        let mut usable = self
            .of(peer)
            .filter(|((.., f), _)| !both || *f == self.config.prefer);
        let (&(.., family), a) = usable.next()?;
        let local = self.config.transport(family)?;
        let on_links = self
            .of(peer)
            .all(|((_, via, _), a)| matches!(via, Via::Link(_)) && a.gtsm);
        Some(Meeting {
            local,
            remote: a.transport,
            active: local > a.transport,
            gtsm: self.config.gtsm && on_links,
        })
    }
}

#[cfg(test)]
mod tests;
