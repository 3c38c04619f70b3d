//! A policy that runs.
//!
//! It reads attributes where they lie, and copies them into a buffer when the first of them is changed. What a rule set is
//! what later rules see. Nothing is allocated but room in that buffer, except where a path gets shorter or longer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;

use crate::attrs::{AttrBuf, Community, Origin, SegmentKind, View, code};
use crate::rpki::Validity;
use crate::types::{Asn, Family, FamilySet, NextHop, Relation};

use super::asn::{AsnSet, is_private};
use super::aspath::AsPathSet;
use super::community::{CommunityPattern, CommunitySet, ExtPattern, LargePattern, Pattern};
use super::compile::{Depends, fits};
use super::prefix::{PrefixRange, PrefixSet};
use super::spec::{Action, NextHopSet, Prepend, PrependAs, PrivateAs, Protocol};
use super::trace::{Step, Trace, What};
use super::word::{LabelIndex, NumMatch, NumRange, NumSet};

/// A neighbour as policies see it.
#[derive(Clone, Copy, Debug)]
pub struct Peer<'a> {
    /// Its address.
    pub address: IpAddr,
    /// Its AS.
    pub asn: Asn,
    /// Our AS on the session with it.
    pub local_as: Asn,
    /// What it is to us.
    pub relation: Relation,
    /// Its peer group.
    pub group: Option<&'a str>,
}

/// A route, and what else a policy may ask about.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// Of which family it is.
    pub family: Family,
    /// Where it leads; `None` for families whose routes lead nowhere (route targets, FlowSpec).
    pub prefix: Option<IpNet>,
    /// Its attributes.
    pub view: View<'a>,
    /// Who the policy is for: who sent the route at import, who is to get it at export.
    pub peer: Peer<'a>,
    /// Where it comes from.
    pub protocol: Protocol,
    /// At export, the neighbour that sent it. At import `None`: it is `peer`.
    pub from: Option<Peer<'a>>,
    /// What the RPKI says; need not be right unless [`Depends::rpki`].
    pub rpki: Validity,
    /// The metric to its next hop; need not be right unless [`Depends::igp_metric`].
    pub igp_metric: Option<u32>,
}

/// What is done about the next hop when the route is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NextHopRule {
    /// What the session does: RFC 4271 5.1.3.
    #[default]
    Session,
    /// Our own address on the session.
    Own,
    /// Nothing: it stays what it was.
    Unchanged,
    /// It is that which the policy put into the buffer.
    Given,
}

/// What a policy says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The route is taken.
    pub accept: bool,
    /// With other attributes: those in the buffer. False: with those that it had, and the buffer has nothing to say.
    pub changed: bool,
    /// What becomes of its next hop.
    pub next_hop: NextHopRule,
}

/// Next hop of IPv4 routes whose packets are dropped here: the dummy address of RFC 7600.
pub const DISCARD_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 8);
/// Next hop of IPv6 routes whose packets are dropped here: of the discard-only prefix 100::/64, RFC 6666.
pub const DISCARD_V6: Ipv6Addr = Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 1);

/// Is it a next hop whose packets are dropped: [`DISCARD_V4`], or within 100::/64?
#[must_use]
pub fn is_discard(hop: &NextHop) -> bool {
    match hop.address() {
        IpAddr::V4(a) => a == DISCARD_V4,
        IpAddr::V6(a) => a.segments()[..4] == DISCARD_V6.segments()[..4],
    }
}

/// A test of the prefix alone.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum PrefixTest {
    Few(Box<[PrefixRange]>),
    Sets(Box<[Arc<PrefixSet>]>),
}

impl PrefixTest {
    fn holds(&self, prefix: Option<IpNet>) -> bool {
        prefix.is_some_and(|p| match self {
            Self::Few(all) => all.iter().any(|range| range.contains(&p)),
            Self::Sets(all) => all.iter().any(|set| set.contains(&p)),
        })
    }
}

/// A condition about communities of one kind.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum CommunityTest<P: Pattern> {
    Any(Box<[Arc<CommunitySet<P>>]>),
    All(Box<[P]>),
    None(Arc<CommunitySet<P>>),
}

impl<P: Pattern> CommunityTest<P> {
    fn holds(&self, view: View<'_>) -> bool {
        match self {
            Self::Any(sets) => P::items(view).any(|c| sets.iter().any(|set| set.contains(c))),
            Self::All(all) => all.iter().all(|p| P::items(view).any(|c| p.matches(c))),
            Self::None(set) => !P::items(view).any(|c| set.contains(c)),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Test {
    Family(FamilySet),
    Protocol(Box<[Protocol]>),
    Session(Box<[Relation]>),
    Group(Box<[String]>),
    NeighborAs(AsnSet),
    Neighbor(Box<[IpNet]>),
    FromGroup(Box<[String]>),
    FromNeighbor(Box<[IpNet]>),
    /// A bit for each [`Validity`].
    Rpki(u8),
    /// By its place in [`Policy::prefixes`].
    Prefix(usize),
    Origin(Box<[Origin]>),
    LocalPref(NumMatch),
    Med(NumMatch),
    NextHop(Box<[IpNet]>),
    PathLength(NumRange),
    OriginAs(Box<[Arc<AsnSet>]>),
    AsPath(Box<[Arc<AsPathSet>]>),
    Community(CommunityTest<CommunityPattern>),
    ExtCommunity(CommunityTest<ExtPattern>),
    LargeCommunity(CommunityTest<LargePattern>),
    Never,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Condition {
    pub(super) test: Test,
    pub(super) negated: bool,
    /// As it was written.
    pub(super) text: Box<str>,
}

/// What becomes of communities of one kind.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Edit<P: Pattern> {
    pub(super) set: Option<Box<[P::Item]>>,
    pub(super) remove: Box<[Arc<CommunitySet<P>>]>,
    pub(super) add: Box<[P::Item]>,
}

impl<P: Pattern> Edit<P> {
    fn apply(&self, buf: &mut AttrBuf) {
        if let Some(set) = &self.set {
            P::retain(buf, |_| false);
            set.iter().for_each(|c| P::append(buf, *c));
        }
        if !self.remove.is_empty() {
            P::retain(buf, |c| !self.remove.iter().any(|set| set.contains(c)));
        }
        for c in &self.add {
            if P::items(buf.view()).all(|have| have != *c) {
                P::append(buf, *c);
            }
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Act {
    LocalPref(NumSet),
    Med(NumSet),
    Origin(Origin),
    NextHop(NextHopSet),
    Blackhole,
    PrivateAs(PrivateAs),
    ReplaceAs(AsnSet),
    Prepend(Prepend),
    LabelIndex(LabelIndex),
    Community(Edit<CommunityPattern>),
    ExtCommunity(Edit<ExtPattern>),
    LargeCommunity(Edit<LargePattern>),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rule {
    pub(super) name: Option<Box<str>>,
    pub(super) conditions: Box<[Condition]>,
    /// By its place in [`Policy::bodies`].
    pub(super) call: Option<usize>,
    pub(super) acts: Box<[Act]>,
    /// The settings as they were written.
    pub(super) set: Box<[Box<str>]>,
    pub(super) action: Action,
}

/// The rules of one policy.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Body {
    pub(super) name: Box<str>,
    pub(super) rules: Box<[Rule]>,
    pub(super) default: bool,
}

/// A policy that is ready to run, with those that it calls. Two that do the same by the same rules are equal.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// The first is the policy itself.
    pub(super) bodies: Box<[Body]>,
    /// Every test of a prefix that there is, each once.
    pub(super) prefixes: Box<[PrefixTest]>,
    pub(super) depends: Depends,
}

/// What a policy finds about a prefix: the same for all prefixes that it treats alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PrefixKey(pub u64);

impl Policy {
    /// Tests of prefixes that fit into a [`PrefixKey`].
    const KEYED: usize = 62;

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.bodies[0].name
    }

    /// What its answer depends on beside the attributes and the family.
    #[must_use]
    pub fn depends(&self) -> Depends {
        self.depends
    }

    /// May it make our own address the next hop?
    #[must_use]
    pub fn sets_own_next_hop(&self) -> bool {
        let rules = self.bodies.iter().flat_map(|b| &b.rules);
        let mut acts = rules.flat_map(|r| &r.acts);
        acts.any(|a| matches!(a, Act::NextHop(NextHopSet::Own)))
    }

    /// False: the answer for one prefix is the answer for all with the same attributes (and the same of what else
    /// [`Policy::depends`] names).
    #[must_use]
    pub fn depends_on_prefix(&self) -> bool {
        self.depends.prefix || self.depends.rpki
    }

    /// What it finds about a prefix. With the same key (and the same of what else [`Policy::depends`] names beside prefix
    /// and RPKI), the same attributes have the same answer: so answers can be kept by attributes and key even where the
    /// policy asks about prefixes. `None`: it asks too much about them; run it for each.
    #[must_use]
    pub fn prefix_key(&self, prefix: Option<IpNet>, rpki: Validity) -> Option<PrefixKey> {
        if self.prefixes.len() > Self::KEYED {
            return None;
        }
        let mut key = match self.depends.rpki {
            true => u64::from(rpki as u8) << Self::KEYED,
            false => 0,
        };
        for (at, test) in self.prefixes.iter().enumerate() {
            key |= u64::from(test.holds(prefix)) << at;
        }
        Some(PrefixKey(key))
    }

    /// Runs it over a route. If the answer is `changed`, `buf` has the attributes that the route gets; else what is in
    /// `buf` means nothing.
    pub fn run(&self, input: &Input<'_>, buf: &mut AttrBuf) -> Outcome {
        self.run_traced(input, buf, None)
    }

    /// Runs it, and tells what it did rule by rule.
    pub fn explain(&self, input: &Input<'_>, buf: &mut AttrBuf) -> (Outcome, Trace) {
        let mut trace = Trace::default();
        let outcome = self.run_traced(input, buf, Some(&mut trace));
        (outcome, trace)
    }

    fn run_traced(
        &self,
        input: &Input<'_>,
        buf: &mut AttrBuf,
        trace: Option<&mut Trace>,
    ) -> Outcome {
        let mut run = Run {
            policy: self,
            input,
            buf,
            touched: false,
            next_hop: NextHopRule::Session,
            trace,
            depth: 0,
        };
        let accept = run.body(&self.bodies[0]);
        Outcome {
            accept,
            changed: accept && run.touched && run.buf.view() != input.view,
            next_hop: run.next_hop,
        }
    }
}

struct Run<'a> {
    policy: &'a Policy,
    input: &'a Input<'a>,
    buf: &'a mut AttrBuf,
    /// The attributes are those in `buf`.
    touched: bool,
    next_hop: NextHopRule,
    trace: Option<&'a mut Trace>,
    depth: usize,
}

impl Run<'_> {
    /// Runs one policy; true: accepted.
    fn body(&mut self, body: &Body) -> bool {
        let policy = self.policy;
        for (i, rule) in body.rules.iter().enumerate() {
            if let Some(failed) = rule.conditions.iter().find(|c| !self.holds(c)) {
                self.skipped(body, i, failed);
                continue;
            }
            if let Some(called) = rule.call {
                let called = &policy.bodies[called];
                self.note(body, i, || What::Called(called.name.to_string()));
                self.depth += 1;
                let accept = self.body(called);
                self.depth -= 1;
                if !accept {
                    return false;
                }
            }
            rule.acts.iter().for_each(|act| self.act(act));
            self.note(body, i, || What::Applied {
                set: rule.set.iter().map(ToString::to_string).collect(),
                action: rule.action,
            });
            match rule.action {
                Action::Accept => return true,
                Action::Reject => return false,
                Action::Next => {}
            }
        }
        self.note(body, body.rules.len(), || What::Default(body.default));
        body.default
    }

    fn note(&mut self, body: &Body, rule: usize, what: impl FnOnce() -> What) {
        let depth = self.depth;
        if let Some(trace) = &mut self.trace {
            trace.steps.push(Step {
                depth,
                policy: body.name.to_string(),
                rule: rule + 1,
                name: body
                    .rules
                    .get(rule)
                    .and_then(|r| r.name.as_deref().map(str::to_owned)),
                what: what(),
            });
        }
    }

    fn skipped(&mut self, body: &Body, rule: usize, failed: &Condition) {
        if self.trace.is_some() {
            let found = self.found(&failed.test);
            self.note(body, rule, || What::Skipped {
                condition: failed.text.to_string(),
                unless: failed.negated,
                found,
            });
        }
    }

    /// The attributes as they are now.
    fn view(&self) -> View<'_> {
        if self.touched {
            self.buf.view()
        } else {
            self.input.view
        }
    }

    /// The neighbour that the route was learned from, if it was from one.
    fn from(&self) -> Option<super::Peer<'_>> {
        let input = self.input;
        match input.protocol {
            Protocol::Bgp => Some(input.from.unwrap_or(input.peer)),
            Protocol::Connected | Protocol::Static => None,
        }
    }

    fn holds(&self, c: &Condition) -> bool {
        self.test(&c.test) != c.negated
    }

    fn test(&self, test: &Test) -> bool {
        let input = self.input;
        let within = |nets: &[IpNet], a: IpAddr| nets.iter().any(|n| n.contains(&a));
        let grouped = |names: &[String], group: Option<&str>| {
            group.is_some_and(|g| names.iter().any(|name| name == g))
        };
        match test {
            Test::Family(all) => all.contains(input.family),
            Test::Protocol(all) => all.contains(&input.protocol),
            Test::Session(all) => all.contains(&input.peer.relation),
            Test::Group(all) => grouped(all, input.peer.group),
            Test::NeighborAs(set) => set.contains(input.peer.asn),
            Test::Neighbor(all) => within(all, input.peer.address),
            Test::FromGroup(all) => self.from().is_some_and(|p| grouped(all, p.group)),
            Test::FromNeighbor(all) => self.from().is_some_and(|p| within(all, p.address)),
            Test::Rpki(bits) => bits & 1 << input.rpki as u8 != 0,
            Test::Prefix(at) => self.policy.prefixes[*at].holds(input.prefix),
            Test::Origin(all) => all.contains(&self.view().origin()),
            Test::LocalPref(n) => n.holds(self.view().local_pref()),
            Test::Med(n) => n.holds(self.view().med()),
            Test::NextHop(all) => self
                .view()
                .next_hop
                .is_some_and(|hop| within(all, hop.address())),
            Test::PathLength(n) => n.contains(self.view().as_path().hops()),
            Test::OriginAs(sets) => self
                .view()
                .as_path()
                .origin()
                .is_some_and(|asn| sets.iter().any(|set| set.contains(asn))),
            Test::AsPath(sets) => {
                let path = self.view().as_path();
                sets.iter().any(|set| set.matches(path))
            }
            Test::Community(test) => test.holds(self.view()),
            Test::ExtCommunity(test) => test.holds(self.view()),
            Test::LargeCommunity(test) => test.holds(self.view()),
            Test::Never => false,
        }
    }

    /// What a condition looked at, in words.
    #[cold]
    fn found(&self, test: &Test) -> String {
        let input = self.input;
        let view = self.view();
        let group =
            |g: Option<&str>| g.map_or("in no group".to_owned(), |g| format!("in group {g:?}"));
        let number = |name: &str, n: Option<u32>| match n {
            Some(n) => format!("{name} is {n}"),
            None => format!("it has no {name}"),
        };
        match test {
            Test::Family(_) => format!("it is of {}", input.family),
            Test::Protocol(_) => format!("it comes from {}", input.protocol.name()),
            Test::Session(_) => format!(
                "the session is {}",
                super::spec::relation_name(input.peer.relation)
            ),
            Test::Group(_) => format!("the neighbour is {}", group(input.peer.group)),
            Test::NeighborAs(_) => format!("the neighbour is of AS {}", input.peer.asn),
            Test::Neighbor(_) => format!("the neighbour is {}", input.peer.address),
            Test::FromGroup(_) | Test::FromNeighbor(_) => match self.from() {
                Some(p) => format!("it comes from {}, {}", p.address, group(p.group)),
                None => "it comes from no neighbour".into(),
            },
            Test::Rpki(_) => format!("it is {}", input.rpki.name()),
            Test::Prefix(_) => match input.prefix {
                Some(p) => format!("it is {p}"),
                None => "it has no prefix".into(),
            },
            Test::Origin(_) => format!("the origin is {}", view.origin().name()),
            Test::LocalPref(_) => number("local-pref", view.local_pref()),
            Test::Med(_) => number("med", view.med()),
            Test::NextHop(_) => match view.next_hop {
                Some(hop) => format!("the next hop is {hop}"),
                None => "it has no next hop".into(),
            },
            Test::PathLength(_) => format!("the path is {} long", view.as_path().hops()),
            Test::OriginAs(_) | Test::AsPath(_) => match view.as_path() {
                path if path.is_empty() => "the path is empty".into(),
                path => format!("the path is {path}"),
            },
            Test::Community(_) => communities::<CommunityPattern>(view),
            Test::ExtCommunity(_) => communities::<ExtPattern>(view),
            Test::LargeCommunity(_) => communities::<LargePattern>(view),
            Test::Never => "nothing is".into(),
        }
    }

    /// The attributes, to be changed.
    fn edit(&mut self) -> &mut AttrBuf {
        if !self.touched {
            self.buf.copy_from(self.input.view);
            self.touched = true;
        }
        self.buf
    }

    fn act(&mut self, act: &Act) {
        let peer = self.input.peer;
        match act {
            Act::LocalPref(n) => {
                match changed(*n, self.view().local_pref(), 100, None) {
                    Some(pref) => self.edit().set_local_pref(pref),
                    None => {
                        self.edit().remove(code::LOCAL_PREF);
                    }
                };
            }
            Act::Med(n) => match changed(*n, self.view().med(), 0, self.input.igp_metric) {
                Some(med) => self.edit().set_med(med),
                None => {
                    self.edit().remove(code::MED);
                }
            },
            Act::Origin(o) => self.edit().set_origin(*o),
            Act::NextHop(NextHopSet::Own) => self.next_hop = NextHopRule::Own,
            Act::NextHop(NextHopSet::Unchanged) => {
                self.edit().next_hop = self.input.view.next_hop;
                self.next_hop = NextHopRule::Unchanged;
            }
            Act::NextHop(NextHopSet::Address(a)) => self.next_hop(*a),
            Act::Blackhole => self.blackhole(),
            Act::PrivateAs(PrivateAs::Remove) => {
                self.edit().retain_asns(|asn| !is_private(asn));
            }
            Act::PrivateAs(PrivateAs::Replace) => {
                self.edit()
                    .replace_asns(|asn| is_private(asn).then_some(peer.local_as));
            }
            Act::ReplaceAs(set) => {
                self.edit()
                    .replace_asns(|asn| set.contains(asn).then_some(peer.local_as));
            }
            Act::Prepend(p) => {
                let kind = match peer.relation {
                    Relation::Confederation => SegmentKind::ConfedSequence,
                    Relation::Internal | Relation::External => SegmentKind::Sequence,
                };
                let asn = match p.asn {
                    PrependAs::Own => peer.local_as,
                    PrependAs::Number(asn) => asn,
                };
                self.edit().prepend(kind, asn, p.count.into());
            }
            Act::LabelIndex(how) => self.label_index(*how),
            Act::Community(edit) => edit.apply(self.edit()),
            Act::ExtCommunity(edit) => edit.apply(self.edit()),
            Act::LargeCommunity(edit) => edit.apply(self.edit()),
        }
    }

    /// Sets the next hop, of a route whose family it fits.
    fn next_hop(&mut self, a: IpAddr) {
        let flow = matches!(
            self.input.family,
            Family::Ipv4Flow | Family::Ipv6Flow | Family::Vpnv4Flow | Family::Vpnv6Flow
        );
        if fits(self.input.family, a) && !flow {
            self.edit().next_hop = Some(match a {
                IpAddr::V4(a) => NextHop::V4(a),
                IpAddr::V6(a) => NextHop::V6(a),
            });
            self.next_hop = NextHopRule::Given;
        }
    }

    /// RFC 8669 3.1: it is of labelled routes alone.
    fn label_index(&mut self, how: LabelIndex) {
        let labeled = matches!(self.input.family, Family::Ipv4Labeled | Family::Ipv6Labeled);
        match how {
            LabelIndex::To(n) if labeled => self.edit().set_label_index(n),
            LabelIndex::Remove if labeled => self.edit().remove_label_index(),
            LabelIndex::To(_) | LabelIndex::Remove => {}
        }
    }

    fn blackhole(&mut self) {
        self.next_hop(DISCARD_V4.into());
        self.next_hop(DISCARD_V6.into());
        let stays = |c| matches!(c, Community::NO_EXPORT | Community::NO_ADVERTISE);
        if !self.view().communities().any(stays) {
            CommunityPattern::append(self.edit(), Community::NO_EXPORT);
        }
    }
}

/// What a number becomes; `None`: it goes.
fn changed(how: NumSet, now: Option<u32>, missing: u32, igp: Option<u32>) -> Option<u32> {
    let now = now.unwrap_or(missing);
    match how {
        NumSet::To(n) => Some(n),
        NumSet::Add(n) => Some(now.saturating_add(n)),
        NumSet::Sub(n) => Some(now.saturating_sub(n)),
        NumSet::Igp => igp,
        NumSet::Remove => None,
    }
}

fn communities<P: Pattern>(view: View<'_>) -> String {
    let all: Vec<String> = P::items(view).map(|c| c.to_string()).collect();
    match all[..] {
        [] => "it has none".into(),
        _ => format!("it has {}", all.join(", ")),
    }
}
