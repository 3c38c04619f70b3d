//! Cards that leave the machine while an interface is on them, and come back.
//!
//! The kernel asks for a card and waits (`dataplane::port::asked_to_leave`). Its interfaces lose their link then, as with a pulled
//! cable, the port is closed and the card let go; the interfaces stay, with what is configured on them, and `interface show` calls
//! their link "gone". When the card with that address is there again it is taken as at the start. Left out: another card in its
//! place, whose hardware address is another: that one waits for `interface del` and `add`.

use std::path::Path;
use std::time::Instant;

use dataplane::port::asked_to_leave;
use tracing::{info, warn};

use super::router::Router;
use crate::apply::pci_address;

/// An interface whose card has left.
#[derive(Debug, Default)]
pub(crate) struct Gone {
    /// The kernel has no such card any more.
    left: bool,
    /// Why it could not be taken again, as was said.
    said: String,
}

impl Router {
    /// Lets go what is asked for, and takes what is back. Once a second.
    pub(super) fn look_at_cards(&mut self, now: Instant) {
        for address in asked_to_leave() {
            self.let_go(&address, now);
        }
        let ifaces = &self.ifaces;
        self.gone.retain(|name, _| ifaces.contains_key(name));
        let names: Vec<String> = self.gone.keys().cloned().collect();
        for name in names {
            self.look_for(&name, now);
        }
    }

    /// The card leaves: first nobody sends to it or takes from it, then its port is closed.
    fn let_go(&mut self, address: &str, now: Instant) {
        let on = |conf| pci_address(conf).as_deref() == Some(address);
        let found = self.ifaces.values().find(|i| on(&i.conf));
        let Some(conf) = found.map(|i| i.conf.clone()) else {
            return;
        };
        let name = conf.name.clone();
        if !self.ports.contains_key(&name) {
            return; // told twice
        }
        warn!(
            interface = name.as_str(),
            "pci:{address} is asked to leave the machine, and is let go; it is taken again when it is back"
        );
        let mut all = Vec::new();
        for i in self
            .ifaces
            .values_mut()
            .filter(|i| i.conf.port_name() == name)
        {
            i.up = false;
            all.push(i.conf.name.clone());
        }
        for iface in &all {
            self.announce(iface, now);
        }
        // What has gone is no port to the workers any more.
        self.gone.insert(name.clone(), Gone::default());
        self.publish();
        self.settle();
        self.close_port(&conf);
        self.release_nics();
    }

    /// Takes a card again that has left and is back.
    fn look_for(&mut self, name: &str, now: Instant) {
        let address = self.ifaces.get(name).and_then(|i| pci_address(&i.conf));
        let Some(address) = address else { return };
        let there = Path::new("/sys/bus/pci/devices").join(&address).exists();
        let Some(gone) = self.gone.get_mut(name) else {
            return;
        };
        if !there {
            *gone = Gone {
                left: true,
                ..Gone::default()
            };
            return;
        }
        if !gone.left {
            return; // the kernel has not taken it away yet
        }
        match self.reopen(name, now) {
            Ok(()) => info!(interface = name, "pci:{address} is back, and taken again"),
            Err(e) => {
                self.release_nics();
                if let Some(gone) = self.gone.get_mut(name).filter(|g| g.said != e) {
                    warn!(
                        interface = name,
                        "pci:{address} is back, and can't be taken yet: {e}"
                    );
                    gone.said = e;
                }
            }
        }
    }

    fn reopen(&mut self, name: &str, now: Instant) -> Result<(), String> {
        let Some(own) = self.ifaces.get(name).cloned() else {
            return Ok(());
        };
        let (port, _) = self.port_for(&own.conf)?;
        let info = self.dp.as_ref().and_then(|dp| dp.port_info(port));
        let mac = info.map_or(own.mac, |i| i.mac);
        if mac != own.mac {
            self.close_port(&own.conf);
            return Err(format!(
                "its hardware address is {mac} and was {}: it is another card; run `trunkctl interface del {name}`, and add it",
                own.mac
            ));
        }
        self.gone.remove(name);
        let link = self.ports.get(name).is_some_and(|p| p.up);
        let mut all = Vec::new();
        for i in self
            .ifaces
            .values_mut()
            .filter(|i| i.conf.port_name() == name)
        {
            i.port = port;
            i.up = i.conf.up && link;
            all.push(i.conf.name.clone());
        }
        self.publish();
        for iface in &all {
            self.announce(iface, now);
        }
        Ok(())
    }
}
