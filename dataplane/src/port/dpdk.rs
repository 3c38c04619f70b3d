//! soon
use super::{Link, PortError, PortSpec, PortStats, Rx, Tx};
use crate::burst::Burst;
use crate::eal::Eal;
use crate::mempool::Pools;
use net::{MacAddr, PortId};
/// Queue.
#[derive(Debug)]
pub struct DpdkRx;
/// Queue.
#[derive(Debug)]
pub struct DpdkTx;
impl Rx for DpdkRx {
    fn rx(&mut self, _: &mut Burst) -> usize {
        0
    }
}
impl Tx for DpdkTx {
    fn tx(&mut self, _: &mut Burst) -> usize {
        0
    }
}
#[derive(Debug)]
pub(super) struct DpdkPort;
pub(super) struct Opened {
    pub port: DpdkPort,
    pub rx: Vec<DpdkRx>,
    pub tx: Vec<DpdkTx>,
    pub warnings: Vec<String>,
}
impl DpdkPort {
    pub(super) fn open(
        _: &Eal,
        s: &PortSpec,
        _: PortId,
        _: &mut Pools,
    ) -> Result<Opened, PortError> {
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
