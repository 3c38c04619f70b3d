//! Ports on interfaces of the kernel: veth pairs `pa` (the port's) and `pb` (the test's), in a namespace of their own.

use super::*;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Makes the pair, with that many queues on each side. Nobody but the test talks on `pb`.
pub(super) fn veth(queues: u32) {
    let n = format!("numrxqueues {queues} numtxqueues {queues}");
    run(&format!("ip link add pa {n} type veth peer name pb {n}"));
    run("sysctl -qw net.ipv6.conf.pb.disable_ipv6=1 && ip link set pb mtu 9100 up");
}

/// A test's end of a veth: a packet socket on it.
pub(super) struct Wire(OwnedFd);

impl Wire {
    pub(super) fn new(name: &str) -> Self {
        // Until then what is sent is lost.
        eventually("the wire's link", || {
            let link = Command::new("ip")
                .args(["link", "show", name])
                .output()
                .unwrap();
            String::from_utf8_lossy(&link.stdout).contains("state U")
        });
        // SAFETY: no pointers.
        let fd = unsafe {
            libc::socket(
                libc::AF_PACKET,
                libc::SOCK_RAW | libc::SOCK_NONBLOCK,
                0x0300,
            ) // ETH_P_ALL
        };
        assert!(fd >= 0, "{}", io::Error::last_os_error());
        // SAFETY: a new descriptor; then an address of its own length; the name is a C string.
        unsafe {
            let fd = OwnedFd::from_raw_fd(fd);
            let mut to: libc::sockaddr_ll = std::mem::zeroed();
            to.sll_family = libc::AF_PACKET as u16;
            to.sll_protocol = 0x0300;
            let name = std::ffi::CString::new(name).unwrap();
            to.sll_ifindex = libc::if_nametoindex(name.as_ptr()) as i32;
            let len = size_of_val(&to) as u32;
            assert_eq!(libc::bind(fd.as_raw_fd(), (&raw const to).cast(), len), 0);
            let one = 1i32;
            let rc = libc::setsockopt(
                fd.as_raw_fd(),
                libc::SOL_PACKET,
                23, // PACKET_IGNORE_OUTGOING
                (&raw const one).cast(),
                4,
            );
            assert_eq!(rc, 0);
            Self(fd)
        }
    }

    pub(super) fn send(&self, bytes: &[u8]) {
        // SAFETY: bytes and their length.
        let n = unsafe { libc::send(self.0.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
        assert_eq!(n, bytes.len() as isize, "{}", io::Error::last_os_error());
    }

    fn recv(&self) -> Option<Vec<u8>> {
        let mut bytes = vec![0u8; 65536];
        // SAFETY: room and its length.
        let n = unsafe {
            libc::recv(
                self.0.as_raw_fd(),
                bytes.as_mut_ptr().cast(),
                bytes.len(),
                0,
            )
        };
        bytes.truncate(usize::try_from(n).ok()?);
        Some(bytes)
    }

    pub(super) fn expect(&self, n: usize) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        eventually(&format!("{n} frames on the wire"), || {
            all.extend(std::iter::from_fn(|| self.recv()).filter(|f| is_test_frame(f)));
            all.len() >= n
        });
        assert_eq!(all.len(), n);
        all
    }
}

fn readable(fd: i32) -> bool {
    let mut poll = libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one entry.
    unsafe { libc::poll(&raw mut poll, 1, 0) == 1 && poll.revents & libc::POLLIN != 0 }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap().trim().to_owned()
}

/// What opening a port may change on the interface.
fn state(name: &str) -> String {
    let out = |c: &str| Command::new("sh").args(["-c", c]).output().unwrap().stdout;
    let all = out(&format!(
        "ip -d link show {name} | grep -v altname | head -2; ethtool -k {name} | grep -E 'generic-rec|large-rec'"
    ));
    let flags = String::from_utf8_lossy(&all).replace("qdisc noqueue", "qdisc noop");
    flags + &read(&format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"))
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

pub(super) fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Frames both ways, of all the lengths that an MTU of that size wants to pass.
fn both_ways(port: &mut Open, wire: &Wire, mtu: usize) {
    for len in [60, 61, 1000, mtu + 14, mtu + 18, mtu + 14 + 32] {
        let f = frame(0x8847, len, len as u16);
        wire.send(&f);
        assert_eq!(port.expect(1)[0].1, f, "{len} bytes in");
        port.send(0, &f);
        assert_eq!(wire.expect(1)[0], f, "{len} bytes out");
    }
    // A VLAN tag, also of the outer kind, is part of the frame.
    for tpid in [0x8100, 0x88a8] {
        let mut f = frame(tpid, mtu + 18, 0x2064);
        f[16..18].copy_from_slice(&[0x88, 0xb5]);
        wire.send(&f);
        assert_eq!(port.expect(1)[0].1, f);
        port.send(0, &f);
        let got = &wire.expect(1)[0];
        // The kernel takes an outer tag out for packet sockets and tells it beside the frame.
        assert!(got == &f || got[12..] == f[16..], "{got:02x?}");
    }
    // Many at once, in order; more than any ring has room for, so that every slot is used again.
    for round in 0..3 {
        let numbers = round * 500..round * 500 + 500;
        for n in numbers.clone() {
            wire.send(&frame(0x88b5, 100, n));
        }
        let all = port.expect(500);
        assert!(
            all.iter()
                .zip(numbers)
                .all(|((_, f), n)| f == &frame(0x88b5, 100, n))
        );
    }
    for round in 0..20 {
        let numbers = round * 64..round * 64 + 64;
        let frames = numbers
            .clone()
            .map(|n| port.pool.alloc_from(&frame(0x88b5, 100, n)).unwrap());
        let mut burst = Burst::new();
        burst.extend(frames);
        eventually("64 frames sent", || {
            port.tx[0].tx(&mut burst);
            burst.is_empty()
        });
        let all = wire.expect(64);
        assert!(
            all.iter()
                .zip(numbers)
                .all(|(f, n)| f == &frame(0x88b5, 100, n))
        );
    }
}

#[test]
fn af_packet_passes_frames_and_gives_the_interface_back() {
    if !own_network() {
        return;
    }
    veth(1);
    let eal = eal();
    let mut pools = Pools::new(2047, 63);
    let before = state("pa");
    let mut port = Open::new(&eal, &spec("af_packet:pa"), 0, &mut pools).unwrap();
    assert_eq!(port.port.warnings(), [] as [String; 0]);
    assert!(state("pa").contains(&port.port.mac().to_string()));
    let wire = Wire::new("pb");
    both_ways(&mut port, &wire, 1500);
    assert_eq!(port.port.stats(), PortStats::default());

    // A frame too long for the ring is counted, never cut.
    run("ip link set pa mtu 9000");
    wire.send(&frame(0x88b5, 5000, 1));
    port.expect(0);
    assert_eq!(port.port.stats().rx_oversize, 1);

    // What the kernel, or anybody else, sends by the interface was not received by it.
    Wire::new("pa").send(&frame(0x88b5, 60, 77));
    assert_eq!(wire.expect(1)[0], frame(0x88b5, 60, 77));
    port.expect(0);

    // A worker can sleep until there is something.
    let fd = port.rx[0].wait_fd().unwrap();
    assert!(!readable(fd));
    wire.send(&frame(0x88b5, 60, 1));
    eventually("readable", || readable(fd));
    port.expect(1);
    assert!(!readable(fd));

    // The link follows the peer's.
    assert!(port.port.link().up);
    run("ip link set pb down");
    assert!(!port.port.link().up);
    let mut burst = Burst::new();
    burst
        .push(port.pool.alloc_from(&frame(0x88b5, 60, 1)).unwrap())
        .unwrap();
    port.tx[0].tx(&mut burst); // must not hang
    run("ip link set pb up");
    eventually("link up", || port.port.link().up);

    let e = Open::new(&eal, &spec("af_packet:pa"), 1, &mut pools)
        .err()
        .unwrap()
        .to_string();
    assert_eq!(
        e,
        "af_packet:pa: in use by another port or another trunkline process"
    );
    let pool = port.pool.clone();
    assert!(
        port.port
            .set_mtu(3000)
            .unwrap_err()
            .to_string()
            .contains("MTU 3000 is over")
    );
    port.port.set_mtu(1600).unwrap();
    drop(burst);
    port.close().unwrap();
    assert_eq!(pool.in_use(), 0);
    assert_eq!(state("pa"), before);
}

#[test]
fn af_packet_passes_jumbo_frames() {
    if !own_network() {
        return;
    }
    veth(1);
    let eal = eal();
    let mut pools = Pools::new(255, 2047);
    let s = PortSpec {
        mtu: 9000,
        ..spec("af_packet:pa")
    };
    let mut port = Open::new(&eal, &s, 0, &mut pools).unwrap();
    both_ways(&mut port, &Wire::new("pb"), 9000);
    port.close().unwrap();
}

#[test]
fn af_packet_spreads_flows_and_shows_each_frame_once() {
    if !own_network() {
        return;
    }
    veth(1);
    let eal = eal();
    let mut pools = Pools::new(2047, 63);
    let s = PortSpec {
        queues: Some(4),
        ..spec("af_packet:pa")
    };
    let mut port = Open::new(&eal, &s, 0, &mut pools).unwrap();
    let wire = Wire::new("pb");
    // UDP flows by their source port, with nothing else right but what a flow hash looks at.
    let flow = |n: u16| {
        let mut f = frame(0x0800, 60, 0);
        f[14..34].copy_from_slice(&[
            0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
        ]);
        f[34..36].copy_from_slice(&(1000 + n).to_be_bytes());
        f
    };
    let mut queue_of = std::collections::BTreeMap::new();
    for _ in 0..4 {
        for n in 0..64 {
            wire.send(&flow(n));
        }
        for (queue, f) in port.expect(64) {
            assert_eq!(
                *queue_of.entry(f).or_insert(queue),
                queue,
                "a flow keeps to its queue"
            );
        }
    }
    assert_eq!(queue_of.len(), 64);
    let used: std::collections::BTreeSet<_> = queue_of.values().collect();
    assert!(used.len() > 2, "64 flows on queues {used:?}");
    // What one queue sends, another does not receive.
    for queue in 0..4 {
        port.send(queue, &flow(queue as u16));
    }
    assert_eq!(wire.expect(4).len(), 4);
    port.expect(0);

    // IPv4 fragments are frames like others: nobody puts them together.
    let mut first = flow(7);
    first[20] = 0x20; // more fragments
    let mut last = first.clone();
    last[20..22].copy_from_slice(&[0, 3]);
    wire.send(&first);
    wire.send(&last);
    let got: Vec<_> = port.expect(2).into_iter().map(|(_, f)| f).collect();
    assert!(got.contains(&first) && got.contains(&last));
    port.close().unwrap();
}

#[test]
fn af_packet_completes_checksums_that_veth_leaves_open() {
    if !own_network() {
        return;
    }
    veth(1);
    run("ip link set pb address 02:00:00:00:00:5a && ip addr add 10.9.0.2/24 dev pb");
    run("sysctl -qw net.ipv6.conf.pb.disable_ipv6=0 && ip -6 addr add fd09::2/64 dev pb nodad");
    run("ip neigh add 10.9.0.1 lladdr 02:00:00:00:00:01 dev pb");
    run("ip neigh add fd09::1 lladdr 02:00:00:00:00:01 dev pb");
    run("ethtool -K pb tx on >/dev/null");
    let eal = eal();
    let mut pools = Pools::new(2047, 63);
    let mut port = Open::new(&eal, &spec("af_packet:pa"), 0, &mut pools).unwrap();
    eventually("link up", || port.port.link().up);
    for (from, to) in [("10.9.0.2:0", "10.9.0.1:9"), ("[fd09::2]:0", "[fd09::1]:9")] {
        let socket = std::net::UdpSocket::bind(from).unwrap();
        socket.send_to(b"seven77", to).unwrap();
        let mut udp = Vec::new();
        eventually("the datagram", || {
            let tail = |f: &[u8]| f.ends_with(b"seven77");
            udp.extend(port.poll().into_iter().map(|(_, f)| f).filter(|f| tail(f)));
            !udp.is_empty()
        });
        let f = &udp[0];
        let (pseudo, segment) = match f[12] {
            0x08 => (
                net::checksum::Sum::pseudo4(0x0a09_0002, 0x0a09_0001, 17, 15),
                &f[34..],
            ),
            _ => {
                let prefix = 0xfd09u128 << 112;
                (
                    net::checksum::Sum::pseudo6(prefix | 2, prefix | 1, 17, 15),
                    &f[54..],
                )
            }
        };
        assert_eq!(segment.len(), 15);
        assert_ne!(segment[6..8], [0, 0]);
        assert_eq!(pseudo.add_bytes(segment).finish(), 0, "{segment:02x?}");
    }
    port.close().unwrap();
}

#[test]
fn af_packet_keeps_the_kernel_off_and_says_so() {
    if !own_network() {
        return;
    }
    veth(1);
    run("ip link set pa up && ip addr add 10.9.0.1/24 dev pa");
    let wire = Wire::new("pb");
    // An ARP request for the address that the kernel has on `pa`.
    let mut request = frame(0x0806, 60, 0);
    request[14..22].copy_from_slice(&[0, 1, 8, 0, 6, 4, 0, 1]);
    request[22..32].copy_from_slice(&[2, 0, 0, 0, 0, 0x5a, 10, 9, 0, 77]);
    request[38..42].copy_from_slice(&[10, 9, 0, 1]);
    let answered = || {
        wire.send(&request);
        std::thread::sleep(Duration::from_millis(20));
        std::iter::from_fn(|| wire.recv()).any(|f| f[12..14] == [8, 6] && f[21] == 2)
    };
    eventually("the kernel answers", answered);

    let eal = eal();
    let mut pools = Pools::new(2047, 63);
    let mut port = Open::new(&eal, &spec("af_packet:pa"), 0, &mut pools).unwrap();
    let warning = &port.port.warnings()[0];
    assert!(
        warning.contains("10.9.0.1") && warning.contains("ip addr flush dev pa"),
        "{warning}"
    );
    for _ in 0..5 {
        assert!(!answered(), "the kernel still hears");
    }
    assert_eq!(port.expect(5)[0].1, request, "and the router does");
    port.close().unwrap();
    eventually("the kernel answers again", answered);
}

#[test]
fn ports_are_opened_and_closed_many_times() {
    if !own_network() {
        return;
    }
    veth(1);
    let eal = eal();
    let mut pools = Pools::new(8191, 63);
    run("ip link set pb mtu 1540");
    for device in ["af_packet:pa", "af_xdp:pa"] {
        let before = state("pa");
        let mut first = None;
        let mut resident = Vec::new();
        let rounds = if device == "af_xdp:pa" { 25 } else { 60 };
        for round in 0..rounds {
            let mut port = Open::new(&eal, &spec(device), 0, &mut pools)
                .unwrap_or_else(|e| panic!("{round}: {e}"));
            if round % 20 == 0 {
                let wire = Wire::new("pb");
                let f = frame(0x88b5, 60, round);
                wire.send(&f);
                assert_eq!(port.expect(1)[0].1, f, "{device}, round {round}");
                port.send(0, &f);
                wire.expect(1);
            }
            port.close().unwrap();
            let now = descriptors();
            assert_eq!(
                *first.get_or_insert(now),
                now,
                "{device}, round {round}: descriptors leak"
            );
            resident.push(resident_kib());
        }
        let grown = resident[resident.len() - 1].saturating_sub(resident[resident.len() / 2]);
        assert!(
            grown < 512,
            "{device}: {grown} KiB more after {} rounds",
            rounds / 2
        );
        assert_eq!(state("pa"), before, "{device}");
        assert!(pools.iter().all(|p| p.in_use() == 0), "{device}");
    }
}

#[test]
fn af_xdp_passes_frames() {
    if !own_network() {
        return;
    }
    veth(1);
    run("ip link set pb mtu 1540");
    let eal = eal();
    let mut pools = Pools::new(8191, 63);
    let mut port = Open::new(&eal, &spec("af_xdp:pa"), 0, &mut pools).unwrap();
    let wire = Wire::new("pb");
    both_ways(&mut port, &wire, 1500);
    assert_eq!(port.port.stats(), PortStats::default());
    assert!(port.port.link().up);
    let fd = port.rx[0].wait_fd().unwrap();
    assert!(!readable(fd));
    wire.send(&frame(0x88b5, 60, 1));
    eventually("readable", || readable(fd));
    port.expect(1);
    assert!(!readable(fd));
    let e = Open::new(&eal, &spec("af_xdp:pa"), 1, &mut pools)
        .err()
        .unwrap()
        .to_string();
    assert!(e.contains("in use by another port"), "{e}");
    port.close().unwrap();
    let s = PortSpec {
        mtu: 9000,
        ..spec("af_xdp:pa")
    };
    let e = Open::new(&eal, &s, 1, &mut pools)
        .err()
        .unwrap()
        .to_string();
    assert!(
        e.contains("MTU 9000 is over 3786, the most that af_xdp takes; use af_packet:pa"),
        "{e}"
    );
}

#[test]
fn af_xdp_has_a_socket_on_each_queue() {
    if !own_network() {
        return;
    }
    veth(4);
    run("ip link set pb mtu 1540");
    let eal = eal();
    let mut pools = Pools::new(16383, 63);
    for (wanted, have) in [(None, 4), (Some(2), 2), (Some(4), 4)] {
        run(&format!("ethtool -L pb tx {have} || test {have} = 4"));
        let s = PortSpec {
            queues: wanted,
            workers: 2,
            ..spec("af_xdp:pa")
        };
        let mut port = match Open::new(&eal, &s, 0, &mut pools) {
            Ok(port) => port,
            Err(e) => panic!("{wanted:?}: {e}"),
        };
        assert_eq!((port.port.rx_queues(), port.port.tx_queues()), (have, have));
        let wire = Wire::new("pb");
        for n in 0..200 {
            wire.send(&frame(0x88b5, 100, n));
        }
        let all = port.expect(200);
        assert!(all.iter().all(|(queue, _)| *queue < usize::from(have)));
        for queue in 0..usize::from(have) {
            port.send(queue, &frame(0x88b5, 100, queue as u16));
            wire.expect(1);
        }
        port.close().unwrap();
    }
    let s = PortSpec {
        queues: Some(5),
        ..spec("af_xdp:pa")
    };
    let e = Open::new(&eal, &s, 0, &mut pools)
        .err()
        .unwrap()
        .to_string();
    assert!(e.contains("queues = 5, but the device has 4"), "{e}");
}

/// The child of the test below: opens the port, says so, and waits to be killed.
#[test]
fn child_that_is_killed() {
    let Ok(device) = std::env::var("TRUNKLINE_PORT_CHILD") else {
        return;
    };
    let eal = eal();
    let mut pools = Pools::new(8191, 63);
    let _port = Open::new(&eal, &spec(&device), 0, &mut pools).unwrap();
    println!("child is open");
    std::thread::sleep(Duration::from_secs(60));
}

#[test]
fn what_a_killed_process_leaves_does_not_matter() {
    use std::io::{BufRead, BufReader};
    if !own_network() {
        return;
    }
    veth(1);
    run("ip link set pb mtu 1540");
    let eal = eal();
    let mut pools = Pools::new(8191, 63);
    let before = state("pa");
    for device in ["af_xdp:pa", "af_packet:pa"] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "port::tests::kernel::child_that_is_killed",
                "--nocapture",
            ])
            .env("TRUNKLINE_PORT_CHILD", device)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let open = lines
            .map_while(Result::ok)
            .any(|l| l.contains("child is open"));
        assert!(open, "{device}: the child did not open the port");
        let e = Open::new(&eal, &spec(device), 0, &mut pools)
            .err()
            .unwrap()
            .to_string();
        assert!(e.contains("another trunkline process"), "{e}");
        child.kill().unwrap(); // SIGKILL
        child.wait().unwrap();
        assert_ne!(state("pa"), before, "{device}");
        // As the next start does.
        let run = std::path::Path::new(::hugepages::doctor::RUN_DIR);
        let (done, failed) = ::hugepages::held::recover(&::hugepages::sys::Sys::default(), run);
        assert!(done.len() >= 2, "{device}: {done:?} {failed:?}");
        assert_eq!(state("pa"), before, "{device}");

        let mut port = Open::new(&eal, &spec(device), 0, &mut pools).unwrap();
        let wire = Wire::new("pb");
        wire.send(&frame(0x88b5, 60, 9));
        assert_eq!(port.expect(1)[0].1, frame(0x88b5, 60, 9), "{device}");
        port.send(0, &frame(0x88b5, 60, 10));
        wire.expect(1);
        port.close().unwrap();
        let link = Command::new("ip")
            .args(["link", "show", "pa"])
            .output()
            .unwrap();
        let link = String::from_utf8_lossy(&link.stdout).into_owned();
        assert!(!link.contains("PROMISC") && !link.contains("xdp"), "{link}");
    }
}

#[test]
fn tap_is_made_and_taken_away() {
    if !own_network() {
        return;
    }
    let eal = eal();
    let mut pools = Pools::new(2047, 63);
    for _ in 0..3 {
        let mut port = Open::new(&eal, &spec("tap:t0"), 0, &mut pools).unwrap();
        run("sysctl -qw net.ipv6.conf.t0.disable_ipv6=1 && ip link set t0 up");
        let wire = Wire::new("t0");
        wire.send(&frame(0x88b5, 1514, 3));
        assert_eq!(port.expect(1)[0].1, frame(0x88b5, 1514, 3));
        port.send(0, &frame(0x88b5, 1514, 4));
        assert_eq!(wire.expect(1)[0], frame(0x88b5, 1514, 4));
        let e = Open::new(&eal, &spec("tap:t0"), 1, &mut pools)
            .err()
            .unwrap()
            .to_string();
        assert!(e.contains("there is a device of that name already"), "{e}");
        port.close().unwrap();
        assert!(!fs::exists("/proc/sys/net/ipv4/conf/t0").unwrap());
    }
}

#[test]
fn the_kernels_end_of_an_interface_is_a_tap() {
    if !own_network() {
        return;
    }
    let mac = MacAddr([2, 0, 0, 0, 0, 9]);
    let tap = crate::tap::Tap::create("wan0", mac, 1400).unwrap();
    run("sysctl -qw net.ipv6.conf.wan0.disable_ipv6=1");
    let link = Command::new("ip")
        .args(["-d", "link", "show", "wan0"])
        .output()
        .unwrap();
    let link = String::from_utf8_lossy(&link.stdout).into_owned();
    for what in ["mtu 1400", "NOARP", "UP", "02:00:00:00:00:09", "tap"] {
        assert!(link.contains(what), "no {what} in {link}");
    }
    assert_eq!(
        format!("{}:", tap.index().unwrap()),
        link.split(' ').next().unwrap()
    );
    let e = crate::tap::Tap::create("wan0", mac, 1400)
        .unwrap_err()
        .to_string();
    assert!(e.contains("another device has that name"), "{e}");
    let wire = Wire::new("wan0");
    let mut buffer = [0u8; 2048];
    while tap.recv(&mut buffer).unwrap().is_some() {}
    wire.send(&frame(0x88b5, 200, 1));
    eventually("the kernel's frame", || {
        tap.recv(&mut buffer)
            .unwrap()
            .is_some_and(|n| buffer[..n] == frame(0x88b5, 200, 1))
    });
    assert!(tap.send(&frame(0x88b5, 300, 2)).unwrap());
    assert_eq!(wire.expect(1)[0], frame(0x88b5, 300, 2));
    tap.set_mtu(9000).unwrap();
    assert_eq!(read("/proc/sys/net/ipv6/conf/wan0/disable_ipv6"), "1");
    for _ in 0..2 {
        tap.set_up(false).unwrap();
        assert!(tap.send(&frame(0x88b5, 300, 3)).is_err(), "it is down");
        assert_eq!(tap.recv(&mut buffer).unwrap(), None);
    }
    tap.set_up(true).unwrap();
    assert!(tap.send(&frame(0x88b5, 300, 4)).unwrap());
    drop(tap);
    assert!(
        !fs::exists("/proc/sys/net/ipv4/conf/wan0").unwrap(),
        "it goes with its file"
    );
}

#[test]
fn xdp_programs_of_others_are_respected_and_leftovers_are_not() {
    use std::io::{BufRead, BufReader};
    if !own_network() {
        return;
    }
    veth(1);
    run("ip link set pa up && ip link set pb mtu 1540");
    let eal = eal();
    let mut pools = Pools::new(8191, 63);
    // SAFETY: a C string.
    let index = unsafe { libc::if_nametoindex(c"pa".as_ptr()) } as i32;
    let others = crate::port::xdp::redirect_to(index, &[]).unwrap();
    let e = Open::new(&eal, &spec("af_xdp:pa"), 0, &mut pools)
        .err()
        .unwrap()
        .to_string();
    assert!(
        e.contains("the XDP program \"trunkline\"") && e.contains("xdp off"),
        "{e}"
    );
    drop(others);

    // DPDK's own driver leaves its program behind when it is killed.
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "port::tests::kernel::child_that_is_killed",
            "--nocapture",
        ])
        .env("TRUNKLINE_PORT_CHILD", "dpdk:net_af_xdp0,iface=pa")
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(
        lines
            .map_while(Result::ok)
            .any(|l| l.contains("child is open"))
    );
    child.kill().unwrap(); // SIGKILL
    child.wait().unwrap();
    let link = Command::new("ip")
        .args(["link", "show", "pa"])
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&link.stdout).contains("xsk_def_prog"));
    let mut port = Open::new(&eal, &spec("af_xdp:pa"), 0, &mut pools).unwrap();
    let wire = Wire::new("pb");
    wire.send(&frame(0x88b5, 60, 9));
    assert_eq!(port.expect(1)[0].1, frame(0x88b5, 60, 9));
    port.close().unwrap();
    let link = Command::new("ip")
        .args(["link", "show", "pa"])
        .output()
        .unwrap();
    assert!(!String::from_utf8_lossy(&link.stdout).contains("xdp"));
}
