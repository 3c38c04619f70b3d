//! Judges that nobody here wrote: etherparse checks every frame that comes out, tcpdump puts it into words.

use std::io::Write;
use std::process::{Command, Stdio};

use etherparse::{NetHeaders, PacketHeaders};
use pcap_file::pcap::{PcapPacket, PcapWriter};

/// Looks whether a frame of the router is well-formed: lengths fit, the IPv4 header checksum is right.
///
/// # Errors
/// With what is wrong.
pub fn well_formed(frame: &[u8]) -> Result<(), String> {
    let headers = PacketHeaders::from_ethernet_slice(frame).map_err(|e| e.to_string())?;
    if let Some(NetHeaders::Ipv4(h, _)) = &headers.net
        && h.calc_header_checksum() != h.header_checksum
    {
        return Err(format!(
            "IPv4 header checksum {:#06x}, should be {:#06x}",
            h.header_checksum,
            h.calc_header_checksum()
        ));
    }
    Ok(())
}

/// What tcpdump says of frames, a few lines each; empty when tcpdump can't be asked.
#[must_use]
pub fn tcpdump(frames: &[&[u8]]) -> String {
    try_tcpdump(frames).unwrap_or_default()
}

fn try_tcpdump(frames: &[&[u8]]) -> Option<String> {
    let mut pcap = PcapWriter::new(Vec::new()).ok()?;
    for f in frames {
        let p = PcapPacket::new(std::time::Duration::ZERO, u32::try_from(f.len()).ok()?, f);
        pcap.write_packet(&p).ok()?;
    }
    let mut child = Command::new("tcpdump")
        .args(["-nn", "-e", "-v", "-t", "-r", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    child.stdin.take()?.write_all(&pcap.into_writer()).ok()?;
    let out = child.wait_with_output().ok()?;
    Some(String::from_utf8_lossy(&out.stdout).into_owned())
}
