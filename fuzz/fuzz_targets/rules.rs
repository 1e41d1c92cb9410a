//! Rule files: findings point into the file, and whatever is accepted can be evaluated.

#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use fuzz::{Ground, PATH};
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use series::{Labels, Row, Store};
use watch::rule::Rules;

fuzz_target!(|text: &str| {
    let ground = Ground::new(text);
    let (file, findings) = source::rules::read(PATH, text);
    ground.hold(&findings);
    let Some(file) = file else { return };
    let (mut rules, findings) = Rules::new(PATH, &file, Duration::from_secs(15));
    ground.hold(&findings);
    for second in [600, 700, 60_000] {
        let now = Timestamp::from_second(second).expect("is a time");
        let evaluated = rules.evaluate(&STORE, now);
        for change in &evaluated.changes {
            let _ = change.recorded();
        }
    }
    let _ = (rules.due(), rules.active().count());
});

static STORE: LazyLock<Store> = LazyLock::new(|| {
    let store = Store::default();
    let rows = (0..40).map(|step| {
        let labels = Labels::metric("up", [("job", "web"), ("instance", "web-1")]);
        Row::new(labels, step * 15_000, (step % 2) as f64)
    });
    store.append(rows).expect("is in memory");
    store
});
