//! Medians and spreads of repeated measurements, and ratios between two that took turns.

/// What several rounds gave, in their order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sample(pub Vec<f64>);

impl Sample {
    /// The middle of them; of two, the mean. 0 of none.
    pub fn median(&self) -> f64 {
        median(self.0.clone())
    }

    /// The least and the most.
    pub fn spread(&self) -> (f64, f64) {
        let fold = |f: fn(f64, f64) -> f64| self.0.iter().copied().reduce(f).unwrap_or(0.0);
        (fold(f64::min), fold(f64::max))
    }

    /// How many times `self` the other is: the median over the rounds, of which each saw both. Machines drift from round to
    /// round; what is left in a ratio of neighbours is little.
    pub fn ratio(&self, rival: &Self) -> f64 {
        if self.0.len() == rival.0.len() {
            median(self.0.iter().zip(&rival.0).map(|(a, b)| b / a).collect())
        } else {
            rival.median() / self.median()
        }
    }
}

impl From<f64> for Sample {
    fn from(one: f64) -> Self {
        Self(vec![one])
    }
}

fn median(mut v: Vec<f64>) -> f64 {
    v.sort_by(f64::total_cmp);
    match v.len() {
        0 => 0.0,
        n if n % 2 == 1 => v[n / 2],
        n => f64::midpoint(v[n / 2 - 1], v[n / 2]),
    }
}

/// The value below which that part of a sorted list lies.
pub fn quantile(sorted: &[f64], part: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted
        .get((last as f64 * part).round() as usize)
        .copied()
        .unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_spreads() {
        assert_eq!(Sample(vec![9.0, 1.0, 2.0]).median(), 2.0);
        assert_eq!(Sample(vec![9.0, 1.0, 2.0, 3.0]).median(), 2.5);
        assert_eq!(Sample(vec![9.0, 1.0, 2.0]).spread(), (1.0, 9.0));
        assert_eq!(Sample::default().median(), 0.0);
    }

    #[test]
    fn a_ratio_is_taken_round_by_round() {
        // The machine was four times as slow in the second round, and the rival always took twice our time.
        let (ours, rival) = (
            Sample(vec![1.0, 4.0, 1.0, 2.0]),
            Sample(vec![2.0, 8.0, 2.0, 4.0]),
        );
        assert_eq!(ours.ratio(&rival), 2.0);
        assert_eq!(rival.ratio(&ours), 0.5);
        // Without pairs, the medians are compared.
        assert_eq!(Sample::from(2.0).ratio(&Sample(vec![8.0, 1.0, 4.0])), 2.0);
    }

    #[test]
    fn quantiles_are_members() {
        let all: Vec<f64> = (0..=1000).map(f64::from).collect();
        assert_eq!(quantile(&all, 0.5), 500.0);
        assert_eq!(quantile(&all, 0.999), 999.0);
        assert_eq!(quantile(&all, 1.0), 1000.0);
        assert_eq!(quantile(&[], 0.5), 0.0);
    }
}
