//! How many of Prometheus's own cases we answer as Prometheus does.
//!
//! The data is read in place; without it a test says so and passes.

mod script;

use scoreboard::Suite;
use script::{Ground, Script};

/// Runs all scripts and shows the cases that stand on one ground.
fn run(test: &str, name: &'static str, ground: Ground, bar: f64) {
    let Some(folder) = scoreboard::data(test, "watch/promqltest") else { return };
    let mut suite = Suite::new(name);
    for path in scoreboard::files(&folder, &["test"]) {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).expect("a readable script");
        for (case, found, outcome) in Script::run(&file, &text) {
            if found == ground {
                suite.case(case, outcome);
            }
        }
    }
    suite.must_pass(bar);
}

#[test]
fn promqltest_float() {
    run("promqltest_float", "promqltest-float", Ground::Float, 100.0);
}

#[test]
fn promqltest_experimental() {
    run("promqltest_experimental", "promqltest-experimental", Ground::Experimental, 100.0);
}

#[test]
fn promqltest_native_histograms() {
    run("promqltest_native_histograms", "promqltest-native-histograms", Ground::Native, 95.0);
}
