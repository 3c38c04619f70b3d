//! Where it takes place: two namespaces, and a veth between them. Taken down when dropped.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, Socket, Type};
use vm_testbed::lab::{Lab, Netns};

use super::feed::peer_address;

/// The device's address.
pub const DEVICE: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
/// The sink's.
pub const SINK: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);
/// BGP's port.
pub const PORT: u16 = 179;

/// Both namespaces.
#[derive(Debug)]
pub struct Place {
    /// The folder for files is the lab's.
    pub lab: Lab,
    /// Of the device.
    pub device: Netns,
    far: Netns,
}

impl Place {
    /// Room for a device with that many peers and a sink.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn new(peers: usize) -> Result<Self> {
        let mut lab = Lab::new("bb-bgp")?;
        let (device, far) = (lab.space("dut")?, lab.space("far")?);
        device.ip(&format!(
            "link add e0 type veth peer name e0 netns {}",
            far.name()
        ))?;
        device.ip(&format!("addr add {DEVICE}/24 dev e0"))?;
        far.ip(&format!("addr add {SINK}/24 dev e0"))?;
        for p in 0..peers {
            far.ip(&format!("addr add {}/24 dev e0", peer_address(p)))?;
        }
        for ns in [&device, &far] {
            ns.ip("link set e0 up")?;
        }
        Ok(Self { lab, device, far })
    }

    /// A connection to the device from one of the far addresses.
    ///
    /// # Errors
    /// Nobody listens there.
    pub fn connect(&self, from: Ipv4Addr) -> Result<TcpStream> {
        self.far.enter(|| {
            let s = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
            s.set_reuse_address(true)?;
            s.bind(&SocketAddr::from((from, 0)).into())?;
            let to = SocketAddr::from((DEVICE, PORT));
            s.connect_timeout(&to.into(), Duration::from_secs(1))
                .with_context(|| format!("from {from} to {to}"))?;
            s.set_tcp_nodelay(true)?;
            Ok(s.into())
        })
    }

    /// Listens where the sink is.
    ///
    /// # Errors
    /// The port is taken.
    pub fn listen_at_sink(&self, port: u16) -> Result<TcpListener> {
        self.far.enter(|| Ok(TcpListener::bind((SINK, port))?))
    }

    /// Listens as the device would.
    ///
    /// # Errors
    /// The port is taken.
    pub fn listen(&self) -> Result<TcpListener> {
        self.device.enter(|| Ok(TcpListener::bind((DEVICE, PORT))?))
    }
}
