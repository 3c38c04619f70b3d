//! Capabilities: RFC 5492 (the frame), 4760 (families), 2918 and 7313 (refresh), 8950 (next hops), 8654 (long messages),
//! 8277 (labels), 9234 (role), 4724 and 8538 (graceful restart), 9494 (long-lived), 6793 (AS numbers), 7911 (add-path).
//!
//! A known capability with a body of the wrong shape counts as not sent: the session comes up without it. Of several
//! instances, families and next hops add up; the last graceful restart counts (RFC 4724 3), the first of the rest does
//! (RFC 7911 4), and roles that disagree end the session (RFC 9234 4.2).

use crate::types::{Asn, Family, FamilySet, Role};

use super::read::Reader;
use super::{Notification, open_error};

/// Graceful restart, RFC 4724 3 and RFC 8538 2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GracefulRestart {
    /// R: the sender has restarted, and does not wait for our End-of-RIB.
    pub restarting: bool,
    /// N: NOTIFICATIONs and hold timers do not flush its routes either (RFC 8538).
    pub notification: bool,
    /// Seconds until it is back, at most 4095.
    pub time: u16,
    /// Families whose routes it keeps.
    pub families: FamilySet,
    /// F: those of them that it went on forwarding by.
    pub forwarding: FamilySet,
}

/// Long-lived graceful restart of one family, RFC 9494 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongLived {
    /// The family.
    pub family: Family,
    /// F: it went on forwarding.
    pub forwarding: bool,
    /// Seconds for which stale routes are kept, at most 2^24 - 1.
    pub time: u32,
}

/// Names for people, draft-walton-bgp-hostname-capability.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fqdn {
    /// The host.
    pub host: Vec<u8>,
    /// Its domain.
    pub domain: Vec<u8>,
}

/// All that an OPEN says its sender can do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// 1: families that this speaker knows. If an OPEN names none at all, IPv4 unicast is meant:
    /// [`Capabilities::families_meant`].
    pub families: FamilySet,
    /// 1: families that this speaker does not know.
    pub other_families: Vec<(u16, u8)>,
    /// 2: it takes ROUTE-REFRESH.
    pub route_refresh: bool,
    /// 70: it marks where a refresh begins and ends.
    pub enhanced_refresh: bool,
    /// 5: families of IPv4 whose next hop may be an IPv6 address.
    pub ext_next_hop: FamilySet,
    /// 6: it takes messages of more than 4,096 octets.
    pub extended_message: bool,
    /// 8: how many labels it takes in an NLRI of a family, if more than one.
    pub multiple_labels: Vec<(Family, u8)>,
    /// 9: what the sender says it is to the receiver.
    pub role: Option<Role>,
    /// 64.
    pub graceful_restart: Option<GracefulRestart>,
    /// 65: its AS number.
    pub as4: Option<Asn>,
    /// 69: families of which it wants to receive several paths.
    pub add_path_receive: FamilySet,
    /// 69: families of which it can send several paths.
    pub add_path_send: FamilySet,
    /// 71; `None`: not sent.
    pub long_lived: Option<Vec<LongLived>>,
    /// 73.
    pub fqdn: Option<Fqdn>,
    /// Those that nobody here knows, and known ones of the wrong shape, as they came.
    pub unknown: Vec<(u8, Vec<u8>)>,
}

mod number {
    pub(super) const MULTIPROTOCOL: u8 = 1;
    pub(super) const ROUTE_REFRESH: u8 = 2;
    pub(super) const EXT_NEXT_HOP: u8 = 5;
    pub(super) const EXTENDED_MESSAGE: u8 = 6;
    pub(super) const MULTIPLE_LABELS: u8 = 8;
    pub(super) const ROLE: u8 = 9;
    pub(super) const GRACEFUL_RESTART: u8 = 64;
    pub(super) const AS4: u8 = 65;
    pub(super) const ADD_PATH: u8 = 69;
    pub(super) const ENHANCED_REFRESH: u8 = 70;
    pub(super) const LONG_LIVED: u8 = 71;
    pub(super) const FQDN: u8 = 73;
}

fn entries<const N: usize>(v: &[u8]) -> Option<&[[u8; N]]> {
    match v.as_chunks() {
        (all, []) => Some(all),
        _ => None,
    }
}

fn family(a0: u8, a1: u8, safi: u8) -> Option<Family> {
    Family::from_code(u16::from_be_bytes([a0, a1]), safi)
}

impl Capabilities {
    /// The families of the session as the sender sees it: those it named, or IPv4 unicast if it named none of any kind
    /// (RFC 4760 8).
    #[must_use]
    pub fn families_meant(&self) -> FamilySet {
        if self.families.is_empty() && self.other_families.is_empty() {
            FamilySet::from_iter([Family::Ipv4Unicast])
        } else {
            self.families
        }
    }

    /// How many labels it takes in an NLRI of that family (RFC 8277 2.1).
    #[must_use]
    pub fn labels(&self, f: Family) -> u8 {
        let found = self.multiple_labels.iter().find(|(of, _)| *of == f);
        found.map_or(1, |(_, n)| *n)
    }

    /// Reads the value of one optional parameter of type 2.
    pub(super) fn parse(&mut self, value: &[u8]) -> Result<(), Notification> {
        let mut r = Reader(value);
        while !r.is_empty() {
            let whole = r.0;
            let one = r.u8().zip(r.u8());
            let one = one.and_then(|(code, len)| r.take(len.into()).map(|body| (code, body)));
            let Some((code, body)) = one else {
                return Err(Notification::open(open_error::UNSPECIFIC, whole));
            };
            if self.take(code, body)?.is_none() {
                self.unknown.push((code, body.to_vec()));
            }
        }
        Ok(())
    }

    /// One capability; `None` if it is not known or has not the shape that it must have.
    fn take(&mut self, code: u8, body: &[u8]) -> Result<Option<()>, Notification> {
        let flag = |field: &mut bool| {
            *field |= body.is_empty();
            body.is_empty().then_some(())
        };
        Ok(match code {
            number::MULTIPROTOCOL => self.take_family(body),
            number::ROUTE_REFRESH => flag(&mut self.route_refresh),
            number::ENHANCED_REFRESH => flag(&mut self.enhanced_refresh),
            number::EXTENDED_MESSAGE => flag(&mut self.extended_message),
            number::EXT_NEXT_HOP => self.take_ext_next_hop(body),
            number::MULTIPLE_LABELS => self.take_multiple_labels(body),
            number::ROLE => return self.take_role(body),
            number::GRACEFUL_RESTART => self.take_graceful_restart(body),
            number::AS4 => body.try_into().ok().map(|n| {
                self.as4.get_or_insert(Asn(u32::from_be_bytes(n)));
            }),
            number::ADD_PATH => self.take_add_path(body),
            number::LONG_LIVED => self.take_long_lived(body),
            number::FQDN => self.take_fqdn(body),
            _ => None,
        })
    }

    fn take_family(&mut self, body: &[u8]) -> Option<()> {
        let &[a0, a1, _reserved, safi] = body else {
            return None;
        };
        match family(a0, a1, safi) {
            Some(f) => self.families.insert(f),
            None => self
                .other_families
                .push((u16::from_be_bytes([a0, a1]), safi)),
        }
        Some(())
    }

    fn take_ext_next_hop(&mut self, body: &[u8]) -> Option<()> {
        // AFI, SAFI in two octets, AFI of the next hop: RFC 8950 4.
        for &[a0, a1, s0, safi, n0, n1] in entries::<6>(body)? {
            if let (Some(f), 0, [0, 2]) = (family(a0, a1, safi), s0, [n0, n1])
                && f.code().0 == 1
            {
                self.ext_next_hop.insert(f);
            }
        }
        Some(())
    }

    fn take_multiple_labels(&mut self, body: &[u8]) -> Option<()> {
        for &[a0, a1, safi, count] in entries::<4>(body)? {
            // Less than two is to be ignored, and only the first of a family counts: RFC 8277 2.1.
            if let Some(f) = family(a0, a1, safi)
                && count > 1
                && self.labels(f) == 1
            {
                self.multiple_labels.push((f, count));
            }
        }
        Some(())
    }

    fn take_role(&mut self, body: &[u8]) -> Result<Option<()>, Notification> {
        let &[n] = body else { return Ok(None) };
        let role = Role::new(n);
        match (self.role, role) {
            (Some(a), Some(b)) if a != b => Err(Notification::open(open_error::ROLE_MISMATCH, &[])),
            (_, None) => Ok(None),
            _ => {
                self.role = role;
                Ok(Some(()))
            }
        }
    }

    fn take_graceful_restart(&mut self, body: &[u8]) -> Option<()> {
        let (&[t0, t1], rest) = body.split_first_chunk()?;
        let mut gr = GracefulRestart {
            restarting: t0 & 0x80 != 0,
            notification: t0 & 0x40 != 0,
            time: u16::from_be_bytes([t0 & 0x0f, t1]),
            ..GracefulRestart::default()
        };
        for &[a0, a1, safi, flags] in entries::<4>(rest)? {
            let Some(f) = family(a0, a1, safi) else {
                continue;
            };
            gr.families.insert(f);
            if flags & 0x80 != 0 {
                gr.forwarding.insert(f);
            }
        }
        self.graceful_restart = Some(gr);
        Some(())
    }

    fn take_add_path(&mut self, body: &[u8]) -> Option<()> {
        let mut seen = FamilySet::EMPTY;
        for &[a0, a1, safi, how] in entries::<4>(body)? {
            let Some(f) = family(a0, a1, safi).filter(|f| !seen.contains(*f)) else {
                continue;
            };
            // Other values are to be ignored: RFC 7911 4.
            if how & 1 != 0 && how <= 3 {
                self.add_path_receive.insert(f);
            }
            if how & 2 != 0 && how <= 3 {
                self.add_path_send.insert(f);
            }
            seen.insert(f);
        }
        Some(())
    }

    fn take_long_lived(&mut self, body: &[u8]) -> Option<()> {
        let all = entries::<7>(body)?.iter();
        let all = all.filter_map(|&[a0, a1, safi, flags, t0, t1, t2]| {
            Some(LongLived {
                family: family(a0, a1, safi)?,
                forwarding: flags & 0x80 != 0,
                time: u32::from_be_bytes([0, t0, t1, t2]),
            })
        });
        self.long_lived = Some(all.collect());
        Some(())
    }

    fn take_fqdn(&mut self, body: &[u8]) -> Option<()> {
        let mut r = Reader(body);
        let n = r.u8()?;
        let host = r.take(n.into())?.to_vec();
        let n = r.u8()?;
        let domain = r.take(n.into())?.to_vec();
        self.fqdn.get_or_insert(Fqdn { host, domain });
        Some(())
    }

    /// Every capability as (code, value), in the order of their codes; what would be longer than 255 octets is left out.
    pub(super) fn emit(&self) -> Vec<(u8, Vec<u8>)> {
        let mut all: Vec<(u8, Vec<u8>)> = Vec::new();
        let code3 = |(afi, safi): (u16, u8)| [afi.to_be_bytes()[0], afi.to_be_bytes()[1], safi];
        let named = self.families.iter().map(Family::code);
        for (afi, safi) in named.chain(self.other_families.iter().copied()) {
            let [a0, a1, s] = code3((afi, safi));
            all.push((number::MULTIPROTOCOL, vec![a0, a1, 0, s]));
        }
        let flags = [
            (number::ROUTE_REFRESH, self.route_refresh),
            (number::EXTENDED_MESSAGE, self.extended_message),
            (number::ENHANCED_REFRESH, self.enhanced_refresh),
        ];
        all.extend(flags.iter().filter(|f| f.1).map(|f| (f.0, Vec::new())));
        let mut list = |code, value: Vec<u8>, sent: bool| {
            if sent {
                all.push((code, value));
            }
        };
        let next_hops = self.ext_next_hop.iter().flat_map(|f| {
            let [a0, a1, s] = code3(f.code());
            [a0, a1, 0, s, 0, 2]
        });
        list(
            number::EXT_NEXT_HOP,
            next_hops.collect(),
            !self.ext_next_hop.is_empty(),
        );
        let labels = self.multiple_labels.iter().flat_map(|(f, n)| {
            let [a0, a1, s] = code3(f.code());
            [a0, a1, s, *n]
        });
        list(
            number::MULTIPLE_LABELS,
            labels.collect(),
            !self.multiple_labels.is_empty(),
        );
        let role = self.role.map_or(0, |r| r as u8);
        list(number::ROLE, vec![role], self.role.is_some());
        if let Some(gr) = self.graceful_restart {
            list(number::GRACEFUL_RESTART, gr.emit(), true);
        }
        let asn = self.as4.unwrap_or_default().0.to_be_bytes();
        list(number::AS4, asn.to_vec(), self.as4.is_some());
        let either = Family::ALL.into_iter().filter_map(|f| {
            let how = u8::from(self.add_path_receive.contains(f))
                | u8::from(self.add_path_send.contains(f)) << 1;
            let [a0, a1, s] = code3(f.code());
            (how > 0).then_some([a0, a1, s, how])
        });
        let add_path: Vec<u8> = either.flatten().collect();
        let sent = !add_path.is_empty();
        list(number::ADD_PATH, add_path, sent);
        if let Some(families) = &self.long_lived {
            let value = families.iter().flat_map(|l| {
                let [a0, a1, s] = code3(l.family.code());
                let [_, t0, t1, t2] = l.time.min(0x00ff_ffff).to_be_bytes();
                [a0, a1, s, u8::from(l.forwarding) << 7, t0, t1, t2]
            });
            list(number::LONG_LIVED, value.collect(), true);
        }
        if let Some(Fqdn { host, domain }) = &self.fqdn {
            let part = |s: &[u8]| [&[s.len().min(255) as u8], s].concat();
            list(
                number::FQDN,
                [part(host), part(domain)].concat(),
                host.len() + domain.len() <= 253,
            );
        }
        all.extend(self.unknown.iter().cloned());
        all.retain(|(_, value)| value.len() <= 255);
        all.sort_by_key(|(code, _)| *code);
        all
    }
}

impl GracefulRestart {
    fn emit(self) -> Vec<u8> {
        let [t0, t1] = self.time.min(0x0fff).to_be_bytes();
        let flags = u8::from(self.restarting) << 7 | u8::from(self.notification) << 6;
        let mut value = vec![t0 | flags, t1];
        for f in self.families.iter() {
            let (afi, safi) = f.code();
            value.extend(afi.to_be_bytes());
            value.extend([safi, u8::from(self.forwarding.contains(f)) << 7]);
        }
        value
    }
}
