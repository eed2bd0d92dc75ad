//! Chance for simulations.

/// A small deterministic generator; the simulations need many cheap coin tosses that are the same in every run.
pub(crate) struct Coins(u64);

impl Coins {
    /// Begins a sequence of its own for each seed, from 1.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed * 0x9e37_79b9)
    }

    /// Returns a number of 0 to 1, all equally likely.
    pub(crate) fn uniform(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Tells whether something of this probability happens.
    pub(crate) fn toss(&mut self, probability: f64) -> bool {
        self.uniform() <= probability
    }
}
