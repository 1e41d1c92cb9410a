//! Lines of logs: a line that is read is written as it was understood.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pipeline::log::Line;

fuzz_target!(|text: &str| {
    for line in text.lines() {
        if let Some(read) = Line::parse(line) {
            let written = read.to_string();
            assert!(!written.contains('\n'));
            assert_eq!(Line::parse(&written), Some(read));
        }
    }
});
