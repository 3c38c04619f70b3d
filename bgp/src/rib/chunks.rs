//! A vector in chunks: growing never moves what is in it, so no operation is long, and no memory is held twice.

/// Items by small number, `N` (a power of two) to an allocation.
#[derive(Debug)]
pub(super) struct Chunks<T, const N: usize> {
    chunks: Vec<Box<[T; N]>>,
    len: u32,
}

impl<T: Clone + Default, const N: usize> Chunks<T, N> {
    pub(super) const fn new() -> Self {
        Self {
            chunks: Vec::new(),
            len: 0,
        }
    }

    /// How many numbers were given.
    pub(super) const fn len(&self) -> u32 {
        self.len
    }

    /// Adds an item; its number.
    pub(super) fn push(&mut self, item: T) -> u32 {
        let n = self.len;
        if (n as usize).is_multiple_of(N) {
            let chunk = vec![T::default(); N].into_boxed_slice();
            let Ok(chunk) = chunk.try_into() else {
                unreachable!("the chunk was made with N items")
            };
            self.chunks.push(chunk);
        }
        self.len += 1;
        *self.get_mut(n) = item;
        n
    }

    #[inline]
    pub(super) fn get(&self, n: u32) -> &T {
        &self.chunks[n as usize / N][n as usize % N]
    }

    #[inline]
    pub(super) fn get_mut(&mut self, n: u32) -> &mut T {
        &mut self.chunks[n as usize / N][n as usize % N]
    }

    /// Octets held.
    pub(super) fn memory(&self) -> usize {
        self.chunks.len() * N * size_of::<T>() + self.chunks.capacity() * 8
    }
}
