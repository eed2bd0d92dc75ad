//! The arithmetic of a limit: the generic cell rate algorithm (GCRA, ITU-T I.371).
//!
//! One number a source is enough: the time at which its allowance will be whole again. Taking a text moves it into the
//! future by the time that one text takes to come back; when it would be more than a minute away, there is nothing left.

use std::time::Duration;

/// So many texts a minute, all at once or spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quota {
    per_minute: u32,
}

/// How much a source has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Texts that may be sent at once.
    pub(crate) remaining: u32,
    /// Until the allowance is whole again.
    pub(crate) whole_in: Duration,
}

/// There is not enough left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exhausted {
    /// Until there is enough.
    pub(crate) retry_after: Duration,
    /// What there is.
    pub(crate) standing: Standing,
}

impl Quota {
    /// The window that limits are stated for.
    pub(super) const WINDOW: Duration = Duration::from_secs(60);

    /// Allows `per_minute` texts, at least 1.
    pub(crate) fn new(per_minute: u32) -> Self {
        Self { per_minute: per_minute.max(1) }
    }

    /// Returns the texts a minute.
    pub(crate) fn per_minute(self) -> u32 {
        self.per_minute
    }

    /// Returns the time that `texts` take to come back, in nanoseconds.
    pub(crate) fn cost_ns(self, texts: u32) -> u64 {
        (u128::from(texts) * Self::WINDOW.as_nanos() / u128::from(self.per_minute)) as u64
    }

    /// Takes `texts` from an allowance that is whole at `whole_at_ns`; returns when it will be then. Both clocks count
    /// nanoseconds from the same moment.
    ///
    /// # Errors
    /// [`Exhausted`] when there is not enough; nothing is taken then.
    pub(crate) fn take(self, whole_at_ns: u64, now_ns: u64, texts: u32) -> Result<(u64, Standing), Exhausted> {
        let window_ns = Self::WINDOW.as_nanos() as u64;
        let whole_at_ns = whole_at_ns.max(now_ns);
        let then_ns = whole_at_ns.saturating_add(self.cost_ns(texts));
        let missing_ns = (then_ns - now_ns).saturating_sub(window_ns);
        if missing_ns > 0 {
            let retry_after = Duration::from_nanos(missing_ns);
            return Err(Exhausted { retry_after, standing: self.standing(whole_at_ns - now_ns) });
        }
        Ok((then_ns, self.standing(then_ns - now_ns)))
    }

    /// Tells what is left when the allowance is whole in `whole_in_ns`.
    pub(crate) fn standing(self, whole_in_ns: u64) -> Standing {
        let free_ns = (Self::WINDOW.as_nanos() as u64).saturating_sub(whole_in_ns);
        let remaining = u128::from(free_ns) * u128::from(self.per_minute) / Self::WINDOW.as_nanos();
        Standing { remaining: remaining as u32, whole_in: Duration::from_nanos(whole_in_ns) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    #[test]
    fn a_minute_of_texts_goes_at_once_and_comes_back_evenly() {
        let quota = Quota::new(60);
        let (whole_at_ns, standing) = quota.take(0, 0, 60).expect("a whole minute is left");
        assert_eq!((whole_at_ns, standing.remaining), (60 * SECOND_NS, 0));

        let exhausted = quota.take(whole_at_ns, 0, 1).expect_err("nothing is left");
        assert_eq!(exhausted.retry_after, Duration::from_secs(1));
        assert_eq!(exhausted.standing, Standing { remaining: 0, whole_in: Duration::from_secs(60) });
        assert_eq!(quota.take(whole_at_ns, 0, 10).expect_err("nothing is left").retry_after, Duration::from_secs(10));

        let (_, standing) = quota.take(whole_at_ns, 10 * SECOND_NS, 4).expect("ten seconds brought ten texts");
        assert_eq!(standing.remaining, 6);
        let (_, standing) = quota.take(whole_at_ns, 600 * SECOND_NS, 1).expect("it is whole again, and not more");
        assert_eq!(standing.remaining, 59);
    }

    proptest! {
        #[test]
        fn no_minute_ever_has_more_than_twice_its_texts_and_the_wait_is_true(
            per_minute in 1u32..10_000,
            asks in prop::collection::vec((0u64..5 * SECOND_NS, 1u32..200), 1..200),
        ) {
            let quota = Quota::new(per_minute);
            let (mut now_ns, mut whole_at_ns, mut taken) = (0u64, 0u64, 0u64);
            for (later_ns, texts) in asks {
                now_ns += later_ns;
                match quota.take(whole_at_ns, now_ns, texts) {
                    Ok((then_ns, standing)) => {
                        whole_at_ns = then_ns;
                        taken += u64::from(texts);
                        prop_assert!(standing.remaining < per_minute);
                    }
                    Err(exhausted) if texts <= per_minute => {
                        let then_ns = now_ns + exhausted.retry_after.as_nanos() as u64;
                        prop_assert!(quota.take(whole_at_ns, then_ns, texts).is_ok());
                        prop_assert!(exhausted.standing.remaining < texts + 1);
                    }
                    Err(_) => {}
                }
            }
            let allowed = u64::from(per_minute) + now_ns * u64::from(per_minute) / (60 * SECOND_NS) + 1;
            prop_assert!(taken <= allowed, "{taken} of {allowed}");
        }
    }
}
