//! What only the whole shows to be wrong in `[bgp]`: groups, policies and interfaces that are not there, keys that contradict each other.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use ::bgp::types::Family;
use api::grammar::nearest;

use super::super::labels::Range;
use super::super::model::Interface;
use super::super::reader::Log;
use super::super::vrf::{self, Vrf, VrfName};
use super::keys;
use super::parse::{Draft, Scope};
use super::value::{Families, InVrf, Number, Secret, SecretFile};
use super::{AoKey, Bgp, PeerKey, Settings};

/// What `[bgp]` stands on.
pub(in crate::config) struct Around<'a> {
    /// The configuration file.
    pub(in crate::config) file: &'a Path,
    /// `[system] router-id` is there.
    pub(in crate::config) has_id: bool,
    /// The interfaces; none: the kernel's own are used.
    pub(in crate::config) interfaces: &'a BTreeMap<String, Interface>,
    /// The VRFs.
    pub(in crate::config) vrfs: &'a BTreeMap<VrfName, Vrf>,
    /// The labels of segments.
    pub(in crate::config) srgb: Option<Range>,
    /// The policies that there are.
    pub(in crate::config) policies: Vec<&'a str>,
    /// What runs, if the files that it names are not to be read again.
    pub(in crate::config) keep: Option<&'a Bgp>,
}

/// Checks `[bgp]` as a whole.
pub(in crate::config) fn validate(draft: Draft, around: &Around<'_>, log: &mut Log<'_>) -> Bgp {
    let mut check = Check {
        places: draft.places,
        around,
        log,
    };
    let mut bgp = draft.bgp;
    if !around.has_id {
        let message = "is missing; BGP needs an identifier: router-id = \"192.0.2.1\"";
        check.log.at(draft.at, "system.router-id", message);
    }
    check.speaker(&bgp);
    for (name, group) in &mut bgp.groups {
        check.files(&Scope::Group(name.clone()), group);
    }
    for (key, neighbor) in &mut bgp.neighbors {
        check.files(&Scope::Neighbor(key.clone()), &mut neighbor.own);
    }
    for (key, neighbor) in &bgp.neighbors {
        check.neighbor(&bgp, key, neighbor);
    }
    for (name, group) in &bgp.groups {
        check.policies(&Scope::Group(name.clone()), group);
    }
    bgp
}

struct Check<'a, 'l, 't> {
    places:
        std::collections::HashMap<Scope, (usize, std::collections::HashMap<&'static str, usize>)>,
    around: &'a Around<'a>,
    log: &'l mut Log<'t>,
}

fn quoted(key: &PeerKey) -> String {
    match key {
        PeerKey::Interface(name) if !name.contains('.') => name.clone(),
        key => format!("\"{key}\""),
    }
}

impl Check<'_, '_, '_> {
    /// Notes a mistake at a key; where the key is not there, at the head of its table.
    fn wrong(&mut self, scope: &Scope, key: &'static str, message: impl Into<String>) {
        let (at, keys) = match self.places.get(scope) {
            Some((at, keys)) => (*at, Some(keys)),
            None => (0, None),
        };
        let at = keys.and_then(|k| k.get(key)).copied().unwrap_or(at);
        let table = match scope {
            Scope::Speaker => "bgp".to_owned(),
            Scope::Group(name) => format!("bgp.group.{name}"),
            Scope::Neighbor(key) => format!("bgp.neighbor.{}", quoted(key)),
        };
        let place = if key.is_empty() {
            table
        } else {
            format!("{table}.{key}")
        };
        self.log.at(at, place, message);
    }

    fn speaker(&mut self, bgp: &Bgp) {
        let s = &bgp.speaker;
        for address in &s.listen {
            if let Err(message) = self.own(*address) {
                self.wrong(&Scope::Speaker, "listen", message);
            }
        }
        if let Some(c) = &s.confederation
            && c.members.contains(&c.id)
        {
            let message = format!("{} is the confederation itself, not a member", c.id);
            self.wrong(&Scope::Speaker, "confederation", message);
        }
        let networks = s.networks.iter().filter_map(|n| n.policy.as_ref());
        let all: Vec<(&'static str, &str)> = networks
            .map(|p| ("networks", p.0.as_str()))
            .chain(
                s.redistribute
                    .iter()
                    .filter_map(|r| Some(("redistribute", r.policy.as_ref()?.0.as_str()))),
            )
            .collect();
        for (key, name) in all {
            if let Err(message) = self.policy(name) {
                self.wrong(&Scope::Speaker, key, message);
            }
        }
        self.indices(bgp);
    }

    /// Label indices need labels: RFC 8669 4.1.
    fn indices(&mut self, bgp: &Bgp) {
        let all = bgp.speaker.networks.iter();
        for (prefix, index) in all.filter_map(|n| Some((n.prefix, n.index?))) {
            let message = match self.around.srgb {
                Some(all) if index < all.size() => continue,
                Some(all) => format!(
                    "label-index {index} of {prefix} is beyond label-range.srgb ({all}), which has {} labels; take a smaller one, or make the range larger",
                    all.size()
                ),
                None => format!(
                    "label-index {index} of {prefix} is that of a label in the SRGB, and there is none; write it as srgb = \"16000-23999\" in [label-range]"
                ),
            };
            self.wrong(&Scope::Speaker, "networks", message);
        }
    }

    /// Whether an address is the router's own; where the kernel's are used, it can't be known here.
    fn own(&self, address: IpAddr) -> Result<(), String> {
        let interfaces = self.around.interfaces;
        let all: Vec<IpAddr> = (interfaces.values())
            .flat_map(|i| i.addresses.iter().map(|a| a.addr()))
            .collect();
        if interfaces.is_empty() || all.contains(&address) {
            return Ok(());
        }
        if interfaces
            .values()
            .any(|i| i.link_local.is_some_and(|l| l == address))
        {
            return Ok(());
        }
        let some: Vec<String> = all.iter().take(8).map(ToString::to_string).collect();
        Err(format!(
            "{address} is no address of this router; it has {}",
            if some.is_empty() {
                "none".to_owned()
            } else {
                some.join(", ")
            }
        ))
    }

    /// The same of an address in a VRF; two VRFs may have it.
    fn own_in(&self, address: IpAddr, vrf: Option<&InVrf>) -> Result<(), String> {
        let Some(InVrf(vrf)) = vrf else {
            return self.own(address);
        };
        let here = |i: &&Interface| i.vrf.as_ref() == Some(vrf);
        let mut all = self.around.interfaces.values().filter(here);
        match all.any(|i| i.addresses.iter().any(|a| a.addr() == address)) {
            true => Ok(()),
            false => Err(format!(
                "{address} is no address of this router in VRF {vrf}"
            )),
        }
    }

    /// An address with its interface: link-local, or of a VRF that is not the only one with such an address.
    fn on_link(&self, key: &PeerKey) -> Result<(), String> {
        let PeerKey::Address(address, Some(dev)) = key else {
            return Ok(());
        };
        let link_local = matches!(address, IpAddr::V6(a) if a.is_unicast_link_local());
        let in_vrf = self
            .around
            .interfaces
            .get(dev)
            .is_some_and(|i| i.vrf.is_some());
        match link_local || in_vrf {
            true => Ok(()),
            false => Err(format!(
                "{address} is not link-local, so it is written without an interface"
            )),
        }
    }

    /// What a neighbour in a VRF may be: RFC 4364 7.
    fn in_vrf(
        &self,
        bgp: &Bgp,
        key: &PeerKey,
        s: &Settings,
        vrf: Option<&VrfName>,
    ) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        let unicast = |f: &Family| matches!(f, Family::Ipv4Unicast | Family::Ipv6Unicast);
        let Some(vrf) = vrf else {
            if s.site.is_some() {
                let message = "is about a neighbour in a VRF; add vrf = \"NAME\", or leave it out";
                found.push(("site-of-origin", message.to_owned()));
            }
            return found;
        };
        if let Err(message) = vrf::exists(self.around.vrfs, vrf) {
            found.push(("vrf", message));
        }
        if let PeerKey::Address(_, Some(dev)) = key
            && let Some(other) = self.around.interfaces.get(dev)
            && other.vrf.as_ref() != Some(vrf)
        {
            let place = other.vrf.as_deref().unwrap_or("the global table");
            found.push((
                "vrf",
                format!("is {vrf}, and interface {dev} is in {place}"),
            ));
        }
        if matches!(key, PeerKey::Interface(_) | PeerKey::Prefix(_)) {
            let message = "a neighbour in a VRF is named by its address, such as \"10.0.0.2\"";
            found.push(("", message.to_owned()));
        }
        if let Some(Families(f)) = s.families
            && !f.iter().all(|f| unicast(&f))
        {
            let message =
                "a CE has unicast routes only; VPN families are for neighbours in the global table";
            found.push(("families", message.to_owned()));
        }
        if s.asn.is_some() && !bgp.is_external(s) {
            let message = "a CE within our own AS is not in this version (RFC 6368); give the site an AS of its own";
            found.push(("as", message.to_owned()));
        }
        found
    }

    fn policy(&self, name: &str) -> Result<(), String> {
        let known = &self.around.policies;
        if known.contains(&name) {
            return Ok(());
        }
        Err(match nearest(name, known) {
            Some(near) => format!("there is no policy {name:?}; did you mean \"{near}\"?"),
            None => format!("there is no policy {name:?}; write it as [policy.{name}]"),
        })
    }

    fn policies(&mut self, scope: &Scope, s: &Settings) {
        for (key, policy) in [("import", &s.import), ("export", &s.export)] {
            if let Some(Err(message)) = policy.as_ref().map(|p| self.policy(&p.0)) {
                self.wrong(scope, key, message);
            }
        }
    }

    /// Reads the files with keys.
    fn files(&mut self, scope: &Scope, s: &mut Settings) {
        if let Some(file) = &mut s.password_file {
            let read = self.secret(file);
            let checked = read.and_then(|secret| {
                keys::check_md5(&secret, &file.written)?;
                file.secret = secret;
                Ok(())
            });
            if let Err(message) = checked {
                self.wrong(scope, "password-file", message);
            }
        }
        if let Some(file) = &mut s.tcp_ao_file {
            let read = self.secret(file);
            let checked = read.and_then(|secret| {
                AoKey::parse(&secret, &file.written)?;
                file.secret = secret;
                Ok(())
            });
            if let Err(message) = checked {
                self.wrong(scope, "tcp-ao-file", message);
            }
        }
    }

    fn secret(&self, file: &SecretFile) -> Result<Secret, String> {
        let kept = self.around.keep.and_then(|bgp| {
            let mut all = bgp.secrets();
            all.find(|have| have.written == file.written)
        });
        match kept {
            Some(have) => Ok(have.secret.clone()),
            None => keys::read(&file.written, self.around.file),
        }
    }

    fn interface(&self, name: &str) -> Result<(), String> {
        let interfaces = self.around.interfaces;
        if interfaces.is_empty() || interfaces.contains_key(name) {
            return Ok(());
        }
        let names: Vec<&str> = interfaces.keys().map(String::as_str).collect();
        Err(match nearest(name, &names) {
            Some(near) => format!("there is no interface {name:?}; did you mean \"{near}\"?"),
            None => format!("there is no interface {name:?}; trunkctl interface show lists them"),
        })
    }

    fn neighbor(&mut self, bgp: &Bgp, key: &PeerKey, neighbor: &super::Neighbor) {
        let scope = Scope::Neighbor(key.clone());
        if let Some(name) = &neighbor.group
            && !bgp.groups.contains_key(name)
        {
            let names: Vec<&str> = bgp.groups.keys().map(String::as_str).collect();
            let message = match nearest(name, &names) {
                Some(near) => format!("there is no group {name:?}; did you mean \"{near}\"?"),
                None => format!("there is no group {name:?}; write it as [bgp.group.{name}]"),
            };
            return self.wrong(&scope, "group", message);
        }
        let s = bgp.settings(neighbor);
        let where_ = match key {
            PeerKey::Interface(name) | PeerKey::Address(_, Some(name)) => {
                self.interface(name).and_then(|()| self.on_link(key))
            }
            // Where the kernel's addresses are used, which they are is not known here.
            PeerKey::Address(_, None) if self.around.interfaces.is_empty() => Ok(()),
            PeerKey::Address(address, None) => match self.own_in(*address, s.vrf.as_ref()) {
                Ok(()) => Err(format!(
                    "{address} is the router's own address; name the neighbour's"
                )),
                Err(_) if address.is_loopback() => Err(format!("{address} is the host's own")),
                Err(_) => Ok(()),
            },
            PeerKey::Prefix(_) => Ok(()),
        };
        if let Err(message) = where_ {
            self.wrong(&scope, "", message);
        }
        self.policies(&scope, &neighbor.own);
        let vrf = bgp.vrf_of(key, neighbor, self.around.interfaces);
        for (at, message) in self.in_vrf(bgp, key, &s, vrf.as_ref()) {
            self.wrong(&scope, at, message);
        }
        if s.asn.is_none() {
            let message =
                "is missing here and in its group; write as = 64513, \"external\" or \"internal\"";
            return self.wrong(&scope, "as", message);
        }
        for (key, message) in contradictions(bgp, key, &s) {
            self.wrong(&scope, key, message);
        }
        if let Some(source) = s.source_address {
            let families_match = match key {
                PeerKey::Address(a, _) => a.is_ipv4() == source.is_ipv4(),
                PeerKey::Prefix(p) => p.addr().is_ipv4() == source.is_ipv4(),
                PeerKey::Interface(_) => source.is_ipv6(),
            };
            if !families_match {
                let message = format!("{source} is of another IP version than the neighbour");
                self.wrong(&scope, "source-address", message);
            } else if let Err(message) = self.own_in(source, vrf.map(InVrf).as_ref()) {
                self.wrong(&scope, "source-address", message);
            }
        }
    }
}

/// Keys that can't be together, or not for such a neighbour.
fn contradictions(bgp: &Bgp, key: &PeerKey, s: &Settings) -> Vec<(&'static str, String)> {
    let external = bgp.is_external(s);
    let mut found: Vec<(&'static str, String)> = Vec::new();
    let mut no = |key: &'static str, message: &str| found.push((key, message.to_owned()));
    if let Some(Number(own)) = s.local_as
        && own == bgp.speaker.asn
    {
        no("local-as", "is our AS anyway; leave it out");
    }
    if s.ttl_security.is_some() && s.multihop.is_some() {
        let message = "contradicts ttl-security, which says itself how many hops there may be; leave one of them out";
        no("multihop", message);
    }
    if s.password_file.is_some() && s.tcp_ao_file.is_some() {
        let message =
            "contradicts password-file: a connection is signed one way; leave one of them out";
        no("tcp-ao-file", message);
    }
    if external && s.route_reflector_client == Some(true) {
        let message = "is for internal neighbours (as = \"internal\"); leave it out";
        no("route-reflector-client", message);
    }
    if !external {
        let message = "is for external neighbours; leave it out";
        let given = [
            ("role", s.role.is_some()),
            ("as-override", s.as_override == Some(true)),
            ("remove-private", s.remove_private == Some(true)),
            ("local-as", s.local_as.is_some()),
            ("multihop", s.multihop.is_some()),
        ];
        for (key, _) in given.iter().filter(|(_, given)| *given) {
            no(key, message);
        }
    }
    if s.role_strict == Some(true) && s.role.is_none() {
        no(
            "role-strict",
            "says nothing without a role; add role = \"customer\" or another",
        );
    }
    if matches!(key, PeerKey::Prefix(_)) {
        if s.passive == Some(false) {
            no(
                "passive",
                "can't be false for a prefix: its members connect; leave it out",
            );
        }
        if s.port.is_some() {
            no(
                "port",
                "is of no use for a prefix: its members connect; leave it out",
            );
        }
    }
    if s.long_lived_stale_time.is_some() && s.graceful_restart == Some(super::Graceful::Off) {
        let message =
            "needs graceful-restart (RFC 9494 4.1); leave it out, or set \"helper\" or \"full\"";
        no("long-lived-stale-time", message);
    }
    if let Some(Families(families)) = s.families
        && families.contains(Family::RouteTarget)
        && !families.contains(Family::Vpnv4)
        && !families.contains(Family::Vpnv6)
    {
        no(
            "families",
            "rt-constraint says which VPN routes are wanted; add \"vpnv4\" or \"vpnv6\", or leave it out",
        );
    }
    if let Some(Families(families)) = s.families
        && s.extended_next_hop == Some(true)
        && !families.contains(Family::Ipv4Unicast)
    {
        no(
            "extended-next-hop",
            "is about IPv4 routes; add \"ipv4-unicast\" to families",
        );
    }
    found
}
