//! The same ports on hugepages. They are reserved for the test and given back; where that can't be, the test says so.

use super::kernel::{Wire, veth};
use super::*;
use crate::eal::EalError;
use std::fs::{self, File};
use std::os::fd::AsRawFd;

const NUMBER: &str = "/proc/sys/vm/nr_hugepages";
/// Pages of 2 MiB that the test takes.
const PAGES: u64 = 100;

fn reserved() -> u64 {
    fs::read_to_string(NUMBER)
        .ok()
        .and_then(|n| n.trim().parse().ok())
        .unwrap_or(0)
}

/// Pages beside those that the machine had. Others may do the same at the same time, so the number is changed under a
/// lock and by a difference.
struct Pages(u64);

fn change(by: impl Fn(u64) -> u64) -> u64 {
    let lock = File::create(std::env::temp_dir().join("trunkline-hugepages.lock")).unwrap();
    // SAFETY: no pointers.
    unsafe { libc::flock(lock.as_raw_fd(), libc::LOCK_EX) };
    let before = reserved();
    let _ = fs::write(NUMBER, by(before).to_string());
    reserved().abs_diff(before)
}

impl Pages {
    fn reserve() -> Option<Self> {
        let pages = Self(change(|n| n + PAGES));
        (pages.0 == PAGES).then_some(pages)
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        change(|n| n.saturating_sub(self.0));
    }
}

#[test]
fn ports_work_on_hugepages_and_give_them_back() {
    if !own_network() {
        return;
    }
    let Some(_pages) = Pages::reserve() else {
        eprintln!("skipped: {PAGES} hugepages of 2 MiB can't be reserved");
        return;
    };
    let config = |mem_mb| EalConfig {
        memory: Memory::Hugepages,
        mem_mb,
        ..EalConfig::default()
    };
    let e = Eal::init(&config(4_000_000)).unwrap_err();
    assert!(
        matches!(
            e,
            EalError::FewHugepages {
                need: 4_000_000,
                ..
            }
        ),
        "{e}"
    );
    assert!(e.to_string().contains("sysctl vm.nr_hugepages="), "{e}");

    let eal = Eal::init(&config(0)).expect("a refusal that DPDK did not see does not count");
    veth(1);
    run("ip link set pb mtu 1540");
    let mut pools = Pools::new(8191, 255);
    for device in ["af_packet:pa", "af_xdp:pa", "af_xdp:pa"] {
        let mut port = Open::new(&eal, &spec(device), 0, &mut pools).unwrap();
        let wire = Wire::new("pb");
        for n in 0..100 {
            wire.send(&frame(0x88b5, 1514, n));
        }
        assert_eq!(port.expect(100)[99].1, frame(0x88b5, 1514, 99), "{device}");
        port.send(0, &frame(0x88b5, 60, 1));
        assert_eq!(wire.expect(1)[0], frame(0x88b5, 60, 1), "{device}");
        port.close().unwrap();
    }
    let path = std::env::temp_dir().join(format!("trunkline-huge-{}.sock", std::process::id()));
    let server = format!("memif:{}", path.display());
    let mut a = Open::new(&eal, &spec(&server), 0, &mut pools).unwrap();
    let mut b = Open::new(&eal, &spec(&format!("{server},role=client")), 1, &mut pools).unwrap();
    eventually("both ends connected", || {
        a.port.link().up && b.port.link().up
    });
    assert!(b.poll().is_empty());
    a.send(0, &frame(0x88b5, 1514, 1));
    b.expect(1);
    b.close().unwrap();
    a.close().unwrap();
    let mut tap = Open::new(&eal, &spec("tap:t0"), 2, &mut pools).unwrap();
    run("sysctl -qw net.ipv6.conf.t0.disable_ipv6=1 && ip link set t0 up");
    let wire = Wire::new("t0");
    wire.send(&frame(0x88b5, 100, 3));
    tap.expect(1);
    tap.close().unwrap();
    assert!(pools.iter().all(|p| p.in_use() == 0));
    let held = fs::read_dir("/dev/hugepages").map_or(0, |d| {
        d.flatten()
            .filter(|f| f.file_name().to_string_lossy().starts_with("rtemap"))
            .count()
    });
    assert_eq!(held, 0, "nothing is left in the file system");
}
