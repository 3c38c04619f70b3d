//! OPEN: RFC 4271 4.2 and 6.2, RFC 9072 (long parameters), RFC 6793 (AS numbers), RFC 6286 (identifiers), RFC 7607 (AS 0).
//!
//! Left out: whether what the neighbour is and can do is what was configured; that is negotiation (`session`).

use crate::types::{Asn, RouterId};

use super::read::Reader;
use super::{Capabilities, Kind, Notification, framed, open_error};

/// An OPEN message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// The sender's AS: of the capability of RFC 6793 if that was sent, else of the field of two octets.
    pub asn: Asn,
    /// Seconds; 0 (no keepalives) or at least 3.
    pub hold_time: u16,
    /// The sender.
    pub id: RouterId,
    /// What it can do.
    pub capabilities: Capabilities,
}

const VERSION: u8 = 4;
/// The type of the optional parameter that carries capabilities, RFC 5492 4.
const CAPABILITIES: u8 = 2;
/// As length and first type: the parameters have lengths of two octets, RFC 9072 2.
const EXTENDED: u8 = 255;

impl Open {
    /// Reads what lies behind the header.
    ///
    /// # Errors
    /// OPEN Message Error with the subcode of RFC 4271 6.2.
    pub fn parse(body: &[u8]) -> Result<Self, Notification> {
        let malformed = || Notification::open(open_error::UNSPECIFIC, &[]);
        let mut r = Reader(body);
        let version = r.u8().ok_or_else(malformed)?;
        if version != VERSION {
            let supported = [0, VERSION];
            return Err(Notification::open(
                open_error::UNSUPPORTED_VERSION,
                &supported,
            ));
        }
        let short = r.u16().ok_or_else(malformed)?;
        let hold_time = r.u16().ok_or_else(malformed)?;
        let id: [u8; 4] = r.array().ok_or_else(malformed)?;
        let capabilities = parameters(r)?;
        let asn = capabilities.as4.unwrap_or(Asn(short.into()));
        if asn.is_zero() || short == 0 {
            return Err(Notification::open(open_error::BAD_PEER_AS, &[]));
        }
        if hold_time == 1 || hold_time == 2 {
            let error = open_error::UNACCEPTABLE_HOLD_TIME;
            return Err(Notification::open(error, &[]));
        }
        let Some(id) = RouterId::new(id.into()) else {
            return Err(Notification::open(open_error::BAD_IDENTIFIER, &[]));
        };
        Ok(Self {
            asn,
            hold_time,
            id,
            capabilities,
        })
    }

    /// Appends the whole message. One optional parameter carries all capabilities; the form of RFC 9072 is used where 255
    /// octets are not enough. Whoever fills in `capabilities` puts `as4` there; without, the field of two octets says
    /// AS_TRANS for a large number.
    pub fn emit(&self, out: &mut Vec<u8>) {
        let mut value = Vec::new();
        for (code, body) in self.capabilities.emit() {
            value.extend([code, body.len() as u8]);
            value.extend(body);
        }
        // What 4,096 octets cannot hold is not sent; nothing that is configured comes near it.
        value.truncate(4000);
        framed(Kind::Open, out, |out| {
            out.push(VERSION);
            out.extend(self.asn.short().to_be_bytes());
            out.extend(self.hold_time.to_be_bytes());
            out.extend(self.id.octets());
            match u8::try_from(value.len()) {
                Ok(0) => out.push(0),
                Ok(n) if n < EXTENDED - 2 => out.extend([n + 2, CAPABILITIES, n]),
                _ => {
                    let n = value.len() as u16;
                    out.extend([EXTENDED, EXTENDED]);
                    out.extend((n + 3).to_be_bytes());
                    out.push(CAPABILITIES);
                    out.extend(n.to_be_bytes());
                }
            }
            out.extend_from_slice(&value);
        });
    }
}

fn parameters(mut r: Reader<'_>) -> Result<Capabilities, Notification> {
    let malformed = || Notification::open(open_error::UNSPECIFIC, &[]);
    let mut len = usize::from(r.u8().ok_or_else(malformed)?);
    let mut extended = false;
    // RFC 9072 2: the type tells, whatever the length says; but a length of 0 has no type.
    if len != 0 && r.0.first() == Some(&EXTENDED) {
        r.u8();
        len = r.u16().ok_or_else(malformed)?.into();
        extended = true;
    }
    if len != r.0.len() {
        return Err(malformed());
    }
    let mut capabilities = Capabilities::default();
    while !r.is_empty() {
        let kind = r.u8().ok_or_else(malformed)?;
        let len = if extended {
            r.u16().map(usize::from)
        } else {
            r.u8().map(usize::from)
        };
        let value = len.and_then(|n| r.take(n)).ok_or_else(malformed)?;
        if kind != CAPABILITIES {
            let error = open_error::UNSUPPORTED_PARAMETER;
            return Err(Notification::open(error, &[]));
        }
        capabilities.parse(value)?;
    }
    Ok(capabilities)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Family, FamilySet, Role};
    use crate::wire::{Fqdn, GracefulRestart, HEADER, LongLived};
    use proptest::prelude::*;

    fn families() -> impl Strategy<Value = FamilySet> {
        prop::collection::vec(prop::sample::select(Family::ALL.to_vec()), 0..11)
            .prop_map(FamilySet::from_iter)
    }

    prop_compose! {
        fn restart()(restarting: bool, notification: bool, time in 0u16..4096, a in families(), b in families()) -> GracefulRestart {
            GracefulRestart { restarting, notification, time, families: a, forwarding: a.intersection(b) }
        }
    }

    prop_compose! {
        fn capabilities()(
            (families, ext, add_path_receive, add_path_send) in (families(), families(), families(), families()),
            (route_refresh, enhanced_refresh, extended_message) in any::<(bool, bool, bool)>(),
            labels in prop::collection::btree_map(0usize..11, 2u8..=255, 0..4),
            role in prop::option::of((0u8..5).prop_map(|r| Role::new(r).unwrap())),
            graceful_restart in prop::option::of(restart()),
            as4 in prop::option::of(1u32..),
            long in prop::option::of(prop::collection::vec((0usize..11, any::<bool>(), 0u32..1 << 24), 0..4)),
            fqdn in prop::option::of((prop::collection::vec(any::<u8>(), 0..99), prop::collection::vec(any::<u8>(), 0..99))),
            unknown in prop::collection::vec((100u8..=255, prop::collection::vec(any::<u8>(), 0..99)), 0..6),
            other_families in prop::collection::vec((300u16..400, any::<u8>()), 0..3),
        ) -> Capabilities {
            let of = |i: usize| Family::ALL[i];
            let mut unknown = unknown;
            unknown.sort_by_key(|u| u.0);
            Capabilities {
                families, other_families, route_refresh, enhanced_refresh, extended_message, role, graceful_restart,
                add_path_receive, add_path_send, unknown,
                ext_next_hop: ext.iter().filter(|f| f.code().0 == 1).collect(),
                multiple_labels: labels.into_iter().map(|(f, n)| (of(f), n)).collect(),
                as4: as4.map(Asn),
                long_lived: long.map(|l| l.into_iter().map(|(f, forwarding, time)| LongLived { family: of(f), forwarding, time }).collect()),
                fqdn: fqdn.map(|(host, domain)| Fqdn { host, domain }),
            }
        }
    }

    fn open(capabilities: Capabilities) -> Open {
        Open {
            asn: Asn(64512),
            hold_time: 90,
            id: RouterId::new([192, 0, 2, 1].into()).unwrap(),
            capabilities,
        }
    }

    fn body(o: &Open) -> Vec<u8> {
        let mut out = Vec::new();
        o.emit(&mut out);
        out.split_off(HEADER)
    }

    #[test]
    fn each_check_of_6_2_has_its_subcode() {
        let good = body(&open(Capabilities::default()));
        let with = |at: usize, v: &[u8]| {
            let mut b = good.clone();
            b[at..at + v.len()].copy_from_slice(v);
            let n = Open::parse(&b).unwrap_err();
            assert_eq!(n.code, 2);
            (n.subcode, n.data)
        };
        assert_eq!(with(0, &[3]), (1, vec![0, 4]));
        assert_eq!(with(1, &[0, 0]).0, 2);
        assert_eq!(with(3, &[0, 1]).0, 6);
        assert_eq!(with(3, &[0, 2]).0, 6);
        assert_eq!(with(5, &[0, 0, 0, 0]).0, 3);
        assert_eq!(with(9, &[1]).0, 0);
        let longer = |tail: &[u8]| Open::parse(&[&good[..9], tail].concat());
        assert_eq!(longer(&[2, 1, 0]).unwrap_err().subcode, 4);
        assert_eq!(longer(&[4, 2, 2, 65, 9]).unwrap_err().data, [65, 9]);
        assert_eq!(longer(&[3, 2, 2, 65]).unwrap_err().subcode, 0);
        // AS 0 in the capability, and roles that disagree.
        assert_eq!(
            longer(&[8, 2, 6, 65, 4, 0, 0, 0, 0]).unwrap_err().subcode,
            2
        );
        let roles = |a, b| longer(&[8, 2, 6, 9, 1, a, 9, 1, b]);
        assert_eq!(roles(0, 3).unwrap_err().subcode, 11);
        assert_eq!(roles(3, 3).unwrap().capabilities.role, Some(Role::Customer));
        for n in 0..good.len() {
            assert!(Open::parse(&good[..n]).is_err());
        }
    }

    #[test]
    fn a_capability_of_the_wrong_shape_counts_as_not_sent() {
        let fields = [4, 0xfc, 0, 0, 90, 192, 0, 2, 1];
        for one in [
            &[65, 3, 0, 0, 1][..],
            &[1, 3, 0, 1, 0],
            &[2, 1, 0],
            &[64, 1, 0],
            &[64, 5, 0, 9, 0, 1, 1],
            &[69, 3, 0, 1, 1],
            &[71, 6, 0, 1, 1, 0, 0, 0],
            &[5, 5, 0, 1, 0, 1, 0],
            &[9, 1, 5],
            &[9, 0],
            &[73, 1, 9],
        ] {
            let n = one.len() as u8;
            let o = Open::parse(&[&fields[..], &[n + 2, 2, n], one].concat()).unwrap();
            let unknown = vec![(one[0], one[2..].to_vec())];
            let want = Capabilities {
                unknown,
                ..Capabilities::default()
            };
            assert_eq!(o.capabilities, want);
            assert!(
                o.capabilities
                    .families_meant()
                    .contains(Family::Ipv4Unicast)
            );
        }
        // Directions that do not exist, labels that are fewer than two.
        let o = [
            &fields[..],
            &[14, 2, 12, 69, 4, 0, 1, 1, 4, 8, 4, 0, 1, 4, 1],
        ]
        .concat();
        assert_eq!(
            Open::parse(&o).unwrap().capabilities,
            Capabilities::default()
        );
    }

    #[test]
    fn long_parameters_are_read_whatever_the_old_length_says() {
        let fields = [4, 0xfc, 0, 0, 90, 192, 0, 2, 1];
        for old in [1, 40, 255] {
            let o = [&fields[..], &[old, 255, 0, 5, 2, 0, 2, 70, 0]].concat();
            assert!(Open::parse(&o).unwrap().capabilities.enhanced_refresh);
        }
        let o = [&fields[..], &[0, 255, 0, 5, 2, 0, 2, 70, 0]].concat();
        assert!(Open::parse(&o).is_err());
    }

    proptest! {
        #[test]
        fn what_is_emitted_is_read_again(capabilities in capabilities(), short in 1u16.., hold in prop::sample::select(vec![0u16, 3, 90, 65535])) {
            let asn = capabilities.as4.unwrap_or(Asn(short.into()));
            let o = Open { asn, hold_time: hold, ..open(capabilities) };
            prop_assert_eq!(Open::parse(&body(&o)), Ok(o));
        }

        #[test]
        fn nothing_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Open::parse(&bytes);
            let _ = Open::parse(&[&[4, 0, 1, 0, 9, 1, 1, 1, 1][..], &bytes].concat());
        }
    }
}
