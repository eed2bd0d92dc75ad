//! Keeps every run on one core: the caller's.
//!
//! rten runs a model inside a rayon pool and would by default spread one run over all cores. The service computes many
//! texts at a time instead, each run on one core, so every calling thread gets a pool of one thread. Handing a run over
//! to that thread costs some microseconds; a thread that does nothing but run models lives in its own pool from the
//! start and saves them, see [`compute_inline`].

use std::{cell::RefCell, sync::Arc};

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
