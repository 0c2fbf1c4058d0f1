//! The series, and how they are written down and read again.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

/// The upper ends of the buckets of durations, in seconds.
const BUCKETS: [&str; 16] = [
    "0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "30", "60",
    "+Inf",
];
const SUM: usize = BUCKETS.len();
const COUNT: usize = SUM + 1;

/// A metric, as it is told to Prometheus.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    pub name: &'static str,
    help: &'static str,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Counter,
    Histogram,
    Gauge,
}

/// Every metric that is added up, in the order in which they are told.
const METRICS: [Metric; 8] = [
    counter("countersign_verdicts_total", "Verdicts, by the error code of a reject or the basis of an accept."),
    Metric {
        name: "countersign_verdict_duration_seconds",
        help: "How long verdicts took, from the request to the answer.",
        kind: Kind::Histogram,
    },
    counter("countersign_service_calls_total", "What remote services were asked for, by what came of it."),
    counter("countersign_fail_open_total", "Accepts without a second factor because a service was not reached."),
    counter("countersign_throttled_total", "Attempts that were not heard after too many failures."),
    counter("countersign_locks_total", "Waits that failures of a subscriber began."),
    counter("countersign_store_errors_total", "Verdicts that the store did not allow."),
    counter("countersign_processes_total", "Processes that have served."),
];

/// Indices into [`METRICS`].
pub const VERDICTS: usize = 0;
pub const DURATION: usize = 1;
pub const CALLS: usize = 2;
pub const FAIL_OPEN: usize = 3;
pub const THROTTLED: usize = 4;
pub const LOCKS: usize = 5;
pub const STORE_ERRORS: usize = 6;
pub const PROCESSES: usize = 7;

/// How many requests of this process wait for their verdict.
pub const IN_FLIGHT: Metric =
    Metric { name: "countersign_in_flight", help: "Requests that wait for their verdict.", kind: Kind::Gauge };

const fn counter(name: &'static str, help: &'static str) -> Metric {
    Metric { name, help, kind: Kind::Counter }
}

/// Labels as they are written, without the brackets around them.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Labels(String);

impl Labels {
    /// These names and values.
    pub fn of(labels: &[(&str, &str)]) -> Self {
        let mut text = String::new();
        for (name, value) in labels {
            let comma = if text.is_empty() { "" } else { "," };
            let value = value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
            let _ = write!(text, "{comma}{name}=\"{value}\"");
        }
        Self(text)
    }
}

/// Counts and sums. What is written is what is read again.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts(BTreeMap<(usize, Labels, usize), f64>);

impl Counts {
    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Counts one.
    pub fn count(&mut self, metric: usize, labels: Labels) {
        self.add(metric, labels, 1);
    }

    /// Counts `more`.
    #[expect(clippy::cast_precision_loss, reason = "a counter of Prometheus is a float")]
    pub fn add(&mut self, metric: usize, labels: Labels, more: u64) {
        *self.0.entry((metric, labels, 0)).or_default() += more as f64;
    }

    /// Adds a duration to a histogram.
    pub fn observe(&mut self, metric: usize, labels: Labels, duration: Duration) {
        let seconds = duration.as_secs_f64();
        for (part, end) in BUCKETS.iter().enumerate() {
            let is_below = end.parse::<f64>().is_ok_and(|end| seconds <= end);
            *self.0.entry((metric, labels.clone(), part)).or_default() += f64::from(u8::from(is_below));
        }
        *self.0.entry((metric, labels.clone(), SUM)).or_default() += seconds;
        *self.0.entry((metric, labels, COUNT)).or_default() += 1.0;
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: Self) {
        for (series, value) in other.0 {
            *self.0.entry(series).or_default() += value;
        }
    }

    /// The text exposition format, version 0.0.4.
    pub fn text(&self) -> String {
        let mut text = String::with_capacity(4096);
        for (index, metric) in METRICS.iter().enumerate() {
            head(&mut text, metric);
            let mut none = true;
            for ((_, labels, part), value) in
                self.0.range((index, Labels::default(), 0)..(index + 1, Labels::default(), 0))
            {
                none = false;
                line(&mut text, metric, labels, *part, *value);
            }
            // A rate begins at 0, not at its first event.
            if none && [FAIL_OPEN, THROTTLED, LOCKS, STORE_ERRORS].contains(&index) {
                line(&mut text, metric, &Labels::default(), 0, 0.0);
            }
        }
        let info = Metric { name: "countersign_build_info", help: "The version that wrote this.", kind: Kind::Gauge };
        head(&mut text, &info);
        let _ = writeln!(text, "{}{{version=\"{}\"}} 1", info.name, env!("CARGO_PKG_VERSION"));
        text
    }

    /// What stands in `text`, as far as this program could have written it.
    pub fn parse(text: &str) -> Self {
        Self(text.lines().filter_map(entry).collect())
    }
}

/// Writes one gauge.
pub fn gauge(text: &mut String, metric: &Metric, value: usize) {
    head(text, metric);
    let _ = writeln!(text, "{} {value}", metric.name);
}

fn head(text: &mut String, metric: &Metric) {
    let kind = match metric.kind {
        Kind::Counter => "counter",
        Kind::Histogram => "histogram",
        Kind::Gauge => "gauge",
    };
    let _ = writeln!(text, "# HELP {} {}\n# TYPE {} {kind}", metric.name, metric.help, metric.name);
}

fn line(text: &mut String, metric: &Metric, Labels(labels): &Labels, part: usize, value: f64) {
    let suffix = match (metric.kind, part) {
        (Kind::Counter | Kind::Gauge, _) => "",
        (Kind::Histogram, SUM) => "_sum",
        (Kind::Histogram, COUNT) => "_count",
        (Kind::Histogram, _) => "_bucket",
    };
    let end = BUCKETS.get(part).filter(|_| metric.kind == Kind::Histogram);
    let _ = match end {
        Some(end) => writeln!(text, "{}{suffix}{{{labels},le=\"{end}\"}} {value}", metric.name),
        None if labels.is_empty() => writeln!(text, "{}{suffix} {value}", metric.name),
        None => writeln!(text, "{}{suffix}{{{labels}}} {value}", metric.name),
    };
}

/// One line of the text, taken apart.
fn entry(line: &str) -> Option<((usize, Labels, usize), f64)> {
    let (series, value) = line.rsplit_once(' ')?;
    let value = value.parse::<f64>().ok().filter(|value| value.is_finite() && *value >= 0.0)?;
    let (name, labels) = match series.split_once('{') {
        Some((name, labels)) => (name, labels.strip_suffix('}')?),
        None => (series, ""),
    };
    METRICS.iter().enumerate().find_map(|(index, metric)| {
        let suffix = name.strip_prefix(metric.name)?;
        let (labels, part) = match (metric.kind, suffix) {
            (Kind::Counter, "") => (labels, 0),
            (Kind::Histogram, "_sum") => (labels, SUM),
            (Kind::Histogram, "_count") => (labels, COUNT),
            (Kind::Histogram, "_bucket") => {
                let (labels, end) = labels.strip_suffix('"')?.rsplit_once(",le=\"")?;
                (labels, BUCKETS.iter().position(|known| *known == end)?)
            }
            (Kind::Counter | Kind::Histogram | Kind::Gauge, _) => return None,
        };
        Some(((index, Labels(labels.to_owned()), part), value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_added_up() {
        let mut counts = Counts::default();
        counts.count(VERDICTS, Labels::of(&[("kind", "authenticate"), ("client", "http \"a b\"} 1\\\n")]));
        counts.add(LOCKS, Labels::default(), 3);
        counts.count(FAIL_OPEN, Labels::of(&[("client", "duo")]));
        counts.observe(DURATION, Labels::of(&[("client", "totp")]), Duration::from_millis(3));
        counts.observe(DURATION, Labels::of(&[("client", "totp")]), Duration::from_secs(90));
        let text = counts.text();
        let mut read = Counts::parse(&text);
        assert_eq!(Counts::parse(&read.text()), read);
        let counted =
            |counts: &Counts| counts.0.clone().into_iter().filter(|(_, value)| *value > 0.0).collect::<Vec<_>>();
        assert_eq!(counted(&read), counted(&counts), "{text}");
        read.merge(counts.clone());
        let text = read.text();
        for line in [
            "countersign_locks_total 6",
            "countersign_fail_open_total{client=\"duo\"} 2",
            "countersign_verdict_duration_seconds_bucket{client=\"totp\",le=\"0.0025\"} 0",
            "countersign_verdict_duration_seconds_bucket{client=\"totp\",le=\"0.005\"} 2",
            "countersign_verdict_duration_seconds_bucket{client=\"totp\",le=\"60\"} 2",
            "countersign_verdict_duration_seconds_bucket{client=\"totp\",le=\"+Inf\"} 4",
            "countersign_verdict_duration_seconds_count{client=\"totp\"} 4",
            "countersign_store_errors_total 0",
        ] {
            assert!(text.lines().any(|other| other == line), "{line}\n{text}");
        }
    }

    #[test]
    fn what_nobody_wrote_is_passed_over() {
        for line in
            ["", "x 1", "countersign_locks_total NaN", "countersign_locks_total -1", "countersign_locks_total{ 1", "é"]
        {
            assert!(Counts::parse(line).is_empty(), "{line}");
        }
    }
}
