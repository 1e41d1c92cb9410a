//! Results of tests: whatever tools print or leave in files is read or passed over, within bounds.

#![no_main]

use std::path::Path;

use fuzz::texts;
use libfuzzer_sys::fuzz_target;
use pipeline::report::{Printed, Tests, read_file};

fn hold(tests: &Tests, lines: usize) {
    // No reader makes more of a text than it has elements.
    assert!(tests.list.len() <= lines + 1);
    for test in &tests.list {
        assert!(test.message.chars().count() <= 2001 && test.name.chars().count() <= 2001);
    }
}

fuzz_target!(|input: &str| {
    let [printed, file] = texts::<2>(input);
    let mut reader = Printed::default();
    printed.lines().for_each(|line| reader.line(line));
    let found = reader.finish();
    hold(&found, printed.lines().count());
    for name in ["a.xml", "a.tap", "a.json"] {
        if let Some(tests) = read_file(Path::new(name), file) {
            hold(&tests, file.matches(['<', '\n']).count() + 1);
            let _ = found.clone().with_files(tests);
        }
    }
});
