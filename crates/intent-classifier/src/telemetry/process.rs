//! What the kernel knows about this process, under the names every Prometheus client uses.

use std::{fs, time::SystemTime};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};

/// Reads `/proc/self` at every scrape; on other systems than Linux only the start time is there.
#[derive(Debug)]
pub(super) struct ProcessCollector {
    started_seconds: f64,
}

/// The kernel's clock ticks, `sysconf(_SC_CLK_TCK)`: 100 on every Linux since 2.6.
const TICKS_PER_SECOND: f64 = 100.0;
const KIB: u64 = 1024;

impl ProcessCollector {
    /// Takes now as the start of the process.
    pub(super) fn new() -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { started_seconds: now.as_secs_f64() }
    }
}

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut gauge = |name: &str, help: &str, unit: Option<&Unit>, value: f64| {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, unit, gauge.metric_type())?)
        };
        gauge(
            "process_start_time",
            "Start of the process since the Unix epoch",
            Some(&Unit::Seconds),
            self.started_seconds,
        )?;
        if let Some(bytes) = resident_bytes() {
            gauge("process_resident_memory", "Memory in use", Some(&Unit::Bytes), bytes)?;
        }
        if let Some(bytes) = status_bytes("VmSize:") {
            gauge("process_virtual_memory", "Address space in use", Some(&Unit::Bytes), bytes)?;
        }
        if let Ok(descriptors) = fs::read_dir("/proc/self/fd") {
            gauge("process_open_fds", "Open file descriptors", None, descriptors.count() as f64)?;
        }
        if let Some(seconds) = cpu_seconds() {
            let counter = ConstCounter::new(seconds);
            counter.encode(encoder.encode_descriptor(
                "process_cpu",
                "Processor time used, user and system",
                Some(&Unit::Seconds),
                counter.metric_type(),
            )?)?;
        }
        Ok(())
    }
}

/// Returns the memory in use.
pub(crate) fn resident_bytes() -> Option<f64> {
    status_bytes("VmRSS:")
}

/// Reads a size from `/proc/self/status`, where sizes are in KiB.
fn status_bytes(field: &str) -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some((kib * KIB) as f64)
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
