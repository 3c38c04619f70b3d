use super::*;
use crate::eal::{Eal, EalConfig, Memory};
use crate::mempool::Mempool;
use net::checksum;
use net::{IfaceId, PortId, VrfId};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

fn iface() -> Interface {
    Interface {
        id: IfaceId(0),
        port: PortId(0),
        vlan: None,
        mac: MacAddr([2, 0, 0, 0x80, 0xff, 1]),
        mtu: 100,
        mpls: true,
        up: true,
        vrf: VrfId(0),
        link_local: std::net::Ipv6Addr::UNSPECIFIED,
        v4: vec![("10.0.0.1".parse().unwrap(), 24)],
        v6: vec![],
        name: "i".into(),
    }
}

/// What frames begin as.
#[derive(Clone, Copy, Debug)]
enum Seed {
    Ip4,
    Ip6,
    Labelled(u8),
}

/// A frame that is all right, but for the bytes that are changed.
fn frame(seed: Seed, changes: &[(usize, u8)], len: usize, sum: bool) -> Vec<u8> {
    let mut f = iface().mac.0.to_vec();
    f.extend([2, 0xaa, 0, 0, 0, 1]);
    let ip4 = [
        0x45, 0, 0, 50, 1, 2, 0x40, 0, 64, 17, 0, 0, 198, 51, 100, 9, 203, 0, 113, 7,
    ];
    match seed {
        Seed::Ip4 => {
            f.extend([8, 0]);
            f.extend(ip4);
        }
        Seed::Ip6 => {
            f.extend([0x86, 0xdd, 0x60, 1, 2, 3, 0, 10, 17, 64]);
            f.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
            f.extend([0x20, 1, 0xd, 0xb8, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
        }
        Seed::Labelled(depth) => {
            f.extend([0x88, 0x47]);
            for i in 1..=depth {
                f.extend([3, i, u8::from(i == depth), 64]);
            }
            f.extend(ip4);
        }
    }
    f.resize(len.max(64), 0);
    for &(at, v) in changes {
        f[at] = v;
    }
    if sum {
        f[24..26].fill(0);
        let sum = checksum::checksum(&f[14..34]).to_be_bytes();
        f[24..26].copy_from_slice(&sum);
    }
    f.truncate(len);
    f
}

type Read = fn(&Wanted<'_>, &[Mbuf], &mut Heads);

/// The ways of reading that there are here.
fn ways() -> Vec<(&'static str, Read)> {
    let mut all: Vec<(&'static str, Read)> = vec![("as it is", super::read)];
    #[cfg(all(target_arch = "x86_64", target_feature = "avx2"))]
    all.push(("AVX2", vector::read_avx2));
    all
}

#[test]
fn several_at_once_are_as_one_by_one() {
    let eal = Eal::init(&EalConfig {
        memory: Memory::NoHuge,
        mem_mb: 64,
        control_cpu: 0,
        pci: false,
    })
    .unwrap();
    let pool = Mempool::new(&eal, "heads", 255, 2048, 0).unwrap();
    let table = InterfaceTable::new([iface()]).unwrap();
    let byte = prop_oneof![
        any::<u8>(),
        prop::sample::select(vec![
            0u8, 1, 2, 10, 127, 169, 223, 224, 254, 255, 0x44, 0x46, 0x86, 0xdd, 0x88, 0x47, 0xfe,
            0x80
        ])
    ];
    let seed = prop_oneof![
        Just(Seed::Ip4),
        Just(Seed::Ip6),
        (1u8..8).prop_map(Seed::Labelled)
    ];
    let changes = prop::collection::vec((0usize..56, byte), 0..4);
    let one = (
        seed,
        changes,
        prop_oneof![4 => Just(64usize), 1 => 0usize..130],
        any::<bool>(),
    );
    let config = Config {
        cases: 4000,
        failure_persistence: None,
        ..Config::default()
    };
    let good = std::cell::RefCell::new([0; 3]);
    let got = std::cell::RefCell::new(Heads::default());
    let wanted = Wanted::new(&table, &iface());
    TestRunner::new(config)
        .run(&prop::collection::vec(one, 0..=BURST), |frames| {
            let frames: Vec<Mbuf> = frames
                .iter()
                .map(|(seed, changes, len, sum)| {
                    let sum = *sum && matches!(seed, Seed::Ip4);
                    pool.alloc_from(&frame(*seed, changes, *len, sum)).unwrap()
                })
                .collect();
            let mut want = Heads::default();
            one_by_one::read(&wanted, &frames, &mut want);
            for (what, read) in ways() {
                let mut got = got.borrow_mut();
                got.forget();
                read(&wanted, &frames, &mut got);
                prop_assert_eq!(what_counts(&got), what_counts(&want), "{}", what);
            }
            let found = [want.good4, want.good6, want.labelled];
            let mut good = good.borrow_mut();
            good.iter_mut()
                .zip(found)
                .for_each(|(n, f)| *n += f.count_ones());
            Ok(())
        })
        .unwrap();
    let good = good.into_inner();
    assert!(
        good.iter().all(|&n| n > 1000),
        "too few were good: {good:?}"
    );
}

/// The bits, and the words of frames that have any.
fn what_counts(h: &Heads) -> impl PartialEq + std::fmt::Debug {
    let of = |i: usize| {
        let is = |of: u64| of >> i & 1 != 0;
        let (four, six) = (is(h.good4), is(h.good6));
        (
            four.then_some(h.dst[i]),
            six.then_some(h.dst6[i]),
            (four || six).then_some(h.total[i]),
            (four || six || is(h.labelled)).then_some(h.word[i]),
        )
    };
    let bits = [h.ip4, h.ip6, h.mpls, h.good4, h.good6, h.labelled, h.bytes];
    (bits, (0..BURST).map(of).collect::<Vec<_>>())
}

/// The word that is written is what the setter of one header makes of it, for every checksum.
#[test]
fn every_checksum_one_hop_on() {
    let eal = Eal::init(&EalConfig {
        memory: Memory::NoHuge,
        mem_mb: 64,
        control_cpu: 0,
        pci: false,
    })
    .unwrap();
    let pool = Mempool::new(&eal, "heads", 255, 2048, 0).unwrap();
    let table = InterfaceTable::new([iface()]).unwrap();
    let wanted = Wanted::new(&table, &iface());
    let mut buffers: Vec<Mbuf> = (0..BURST)
        .map(|_| pool.alloc_from(&[0; 64]).unwrap())
        .collect();
    for ids in (0..=u16::MAX).collect::<Vec<_>>().chunks(BURST) {
        for (m, id) in buffers.iter_mut().zip(ids) {
            let [high, low] = id.to_be_bytes();
            m.data_mut()
                .copy_from_slice(&frame(Seed::Ip4, &[(18, high), (19, low)], 64, true));
        }
        let mut want = Heads::default();
        one_by_one::read(&wanted, &buffers, &mut want);
        assert_eq!(want.good4, u64::MAX);
        for (what, read) in ways() {
            let mut got = Heads::default();
            read(&wanted, &buffers, &mut got);
            assert_eq!(got.word, want.word, "{what}");
        }
    }
}
