//! The configuration as text: what `config diff` says, and a file that reads back to the same.

use super::model::{Memory, Poll, TcMode, TtlMode, Workers};

pub(super) fn workers(workers: &Workers) -> String {
    match workers {
        Workers::Auto => "auto".into(),
        Workers::Cpus(cpus) => cpu_list(cpus),
    }
}

/// `2-5,18`
fn cpu_list(cpus: &[usize]) -> String {
    let mut parts: Vec<(usize, usize)> = Vec::new();
    for &cpu in cpus {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == cpu => *last = cpu,
            _ => parts.push((cpu, cpu)),
        }
    }
    let parts = parts.iter().map(|(a, b)| {
        if a == b {
            a.to_string()
        } else {
            format!("{a}-{b}")
        }
    });
    parts.collect::<Vec<_>>().join(",")
}

pub(super) fn poll(poll: Poll) -> &'static str {
    match poll {
        Poll::Adaptive => "adaptive",
        Poll::Busy => "busy",
    }
}

pub(super) fn memory(memory: Memory) -> &'static str {
    match memory {
        Memory::Hugepages => "hugepages",
        Memory::NoHuge => "no-huge",
    }
}

pub(super) fn ttl(mode: TtlMode) -> &'static str {
    match mode {
        TtlMode::Uniform => "uniform",
        TtlMode::Pipe => "pipe",
    }
}

pub(super) fn tc(mode: TcMode) -> &'static str {
    match mode {
        TcMode::Dscp => "dscp",
        TcMode::Zero => "zero",
    }
}
