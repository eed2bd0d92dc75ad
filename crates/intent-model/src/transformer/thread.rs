//! Keeps every run on one core: the caller's.
//!
//! rten runs a model inside a rayon pool and would by default spread one run over all cores. The service computes many
//! texts at a time instead, each run on one core, so every calling thread gets a pool of one thread. Handing a run over
//! to that thread costs some microseconds; a thread that does nothing but run models lives in its own pool from the
//! start and saves them, see [`compute_inline`].

use std::{
    cell::RefCell,
    panic::resume_unwind,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use rten::ThreadPool;

thread_local! {
    static POOL: RefCell<Option<Arc<ThreadPool>>> = const { RefCell::new(None) };
}

/// Returns the pool of the calling thread.
pub(super) fn pool() -> Arc<ThreadPool> {
    POOL.with_borrow_mut(|pool| pool.get_or_insert_with(|| Arc::new(ThreadPool::with_num_threads(1))).clone())
}

/// Runs `work` on a new thread in which models compute directly, without being handed over to yet another thread; the
/// calling thread waits. For the whole life of a worker that runs models: `compute_inline(|| for job in jobs { … })`.
pub fn compute_inline<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    let pool = Arc::new(ThreadPool::with_num_threads(1));
    let own = Arc::clone(&pool);
    pool.run(move || {
        POOL.with_borrow_mut(|current| *current = Some(own));
        let result = work();
        // The thread must not keep its own pool alive.
        POOL.with_borrow_mut(|current| *current = None);
        result
    })
}

/// Maps parts of `size` items on all cores and returns what became of each, in order.
///
/// This is how many texts are run through a model. A parallel iterator must not be used for that: a thread of rayon's
/// that waits for a run takes up the next part meanwhile, on top of its stack, until the stack overflows.
///
/// # Errors
/// The error of a part that failed; parts that were not begun by then are left out.
///
/// # Panics
/// When `map` panics, or `size` is 0.
pub fn map_chunks<T, R, E>(items: &[T], size: usize, map: impl Fn(&[T]) -> Result<R, E> + Sync) -> Result<Vec<R>, E>
where
    T: Sync,
    R: Send,
    E: Send,
{
    let parts: Vec<&[T]> = items.chunks(size).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut mapped = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(part) = parts.get(index) else { return Ok(mapped) };
            let result = map(part).inspect_err(|_| next.store(parts.len(), Ordering::Relaxed))?;
            mapped.push((index, result));
        }
    };
    let threads = rayon::current_num_threads().min(parts.len());
    let mut mapped = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| compute_inline(work))).collect();
        let mut all: Vec<(usize, R)> = Vec::with_capacity(parts.len());
        for worker in workers {
            all.extend(worker.join().unwrap_or_else(|panic| resume_unwind(panic))?);
        }
        Ok(all)
    })?;
    mapped.sort_unstable_by_key(|&(index, _)| index);
    Ok(mapped.into_iter().map(|(_, result)| result).collect())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn parts_come_back_in_order_and_do_not_pile_up_on_a_stack() {
        thread_local! {
            static DEPTH: Cell<usize> = const { Cell::new(0) };
        }
        let items: Vec<usize> = (0..5_000).collect();
        let sums = map_chunks(&items, 3, |part| {
            DEPTH.set(DEPTH.get() + 1);
            let sum = pool().run(|| part.iter().sum::<usize>());
            let depth = DEPTH.replace(0);
            if depth == 1 { Ok(sum) } else { Err(depth) }
        });
        assert_eq!(sums, Ok(items.chunks(3).map(|part| part.iter().sum()).collect::<Vec<usize>>()));
        assert_eq!(map_chunks(&[] as &[u8], 3, |_| Ok::<_, ()>(())), Ok(Vec::new()));
    }

    #[test]
    fn a_failure_is_returned_and_ends_the_work() {
        let items: Vec<usize> = (0..100_000).collect();
        let done = AtomicUsize::new(0);
        let failed = map_chunks(&items, 1, |part| {
            done.fetch_add(1, Ordering::Relaxed);
            if part[0] == 7 { Err("seven") } else { Ok(()) }
        });
        assert_eq!(failed, Err("seven"));
        assert!(done.into_inner() < items.len());
    }
}
