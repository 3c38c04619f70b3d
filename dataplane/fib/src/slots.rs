//! Numbers handed out and taken back: groups, adjacencies, and the nodes of tables.

use crate::FibError;

/// Hands out numbers from `first` up to a capacity; what was given back first.
#[derive(Debug)]
pub(crate) struct Slots {
    what: &'static str,
    first: u32,
    next: u32,
    capacity: usize,
    free: Vec<u32>,
}

impl Slots {
    pub(crate) fn new(what: &'static str, first: u32, capacity: usize) -> Self {
        Self {
            what,
            first,
            next: first,
            capacity,
            free: Vec::new(),
        }
    }

    /// Whether that many can be taken.
    pub(crate) fn check(&self, wanted: usize) -> Result<(), FibError> {
        if self.in_use() + wanted > self.capacity {
            return Err(FibError::Full {
                what: self.what,
                capacity: self.capacity,
            });
        }
        Ok(())
    }

    /// Takes a number.
    pub(crate) fn take(&mut self) -> Result<u32, FibError> {
        self.check(1)?;
        Ok(self.free.pop().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        }))
    }

    /// Gives a number back; the caller knows that no reader uses it any more.
    pub(crate) fn give(&mut self, n: u32) {
        self.free.push(n);
    }

    /// How many are out.
    pub(crate) fn in_use(&self) -> usize {
        (self.next - self.first) as usize - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_run_out_and_come_back() {
        let mut s = Slots::new("thing", 1, 2);
        assert_eq!((s.take(), s.take()), (Ok(1), Ok(2)));
        assert_eq!(
            s.take(),
            Err(FibError::Full {
                what: "thing",
                capacity: 2
            })
        );
        s.give(1);
        assert_eq!((s.in_use(), s.take(), s.in_use()), (1, Ok(1), 2));
    }
}
