//! Expositions: errors lie within the text, and what OpenMetrics allows the older format's reader
//! does not choke on.

#![no_main]

use libfuzzer_sys::fuzz_target;
use series::exposition::{Format, read};

fuzz_target!(|text: &str| {
    for format in [Format::OpenMetrics, Format::OpenMetricsUnjudged, Format::Text] {
        if let Err(error) = read(text, format) {
            assert!(error.line >= 1 && error.line <= text.split('\n').count().max(1), "{error}");
            assert!(error.column >= 1, "{error}");
        }
    }
});
