//! What can be said of a neighbour, in `[bgp.neighbor]` or for several in `[bgp.group]`. One row a key: how it is read, printed,
//! inherited and shown all follow from it.

use std::collections::HashMap;
use std::net::IpAddr;

use bgp::types::Role;

use super::super::reader::{Key, Log, Table};
use super::value::{
    AddPath, Families, Graceful, HoldTime, InVrf, MaxPrefix, Number, PeerAs, PolicyName,
    SecretFile, Shutdown, Site, Text, Word,
};

macro_rules! settings {
    ($($(#[$doc:meta])* $key:literal $field:ident: $type:ty,)*) => {
        /// What was said of a neighbour; what was not is `None`.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Settings {
            $($(#[$doc])* pub $field: Option<$type>,)*
        }

        impl Settings {
            /// The keys, as in the file.
            pub(super) const KEYS: &[&'static str] = &[$($key),*];

            /// Reads those that are in `table`, and notes where each is.
            pub(super) fn read(table: &Table<'_>, places: &mut HashMap<&'static str, usize>, log: &mut Log<'_>) -> Self {
                Self {
                    $($field: table.get($key).and_then(|value| {
                        places.insert($key, value.span().start);
                        <$type as Word>::read(value, Key::Of(&table.key, $key), log)
                    }),)*
                }
            }

            /// Writes those that were said.
            pub(super) fn write(&self, table: &mut toml_edit::Table) {
                $(if let Some(value) = &self.$field {
                    table.insert($key, toml_edit::Item::Value(value.write()));
                })*
            }

            /// What is not said here is as in `base`.
            #[must_use]
            pub fn over(&self, base: &Self) -> Self {
                Self { $($field: self.$field.clone().or_else(|| base.$field.clone()),)* }
            }
        }
    };
}

settings! {
    /// The neighbour's AS.
    "as" asn: PeerAs,
    /// The families; left out: that of the neighbour's address.
    "families" families: Families,
    /// The policy for what comes; left out: external neighbours give nothing (RFC 8212).
    "import" import: PolicyName,
    /// The policy for what goes; left out: external neighbours get nothing.
    "export" export: PolicyName,
    /// A line for people.
    "description" description: Text,
    /// The key of TCP MD5 (RFC 2385).
    "password-file" password_file: SecretFile,
    /// The keys of TCP-AO (RFC 5925).
    "tcp-ao-file" tcp_ao_file: SecretFile,
    /// Only the neighbour connects.
    "passive" passive: bool,
    /// Administratively down.
    "shutdown" shutdown: Shutdown,
    /// The neighbour is at most so many hops away, proved by the TTL of its packets (RFC 5082).
    "ttl-security" ttl_security: Number<1, 254>,
    /// An external neighbour may be so many hops away.
    "multihop" multihop: Number<1, 255>,
    /// Our end of the connection.
    "source-address" source_address: IpAddr,
    /// The neighbour's TCP port.
    "port" port: Number<1, 65535>,
    /// Seconds without a message after which the neighbour is given up.
    "hold-time" hold_time: HoldTime,
    /// Seconds between two tries to connect.
    "connect-retry" connect_retry: Number<1, 65535>,
    /// Seconds to wait for the neighbour's OPEN before ours is sent.
    "delay-open" delay_open: Number<1, 240>,
    /// What this neighbour takes for our AS.
    "local-as" local_as: Number<1, { u32::MAX }>,
    /// Our address is the next hop of all that is sent.
    "next-hop-self" next_hop_self: bool,
    /// Routes are reflected to and from this internal neighbour (RFC 4456).
    "route-reflector-client" route_reflector_client: bool,
    /// Our role (RFC 9234).
    "role" role: Role,
    /// No session with who does not say the matching role.
    "role-strict" role_strict: bool,
    /// Several paths for a prefix.
    "add-path" add_path: AddPath,
    /// How much it may announce.
    "max-prefix" max_prefix: MaxPrefix,
    /// Restarts.
    "graceful-restart" graceful_restart: Graceful,
    /// Seconds for which routes are kept after a restart has taken too long (RFC 9494).
    "long-lived-stale-time" long_lived_stale_time: Number<1, 16_777_215>,
    /// Messages of up to 65,535 octets (RFC 8654).
    "extended-messages" extended_messages: bool,
    /// IPv4 routes with IPv6 next hops (RFC 8950).
    "extended-next-hop" extended_next_hop: bool,
    /// Private AS numbers are taken out of what is sent.
    "remove-private" remove_private: bool,
    /// Our own AS may be in a path so often.
    "allowas-in" allowas_in: Number<1, 10>,
    /// The neighbour's AS is replaced by ours in what it is sent.
    "as-override" as_override: bool,
    /// It is in this VRF: a CE (RFC 4364).
    "vrf" vrf: InVrf,
    /// The site that its routes are of (RFC 4364 7): they don't go back there.
    "site-of-origin" site: Site,
    /// It is of our SR domain: prefix-SIDs are taken from it and told to it (RFC 8669).
    "prefix-sid" prefix_sid: bool,
    /// It is sent a default route, whether there is one or not.
    "default-originate" default_originate: bool,
}
