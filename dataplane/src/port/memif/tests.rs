//! Both ends in one process; the other end is ours, DPDK's driver, or somebody who means no good.

use super::message::{AddRing, Init, MODE_ETHERNET, Message, VERSION};
use super::session::{Descriptor, NEXT, Region, Ring};
use super::*;
use crate::burst::Burst;
use crate::port::tests::{Open, eal, eventually, frame, spec};
use crate::port::{AnyRx, Port, Rx, Tx};
use net::PortId;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::time::Instant;

/// A socket's path of the test's own.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let name = format!("trunkline-memif-{name}-{}.sock", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    fn device(&self, args: &str) -> String {
        format!("memif:{}{args}", self.0.display())
    }

    fn address(&self) -> Address {
        Address {
            path: self.0.display().to_string(),
            is_abstract: false,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn open(eal: &Eal, device: &str, id: u16, pools: &mut Pools) -> Open {
    Open::new(eal, &spec(device), id, pools).unwrap()
}

fn connected(a: &Open, b: &Open) {
    eventually("both ends connected", || {
        a.port.link().up && b.port.link().up
    });
}

/// Frames of several lengths pass both ways, in order, until each ring has been gone around.
fn exchange(a: &mut Open, b: &mut Open, len: usize, n: u16) {
    a.poll();
    b.poll();
    for i in 0..n {
        a.send(0, &frame(0x88b5, len, i));
        assert_eq!(b.expect_now(), frame(0x88b5, len, i), "{i}");
        b.send(0, &frame(0x88b5, 60 + usize::from(i % 7), i));
        let back = frame(0x88b5, 60 + usize::from(i % 7), i);
        assert_eq!(a.expect_now(), back, "{i}");
    }
}

trait Now {
    fn expect_now(&mut self) -> Vec<u8>;
}

impl Now for Open {
    /// The one frame that comes.
    fn expect_now(&mut self) -> Vec<u8> {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            let mut got = self.poll();
            match got.pop() {
                Some((_, frame)) => {
                    assert!(got.is_empty(), "more than one");
                    return frame;
                }
                None => assert!(Instant::now() < end, "no frame within 10 s"),
            }
            std::thread::yield_now();
        }
    }
}

#[test]
fn arguments_are_read_and_mistakes_named() {
    let c = Config::new(
        "/s",
        ",role=slave,id=7,bsize=4096,rsize=5,secret=s,mac=02:00:00:00:00:09,socket-abstract=yes",
        2,
    );
    let c = c.unwrap();
    assert!(c.is_client && c.address.is_abstract);
    assert_eq!((c.id, c.buffer, c.log2, c.queues), (7, 4096, 5, 2));
    assert_eq!((c.secret[0], c.secret[1]), (b's', 0));
    assert_eq!(c.mac, Some(MacAddr([2, 0, 0, 0, 0, 9])));
    for (args, what) in [
        (",role=both", "role=server"),
        (",id=x", "number"),
        (",bsize=10", "1024 to 65535"),
        (",rsize=15", "rsize=10"),
        (",secret=0123456789012345678901234", "24 octets"),
        (",zero-copy=yes", "leave it out"),
        (",nonsense=1", "known are"),
        (",secrte=geheim", "known are"),
    ] {
        let e = Config::new("/s", args, 1).unwrap_err();
        let (key, value) = args[1..].split_once('=').unwrap();
        assert!(
            e.contains(what) && e.starts_with(&format!("\"{key}\"")),
            "{e}"
        );
        // It may be a secret.
        assert!(value.len() < 5 || !e.contains(value), "{e}");
    }
}

/// DPDK's driver at the other end, in both roles: with more frames than a ring has places, and such as take several.
#[test]
fn understands_dpdk() {
    let eal = eal();
    let mut pools = Pools::new(4095, 511);
    for (n, ours, theirs) in [(0, "", "client"), (1, ",role=client", "server")] {
        let place = Place::new(&format!("dpdk{n}"));
        let path = place.0.display();
        let theirs =
            format!("dpdk:net_memif{n},socket={path},socket-abstract=no,role={theirs},rsize=5");
        let ours = place.device(&format!("{ours},rsize=5"));
        let server_first = if n == 0 {
            [&ours, &theirs]
        } else {
            [&theirs, &ours]
        };
        let [mut a, mut b] = [0, 1].map(|i| open(&eal, server_first[i], i as u16, &mut pools));
        connected(&a, &b);
        exchange(&mut a, &mut b, 1500, 100);
        exchange(&mut b, &mut a, 60, 100);
        let us = if n == 0 { &mut a } else { &mut b };
        assert_eq!(us.port.stats(), PortStats::default());
        // Its end is left as it is: closing it is what it can't.
        std::mem::forget(if n == 0 { b } else { a });
    }
}

/// The other end comes and goes while frames are copied, and nobody is hurt. With DPDK's driver the process died of that.
#[test]
fn peers_come_and_go_while_frames_pass() {
    let eal = eal();
    let mut pools = Pools::new(8191, 63);
    let place = Place::new("gone");
    let mut a = open(&eal, &place.device(""), 0, &mut pools);
    let stop = AtomicBool::new(false);
    let received = AtomicU64::new(0);
    std::thread::scope(|s| {
        let (mut rx, mut tx) = (a.rx.pop().unwrap(), a.tx.pop().unwrap());
        let (pool, stop, received) = (a.pool.clone(), &stop, &received);
        s.spawn(move || {
            let mut burst = Burst::new();
            while !stop.load(Ordering::Relaxed) {
                received.fetch_add(rx.rx(&mut burst) as u64, Ordering::Relaxed);
                burst.extend(pool.alloc_from(&[0x5a; 1500]));
                tx.tx(&mut burst);
                burst.clear();
            }
        });
        for _ in 0..100 {
            let before = received.load(Ordering::Relaxed);
            let mut b = open(&eal, &place.device(",role=client"), 1, &mut pools);
            connected(&a, &b);
            eventually("frames from it", || {
                b.poll();
                let mut burst = Burst::new();
                burst.extend(b.pool.alloc_from(&[0x5a; 1500]));
                b.tx[0].tx(&mut burst);
                received.load(Ordering::Relaxed) > before
            });
            b.close().unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
    eventually("it is noticed", || !a.port.link().up);
    a.close().unwrap();
    assert!(pools.iter().all(|p| p.in_use() == 0));
    assert!(!place.0.exists(), "the socket is gone");
}

/// A client may be there first, and finds its server again.
#[test]
fn a_client_waits_for_its_server() {
    let eal = eal();
    let mut pools = Pools::new(4095, 63);
    let place = Place::new("wait");
    let mut b = open(&eal, &place.device(",role=client"), 1, &mut pools);
    for _ in 0..3 {
        assert!(!b.port.link().up);
        let mut a = open(&eal, &place.device(""), 0, &mut pools);
        connected(&a, &b);
        exchange(&mut a, &mut b, 1514, 5);
        a.close().unwrap();
        eventually("it is noticed", || !b.port.link().up);
    }
    b.close().unwrap();
}

/// A frame ends a sleep, with each end as the sleeper, before and after the other one was another.
#[test]
fn a_frame_wakes_who_sleeps() {
    let eal = eal();
    let mut pools = Pools::new(4095, 63);
    let place = Place::new("wake");
    let readable = |rx: &AnyRx| {
        let mut p = libc::pollfd {
            fd: rx.wait_fd().unwrap(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one entry.
        unsafe { libc::poll(&raw mut p, 1, 0) == 1 }
    };
    let mut a = open(&eal, &place.device(""), 0, &mut pools);
    for round in 0..2 {
        let mut b = open(&eal, &place.device(",role=client"), 1, &mut pools);
        connected(&a, &b);
        for client_sleeps in [false, true] {
            let (sleeper, other) = if client_sleeps {
                (&mut b, &mut a)
            } else {
                (&mut a, &mut b)
            };
            // A new session wakes, and is not taken for a frame.
            sleeper.rx[0].arm();
            sleeper.poll();
            sleeper.rx[0].disarm();
            if round == 0 {
                assert!(!sleeper.rx[0].wakes(), "nothing was seen yet");
            }
            other.poll();
            other.send(0, &frame(0x88b5, 60, 1));
            assert!(!readable(&sleeper.rx[0]), "it has not asked");
            sleeper.expect_now();
            assert!(sleeper.rx[0].arms());
            sleeper.rx[0].arm();
            assert!(sleeper.poll().is_empty() && !readable(&sleeper.rx[0]));
            other.send(0, &frame(0x88b5, 60, 2));
            assert!(readable(&sleeper.rx[0]));
            sleeper.rx[0].disarm();
            assert!(sleeper.rx[0].wakes() && !readable(&sleeper.rx[0]));
            sleeper.expect_now();
            assert_eq!(sleeper.port.wakes_by(), WakesBy::Interrupt);
        }
        // Who sleeps when the next one connects is woken by it.
        a.rx[0].arm();
        b.close().unwrap();
        eventually("it is noticed", || !a.port.link().up);
    }
    a.close().unwrap();
}

#[test]
fn who_does_not_fit_is_not_connected() {
    let eal = eal();
    let mut pools = Pools::new(4095, 63);
    let place = Place::new("fit");
    let mut a = open(&eal, &place.device(",id=3,secret=right"), 0, &mut pools);
    // The same id twice on a socket; another is welcome.
    let e = Port::open(&eal, &spec(&place.device(",id=3")), PortId(1), &mut pools);
    let e = e.err().unwrap().to_string();
    assert!(e.contains("id 3 is taken"), "{e}");
    let second = open(&eal, &place.device(",id=4"), 1, &mut pools);
    let wrong = [
        ",role=client,id=5",
        ",role=client,id=3",
        ",role=client,id=3,secret=wrong",
    ];
    let two = PortSpec {
        queues: Some(2),
        ..spec(&place.device(",role=client,id=3,secret=right"))
    };
    let mut all: Vec<_> = wrong.iter().map(|w| spec(&place.device(w))).collect();
    all.push(two);
    let all: Vec<_> = (2..)
        .zip(&all)
        .map(|(id, s)| Open::new(&eal, s, id, &mut pools).unwrap())
        .collect();
    let right = ",role=client,id=3,secret=right";
    let mut b = open(&eal, &place.device(right), 9, &mut pools);
    connected(&a, &b);
    // Each of the others has been refused, or is by the time that two more have come and gone.
    for _ in 0..2 {
        exchange(&mut a, &mut b, 100, 3);
        b.close().unwrap();
        eventually("it is noticed", || !a.port.link().up);
        b = open(&eal, &place.device(right), 9, &mut pools);
        connected(&a, &b);
        assert!(all.iter().all(|o| !o.port.link().up));
    }
    assert!(!second.port.link().up);
    // The listener stays as long as one of its ports does.
    a.close().unwrap();
    assert!(place.0.exists());
    second.close().unwrap();
    assert!(!place.0.exists());
    for o in all {
        o.close().unwrap();
    }
}

/// What a killed process left is taken away; what somebody listens on, or is no socket, is not.
#[test]
fn a_socket_left_behind_is_no_obstacle() {
    let eal = eal();
    let mut pools = Pools::new(1023, 63);
    let place = Place::new("left");
    drop(place.address().listen().unwrap());
    assert!(place.0.exists());
    let a = open(&eal, &place.device(""), 0, &mut pools);
    a.close().unwrap();
    let mut refused = |why: &str| {
        let e = Port::open(&eal, &spec(&place.device("")), PortId(0), &mut pools);
        let e = e.expect_err(why).to_string();
        assert!(
            e.contains("can't listen there") && e.contains("in use"),
            "{e}"
        );
    };
    let other = place.address().listen().unwrap();
    refused("somebody listens");
    drop(other);
    std::fs::remove_file(&place.0).unwrap();
    std::fs::write(&place.0, "no socket").unwrap();
    refused("it is a file");
    assert_eq!(std::fs::read(&place.0).unwrap(), b"no socket");
}

/// A client that the test plays itself.
struct Rogue {
    channel: socket::Channel,
    region: Vec<Region>,
    memory: OwnedFd,
    rings: Vec<Ring>,
}

impl Rogue {
    const SIZE: usize = 1 << 16;

    fn new(place: &Place) -> Self {
        let (region, memory) = Region::create(Self::SIZE).unwrap();
        let region = vec![region];
        let ring = |i: usize| {
            let at = (i * Ring::bytes(4)) as u32;
            let ring = Ring::at(&region, 0, at, 4, EventFd::new().unwrap()).unwrap();
            ring.begin(false);
            ring
        };
        let rings = (0..2).map(ring).collect();
        let channel = place.address().connect().unwrap();
        Self {
            channel,
            region,
            memory,
            rings,
        }
    }

    fn hear(&self) -> Option<Message> {
        let deadline = Some(Instant::now() + Duration::from_secs(10));
        let woken = socket::wait(Some(self.channel.as_raw_fd()), &[], deadline);
        assert_eq!(woken, socket::Woken::Ready, "no answer within 10 s");
        self.channel.receive().ok().map(|(m, _)| m)
    }

    fn say(&self, message: &Message, fd: Option<i32>) -> Option<Message> {
        self.channel.send(message, "rogue", fd).unwrap();
        self.hear()
    }

    fn init(&self) {
        assert!(matches!(self.hear(), Some(Message::Hello(_))));
        let init = Message::Init(Init {
            version: VERSION,
            id: 0,
            mode: MODE_ETHERNET,
            secret: [0; SECRET],
        });
        assert_eq!(self.say(&init, None), Some(Message::Ack));
    }

    fn give(&self, size: usize) -> Option<Message> {
        let add = Message::AddRegion {
            index: 0,
            size: size as u64,
        };
        self.say(&add, Some(self.memory.as_raw_fd()))
    }

    fn add_ring(&self, i: usize, offset: u32) -> Option<Message> {
        let add = Message::AddRing(AddRing {
            c2s: i == 0,
            index: 0,
            region: 0,
            offset,
            log2: 4,
            private: 0,
        });
        self.say(&add, Some(self.rings[i].event()))
    }

    fn connect(&self) {
        self.init();
        assert_eq!(self.give(Self::SIZE), Some(Message::Ack));
        for i in 0..2 {
            let at = (i * Ring::bytes(4)) as u32;
            assert_eq!(self.add_ring(i, at), Some(Message::Ack));
        }
        let hello = self.say(&Message::Connect, None);
        assert_eq!(hello, Some(Message::Connected));
    }
}

/// Whatever a client says or writes, the server reads nothing but what is there, and goes on.
#[test]
fn a_peer_is_not_believed() {
    let eal = eal();
    let mut pools = Pools::new(1023, 63);
    let place = Place::new("rogue");
    let mut a = open(&eal, &place.device(""), 0, &mut pools);
    let parted = |m: Option<Message>, why: &str| match m {
        Some(Message::Disconnect(text)) => assert!(text.contains(why), "{text}"),
        other => panic!("{other:?} instead of: {why}"),
    };
    let r = Rogue::new(&place);
    assert!(matches!(r.hear(), Some(Message::Hello(_))));
    parted(r.say(&Message::Connect, None), "INIT");
    let r = Rogue::new(&place);
    r.init();
    parted(r.give(Rogue::SIZE + 1), "mapped");
    eventually("it is let go", || !a_is_busy(&a));
    let r = Rogue::new(&place);
    r.init();
    r.give(Rogue::SIZE);
    parted(r.add_ring(0, Rogue::SIZE as u32 - 64), "outside");
    eventually("it is let go", || !a_is_busy(&a));
    let r = Rogue::new(&place);
    r.init();
    parted(r.say(&Message::Connect, None), "fewer queues");
    eventually("it is let go", || !a_is_busy(&a));

    let r = Rogue::new(&place);
    r.connect();
    eventually("connected", || a.port.link().up);
    let free = 4 * Ring::bytes(4) as u32;
    let good = Descriptor {
        flags: 0,
        region: 0,
        len: 60,
        offset: free,
    };
    let end = Rogue::SIZE as u32;
    let bad = [
        Descriptor { region: 1, ..good },
        Descriptor {
            len: u32::MAX,
            ..good
        },
        Descriptor {
            offset: end - 59,
            ..good
        },
        Descriptor {
            offset: u32::MAX,
            ..good
        },
        Descriptor { len: 0, ..good },
    ];
    let head = r.rings[0].head();
    for (i, d) in (0..).zip(bad) {
        r.rings[0].write(i, d);
    }
    r.rings[0].write(5, good);
    head.store(6, Ordering::Release);
    assert_eq!(a.poll().len(), 1, "the one that is right");
    assert_eq!(a.port.stats().rx_errors, 5);
    assert_eq!(r.rings[0].tail().load(Ordering::Acquire), 6);
    // One that never ends, and more than a ring holds.
    for i in 0..16 {
        r.rings[0].write(
            i,
            Descriptor {
                flags: NEXT,
                ..good
            },
        );
    }
    head.store(22, Ordering::Release);
    assert!(a.poll().is_empty());
    head.store(22 + 17, Ordering::Release);
    assert!(a.poll().is_empty());
    assert_eq!(a.port.stats().rx_errors, 7);
    assert_eq!(r.rings[0].tail().load(Ordering::Acquire), 39);
    // Buffers that are nowhere, or of no size, take no frame.
    let mut burst = Burst::new();
    burst.extend(a.pool.alloc_from(&[1; 60]));
    for d in [
        Descriptor {
            offset: end,
            ..good
        },
        Descriptor { len: 0, ..good },
    ] {
        for i in 0..16 {
            r.rings[1].write(i, d);
        }
        r.rings[1].head().store(16, Ordering::Release);
        assert_eq!(a.tx[0].tx(&mut burst), 0);
    }
    r.rings[1].write(0, good);
    assert_eq!(a.tx[0].tx(&mut burst), 1);
    assert_eq!(r.rings[1].tail().load(Ordering::Acquire), 1);
    r.rings[1].head().store(40000, Ordering::Release);
    burst.extend(a.pool.alloc_from(&[1; 60]));
    assert_eq!(a.tx[0].tx(&mut burst), 0, "more than a ring holds");
    // A word that makes no sense then ends it.
    parted(r.say(&Message::Connect, None), "not after CONNECTED");
    drop(r.region);
    eventually("it is noticed", || !a.port.link().up);
    burst.clear();
    a.close().unwrap();
    assert!(pools.iter().all(|p| p.in_use() == 0));
}

fn a_is_busy(a: &Open) -> bool {
    match &a.port.backend {
        crate::port::Backend::Memif(p) => p.shared.state().busy,
        _ => unreachable!("a memif"),
    }
}
