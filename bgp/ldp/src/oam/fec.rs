//! Target FECs: RFC 8029 3.2, those of LDP, of BGP, of VPNs, generic ones, and nil.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::{Malformed, put, read};
use crate::types::Label;
use crate::wire::read::Reader;

/// What a label of the stack is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FecElement {
    /// A prefix of LDP (3.2.1, 3.2.2).
    Ldp(IpNet),
    /// A labelled prefix of BGP (3.2.12, 3.2.13).
    Bgp(IpNet),
    /// A prefix of a VPN, with its route distinguisher (3.2.5, 3.2.6).
    Vpn([u8; 8], IpNet),
    /// A prefix, whoever gave it a label (3.2.14, 3.2.15).
    Generic(IpNet),
    /// A label that is for no FEC, such as Router Alert (3.2.16).
    Nil(Label),
    /// Another one: type and value.
    Other(u16, Vec<u8>),
}

fn prefix<const N: usize>(value: &[u8]) -> Result<IpNet, Malformed>
where
    IpAddr: From<[u8; N]>,
{
    let wrong = Malformed("a prefix of the wrong length");
    let (addr, len) = value.split_first_chunk::<N>().ok_or(wrong)?;
    let &[len] = len else {
        return Err(wrong);
    };
    let net = IpNet::new(IpAddr::from(*addr), len).map_err(|_| wrong)?;
    Ok(net.trunc())
}

fn vpn<const N: usize>(value: &[u8]) -> Result<FecElement, Malformed>
where
    IpAddr: From<[u8; N]>,
{
    let (rd, rest) = value
        .split_first_chunk::<8>()
        .ok_or(Malformed("a VPN prefix that is cut off"))?;
    Ok(FecElement::Vpn(*rd, prefix::<N>(rest)?))
}

impl FecElement {
    pub(super) fn parse(kind: u16, value: &[u8]) -> Result<Self, Malformed> {
        Ok(match kind {
            1 => Self::Ldp(prefix::<4>(value)?),
            2 => Self::Ldp(prefix::<16>(value)?),
            6 => vpn::<4>(value)?,
            7 => vpn::<16>(value)?,
            12 => Self::Bgp(prefix::<4>(value)?),
            13 => Self::Bgp(prefix::<16>(value)?),
            14 => Self::Generic(prefix::<4>(value)?),
            15 => Self::Generic(prefix::<16>(value)?),
            16 => {
                let word: [u8; 4] = value
                    .try_into()
                    .map_err(|_| Malformed("a nil FEC that has not four octets"))?;
                let label = Label::new(u32::from_be_bytes(word) >> 12);
                Self::Nil(label.ok_or(Malformed("a nil FEC without a label"))?)
            }
            kind => Self::Other(kind, value.to_vec()),
        })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        let of = |net: &IpNet, v4, v6| if matches!(net, IpNet::V4(_)) { v4 } else { v6 };
        let put_net = |out: &mut Vec<u8>, net: &IpNet| {
            match net.network() {
                IpAddr::V4(a) => out.extend_from_slice(&Ipv4Addr::octets(&a)),
                IpAddr::V6(a) => out.extend_from_slice(&Ipv6Addr::octets(&a)),
            }
            out.push(net.prefix_len());
        };
        match self {
            Self::Ldp(net) => put(out, of(net, 1, 2), |out| put_net(out, net)),
            Self::Bgp(net) => put(out, of(net, 12, 13), |out| put_net(out, net)),
            Self::Generic(net) => put(out, of(net, 14, 15), |out| put_net(out, net)),
            Self::Vpn(rd, net) => put(out, of(net, 6, 7), |out| {
                out.extend_from_slice(rd);
                put_net(out, net);
            }),
            Self::Nil(label) => put(out, 16, |out| {
                out.extend_from_slice(&(label.get() << 12).to_be_bytes())
            }),
            Self::Other(kind, value) => put(out, *kind, |out| out.extend_from_slice(value)),
        }
    }
}

/// Reads a stack of them: at least one.
pub(super) fn read_stack(value: &[u8]) -> Result<Vec<FecElement>, Malformed> {
    let mut r = Reader(value);
    let mut all = vec![];
    while !r.is_empty() {
        let (kind, value) = read(&mut r)?;
        all.push(FecElement::parse(kind, value)?);
    }
    if all.is_empty() {
        return Err(Malformed("a target without a FEC"));
    }
    Ok(all)
}
