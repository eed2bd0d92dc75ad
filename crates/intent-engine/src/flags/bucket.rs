//! Which part of the traffic a subject belongs to.

/// How many buckets there are: steps of 0.001 %.
pub const BUCKETS: u32 = 100_000;

/// Returns the bucket of a subject for one flag or experiment, 0 to 99,999.
///
/// murmur3-x86-32 (Appleby 2011), seed 0, of `key:subject`, scaled: the same on every replica, after every restart, and
/// independent between keys.
pub fn bucket(key: &str, subject: &str) -> u32 {
    let hash = hash(format!("{key}:{subject}").as_bytes());
    ((u64::from(hash) * u64::from(BUCKETS)) >> 32) as u32
}

fn hash(bytes: &[u8]) -> u32 {
    murmur3::murmur3_32(&mut &bytes[..], 0).expect("reading from memory does not fail")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_murmur3_x86_32() {
        let vectors = [
            ("ejOoVL", 0x0000_0000),
            ("bY9fO-", 0x0000_0001),
            ("SI7p-", 0x7fff_ffff),
            ("6LvT0", 0x8000_0000),
            ("ceQdGm", 0xffff_ffff),
        ];
        for (text, expected) in vectors {
            assert_eq!(hash(text.as_bytes()), expected, "{text}");
        }
    }

    /// Computed with another implementation of murmur3. They must never change: users would gain and lose features.
    #[test]
    fn users_stay_in_their_buckets_from_release_to_release() {
        let buckets = [
            ("quality_mode", "alice", 26_709),
            ("quality_mode", "bob", 69_756),
            ("caching", "alice", 53_706),
            ("ab_testing", "user-123", 34_704),
            ("enhanced_logging", "Zoë 🙂", 26_841),
            ("adaptive_routing", "", 41_609),
        ];
        for (flag, user, expected) in buckets {
            assert_eq!(bucket(flag, user), expected, "{flag}:{user}");
        }
    }

    #[test]
    fn the_highest_hash_is_in_the_last_bucket() {
        assert_eq!((u64::from(u32::MAX) * u64::from(BUCKETS)) >> 32, u64::from(BUCKETS) - 1);
    }
}
