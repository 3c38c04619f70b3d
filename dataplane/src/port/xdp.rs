//! What there is to say to the kernel about BPF programs on an interface: look for one, take one away, put a small one
//! there.
//!
//! Read bpf(2), rtnetlink(7) and linux/if_link.h (IFLA_XDP). Raw calls, because four messages need no library.

use super::kernel::Claim;
use super::{DeviceError, PortError};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

const BPF_MAP_CREATE: i32 = 0;
const BPF_MAP_UPDATE_ELEM: i32 = 2;
const BPF_PROG_LOAD: i32 = 5;
const BPF_PROG_GET_FD_BY_ID: i32 = 13;
const BPF_OBJ_GET_INFO_BY_FD: i32 = 15;
const BPF_LINK_CREATE: i32 = 28;
const BPF_PROG_TYPE_SCHED_CLS: u32 = 3;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_MAP_TYPE_XSKMAP: u32 = 17;
const BPF_XDP: u32 = 37;
const BPF_TCX_INGRESS: u32 = 46;
/// `bpf_attr` is longer; the kernel takes what is given as zeros beyond.
type Attr = [u32; 32];

const IFLA_XDP: u16 = 43;
const IFLA_XDP_FD: u16 = 1;
const IFLA_XDP_FLAGS: u16 = 3;
const IFLA_XDP_PROG_ID: u16 = 4;
const IFLA_XDP_DRV_PROG_ID: u16 = 5;
const IFLA_XDP_SKB_PROG_ID: u16 = 6;
const IFLA_XDP_HW_PROG_ID: u16 = 7;
const NLA_F_NESTED: u16 = 1 << 15;
const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;

/// Names of the programs that libxdp (and so DPDK's driver) puts on an interface for AF_XDP sockets.
const OURS: [&str; 3] = ["xsk_def_", "xdp_dispatcher", "xdp_sock_prog"];

fn bpf(command: i32, attr: &mut Attr) -> io::Result<i32> {
    // SAFETY: the attributes are as the command wants them; pointers in them outlive the call.
    let rc = unsafe { libc::syscall(libc::SYS_bpf, command, attr.as_mut_ptr(), size_of::<Attr>()) };
    if rc < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(rc as i32)
    }
}

fn owned(fd: i32) -> OwnedFd {
    // SAFETY: a new descriptor from the kernel, ours alone.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn pointer<T: ?Sized>(attr: &mut Attr, word: usize, to: *const T) {
    let address = to.cast::<u8>() as u64;
    attr[word] = address as u32;
    attr[word + 1] = (address >> 32) as u32;
}

/// Drops whatever the interface receives once packet sockets have had it, for as long as the descriptor is open. Needs
/// Linux 6.6 (tcx).
pub(super) fn drop_ingress(index: i32) -> io::Result<OwnedFd> {
    // r0 = TCX_DROP; exit
    let program = load(
        BPF_PROG_TYPE_SCHED_CLS,
        BPF_TCX_INGRESS,
        &[0x0000_0002_0000_00b7, 0x95],
    )?;
    attach(&program, index, BPF_TCX_INGRESS)
}

/// Gives each socket what the queue of its place in the list receives, for as long as the descriptor is open. Other
/// queues' frames are dropped. Needs Linux 5.9.
pub(super) fn redirect_to(index: i32, sockets: &[RawFd]) -> io::Result<OwnedFd> {
    let mut attr: Attr = [0; 32];
    attr[..4].copy_from_slice(&[BPF_MAP_TYPE_XSKMAP, 4, 4, sockets.len().max(1) as u32]);
    let map = owned(bpf(BPF_MAP_CREATE, &mut attr)?);
    for (queue, socket) in sockets.iter().enumerate() {
        let (key, value) = (queue as u32, *socket as u32);
        let mut attr: Attr = [0; 32];
        attr[0] = map.as_raw_fd() as u32;
        pointer(&mut attr, 2, &raw const key);
        pointer(&mut attr, 4, &raw const value);
        bpf(BPF_MAP_UPDATE_ELEM, &mut attr)?;
    }
    let program = [
        0x0000_0000_0010_1261, // r2 = *(u32 *)(r1 + 16): rx_queue_index
        0x1118 | (map.as_raw_fd() as u32 as u64) << 32, // r1 = the map,
        0,                     // of two words
        0x0000_0001_0000_03b7, // r3 = XDP_DROP, where there is no socket
        0x0000_0033_0000_0085, // call bpf_redirect_map
        0x0000_0000_0000_0095, // exit
    ];
    let program = load(BPF_PROG_TYPE_XDP, BPF_XDP, &program)?;
    attach(&program, index, BPF_XDP)
}

fn load(kind: u32, attach_type: u32, program: &[u64]) -> io::Result<OwnedFd> {
    let license = c"Dual MIT/GPL";
    let mut attr: Attr = [0; 32];
    attr[0] = kind;
    attr[1] = program.len() as u32;
    pointer(&mut attr, 2, program.as_ptr());
    pointer(&mut attr, 4, license.as_ptr());
    // prog_name: words 12 to 15.
    for (word, text) in attr[12..16]
        .iter_mut()
        .zip(b"trunkline\0\0\0".chunks_exact(4))
    {
        *word = u32::from_ne_bytes(text.try_into().expect("four bytes"));
    }
    attr[17] = attach_type;
    Ok(owned(bpf(BPF_PROG_LOAD, &mut attr)?))
}

fn attach(program: &OwnedFd, index: i32, attach_type: u32) -> io::Result<OwnedFd> {
    let mut attr: Attr = [0; 32];
    attr[0] = program.as_raw_fd() as u32;
    attr[1] = index as u32;
    attr[2] = attach_type;
    Ok(owned(bpf(BPF_LINK_CREATE, &mut attr)?))
}

/// Takes away the XDP program that a killed process left on the interface: not ours, which goes with its descriptor, but
/// that of libxdp. Any other program stays, and is an error.
pub(super) fn clear_leftover(claim: &Claim, name: &str) -> Result<(), PortError> {
    let attached =
        attached(claim.index()).map_err(|e| claim.failed("can't ask for its XDP program", e))?;
    for (mode, id) in attached {
        let program = program_name(id).unwrap_or_default();
        if !OURS.iter().any(|p| program.starts_with(p)) {
            return Err(PortError::Device(DeviceError {
                device: format!("af_xdp:{name}"),
                what: format!(
                    "the XDP program \"{program}\" (id {id}) is on it; take it away (`ip link set {name} xdp off`) \
                     or use af_packet:{name}"
                ),
            }));
        }
        detach(claim.index(), mode)
            .map_err(|e| claim.failed(format!("can't take XDP program {id} away"), e))?;
    }
    Ok(())
}

/// The name of a loaded program.
fn program_name(id: u32) -> io::Result<String> {
    let mut attr: Attr = [0; 32];
    attr[0] = id;
    let program = owned(bpf(BPF_PROG_GET_FD_BY_ID, &mut attr)?);
    let mut info = [0u64; 32]; // struct bpf_prog_info; the name is 16 bytes at 64
    let mut attr: Attr = [0; 32];
    attr[0] = program.as_raw_fd() as u32;
    attr[1] = size_of_val(&info) as u32;
    pointer(&mut attr, 2, info.as_mut_ptr());
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    let bytes: Vec<u8> = info[8..10].iter().flat_map(|w| w.to_ne_bytes()).collect();
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    Ok(String::from_utf8_lossy(&bytes[..end]).into_owned())
}

/// The programs on the interface: flags that name the mode, and id.
fn attached(index: i32) -> io::Result<Vec<(u32, u32)>> {
    let mut message = Message::new(libc::RTM_GETLINK, 0, index);
    let answer = message.exchange()?;
    // nlmsghdr 16, ifinfomsg 16, attributes.
    let attributes = answer.get(32..).unwrap_or_default();
    let mut found = Vec::new();
    for (_, nested) in Attributes(attributes).filter(|(kind, _)| *kind == IFLA_XDP) {
        let all: Vec<(u16, u32)> = Attributes(nested)
            .filter_map(|(kind, v)| Some((kind, u32::from_ne_bytes(v.get(..4)?.try_into().ok()?))))
            .filter(|(_, id)| *id != 0)
            .collect();
        for (kind, id) in &all {
            match *kind {
                IFLA_XDP_DRV_PROG_ID => found.push((XDP_FLAGS_DRV_MODE, *id)),
                IFLA_XDP_SKB_PROG_ID => found.push((XDP_FLAGS_SKB_MODE, *id)),
                // In the NIC itself: not from an AF_XDP socket, so it will be refused by its name.
                IFLA_XDP_HW_PROG_ID => found.push((0, *id)),
                _ => {}
            }
        }
        if found.is_empty() {
            let single = all.iter().find(|(kind, _)| *kind == IFLA_XDP_PROG_ID);
            found.extend(single.map(|(_, id)| (0, *id)));
        }
    }
    Ok(found)
}

fn detach(index: i32, mode: u32) -> io::Result<()> {
    let mut message = Message::new(libc::RTM_SETLINK, libc::NLM_F_ACK as u16, index);
    let nest = message.0.len();
    message.attribute(IFLA_XDP | NLA_F_NESTED, &[]);
    message.attribute(IFLA_XDP_FD, &(-1i32).to_ne_bytes());
    message.attribute(IFLA_XDP_FLAGS, &mode.to_ne_bytes());
    let len = (message.0.len() - nest) as u16;
    message.0[nest..nest + 2].copy_from_slice(&len.to_ne_bytes());
    message.exchange().map(drop)
}

/// A request of rtnetlink about one link.
struct Message(Vec<u8>);

impl Message {
    fn new(kind: u16, flags: u16, index: i32) -> Self {
        let mut m = vec![0u8; 32];
        m[4..6].copy_from_slice(&kind.to_ne_bytes());
        m[6..8].copy_from_slice(&(flags | libc::NLM_F_REQUEST as u16).to_ne_bytes());
        m[20..24].copy_from_slice(&index.to_ne_bytes());
        Self(m)
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.0
            .extend_from_slice(&(4 + value.len() as u16).to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    /// Sends it and returns the first answer; an error in it is an `Err`.
    fn exchange(&mut self) -> io::Result<Vec<u8>> {
        let len = self.0.len() as u32;
        self.0[..4].copy_from_slice(&len.to_ne_bytes());
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        // SAFETY: no pointers.
        let fd = unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        let fd = owned(fd);
        // SAFETY: the bytes are read only, for their length.
        let sent = unsafe { libc::send(fd.as_raw_fd(), self.0.as_ptr().cast(), self.0.len(), 0) };
        if sent < 0 {
            return Err(io::Error::last_os_error());
        }
        let mut answer = vec![0u8; 65536];
        // SAFETY: the kernel writes at most the length given.
        let n = unsafe { libc::recv(fd.as_raw_fd(), answer.as_mut_ptr().cast(), answer.len(), 0) };
        if n < 0 {
            return Err(io::Error::last_os_error());
        }
        answer.truncate(n as usize);
        let kind = answer
            .get(4..6)
            .map_or(0, |b| u16::from_ne_bytes([b[0], b[1]]));
        if kind == libc::NLMSG_ERROR as u16 {
            let code = answer.get(16..20).map_or(-libc::EIO, |b| {
                i32::from_ne_bytes(b.try_into().expect("four bytes"))
            });
            if code != 0 {
                return Err(io::Error::from_raw_os_error(-code));
            }
        }
        Ok(answer)
    }
}

/// Walks netlink attributes: kind without flags, value.
struct Attributes<'a>(&'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);
    fn next(&mut self) -> Option<Self::Item> {
        let head = self.0.get(..4)?;
        let len = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let kind = u16::from_ne_bytes([head[2], head[3]]) & 0x3fff;
        let value = self.0.get(4..len)?;
        self.0 = self.0.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_walked_to_the_end_and_no_further() {
        let mut m = Message(Vec::new());
        m.attribute(7, &[1, 2, 3]);
        m.attribute(8 | NLA_F_NESTED, &[9]);
        let all: Vec<_> = Attributes(&m.0).collect();
        assert_eq!(all, [(7, &[1u8, 2, 3][..]), (8, &[9][..])]);
        for cut in 0..m.0.len() {
            assert!(Attributes(&m.0[..cut]).count() <= 2);
        }
        assert_eq!(
            Attributes(&[0, 0, 1, 0]).count(),
            0,
            "a length below 4 ends the walk"
        );
    }
}
