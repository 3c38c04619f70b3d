//! What is for the router itself goes to the control thread as an untagged Ethernet frame, addressed to the interface whose
//! TAP will carry it into the kernel.

use super::frame::{Cast, Frame};
use super::{Cx, Output};
use crate::drops::Drop;
use crate::mbuf::Mbuf;
use crate::punt::PuntReason;
use net::eth::HEADER_LEN;
use net::eth::ethertype::{IPV4, MPLS};
use net::{IfaceId, MacAddr};

/// Hands the frame to the control thread for `owner`, the interface that has its destination address. The MAC address is
/// made that interface's, as the kernel takes no others; a group's stays.
pub(super) fn to_control<O: Output>(
    cx: &mut Cx<'_, O>,
    mut f: Frame,
    owner: IfaceId,
    reason: PuntReason,
    ethertype: u16,
) {
    let mac = cx.env.ifaces.get(owner).map(|i| i.mac);
    let Some(mac) = mac else {
        return cx.drop(f, Drop::PuntUnwanted);
    };
    let Some((to, from)) = macs(&mut f) else {
        return cx.drop(f, Drop::NoHeadroom);
    };
    let to = match (f.cast, to) {
        (Cast::Group, Some(group)) => group,
        _ => mac,
    };
    let Some(room) = f.m.prepend(HEADER_LEN) else {
        return cx.drop(f, Drop::NoHeadroom);
    };
    room[..6].copy_from_slice(&to.0);
    room[6..12].copy_from_slice(&from.unwrap_or(mac).0);
    room[12..].copy_from_slice(&ethertype.to_be_bytes());
    f.m.meta_mut().set_punt(reason, owner, f.iface, ethertype);
    cx.out.punt(f.m);
}

/// Hands on an echo request of LSP ping as it came: its data begins at the first label (`labelled`, with whatever of the stack was
/// popped uncovered again) or at the IPv4 header. Beyond the rate it is dropped, so that nobody keeps the control thread busy.
#[cold]
pub(super) fn echo<O: Output>(cx: &mut Cx<'_, O>, mut f: Frame, labelled: bool) {
    if !cx.echoes.has(cx.env.now) {
        return cx.drop(f, Drop::LspPingLimit);
    }
    if f.m.prepend(f.popped.into()).is_none() {
        return cx.drop(f, Drop::NoHeadroom);
    }
    cx.echoes.take();
    let ethertype = if labelled { MPLS } else { IPV4 };
    let iface = f.iface;
    f.m.meta_mut()
        .set_punt(PuntReason::Echo, iface, iface, ethertype);
    cx.out.punt(f.m);
}

/// Destination and source of the link header that is still in front of what was popped, if the frame had one. `None` when
/// the buffer does not hold what it should.
fn macs(f: &mut Frame) -> Option<(Option<MacAddr>, Option<MacAddr>)> {
    if !f.forwarded() {
        return Some((None, None));
    }
    let back = HEADER_LEN + usize::from(f.popped);
    let addresses = {
        let header = net::eth::Eth::new(f.m.prepend(back)?).ok()?;
        (Some(header.dst()), Some(header.src()))
    };
    trim(&mut f.m, back);
    Some(addresses)
}

/// Takes back bytes that were uncovered before.
pub(super) fn trim(m: &mut Mbuf, n: usize) {
    let fits = m.trim_front(n);
    debug_assert!(fits.is_some(), "only what was uncovered is covered again");
}
