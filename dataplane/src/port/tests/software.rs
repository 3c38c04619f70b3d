//! Frames, bursts, pools and the ports that need no network.

use super::*;
use crate::mbuf::{Checked, HEADROOM};
use crate::mempool::{JUMBO_ROOM, SMALL_ROOM};

#[test]
fn frames_grow_and_shrink_within_their_buffer() {
    let eal = eal();
    let pool = Mempool::new(&eal, "t", 63, SMALL_ROOM, 0).unwrap();
    let mut m = pool.alloc_from(b"payload").unwrap();
    assert_eq!(
        (m.len(), m.headroom(), m.tailroom()),
        (7, HEADROOM, 2048 - 7)
    );
    m.prepend(3).unwrap().copy_from_slice(b"hdr");
    assert_eq!(m.data(), b"hdrpayload");
    assert_eq!(m.prepend(HEADROOM), None, "more than there is left");
    assert_eq!(m.data(), b"hdrpayload");
    assert_eq!(m.trim_front(11), None);
    assert_eq!(m.trim_front(4), Some(()));
    assert_eq!(m.append(2).unwrap(), &[0, 0]);
    assert_eq!(m.data(), b"ayload\0\0");
    assert!(m.append(2048).is_none());
    m.truncate(100);
    m.truncate(2);
    assert_eq!(m.data(), b"ay");
    assert_eq!(m.prepend(HEADROOM + 1).map(|b| b.len()), Some(HEADROOM + 1));
    m.reset();
    assert_eq!((m.len(), m.headroom()), (0, HEADROOM));
    assert_eq!(m.extend_from_slice(&[1; 2049]), None);
    assert_eq!(m.extend_from_slice(&[1; 2048]), Some(()));
    assert_eq!(m.tailroom(), 0);
    assert_eq!((m.l3_checksum(), m.rss_hash()), (Checked::Unknown, None));
    assert!(pool.alloc_from(&[0; 2049]).is_none());

    *m.private_mut::<[u64; 8]>() = [7; 8];
    assert_eq!(m.private::<[u64; 8]>(), &[7; 8]);
    assert_eq!(m.data(), [1; 2048], "the private area is not the data");
}

#[test]
fn pools_give_what_they_have_and_get_it_back() {
    let eal = eal();
    let mut pool = Mempool::new(&eal, "t", 63, 256, 0).unwrap();
    let mut all: Vec<_> = std::iter::from_fn(|| pool.alloc()).collect();
    assert_eq!((all.len(), pool.available(), pool.in_use()), (63, 0, 63));
    assert!(!pool.alloc_bulk(&mut Burst::new(), 1));
    all.truncate(60);
    let mut burst = Burst::new();
    assert!(!pool.alloc_bulk(&mut burst, 4), "all or none");
    assert!(pool.alloc_bulk(&mut burst, 3));
    assert_eq!((burst.len(), pool.in_use()), (3, 63));
    all.push(burst.pop().unwrap());
    drop(burst);
    assert_eq!(pool.in_use(), 61);
    drop(all);
    assert_eq!(pool.in_use(), 0);
    // Its name is free again once it is gone.
    for _ in 0..20 {
        drop(pool);
        pool = Mempool::new(&eal, "t", 63, 256, 0).unwrap();
    }
    let e = Mempool::new(&eal, "big", 1_000_000, 9000, 0)
        .unwrap_err()
        .to_string();
    assert!(e.contains("no memory for 1000000 frames"), "{e}");
    let mut pools = Pools::new(127, 31);
    let one = pools.get(&eal, 0, 1500).unwrap();
    assert!(Arc::ptr_eq(&one, &pools.get(&eal, 0, 1900).unwrap()));
    assert_eq!(pools.get(&eal, 0, 9000).unwrap().data_room(), JUMBO_ROOM);
    assert_eq!(pools.iter().count(), 2);
    assert!(one.stride() <= 4096, "AF_XDP takes no more");
}

#[test]
fn bursts_own_what_is_in_them() {
    let eal = eal();
    let pool = Mempool::new(&eal, "t", 255, 256, 0).unwrap();
    let numbered = |n: u8| pool.alloc_from(&[n]).unwrap();
    let mut b = Burst::new();
    for n in 0..64 {
        b.push(numbered(n)).unwrap();
    }
    assert!(b.is_full());
    assert_eq!(b.push(numbered(99)).unwrap_err().data(), [99]);
    assert_eq!(b.pop_front().unwrap().data(), [0]);
    b.push(numbered(64)).unwrap();
    assert_eq!(b.pop().unwrap().data(), [64]);
    assert_eq!(
        b.iter().map(|m| m.data()[0]).collect::<Vec<_>>(),
        (1..64).collect::<Vec<_>>()
    );
    b[0].data_mut()[0] = 200;
    assert_eq!(
        b.drain().take(3).map(|m| m.data()[0]).collect::<Vec<_>>(),
        [200, 2, 3]
    );
    assert_eq!(
        (b.len(), pool.in_use()),
        (0, 0),
        "those that drain did not reach are freed"
    );
    for n in 0..10 {
        b.push(numbered(n)).unwrap();
    }
    let taken = b.take();
    assert_eq!((b.len(), taken.len(), pool.in_use()), (0, 10, 10));
    drop(taken);
    assert_eq!(pool.in_use(), 0);
    // Each was freed once, and each of them was: the pool is what it was.
    let all: Vec<_> = std::iter::from_fn(|| pool.alloc()).collect();
    let places: std::collections::BTreeSet<_> = all.iter().map(|m| m.data().as_ptr()).collect();
    assert_eq!((all.len(), places.len()), (255, 255));
}

#[test]
fn the_eal_starts_once() {
    let first = eal();
    assert!(matches!(
        Eal::init(&EalConfig::default()),
        Err(crate::eal::EalError::Again)
    ));
    assert_eq!((first.memory(), first.pci()), (Memory::NoHuge, false));
    let registered = std::thread::spawn(|| crate::eal::register_thread().is_ok())
        .join()
        .unwrap();
    assert!(registered);
    assert!(dpdk_version().starts_with("DPDK"));
}

#[test]
fn frames_may_outlive_their_pool_and_the_eal() {
    let eal = eal();
    let pool = Mempool::new(&eal, "t", 63, 256, 0).unwrap();
    let mut frame = pool.alloc_from(b"here").unwrap();
    drop(pool);
    drop(eal);
    frame.data_mut()[0] = b'H';
    assert_eq!(frame.data(), b"Here");
}

#[test]
fn memory_ports_pass_frames_both_ways() {
    let eal = eal();
    let pool = Mempool::new(&eal, "t", 127, 256, 0).unwrap();
    let mem = MemPort::new(2, 4);
    let wire = mem.wire();
    let mut port = Port::mem(PortId(3), MacAddr([2, 0, 0, 0, 0, 3]), 1500, mem);
    assert_eq!(
        (port.rx_queues(), port.tx_queues(), port.mtu()),
        (2, 2, 1500)
    );
    let mut rx = port.take_rx(1).unwrap();
    let mut tx = port.take_tx(0).unwrap();
    assert!(port.take_rx(1).is_none() && port.take_rx(2).is_none());
    for n in 0..5 {
        assert_eq!(wire.send(1, pool.alloc_from(&[n]).unwrap()), n < 4);
    }
    assert_eq!(port.stats().rx_missed, 1);
    let mut burst = Burst::new();
    assert_eq!((rx.rx(&mut burst), rx.rx(&mut burst)), (4, 0));
    burst.push(pool.alloc_from(&[4]).unwrap()).unwrap();
    assert_eq!(tx.tx(&mut burst), 4, "the queue holds four");
    assert_eq!(burst[0].data(), [4]);
    assert_eq!(wire.recv(0).unwrap().data(), [0]);
    wire.set_up(false);
    assert_eq!((tx.tx(&mut burst), port.link().up), (0, false));
    wire.set_up(true);
    assert_eq!((tx.tx(&mut burst), port.link().up), (1, true));
    port.set_mtu(9000).unwrap();
    assert_eq!(port.mtu(), 9000);
}

#[test]
fn dpdk_devices_are_plugged_and_unplugged_again_and_again() {
    let eal = eal();
    let mut pools = Pools::new(1023, 63);
    let mut ring = Open::new(&eal, &spec("dpdk:net_ring0"), 0, &mut pools).unwrap();
    for n in 0..100 {
        ring.send(0, &frame(0x88b5, 60, n));
    }
    let back = ring.expect(100);
    assert_eq!(back[7].1, frame(0x88b5, 60, 7));
    assert!(ring.port.link().up);
    assert_ne!(ring.port.mac(), MacAddr::ZERO);

    // The same name twice, while the first is open.
    let e = Open::new(&eal, &spec("dpdk:net_ring0"), 1, &mut pools)
        .err()
        .unwrap()
        .to_string();
    assert!(e.starts_with("dpdk:net_ring0: can't plug it in"), "{e}");

    // A queue that is out keeps the port from closing; here another port is opened, closed and opened beside it.
    for id in 1..40 {
        let mut null = Open::new(&eal, &spec("dpdk:net_null0,size=64"), id, &mut pools).unwrap();
        let mut burst = Burst::new();
        assert_eq!(null.rx[0].rx(&mut burst), 64);
        assert_eq!(burst[0].len(), 64);
        assert_eq!(null.tx[0].tx(&mut burst), 64);
        null.close().unwrap();
    }
    ring.send(0, &frame(0x88b5, 60, 500));
    ring.expect(1);
    let Open {
        mut port, rx, tx, ..
    } = ring;
    assert_eq!(port.stats(), PortStats::default());
    drop(tx);
    let e = port.close().err().unwrap();
    assert!(matches!(&e, PortError::InUse { queues: 1, .. }), "{e}");
    drop(rx);
    for pool in pools.iter() {
        assert_eq!(pool.in_use(), 0);
    }
}

#[test]
fn pcap_files_are_replayed_for_ever() {
    let eal = eal();
    let mut pools = Pools::new(1023, 63);
    let path = std::env::temp_dir().join(format!("trunkline-port-{}.pcap", std::process::id()));
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4u32, 0x0004_0002, 0, 0, 65535, 1] {
        file.extend(word.to_ne_bytes());
    }
    for n in 0..3u16 {
        let bytes = frame(0x88b5, 60 + usize::from(n), n);
        for word in [0, 0, bytes.len() as u32, bytes.len() as u32] {
            file.extend(word.to_ne_bytes());
        }
        file.extend(bytes);
    }
    std::fs::write(&path, file).unwrap();
    let device = format!("dpdk:net_pcap0,rx_pcap={},infinite_rx=1", path.display());
    let opened = Open::new(&eal, &spec(&device), 0, &mut pools);
    std::fs::remove_file(&path).unwrap();
    let mut port = opened.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 300 {
        seen.extend(port.poll());
    }
    for (n, (_, bytes)) in seen.iter().enumerate() {
        assert_eq!(bytes, &frame(0x88b5, 60 + n % 3, (n % 3) as u16));
    }
    // Without a file to write to, what is sent is freed.
    port.send(0, &seen[0].1);
    let pool = port.pool.clone();
    port.close().unwrap();
    assert_eq!(pool.in_use(), 0);

    let gone = spec("dpdk:net_pcap0,rx_pcap=/nonexistent.pcap");
    let e = Open::new(&eal, &gone, 0, &mut pools)
        .err()
        .unwrap()
        .to_string();
    assert!(
        e.contains("nonexistent.pcap") && e.contains("No such file"),
        "{e}"
    );
}

#[test]
fn memif_connects_two_ports_without_hugepages() {
    let eal = eal();
    let mut pools = Pools::new(4095, 63);
    let path = std::env::temp_dir().join(format!("trunkline-port-{}.sock", std::process::id()));
    let server = format!("memif:{}", path.display());
    let client = format!("{server},role=client");
    // As many queues as workers would be none that the other end has; asked for at both ends they are there.
    for (workers, queues) in [
        ([1, 1], None),
        ([2, 1], None),
        ([1, 3], None),
        ([2, 3], Some(2)),
    ] {
        let end = |device: &str, workers| PortSpec {
            workers,
            queues,
            ..spec(device)
        };
        let mut a = Open::new(&eal, &end(&server, workers[0]), 0, &mut pools).unwrap();
        let mut b = Open::new(&eal, &end(&client, workers[1]), 1, &mut pools).unwrap();
        for port in [&a, &b] {
            let n = usize::from(queues.unwrap_or(1));
            assert_eq!((port.rx.len(), port.tx.len()), (n, n));
            assert_eq!(port.port.wakes_by(), WakesBy::InterruptUnseen);
        }
        eventually("both ends connected", || {
            a.port.link().up && b.port.link().up
        });
        assert!(b.poll().is_empty()); // a client gives its buffers to the server when it polls
        a.send(0, &frame(0x88b5, 1514, 1));
        assert_eq!(b.expect(1)[0].1, frame(0x88b5, 1514, 1));
        let last = b.tx.len() - 1;
        b.send(last, &frame(0x88b5, 60, 2));
        assert_eq!(a.expect(1), [(last, frame(0x88b5, 60, 2))]);
        b.close().unwrap();
        a.close().unwrap();
    }
}

#[test]
fn a_frame_in_several_buffers_is_counted_and_freed() {
    let eal = eal();
    let mut pools = Pools::new(4095, 2047);
    let path = std::env::temp_dir().join(format!("trunkline-long-{}.sock", std::process::id()));
    let server = format!("memif:{}", path.display());
    let client = format!("{server},role=client");
    let mut a = Open::new(&eal, &spec(&server), 0, &mut pools).unwrap();
    let mut b = Open::new(&eal, &spec(&client), 1, &mut pools).unwrap();
    eventually("both ends connected", || {
        a.port.link().up && b.port.link().up
    });
    assert!(b.poll().is_empty());
    let held = a.pool.in_use();
    // Longer than a buffer of the other end, where the driver takes a second and a third.
    let long = pools.get(&eal, 0, 9000).unwrap();
    for (n, len) in [(1, 3000), (2, 5000)] {
        let mut burst = Burst::new();
        burst
            .push(long.alloc_from(&frame(0x88b5, len, 1)).unwrap())
            .unwrap();
        assert_eq!(b.tx[0].tx(&mut burst), 1);
        b.send(0, &frame(0x88b5, 60, 2));
        assert_eq!(a.expect(1)[0].1, frame(0x88b5, 60, 2));
        assert_eq!(a.port.stats().rx_oversize, n);
    }
    assert_eq!(a.pool.in_use(), held);
    b.close().unwrap();
    a.close().unwrap();
}

#[test]
fn what_can_not_be_opened_is_explained() {
    let eal = eal();
    let mut pools = Pools::new(255, 15);
    let mut open = |s: &PortSpec| Open::new(&eal, s, 0, &mut pools).err().unwrap().to_string();
    for (device, what) in [
        (
            "af_packet:nosuch0",
            "af_packet:nosuch0: no such device; devices here: ",
        ),
        (
            "af_xdp:nosuch0",
            "af_xdp:nosuch0: no such device; devices here: ",
        ),
        ("af_packet:lo", "not an Ethernet device"),
        ("pci:0000:ff:1f.7", "no such PCI device; NICs here: "),
        ("dpdk:net_nonsense0", "can't plug it in"),
        ("dpdk:net_null0,nonsense=1", "can't plug it in"),
    ] {
        let e = open(&spec(device));
        assert!(e.starts_with(device) && e.contains(what), "{device}: {e}");
    }
    let mut s = spec("dpdk:net_null0");
    s.mtu = 67;
    assert!(open(&s).contains("MTU 67 is out of range: 68 to 9600"));
    s.mtu = 1500;
    s.queues = Some(0);
    assert!(open(&s).contains("at least 1"));
    s.queues = Some(2000);
    assert!(open(&s).contains("queues = 2000, but the device has 1024"));
}
