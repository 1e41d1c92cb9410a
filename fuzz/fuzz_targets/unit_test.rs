//! Unit tests of rules: findings point into the file, and whatever is accepted can be run.

#![no_main]

use std::time::Duration;

use fuzz::{Ground, PATH};
use libfuzzer_sys::fuzz_target;
use source::rules::unit_test;

fuzz_target!(|text: &str| {
    let ground = Ground::new(text);
    let (file, findings) = unit_test::read(PATH, text);
    ground.hold(&findings);
    let Some(mut file) = file else { return };
    // Long tests are run as they are meant to; here they would only take time.
    file.evaluation_interval = Some(Duration::from_mins(1));
    file.tests.retain(|test| {
        let ends = test.alerts.iter().map(|test| test.at);
        ends.chain(test.queries.iter().map(|test| test.at)).all(|at| at < Duration::from_hours(1))
            && test.series.iter().all(|series| series.values.text.len() < 200)
    });
    let (_, findings) = watch::rule::unit_test::run(PATH, &file, &[], |_| true);
    ground.hold(&findings);
});
