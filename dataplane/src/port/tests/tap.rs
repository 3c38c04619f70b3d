//! TAPs of DPDK's driver, which their user renames and moves to where he wants them.

use super::*;
use std::process::{Child, Stdio};

/// A network namespace that a process keeps.
struct Space(Child);

impl Space {
    fn new() -> Self {
        let mut sleep = Command::new("unshare");
        let child = sleep
            .args(["-n", "sh", "-c", "echo; exec sleep 600"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare runs");
        let mut space = Self(child);
        // It is in its namespace once it speaks.
        let mut byte = [0];
        let mut out = space.0.stdout.take().expect("piped");
        std::io::Read::read_exact(&mut out, &mut byte).expect("a word of it");
        space
    }

    fn run(&self, command: &str) {
        run(&format!("nsenter -t {} -n {command}", self.0.id()));
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_tap_is_followed_wherever_it_goes() {
    if !own_network() {
        return;
    }
    let eal = eal();
    let mut pools = Pools::new(2047, 63);
    let mut s = spec("tap:t0");
    s.queues = Some(2);
    for interrupts in [true, false] {
        s.interrupts = interrupts; // it has its descriptors all the same
        let port = Open::new(&eal, &s, 0, &mut pools).unwrap();
        assert_eq!(port.port.wakes_by(), WakesBy::Descriptor);
        let fds: Vec<_> = port.rx.iter().filter_map(Rx::wait_fd).collect();
        assert!(fds.len() == 2 && fds[0] != fds[1], "{fds:?}");
        assert!(port.rx.iter().all(|rx| rx.wakes() && !rx.arms()));

        // The driver waits for no signal.
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let caught = status.lines().find_map(|l| l.strip_prefix("SigCgt:"));
        let caught = u64::from_str_radix(caught.unwrap().trim(), 16).unwrap();
        assert_eq!(caught >> (libc::SIGRTMIN() - 1), 0, "{caught:x}");

        // The ends of the link are two.
        let link = Command::new("ip").args(["link", "show", "t0"]).output();
        let link = String::from_utf8(link.unwrap().stdout).unwrap();
        let mac = port.port.mac();
        assert!(!link.contains(&mac.to_string()), "{link}");
        assert!(!mac.is_multicast());

        let up = |to: bool| {
            let what = if to { "link up" } else { "link down" };
            eventually(what, || port.port.link().up == to);
        };
        run("ip link set t0 up");
        up(true);
        run("ip link set t0 down && ip link set t0 name t9 && ip link set t9 up");
        up(true);
        let far = Space::new();
        // Moved, it is down until somebody takes it up there.
        run(&format!("ip link set t9 netns {}", far.0.id()));
        up(false);
        far.run("ip link set t9 up");
        up(true);
        far.run("ip link set t9 down");
        up(false);
        far.run("ip link set t9 up");
        up(true);
        far.run("ip link del t9");
        up(false);
        port.close().unwrap();
    }
}
