//! Which texts share a run.

/// Most tokens, padding included, of one run. Beyond it the activations no longer stay in the second-level cache and
/// a token gets dearer instead of cheaper.
const TOKENS_PER_RUN: usize = 256;

/// Padded tokens per real token that one run may cost: joining saves less than a fifth of the time of a text, so more
/// padding than that costs more than it saves.
const LARGEST_PADDING: f64 = 1.1;

/// Divides texts of the given lengths into groups of similar length, shortest first; every index is in one group.
pub(super) fn groups(lengths: &[usize], batches: bool) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&index| lengths[index]);
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut real = 0;
    for index in order {
        let length = lengths[index];
        if let Some(group) = groups.last_mut() {
            let padded = (group.len() + 1) * length;
            let worth_it = padded as f64 <= LARGEST_PADDING * (real + length) as f64;
            if batches && padded <= TOKENS_PER_RUN && worth_it {
                group.push(index);
                real += length;
                continue;
            }
        }
        groups.push(vec![index]);
        real = length;
    }
    groups
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn equal_lengths_share_runs_up_to_the_token_limit() {
        assert_eq!(groups(&[64; 5], true), [vec![0, 1, 2, 3], vec![4]]);
    }

    #[test]
    fn a_long_text_does_not_make_short_ones_longer() {
        assert_eq!(groups(&[5, 100, 5], true), [vec![0, 2], vec![1]]);
    }

    #[test]
    fn without_batches_every_text_runs_alone() {
        assert_eq!(groups(&[3, 3], false), [vec![0], vec![1]]);
    }

    proptest! {
        #[test]
        fn every_text_is_in_exactly_one_group_and_padding_is_bounded(lengths in prop::collection::vec(1usize..600, 0..80)) {
            let groups = groups(&lengths, true);
            let mut seen: Vec<usize> = groups.iter().flatten().copied().collect();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..lengths.len()).collect::<Vec<_>>());
            for group in groups {
                let longest = group.iter().map(|&index| lengths[index]).max().unwrap_or(0);
                let real: usize = group.iter().map(|&index| lengths[index]).sum();
                prop_assert!(group.len() == 1 || group.len() * longest <= TOKENS_PER_RUN);
                prop_assert!((group.len() * longest) as f64 <= LARGEST_PADDING * real as f64);
            }
        }
    }
}
