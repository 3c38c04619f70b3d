//! A small rtnetlink client: rtnetlink(7), RFC 3549, `linux/rtnetlink.h`, `linux/fib_rules.h`.
//!
//! One blocking socket, one request at a time, each answered by an acknowledgement (or, for a dump, by a series of
//! messages). Messages are encoded here, into a byte buffer; the socket is neli's. Left out: notifications (nobody
//! but this process changes its TAPs), everything that the appliance does not ask of the kernel.

use std::io;
use std::net::IpAddr;

use neli::consts::socket::{Msg, NlFamily};
use neli::socket::NlSocket;
use neli::utils::Groups;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 0x01;
const NLM_F_ACK: u16 = 0x04;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_REPLACE: u16 = 0x100;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;
/// Set in the answer's header when attributes follow the echoed request.
const NLM_F_ACK_TLVS: u16 = 0x200;
/// Set in an acknowledgement that echoes the request's header only.
const NLM_F_CAPPED: u16 = 0x100;
const NLMSGERR_ATTR_MSG: u16 = 1;

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_NEWROUTE: u16 = 24;
const RTM_NEWRULE: u16 = 32;
const RTM_DELRULE: u16 = 33;
const RTM_GETRULE: u16 = 34;

const IFLA_IFNAME: u16 = 3;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFA_FLAGS: u16 = 8;
const IFA_F_NODAD: u32 = 0x02;
const RTA_OIF: u16 = 4;
const RTA_TABLE: u16 = 15;
const FRA_SRC: u16 = 2;
const FRA_PRIORITY: u16 = 6;
const FRA_TABLE: u16 = 15;
const FRA_PROTOCOL: u16 = 21;

const AF_INET: u8 = libc::AF_INET as u8;
const AF_INET6: u8 = libc::AF_INET6 as u8;

/// The routing protocol number by which our rules and routes are known (`/etc/iproute2/rt_protos` leaves it free).
pub(crate) const PROTOCOL: u8 = 84;

/// One netlink message under construction.
struct Message(Vec<u8>);

impl Message {
    fn new(kind: u16, flags: u16, body: &[u8]) -> Self {
        let mut m = Vec::with_capacity(128);
        m.extend_from_slice(&0u32.to_ne_bytes()); // length, when finished
        m.extend_from_slice(&kind.to_ne_bytes());
        m.extend_from_slice(&(NLM_F_REQUEST | flags).to_ne_bytes());
        m.extend_from_slice(&0u32.to_ne_bytes()); // sequence, when sent
        m.extend_from_slice(&0u32.to_ne_bytes()); // port: the kernel's
        m.extend_from_slice(body);
        Self(m)
    }

    /// Appends an attribute, padded to 4 bytes.
    fn attr(mut self, kind: u16, value: &[u8]) -> Self {
        let len = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.0.extend_from_slice(&len.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn attr_u32(self, kind: u16, value: u32) -> Self {
        self.attr(kind, &value.to_ne_bytes())
    }

    fn attr_ip(self, kind: u16, ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(a) => self.attr(kind, &a.octets()),
            IpAddr::V6(a) => self.attr(kind, &a.octets()),
        }
    }

    fn finish(mut self, seq: u32) -> Vec<u8> {
        let len = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0[0..4].copy_from_slice(&len.to_ne_bytes());
        self.0[8..12].copy_from_slice(&seq.to_ne_bytes());
        self.0
    }
}

fn u16_at(b: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(b.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(b: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(b.get(at..at + 4)?.try_into().ok()?))
}

/// The attributes of a message's tail: (kind, value) each. Stops at the first that is malformed.
fn attrs(mut b: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let len = usize::from(u16_at(b, 0)?);
        let kind = u16_at(b, 2)? & 0x3fff; // less the nested and byte order bits
        let value = b.get(4..len)?;
        b = b.get(len.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind, value))
    })
}

fn family(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { AF_INET } else { AF_INET6 }
}

fn host_len(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

/// One answer of the kernel's: its kind and what follows the header.
#[derive(Debug, PartialEq, Eq)]
struct Answer<'a> {
    kind: u16,
    flags: u16,
    seq: u32,
    body: &'a [u8],
}

/// Splits a datagram into the messages in it.
fn answers(mut b: &[u8]) -> impl Iterator<Item = Answer<'_>> {
    std::iter::from_fn(move || {
        let len = u32_at(b, 0)? as usize;
        let a = Answer {
            kind: u16_at(b, 4)?,
            flags: u16_at(b, 6)?,
            seq: u32_at(b, 8)?,
            body: b.get(16..len)?,
        };
        b = b.get(len.next_multiple_of(4)..).unwrap_or(&[]);
        Some(a)
    })
}

/// What an acknowledgement says: done, or an error with the kernel's own words where it has some.
fn verdict(a: &Answer<'_>) -> io::Result<()> {
    let code = u32_at(a.body, 0).map_or(-libc::EPROTO, u32::cast_signed);
    if code == 0 {
        return Ok(());
    }
    let error = io::Error::from_raw_os_error(-code);
    if a.flags & NLM_F_ACK_TLVS == 0 {
        return Err(error);
    }
    let echoed = if a.flags & NLM_F_CAPPED != 0 {
        16
    } else {
        u32_at(a.body, 4).unwrap_or(16) as usize
    };
    let tail = a.body.get(4 + echoed.next_multiple_of(4)..).unwrap_or(&[]);
    let words = attrs(tail)
        .find(|(k, _)| *k == NLMSGERR_ATTR_MSG)
        .map(|(_, v)| v);
    match words {
        Some(w) => {
            let text = String::from_utf8_lossy(w.strip_suffix(&[0]).unwrap_or(w)).into_owned();
            Err(io::Error::new(error.kind(), format!("{error}: {text}")))
        }
        None => Err(error),
    }
}

/// A policy rule of ours: `from ADDRESS lookup TABLE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// The source that it selects.
    pub(crate) from: IpAddr,
    /// The table that it sends to.
    pub(crate) table: u32,
    /// Its place: lower numbers are looked at earlier.
    pub(crate) priority: u32,
}

/// A device of the kernel's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    /// Its index.
    pub(crate) index: u32,
    /// Its name.
    pub(crate) name: String,
}

/// The client.
pub(crate) struct Netlink {
    socket: NlSocket,
    seq: u32,
    buffer: Vec<u8>,
}

impl std::fmt::Debug for Netlink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Netlink")
            .field("seq", &self.seq)
            .finish_non_exhaustive()
    }
}

impl Netlink {
    /// Opens a routing socket in the namespace of the calling thread.
    pub(crate) fn open() -> io::Result<Self> {
        let socket = NlSocket::connect(NlFamily::Route, None, Groups::empty())?;
        // Only for the words in error answers: an older kernel does without.
        let _ = socket.enable_ext_ack(true);
        Ok(Self {
            socket,
            seq: 0,
            buffer: vec![0; 65536],
        })
    }

    /// Sends `m`; gives each answer of the kind asked for to `each`; returns when the kernel has said that it is done.
    fn ask(&mut self, m: Message, mut each: impl FnMut(&[u8])) -> io::Result<()> {
        self.seq = self.seq.wrapping_add(1);
        let seq = self.seq;
        self.socket.send(m.finish(seq), Msg::empty())?;
        loop {
            let (n, _) = self.socket.recv(&mut self.buffer[..], Msg::empty())?;
            for a in answers(&self.buffer[..n]).filter(|a| a.seq == seq) {
                match a.kind {
                    NLMSG_ERROR => return verdict(&a),
                    NLMSG_DONE => return Ok(()),
                    _ => each(a.body),
                }
            }
        }
    }

    fn order(&mut self, m: Message) -> io::Result<()> {
        self.ask(m, |_| ())
    }

    /// All devices of the namespace.
    pub(crate) fn links(&mut self) -> io::Result<Vec<Link>> {
        let mut out = Vec::new();
        self.ask(Message::new(RTM_GETLINK, NLM_F_DUMP, &[0; 16]), |body| {
            let name = attrs(body.get(16..).unwrap_or(&[]))
                .find(|(k, _)| *k == IFLA_IFNAME)
                .map(|(_, v)| v);
            if let (Some(index), Some(name)) = (u32_at(body, 4), name) {
                let name =
                    String::from_utf8_lossy(name.strip_suffix(&[0]).unwrap_or(name)).into_owned();
                out.push(Link { index, name });
            }
        })?;
        Ok(out)
    }

    /// Sets the loopback device of the namespace up: without it, nothing there reaches its own addresses.
    pub(crate) fn raise_loopback(&mut self) -> io::Result<()> {
        const UP: u32 = libc::IFF_UP as u32;
        // struct ifinfomsg: family, type, index, flags, which flags to change. It is the first device of a namespace.
        let fields = [0, 1, UP, UP].map(u32::to_ne_bytes);
        self.order(Message::new(RTM_NEWLINK, NLM_F_ACK, &fields.concat()))
    }

    /// Gives a device an address. One that it has already is left as it is.
    pub(crate) fn add_address(&mut self, index: u32, ip: IpAddr, len: u8) -> io::Result<()> {
        let mut m = Message::new(
            RTM_NEWADDR,
            NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE,
            &addr_body(index, ip, len),
        )
        .attr_ip(IFA_LOCAL, ip)
        .attr_ip(IFA_ADDRESS, ip);
        match ip {
            IpAddr::V4(a) if len < 31 => {
                m = m.attr_ip(
                    IFA_BROADCAST,
                    IpAddr::V4((a.to_bits() | u32::MAX >> len).into()),
                );
            }
            IpAddr::V4(_) => {}
            // Duplicates are looked for on the wire by `neigh`, not by the kernel.
            IpAddr::V6(_) => m = m.attr_u32(IFA_FLAGS, IFA_F_NODAD),
        }
        self.order(m)
    }

    /// Takes an address from a device.
    pub(crate) fn del_address(&mut self, index: u32, ip: IpAddr, len: u8) -> io::Result<()> {
        self.order(
            Message::new(RTM_DELADDR, NLM_F_ACK, &addr_body(index, ip, len)).attr_ip(IFA_LOCAL, ip),
        )
    }

    /// `default dev INDEX table TABLE`, for one address family.
    pub(crate) fn add_default_route(&mut self, index: u32, v6: bool, table: u32) -> io::Result<()> {
        let family = if v6 { AF_INET6 } else { AF_INET };
        let link_scope = if v6 { 0 } else { 253 };
        // family, dst len, src len, tos, table (in the attribute), protocol, scope, type unicast, flags
        let body = [family, 0, 0, 0, 0, PROTOCOL, link_scope, 1, 0, 0, 0, 0];
        self.order(
            Message::new(
                RTM_NEWROUTE,
                NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE,
                &body,
            )
            .attr_u32(RTA_TABLE, table)
            .attr_u32(RTA_OIF, index),
        )
    }

    /// Adds a rule; one that is there already is fine.
    pub(crate) fn add_rule(&mut self, rule: &Rule) -> io::Result<()> {
        match self.order(rule_message(RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, rule)) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    }

    /// Removes a rule.
    pub(crate) fn del_rule(&mut self, rule: &Rule) -> io::Result<()> {
        self.order(rule_message(RTM_DELRULE, 0, rule))
    }

    /// Every rule that carries our protocol number, of either family.
    pub(crate) fn our_rules(&mut self) -> io::Result<Vec<Rule>> {
        let mut out = Vec::new();
        for family in [AF_INET, AF_INET6] {
            let mut body = [0; 12];
            body[0] = family;
            let asked = self.ask(Message::new(RTM_GETRULE, NLM_F_DUMP, &body), |b| {
                out.extend(our_rule(b))
            });
            match asked {
                // A kernel without IPv6.
                Err(e)
                    if e.raw_os_error() == Some(libc::EAFNOSUPPORT)
                        || e.raw_os_error() == Some(libc::EOPNOTSUPP) => {}
                other => other?,
            }
        }
        Ok(out)
    }
}

/// `struct ifaddrmsg`. Link-local IPv6 addresses have the link's scope.
fn addr_body(index: u32, ip: IpAddr, len: u8) -> [u8; 8] {
    let scope = match ip {
        IpAddr::V6(a) if a.is_unicast_link_local() => 253,
        _ => 0,
    };
    let mut b = [family(ip), len, 0, scope, 0, 0, 0, 0];
    b[4..8].copy_from_slice(&index.to_ne_bytes());
    b
}

fn rule_message(kind: u16, flags: u16, rule: &Rule) -> Message {
    // struct fib_rule_hdr: family, dst len, src len, tos, table (in the attribute), 2 reserved, action to-table, flags
    let body = [
        family(rule.from),
        0,
        host_len(rule.from),
        0,
        0,
        0,
        0,
        1,
        0,
        0,
        0,
        0,
    ];
    Message::new(kind, NLM_F_ACK | flags, &body)
        .attr_ip(FRA_SRC, rule.from)
        .attr_u32(FRA_PRIORITY, rule.priority)
        .attr_u32(FRA_TABLE, rule.table)
        .attr(FRA_PROTOCOL, &[PROTOCOL])
}

/// Reads a rule of a dump, when it is one of ours.
fn our_rule(body: &[u8]) -> Option<Rule> {
    let (mut from, mut table, mut priority, mut ours) = (None, None, None, false);
    for (kind, v) in attrs(body.get(12..)?) {
        match kind {
            FRA_SRC => {
                from = match v.len() {
                    4 => <[u8; 4]>::try_from(v).ok().map(IpAddr::from),
                    _ => <[u8; 16]>::try_from(v).ok().map(IpAddr::from),
                }
            }
            FRA_TABLE => table = u32_at(v, 0),
            FRA_PRIORITY => priority = u32_at(v, 0),
            FRA_PROTOCOL => ours = v == [PROTOCOL],
            _ => {}
        }
    }
    ours.then_some(Rule {
        from: from?,
        table: table?,
        priority: priority?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_written_is_the_rule_read() {
        for from in ["192.0.2.1", "2001:db8::1"] {
            let rule = Rule {
                from: from.parse().unwrap(),
                table: 7042,
                priority: 7000,
            };
            let bytes = rule_message(RTM_NEWRULE, 0, &rule).finish(7);
            let a = answers(&bytes).next().unwrap();
            assert_eq!((a.kind, a.seq), (RTM_NEWRULE, 7));
            assert_eq!(our_rule(a.body), Some(rule));
        }
    }

    #[test]
    fn somebody_elses_rule_is_not_ours() {
        let rule = Rule {
            from: "192.0.2.1".parse().unwrap(),
            table: 7042,
            priority: 7000,
        };
        let mut bytes = rule_message(RTM_NEWRULE, 0, &rule).finish(7);
        let at = bytes.len() - 4; // the protocol is the last attribute
        bytes[at] = 3;
        assert_eq!(our_rule(&bytes[16..]), None);
    }

    #[test]
    fn error_carries_the_kernels_words() {
        let mut b = Vec::new();
        b.extend_from_slice(&(-libc::EINVAL).to_ne_bytes());
        b.extend_from_slice(&[0; 16]); // the echoed header
        let m = Message(b).attr(NLMSGERR_ATTR_MSG, b"Invalid prefix\0");
        let a = Answer {
            kind: NLMSG_ERROR,
            flags: NLM_F_CAPPED | NLM_F_ACK_TLVS,
            seq: 1,
            body: &m.0,
        };
        let e = verdict(&a).unwrap_err();
        assert!(e.to_string().ends_with("Invalid prefix"), "{e}");
        assert_eq!(e.kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn malformed_attributes_end_the_walk() {
        assert_eq!(attrs(&[2, 0, 1, 0]).count(), 0); // shorter than its own header
        assert_eq!(attrs(&[200, 0, 1, 0, 1, 2, 3, 4]).count(), 0); // longer than the buffer
        assert_eq!(attrs(&[5, 0, 1, 0, 9]).count(), 1); // unpadded tail
        assert_eq!(answers(&[1, 0, 0, 0]).count(), 0);
    }
}
