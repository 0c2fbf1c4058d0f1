//! What is printed: tables, and a list of targets with a verdict on each.

use std::fmt::Display;

use crate::plot::Plot;

/// Everything that was promised and what became of it.
#[derive(Default)]
pub struct Report {
    /// What is drawn.
    pub plot: Plot,
    targets: Vec<Target>,
    /// Something in this section was not done as it should be, so no figure of it counts.
    void: bool,
}

struct Target {
    what: String,
    limit: String,
    measured: String,
    best: String,
    verdict: Verdict,
}

#[derive(Clone, Copy, PartialEq)]
enum Verdict {
    Pass,
    Fail,
    NotMeasured,
}

/// A measured figure as the gate sees it, and the same from the best runs alone, where that means something.
#[derive(Clone, Copy)]
pub struct Figure {
    /// From medians. This one decides.
    pub typical: f64,
    /// From the quickest run or slice of each side: what remains when the machine's noise is taken away.
    pub best: Option<f64>,
}

impl From<f64> for Figure {
    fn from(typical: f64) -> Figure {
        Figure { typical, best: None }
    }
}

impl Report {
    /// Begins a section: what went wrong before does not concern it.
    pub fn begin(&mut self) {
        self.void = false;
    }

    /// Prints a section's heading and table. The first column is text, the others are numbers.
    pub fn table(&self, title: &str, header: &[&str], rows: &[Vec<String>]) {
        println!("\n### {title}\n");
        print_table(header, rows);
    }

    /// `what` must not exceed `limit`.
    pub fn at_most(&mut self, what: &str, figure: impl Into<Figure>, limit: f64, unit: &str) {
        let figure = figure.into();
        let verdict = verdict(!self.void && figure.typical <= limit);
        self.add(what, figure, format!("<= {}", number(limit, unit)), unit, verdict);
    }

    /// `what` must reach `limit`.
    pub fn at_least(&mut self, what: &str, figure: impl Into<Figure>, limit: f64, unit: &str) {
        let figure = figure.into();
        let verdict = verdict(!self.void && figure.typical >= limit);
        self.add(what, figure, format!(">= {}", number(limit, unit)), unit, verdict);
    }

    /// `done` of `all` must be all, and not nothing; else the section's later targets fail too.
    pub fn all(&mut self, what: &str, done: usize, all: usize) {
        let held = done == all && all > 0;
        self.void |= !held;
        self.targets.push(Target {
            what: what.to_owned(),
            limit: "all".to_owned(),
            measured: format!("{done}/{all}"),
            best: String::new(),
            verdict: verdict(held),
        });
    }

    /// `what` could not be measured here.
    pub fn not_measured(&mut self, what: &str, why: &str) {
        self.targets.push(Target {
            what: what.to_owned(),
            limit: String::new(),
            measured: why.to_owned(),
            best: String::new(),
            verdict: Verdict::NotMeasured,
        });
    }

    /// Prints the targets and says whether none was missed.
    pub fn conclude(&self) -> bool {
        let rows: Vec<Vec<String>> = self.targets.iter().map(Target::row).collect();
        self.table("Targets", &["target", "limit", "measured", "by the best", "verdict"], &rows);
        self.targets.iter().all(|target| target.verdict != Verdict::Fail)
    }

    fn add(&mut self, what: &str, figure: Figure, limit: String, unit: &str, verdict: Verdict) {
        self.targets.push(Target {
            what: what.to_owned(),
            limit,
            measured: number(figure.typical, unit),
            best: figure.best.map_or(String::new(), |best| number(best, unit)),
            verdict,
        });
    }
}

impl Target {
    fn row(&self) -> Vec<String> {
        let verdict = match self.verdict {
            Verdict::Pass => "PASS",
            Verdict::Fail => "**FAIL**",
            Verdict::NotMeasured => "not measured",
        };
        [&self.what, &self.limit, &self.measured, &self.best, verdict].map(str::to_owned).to_vec()
    }
}

fn verdict(held: bool) -> Verdict {
    if held { Verdict::Pass } else { Verdict::Fail }
}

fn print_table(header: &[&str], rows: &[Vec<String>]) {
    let width = |column: usize| {
        rows.iter().map(|row| row[column].chars().count()).chain([header[column].len(), 3]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    print_row(header, &widths);
    let rule = |(column, &width): (usize, &usize)| match column {
        0 => "-".repeat(width),
        _ => format!("{}:", "-".repeat(width - 1)),
    };
    let rules: Vec<String> = widths.iter().enumerate().map(rule).collect();
    print_row(&rules, &widths);
    for row in rows {
        print_row(row, &widths);
    }
}

fn print_row(cells: &[impl Display + AsRef<str>], widths: &[usize]) {
    print!("|");
    for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
        match column {
            0 => print!(" {cell:<width$} |"),
            _ => print!(" {cell:>width$} |"),
        }
    }
    println!();
}

/// A count with a comma before each three digits.
pub fn count(value: f64) -> String {
    if !value.is_finite() {
        return "-".to_owned();
    }
    let digits = format!("{:.0}", value);
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A figure with as many decimals as it deserves, and its unit.
fn number(value: f64, unit: &str) -> String {
    let figure = match value.abs() {
        size if size >= 1000.0 => count(value),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    };
    match unit {
        "" => figure,
        unit => format!("{figure} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped() {
        assert_eq!(["0", "999", "1,000", "1,234,567"].map(str::to_owned), [0.0, 999.0, 1000.0, 1_234_567.0].map(count));
    }

    #[test]
    fn one_missed_target_is_a_failure() {
        let mut report = Report::default();
        report.at_most("a", 1.0, 1.0, "");
        report.not_measured("b", "no valgrind");
        assert!(report.conclude());
        report.at_least("c", 0.9, 1.0, "");
        assert!(!report.conclude());
    }

    #[test]
    fn nothing_measured_meets_no_target() {
        let mut report = Report::default();
        report.at_most("a", f64::NAN, 1.0, "");
        assert!(!report.conclude());
    }

    #[test]
    fn one_wrong_verdict_voids_the_section() {
        let mut report = Report::default();
        report.all("a", 9, 10);
        report.at_most("b", 0.5, 1.0, "");
        assert!(report.targets[1].verdict == Verdict::Fail);
        report.begin();
        report.at_most("c", 0.5, 1.0, "");
        assert!(report.targets[2].verdict == Verdict::Pass);
    }
}
