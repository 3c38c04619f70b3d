//! Ports that play captures: the same datapath as on a network card, without a kernel in between.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use pcap_file::pcap::{PcapPacket, PcapWriter};

use crate::frame::{IPV4, IPV6, Ip4, Ip6, Mac, eth};
use crate::lab::wait::{secs, until};
use crate::lab::{Appliance, Config, Flavor, Lab};
use crate::suite::Options;

use super::pages;

/// Writes frames as a capture.
///
/// # Errors
/// When the file can't be written.
pub fn write(path: &Path, frames: &[Vec<u8>]) -> Result<()> {
    let file = File::create(path).with_context(|| format!("{}", path.display()))?;
    let mut pcap = PcapWriter::new(file)?;
    for f in frames {
        pcap.write_packet(&PcapPacket::new(
            std::time::Duration::ZERO,
            u32::try_from(f.len())?,
            f,
        ))?;
    }
    Ok(())
}

/// A thousand frames to `router`: most are to be forwarded, some must be dropped under five different names.
fn mixture(router: Mac) -> Vec<Vec<u8>> {
    let from = [2, 0xaa, 0, 0, 1, 2];
    (0..1000u16)
        .map(|i| {
            let v4 = Ip4::udp_ports("10.0.1.2", "198.51.100.9", i, 53, 18);
            let v6 = Ip6::udp_ports("2001:db8:1::2", "2001:db8:100::9", i, 53, 18);
            match i % 20 {
                0 => eth(
                    router,
                    from,
                    IPV4,
                    &v4.with(|p| p.checksum_off_by = 1).bytes(),
                ),
                1 => eth(
                    router,
                    from,
                    IPV4,
                    &Ip4::udp("10.0.1.2", "192.0.2.1", 18).bytes(),
                ),
                2 => eth(router, from, IPV6, &v6.hops(1).bytes()),
                3 => eth([2, 9, 9, 9, 9, 9], from, IPV4, &v4.bytes()),
                // The kernel would keep it from a port of its own.
                4 => eth(router, from, IPV4, &[0x45; 1501]),
                n if n % 2 == 0 => eth(router, from, IPV4, &v4.bytes()),
                _ => eth(router, from, IPV6, &v6.bytes()),
            }
        })
        .collect()
}

/// A router that is ready to forward but has no port to take frames from yet.
fn config(flavor: &Flavor, silent: &Path) -> Config {
    flavor
        .config("dut")
        .interface_on(
            "out0",
            &format!("dpdk:net_pcap1,rx_pcap={}", silent.display()),
            &["10.0.2.1/24", "2001:db8:2::1/64"],
            "",
        )
        .route("198.51.100.0/24", "10.0.2.2", "")
        .route("2001:db8:100::/48", "2001:db8:2::2", "")
        .section(
            "[[neighbor.static]]\naddress = \"10.0.2.2\"\nlladdr = \"02:aa:00:00:02:02\"\ndev = \"out0\"",
        )
        .section(
            "[[neighbor.static]]\naddress = \"2001:db8:2::2\"\nlladdr = \"02:aa:00:00:02:02\"\ndev = \"out0\"",
        )
}

/// Starts an appliance and adds a port that plays the capture. The port's MAC address, to which the frames must be sent, is
/// only known when it is there, so it is there twice.
fn play(lab: &mut Lab, flavor: &Flavor, infinite: bool) -> Result<Appliance> {
    let r1 = lab.router("r1")?;
    let (capture, silent) = (
        lab.folder().join("in.pcap"),
        lab.folder().join("silent.pcap"),
    );
    write(&silent, &[])?;
    write(&capture, &mixture([2; 6])[..1])?;
    let infinite = if infinite { ",infinite_rx=1" } else { "" };
    let add = format!(
        "interface add in0 device dpdk:net_pcap0,rx_pcap={}{infinite} address 10.0.1.1/24 address 2001:db8:1::1/64",
        capture.display()
    );
    let mut a = lab.start("dut", &r1, &config(flavor, &silent))?;
    a.must(&add)?;
    let shown = a.json("interface show in0")?;
    let mac = shown[0]["mac"]
        .as_str()
        .context("in0 has no MAC address")?
        .to_owned();
    a.must("interface del in0")?;
    a.terminate()?;
    let bytes: Vec<u8> = mac
        .split(':')
        .map(|b| u8::from_str_radix(b, 16))
        .collect::<Result<_, _>>()?;
    let bytes = bytes
        .try_into()
        .ok()
        .context("a MAC address has six bytes")?;
    write(&capture, &mixture(bytes))?;
    a.start_again()?;
    a.must(&add)?;
    Ok(a)
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn finite(o: &Options) -> Result<()> {
    let _pages = pages(&o.flavor, 1)?;
    let mut lab = Lab::new("pcap-finite")?;
    let a = play(&mut lab, &o.flavor, false)?;
    until("all frames are taken in", secs(10), || {
        Ok(a.counters()?.0["in0"].rx == 1000)
    })?;
    let c = a.law()?;
    let got = |reason: &str| c.0["in0"].drops.get(reason).copied().unwrap_or(0);
    let drops = [
        "ip4_bad_checksum",
        "no_route",
        "ttl_expired",
        "not_for_us",
        "giant",
    ]
    .map(got);
    ensure!(
        drops == [50; 5],
        "drops of the five kinds: {drops:?}, not 50 each: {c:?}"
    );
    ensure!(
        c.0["out0"].tx >= 750,
        "750 frames are to be forwarded: {c:?}"
    );
    a.stop()
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn infinite(o: &Options) -> Result<()> {
    let _pages = pages(&o.flavor, 1)?;
    let mut lab = Lab::new("pcap-infinite")?;
    let a = play(&mut lab, &o.flavor, true)?;
    until("a hundred thousand frames are forwarded", secs(10), || {
        Ok(a.counters()?.0["out0"].tx >= 100_000)
    })?;
    // Without its source, all comes to rest. `out0` stays, and with it what it has counted.
    a.must("interface del in0")?;
    let c = a.counters_at_rest()?;
    ensure!(c.0["out0"].tx >= 100_000, "out0 forgot what it sent: {c:?}");
    a.stop()
}
