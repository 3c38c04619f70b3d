//! The appliance between BGP speakers that nobody here wrote; what is asserted is asserted from both sides.
//!
//! Neighbour `n` is host 2 of network `n`, AS 4200000000 + n unless it is internal; the appliance is AS 64500.

pub mod bmp;
pub mod caches;
pub mod features;
pub mod flood;
pub mod internet;
pub mod keys;
pub mod matrix;
pub mod mrt;
pub mod policy;
pub mod restart;
pub mod routes;
pub mod rpki;
pub mod speakers;

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv6Addr};

use anyhow::{Result, anyhow, ensure};
use serde_json::Value;

use crate::lab::wait::{eventually, secs, until};
use crate::lab::{Appliance, Flavor, Host, Lab, Netns};
use crate::peers::{Make, Setup, Speaker};

/// The AS of the appliance.
pub const AS: u32 = 64_500;

/// The AS of neighbour `n`, four octets wide.
#[must_use]
pub fn asn(n: u8) -> u32 {
    4_200_000_000 + u32::from(n)
}

/// The IPv4 address of neighbour `n`.
#[must_use]
pub fn address(n: u8) -> IpAddr {
    IpAddr::from([10, 0, n, 2])
}

/// Its IPv6 address.
#[must_use]
pub fn address6(n: u8) -> Ipv6Addr {
    Ipv6Addr::from([0x2001, 0xdb8, n.into(), 0, 0, 0, 0, 2])
}

/// The address of the appliance towards it.
#[must_use]
pub fn router(n: u8) -> IpAddr {
    IpAddr::from([10, 0, n, 1])
}

/// What neighbour `n` needs to be one.
#[must_use]
pub fn setup(n: u8) -> Setup {
    Setup::new(asn(n), address(n), address6(n), AS, router(n))
}

/// The section of neighbour `n`, both families, everything let in and out; `more` are further lines.
#[must_use]
pub fn neighbor(n: u8, asn: u32, more: &str) -> String {
    format!(
        "[bgp.neighbor.\"{}\"]\nas = {asn}\nfamilies = [\"ipv4-unicast\", \"ipv6-unicast\"]\nimport = \"accept-all\"\n\
         export = \"accept-all\"\nconnect-retry = 1\n{more}\n",
        address(n)
    )
}

/// An appliance and the namespaces around it.
pub struct Around {
    /// The appliance.
    pub a: Appliance,
    /// Those of the neighbours, the first being number 1.
    pub spaces: Vec<Netns>,
    /// All of it.
    pub lab: Lab,
}

/// An appliance with `n` networks; `bgp` are lines of `[bgp]` behind its AS, and further sections.
///
/// # Errors
/// When it does not start.
pub fn around(name: &str, flavor: &Flavor, n: u8, bgp: &str) -> Result<Around> {
    build(name, flavor, n, bgp, true)
}

/// The same with IPv6 addresses alone.
///
/// # Errors
/// When it does not start.
pub fn around6(name: &str, flavor: &Flavor, n: u8, bgp: &str) -> Result<Around> {
    build(name, flavor, n, bgp, false)
}

fn build(name: &str, flavor: &Flavor, n: u8, bgp: &str, v4: bool) -> Result<Around> {
    let mut lab = Lab::new(name)?;
    let ns = lab.router("dut")?;
    let mut spaces = vec![];
    let mut config = flavor.config("dut");
    for i in 1..=n {
        let mut theirs = vec![format!("{}/64", address6(i))];
        let mut ours = vec![format!("2001:db8:{i}::1/64")];
        if v4 {
            theirs.push(format!("{}/24", address(i)));
            ours.push(format!("{}/24", router(i)));
        }
        let theirs: Vec<&str> = theirs.iter().map(String::as_str).collect();
        let ours: Vec<&str> = ours.iter().map(String::as_str).collect();
        let mut host = Host::new(&format!("n{i}"), &theirs);
        if v4 {
            host = host.gateway(&router(i).to_string());
        }
        let dev = format!("e{i}");
        spaces.push(lab.host(&host, &ns, &dev)?);
        config = config.interface(&format!("p{i}"), &dev, &ours, "");
    }
    let config = config.section(&format!("[bgp]\nas = {AS}\nhold-time = 9\n{bgp}"));
    let a = lab.start("dut", &ns, &config)?;
    Ok(Around { a, spaces, lab })
}

impl Around {
    /// Starts neighbour `n`.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(&self, n: u8, make: Make, s: &Setup) -> Result<Box<dyn Speaker>> {
        let space = &self.spaces[usize::from(n) - 1];
        make.start(
            self.lab.folder(),
            &format!("{make:?}{n}").to_lowercase(),
            space,
            s,
        )
    }

    /// What the appliance says of a neighbour.
    ///
    /// # Errors
    /// When it has none such.
    pub fn neighbor(&self, name: &str) -> Result<Value> {
        let all = self.a.json(&format!("bgp neighbor {name}"))?;
        let one = all.as_array().and_then(|a| a.first()).cloned();
        one.ok_or_else(|| anyhow!("bgp neighbor {name}: {all}"))
    }

    /// Waits until both sides call their session established.
    ///
    /// # Errors
    /// When they do not, with what the appliance says of it.
    pub fn established(&self, peer: &dyn Speaker, s: &Setup) -> Result<()> {
        peer.wait_established(s.peer).map_err(|e| {
            let ours = self.neighbor(&s.local.to_string());
            e.context(format!("the appliance says: {ours:?}"))
        })?;
        until("the appliance calls it established, too", secs(5), || {
            Ok(self.neighbor(&s.local.to_string())?["state"] == "Established")
        })
    }

    /// The paths the appliance has for a prefix.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn routes(&self, query: &str) -> Result<Vec<Value>> {
        let all = self.a.json(&format!("bgp route {query}"))?;
        Ok(all.as_array().cloned().unwrap_or_default())
    }

    /// Waits until there is that number of paths, and returns them. What a neighbour sends back to us, as some do, is none.
    ///
    /// # Errors
    /// When there are not within 15 s, with those that there are.
    pub fn wait_routes(&self, query: &str, n: usize) -> Result<Vec<Value>> {
        eventually(&format!("bgp route {query}: {n} paths"), secs(15), || {
            let mut all = self.routes(query)?;
            all.retain(|r| r["problem"] != "our own AS number is in the path");
            ensure!(all.len() == n, "there are {all:?}");
            Ok(Some(all))
        })
    }

    /// Takes everything down, the appliance first, which must go quietly.
    ///
    /// # Errors
    /// When it does not.
    pub fn end(self, peers: Vec<Box<dyn Speaker>>) -> Result<()> {
        self.a.stop()?;
        drop(peers);
        Ok(())
    }
}

/// Several sections.
#[must_use]
pub fn sections(all: &[String]) -> String {
    all.iter().fold(String::new(), |mut text, s| {
        let _ = writeln!(text, "{s}");
        text
    })
}
