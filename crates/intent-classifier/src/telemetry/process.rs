//! What the kernel knows about this process, under the names every Prometheus client uses.

use std::{
    fmt, fs, process,
    sync::LazyLock,
    time::{Duration, SystemTime},
};

use prometheus_client::{encoding::DescriptorEncoder, metrics::counter::ConstCounter};

use super::{declaration::NO_LABELS, metrics::*};

/// The kernel's clock ticks, `sysconf(_SC_CLK_TCK)`: 100 on every Linux since 2.6.
const TICKS_PER_SECOND: f64 = 100.0;
const KIB: u64 = 1024;
/// A control group without a limit of its own says `max`, or in version 1 a number near the largest.
const NO_LIMIT_FROM: u64 = 1 << 60;

/// Since the Unix epoch. Taken when first asked, which is soon after the start.
static STARTED: LazyLock<Duration> =
    LazyLock::new(|| SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default());
/// The limit does not change while a process lives.
static MEMORY_LIMIT: LazyLock<Option<u64>> = LazyLock::new(read_memory_limit);

/// Takes now as the start of the process.
pub(super) fn note_start() {
    LazyLock::force(&STARTED);
}

/// Reads `/proc/self`; on other systems than Linux only the start time is there.
pub(super) fn write(encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let id = process::id();
    PROCESS_START_TIME.write_value(encoder, Some(STARTED.as_secs_f64()))?;
    PROCESS_CPU.write_metrics(encoder, cpu_seconds().map(|seconds| (NO_LABELS, ConstCounter::new(seconds))))?;
    PROCESS_RESIDENT_MEMORY.write_value(encoder, resident_bytes_of(id))?;
    PROCESS_VIRTUAL_MEMORY.write_value(encoder, status_number(id, "VmSize:").map(|kib| kib * KIB))?;
    PROCESS_MEMORY_LIMIT.write_value(encoder, *MEMORY_LIMIT)?;
    PROCESS_OPEN_FDS.write_value(encoder, fs::read_dir("/proc/self/fd").ok().map(|fds| fds.count() as u64))?;
    PROCESS_MAX_FDS.write_value(encoder, max_fds())?;
    PROCESS_THREADS.write_value(encoder, status_number(id, "Threads:"))
}

/// Returns the memory that a process has in use.
pub(crate) fn resident_bytes_of(process: u32) -> Option<u64> {
    status_number(process, "VmRSS:").map(|kib| kib * KIB)
}

/// Reads a number from `/proc/PROCESS/status`; sizes are in KiB.
fn status_number(process: u32, field: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next()?.parse().ok()
}

fn max_fds() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Returns what the control group allows (version 2, then version 1), but never more than the machine has.
fn read_memory_limit() -> Option<u64> {
    let number_in = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let of_group = number_in("/sys/fs/cgroup/memory.max")
        .or_else(|| number_in("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
        .filter(|limit| *limit < NO_LIMIT_FROM);
    let meminfo = fs::read_to_string("/proc/meminfo").ok()?;
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?.split_whitespace().next()?;
    let of_machine = total.parse::<u64>().ok()? * KIB;
    Some(of_group.map_or(of_machine, |limit| limit.min(of_machine)))
}

/// Returns the processor time used since the start, user and system.
pub(crate) fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field, the name in parentheses, may hold spaces; `utime` and `stime` are the 14th and 15th.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ').skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}
