//! What the data path does with one packet, told step by step, and the frame that it sends.
//!
//! Read [`crate::pipeline`] first: this is the same way once more, for one packet at a time, without mbufs, without haste,
//! and with every choice written down. It shares the tables and the flow hash with the stages, and no other code, so that a
//! test can hold the two against each other, byte for byte (`pipeline/tests/trace.rs`). `trunkctl explain` shows it.
//!
//! Left out on purpose: what a receiving port checks (MAC addresses, runts), options and extension headers, groups and
//! broadcasts, how a packet is cut into fragments, and the text of ICMP errors. A trace says that these happen, no more.

use std::net::IpAddr;

use fib::{Discard, Group, LabelOp, Path, Target, TtlMode, View};
use net::eth::ethertype::{IPV4, IPV6, MPLS};
use net::ip4::{self, Ip4, Ip4Mut};
use net::ip6::{self, Ip6, Ip6Mut};
use net::mpls::{Under, under, walk};
use net::{AdjId, GroupId, IfaceId, Label, Lse, PortId, VrfId, WireError, flow, udp4};

use crate::drops::Drop;
use crate::interface::{InterfaceTable, Own4};

/// Where a packet comes from, and what it is.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// The interface that it came in by; `None`: this host sends it, so its TTL stays.
    pub from: Option<IfaceId>,
    /// Whose table it is looked up in, if this host sends it; else the interface says.
    pub vrf: VrfId,
    /// Does it begin with a label stack?
    pub labelled: bool,
    /// The packet, from its network header or its first label on.
    pub packet: &'a [u8],
}

/// The whole way.
#[derive(Clone, Debug)]
pub struct Trace {
    /// What was decided, in order.
    pub steps: Vec<Step>,
    /// What became of it.
    pub end: End,
}

/// One decision.
#[derive(Clone, Debug)]
pub enum Step {
    /// A label was looked at.
    Label {
        /// As it was received, but for a TTL that the labels before it bring down.
        lse: Lse,
        /// What is done with it.
        act: LabelAct,
    },
    /// An address was looked up.
    Lookup {
        /// In the table of this VRF.
        vrf: VrfId,
        /// The address.
        destination: IpAddr,
        /// The group of the longest prefix; [`GroupId::NONE`] when none covers it.
        group: GroupId,
    },
    /// A group had one path for the flow.
    Choice {
        /// The group.
        group: GroupId,
        /// The hash of the flow; `None` where there is one path, and nothing to choose.
        hash: Option<u32>,
        /// The bucket that the hash falls into.
        bucket: usize,
        /// How many there are.
        buckets: usize,
        /// What the bucket names.
        path: Path,
        /// The neighbour that the path leads to, by interface and address; `None` where it leads to none.
        neighbor: Option<(IfaceId, IpAddr)>,
    },
}

/// What is done with a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelAct {
    /// It is taken off, and what lies under it is looked at: in that table, if the label says so.
    Pop(Option<VrfId>),
    /// The same in the global table, of an IP packet alone.
    PopLast,
    /// It is passed over, and put back: the router alert.
    PassOver,
    /// It and the entropy label after it are taken off.
    PopEntropy,
    /// The group says where to.
    Forward(GroupId),
    /// It is taken off, and the group says where the IP packet under it goes.
    PopForward(GroupId),
    /// It is not looked up: the one above leads into a VRF, or was to be the last.
    Buried,
    /// Nothing: it is not ours.
    Refuse,
}

/// What became of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// A frame left.
    Sent {
        /// By this port,
        port: PortId,
        /// counted on this interface,
        iface: IfaceId,
        /// to this neighbour,
        adj: AdjId,
        /// whose address this is.
        next_hop: IpAddr,
        /// The frame, from its link header on.
        frame: Vec<u8>,
    },
    /// The link address of the next hop is not known: the control thread asks for it, and sends the packet then.
    Unresolved {
        /// The interface.
        iface: IfaceId,
        /// Who is asked for.
        next_hop: IpAddr,
    },
    /// It is longer than the link takes, and cut.
    Cut {
        /// Bytes of IP packet that fit.
        room: usize,
    },
    /// It is for the router itself, on this interface; so is an echo request of LSP ping that it is to answer.
    Local(IfaceId),
    /// It is dropped.
    Dropped(Drop),
}

/// Follows a packet through the tables.
#[must_use]
pub fn trace(
    fib: View<'_>,
    ifaces: &InterfaceTable,
    mpls_ttl: TtlMode,
    arrival: Arrival<'_>,
) -> Trace {
    let mut way = Way {
        fib,
        ifaces,
        mpls_ttl,
        from: arrival.from,
        vrf: arrival.vrf,
        steps: Vec::new(),
    };
    let end = way.follow(arrival).unwrap_or_else(|end| end);
    let end = way.asked(arrival).filter(|_| is_why(&end)).unwrap_or(end);
    Trace {
        steps: way.steps,
        end,
    }
}

struct Way<'a> {
    fib: View<'a>,
    ifaces: &'a InterfaceTable,
    mpls_ttl: TtlMode,
    from: Option<IfaceId>,
    /// Whose packet it is, until a label says other.
    vrf: VrfId,
    steps: Vec<Step>,
}

/// The end of the way, found early or late.
type Done = Result<End, End>;

fn dropped<T>(why: Drop) -> Result<T, End> {
    Err(End::Dropped(why))
}

/// Is that what an echo request of LSP ping is answered instead of?
fn is_why(end: &End) -> bool {
    use Drop::{Blackhole, Prohibited, UnknownLabel, Unreachable, VrfLabelNotLast};
    use Drop::{MartianDestination, MplsTtlExpired};
    let End::Dropped(why) = end else { return false };
    matches!(
        why,
        MartianDestination
            | MplsTtlExpired
            | UnknownLabel
            | VrfLabelNotLast
            | Blackhole
            | Unreachable
            | Prohibited
    )
}

/// What a stack asks for when it is read to where something is to be done.
struct Operation {
    /// Entries that go.
    pop: usize,
    received: Lse,
    mode: TtlMode,
    alert: Option<Lse>,
    path: Path,
}

impl Way<'_> {
    fn follow(&mut self, arrival: Arrival<'_>) -> Done {
        let iface = self.from.map(|i| self.ifaces.get(i));
        if let Some(iface) = iface {
            let Some(iface) = iface.filter(|i| i.up) else {
                return dropped(Drop::InterfaceDown);
            };
            if arrival.packet.len() > usize::from(iface.mtu) {
                return dropped(Drop::Giant);
            }
            if arrival.labelled && !iface.mpls {
                return dropped(Drop::MplsDisabled);
            }
            self.vrf = iface.vrf;
        }
        match (arrival.labelled, under(arrival.packet)) {
            (true, _) => self.labelled(arrival.packet),
            (false, Under::Ip6) => self.ip6(arrival.packet, u8::MAX, None),
            (false, _) => self.ip4(arrival.packet, u8::MAX, None),
        }
    }

    /// The router itself, if it is asked by LSP ping (RFC 8029 4.4) what becomes of such a packet.
    fn asked(&self, arrival: Arrival<'_>) -> Option<End> {
        let from = self.from?;
        let labels = match arrival.labelled {
            true => walk(arrival.packet).ok()?.len(),
            false => 0,
        };
        let packet = arrival.packet.get(labels..)?;
        let bare = || udp4::has_alert(packet) && self.ifaces.get(from).is_some_and(|i| i.mpls);
        let asks = udp4::is_echo_request(packet) && (labels > 0 || bare());
        asks.then_some(End::Local(from))
    }

    fn looked_up(&mut self, destination: IpAddr, group: GroupId) {
        self.steps.push(Step::Lookup {
            vrf: self.vrf,
            destination,
            group,
        });
    }

    /// The path that a flow takes out of a group.
    fn choose(&mut self, id: GroupId, hash: impl FnOnce() -> u32) -> Option<Path> {
        let group: &Group = self.fib.group(id)?;
        let hash = (!group.is_single()).then(hash);
        let buckets = group.buckets();
        let path = group.select(hash.unwrap_or(0)).clone();
        self.steps.push(Step::Choice {
            group: id,
            hash,
            bucket: hash.unwrap_or(0) as usize % buckets,
            buckets,
            path: path.clone(),
            neighbor: match path.target {
                Target::Adjacency(id) => self.fib.adj(id).map(|a| (a.iface, a.next_hop)),
                _ => None,
            },
        });
        Some(path)
    }

    // ---- labels: RFC 3031 3, RFC 3032 2, RFC 3443 ----

    fn labelled(&mut self, packet: &[u8]) -> Done {
        let stack = match walk(packet) {
            Ok(stack) => stack,
            Err(WireError::TooDeep(_)) => return dropped(Drop::MplsStackTooDeep),
            Err(_) if packet.len() < Lse::LEN => return dropped(Drop::MplsTruncated),
            Err(_) => return dropped(Drop::MplsNoBottom),
        };
        let payload = &packet[stack.len()..];
        let (mut at, mut cap, mut alert, mut named) = (0, u8::MAX, None, None);
        // Whether a label led into a VRF: no other is looked up then; and where the packet goes, if a label says it.
        let (mut inside, mut along) = (false, None);
        while let Some(lse) = stack.entries.get(at) {
            let lse = lse.with_ttl(lse.ttl().min(cap));
            let (act, mode, says) = match inside && !lse.label().is_reserved() {
                true => (LabelAct::Buried, self.mpls_ttl, None),
                false => self.label(lse),
            };
            self.steps.push(Step::Label { lse, act });
            match act {
                LabelAct::Pop(Some(vrf)) => (self.vrf, inside) = (vrf, vrf != VrfId::GLOBAL),
                LabelAct::PopLast => (self.vrf, inside) = (VrfId::GLOBAL, true),
                LabelAct::PopForward(group) => {
                    let Some(path) = self.choose(group, || flow::hash_mpls(packet)) else {
                        return dropped(Drop::UnknownLabel);
                    };
                    let iface = match path.target {
                        Target::Adjacency(id) => self.fib.adj(id).map(|adj| adj.iface),
                        Target::Glean(i) | Target::Local(i) => Some(i),
                        Target::Discard(kind) => return dropped(discarded(kind)),
                    };
                    let Some(vrf) = iface.and_then(|i| self.ifaces.vrf_of(i)) else {
                        return dropped(Drop::NoAdjacency);
                    };
                    (self.vrf, inside, along) = (vrf, true, Some(path));
                }
                _ => {}
            }
            let mut pop = |n: usize, mode| {
                at += n;
                named = says;
                cap = match (lse.ttl(), mode) {
                    _ if at > stack.entries.len() => return dropped(Drop::MplsReservedLabel),
                    (0, _) | (1, TtlMode::Pipe) => return dropped(Drop::MplsTtlExpired),
                    (left, TtlMode::Uniform) => left,
                    (_, TtlMode::Pipe) => u8::MAX,
                };
                Ok(())
            };
            match act {
                LabelAct::Refuse if lse.label().is_reserved() => {
                    return dropped(Drop::MplsReservedLabel);
                }
                LabelAct::Refuse => return dropped(Drop::UnknownLabel),
                LabelAct::Buried => return dropped(Drop::VrfLabelNotLast),
                LabelAct::Pop(_) | LabelAct::PopLast | LabelAct::PopForward(_) => pop(1, mode)?,
                LabelAct::PopEntropy => pop(2, mode)?,
                LabelAct::PassOver => {
                    (cap, alert) = (lse.ttl(), Some(lse));
                    at += 1;
                }
                LabelAct::Forward(group) => {
                    let Some(path) = self.choose(group, || flow::hash_mpls(packet)) else {
                        return dropped(Drop::UnknownLabel);
                    };
                    match path.target {
                        Target::Local(i) => {
                            pop(1, mode)?;
                            if let Some(vrf) = self.ifaces.vrf_of(i) {
                                (self.vrf, inside) = (vrf, vrf != VrfId::GLOBAL);
                            }
                            continue;
                        }
                        Target::Discard(kind) => return dropped(discarded(kind)),
                        Target::Adjacency(_) | Target::Glean(_) => {}
                    }
                    if lse.ttl() <= 1 {
                        return dropped(Drop::MplsTtlExpired);
                    }
                    let op = Operation {
                        pop: at + 1,
                        received: lse,
                        mode,
                        alert,
                        path,
                    };
                    return self.switched(&op, &stack.entries, payload);
                }
            }
        }
        match named.unwrap_or(under(payload)) {
            _ if payload.is_empty() => dropped(Drop::MplsTruncated),
            Under::Ip4 => self.ip4(payload, cap, along),
            Under::Ip6 => self.ip6(payload, cap, along),
            Under::Other => dropped(Drop::MplsUnknownPayload),
        }
    }

    /// What is done with a label, what becomes of its TTL, and what it says lies under it.
    fn label(&self, lse: Lse) -> (LabelAct, TtlMode, Option<Under>) {
        let global = self.mpls_ttl;
        match lse.label() {
            Label::IPV4_EXPLICIT_NULL => (LabelAct::Pop(None), global, Some(Under::Ip4)),
            Label::IPV6_EXPLICIT_NULL => (LabelAct::Pop(None), global, Some(Under::Ip6)),
            Label::ENTROPY_INDICATOR if !lse.bottom() => (LabelAct::PopEntropy, global, None),
            Label::ROUTER_ALERT if !lse.bottom() => (LabelAct::PassOver, global, None),
            label if label.is_reserved() => (LabelAct::Refuse, global, None),
            label => {
                let entry = self.fib.label(label);
                let act = match entry.op() {
                    LabelOp::Unknown => LabelAct::Refuse,
                    LabelOp::PopLookup if entry.is_last() && entry.vrf() == VrfId::GLOBAL => {
                        LabelAct::PopLast
                    }
                    LabelOp::PopLookup => LabelAct::Pop(Some(entry.vrf())),
                    LabelOp::Forward => LabelAct::Forward(entry.group()),
                    LabelOp::PopForward => LabelAct::PopForward(entry.group()),
                };
                (act, entry.ttl(), None)
            }
        }
    }

    /// A label became others, or none.
    fn switched(&mut self, op: &Operation, entries: &[Lse], payload: &[u8]) -> Done {
        let ttl = op.received.ttl() - 1;
        let rest = &entries[op.pop..];
        let mut labels = Vec::new();
        if !(op.path.push.is_empty() && rest.is_empty()) {
            labels.extend(op.alert.map(|alert| alert.with_ttl(ttl)));
        }
        for (i, &label) in op.path.push.iter().enumerate() {
            let innermost = i + 1 == op.path.push.len();
            let fresh = !innermost && op.path.ttl == TtlMode::Pipe;
            labels.push(Lse::new(
                label,
                op.received.tc(),
                innermost && rest.is_empty(),
                if fresh { u8::MAX } else { ttl },
            ));
        }
        let uncovers = op.path.push.is_empty() && op.mode == TtlMode::Uniform;
        for (i, lse) in rest.iter().enumerate() {
            let capped = lse.with_ttl(lse.ttl().min(ttl));
            labels.push(if i == 0 && uncovers { capped } else { *lse });
        }
        if payload.is_empty() {
            return dropped(Drop::MplsTruncated);
        }
        let destination = match under(payload) {
            Under::Ip4 => Ip4::new(payload).ok().map(|h| h.dst().into()),
            Under::Ip6 => Ip6::new(payload).ok().map(|h| h.dst().into()),
            Under::Other => None,
        };
        // On a connected network only a bare IP packet names the host.
        let hop = self.hop(&op.path, destination.filter(|_| labels.is_empty()))?;
        let mut payload = payload.to_vec();
        let kind = if labels.is_empty() {
            bared(&mut payload)?
        } else {
            MPLS
        };
        let room = hop.mtu.saturating_sub(labels.len() * Lse::LEN);
        if payload.len() > room {
            return match under(&payload) {
                Under::Ip4 if !Ip4::new(&payload).is_ok_and(|h| h.dont_fragment()) => {
                    Err(End::Cut { room })
                }
                Under::Ip4 => dropped(Drop::FragNeeded),
                Under::Ip6 => dropped(Drop::PacketTooBig),
                Under::Other => dropped(Drop::MplsTooBig),
            };
        }
        if labels.is_empty() && op.mode == TtlMode::Uniform {
            lower_ttl(&mut payload, ttl);
        }
        self.sent(hop, &labels, kind, &payload)
    }

    // ---- IP: RFC 1812 5.2, RFC 8200 ----

    /// `along`: a label has said where it goes.
    fn ip4(&mut self, packet: &[u8], cap: u8, along: Option<Path>) -> Done {
        let Ok(p) = ip4::check(packet) else {
            return dropped(if under(packet) == Under::Ip4 {
                Drop::Ip4BadLength
            } else {
                Drop::Ip4BadVersion
            });
        };
        let (h, mut packet) = (p.header(), p.bytes().to_vec());
        if self.from.is_some() {
            let ours = self.ifaces.own4(self.vrf, h.src_bits()) != Own4::None;
            if ours || !ip4::is_host_source(h.src_bits()) {
                return dropped(Drop::MartianSource);
            }
            if matches!(h.dst_bits() >> 24, 0 | 127 | 240..) {
                return dropped(Drop::MartianDestination);
            }
        }
        let destination = IpAddr::V4(h.dst());
        let path = along.or_else(|| {
            let group = self.fib.lookup4_in(self.vrf, h.dst_bits());
            self.looked_up(destination, group);
            self.choose(group, || flow::hash_ip4(&packet))
        });
        let path = usable(path)?;
        let own = self.ifaces.own4(self.owner(&path), h.dst_bits());
        match (path.target, own) {
            (Target::Local(_) | Target::Glean(_), Own4::Broadcast(i)) => {
                return match self.from {
                    Some(from) if from != i => dropped(Drop::Broadcast),
                    _ => Err(End::Local(i)),
                };
            }
            (Target::Local(i), _) | (Target::Glean(_), Own4::Address(i)) => {
                return Err(End::Local(i));
            }
            _ => {}
        }
        let mut ttl = h.ttl();
        if self.from.is_some() {
            if [h.src_bits(), h.dst_bits()]
                .iter()
                .any(|a| a >> 16 == 0xa9fe)
            {
                return dropped(Drop::LinkLocalScope);
            }
            ttl = one_less(ttl.min(cap))?;
        }
        let labels = imposed(&path, ttl, h.dscp(), flow::hash_ip4(&packet));
        let hop = self.hop(&path, Some(destination))?;
        let room = hop.mtu.saturating_sub(labels.len() * Lse::LEN);
        match packet.len() > room {
            true if h.dont_fragment() => return dropped(Drop::FragNeeded),
            true => {
                return Err(End::Cut { room });
            }
            false => {}
        }
        if let Ok(mut h) = Ip4Mut::new(&mut packet) {
            h.set_ttl(ttl);
        }
        self.sent(hop, &labels, IPV4, &packet)
    }

    fn ip6(&mut self, packet: &[u8], cap: u8, along: Option<Path>) -> Done {
        let Ok(p) = ip6::check(packet) else {
            return dropped(if under(packet) == Under::Ip6 {
                Drop::Ip6BadLength
            } else {
                Drop::Ip6BadVersion
            });
        };
        let (h, mut packet) = (p.header(), p.bytes().to_vec());
        let link_local = |a: u128| a >> 118 == 0xfe80 >> 6;
        if let Some(iface) = self.from.and_then(|i| self.ifaces.get(i)) {
            let src = h.src_bits();
            let ours =
                self.ifaces.own6(self.vrf, src).is_some() || src == u128::from(iface.link_local);
            if ours || !ip6::is_host_source(src) || src >> 32 == 0xffff {
                return dropped(Drop::MartianSource);
            }
            if h.dst_bits() <= 1 || h.dst_bits() >> 32 == 0xffff {
                return dropped(Drop::MartianDestination);
            }
            if link_local(h.dst_bits()) {
                let ours = h.dst_bits() == u128::from(iface.link_local) && iface.vrf == self.vrf;
                return match ours {
                    true => Err(End::Local(iface.id)),
                    false => dropped(Drop::LinkLocalScope),
                };
            }
        }
        let destination = IpAddr::V6(h.dst());
        let path = along.or_else(|| {
            let group = self.fib.lookup6_in(self.vrf, h.dst_bits());
            self.looked_up(destination, group);
            self.choose(group, || flow::hash_ip6(&packet))
        });
        let path = usable(path)?;
        match (
            path.target,
            self.ifaces.own6(self.owner(&path), h.dst_bits()),
        ) {
            (Target::Local(i), _) | (Target::Glean(_), Some(i)) => return Err(End::Local(i)),
            _ => {}
        }
        let mut hops = h.hop_limit();
        if self.from.is_some() {
            if link_local(h.src_bits()) {
                return dropped(Drop::LinkLocalScope);
            }
            hops = one_less(hops.min(cap))?;
        }
        let labels = imposed(&path, hops, h.dscp(), flow::hash_ip6(&packet));
        let hop = self.hop(&path, Some(destination))?;
        if packet.len() > hop.mtu.saturating_sub(labels.len() * Lse::LEN) {
            return dropped(Drop::PacketTooBig);
        }
        if let Ok(mut h) = Ip6Mut::new(&mut packet) {
            h.set_hop_limit(hops);
        }
        self.sent(hop, &labels, IPV6, &packet)
    }

    /// Whose addresses are the router's own where a path leads: a connected network may have leaked from another VRF.
    fn owner(&self, path: &Path) -> VrfId {
        let link = match path.target {
            Target::Glean(link) => self.ifaces.vrf_of(link),
            _ => None,
        };
        link.unwrap_or(self.vrf)
    }

    // ---- the next hop ----

    /// `destination`: the host itself, where the path may end on a connected network.
    fn hop(&self, path: &Path, destination: Option<IpAddr>) -> Result<Hop, End> {
        match (path.target, destination) {
            (Target::Adjacency(id), _) => match self.fib.adj(id) {
                Some(adj) => Ok(Hop {
                    mtu: adj.mtu.into(),
                    target: Ok(id),
                }),
                None => dropped(Drop::NoAdjacency),
            },
            (Target::Glean(iface), Some(to)) => match self.ifaces.get(iface) {
                Some(i) => Ok(Hop {
                    mtu: i.mtu.into(),
                    target: Err((iface, to)),
                }),
                None => dropped(Drop::NoAdjacency),
            },
            _ => dropped(Drop::NoAdjacency),
        }
    }

    fn sent(&self, hop: Hop, labels: &[Lse], kind: u16, payload: &[u8]) -> Done {
        let id = match hop.target {
            Ok(id) => id,
            Err((iface, next_hop)) => return Ok(End::Unresolved { iface, next_hop }),
        };
        let Some(adj) = self.fib.adj(id) else {
            return dropped(Drop::NoAdjacency);
        };
        if !adj.is_complete() {
            return Ok(End::Unresolved {
                iface: adj.iface,
                next_hop: adj.next_hop,
            });
        }
        let (kind_at, header) = (adj.header().len() - 2, adj.header());
        let kind = if labels.is_empty() { kind } else { MPLS };
        let mut frame = header[..kind_at].to_vec();
        frame.extend(kind.to_be_bytes());
        labels.iter().for_each(|l| frame.extend(l.to_bytes()));
        frame.extend(payload);
        Ok(End::Sent {
            port: adj.port,
            iface: adj.iface,
            adj: id,
            next_hop: adj.next_hop,
            frame,
        })
    }
}

/// Who gets it next.
#[derive(Clone, Copy)]
struct Hop {
    /// Bytes of packet that the link takes, labels included.
    mtu: usize,
    /// A neighbour, or a host whose adjacency has yet to be made.
    target: Result<AdjId, (IfaceId, IpAddr)>,
}

fn usable(path: Option<Path>) -> Result<Path, End> {
    match path {
        None => dropped(Drop::NoRoute),
        Some(Path {
            target: Target::Discard(kind),
            ..
        }) => dropped(discarded(kind)),
        Some(path) => Ok(path),
    }
}

fn discarded(kind: Discard) -> Drop {
    match kind {
        Discard::Blackhole => Drop::Blackhole,
        Discard::Unreachable => Drop::Unreachable,
        Discard::Prohibit => Drop::Prohibited,
    }
}

fn one_less(ttl: u8) -> Result<u8, End> {
    match ttl {
        0 | 1 => dropped(Drop::TtlExpired),
        _ => Ok(ttl - 1),
    }
}

/// The labels that a path puts on an IP packet (RFC 3443 5, RFC 5462; RFC 6790 4.2).
fn imposed(path: &Path, ttl: u8, dscp: u8, hash: u32) -> Vec<Lse> {
    let ttl = match path.ttl {
        TtlMode::Uniform => ttl,
        TtlMode::Pipe => u8::MAX,
    };
    let tc = match path.tc {
        fib::TcMode::Dscp => dscp >> 3,
        fib::TcMode::Zero => 0,
    };
    let mut words: Vec<(Label, u8, u8)> = Vec::new();
    for (i, &label) in path.push.iter().enumerate() {
        words.push((label, tc, ttl));
        if i + 1 == usize::from(path.entropy) {
            words.push((Label::ENTROPY_INDICATOR, tc, ttl));
            words.push((Label::entropy(hash), 0, 0));
        }
    }
    let n = words.len();
    let entry =
        |(i, (label, tc, ttl)): (usize, (Label, u8, u8))| Lse::new(label, tc, i + 1 == n, ttl);
    words.into_iter().enumerate().map(entry).collect()
}

/// Cuts an IP packet that leaves without labels to its length, and names its EtherType.
fn bared(payload: &mut Vec<u8>) -> Result<u16, End> {
    let (len, kind) = match under(payload) {
        Under::Ip4 => match ip4::check_with(payload, false) {
            Ok(p) => (p.bytes().len(), IPV4),
            Err(_) => return dropped(Drop::Ip4BadLength),
        },
        Under::Ip6 => match ip6::check(payload) {
            Ok(p) => (p.bytes().len(), IPV6),
            Err(_) => return dropped(Drop::Ip6BadLength),
        },
        Under::Other => return dropped(Drop::MplsUnknownPayload),
    };
    payload.truncate(len);
    Ok(kind)
}

/// Brings the TTL of an IP packet down to `ttl`, if it is higher.
fn lower_ttl(packet: &mut [u8], ttl: u8) {
    match under(packet) {
        Under::Ip4 => {
            if let Ok(mut h) = Ip4Mut::new(packet) {
                let lower = h.get().ttl().min(ttl);
                h.set_ttl(lower);
            }
        }
        Under::Ip6 => {
            if let Ok(mut h) = Ip6Mut::new(packet) {
                let lower = h.get().hop_limit().min(ttl);
                h.set_hop_limit(lower);
            }
        }
        Under::Other => {}
    }
}
