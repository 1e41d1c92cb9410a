//! Questions to the series.
