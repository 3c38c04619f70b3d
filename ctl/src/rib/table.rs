//! Prefixes in order, with longest-prefix match on the ordered map itself.
//!
//! The greatest key not above `address/len` either contains the address, and then is the longest match of at most that
//! length, or bounds how long a match can still be: no match can be longer than what it has in common with the address.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// `address/len`, host bits cleared. `len` beyond the family's is taken as the family's.
#[must_use]
pub fn prefix(address: IpAddr, len: u8) -> IpNet {
    match address {
        IpAddr::V4(a) => {
            let len = len.min(32);
            let mask = u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0);
            let net = Ipv4Addr::from_bits(a.to_bits() & mask);
            Ipv4Net::new(net, len).map_or_else(|_| Ipv4Net::from(net).into(), Into::into)
        }
        IpAddr::V6(a) => {
            let len = len.min(128);
            let mask = u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0);
            let net = Ipv6Addr::from_bits(a.to_bits() & mask);
            Ipv6Net::new(net, len).map_or_else(|_| Ipv6Net::from(net).into(), Into::into)
        }
    }
}

/// The prefix of that address alone.
#[must_use]
pub fn host(address: IpAddr) -> IpNet {
    prefix(address, 128)
}

/// How many leading bits two addresses share; `None` when they are of different families.
fn common(a: IpAddr, b: IpAddr) -> Option<u8> {
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => Some((a.to_bits() ^ b.to_bits()).leading_zeros() as u8),
        (IpAddr::V6(a), IpAddr::V6(b)) => Some((a.to_bits() ^ b.to_bits()).leading_zeros() as u8),
        _ => None,
    }
}

/// A map of prefixes.
#[derive(Debug)]
pub(crate) struct Table<T>(pub(crate) BTreeMap<IpNet, T>);

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> Table<T> {
    /// The entries that contain `address`, longest first.
    pub(crate) fn covering(&self, address: IpAddr) -> impl Iterator<Item = (&IpNet, &T)> {
        let mut at = Some(host(address).prefix_len());
        std::iter::from_fn(move || {
            loop {
                let len = at?;
                let (key, value) = self.0.range(..=prefix(address, len)).next_back()?;
                let shared = common(key.network(), address)?;
                if shared >= key.prefix_len() {
                    at = key.prefix_len().checked_sub(1);
                    return Some((key, value));
                }
                // Here `shared` < `len`: a key not above address/len that has its first `len` bits would contain it.
                at = Some(shared);
            }
        })
    }
}

/// The first and the last address of a prefix.
pub(crate) fn bounds(p: &IpNet) -> (IpAddr, IpAddr) {
    (p.network(), p.broadcast())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn host_bits_are_cleared() {
        assert_eq!(
            prefix("192.0.2.77".parse().unwrap(), 24).to_string(),
            "192.0.2.0/24"
        );
        assert_eq!(
            prefix("192.0.2.77".parse().unwrap(), 0).to_string(),
            "0.0.0.0/0"
        );
        assert_eq!(
            prefix("2001:db8::77".parse().unwrap(), 0).to_string(),
            "::/0"
        );
        assert_eq!(host("2001:db8::77".parse().unwrap()).prefix_len(), 128);
        assert_eq!(host("192.0.2.77".parse().unwrap()).prefix_len(), 32);
    }

    fn some_address() -> impl Strategy<Value = IpAddr> {
        // Few bits vary, so that prefixes nest.
        prop_oneof![
            (0u32..16, 0u32..4).prop_map(|(a, b)| IpAddr::V4((a << 28 | b).into())),
            (0u128..16, 0u128..4).prop_map(|(a, b)| IpAddr::V6((a << 124 | b).into())),
        ]
    }

    proptest! {
        #[test]
        fn covering_is_every_containing_prefix_longest_first(
            keys in proptest::collection::btree_set((some_address(), 0u8..=128), 0..40),
            address in some_address(),
        ) {
            let mut t = Table::default();
            for (a, len) in keys {
                t.0.insert(prefix(a, len), ());
            }
            let mut expected: Vec<IpNet> = t.0.keys().filter(|k| k.contains(&address)).copied().collect();
            expected.sort_by_key(|k| std::cmp::Reverse(k.prefix_len()));
            let found: Vec<IpNet> = t.covering(address).map(|(k, ())| *k).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
