//! Pages of memory that are found and cleared before they are needed.
//!
//! To read: `madvise(2)`, `MADV_POPULATE_WRITE`. The tables lie on pages of 2 MiB. The first store to one waits until the
//! kernel has found and cleared it, 0.3 ms, and under a hypervisor that has to find it too, 5: much for a change that takes
//! a microsecond. So who has used half a page has the next one made ready by a thread, which does nothing else. Whoever is
//! faster than it (a whole table at once) waits as without it. Left out: small pages, which come in a microsecond.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use hugepages::HugeSlice;
use hugepages::slice::{Span, Zeroable};

/// Bytes of a page.
const PAGE: usize = 2 << 20;
/// Spans that may wait to be made ready. Who asks for more is not heard.
const WAITING: usize = 64;

/// The thread that makes pages ready. It ends before this value does, and before what is dropped after it.
pub(crate) struct Pages {
    asked: SyncSender<Option<Span>>,
    thread: Option<JoinHandle<()>>,
}

impl Pages {
    /// Starts it. Where there can be no thread, nothing is made ready.
    pub(crate) fn new() -> Self {
        let (asked, spans) = sync_channel(WAITING);
        let thread = thread::Builder::new().name("fib-pages".into());
        Self {
            asked,
            thread: thread.spawn(move || make_ready(&spans)).ok(),
        }
    }

    /// For those who know which page comes next.
    pub(crate) fn ahead(&self) -> Ahead {
        Ahead(self.asked.clone())
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take()
            && self.asked.send(None).is_ok()
        {
            let _ = thread.join();
        }
    }
}

fn make_ready(spans: &Receiver<Option<Span>>) {
    while let Ok(Some(span)) = spans.recv() {
        span.populate(true);
    }
}

/// The way to ask the thread.
#[derive(Debug, Clone)]
pub(crate) struct Ahead(SyncSender<Option<Span>>);

impl Ahead {
    /// Asks for pages. Never waits: what is not heard is a page that a change will wait for.
    pub(crate) fn ask(&self, span: Span) {
        let _ = self.0.try_send(Some(span));
    }
}

/// How far slices of one length have been asked for.
#[derive(Debug, Default)]
pub(crate) struct Frontier {
    /// Elements up to which pages are in use, or asked for.
    ready: usize,
}

impl Frontier {
    /// Elements up to `end` are in use: where that is half of a page, the next one is asked for, in all slices.
    #[inline]
    pub(crate) fn reach<'s, T: Zeroable + 's>(
        &mut self,
        end: usize,
        ahead: &Ahead,
        slices: impl IntoIterator<Item = &'s HugeSlice<T>>,
    ) {
        let each = PAGE / size_of::<T>();
        if end + each / 2 <= self.ready {
            return;
        }
        let used = end.next_multiple_of(each);
        let next = (end + each / 2).next_multiple_of(each);
        let part = self.ready.max(used)..next;
        self.ready = next;
        if !part.is_empty() {
            slices
                .into_iter()
                .for_each(|slice| ahead.ask(slice.span(part.clone())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hugepages::slice::Backing;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::{Duration, Instant};

    const EACH: usize = PAGE / size_of::<AtomicU64>();

    #[test]
    fn the_next_page_is_asked_for_once() {
        let slice = HugeSlice::<AtomicU64>::zeroed(8 * EACH, Backing::Small, None).unwrap();
        let (pages, spans) = sync_channel(9);
        let ahead = Ahead(pages);
        let mut frontier = Frontier::default();
        let mut reach = |end| {
            frontier.reach(end, &ahead, [&slice]);
            spans.try_iter().flatten().collect::<Vec<_>>()
        };
        let page = |n: usize| slice.span(n * EACH..(n + 1) * EACH);
        assert_eq!(reach(1), [], "the first is being used");
        assert_eq!(reach(EACH / 2), []);
        assert_eq!(reach(EACH / 2 + 1), [page(1)]);
        assert_eq!(reach(EACH + 1), []);
        assert_eq!(reach(5 * EACH), [page(5)]);
        assert_eq!(reach(2 * EACH), []);
        assert_eq!(reach(8 * EACH), [slice.span(8 * EACH..9 * EACH)]);
        assert_eq!(slice.span(8 * EACH..9 * EACH).bytes(), 0, "no more");
    }

    /// What the thread made ready is there, and nothing of it has changed.
    #[test]
    fn a_page_comes_before_it_is_used() {
        let slice = HugeSlice::<AtomicU64>::zeroed(4 * EACH, Backing::Merged, None).unwrap();
        slice[0].store(7, Ordering::Relaxed);
        let pages = Pages::new();
        Frontier::default().reach(EACH - 1, &pages.ahead(), [&slice]);
        let end = Instant::now() + Duration::from_secs(20);
        while slice.span(EACH..2 * EACH).resident() < PAGE {
            assert!(Instant::now() < end, "no page came");
            thread::yield_now();
        }
        assert_eq!(slice[0].load(Ordering::Relaxed), 7);
        assert_eq!(slice.span(2 * EACH..4 * EACH).resident(), 0);
    }
}
