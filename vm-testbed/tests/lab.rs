//! The labs themselves: what is built is there, what is dropped is gone. Needs root, as all of the test bed does.

use std::time::Instant;

use vm_testbed::frame::{IPV4, Ip4, eth, tagged};
use vm_testbed::lab::wait::{secs, until};
use vm_testbed::lab::{Host, Lab, netns, signals};

/// Without root there is nothing to test here; says so.
fn root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("not root: namespaces can't be made, nothing was tested");
    }
    root
}

#[test]
fn a_wire_carries_frames_as_they_are() {
    if !root() {
        return;
    }
    let mut lab = Lab::new("wire").unwrap();
    let (a, b) = (lab.space("a").unwrap(), lab.space("b").unwrap());
    let far = lab.wire(&a, "e1", &b).unwrap();
    let near = vm_testbed::lab::Wire::open(&a, "e1").unwrap();
    let plain = eth(
        [2; 6],
        [4; 6],
        IPV4,
        &Ip4::udp("10.0.0.1", "10.0.0.2", 30).bytes(),
    );
    // The shortest frame that a socket takes, and tags, which the kernel hides from sockets.
    let frames = [
        plain[..14].to_vec(),
        plain.clone(),
        tagged(&plain, 100),
        tagged(&tagged(&plain, 7), 0xe064),
    ];
    for (from, to) in [(&far, &near), (&near, &far)] {
        for f in &frames {
            from.send(f).unwrap();
            assert_eq!(
                to.next(Instant::now() + secs(5)).expect("a frame").frame,
                *f
            );
        }
    }
    // Nobody in the namespaces says anything by himself.
    assert!(near.drain().is_empty() && far.drain().is_empty());
    assert!(far.send(&plain[..13]).is_err());
}

#[test]
fn hosts_speak_and_are_gone_when_dropped() {
    if !root() {
        return;
    }
    let mut lab = Lab::new("hosts").unwrap();
    let router = lab.router("r").unwrap();
    let h = lab
        .host(
            &Host::new("h", &["10.9.9.2/24", "fd00::2/64"]).gateway("10.9.9.1"),
            &router,
            "e1",
        )
        .unwrap();
    // The router's end has nothing of the kernel's; given an address by hand, the two can speak.
    assert!(!router.ip("addr show dev e1").unwrap().contains("inet"));
    router.ip("addr add 10.9.9.1/24 dev e1").unwrap();
    router.ip("link set e1 arp on").unwrap();
    h.run("ping -c 1 -W 5 10.9.9.1").unwrap();
    let mut child = h.command("sleep").arg("1000").spawn().unwrap();
    let prefix = h.name().trim_end_matches('h').to_owned();
    let folder = lab.folder().to_owned();
    assert_eq!(netns::named(&prefix).len(), 2);
    drop(lab);
    assert!(netns::named(&prefix).is_empty());
    assert!(!folder.exists());
    let ended = child.wait().unwrap();
    assert!(!ended.success());
}

#[test]
fn what_a_killed_test_bed_left_is_removed() {
    if !root() {
        return;
    }
    let gone = std::process::Command::new("true")
        .spawn()
        .map(|mut c| (c.id(), c.wait()))
        .unwrap()
        .0;
    let name = format!("tl-{gone}-left");
    netns::Netns::create(&name).unwrap();
    let folder = std::env::temp_dir().join(format!("tl-{gone}"));
    std::fs::create_dir_all(&folder).unwrap();
    // Of the living, nothing is removed.
    let lab = Lab::new("alive").unwrap();
    signals::remove_stale();
    until("the dead one's is gone", secs(5), || {
        Ok(netns::named(&name).is_empty() && !folder.exists())
    })
    .unwrap();
    assert!(lab.folder().exists());
}
