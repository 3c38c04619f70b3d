//! soon
use super::{Link, PortError, PortSpec, PortStats, Rx, Tx};
use crate::burst::Burst;
use crate::eal::Eal;
use crate::mempool::Pools;
use net::MacAddr;
/// Queue.
#[derive(Debug)]
pub struct PacketRx;
/// Queue.
#[derive(Debug)]
pub struct PacketTx;
impl Rx for PacketRx {
    fn rx(&mut self, _: &mut Burst) -> usize {
        0
    }
}
impl Tx for PacketTx {
    fn tx(&mut self, _: &mut Burst) -> usize {
        0
    }
}
#[derive(Debug)]
pub(super) struct PacketPort;
pub(super) struct Opened {
    pub port: PacketPort,
    pub rx: Vec<PacketRx>,
    pub tx: Vec<PacketTx>,
    pub warnings: Vec<String>,
}
impl PacketPort {
    pub(super) fn open(_: &Eal, s: &PortSpec, _: &mut Pools) -> Result<Opened, PortError> {
        Err(PortError::Dpdk {
            device: s.device.to_string(),
            what: "soon",
            cause: String::new(),
        })
    }
    pub(super) fn node(&self) -> u32 {
        0
    }
    pub(super) fn mac(&self) -> MacAddr {
        MacAddr::ZERO
    }
    pub(super) fn link(&self) -> Link {
        Link::default()
    }
    pub(super) fn stats(&mut self) -> PortStats {
        PortStats::default()
    }
    pub(super) fn set_mtu(&mut self, _: u16) -> Result<(), PortError> {
        Ok(())
    }
    pub(super) fn close(self) -> Result<(), PortError> {
        Ok(())
    }
}
