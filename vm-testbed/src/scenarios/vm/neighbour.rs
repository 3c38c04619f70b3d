//! A small Linux guest beside an appliance on the host: what its tcpdump reads on the wire, and its pings.

use anyhow::{Result, ensure};

use crate::lab::wait::{secs, until};
use crate::vm::{Cable, Card, Vm};

/// How long frames may take through a machine that is emulated, neighbours to be found included.
pub const THROUGH: std::time::Duration = secs(30);

/// A paravirtual card whose cable is a TAP of that name beside the appliance.
pub const fn port(name: &'static str, n: u8) -> Card {
    Card {
        name,
        model: "virtio-net-pci",
        driver: "virtio-pci",
        node: 0,
        mac: [0x52, 0x54, 0, 0, 0x0a, n],
        queues: 1,
        cable: Cable::Tap,
    }
}

/// What a command begins with in a namespace of the guest; "" is where its first program is.
fn inside(ns: &str) -> String {
    match ns {
        "" => String::new(),
        _ => format!("ip netns exec {ns} "),
    }
}

/// Runs a command in a namespace of the guest.
///
/// # Errors
/// When it fails.
pub fn within(vm: &mut Vm, ns: &str, line: &str) -> Result<String> {
    vm.guest.run(&format!("{}{line}", inside(ns)))
}

/// Starts iperf3 for one test in a namespace of the guest, and waits until it listens. Each test wants a port of its own: the
/// server of the one before may not have ended yet, and who can't listen says nothing of it.
///
/// # Errors
/// When it does not listen.
pub fn serve(vm: &mut Vm, ns: &str, port: u16) -> Result<()> {
    within(vm, ns, &format!("iperf3 -s -1 -D -p {port} --forceflush"))?;
    let at = format!(":{port:04X} ");
    until(&format!("iperf3 listens on port {port}"), secs(20), || {
        Ok(within(vm, ns, "cat /proc/net/tcp6 /proc/net/tcp")?.contains(&at))
    })
}

/// Pings from a namespace of the guest until an answer comes, then ten times, all to be answered.
///
/// # Errors
/// When they are not.
pub fn ping(vm: &mut Vm, ns: &str, from: &str, to: &str) -> Result<()> {
    let once = format!("{}ping -n -c 1 -W 2 -I {from} {to}", inside(ns));
    until(&format!("{ns} reaches {to}"), THROUGH, || {
        Ok(vm.guest.finish(&once)?.ok())
    })?;
    let said = within(vm, ns, &format!("ping -n -c 10 -i 0.1 -W 5 -I {from} {to}"))?;
    ensure!(said.contains(" 10 received"), "ping {to}: {said}");
    Ok(())
}

/// Lets tcpdump in a namespace of the guest write down what it makes of the frames on a device, from now on.
///
/// # Errors
/// When it does not start.
pub fn listen(vm: &mut Vm, ns: &str, dev: &str, filter: &str) -> Result<()> {
    vm.guest.run(&format!(
        "{}tcpdump -Z root -n -l -v --immediate-mode -i {dev} '{filter}' >/run/{dev}.txt 2>/run/{dev}.err &",
        inside(ns)
    ))?;
    until(&format!("tcpdump listens on {dev}"), secs(20), || {
        Ok(vm
            .guest
            .read(&format!("/run/{dev}.err"))?
            .contains("listening"))
    })
}

/// Waits until tcpdump has said something with all parts of each entry, in this order on one frame's lines.
///
/// # Errors
/// With what it said instead.
pub fn heard(vm: &mut Vm, dev: &str, wanted: &[&[&str]]) -> Result<()> {
    let mut said = String::new();
    let all = until(&format!("tcpdump on {dev} has seen all"), secs(20), || {
        said = vm.guest.read(&format!("/run/{dev}.txt"))?;
        Ok(wanted.iter().all(|parts| has(&said, parts)))
    });
    if all.is_err() {
        let missing = wanted.iter().find(|parts| !has(&said, parts));
        let tail: Vec<&str> = said.lines().rev().take(40).collect();
        anyhow::bail!(
            "tcpdump on {dev} never said {missing:?}, but:\n{}",
            tail.join("\n")
        );
    }
    Ok(())
}

/// Whether a frame has all the parts, one after the other. What belongs to a frame after its first line is indented.
fn has(said: &str, parts: &[&str]) -> bool {
    let mut frames: Vec<String> = vec![];
    for line in said.lines() {
        match frames.last_mut() {
            Some(last) if line.starts_with([' ', '\t']) => *last += line,
            _ => frames.push(line.to_owned()),
        }
    }
    frames.iter().any(|frame| {
        let mut rest = frame.as_str();
        parts.iter().all(|part| match rest.split_once(part) {
            Some((_, after)) => {
                rest = after;
                true
            }
            None => false,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::has;

    #[test]
    fn parts_are_of_one_frame_and_in_order() {
        let said = "1 MPLS (label 100, [S], ttl 64)\n\tIP (ttl 64)\n    10.0.0.1 > 10.0.0.2: ICMP echo request\n\
                    2 MPLS (label 200, [S], ttl 63)\n\tIP (ttl 64)\n";
        assert!(has(
            said,
            &["label 100", "ttl 64)", "10.0.0.1 >", "request"]
        ));
        assert!(!has(said, &["label 200", "request"]));
        assert!(!has(said, &["request", "label 100"]));
    }
}
