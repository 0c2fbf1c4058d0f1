//! Medians and their like.

/// A set of measurements, in order of size.
pub struct Sorted(Vec<f64>);

impl Sorted {
    /// Sorts the measurements.
    pub fn new(values: impl IntoIterator<Item = f64>) -> Sorted {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        Sorted(values)
    }

    /// The value that `share` (0 to 1) of the measurements do not exceed; not a number when there are none.
    pub fn quantile(&self, share: f64) -> f64 {
        let rank = (self.0.len() as f64 * share).ceil() as usize;
        self.0.get(rank.max(1) - 1).or(self.0.last()).copied().unwrap_or(f64::NAN)
    }

    /// The middle of the measurements.
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The smallest.
    pub fn min(&self) -> f64 {
        self.quantile(0.0)
    }

    /// The largest.
    pub fn max(&self) -> f64 {
        self.quantile(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_measurements() {
        let sorted = Sorted::new([4.0, 1.0, 3.0, 2.0]);
        assert_eq!([sorted.min(), sorted.median(), sorted.quantile(0.95), sorted.max()], [1.0, 2.0, 4.0, 4.0]);
        assert!(Sorted::new([]).median().is_nan());
    }
}
