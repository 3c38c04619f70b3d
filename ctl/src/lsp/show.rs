//! Requests of LSP ping and what came of them, as the API shows them.

use ::ldp::oam::probe::{Answer, Outcome, Probe};
use ::ldp::oam::{Detailed, FecElement, Hop};
use ::net::{Label, Lse};
use bgp::types::Rd;

use super::way::Way;

/// One request.
pub(super) fn probe(p: &Probe, way: &Way) -> api::LspProbe {
    // Those around them have ended before.
    let ended = way.fecs.len().saturating_sub(p.fecs);
    let mut row = api::LspProbe {
        sequence: p.sequence,
        ttl: p.ttl.into(),
        verdict: "lost".into(),
        fec: way.fecs.iter().skip(ended).map(fec).collect(),
        label: way.labels.iter().map(|l| l.get()).collect(),
        source: way.src.to_string(),
        interface: way.interface.clone(),
        next_hop: way.next_hop.1.to_string(),
        ..api::LspProbe::default()
    };
    if let Outcome::Answered(a) = &p.outcome {
        answered(&mut row, a);
    }
    row
}

fn answered(row: &mut api::LspProbe, a: &Answer) {
    row.answered = true;
    row.verdict = match () {
        () if a.is_end() => "end",
        () if a.goes_on() => "onward",
        () => "broken",
    }
    .into();
    row.from = a.from.to_string();
    row.rtt_ms = a.took.as_secs_f64() * 1000.0;
    (row.code, row.subcode) = (a.code.0.into(), a.subcode.into());
    row.text = a.code.to_string();
    if let Some(came) = &a.came {
        (row.router, row.in_interface) = hop(came.hop);
        row.in_label = came.stack.iter().map(|e| entry(Lse(*e))).collect();
    }
    row.onward = a.ways.iter().map(onward).collect();
}

fn onward(w: &Detailed) -> api::LspWay {
    let (router, interface) = hop(w.hop);
    let labels = w.labels.as_deref().unwrap_or(&[]);
    api::LspWay {
        router,
        interface,
        mtu: w.mtu.into(),
        label: labels.iter().map(|l| l.label.get()).collect(),
        protocol: match labels.first().map_or(0, |l| l.protocol) {
            1 => "static",
            2 => "bgp",
            3 => "ldp",
            4 => "rsvp-te",
            _ => "",
        }
        .into(),
    }
}

fn entry(l: Lse) -> api::LspLabel {
    api::LspLabel {
        label: l.label().get(),
        tc: l.tc().into(),
        bottom: l.bottom(),
        ttl: l.ttl().into(),
    }
}

/// The router, and its interface by address or number.
fn hop(h: Hop) -> (String, String) {
    match h {
        Hop::V4(a, i) => (a.to_string(), i.to_string()),
        Hop::V6(a, i) => (a.to_string(), i.to_string()),
        Hop::V4Index(a, n) => (a.to_string(), format!("#{n}")),
        Hop::V6Index(a, n) => (a.to_string(), format!("#{n}")),
    }
}

/// As the command line has it.
pub(super) fn fec(f: &FecElement) -> String {
    match f {
        FecElement::Ldp(p) => format!("ldp {p}"),
        FecElement::Bgp(p) => format!("bgp {p}"),
        FecElement::Vpn(rd, p) => format!("vpn {p} rd {}", Rd(*rd)),
        FecElement::Generic(p) => format!("generic {p}"),
        FecElement::Nil(l) => format!("nil {}", l.get()),
        FecElement::Other(kind, _) => format!("type {kind}"),
    }
}

/// A label of the tables, in the words of the protocol's crate.
pub(super) fn label(l: Label) -> ::ldp::types::Label {
    ::ldp::types::Label::new(l.get()).unwrap_or(::ldp::types::Label::IMPLICIT_NULL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fecs_are_told_as_they_are_asked_for() {
        let p = "10.1.0.0/16".parse().unwrap();
        for (f, want) in [
            (FecElement::Ldp(p), "ldp 10.1.0.0/16"),
            (FecElement::Bgp(p), "bgp 10.1.0.0/16"),
            (FecElement::Generic(p), "generic 10.1.0.0/16"),
            (
                FecElement::Vpn([0, 0, 0xfc, 0, 0, 0, 0, 7], p),
                "vpn 10.1.0.0/16 rd 64512:7",
            ),
        ] {
            assert_eq!(fec(&f), want);
        }
    }
}
