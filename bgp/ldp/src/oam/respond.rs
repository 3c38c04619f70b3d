//! Answering echo requests: RFC 8029 4.4 (what is checked), 4.4.1 (FECs), 4.5 (the reply), RFC 6425 3.3 (the T flag). No I/O: who
//! drives this hands over the datagram and the label stack that it came under, and is asked about its tables by [`Router`].
//!
//! Departures: where the RFC takes the label of an innermost FEC for Implicit Null at the end of a path, here it is the label that
//! was on the packet (else no path that ends with a label of its own could be right); reserved labels and entropy labels are
//! passed over there, as they stand for no FEC. FECs are checked on the way only if the request asks for it (the V flag).
//!
//! Where a label is switched that others lay over, their FECs end here: so a tunnel ends at the border of an AS, which swaps the label
//! of a VPN. Such FECs are checked, and said to be popped (4.5.1); else routers behind would be asked about them.
//!
//! Left out: multipath information (type 0 is answered: none), FECs that are pushed on the way, the reverse path (R), application
//! channels. What can't be answered as it asks to be is not answered at all.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{
    Detailed, Downstream, Echo, FecElement, HEADER, Hop, InLabels, Kind, Multipath, PathLabel,
    ReplyMode, ReturnCode, StackChange, Tlv,
};
use crate::types::Label;

/// All routers of a link: the sender does not know who is next (3.3).
pub const ALL_ROUTERS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 2);
/// More FECs than a label stack has room for are not looked at.
const MAX_FECS: usize = 16;
/// Ways told of at most.
const MAX_WAYS: usize = 8;

/// How a request came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Its label stack entries, as they came, from the outermost.
    pub stack: Vec<u32>,
    /// When, as NTP has it.
    pub at: u64,
}

/// One way on from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// Octets of the longest frame, labels included, that goes there.
    pub mtu: u16,
    /// The next router, and its interface.
    pub hop: Hop,
    /// Labelled frames may go there.
    pub mpls: bool,
    /// What takes the label's place, from the outermost: at least one, Implicit Null where it is taken off.
    pub labels: Vec<PathLabel>,
}

/// What becomes of a label here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Nobody has asked for it.
    Unknown,
    /// It is taken off, and what lies under it is looked at.
    Pop,
    /// It goes on: by the first way if the flow is that of the request, the others are of other flows. Without any: it would, but
    /// for a next hop.
    Switch(Vec<Way>),
}

/// What is asked of a router about its tables.
pub trait Router {
    /// What becomes of a label; never asked of those below 16.
    fn entry(&self, label: Label) -> Entry;
    /// The label that this router has given for a FEC: [`Label::IMPLICIT_NULL`] where packets come without one; `None` if it has
    /// none. `given` is what the request came with for it.
    fn mapping(&self, fec: &FecElement, given: Label) -> Option<Label>;
    /// Whether who is on the interface by which the request came may have been told a label for such a FEC.
    fn tells(&self, fec: &FecElement) -> bool;
    /// Is it an address of this router?
    fn is_own(&self, address: IpAddr) -> bool;
    /// Is it one of the interface by which the request came?
    fn is_here(&self, address: IpAddr) -> bool;
    /// This router, and the interface by which the request came.
    fn came_in(&self) -> Hop;
}

/// What to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// With the router alert option.
    pub alert: bool,
    /// The TOS octet, if one was asked for.
    pub tos: Option<u8>,
    /// The reply.
    pub echo: Echo,
}

/// What was found.
struct Verdict {
    code: ReturnCode,
    depth: usize,
    ways: Vec<(Way, Vec<PathLabel>)>,
    /// The FECs that end here, the outermost first, while the path goes on.
    popped: Vec<FecElement>,
    /// By which interface and with which labels it came is to be told.
    tell_in: bool,
}

impl Verdict {
    const fn of(code: ReturnCode, depth: usize) -> Self {
        Self {
            code,
            depth,
            ways: Vec::new(),
            popped: Vec::new(),
            tell_in: false,
        }
    }
}

/// What the sender says of the router that it asks: of either sort of mapping.
struct Said<'a> {
    hop: Hop,
    labels: &'a [PathLabel],
}

impl Said<'_> {
    /// Says nothing of it: the interface, or the router, is not known (3.3).
    fn nothing(&self) -> bool {
        self.address() == IpAddr::V4(ALL_ROUTERS)
            || self.address() == IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2))
    }

    fn address(&self) -> IpAddr {
        match self.hop {
            Hop::V4(a, _) | Hop::V4Index(a, _) => a.into(),
            Hop::V6(a, _) | Hop::V6Index(a, _) => a.into(),
        }
    }

    fn matches(&self, router: &impl Router, stack: &[Label]) -> bool {
        let here = match self.hop {
            Hop::V4(_, i) => router.is_here(i.into()),
            Hop::V6(_, i) => router.is_here(i.into()),
            // The number is the sender's.
            Hop::V4Index(..) | Hop::V6Index(..) => true,
        };
        let labels = self.labels.iter().map(|l| l.label);
        let labels = labels.filter(|l| *l != Label::IMPLICIT_NULL);
        here && router.is_own(self.address()) && labels.eq(stack.iter().copied())
    }
}

/// Reads a datagram that came to the port of LSP ping by way of labels, and says what to answer; `None`: nothing.
#[must_use]
pub fn respond(router: &impl Router, octets: &[u8], received: &Received) -> Option<Answer> {
    let request = match Echo::parse(octets) {
        Ok(e) => e,
        // Of what can't be read the header says where it comes from.
        Err(_) => {
            let header = Echo::parse(octets.get(..HEADER)?).ok()?;
            return answer(
                &header,
                received,
                Verdict::of(ReturnCode::MALFORMED, 0),
                router,
            );
        }
    };
    let alive = |entry: &u32| entry & 0xff > 1;
    if request.only_if_expired && received.stack.first().is_some_and(alive) {
        return None;
    }
    if let Some(errored) = request.not_understood() {
        let verdict = Verdict::of(ReturnCode::NOT_UNDERSTOOD, 0);
        let mut a = answer(&request, received, verdict, router)?;
        a.echo.tlvs.push(errored);
        return Some(a);
    }
    let mut targets = request.tlvs.iter().filter_map(|t| match t {
        Tlv::TargetFec(fecs) => Some(fecs),
        _ => None,
    });
    let verdict = match (targets.next(), targets.next()) {
        (Some(fecs), None) if fecs.len() <= MAX_FECS => judge(router, &request, received, fecs),
        _ => Verdict::of(ReturnCode::MALFORMED, 0),
    };
    answer(&request, received, verdict, router)
}

/// The mapping of the sender that is meant for this router, if there is one.
fn said(request: &Echo) -> Option<Said<'_>> {
    request.tlvs.iter().find_map(|t| match t {
        Tlv::Detailed(d) => Some(Said {
            hop: d.hop,
            labels: d.labels.as_deref().unwrap_or(&[]),
        }),
        Tlv::Downstream(d) => Some(Said {
            hop: d.hop,
            labels: &d.labels,
        }),
        _ => None,
    })
}

/// Steps 3 and 4: goes down the stack as it came, to where it is switched, or ends.
fn judge(
    router: &impl Router,
    request: &Echo,
    received: &Received,
    fecs: &[FecElement],
) -> Verdict {
    let labels = received.stack.iter().map(|e| Label::new(e >> 12));
    // All have 20 bits.
    let stack: Vec<Label> = labels.flatten().collect();
    // Of the label that is looked at; the bottom is 1.
    let mut depth = stack.len();
    while depth > 0 {
        let at = stack.len() - depth;
        let entry = match stack[at].get() {
            7 => {
                depth = depth.saturating_sub(2);
                continue;
            }
            0..16 => Entry::Pop,
            _ => router.entry(stack[at]),
        };
        match entry {
            Entry::Unknown => return Verdict::of(ReturnCode::NO_LABEL_ENTRY, depth),
            Entry::Pop => depth -= 1,
            Entry::Switch(ways) => {
                return switched(router, request, (&stack, depth), ways, fecs);
            }
        }
    }
    ends(router, request, &stack, fecs)
}

/// Step 4, "Swap or Pop and Switch".
fn switched(
    router: &impl Router,
    request: &Echo,
    (stack, depth): (&[Label], usize),
    ways: Vec<Way>,
    fecs: &[FecElement],
) -> Verdict {
    let said = said(request);
    let mut verdict = Verdict::of(ReturnCode::LABEL_SWITCHED, depth);
    if let Some(said) = &said {
        if said.address().is_loopback() {
            (verdict.code, verdict.depth) = (ReturnCode::UNKNOWN_UPSTREAM, 0);
            verdict.tell_in = true;
        } else if !said.nothing() && !said.matches(router, stack) {
            verdict = Verdict::of(ReturnCode::DOWNSTREAM_MISMATCH, 0);
            verdict.tell_in = true;
            return verdict;
        }
    }
    if !ways.iter().any(|w| w.mpls) {
        return Verdict::of(ReturnCode::NO_MPLS_FORWARDING, depth);
    }
    let Some(said) = said else { return verdict };
    let at = stack.len() - depth;
    let beneath = stack[at + 1..].iter().map(|&label| PathLabel {
        label,
        rest: 0,
        protocol: 0,
    });
    let beneath: Vec<PathLabel> = beneath.collect();
    let usable = ways.into_iter().filter(|w| w.mpls).take(MAX_WAYS);
    verdict.ways = usable
        .map(|w| {
            let mut labels = [&w.labels[..], &beneath].concat();
            if let Some(last) = labels.last_mut() {
                last.rest = 1; // the bottom of the stack
            }
            (w, labels)
        })
        .collect();
    if request.validate_stack
        && !said.nothing()
        && fecs
            .first()
            .is_some_and(|f| !matches!(f, FecElement::Nil(_)))
    {
        validate(router, said.labels, (stack, depth), fecs, &mut verdict);
    }
    verdict
}

/// Holds the FEC of the label that is switched against it, then those of the labels over it, which end here.
fn validate(
    router: &impl Router,
    told: &[PathLabel],
    (stack, depth): (&[Label], usize),
    fecs: &[FecElement],
    verdict: &mut Verdict,
) {
    let at = stack.len() - depth;
    let Some(fec_depth) = fec_depth(told, depth) else {
        return;
    };
    let Some(at_fec) = fecs.len().checked_sub(fec_depth) else {
        return;
    };
    match check(router, &fecs[at_fec], stack[at]) {
        Checked::Is => {}
        Checked::IsUnlabelled => {
            (verdict.code, verdict.depth) = (ReturnCode::OTHER_LABEL, depth);
            return;
        }
        Checked::Fails(code) => {
            (verdict.code, verdict.depth) = (code, fec_depth);
            return;
        }
    }
    // One that nobody told a label of has ended before.
    let over = fecs.len().saturating_sub(told.len());
    let over = fecs.get(over..at_fec).unwrap_or(&[]);
    match all_end(router, &without_entropy(&stack[..at]), over) {
        Some((code, depth)) => (verdict.code, verdict.depth) = (code, fec_depth + depth),
        None => verdict.popped = over.to_vec(),
    }
}

/// Which FEC, from the innermost (1), belongs to the label at that depth: the labels told have an Implicit Null for each that has
/// none on the packet.
fn fec_depth(told: &[PathLabel], depth: usize) -> Option<usize> {
    let mut left = depth;
    for (n, l) in told.iter().rev().enumerate() {
        left -= usize::from(l.label != Label::IMPLICIT_NULL);
        if left == 0 {
            return Some(n + 1);
        }
    }
    None
}

/// What came of looking at one FEC, 4.4.1.
enum Checked {
    /// The label is its.
    Is,
    /// It has none on packets.
    IsUnlabelled,
    /// What is wrong.
    Fails(ReturnCode),
}

fn check(router: &impl Router, fec: &FecElement, given: Label) -> Checked {
    if let FecElement::Nil(_) = fec {
        return match given.get() {
            0..=2 => Checked::Is,
            _ => Checked::Fails(ReturnCode::OTHER_LABEL),
        };
    }
    match router.mapping(fec, given) {
        None => Checked::Fails(ReturnCode::NO_MAPPING),
        Some(l) if l != given && l != Label::IMPLICIT_NULL => {
            Checked::Fails(ReturnCode::OTHER_LABEL)
        }
        Some(_) if !router.tells(fec) => Checked::Fails(ReturnCode::WRONG_PROTOCOL),
        Some(Label::IMPLICIT_NULL) if given != Label::IMPLICIT_NULL => Checked::IsUnlabelled,
        Some(_) => Checked::Is,
    }
}

/// Steps 5 and 6: the path ends here. Each FEC is held against its label, from the innermost of both.
fn ends(router: &impl Router, request: &Echo, stack: &[Label], fecs: &[FecElement]) -> Verdict {
    if let Some(said) = said(request)
        && !said.address().is_loopback()
        && !said.nothing()
        && !said.matches(router, stack)
    {
        let mut verdict = Verdict::of(ReturnCode::DOWNSTREAM_MISMATCH, 0);
        verdict.tell_in = true;
        return verdict;
    }
    if let Some(FecElement::Nil(_)) = fecs.first() {
        return Verdict::of(ReturnCode::EGRESS, 1);
    }
    match all_end(router, &without_entropy(stack), fecs) {
        Some((code, depth)) => Verdict::of(code, depth),
        None => Verdict::of(ReturnCode::EGRESS, fecs.len()),
    }
}

/// Holds each FEC against its label, from the innermost of both. What is wrong, and with which FEC.
fn all_end(
    router: &impl Router,
    stack: &[Label],
    fecs: &[FecElement],
) -> Option<(ReturnCode, usize)> {
    let mut labels = stack.iter().rev().copied().peekable();
    for (depth, fec) in (1..).zip(fecs.iter().rev()) {
        loop {
            let given = labels.peek().copied().unwrap_or(Label::IMPLICIT_NULL);
            match check(router, fec, given) {
                Checked::Is => {
                    labels.next();
                }
                Checked::IsUnlabelled => {}
                // It stands for no FEC.
                Checked::Fails(_) if given.get() < 3 => {
                    labels.next();
                    continue;
                }
                Checked::Fails(code) => return Some((code, depth)),
            }
            break;
        }
    }
    None
}

/// The stack without entropy labels and their indicators (RFC 6790).
fn without_entropy(stack: &[Label]) -> Vec<Label> {
    let mut out = vec![];
    let mut all = stack.iter();
    while let Some(l) = all.next() {
        match l.get() {
            7 => drop(all.next()),
            _ => out.push(*l),
        }
    }
    out
}

/// Step 7, and 4.5.
fn answer(
    request: &Echo,
    received: &Received,
    verdict: Verdict,
    router: &impl Router,
) -> Option<Answer> {
    let alert = match request.reply_mode {
        ReplyMode::Udp => false,
        ReplyMode::UdpAlert => true,
        ReplyMode::None | ReplyMode::Channel | ReplyMode::Other(_) => return None,
    };
    if request.kind != Kind::Request {
        return None;
    }
    let depth = u8::try_from(verdict.depth).unwrap_or(u8::MAX);
    let asked = request
        .tlvs
        .iter()
        .find(|t| matches!(t, Tlv::Detailed(_) | Tlv::Downstream(_)));
    let detailed = matches!(asked, Some(Tlv::Detailed(_))) && !verdict.ways.is_empty();
    let (code, subcode) = match detailed {
        true => (ReturnCode::SEE_DETAILED, 0),
        false => (verdict.code, depth),
    };
    let mut echo = request.reply(code, subcode, received.at);
    let (mut wants_in, mut multipath) = (verdict.tell_in, None);
    match asked {
        Some(Tlv::Detailed(d)) => {
            wants_in |= d.want_in_labels;
            // Which flows go which way is not said.
            multipath = d.multipath.as_ref().map(|_| Multipath::default());
        }
        Some(Tlv::Downstream(d)) => wants_in |= d.want_in_labels,
        _ => {}
    }
    let pop = |fec: &FecElement| StackChange {
        push: false,
        peer: None,
        fec: Some(fec.clone()),
    };
    let changes: Vec<StackChange> = verdict.popped.iter().map(pop).collect();
    // The older sort of mapping has no room for changes, and its code is none of theirs.
    let way_code = match changes.is_empty() {
        true => verdict.code,
        false => ReturnCode::FEC_CHANGE,
    };
    for (way, labels) in verdict.ways {
        echo.tlvs.push(match detailed {
            true => Tlv::Detailed(Detailed {
                mtu: way.mtu,
                want_in_labels: false,
                no_ip: false,
                hop: way.hop,
                code: way_code,
                subcode: depth,
                multipath: multipath.clone(),
                labels: Some(labels),
                changes: changes.clone(),
            }),
            false => Tlv::Downstream(Downstream {
                mtu: way.mtu,
                want_in_labels: false,
                no_ip: false,
                hop: way.hop,
                depth_limit: 0,
                multipath: Multipath::default(),
                labels,
            }),
        });
    }
    if wants_in {
        echo.tlvs.push(Tlv::InLabels(InLabels {
            hop: router.came_in(),
            stack: received.stack.clone(),
        }));
    }
    let tos = request.tlvs.iter().find_map(|t| match t {
        Tlv::ReplyTos(tos) => Some(*tos),
        _ => None,
    });
    Some(Answer { alert, tos, echo })
}
