//! The statistics of experiments that are looked at all the time.

use statrs::distribution::{ChiSquared, ContinuousCDF};

/// After about so many observations the confidence sequence is tightest.
const TIGHTEST_AT: f64 = 5_000.0;

/// Returns by how many standard errors an estimate from `observations` observations may be off, at any time, with
/// probability 1 - `alpha`.
///
/// The asymptotic confidence sequence of Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas 2021, "Time-uniform central
/// limit theory and asymptotic confidence sequences", theorem 2.2: unlike a confidence interval it holds at all times at
/// once, so that one may look after every observation and stop whenever one likes. `observations` must be at least 1.
pub fn confidence_sequence_multiplier(observations: u64, alpha: f64) -> f64 {
    let n = observations as f64;
    let rho_squared = (-2.0 * alpha.ln() + (-2.0 * alpha.ln() + 1.0).ln()) / TIGHTEST_AT;
    let n_rho_squared = n * rho_squared;
    (2.0 * (n_rho_squared + 1.0) / n_rho_squared * ((n_rho_squared + 1.0).sqrt() / alpha).ln()).sqrt()
}

/// Returns by how many standard errors a mean from `observations` observations may exceed the truth, at any time, with
/// probability 1 - `alpha`: the one-sided kind of [`confidence_sequence_multiplier`] (the same paper, proposition B.1),
/// tightest after about `tightest_at` observations. `observations` must be at least 1.
pub(crate) fn one_sided_multiplier(observations: u64, alpha: f64, tightest_at: f64) -> f64 {
    let n = observations as f64;
    let log = -2.0 * (2.0 * alpha).ln();
    let n_rho_squared = n * (log + (log + 1.0).ln()) / tightest_at;
    (2.0 * (n_rho_squared + 1.0) / n_rho_squared * ((n_rho_squared + 1.0).sqrt() / (2.0 * alpha)).ln_1p()).sqrt()
}

/// Returns the probability of group sizes at least as uneven as `observed`, when the shares are `expected` (summing to 1):
/// Pearson's chi-squared test. A value under 0.001 says that the assignment or the counting is broken (Fabijan et al.
/// 2019, "Diagnosing Sample Ratio Mismatch in Online Controlled Experiments").
pub fn sample_ratio_p_value(observed: &[u64], expected: &[f64]) -> f64 {
    let total = observed.iter().sum::<u64>() as f64;
    let groups = observed.iter().zip(expected).filter(|(_, share)| **share > 0.0);
    let (statistic, count) = groups.fold((0.0, 0_u32), |(sum, count), (&observed, &share)| {
        (sum + (observed as f64 - share * total).powi(2) / (share * total), count + 1)
    });
    match ChiSquared::new(f64::from(count) - 1.0) {
        Ok(distribution) if total > 0.0 => distribution.sf(statistic),
        // One group, or nothing observed: nothing to compare.
        _ => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_multiplier_is_that_of_the_paper() {
        for (observations, expected) in [(500, 3.8551), (5_000, 3.0352), (50_000, 3.2417)] {
            let multiplier = confidence_sequence_multiplier(observations, 0.05);
            assert!((multiplier - expected).abs() < 5e-5, "{multiplier} at {observations}");
        }
    }

    #[test]
    fn a_one_sided_bound_is_tighter_than_a_two_sided_one_and_wider_than_one_for_a_single_look() {
        for observations in [500, 5_000, 50_000] {
            let one_sided = one_sided_multiplier(observations, 0.05, TIGHTEST_AT);
            let two_sided = confidence_sequence_multiplier(observations, 0.05);
            assert!(1.645 < one_sided && one_sided < two_sided, "{one_sided} and {two_sided} at {observations}");
        }
    }

    #[test]
    fn even_groups_are_likely_and_lopsided_ones_are_not() {
        assert!(sample_ratio_p_value(&[5_010, 4_990], &[0.5, 0.5]) > 0.5);
        assert!(sample_ratio_p_value(&[5_300, 4_700], &[0.5, 0.5]) < 0.001);
        assert_eq!(sample_ratio_p_value(&[0, 0], &[0.5, 0.5]), 1.0);
        assert_eq!(sample_ratio_p_value(&[10], &[1.0]), 1.0);
    }

    #[test]
    fn the_p_value_is_that_of_the_tables() {
        // Chi-squared 3.841 with one degree of freedom has p 0.05: 500 ± 31 of 1,000.
        let p = sample_ratio_p_value(&[531, 469], &[0.5, 0.5]);
        assert!((p - 0.0499).abs() < 5e-4, "{p}");
    }
}
