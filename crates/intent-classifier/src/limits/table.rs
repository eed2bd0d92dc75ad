//! The allowances of all sources in memory of a fixed size.

use std::{
    hash::{BuildHasher, Hash, RandomState},
    sync::{Mutex, OnceLock, PoisonError},
    time::Instant,
};

use super::quota::{Exhausted, Quota, Standing};

/// Sets of slots; a power of two. With 8 slots of 16 bytes each the table takes at most 5 MiB, whoever comes.
const SETS: usize = 1 << 15;
/// Slots of a set.
const SLOTS: usize = 8;

/// Allowances by source. When more sources come than there are slots, those closest to a whole allowance are forgotten:
/// a source that has used up its own stays, however many fresh ones an attacker sends.
#[derive(Debug)]
pub(crate) struct Table {
    /// Made when the first of their sources comes: most services have few.
    sets: Box<[OnceLock<Box<Set>>]>,
    /// Keyed at random, so that nobody can choose who shares a set with whom.
    hasher: RandomState,
    began: Instant,
}

type Set = Mutex<[Slot; SLOTS]>;

/// One source. An allowance that is whole is as good as none, so an empty slot is a source whose allowance is whole.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    source: u64,
    whole_at_ns: u64,
}

impl Table {
    /// Makes an empty table.
    pub(crate) fn new() -> Self {
        let sets = (0..SETS).map(|_| OnceLock::new()).collect();
        Self { sets, hasher: RandomState::new(), began: Instant::now() }
    }

    /// Takes `texts` from the allowance of a source.
    ///
    /// # Errors
    /// [`Exhausted`] when there is not enough; nothing is taken then.
    pub(crate) fn take(&self, source: &impl Hash, quota: Quota, texts: u32) -> Result<Standing, Exhausted> {
        self.take_at(source, quota, texts, Instant::now())
    }

    fn take_at(&self, source: &impl Hash, quota: Quota, texts: u32, now: Instant) -> Result<Standing, Exhausted> {
        let source = self.hasher.hash_one(source);
        let now_ns = now.saturating_duration_since(self.began).as_nanos() as u64;
        let set = self.sets[source as usize % SETS].get_or_init(Box::default);
        // A panic elsewhere leaves plain numbers behind.
        let mut slots = set.lock().unwrap_or_else(PoisonError::into_inner);
        let at = slots.iter().position(|slot| slot.source == source && slot.whole_at_ns > 0);
        let whole_at_ns = at.map_or(0, |at| slots[at].whole_at_ns);
        let (whole_at_ns, standing) = quota.take(whole_at_ns, now_ns, texts)?;
        let at = at.unwrap_or_else(|| {
            let oldest = slots.iter().enumerate().min_by_key(|(_, slot)| slot.whole_at_ns);
            oldest.map_or(0, |(at, _)| at)
        });
        slots[at] = Slot { source, whole_at_ns };
        Ok(standing)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn sources_do_not_share_and_allowances_come_back() {
        let table = Table::new();
        let (quota, now) = (Quota::new(2), table.began);
        assert_eq!(table.take_at(&"a", quota, 2, now).map(|standing| standing.remaining), Ok(0));
        assert!(table.take_at(&"a", quota, 1, now).is_err());
        assert_eq!(table.take_at(&"b", quota, 1, now).map(|standing| standing.remaining), Ok(1));
        assert!(table.take_at(&"a", quota, 1, now + Duration::from_secs(30)).is_ok());
    }

    #[test]
    fn a_million_sources_fit_and_do_not_push_out_the_one_at_its_limit() {
        let table = Table::new();
        let (quota, now) = (Quota::new(100), table.began);
        assert!(table.take_at(&"greedy", quota, 100, now).is_ok());
        for number in 0..1_000_000 {
            assert!(table.take_at(&number, quota, 1, now).is_ok());
        }
        let exhausted = table.take_at(&"greedy", quota, 1, now).expect_err("it is remembered");
        assert_eq!(exhausted.standing.remaining, 0);
        assert_eq!(size_of_val(&*table.sets), SETS * size_of::<OnceLock<Box<Set>>>());
    }
}
