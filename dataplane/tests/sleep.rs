//! Sleeping workers on interfaces of the kernel: they wait for the descriptors of their queues, wake for a frame at once,
//! and a link that goes away does not make them spin. Needs root: each test has a network namespace of its own, which goes
//! with its process (one EAL a process: nextest).

mod common;

use common::*;
use dataplane::port::{PortSpec, WakesBy};
use dataplane::stats::WorkerStats;
use net::{IfaceId, PortId};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::Command;
use std::time::{Duration, Instant};

/// To a namespace of our own. Workers and sockets made from here on are in it.
fn own_namespace() {
    // SAFETY: no pointers; changes the calling thread, which starts all others.
    let rc = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    assert_eq!(rc, 0, "{}", io::Error::last_os_error());
    ip("link set lo up");
}

fn ip(args: &str) {
    let out = Command::new("ip").args(args.split(' ')).output().unwrap();
    assert!(
        out.status.success(),
        "ip {args}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
}

/// The far end of a veth: a blocking packet socket.
struct Wire(OwnedFd);

impl Wire {
    fn new(name: &str) -> Self {
        eventually("the link of the wire", || {
            let out = Command::new("ip")
                .args(["link", "show", name])
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&out.stdout).into_owned();
            let up = ["state UP", "state UNKNOWN"]
                .iter()
                .any(|s| text.contains(s));
            up.then_some(()).ok_or(text)
        });
        let all = 3u16.to_be(); // ETH_P_ALL
        // SAFETY: no pointers; the descriptor it returns is ours alone.
        let fd = unsafe { OwnedFd::from_raw_fd(libc::socket(libc::AF_PACKET, libc::SOCK_RAW, 0)) };
        let name = std::ffi::CString::new(name).unwrap();
        // SAFETY: all-zero is a valid sockaddr_ll.
        let mut to: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        to.sll_family = libc::AF_PACKET as u16;
        to.sll_protocol = all;
        // SAFETY: a C string.
        to.sll_ifindex = unsafe { libc::if_nametoindex(name.as_ptr()) } as i32;
        let wait = libc::timeval {
            tv_sec: 5,
            tv_usec: 0,
        };
        // SAFETY: an address and an option with their lengths, alive over the calls.
        unsafe {
            let len = size_of_val(&to) as u32;
            assert_eq!(libc::bind(fd.as_raw_fd(), (&raw const to).cast(), len), 0);
            let len = size_of_val(&wait) as u32;
            let (level, name) = (libc::SOL_SOCKET, libc::SO_RCVTIMEO);
            assert_eq!(
                libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const wait).cast(), len),
                0
            );
        }
        Self(fd)
    }

    fn send(&self, frame: &[u8]) {
        // SAFETY: bytes and their length.
        let n = unsafe { libc::send(self.0.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        assert_eq!(n, frame.len() as isize, "{}", io::Error::last_os_error());
    }

    /// The next frame that begins with `what`.
    fn recv(&self, what: u8) -> Vec<u8> {
        loop {
            let mut bytes = vec![0u8; 2048];
            // SAFETY: room and its length.
            let n = unsafe {
                libc::recv(
                    self.0.as_raw_fd(),
                    bytes.as_mut_ptr().cast(),
                    bytes.len(),
                    0,
                )
            };
            bytes.truncate(usize::try_from(n).expect("a frame within five seconds"));
            if bytes[0] == what {
                return bytes;
            }
        }
    }
}

/// A worker between two veth pairs.
fn between_veths(kind: &str) -> (Lab, [Wire; 2]) {
    own_namespace();
    let one = "numrxqueues 1 numtxqueues 1";
    for i in 0..2 {
        ip(&format!(
            "link add in{i} {one} type veth peer name out{i} {one}"
        ));
        ip(&format!("link set out{i} up"));
    }
    let lab = between([0, 1].map(|i| format!("{kind}:in{i}")));
    (lab, ["out0", "out1"].map(Wire::new))
}

/// A worker between two TAPs of DPDK's.
fn between_taps() -> (Lab, [Wire; 2]) {
    own_namespace();
    let lab = between([0, 1].map(|i| format!("tap:out{i}")));
    for i in 0..2 {
        quiet(i);
        ip(&format!("link set out{i} up"));
    }
    (lab, ["out0", "out1"].map(Wire::new))
}

/// Lets the kernel send nothing by itself on `out` that number.
fn quiet(i: u16) {
    std::fs::write(format!("/proc/sys/net/ipv6/conf/out{i}/disable_ipv6"), "1").unwrap();
}

fn between(devices: [String; 2]) -> Lab {
    let mut lab = Lab::new(1, &[]);
    for (i, device) in (0..).zip(devices) {
        let spec = PortSpec::new(device.parse().unwrap());
        assert_eq!(lab.dp.open_port(&spec).unwrap(), PortId(i));
        let wakes_by = lab.dp.port_mut(PortId(i)).unwrap().wakes_by();
        assert_eq!(wakes_by, WakesBy::Descriptor);
    }
    lab.publish();
    lab
}

fn stats(lab: &mut Lab) -> WorkerStats {
    lab.dp.worker_stats().remove(0)
}

/// A frame that the toy forwards by port 1.
fn frame() -> Vec<u8> {
    let mut f = vec![FORWARD, 1, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 0x88, 0xb5];
    f.resize(60, 0);
    f
}

/// Loops in half a second that are far more than waking now and then takes; without a sleep there are millions.
const SPINNING: u64 = 100_000;

/// Sleeps and loops within half a second, after a while in which nothing came.
fn at_rest(lab: &mut Lab) -> (u64, u64) {
    std::thread::sleep(Duration::from_millis(100));
    let before = stats(lab);
    std::thread::sleep(Duration::from_millis(500));
    let after = stats(lab);
    (after.sleeps - before.sleeps, after.loops - before.loops)
}

/// Times from `a` to `b` of that many frames, each after a rest; in order of length.
fn times(a: &Wire, b: &Wire, n: usize) -> Vec<Duration> {
    let time = |_| {
        std::thread::sleep(Duration::from_millis(3));
        let begin = Instant::now();
        a.send(&frame());
        b.recv(FORWARD);
        begin.elapsed()
    };
    let mut times: Vec<_> = (0..n).map(time).collect();
    times.sort();
    times
}

fn sleeps_and_wakes(kind: &str, lab: &mut Lab, a: &Wire, b: &Wire) {
    a.send(&frame());
    b.recv(FORWARD);
    // Asleep: it wakes a few times a second, where timed sleeps would make it thousands.
    let (sleeps, loops) = at_rest(lab);
    assert!(
        sleeps < 500 && loops < SPINNING,
        "{sleeps} sleeps, {loops} loops in 0.5 s"
    );
    // Each frame wakes it: the longest sleep is 50 ms, so a lost one would show.
    let times = times(a, b, 50);
    println!(
        "{kind}: through a sleeping worker in {:?} (median), {:?} (worst)",
        times[25], times[49]
    );
    assert!(times[25] < Duration::from_millis(20), "{times:?}");
    let s = stats(lab);
    assert!(
        s.busy_ratio < 0.5 && s.cycles_per_packet < 5e6,
        "sleep is counted as work: {s:?}"
    );
    // The wire is cut: the descriptor may say what it likes, the worker does not spin on it.
    ip("link set out0 down");
    let (_, loops) = at_rest(lab);
    assert!(loops < SPINNING, "{loops} loops in 0.5 s");
    ip("link set out0 up");
    let a = Wire::new("out0");
    eventually("the link mended", || {
        a.send(&frame());
        let c = lab.dp.counts(IfaceId(0));
        (c.rx_packets > 51).then_some(()).ok_or(format!("{c:?}"))
    });
}

fn ends_well(mut lab: Lab) {
    lab.dp.shutdown().unwrap();
    let c = lab.dp.totals();
    assert_eq!(c.entered(), c.left(), "{c:?}");
}

#[test]
fn a_worker_sleeps_on_packet_sockets() {
    let (mut lab, [a, b]) = between_veths("af_packet");
    sleeps_and_wakes("af_packet", &mut lab, &a, &b);
    ends_well(lab);
}

#[test]
fn a_worker_sleeps_on_xdp_sockets() {
    let (mut lab, [a, b]) = between_veths("af_xdp");
    sleeps_and_wakes("af_xdp", &mut lab, &a, &b);
    ends_well(lab);
}

#[test]
fn a_worker_sleeps_on_taps() {
    let (mut lab, [a, b]) = between_taps();
    sleeps_and_wakes("tap", &mut lab, &a, &b);
    drop(a); // it has heard of the cut
    // One of the TAPs is taken away: its descriptor is readable for ever. The other wakes the worker all the same.
    ip("link del out1");
    let (_, loops) = at_rest(&mut lab);
    assert!(loops < SPINNING, "{loops} loops in 0.5 s");
    let (a, before) = (Wire::new("out0"), lab.dp.counts(IfaceId(0)).rx_packets);
    for n in 1..=20 {
        a.send(&frame());
        eventually("a frame from the other TAP", || {
            let c = lab.dp.counts(IfaceId(0));
            (c.rx_packets >= before + n)
                .then_some(())
                .ok_or(format!("{c:?}"))
        });
    }
    assert!(!lab.dp.link(PortId(1)).unwrap().up);
    lab.dp.publish_interfaces(table(&[PortId(0)])).unwrap();
    lab.dp.close_port(PortId(1)).unwrap();
    // Without it there is nothing that would end a sleep too soon.
    let (sleeps, _) = at_rest(&mut lab);
    assert!(sleeps < 100, "{sleeps} sleeps in 0.5 s");
    // Removed while it sleeps.
    lab.dp.publish_interfaces(table(&[])).unwrap();
    lab.dp.close_port(PortId(0)).unwrap();
    ends_well(lab);
}

/// Processor time of this process so far, in seconds.
fn cpu_time() -> f64 {
    // SAFETY: all-zero is a valid rusage.
    let mut r: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `r` is alive over the call, which fills it in.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut r) };
    let t = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 / 1e6;
    t(r.ru_utime) + t(r.ru_stime)
}

fn idle(what: &str, lab: &mut Lab) {
    std::thread::sleep(Duration::from_millis(300));
    let (begin, used) = (Instant::now(), cpu_time());
    std::thread::sleep(Duration::from_secs(5));
    let share = (cpu_time() - used) / begin.elapsed().as_secs_f64();
    println!("{what}: {:.2} % of a core while idle", share * 100.0);
    for s in lab.dp.worker_stats() {
        println!("  {s:?}");
    }
}

/// Not tests but measurements: `cargo nextest run -p trunkline-dataplane --run-ignored only --no-capture idle_cost`.
#[test]
#[ignore = "a measurement; prints what idle workers cost"]
fn idle_cost_of_timed_sleeps() {
    let mut lab = Lab::new(1, &[2, 2]);
    idle("memory ports, one worker", &mut lab);
    // Now and then a frame, each into a sleep that has lasted for another while.
    let mut times = vec![];
    for i in 0..50 {
        std::thread::sleep(Duration::from_micros(110_000 + 137 * i));
        let frame = lab.frame(FORWARD, lab.ids[1], &[]);
        let begin = Instant::now();
        assert!(lab.wires[0].send(0, frame));
        eventually("the frame", || {
            let got = (0..2).find_map(|queue| lab.wires[1].recv(queue));
            got.map(drop).ok_or(String::new())
        });
        times.push(begin.elapsed());
    }
    times.sort();
    println!(
        "through it in {:?} (median), {:?} (worst)",
        times[25], times[49]
    );
}

#[test]
#[ignore = "a measurement; prints what idle workers cost"]
fn idle_cost_of_packet_sockets() {
    idle("af_packet, one worker", &mut between_veths("af_packet").0);
}

#[test]
#[ignore = "a measurement; prints what idle workers cost"]
fn idle_cost_of_taps() {
    idle("tap, one worker", &mut between_taps().0);
}

#[test]
#[ignore = "a measurement; prints what idle workers cost"]
fn idle_cost_of_xdp_sockets() {
    idle("af_xdp, one worker", &mut between_veths("af_xdp").0);
}
