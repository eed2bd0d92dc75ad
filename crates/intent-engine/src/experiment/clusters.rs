//! Observations that come in clusters: the requests of one subject resemble each other.

/// Sums over the subjects of a group, from which a mean over all observations and its error follow.
///
/// A subject with `n` observations that sum to `y` adds `n`, `y`, `n²`, `y²` and `n·y`. Subjects are independent,
/// observations of one subject are not, so the error is that of a ratio of two sums over subjects (Cochran 1977,
/// "Sampling Techniques", section 6.4; Deng et al. 2018, "Applying the Delta Method in Metric Analytics"). With one
/// observation each it is the usual error of a mean.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Clusters {
    /// How many subjects.
    pub subjects: u64,
    /// The sum of `n`: how many observations.
    pub observations: f64,
    /// The sum of `y`.
    pub total: f64,
    /// The sum of `n²`.
    pub observations_squared: f64,
    /// The sum of `y²`.
    pub total_squared: f64,
    /// The sum of `n·y`.
    pub product: f64,
}

impl Clusters {
    /// Adds a subject with so many observations and their sum.
    pub fn add(&mut self, observations: f64, total: f64) {
        self.subjects += 1;
        self.observations += observations;
        self.total += total;
        self.observations_squared += observations * observations;
        self.total_squared += total * total;
        self.product += observations * total;
    }

    /// Returns the mean over all observations; `None` without any.
    pub fn mean(&self) -> Option<f64> {
        (self.observations > 0.0).then(|| self.total / self.observations)
    }

    /// Returns the squared standard error of the mean; infinite without observations.
    pub(crate) fn squared_error(&self) -> f64 {
        let Some(mean) = self.mean() else { return f64::INFINITY };
        let spread = self.total_squared - 2.0 * mean * self.product + mean * mean * self.observations_squared;
        // Rounding may leave a little less than nothing.
        spread.max(0.0) / (self.observations * self.observations)
    }

    /// Returns these and two subjects who found an answer right and two who found one wrong (Agresti and Coull 1998):
    /// a share of exactly 0 or 1 is not known without error.
    pub(crate) fn with_pseudo_subjects(mut self) -> Self {
        [1.0, 1.0, 0.0, 0.0].into_iter().for_each(|right| self.add(1.0, right));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_observation_each_gives_the_error_of_a_share() {
        let mut clusters = Clusters::default();
        (0..100).for_each(|subject| clusters.add(1.0, f64::from(u8::from(subject < 80))));
        assert_eq!(clusters.mean(), Some(0.8));
        assert!((clusters.squared_error() - 0.8 * 0.2 / 100.0).abs() < 1e-12);
    }

    #[test]
    fn the_same_observation_ten_times_says_no_more_than_once() {
        let (mut once, mut often) = (Clusters::default(), Clusters::default());
        for subject in 0..50 {
            let value = f64::from(subject % 7);
            once.add(1.0, value);
            often.add(10.0, 10.0 * value);
        }
        assert!((once.squared_error() - often.squared_error()).abs() < 1e-12);
    }

    #[test]
    fn nothing_observed_is_known_with_no_precision() {
        assert_eq!(Clusters::default().mean(), None);
        assert_eq!(Clusters::default().squared_error(), f64::INFINITY);
    }
}
