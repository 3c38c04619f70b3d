//! NLRI of every family: RFC 4271 4.3, 8277, 4364, 4684, 8955.

use super::{Encoder, Header, MAX_EXTENDED, Message, Update, context};
use crate::attrs::{AttrBuf, Origin, SegmentKind};
use crate::types::{Asn, Family, Label, NextHop, PathId, Rd, Relation};
use crate::wire::{Context, HEADER, Nlri, RouteTarget, check_flow};
use ipnet::IpNet;

/// One of whatever family.
#[derive(Clone, Debug, PartialEq)]
enum Item {
    Unicast(IpNet),
    Labeled(Vec<Label>, IpNet),
    Vpn(Vec<Label>, Rd, IpNet),
    Target(RouteTarget),
    Flow(Option<Rd>, Vec<u8>),
}

fn items(n: &Nlri<'_>) -> Vec<(PathId, Item)> {
    let unicast = n.unicast().map(|(id, net)| (id, Item::Unicast(net)));
    let labeled = n.labeled().map(|(id, labels, net)| {
        let labels = labels.iter().collect();
        (id, Item::Labeled(labels, net))
    });
    let vpn = n.vpn().map(|(id, labels, rd, net)| {
        let labels = labels.iter().collect();
        (id, Item::Vpn(labels, rd, net))
    });
    let targets = n.route_targets().map(|(id, t)| (id, Item::Target(t)));
    let flows = n
        .flows()
        .map(|(id, rd, f)| (id, Item::Flow(rd, f.to_vec())));
    unicast
        .chain(labeled)
        .chain(vpn)
        .chain(targets)
        .chain(flows)
        .collect()
}

/// Reads `data` as NLRI: how to read it, of which family, and the octets. What is understood is announced and withdrawn, and
/// read once more.
pub fn nlri(data: &[u8]) {
    let &[how, which, ref octets @ ..] = data else {
        return;
    };
    let ctx = Context {
        relation: Relation::Internal,
        as4: true,
        extended_message: false,
        first_as: None,
        ..context(how)
    };
    let family = Family::ALL[usize::from(which) % Family::ALL.len()];
    for withdrawn in [false, true] {
        let Ok(n) = Nlri::parse(family, octets, withdrawn, &ctx) else {
            continue;
        };
        let all = items(&n);
        assert_eq!(all.len(), n.count, "{family}");
        again(family, &all, withdrawn, &ctx);
    }
}

/// Sends them in as many messages as it takes, and reads those.
fn again(family: Family, all: &[(PathId, Item)], withdrawn: bool, ctx: &Context) {
    let mut attrs = AttrBuf::new();
    attrs.set_origin(Origin::Igp);
    attrs.set_as_path([(SegmentKind::Sequence, &[Asn(65_001)][..])]);
    attrs.set_local_pref(100);
    attrs.next_hop = match family {
        Family::Ipv4Flow | Family::Ipv6Flow | Family::Vpnv4Flow | Family::Vpnv6Flow => None,
        f if f.code().0 == 1 => Some(NextHop::V4([192, 0, 2, 1].into())),
        _ => Some(NextHop::V6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into())),
    };
    let mut out = Vec::new();
    let mut encoder = Encoder::new();
    let mut packer = if withdrawn {
        encoder.withdraw(family, ctx, &mut out)
    } else {
        match encoder.announce(attrs.view(), family, ctx, &mut out) {
            Ok(p) => p,
            Err(_) => return,
        }
    };
    let mut sent = Vec::new();
    for (id, item) in all {
        let done = match item {
            // Read, to be treated as withdrawn, and never sent.
            Item::Flow(_, f) if check_flow(family.code().0 == 2, f).is_err() => continue,
            Item::Unicast(net) => packer.net(*id, *net),
            Item::Labeled(labels, net) => packer.labeled(*id, labels, *net),
            Item::Vpn(labels, rd, net) => packer.vpn(*id, labels, *rd, *net),
            Item::Target(t) => packer.route_target(*id, *t),
            Item::Flow(rd, f) => packer.flow(*id, *rd, f),
        };
        match done {
            Ok(()) => sent.push((*id, item.clone())),
            // Too long for a message of 4,096 octets.
            Err(e) => assert!(matches!(item, Item::Flow(..)), "{item:?}: {e}"),
        }
    }
    packer.finish();
    let mut rest = &out[..];
    let mut got = Vec::new();
    while let Ok(Some(h)) = Header::parse(rest, MAX_EXTENDED) {
        let (message, more) = rest.split_at(h.len.into());
        rest = more;
        let Ok(Message::Update(body)) = Message::parse(h.kind, &message[HEADER..]) else {
            panic!("what we send is an UPDATE");
        };
        let u = Update::parse(body, ctx).expect("what we send is right");
        assert_eq!(u.errors(), []);
        if withdrawn {
            got.extend(u.unreach().flat_map(|n| items(&n)));
        } else {
            got.extend(u.reach().flat_map(|r| items(&r.nlri)));
        }
    }
    assert!(rest.is_empty(), "half a message was sent");
    if withdrawn {
        // Labels of a withdrawal are one that nobody reads (RFC 8277 2.4).
        assert_eq!(got.len(), sent.len());
    } else {
        assert_eq!(got, sent);
    }
}
