//! Drops cached answers that were corrected through other replicas.

use std::time::Duration;

use intent_engine::DecisionCache;
use tokio::time::sleep;
use tracing::debug;

use crate::storage::{Revisions, Storage, Topic};

/// How many texts are read at once; more than share a revision.
const PAGE: u32 = 500;
/// How long to wait after the database failed.
const PAUSE: Duration = Duration::from_millis(500);

/// Forgets the answers to every text that is corrected from now on, whoever took the correction; ends never. `with_cache`
/// does something with the cache, when there is one already.
///
/// With a database that replicas share, all answers are forgotten at the first look: until then, some may have been kept
/// that others corrected meanwhile.
pub(crate) async fn follow(storage: Storage, with_cache: impl Fn(&dyn Fn(&DecisionCache))) {
    let mut revisions = storage.watch_revisions();
    let Ok(first) = revisions.wait_for(Option::is_some).await.map(|found| at(&found)) else { return };
    if storage.is_remote() {
        with_cache(&DecisionCache::forget_all);
    }
    let mut seen = first;
    while revisions.changed().await.is_ok() {
        let now = at(&revisions.borrow_and_update());
        while seen < now {
            match storage.corrected_texts_after(seen, PAGE).await {
                Ok(corrections) => {
                    with_cache(&|cache| corrections.iter().for_each(|(_, text)| cache.forget_text(text)));
                    seen = match corrections.last() {
                        // The page may have ended within a revision: to forget twice does no harm.
                        Some((last, _)) if corrections.len() == PAGE as usize && last - 1 > seen => last - 1,
                        _ => now,
                    };
                }
                Err(error) => {
                    // Until the database is back; nothing is skipped.
                    debug!(%error, "corrections of other replicas cannot be read");
                    sleep(PAUSE).await;
                }
            }
        }
    }
}

fn at(revisions: &Option<Revisions>) -> u64 {
    revisions.as_ref().map_or(0, |revisions| revisions.of(Topic::Corrections))
}
