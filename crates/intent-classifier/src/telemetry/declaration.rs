//! What a metric is: name, kind, unit, labels, help.

use std::fmt::{self, Write};

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeGaugeValue, EncodeLabelSet, EncodeMetric},
    metrics::gauge::ConstGauge,
    registry::{Metric, Registry, Unit},
};

/// A metric as it is declared; the reference, the registry and the tests follow from it.
#[derive(Debug)]
pub(crate) struct Declaration {
    /// The name, without unit and without the `_total` of counters.
    name: &'static str,
    kind: MetricKind,
    unit: Option<MetricUnit>,
    labels: &'static [Label],
    help: &'static str,
}

/// What a metric measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MetricKind {
    /// Only ever grows.
    Counter,
    /// A value now.
    Gauge,
    /// A distribution.
    Histogram,
}

/// What a metric is measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MetricUnit {
    Seconds,
    Bytes,
}

/// A label and the values it can have: there is always a bound.
#[derive(Debug)]
pub(crate) struct Label {
    pub(crate) name: &'static str,
    pub(crate) values: LabelValues,
}

/// What bounds the values of a label.
#[derive(Debug)]
pub(crate) enum LabelValues {
    /// A closed set.
    Closed(fn() -> Vec<&'static str>),
    /// Something of bounded size, in words.
    Described(&'static str),
}

impl MetricKind {
    /// Returns the word of the exposition formats.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

impl MetricUnit {
    fn of_client(self) -> Unit {
        match self {
            Self::Seconds => Unit::Seconds,
            Self::Bytes => Unit::Bytes,
        }
    }
}

impl Label {
    /// Makes a label with a closed set of values.
    pub(super) const fn closed(name: &'static str, values: fn() -> Vec<&'static str>) -> Self {
        Self { name, values: LabelValues::Closed(values) }
    }

    /// Makes a label whose bound is told in words.
    pub(super) const fn described(name: &'static str, values: &'static str) -> Self {
        Self { name, values: LabelValues::Described(values) }
    }
}

impl Declaration {
    /// Declares a counter.
    pub(super) const fn counter(name: &'static str, labels: &'static [Label], help: &'static str) -> Self {
        Self { name, kind: MetricKind::Counter, unit: None, labels, help }
    }

    /// Declares a gauge.
    pub(super) const fn gauge(name: &'static str, labels: &'static [Label], help: &'static str) -> Self {
        Self { name, kind: MetricKind::Gauge, unit: None, labels, help }
    }

    /// Declares a histogram.
    pub(super) const fn histogram(name: &'static str, labels: &'static [Label], help: &'static str) -> Self {
        Self { name, kind: MetricKind::Histogram, unit: None, labels, help }
    }

    /// Gives it a unit, which becomes the end of its name.
    pub(super) const fn in_unit(mut self, unit: MetricUnit) -> Self {
        self.unit = Some(unit);
        self
    }

    /// Returns what it measures.
    pub(crate) fn kind(&self) -> MetricKind {
        self.kind
    }

    /// Returns its labels.
    pub(crate) fn labels(&self) -> &'static [Label] {
        self.labels
    }

    /// Returns what it means.
    pub(crate) fn help(&self) -> &'static str {
        self.help
    }

    /// Returns the name that queries use; a histogram's series end in `_bucket`, `_sum` and `_count` besides.
    pub(crate) fn exported_name(&self) -> String {
        let mut name = self.name.to_owned();
        if let Some(unit) = self.unit {
            write!(name, "_{}", unit.of_client().as_str()).expect("a string takes any text");
        }
        if self.kind == MetricKind::Counter {
            name.push_str("_total");
        }
        name
    }

    /// Enters a metric into a registry under this declaration.
    pub(super) fn register(&self, registry: &mut Registry, metric: impl Metric) {
        match self.unit {
            Some(unit) => registry.register_with_unit(self.name, self.help, unit.of_client(), metric),
            None => registry.register(self.name, self.help, metric),
        }
    }

    /// Writes a gauge without labels.
    pub(super) fn write_value<V: EncodeGaugeValue>(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        value: Option<V>,
    ) -> fmt::Result {
        let gauges = value.map(ConstGauge::new);
        self.write_metrics(encoder, gauges.map(|gauge| (NO_LABELS, gauge)))
    }

    /// Writes a gauge with a value for each set of labels.
    pub(super) fn write_values<L: EncodeLabelSet, V: EncodeGaugeValue>(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        values: impl IntoIterator<Item = (L, V)>,
    ) -> fmt::Result {
        self.write_metrics(encoder, values.into_iter().map(|(labels, value)| (labels, ConstGauge::new(value))))
    }

    /// Writes metrics of any kind, one for each set of labels.
    pub(super) fn write_metrics<L: EncodeLabelSet, M: EncodeMetric>(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        metrics: impl IntoIterator<Item = (L, M)>,
    ) -> fmt::Result {
        let kind = match self.kind {
            MetricKind::Counter => prometheus_client::metrics::MetricType::Counter,
            MetricKind::Gauge => prometheus_client::metrics::MetricType::Gauge,
            MetricKind::Histogram => prometheus_client::metrics::MetricType::Histogram,
        };
        // The registry ends every help text of its own with a full stop.
        let help = format!("{}.", self.help);
        let unit = self.unit.map(MetricUnit::of_client);
        let mut family = encoder.encode_descriptor(self.name, &help, unit.as_ref(), kind)?;
        for (labels, metric) in metrics {
            metric.encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// The labels of a metric that has none.
pub(super) const NO_LABELS: [(&str, &str); 0] = [];
