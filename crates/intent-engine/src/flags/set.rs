//! Which flags are on for one subject.

use super::Flag;

/// The flags that are on for one subject.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlagSet(u16);

impl FlagSet {
    /// Tells whether a flag is on.
    pub fn contains(self, flag: Flag) -> bool {
        self.0 & bit(flag) != 0
    }
}

impl FromIterator<Flag> for FlagSet {
    fn from_iter<I: IntoIterator<Item = Flag>>(flags: I) -> Self {
        Self(flags.into_iter().fold(0, |set, flag| set | bit(flag)))
    }
}

const fn bit(flag: Flag) -> u16 {
    1 << flag as u16
}

const _: () = assert!(Flag::ALL.len() <= u16::BITS as usize, "every flag has a bit");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_in_and_nothing_else() {
        let set: FlagSet = [Flag::Caching, Flag::EnhancedLogging].into_iter().collect();
        let on: Vec<Flag> = Flag::ALL.into_iter().filter(|flag| set.contains(*flag)).collect();
        assert_eq!(on, [Flag::Caching, Flag::EnhancedLogging]);
        assert!(Flag::ALL.iter().all(|flag| !FlagSet::default().contains(*flag)));
    }
}
