//! Adjacencies: one for each neighbour that a group leads to, with what is known of the neighbour.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use net::{AdjId, IfaceId, MacAddr};

use super::sink::{Full, OutAdjacency, Sink};
use super::spec::IfaceSpec;

/// A neighbour: where, and its address.
pub(crate) type Key = (IfaceId, IpAddr);

#[derive(Debug)]
struct Adj {
    id: AdjId,
    /// How many paths of groups lead to it.
    refs: usize,
    /// How many of them are routes', not the neighbour's own.
    wants: usize,
}

/// A neighbour that has become, or ceased to be, the next hop of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    /// Where it is.
    pub iface: IfaceId,
    /// Its address.
    pub address: IpAddr,
    /// True: keep it resolved. False: no longer.
    pub wanted: bool,
}

/// All adjacencies, and the MAC addresses that are known.
#[derive(Debug, Default)]
pub(crate) struct Adjs {
    by_key: BTreeMap<Key, Adj>,
    pub(crate) known: BTreeMap<Key, MacAddr>,
    pub(crate) dirty: BTreeSet<Key>,
    pub(crate) wants: Vec<Want>,
}

fn out((iface, next_hop): Key, spec: &IfaceSpec, mac: Option<MacAddr>) -> OutAdjacency {
    let IfaceSpec {
        port,
        vlan,
        mtu,
        mac: source,
        ..
    } = *spec;
    OutAdjacency {
        iface,
        port,
        vlan,
        source,
        mtu,
        next_hop,
        mac,
    }
}

impl Adjs {
    pub(crate) fn get(&self, key: Key) -> Option<AdjId> {
        self.by_key.get(&key).map(|a| a.id)
    }

    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// One more path leads to `key`.
    pub(crate) fn hold(
        &mut self,
        key: Key,
        want: bool,
        spec: &IfaceSpec,
        sink: &mut impl Sink,
    ) -> Result<AdjId, Full> {
        if !self.by_key.contains_key(&key) {
            let id = sink.add_adjacency(&out(key, spec, self.known.get(&key).copied()))?;
            self.by_key.insert(
                key,
                Adj {
                    id,
                    refs: 0,
                    wants: 0,
                },
            );
            self.dirty.remove(&key);
        }
        let Some(a) = self.by_key.get_mut(&key) else {
            return Err(Full("no adjacency".into()));
        };
        a.refs += 1;
        if want {
            a.wants += 1;
            if a.wants == 1 {
                self.wants.push(Want {
                    iface: key.0,
                    address: key.1,
                    wanted: true,
                });
            }
        }
        Ok(a.id)
    }

    /// One path less leads to `key`.
    pub(crate) fn release(&mut self, key: Key, want: bool, sink: &mut impl Sink) {
        let Some(a) = self.by_key.get_mut(&key) else {
            return;
        };
        a.refs -= 1;
        if want {
            a.wants -= 1;
            if a.wants == 0 {
                self.wants.push(Want {
                    iface: key.0,
                    address: key.1,
                    wanted: false,
                });
            }
        }
        if a.refs == 0 {
            sink.remove_adjacency(a.id);
            self.by_key.remove(&key);
        }
    }

    /// The neighbours of an interface that have an adjacency are to be written anew.
    pub(crate) fn touch_iface(&mut self, iface: IfaceId) {
        let keys = self.by_key.keys().filter(|k| k.0 == iface);
        self.dirty.extend(keys);
    }

    /// Writes an adjacency anew, if there is one.
    pub(crate) fn write(&self, key: Key, spec: &IfaceSpec, sink: &mut impl Sink) {
        if let Some(a) = self.by_key.get(&key) {
            sink.replace_adjacency(a.id, &out(key, spec, self.known.get(&key).copied()));
        }
    }
}
