//! One long-lived server over each store, in turns: the embedded one, and PostgreSQL, which many gateways share.

use std::time::Duration;

use crate::Result;
use crate::arguments::Arguments;
use crate::cluster::Cluster;
use crate::installation::Installation;
use crate::report::{Report, count};
use crate::session::Session;
use crate::subscriber::{Order, Roll};
use crate::warm::{HEADER, Tally};

/// Requests in flight.
const WIDTHS: [usize; 3] = [1, 8, 64];

/// A server over one of the stores, and what it did at each width.
struct Side {
    name: &'static str,
    session: Session,
    tallies: [Tally; 3],
}

/// Measures and judges the table of both stores.
pub fn measure(arguments: &Arguments, report: &mut Report) -> Result<()> {
    let what = "shared: both stores";
    let Some(programs) = &arguments.postgres else {
        report.not_measured(what, "no PostgreSQL");
        return Ok(());
    };
    let (subscribers, slices, time) = match arguments.quick {
        true => (6_000, 2, Duration::from_millis(200)),
        false => (40_000, 5, Duration::from_millis(600)),
    };
    let cluster = Cluster::start(programs, &arguments.data.join("cluster"))?;
    let store = format!("store = {}\n", cluster.url());
    let start = |name: &'static str, place: &str, lines: &[(&str, &str)]| -> Result<Side> {
        let roll = Roll::new(subscribers);
        let installation = Installation::with(&arguments.countersign, arguments.data.join(place), &roll, lines, "")?;
        Ok(Side { name, session: Session::start(installation.serve()?, roll)?, tallies: Default::default() })
    };
    let mut sides =
        [start("embedded store", "embedded", &[])?, start("PostgreSQL", "shared", &[(";store = store\n", &store)])?];
    for side in &mut sides {
        // The first of all opens the store; it is not counted.
        side.session.slice(1, Order::Scattered, Duration::from_millis(50))?;
    }
    for _ in 0..slices {
        for (at, width) in WIDTHS.into_iter().enumerate() {
            for side in &mut sides {
                side.slice(at, width, time)?;
            }
        }
    }
    let rows = WIDTHS.iter().enumerate().flat_map(|(at, width)| {
        sides.iter().map(move |side| side.tallies[at].cells(format!("{}, {width} in flight", side.name)))
    });
    let rows: Vec<_> = rows.collect();
    report.table("Both stores: one long-lived process over each", &HEADER, &rows);
    let (answered, accepted) =
        sides.iter().fold((0, 0), |(all, right), side| (all + side.session.answered, right + side.session.accepted));
    report.all("shared: accepted, as the client counts", accepted, answered);
    let [embedded, shared] = &sides;
    for (at, width) in WIDTHS.into_iter().enumerate() {
        let ratio = shared.tallies[at].against(&embedded.tallies[at]);
        report.at_least(&format!("shared: PostgreSQL / embedded, {width} in flight"), ratio, 0.05, "");
    }
    let wide = shared.tallies[2].against(&shared.tallies[0]);
    report.at_least("shared: PostgreSQL, 64 in flight / 1 in flight", wide, 2.0, "");
    let curve = WIDTHS.into_iter().zip(&shared.tallies).map(|(width, tally)| (width as f64, tally.typical_rate()));
    report.plot.rates("countersign, PostgreSQL", curve.collect());
    for side in sides {
        let peak = side.session.peak_kib()?;
        println!("Peak memory of the server over the {}: {} KiB.", side.name, count(peak as f64));
        side.session.end()?;
    }
    Ok(())
}

impl Side {
    fn slice(&mut self, at: usize, width: usize, time: Duration) -> Result<()> {
        let before = self.session.cpu()?;
        let slice = self.session.slice(width, Order::Scattered, time)?;
        *self.tallies[at].cpu.get_or_insert_default() += self.session.cpu()? - before;
        self.tallies[at].add(slice.rate, slice.nanoseconds);
        Ok(())
    }
}
