//! Dropout (Srivastava et al. 2014) whose mask is computed, not stored.

/// One site's mask: whether a value is kept is a hash of its position, so that the backward pass meets the same mask
/// and a resumed run the same one as an unbroken run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dropout {
    seed: u32,
    threshold: u32,
    scale: f32,
}

impl Dropout {
    /// Keeps every value.
    pub(crate) const OFF: Self = Self { seed: 0, threshold: 0, scale: 1.0 };

    /// Drops a share `rate` (0 to 1, exclusive) of the values.
    pub(crate) fn new(rate: f32, seed: u64) -> Self {
        if rate <= 0.0 {
            return Self::OFF;
        }
        // Truncation to 32 bits is intended: both halves of the seed take part.
        let seed = (seed ^ (seed >> 32)) as u32;
        Self { seed, threshold: (f64::from(rate) * 4_294_967_296.0) as u32, scale: 1.0 / (1.0 - rate) }
    }

    /// Returns what the value at `index` is multiplied with: 0, or one over the share that is kept.
    #[inline]
    pub(crate) fn factor(self, index: usize) -> f32 {
        // "lowbias32" of Chris Wellons' hash-prospector: every input bit flips every output bit with even odds.
        let mut x = (index as u32).wrapping_add(self.seed);
        x = (x ^ (x >> 16)).wrapping_mul(0x7feb_352d);
        x = (x ^ (x >> 15)).wrapping_mul(0x846c_a68b);
        x ^= x >> 16;
        if x >= self.threshold { self.scale } else { 0.0 }
    }

    /// Applies the mask in place: to values in the forward pass, to their gradient in the backward pass.
    pub(crate) fn apply(self, values: &mut [f32]) {
        if self.threshold > 0 {
            values.iter_mut().enumerate().for_each(|(index, value)| *value *= self.factor(index));
        }
    }
}

/// Mixes a seed with a position, such as a step or a site, into a new seed (the finaliser of SplitMix64).
pub(crate) fn mix(seed: u64, position: u64) -> u64 {
    let mut x = seed.wrapping_add(position.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_drops_its_share_and_keeps_the_mean() {
        let mut values = vec![1.0_f32; 100_000];
        Dropout::new(0.1, 7).apply(&mut values);
        let dropped = values.iter().filter(|value| **value == 0.0).count();
        assert!((9_500..10_500).contains(&dropped), "{dropped}");
        assert!((values.iter().sum::<f32>() / 100_000.0 - 1.0).abs() < 0.01);
    }

    #[test]
    fn two_seeds_give_independent_masks() {
        let (a, b) = (Dropout::new(0.5, mix(1, 0)), Dropout::new(0.5, mix(1, 1)));
        let same = (0..10_000).filter(|&index| a.factor(index) == b.factor(index)).count();
        assert!((4_700..5_300).contains(&same), "{same}");
    }
}
