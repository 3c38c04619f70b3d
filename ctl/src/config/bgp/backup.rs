//! `backup`: of which routes a second way is kept ready.

use api::grammar::nearest;
use toml::Spanned;
use toml::de::DeValue;
use toml_edit::Array;

use super::super::reader::{Key, Log, mistyped, string};
use super::value::Word;

/// Of which routes the best by another next hop stands by for those in use. By default of those that labels lead along: the other
/// end sends them on by its own route. Without labels each router on the way decides anew, and two that stand by for
/// each other may send a packet to and fro until BGP has converged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backup {
    /// Those without labels.
    pub unicast: bool,
    /// Those with labels (RFC 8277).
    pub labeled: bool,
    /// VPNs', and all of VRFs.
    pub vpn: bool,
}

impl Default for Backup {
    fn default() -> Self {
        Self {
            unicast: false,
            labeled: true,
            vpn: true,
        }
    }
}

const NAMES: [&str; 3] = ["unicast", "labeled-unicast", "vpn"];

impl Backup {
    /// In the order of the names.
    fn switches(&mut self) -> [&mut bool; 3] {
        [&mut self.unicast, &mut self.labeled, &mut self.vpn]
    }
}

impl Word for Backup {
    fn read<'t>(value: &'t Spanned<DeValue<'t>>, key: Key<'t>, log: &mut Log<'_>) -> Option<Self> {
        let DeValue::Array(all) = value.get_ref() else {
            let example = "a list such as [\"labeled-unicast\", \"vpn\"], or [] for none";
            mistyped(value, key, example, log);
            return None;
        };
        let mut out = Self {
            unicast: false,
            labeled: false,
            vpn: false,
        };
        for one in all {
            let name = string(one, key, log)?;
            let Some(at) = NAMES.iter().position(|n| *n == name.value) else {
                let what = match nearest(name.value, &NAMES) {
                    Some(near) => format!("did you mean \"{near}\"?"),
                    None => format!("there are {}", NAMES.join(", ")),
                };
                log.at(
                    name.at,
                    key,
                    format!("no routes are called {:?}; {what}", name.value),
                );
                return None;
            };
            if std::mem::replace(out.switches()[at], true) {
                let message = format!("{} is there twice; leave one out", NAMES[at]);
                log.at(name.at, key, message);
                return None;
            }
        }
        Some(out)
    }

    fn write(&self) -> toml_edit::Value {
        let mut this = *self;
        let on = NAMES.iter().zip(this.switches()).filter(|(_, on)| **on);
        on.map(|(name, _)| *name).collect::<Array>().into()
    }
}
