//! `[metrics]`: where figures for Prometheus are put. Read only where it stands.

use std::path::PathBuf;

use super::Config;
use super::declare::{self, SectionDeclaration};
use super::ini::Section;
use super::mistake::Mistakes;
use super::value::Optional;

options! {
    /// `[metrics]`.
    MetricsOptions {
        /// A file for the textfile collector of node_exporter, such as /var/lib/prometheus/node-exporter/countersign.prom. All
        /// processes of this configuration add to it. The user that serves makes files in its directory.
        file: Optional<PathBuf> = "";
        /// A Unix socket at which a process that has lived for a second answers GET /metrics.
        socket: Optional<PathBuf> = "";
    }
}

/// `[metrics]`, as it is declared.
pub static METRICS_DECLARED: SectionDeclaration = SectionDeclaration {
    name: "metrics",
    doc: &[
        " Figures for Prometheus (docs/metrics.md): what was decided, how long it took, which services failed. No names.",
    ],
    options: MetricsOptions::OPTIONS,
    shared: &[],
};

impl MetricsOptions {
    /// What stands in `sections` of it.
    pub fn of(sections: &[Section], mistakes: &mut Mistakes) -> Option<Box<Self>> {
        let section = sections.iter().find(|section| section.name == METRICS_DECLARED.name)?;
        declare::refuse_unknown_options(section, Self::OPTIONS.iter(), mistakes);
        let read = Self::read(Some(section), mistakes)?;
        if read.file.0.is_none() && read.socket.0.is_none() {
            let text = "[metrics]: names neither a file nor a socket; write file = PATH or socket = PATH, or remove the section";
            mistakes.at_line(section.line, text);
        }
        Some(Box::new(read))
    }
}

impl Config {
    /// `[metrics]`, where it stands.
    pub fn metrics(&self) -> Option<&MetricsOptions> {
        self.metrics.as_deref()
    }
}
