//! One door to every decoder, for fuzzers: `cargo fuzz` targets call it (bgp/fuzz), and a short seeded run with mutations is
//! an ordinary test below.

mod nlri;
mod rtr;

pub use nlri::nlri;
pub use rtr::rtr;

use crate::attrs::AttrBuf;
use crate::mrt;
use crate::types::{Asn, Family, FamilySet, Relation};
use crate::wire::{
    Action, Context, Encoder, HEADER, Header, MAX_EXTENDED, Message, Notification, Open, Reach,
    Update,
};

/// Reads `data` as a run of messages, the first octet choosing the context. Panics only when one of our own promises is
/// broken.
pub fn messages(data: &[u8]) {
    let Some((&how, mut data)) = data.split_first() else {
        return;
    };
    let ctx = context(how);
    while let Ok(Some(h)) = Header::parse(data, ctx.max_message()) {
        assert!(usize::from(h.len) >= HEADER && usize::from(h.len) <= MAX_EXTENDED);
        let Some((message, rest)) = data.split_at_checked(h.len.into()) else {
            return;
        };
        one(h, message.get(HEADER..).unwrap_or_default(), &ctx);
        data = rest;
    }
}

/// Reads `data` as one message behind a header that is right: how to read it, its kind, its body.
pub fn message(data: &[u8]) {
    let &[how, kind, ref body @ ..] = data else {
        return;
    };
    let len = u16::try_from(HEADER + body.len()).unwrap_or(u16::MAX);
    let mut header = [0xff; HEADER];
    header[16..18].copy_from_slice(&len.to_be_bytes());
    header[18] = 1 + kind % 5;
    messages(&[&[how | 8][..], &header, body].concat());
}

fn one(h: Header, body: &[u8], ctx: &Context) {
    match Message::parse(h.kind, body) {
        Ok(Message::Update(body)) => update(body, ctx),
        Ok(m) => {
            let mut out = Vec::new();
            m.emit(&mut out);
            let again = Header::parse(&out, MAX_EXTENDED);
            assert!(
                matches!(again, Ok(Some(a)) if a.kind == h.kind && usize::from(a.len) == out.len())
            );
        }
        Err(n) => said(&n),
    }
}

/// Reads `data` as what is behind the header of an OPEN; what is understood is written and read again.
pub fn open(data: &[u8]) {
    match Open::parse(data) {
        Ok(o) => {
            let mut out = Vec::new();
            o.emit(&mut out);
            // Those that nobody knows are in order now; then nothing changes any more.
            if out.len() < 3000 {
                let o = Open::parse(out.get(HEADER..).unwrap_or_default());
                let mut again = Vec::new();
                o.expect("what we send is right").emit(&mut again);
                assert_eq!(again, out);
            }
        }
        Err(n) => said(&n),
    }
}

/// Reads `data` as MRT: every record, every route and every message in it.
pub fn mrt(mut data: &[u8]) -> usize {
    let mut buf = AttrBuf::new();
    let mut found = 0;
    while let Ok(Some((record, rest))) = mrt::Record::parse(data) {
        data = rest;
        match mrt::Entry::parse(&record) {
            Ok(mrt::Entry::Routes(routes)) => {
                assert_eq!(routes.nlri.count, 1);
                for r in routes.routes.map_while(Result::ok) {
                    found += usize::from(r.canonical(&mut buf));
                }
            }
            Ok(mrt::Entry::Message(m)) => {
                let ctx = m.context();
                if let Ok(Some(h)) = Header::parse(m.octets, MAX_EXTENDED)
                    && let Some(body) = m.octets.get(HEADER..h.len.into())
                {
                    one(h, body, &ctx);
                    found += 1;
                }
            }
            Ok(_) | Err(_) => {}
        }
    }
    found
}

/// A context: every combination of what changes the reading.
#[must_use]
pub fn context(how: u8) -> Context {
    let relations = [
        Relation::External,
        Relation::Internal,
        Relation::Confederation,
    ];
    let all = FamilySet::from_iter(Family::ALL);
    let when = |bit: u8| {
        if how & bit != 0 {
            all
        } else {
            FamilySet::EMPTY
        }
    };
    Context {
        as4: how & 4 != 0,
        extended_message: how & 8 != 0,
        add_path_receive: when(16),
        add_path_send: when(16),
        ext_next_hop: when(32),
        multiple_labels: when(64),
        as_sets: how & 128 != 0,
        prefix_sid: how & 3 != 3,
        first_as: (how & 128 != 0).then_some(Asn(65001)),
        ..Context::new(relations[usize::from(how & 3) % 3], all)
    }
}

/// Reads `body` as what is behind the header of an UPDATE; what is understood is written and read again.
pub fn update(body: &[u8], ctx: &Context) {
    #[cfg(any(test, fuzzing))]
    two_ways(body, ctx);
    let u = match Update::parse(body, ctx) {
        Ok(u) => u,
        Err(n) => return said(&n),
    };
    for e in u.errors() {
        assert!(Some(e.action) <= u.action() && !e.to_string().is_empty());
    }
    if u.action() == Some(Action::TreatAsWithdraw) {
        assert_eq!(u.reach().count(), 0, "announced and malformed");
    }
    for nlri in u.unreach() {
        let found = nlri.unicast().count() + nlri.labeled().count() + nlri.vpn().count();
        let found = found + nlri.route_targets().count() + nlri.flows().count();
        assert_eq!(found, nlri.count);
    }
    let mut buf = AttrBuf::new();
    for r in u.reach() {
        u.canonical(&mut buf);
        buf.next_hop = r.next_hop;
        let mut last = None;
        let mut len = 0;
        for a in buf.view().iter() {
            assert!(Some(a.code) > last, "canonical attributes are in order");
            last = Some(a.code);
            len += a.value.len() + if a.value.len() > 255 { 4 } else { 3 };
        }
        assert_eq!(
            len,
            buf.view().octets.len(),
            "canonical lengths are the short ones"
        );
        again(&buf, r, ctx);
    }
}

/// The loop for the common case takes what the walk would have taken.
#[cfg(any(test, fuzzing))]
fn two_ways(body: &[u8], ctx: &Context) {
    let (a, b) = match (Update::parse(body, ctx), Update::parse_plainly(body, ctx)) {
        (Ok(a), Ok(b)) => (a, b),
        (a, b) => return assert_eq!(a.err(), b.err()),
    };
    assert_eq!((a.errors(), a.action()), (b.errors(), b.action()));
    assert_eq!(a.end_of_rib(), b.end_of_rib());
    assert!(a.reach().eq(b.reach()) && a.unreach().eq(b.unreach()));
    let (mut one, mut other) = (AttrBuf::new(), AttrBuf::new());
    a.canonical(&mut one);
    b.canonical(&mut other);
    assert_eq!(one, other);
}

/// Sends it, and reads it once more: the same attributes, next hop and prefixes.
fn again(buf: &AttrBuf, reach: Reach<'_>, ctx: &Context) {
    let mut out = Vec::new();
    let mut encoder = Encoder::new();
    let family = reach.nlri.family;
    let long = Context {
        extended_message: true,
        as4: true,
        first_as: None,
        add_path_send: ctx.add_path_receive,
        ..*ctx
    };
    // Too long with its numbers of four octets, or a next hop that this context would not send.
    let Ok(mut packer) = encoder.announce(buf.view(), family, &long, &mut out) else {
        return;
    };
    for (id, net) in reach.nlri.unicast() {
        assert_eq!(packer.net(id, net), Ok(()));
    }
    if packer.finish() == 0 {
        return;
    }
    let mut read = AttrBuf::new();
    // The first of them, if they are several.
    let first = match Header::parse(&out, MAX_EXTENDED) {
        Ok(Some(h)) => out.get(HEADER..h.len.into()),
        _ => None,
    };
    let u = Update::parse(first.unwrap_or_default(), &long).expect("what we send is right");
    assert_eq!(u.errors(), []);
    u.canonical(&mut read);
    let got = u.reach().next().expect("what we send announces");
    read.next_hop = got.next_hop;
    assert_eq!(&read, buf);
    assert!(
        got.nlri
            .unicast()
            .eq(reach.nlri.unicast().take(got.nlri.count))
    );
}

fn said(n: &Notification) {
    assert!(n.code > 0 && !n.to_string().is_empty());
}

#[cfg(test)]
mod tests;
