//! `bench`: what the server does on this machine.

use std::{process::ExitCode, time::Duration};

use clap::Args;

use super::{Failure, output};
use crate::{
    bench::{self, Limits, OwnProcess, Report},
    config::Sources,
    telemetry,
};

/// Measure the server on this machine, over loopback, with the models that `serve` would load.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  intent-classifier bench
  intent-classifier bench --connections 64 --seconds 10 --format json")]
pub(super) struct Arguments {
    /// Connections of the throughput figures.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    connections: u16,
    /// The most requests of one measurement.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..))]
    requests: u32,
    /// The longest measurement, in seconds; all together take ten times as long.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// How to write the figures.
    #[arg(long, value_enum, default_value_t)]
    format: output::Format,
}

pub(super) fn run(arguments: &Arguments, sources: Sources) -> Result<ExitCode, Failure> {
    let config = sources.file.clone();
    let settings = sources.load()?.settings;
    // Log lines are part of what is measured, but nobody wants to read them.
    let log = telemetry::logging::start_unseen(&settings.log)?;
    let limits = Limits {
        connections: arguments.connections.into(),
        requests: arguments.requests as usize,
        duration: Duration::from_secs(arguments.seconds),
    };
    let report = bench::run(&settings, config.as_deref(), limits, log)?;
    match arguments.format {
        output::Format::Text => write(&report)?,
        output::Format::Json => output::json(&report)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn write(report: &Report) -> std::io::Result<()> {
    let row = |name: String, figures: &bench::Figures| {
        let mut times = [figures.p50_ms, figures.p95_ms, figures.p99_ms].map(|ms| format!("{ms:.3}")).to_vec();
        times.push(format!("{:.0}", figures.cpu_us));
        [vec![name, format!("{:.0}", figures.requests_per_second)], times].concat()
    };
    let connections = report.connections;
    let mut rows = vec![
        row(format!("empty handler, {connections} connections"), &report.empty),
        row(format!("rules, {connections} connections"), &report.rules),
        row("the same, without metrics and logs".to_owned(), &report.unobserved),
    ];
    if let Some(overhead) = &report.most_accurate {
        rows.push(row(format!("{}, 1 connection", overhead.model), &overhead.http));
    }
    output::table(&["", "REQUESTS/S", "P50 MS", "P95 MS", "P99 MS", "CPU US"], &rows)?;
    output::text(&format!("\nrules at {:.0} % of the empty handler", report.rules_to_empty * 100.0))?;
    output::text(&format!("metrics and logs cost {:.1} % of the throughput", report.observation_cost * 100.0))?;
    if let Some(overhead) = &report.most_accurate {
        let (model, direct, added) = (overhead.model, overhead.direct_p50_ms, overhead.overhead_ms);
        output::text(&format!("{model} alone {direct:.3} ms, HTTP adds {added:.3} ms"))?;
    }
    let OwnProcess { ready_ms, ready_mb, texts, resident_mb } = report.own_process;
    let megabytes = |figure: Option<f64>| figure.map_or("unknown".to_owned(), |figure| format!("{figure:.0} MB"));
    let (ready, resident) = (megabytes(ready_mb), megabytes(resident_mb));
    output::text(&format!("a server alone: ready after {ready_ms:.0} ms, resident memory {ready}"))?;
    output::text(&format!("after {texts} texts: {resident}"))?;
    Ok(())
}
