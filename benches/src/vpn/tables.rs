//! The RIB over the forwarding tables, and nothing else: what is timed is what the control thread does between hearing of a
//! loss and the tables having the backup for every prefix. After each call all prefixes are asked for.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ctl::rib::fib::FibSink;
use ctl::rib::spec::{Hop, IfaceSpec, PathSpec, PathsSpec, Source, TtlMode};
use ctl::rib::{FollowedHop, LabeledHop, Rib};
use fib::{Domain, FibBatch, FibWriter, Tables, TcMode};
use ipnet::IpNet;
use net::{IfaceId, Label, MacAddr, PortId, VrfId};
use rcu::Reader;

use super::Loss;
use crate::host::breathe;
use crate::stats::Sample;

const VRF: VrfId = VrfId(7);
const FIRST: u32 = 0x0a00_0000;
/// What drains take at most, as in the appliance.
const SLICE: usize = 1024;

/// A VPN by two PEs, the second behind the first.
struct Vpn {
    rib: Rib,
    writer: FibWriter,
    tables: Arc<Tables>,
    reader: Reader,
    prefixes: u32,
}

fn pe(n: u8) -> FollowedHop {
    FollowedHop {
        address: IpAddr::from([192, 0, 2, n]),
        dev: None,
        vrf: VrfId::GLOBAL,
        labeled: true,
    }
}

fn neighbor(n: u8) -> IpAddr {
    IpAddr::from([10, 255, n, 2])
}

/// The label by which a PE takes the VPN.
fn label(n: u8) -> Result<Label> {
    Label::new(100 + u32::from(n)).context("no label")
}

impl Vpn {
    fn new(prefixes: u32) -> Result<Self> {
        let domain = Domain::new();
        let writer = FibWriter::new(&[], &domain)?;
        let mut vpn = Self {
            tables: writer.replica(0),
            reader: domain.register("bench"),
            rib: Rib::new(),
            writer,
            prefixes,
        };
        for n in [1, 2] {
            let address = IpNet::new(IpAddr::from([10, 255, n, 1]), 24)?;
            let mac = MacAddr([2, 0, 0, 0, 0, n]);
            let spec = IfaceSpec {
                vrf: VrfId::GLOBAL,
                port: PortId(n.into()),
                vlan: None,
                mac,
                mtu: 1500,
                up: true,
                addresses: vec![address],
            };
            vpn.rib.set_interface(IfaceId(n.into()), spec);
            vpn.rib.neighbor(IfaceId(n.into()), neighbor(n), mac);
            vpn.rib.follow(pe(n));
            vpn.route(n, true)?;
        }
        vpn.drain();
        vpn.choose(&[1, 2])?;
        vpn.drain();
        vpn.carries(1)?;
        Ok(vpn)
    }

    /// There is a route to a PE, or no more.
    fn route(&mut self, n: u8, there: bool) -> Result<()> {
        let mut path = PathSpec::new(Hop::Via {
            address: neighbor(n),
            dev: None,
        });
        path.labels = [Label::new(16 + u32::from(n)).context("no label")?]
            .into_iter()
            .collect();
        let spec = PathsSpec {
            paths: vec![path],
            ttl: TtlMode::Uniform,
        };
        let p = IpNet::from(pe(n).address);
        self.rib.set_static(VrfId::GLOBAL, p, there.then_some(spec));
        Ok(())
    }

    /// What BGP says of every prefix.
    fn choose(&mut self, pes: &[u8]) -> Result<()> {
        let mut hops = Vec::new();
        for (i, n) in pes.iter().enumerate() {
            hops.push(LabeledHop {
                hop: pe(*n),
                labels: [label(*n)?].into_iter().collect(),
                backup: i > 0,
            });
        }
        for i in 0..self.prefixes {
            // Each by itself, as BGP's are.
            let spec = self.rib.labeled_paths(&hops, TtlMode::Uniform);
            let set = self.rib.paths(&spec);
            let address = IpAddr::from((FIRST + (i << 8)).to_be_bytes());
            let p = IpNet::new(address, 24)?;
            self.rib.set_bgp_in(VRF, p, Some((Source::Ibgp, set)));
        }
        Ok(())
    }

    fn drain(&mut self) {
        let mut batch = FibBatch::new();
        let mut sink = FibSink::new(&mut self.writer, &mut batch, TcMode::Dscp);
        while self.rib.drain(&mut sink, SLICE).more {}
        self.reader.quiescent();
        self.writer.flush();
    }

    /// Every prefix goes by that PE.
    fn carries(&self, n: u8) -> Result<()> {
        let (view, want) = (self.tables.read(&self.reader), label(n)?);
        for i in 0..self.prefixes {
            let to = FIRST + (i << 8) + 1;
            let group = view.group(view.lookup4_in(VRF, to));
            let found = group.and_then(|g| g.select(i).push.iter().last().copied());
            ensure!(
                found == Some(want),
                "prefix {i} goes by {found:?}, not {want:?}"
            );
        }
        Ok(())
    }

    /// Loses the first PE; how long it took until the tables had the second everywhere.
    fn lose(&mut self, loss: Loss) -> Result<Duration> {
        let iface = IfaceId(1);
        let start = Instant::now();
        match loss {
            Loss::Link => drop(self.writer.interface_down(iface)),
            Loss::Neighbor => {
                self.rib.neighbor_lost(iface, neighbor(1));
                self.drain();
            }
            Loss::Route => {
                self.route(1, false)?;
                self.drain();
            }
        }
        let took = start.elapsed();
        self.carries(2)?;
        Ok(took)
    }

    fn restore(&mut self, loss: Loss) -> Result<()> {
        match loss {
            Loss::Link => drop(self.writer.interface_up(IfaceId(1))),
            Loss::Neighbor => {
                self.rib
                    .neighbor(IfaceId(1), neighbor(1), MacAddr([2, 0, 0, 0, 0, 1]))
            }
            Loss::Route => self.route(1, true)?,
        }
        self.drain();
        self.carries(1)
    }

    /// How long it takes to have every prefix go another way of its own: what each loss would cost without backups, BGP's own
    /// time left out.
    fn one_by_one(&mut self) -> Result<Duration> {
        let start = Instant::now();
        self.choose(&[2])?;
        self.drain();
        let took = start.elapsed();
        self.carries(2)?;
        self.choose(&[1, 2])?;
        self.drain();
        self.carries(1)?;
        Ok(took)
    }
}

/// What a VPN of so many prefixes took, in microseconds.
#[derive(Debug, Clone)]
pub struct Took {
    /// Prefixes.
    pub prefixes: u32,
    /// Of each loss.
    pub losses: Vec<(Loss, Sample)>,
    /// Prefix by prefix.
    pub one_by_one: Sample,
}

fn us(d: Duration) -> f64 {
    d.as_secs_f64() * 1e6
}

/// The sizes by turns, so many rounds.
///
/// # Errors
/// A prefix goes where it should not.
pub fn failover(sizes: &[u32], rounds: usize) -> Result<Vec<Took>> {
    let mut vpns = Vec::new();
    for n in sizes {
        let took = Took {
            prefixes: *n,
            losses: Loss::ALL.map(|l| (l, Sample::default())).to_vec(),
            one_by_one: Sample::default(),
        };
        vpns.push((Vpn::new(*n)?, took));
    }
    let mut other = vec![1u64; 4 << 20];
    for round in 0..rounds {
        breathe();
        // Who comes first finds the machine as it was left.
        vpns.rotate_left(1);
        for (vpn, took) in &mut vpns {
            for (loss, sample) in &mut took.losses {
                // Whatever the size, nothing of it is left in the caches.
                other.iter_mut().for_each(|n| *n = n.wrapping_mul(3));
                std::hint::black_box(&other);
                sample.0.push(us(vpn.lose(*loss)?));
                vpn.restore(*loss)?;
            }
            if round < 5 {
                took.one_by_one.0.push(us(vpn.one_by_one()?));
            }
        }
    }
    let mut all: Vec<Took> = vpns.into_iter().map(|(_, took)| took).collect();
    all.sort_by_key(|t| t.prefixes);
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_prefix_goes_where_it_is_said_to_go() {
        let all = failover(&[3, 300], 2).unwrap();
        for took in all {
            assert!(took.losses.iter().all(|(_, s)| s.0.len() == 2));
            assert_eq!(took.one_by_one.0.len(), 2);
        }
    }
}
