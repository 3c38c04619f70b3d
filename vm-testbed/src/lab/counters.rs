//! The appliance's counters, as `trunkctl --json` shows them, and the law they obey (DESIGN section 2).

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

/// Counters of one interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Row {
    /// Frames taken from the port.
    pub rx: u64,
    /// Their bytes.
    pub rx_bytes: u64,
    /// Frames the driver accepted.
    pub tx: u64,
    /// Their bytes.
    pub tx_bytes: u64,
    /// Frames from the control thread.
    pub injected: u64,
    /// Fragments and ICMP errors that workers made.
    pub created: u64,
    /// Frames given to the control thread.
    pub punted: u64,
    /// Drops by reason.
    pub drops: BTreeMap<String, u64>,
}

/// Counters of all interfaces, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters(pub BTreeMap<String, Row>);

impl Counters {
    /// From what `trunkctl --json interface show` prints.
    ///
    /// # Errors
    /// When a field of the contract is missing.
    pub fn parse(interfaces: &Value) -> Result<Self> {
        let rows = interfaces
            .as_array()
            .ok_or_else(|| anyhow!("`interface show` gives no array"))?;
        let mut all = BTreeMap::new();
        for i in rows {
            let num = |key: &str| {
                i[key]
                    .as_u64()
                    .with_context(|| format!("`interface show`: no number `{key}` in {i}"))
            };
            let name = i["name"]
                .as_str()
                .context("`interface show`: an entry has no name")?;
            let drops = i["drops"]
                .as_object()
                .context("`interface show`: no object `drops`")?;
            let row = Row {
                rx: num("rx_packets")?,
                rx_bytes: num("rx_bytes")?,
                tx: num("tx_packets")?,
                tx_bytes: num("tx_bytes")?,
                injected: num("injected")?,
                created: num("created")?,
                punted: num("punted")?,
                drops: drops
                    .iter()
                    .map(|(k, v)| (k.clone(), v.as_u64().unwrap_or(0)))
                    .collect(),
            };
            all.insert(name.to_owned(), row);
        }
        Ok(Self(all))
    }

    /// The sum of one column over all interfaces.
    #[must_use]
    pub fn sum(&self, column: impl Fn(&Row) -> u64) -> u64 {
        self.0.values().map(column).sum()
    }

    /// All drops of all interfaces.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.sum(|r| r.drops.values().sum())
    }

    /// Drops of one reason over all interfaces.
    #[must_use]
    pub fn drops_of(&self, reason: &str) -> u64 {
        self.sum(|r| r.drops.get(reason).copied().unwrap_or(0))
    }

    /// `rx + injected + created = tx + punted + drops`, over all interfaces; true at rest only.
    ///
    /// # Errors
    /// When the sums differ, with all of them.
    pub fn law(&self) -> Result<()> {
        let (rx, inj, cre) = (
            self.sum(|r| r.rx),
            self.sum(|r| r.injected),
            self.sum(|r| r.created),
        );
        let (tx, pun, dro) = (self.sum(|r| r.tx), self.sum(|r| r.punted), self.dropped());
        if rx + inj + cre != tx + pun + dro {
            bail!(
                "the counters do not add up: rx {rx} + injected {inj} + created {cre} = {}, tx {tx} + punted {pun} + \
                 drops {dro} = {}",
                rx + inj + cre,
                tx + pun + dro
            );
        }
        Ok(())
    }

    /// What `later` has more, by interface and reason; rows of zero left out.
    #[must_use]
    pub fn drops_until(&self, later: &Self) -> BTreeMap<(String, String), u64> {
        let mut delta = BTreeMap::new();
        for (name, row) in &later.0 {
            for (reason, n) in &row.drops {
                let before = self
                    .0
                    .get(name)
                    .and_then(|r| r.drops.get(reason))
                    .copied()
                    .unwrap_or(0);
                if *n > before {
                    delta.insert((name.clone(), reason.clone()), n - before);
                }
            }
        }
        delta
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn two(tx: u64) -> Value {
        let row = |name: &str, rx: u64, tx: u64, drops: Value| {
            json!({"name": name, "rx_packets": rx, "rx_bytes": 0, "tx_packets": tx, "tx_bytes": 0, "injected": 1,
                   "created": 0, "punted": 2, "drops": drops})
        };
        json!([
            row("a", 10, tx, json!({"ip4_no_route": 3})),
            row("b", 0, 0, json!({}))
        ])
    }

    #[test]
    fn the_law_holds_or_not() {
        Counters::parse(&two(5)).unwrap().law().unwrap();
        let e = Counters::parse(&two(6))
            .unwrap()
            .law()
            .unwrap_err()
            .to_string();
        assert!(e.contains("= 12, ") && e.ends_with("= 13"), "{e}");
    }

    #[test]
    fn what_is_missing_is_named() {
        let e = Counters::parse(&json!([{"name": "a", "drops": {}}])).unwrap_err();
        assert!(e.to_string().contains("rx_packets"));
    }

    #[test]
    fn deltas() {
        let a = Counters::parse(&two(5)).unwrap();
        let mut b = a.clone();
        assert!(a.drops_until(&b).is_empty());
        b.0.get_mut("b").unwrap().drops.insert("runt".into(), 4);
        assert_eq!(
            a.drops_until(&b).into_iter().collect::<Vec<_>>(),
            [(("b".into(), "runt".into()), 4)]
        );
    }
}
