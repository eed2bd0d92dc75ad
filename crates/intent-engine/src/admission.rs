//! How much work is taken at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::{EngineError, latency::Throughput};

/// Counts the texts in flight and refuses more than its capacity, before any work is done for them.
#[derive(Debug)]
pub struct Admission {
    capacity: usize,
    in_flight: AtomicUsize,
    throughput: Throughput,
}

impl Admission {
    /// Takes at most `capacity` texts at once; single requests and batches count alike, by texts.
    pub fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self { capacity, in_flight: AtomicUsize::new(0), throughput: Throughput::default() })
    }

    /// Returns how many texts are admitted and not yet answered.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Admits `texts` texts, all or none; they count until the permit is dropped.
    ///
    /// # Errors
    /// [`EngineError::Overloaded`] when they do not all fit.
    pub fn admit(self: &Arc<Self>, texts: usize) -> Result<Permit, EngineError> {
        let admitted = self.in_flight.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |in_flight| {
            (in_flight + texts <= self.capacity).then_some(in_flight + texts)
        });
        match admitted {
            Ok(_) => Ok(Permit { admission: Arc::clone(self), texts }),
            Err(in_flight) => Err(EngineError::Overloaded {
                in_flight,
                capacity: self.capacity,
                retry_after: self.throughput.time_for(in_flight).max(Duration::from_secs(1)),
            }),
        }
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
        self.admission.throughput.record(self.texts);
        self.admission.in_flight.fetch_sub(self.texts, Ordering::AcqRel);
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
        assert!(retry_after >= Duration::from_secs(1));
    }
}
