//! What is drawn of a run: verdicts by second over requests in flight, and memory over pushes that wait.

use std::path::Path;

use plotters::prelude::*;

use crate::Result;

/// Points of one line: where, and how much.
type Curve = Vec<(f64, f64)>;

/// What there is to draw.
#[derive(Default)]
pub struct Plot {
    rates: Vec<(&'static str, Curve)>,
    memory: Curve,
}

impl Plot {
    /// Verdicts by second of `name` at so many requests in flight.
    pub fn rates(&mut self, name: &'static str, curve: Curve) {
        self.rates.push((name, curve));
    }

    /// MiB at the peak with so many pushes waiting.
    pub fn memory(&mut self, curve: Curve) {
        self.memory = curve;
    }

    /// Draws it into the SVG file `path`.
    pub fn draw(&self, path: &Path) -> Result<()> {
        let area = SVGBackend::new(path, (1000, 420)).into_drawing_area();
        area.fill(&WHITE)?;
        let (left, right) = area.split_horizontally(600);
        let top = |curves: &mut dyn Iterator<Item = &(f64, f64)>| curves.map(|point| point.1).fold(1.0, f64::max) * 1.3;
        if !self.rates.is_empty() {
            let most = top(&mut self.rates.iter().flat_map(|(_, curve)| curve));
            let mut chart = ChartBuilder::on(&left)
                .caption("Verdicts or commits a second, each durable", ("sans-serif", 18))
                .margin(12)
                .x_label_area_size(40)
                .y_label_area_size(80)
                .build_cartesian_2d((0.9_f64..80.0).log_scale(), (100.0..most).log_scale())?;
            chart
                .configure_mesh()
                .x_desc("in flight, or rows to a commit")
                .x_label_formatter(&|x| format!("{x:.0}"))
                .y_label_formatter(&|y| format!("{y:.0}"))
                .draw()?;
            for (at, (name, curve)) in self.rates.iter().enumerate() {
                let color = Palette99::pick(at).to_rgba();
                chart
                    .draw_series(LineSeries::new(curve.iter().copied(), color.stroke_width(2)).point_size(4))?
                    .label(*name)
                    .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2)));
            }
            chart
                .configure_series_labels()
                .position(SeriesLabelPosition::LowerRight)
                .background_style(WHITE.mix(0.8))
                .border_style(BLACK.mix(0.3))
                .draw()?;
        }
        if !self.memory.is_empty() {
            let most = top(&mut self.memory.iter());
            let last = self.memory.iter().map(|point| point.0).fold(1.0, f64::max);
            let mut chart = ChartBuilder::on(&right)
                .caption("Peak memory (MiB) by pushes that wait", ("sans-serif", 18))
                .margin(12)
                .x_label_area_size(40)
                .y_label_area_size(50)
                .build_cartesian_2d(0.0..last * 1.05, 0.0..most)?;
            chart
                .configure_mesh()
                .x_labels(5)
                .x_desc("pushes that wait")
                .x_label_formatter(&|x| format!("{x:.0}"))
                .y_label_formatter(&|y| format!("{y:.0}"))
                .draw()?;
            let color = Palette99::pick(1).to_rgba();
            chart.draw_series(LineSeries::new(self.memory.iter().copied(), color.stroke_width(2)).point_size(4))?;
        }
        area.present()?;
        Ok(())
    }
}
