//! Two of these machines on one wire, each the other's judge.

use super::*;

struct Wire {
    ends: [Neighbours; 2],
    macs: [MacAddr; 2],
    acts: [Vec<Act>; 2],
}

impl Wire {
    fn new(addresses: [(&str, &str); 2]) -> (Self, Instant) {
        let mut wire = Self {
            ends: [
                Neighbours::new(Params::default()),
                Neighbours::new(Params::default()),
            ],
            macs: [US, PEER],
            acts: [vec![], vec![]],
        };
        let now = Instant::now();
        for (i, (a4, a6)) in addresses.into_iter().enumerate() {
            let link_local = Some(wire.macs[i].eui64_link_local());
            let cfg = IfaceCfg {
                id: IF,
                mac: wire.macs[i],
                v4: vec![(v4(a4), 24)],
                v6: vec![(v6(a6), 64)],
                link_local,
            };
            let mut out = vec![];
            wire.ends[i].interface_up(now, &cfg, &mut out);
            wire.deliver(now, i, out);
        }
        (wire, now)
    }

    /// Carries frames to and fro until all is quiet; keeps what is no frame.
    fn deliver(&mut self, now: Instant, from: usize, out: Vec<Act>) {
        let mut pending: Vec<(usize, Act)> = out.into_iter().map(|a| (from, a)).collect();
        let mut carried = 0;
        while let Some((from, act)) = pending.pop() {
            let Act::Send { iface, frame } = act else {
                self.acts[from].push(act);
                continue;
            };
            carried += 1;
            assert!(carried < 100, "a storm");
            let to = 1 - from;
            let mut out = vec![];
            if frame[12..14] == [8, 6] {
                self.ends[to].arp_rx(now, iface, &frame, &mut out);
            } else {
                self.ends[to].nd_rx(now, iface, &frame, &mut out);
            }
            pending.extend(out.into_iter().map(|a| (to, a)));
        }
    }

    fn tick(&mut self, now: Instant) {
        for i in 0..2 {
            let mut out = vec![];
            self.ends[i].tick(now, &mut |_, _| true, &mut out);
            self.deliver(now, i, out);
        }
    }
}

#[test]
fn they_find_and_keep_each_other() {
    let (mut wire, t0) = Wire::new([("192.0.2.1", "2001:db8::1"), ("192.0.2.2", "2001:db8::2")]);
    for (n, addr) in [
        ip("192.0.2.2"),
        ip("2001:db8::2"),
        IpAddr::V6(PEER.eui64_link_local()),
    ]
    .into_iter()
    .enumerate()
    {
        let mut out = vec![];
        wire.ends[0].resolve(t0, IF, addr, Some(frame(n as u8)), &mut out);
        wire.deliver(t0, 0, out);
        assert_eq!(wire.ends[0].lookup(IF, addr), Some(PEER), "{addr}");
        assert_eq!(
            resolved(&std::mem::take(&mut wire.acts[0])),
            Some((PEER, vec![n as u8]))
        );
    }
    // The other side learned from being asked.
    assert_eq!(wire.ends[1].lookup(IF, ip("192.0.2.1")), Some(US));
    assert_eq!(
        wire.ends[1].lookup(IF, IpAddr::V6(US.eui64_link_local())),
        Some(US)
    );
    wire.acts = [vec![], vec![]];
    for s in 1..300 {
        wire.tick(t0 + Duration::from_secs(s));
    }
    assert_eq!(
        wire.acts,
        [vec![], vec![]],
        "nothing lost in five minutes of use"
    );
    assert!(wire.ends.iter().all(|e| {
        e.entries()
            .all(|n| matches!(n.state, State::Reachable | State::Probe))
    }));
    for end in &wire.ends {
        let s = end.stats();
        assert_eq!(
            (
                end.duplicates().count(),
                s.conflicts,
                s.malformed,
                s.off_link,
                s.looped
            ),
            (0, 0, 0, 0, 0)
        );
    }
}

#[test]
fn they_notice_that_they_have_the_same_address() {
    let (mut wire, t0) = Wire::new([("192.0.2.1", "2001:db8::1"), ("192.0.2.1", "2001:db8::1")]);
    for s in 1..100 {
        wire.tick(t0 + Duration::from_secs(s));
    }
    // Each keeps the IPv4 address. The IPv6 one stays with the end that heard nobody else check it, and the other end
    // finds it taken when it tries again.
    let both = HashSet::from([ip("192.0.2.1"), ip("2001:db8::1")]);
    for (end, expected) in [(0, both), (1, HashSet::from([ip("192.0.2.1")]))] {
        let by = wire.macs[1 - end];
        let reports: Vec<_> = wire.acts[end]
            .iter()
            .filter_map(|a| {
                if let Act::Duplicate { addr, by: b, .. } = a {
                    (*b == by).then_some(*addr)
                } else {
                    None
                }
            })
            .collect();
        assert_eq!(
            reports.iter().copied().collect::<HashSet<_>>(),
            expected,
            "end {end}"
        );
        assert_eq!(
            reports.iter().filter(|a| a.is_ipv6()).count(),
            if end == 0 { 2 } else { 0 }
        );
        let silent = wire.ends[end].duplicates().any(|d| d.1.is_ipv6());
        assert_eq!(silent, end == 0);
    }
}
