//! The allocator, as far as the program has a say in it.
#![expect(unsafe_code, reason = "libmimalloc-sys declares its functions without safe wrappers")]

use std::ffi::{c_int, c_long};

/// `mi_option_purge_delay` of `mimalloc.h`: for how many milliseconds freed memory is kept before the system gets it back.
const PURGE_DELAY: c_int = 15;

/// Lets the system have all that `work` frees at once, unless `MIMALLOC_PURGE_DELAY` says otherwise. For loading models:
/// what they are made from is not asked for again, and would stay with the threads that loaded them, a fifth of all that a
/// server uses. Requests are better off with what others have freed before them.
pub(crate) fn giving_back<R>(work: impl FnOnce() -> R) -> R {
    let kept = set_purge_delay(0);
    let result = work();
    set_purge_delay(kept);
    result
}

/// Returns what it was before.
fn set_purge_delay(milliseconds: c_long) -> c_long {
    // SAFETY: the number is one of an option; options may be read and set at any time from any thread.
    unsafe {
        let before = libmimalloc_sys::mi_option_get(PURGE_DELAY);
        libmimalloc_sys::mi_option_set_default(PURGE_DELAY, milliseconds);
        before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_given_back_at_once_while_work_is_done_and_as_before_after_it() {
        giving_back(|| assert_eq!(set_purge_delay(0), 0));
        assert_eq!(set_purge_delay(1000), 1000, "no other option has this default");
    }
}
