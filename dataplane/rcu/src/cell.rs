//! What readers read: a pointer to an immutable value ([`Cell`]), and an array of such pointers ([`Table`]).

use std::marker::PhantomData;
use std::ptr;
use std::sync::atomic::Ordering;

use crate::order::{Orders, Proven};
use crate::qsbr::{Domain, Guard, Reader, Writer};
use crate::sync::AtomicPtr;

/// A value that the writer replaces as a whole while readers look at it.
///
/// `Sync` only where `T` is both `Send` (the writer frees it) and `Sync` (readers share it):
/// ```compile_fail,E0277
/// fn share<T: Sync>() {}
/// share::<rcu::Cell<std::cell::Cell<u8>>>();
/// ```
#[derive(Debug)]
pub struct Cell<T>(Table<T>);

impl<T: Send + 'static> Cell<T> {
    /// A cell for the readers and the writer of `domain`.
    pub fn new<O: Orders>(domain: &Domain<O>, first: Box<T>) -> Self {
        let table = Table::new(domain, 1);
        table.slots[0]
            .0
            .store(Box::into_raw(first), Ordering::Release); // pairs with `Slot::get`
        Self(table)
    }

    /// The current value. One Acquire load, and two checks that are always right.
    ///
    /// # Panics
    /// `reader` is offline, or of another domain: nothing would protect the value.
    #[inline]
    pub fn read<'r, O: Orders>(&'r self, reader: &'r Reader<O>) -> &'r T {
        let guard = reader.guard();
        self.0.check(guard.domain_id());
        // SAFETY: the guard is of our domain, and online as long as 'r lasts.
        let value = unsafe { self.0.slots[0].get() };
        value.expect("a cell is never empty")
    }

    /// The current value, for the writer.
    ///
    /// # Panics
    /// `writer` is of another domain.
    pub fn peek<'w, O: Orders>(&'w self, writer: &'w Writer<O>) -> &'w T {
        self.0.peek(writer, 0).expect("a cell is never empty")
    }

    /// Replaces the value; the old one is freed by [`Writer::reclaim`] after every reader has reported.
    ///
    /// # Panics
    /// `writer` is of another domain.
    pub fn publish<O: Orders>(&self, writer: &mut Writer<O>, next: Box<T>) {
        self.0.publish(writer, 0, Some(next));
    }
}

/// An array of values, each of which the writer sets, replaces or clears while readers look at it.
#[derive(Debug)]
pub struct Table<T> {
    slots: Box<[Slot<T>]>,
    domain: u64,
    /// Makes this Send and Sync just when an `Arc<T>` would be.
    shared: PhantomData<std::sync::Arc<T>>,
}

impl<T> Table<T> {
    #[inline]
    fn check(&self, domain: u64) {
        assert_eq!(
            self.domain, domain,
            "an RCU table is used with another domain's reader or writer"
        );
    }

    /// How many slots there are.
    pub fn capacity(&self) -> usize {
        self.slots.len()
    }
}

impl<T: Send + 'static> Table<T> {
    /// `capacity` empty slots for the readers and the writer of `domain`.
    pub fn new<O: Orders>(domain: &Domain<O>, capacity: usize) -> Self {
        let slots = (0..capacity)
            .map(|_| Slot(AtomicPtr::new(ptr::null_mut())))
            .collect();
        Self {
            slots,
            domain: domain.id(),
            shared: PhantomData,
        }
    }

    /// The table as `guard` protects it, for many reads after one check.
    ///
    /// # Panics
    /// `guard` is of another domain.
    #[inline]
    pub fn read<'r, O: Orders>(&'r self, guard: Guard<'r, O>) -> View<'r, T> {
        self.check(guard.domain_id());
        View {
            slots: &self.slots,
            guard: PhantomData,
        }
    }

    /// The value in a slot, for the writer. `None` when empty or out of bounds.
    ///
    /// # Panics
    /// `writer` is of another domain.
    pub fn peek<'w, O: Orders>(&'w self, writer: &'w Writer<O>, index: usize) -> Option<&'w T> {
        self.check(writer.domain().id());
        // SAFETY: only the writer replaces values, and it is borrowed for 'w.
        self.slots.get(index).and_then(|s| unsafe { s.get() })
    }

    /// Sets, replaces or (with `None`) clears a slot; the old value is freed by [`Writer::reclaim`] after every reader
    /// has reported.
    ///
    /// # Panics
    /// `writer` is of another domain, or `index` out of bounds.
    pub fn publish<O: Orders>(&self, writer: &mut Writer<O>, index: usize, next: Option<Box<T>>) {
        self.publish_weighed(writer, index, next, |_| size_of::<T>());
    }

    /// [`publish`](Self::publish) of a value that owns more than itself: `weigh` tells the bytes of the old one, for
    /// [`Writer::pending_bytes`].
    ///
    /// # Panics
    /// As there.
    pub fn publish_weighed<O: Orders>(
        &self,
        writer: &mut Writer<O>,
        index: usize,
        next: Option<Box<T>>,
        weigh: impl FnOnce(&T) -> usize,
    ) {
        self.check(writer.domain().id());
        let next = next.map_or(ptr::null_mut(), Box::into_raw);
        // Release: pairs with the Acquire load in `Slot::get`; who finds the value finds it complete. Acquire: pairs
        // with the Release of the publication before, which may have been made by another thread's writer.
        let old = self.slots[index].0.swap(next, Ordering::AcqRel);
        if !old.is_null() {
            // SAFETY: `old` is a Box's (all are), and not freed before it is retired; readers only look at it, as we do.
            let bytes = weigh(unsafe { &*old });
            // SAFETY: the swap unlinked it, and only this call got it.
            unsafe { writer.retire(old, bytes) };
        }
    }
}

/// A [`Table`] under the protection of a [`Guard`].
#[derive(Debug)]
pub struct View<'r, T> {
    slots: &'r [Slot<T>],
    guard: PhantomData<Guard<'r, Proven>>,
}

impl<T> Clone for View<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for View<'_, T> {}

impl<'r, T> View<'r, T> {
    /// The value in a slot; `None` when empty or out of bounds. One Acquire load.
    #[inline]
    pub fn get(self, index: usize) -> Option<&'r T> {
        let slot = self.slots.get(index)?;
        // SAFETY: made by `Table::read` from a guard of the table's domain that lasts for 'r.
        unsafe { slot.get() }
    }

    /// Asks the CPU for the cache line of a slot.
    #[inline]
    pub fn prefetch(self, index: usize) {
        #[cfg(all(target_arch = "x86_64", not(loom)))]
        if let Some(slot) = self.slots.get(index) {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            // SAFETY: a prefetch does not access memory; SSE is part of x86-64.
            unsafe { _mm_prefetch(ptr::from_ref(slot).cast::<i8>(), _MM_HINT_T0) }
        }
        #[cfg(not(all(target_arch = "x86_64", not(loom))))]
        let _ = index;
    }
}

/// Null, or a `Box`'s pointer.
#[derive(Debug)]
struct Slot<T>(AtomicPtr<T>);

impl<T> Slot<T> {
    /// The value.
    ///
    /// # Safety
    /// For as long as 'a lasts a reader of the table's domain is online and does not report, or its writer does not
    /// publish.
    #[inline]
    unsafe fn get<'a>(&self) -> Option<&'a T> {
        let value = self.0.load(Ordering::Acquire); // pairs with the swap in `Table::publish`
        // SAFETY: null or a Box's; retired values are freed only after every reader has reported, which needs
        // `&mut Reader`, so that the borrow behind 'a is over by then.
        unsafe { value.as_ref() }
    }
}

impl<T> Drop for Slot<T> {
    fn drop(&mut self) {
        let value = self.0.load(Ordering::Acquire); // pairs with the swap in `Table::publish`
        if !value.is_null() {
            // SAFETY: `&mut self`: no reader borrows the table, and what is in the slot has not been retired.
            drop(unsafe { Box::from_raw(value) });
        }
    }
}
