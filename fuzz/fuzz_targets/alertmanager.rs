//! Alertmanager's files: findings point into the file, and every alert finds somebody.

#![no_main]

use fuzz::{Ground, PATH};
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use source::alertmanager;

fuzz_target!(|text: &str| {
    let ground = Ground::new(text);
    let (config, findings) = alertmanager::read(PATH, text);
    ground.hold(&findings);
    if let Err(error) = alertmanager::matcher::parse(text) {
        assert!(text.get(error.at..).is_some());
    }
    let (_, findings) = alertmanager::forward::read(PATH, text);
    ground.hold(&findings);
    let Some(config) = config else { return };
    for value in ["", "page", text.get(..4).unwrap_or("x")] {
        // A root with matchers is refused, and then it takes only what fits.
        let routes = config.routes_of(&|_| value.to_owned());
        assert!(!routes.is_empty() || !config.route.matchers.is_empty());
    }
    for seconds in [0, 1_709_164_800, 4_000_000_000] {
        let at = Timestamp::from_second(seconds).expect("is a time");
        let _ = config.intervals.iter().filter(|interval| interval.is_on(at)).count();
    }
});
