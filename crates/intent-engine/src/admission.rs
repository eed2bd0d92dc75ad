//! How much work is taken at once.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use crate::{EngineError, latency::Throughput};

/// The earliest and the latest time a refused caller is told to come back.
const RETRY_AFTER: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Counts the texts in flight and refuses more than its capacity, before any work is done for them.
#[derive(Debug)]
pub struct Admission {
    capacity: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    in_flight: usize,
    throughput: Throughput,
}

impl Admission {
    /// Takes at most `capacity` texts at once; single requests and batches count alike, by texts.
    pub fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self { capacity, state: Mutex::default() })
    }

    /// Returns how many texts are admitted and not yet answered.
    pub fn in_flight(&self) -> usize {
        self.lock().in_flight
    }

    /// Returns the most texts that are admitted.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Admits `texts` texts, all or none; they count until the permit is dropped.
    ///
    /// # Errors
    /// [`EngineError::Overloaded`] when they do not all fit, with the time that the texts in flight take at the speed of
    /// late.
    pub fn admit(self: &Arc<Self>, texts: usize) -> Result<Permit, EngineError> {
        let mut state = self.lock();
        let in_flight = state.in_flight;
        if in_flight + texts > self.capacity {
            let (earliest, latest) = RETRY_AFTER;
            let retry_after = state.throughput.time_for(in_flight).unwrap_or(earliest).clamp(earliest, latest);
            return Err(EngineError::Overloaded { in_flight, capacity: self.capacity, retry_after });
        }
        state.in_flight += texts;
        state.throughput.resume();
        Ok(Permit { admission: Arc::clone(self), texts })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds this lock")
    }
}

/// Admitted texts; dropping it makes room again.
#[derive(Debug)]
#[must_use = "the texts count as in flight until the permit is dropped"]
pub struct Permit {
    admission: Arc<Admission>,
    texts: usize,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.admission.lock();
        state.in_flight -= self.texts;
        let is_idle = state.in_flight == 0;
        state.throughput.record(self.texts, is_idle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_counts_by_its_texts_and_is_taken_whole_or_not_at_all() {
        let admission = Admission::new(4);
        let three = admission.admit(3).expect("three of four fit");
        let refused = admission.admit(2).expect_err("two more do not");
        assert!(matches!(refused, EngineError::Overloaded { in_flight: 3, capacity: 4, .. }), "{refused:?}");
        let one = admission.admit(1).expect("one more does");
        drop((three, one));
        assert_eq!(admission.in_flight(), 0);
        let _four = admission.admit(4).expect("everything is free again");
    }

    #[test]
    fn a_refusal_never_asks_to_come_back_at_once() {
        let admission = Admission::new(0);
        let Err(EngineError::Overloaded { retry_after, .. }) = admission.admit(1) else { panic!("nothing fits") };
        assert_eq!(retry_after, Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_says_how_long_the_texts_in_flight_take_at_the_speed_of_late() {
        let admission = Admission::new(100);
        let twenty = admission.admit(20).expect("there is room");
        let eighty = admission.admit(80).expect("there is room");
        tokio::time::advance(Duration::from_secs(4)).await;
        drop(twenty); // 5 texts per second
        let Err(EngineError::Overloaded { retry_after, .. }) = admission.admit(21) else { panic!("21 do not fit") };
        assert_eq!(retry_after, Duration::from_secs(16));
        drop(eighty);
    }
}
