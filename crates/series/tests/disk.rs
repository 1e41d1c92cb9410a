//! A store on disk keeps what it was given, whatever happens to it.

#![allow(clippy::float_cmp, reason = "what is kept is given back exactly")]

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;
use series::disk::{Durability, Rollup, Settings};
use series::{Labels, Matcher, Millis, Op, Row, Series, Store};

const MINUTE: Millis = 60_000;
const HOUR: Millis = 60 * MINUTE;

fn settings() -> Settings {
    Settings { threads: false, free: 0.0, ..Settings::default() }
}

fn open(directory: &Path) -> Store {
    Store::open(directory, settings()).expect("open the store")
}

fn labels(series: usize) -> Labels {
    let job = if series.is_multiple_of(2) { "even" } else { "odd" };
    Labels::metric("requests_total", [("job", job), ("instance", &series.to_string())])
}

/// Rows of some series, one sample a minute.
fn rows(series: usize, minutes: std::ops::Range<i64>) -> Vec<Row> {
    let of = move |minute: i64| {
        (0..series).map(move |number| {
            Row::new(labels(number), minute * MINUTE, (minute * (number as i64 + 1)) as f64)
        })
    };
    minutes.flat_map(of).collect()
}

fn all(store: &Store) -> Vec<Series> {
    store.select(&[], Millis::MIN, Millis::MAX).expect("select")
}

fn count(store: &Store) -> usize {
    all(store).iter().map(|series| series.samples.len()).sum()
}

fn blocks(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory.join("blocks")).expect("list the blocks");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

#[test]
fn samples_are_there_after_a_restart_from_the_log_the_checkpoint_and_blocks() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    let store = open(path);
    store.append(rows(10, 0..600)).expect("append");
    let before = all(&store);
    assert_eq!(before.len(), 10);
    assert_eq!(count(&store), 6000);
    drop(store);

    let store = open(path);
    assert_eq!(all(&store), before, "from the log");
    store.disk().expect("on disk").tend();
    assert!(!blocks(path).is_empty());
    assert_eq!(all(&store), before, "from blocks and head");
    drop(store);

    let store = open(path);
    assert_eq!(all(&store), before, "from blocks and checkpoint");
    store.append(rows(10, 600..610)).expect("append");
    assert_eq!(count(&store), 6100);
}

#[test]
fn a_second_process_cannot_open_the_same_directory() {
    let directory = tempfile::tempdir().expect("a directory");
    let _store = open(directory.path());
    let Err(error) = Store::open(directory.path(), settings()) else {
        panic!("opened twice");
    };
    assert!(error.to_string().contains("another process writes there"), "{error}");
}

#[test]
fn late_samples_are_kept_within_the_window_and_refused_before_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path());
    store.append(rows(1, 0..300)).expect("append");
    store.disk().expect("on disk").tend();
    let late = Row::new(labels(0), 290 * MINUTE + 1, 7.0);
    let replaced = Row::new(labels(0), 280 * MINUTE, 8.0);
    let too_late = Row::new(labels(0), 10 * MINUTE + 1, 9.0);
    let appended = store.append([late, replaced, too_late]).expect("append");
    assert_eq!((appended.kept, appended.out_of_order), (2, 1));
    assert_eq!((appended.replaced, appended.too_old), (1, 1));
    let series = store.select(&[], 280 * MINUTE, 280 * MINUTE).expect("select");
    assert_eq!(series[0].samples[0].value, 8.0);
    assert_eq!(count(&store), 301);
}

#[test]
fn matchers_find_the_same_series_in_blocks_as_in_the_head() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path());
    store.append(rows(20, 0..400)).expect("append");
    let matchers = [
        Matcher::equal("job", "odd"),
        Matcher::new("instance", Op::Matches, "1.*|4").expect("a pattern"),
        Matcher::new("instance", Op::NotMatches, "1[0-5]").expect("a pattern"),
        Matcher::new("job", Op::NotEqual, "odd").expect("a matcher"),
        Matcher::equal("nothing", ""),
        Matcher::equal("job", ""),
    ];
    let ask = |store: &Store| -> Vec<Vec<Series>> {
        let pairs = matchers.iter().flat_map(|a| matchers.iter().map(move |b| [a, b]));
        pairs
            .map(|pair| {
                let pair = pair.map(Clone::clone);
                store.select(&pair, 30 * MINUTE, 330 * MINUTE).expect("select")
            })
            .collect()
    };
    let in_head = ask(&store);
    store.disk().expect("on disk").tend();
    assert!(!blocks(directory.path()).is_empty());
    assert_eq!(ask(&store), in_head);
    let labels = store.labels(&[Matcher::equal("job", "odd")], 0, 10 * MINUTE).expect("labels");
    assert_eq!(labels.len(), 10);
}

#[test]
fn blocks_become_larger_and_a_day_gets_coarse_numbers() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path());
    for hour in 0..30 {
        store.append(rows(4, hour * 60..(hour + 1) * 60)).expect("append");
        store.disk().expect("on disk").tend();
    }
    let layout = store.disk().expect("on disk").layout();
    assert!(layout.blocks <= 3, "{layout:?}");
    assert_eq!(layout.coarse_blocks, 1, "{layout:?}");
    assert_eq!(count(&store), 4 * 30 * 60);

    let disk = store.disk().expect("on disk");
    let odd = [Matcher::equal("instance", "1")];
    let sums = disk.coarse(Rollup::Sum, &odd, 10 * HOUR, 11 * HOUR).expect("coarse");
    assert_eq!(sums.len(), 1);
    assert_eq!(sums[0].labels, labels(1));
    // The five minutes that end at ten: 596 to 600, each twice.
    assert_eq!((sums[0].samples[0].at, sums[0].samples[0].value), (10 * HOUR, 2.0 * 2990.0));
    let grown = disk.coarse(Rollup::Increase, &odd, 10 * HOUR, 11 * HOUR).expect("coarse");
    assert!(grown[0].samples.iter().all(|sample| sample.value == 10.0));
    // Nobody sees them who did not ask.
    assert!(all(&store).iter().all(|series| series.labels.get("__rollup__").is_empty()));
}

#[test]
fn retention_drops_the_oldest_blocks_by_time_and_by_bytes() {
    let directory = tempfile::tempdir().expect("a directory");
    let few_hours = Settings { retention: Duration::from_hours(10), ..settings() };
    let store = Store::open(directory.path(), few_hours).expect("open");
    for hour in 0..40 {
        store.append(rows(4, hour * 60..(hour + 1) * 60)).expect("append");
        store.disk().expect("on disk").tend();
    }
    let oldest = all(&store).iter().map(|series| series.samples[0].at).min().expect("samples");
    assert!(oldest >= 29 * HOUR, "kept from {oldest}");
    let held = store.disk().expect("on disk").layout();
    drop(store);

    let few_bytes = Settings { bytes: Some(held.block_bytes / 2), ..settings() };
    let store = Store::open(directory.path(), few_bytes).expect("open");
    store.disk().expect("on disk").tend();
    let left = store.disk().expect("on disk").layout();
    assert!(left.blocks < held.blocks, "{left:?}");
    assert!(left.block_bytes <= held.block_bytes / 2 || left.blocks == 1, "{left:?}");
}

#[test]
fn what_was_deleted_stays_deleted() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path());
    store.append(rows(4, 0..400)).expect("append");
    store.disk().expect("on disk").tend();
    let odd = [Matcher::equal("job", "odd")];
    let disk = store.disk().expect("on disk");
    disk.delete(&odd, 50 * MINUTE, 390 * MINUTE).expect("delete");
    let expected = 4 * 400 - 2 * 341;
    assert_eq!(count(&store), expected);
    // The same time may be written again where the window is still open.
    store.append([Row::new(labels(1), 380 * MINUTE, 1.0)]).expect("append");
    assert_eq!(count(&store), expected + 1);
    drop(store);
    assert_eq!(count(&open(directory.path())), expected + 1);
}

#[test]
fn a_series_that_would_be_one_too_many_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let few = Settings { series: 3, ..settings() };
    let store = Store::open(directory.path(), few).expect("open");
    let appended = store.append(rows(5, 0..2)).expect("append");
    assert_eq!((appended.kept, appended.too_many), (6, 4));
}

#[test]
fn a_torn_tail_of_the_log_is_cut_and_told_and_what_comes_next_is_kept() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path());
    for minute in 0..10 {
        store.append(rows(3, minute..minute + 1)).expect("append");
    }
    drop(store);
    let log = directory.path().join("wal-00000001");
    let length = std::fs::metadata(&log).expect("the log").len();
    let file = std::fs::OpenOptions::new().write(true).open(&log).expect("open the log");
    file.set_len(length - 3).expect("tear");
    drop(file);

    let store = open(directory.path());
    let recovery = store.disk().expect("on disk").recovery();
    assert!(recovery.torn > 0 && recovery.broken == 0, "{recovery:?}");
    assert_eq!(count(&store), 27);
    store.append(rows(3, 9..11)).expect("append");
    drop(store);
    let store = open(directory.path());
    assert_eq!(store.disk().expect("on disk").recovery().torn, 0);
    assert_eq!(count(&store), 33);
}

#[test]
fn one_flipped_bit_anywhere_costs_at_most_what_it_lies_in_and_invents_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path());
    store.append(rows(6, 0..600)).expect("append");
    store.disk().expect("on disk").tend();
    store.append(rows(6, 600..620)).expect("append");
    let truth = all(&store);
    drop(store);

    let mut files = Vec::new();
    for block in blocks(directory.path()) {
        files.extend(["chunks", "index", "meta.json"].map(|file| block.join(file)));
    }
    for entry in std::fs::read_dir(directory.path()).expect("list") {
        let path = entry.expect("an entry").path();
        if path.is_file() && path.file_name().is_some_and(|name| name != "lock") {
            files.push(path);
        }
    }
    let mut seen_damage = 0;
    for path in files {
        let relative = path.strip_prefix(directory.path()).expect("inside");
        let length = std::fs::metadata(&path).expect("the file").len();
        for place in (0..length).step_by((length as usize / 6).max(1)) {
            let copy = tempfile::tempdir().expect("a directory");
            copy_tree(directory.path(), copy.path());
            let broken = copy.path().join(relative);
            let file = std::fs::OpenOptions::new().read(true).write(true).open(&broken);
            let file = file.expect("open the file");
            let mut byte = [0];
            file.read_exact_at(&mut byte, place).expect("read a byte");
            file.write_all_at(&[byte[0] ^ 0x10], place).expect("flip a bit");
            drop(file);

            let store = open(copy.path());
            let left = all(&store);
            let mut missing = 0;
            for series in &truth {
                let own = left.iter().find(|own| own.labels == series.labels);
                let own = own.map_or(&[][..], |own| &own.samples);
                assert!(own.iter().all(|sample| series.samples.contains(sample)), "{relative:?}");
                missing += series.samples.len() - own.len();
            }
            assert!(left.len() <= truth.len());
            assert!(missing < count(&open(directory.path())), "{relative:?} at {place}: all lost");
            let disk = store.disk().expect("on disk");
            let told = disk.layout().damaged_chunks > 0
                || disk.recovery().broken + disk.recovery().torn > 0
                || !disk.recovery().set_aside.is_empty();
            assert!(missing == 0 || told, "{relative:?} at {place}: {missing} lost in silence");
            seen_damage += usize::from(told);
            // What is left goes on being a store.
            store.append(rows(6, 620..622)).expect("append");
            disk.tend();
        }
    }
    assert!(seen_damage > 20, "{seen_damage}");
}

fn copy_tree(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("list") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            std::fs::create_dir_all(&target).expect("make a directory");
            copy_tree(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copy");
        }
    }
}

#[test]
fn appends_that_wait_for_the_disk_wait_together_and_lose_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let careful = Settings { durability: Durability::Power, ..settings() };
    let store = Store::open(directory.path(), careful).expect("open");
    std::thread::scope(|scope| {
        for series in 0..8 {
            let store = &store;
            scope.spawn(move || {
                for minute in 0..40 {
                    let row = Row::new(labels(series), minute * MINUTE, minute as f64);
                    store.append([row]).expect("append");
                }
            });
        }
    });
    assert_eq!(count(&store), 320);
    drop(store);
    assert_eq!(count(&open(directory.path())), 320);
}

#[test]
fn questions_during_a_flush_miss_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path());
    store.append(rows(20, 0..1000)).expect("append");
    std::thread::scope(|scope| {
        let flushing = scope.spawn(|| store.disk().expect("on disk").tend());
        loop {
            let is_over = flushing.is_finished();
            assert_eq!(count(&store), 20_000);
            if is_over {
                break;
            }
        }
    });
}

/// What a store may be asked to do.
#[derive(Debug, Clone)]
enum Step {
    Append(Vec<(usize, i64, u32)>),
    Delete(usize, i64, i64),
    Tend,
    Checkpoint,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let row = (0usize..4, 0i64..60, 0u32..5);
    prop_oneof![
        6 => prop::collection::vec(row, 1..40).prop_map(Step::Append),
        1 => (0usize..4, 0i64..600, 0i64..100).prop_map(|(s, from, n)| Step::Delete(s, from, n)),
        2 => Just(Step::Tend),
        1 => Just(Step::Checkpoint),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn a_store_on_disk_is_a_map_of_samples(steps in prop::collection::vec(step(), 1..40)) {
        let directory = tempfile::tempdir().expect("a directory");
        let mut store = open(directory.path());
        let mut model: BTreeMap<(usize, Millis), f64> = BTreeMap::new();
        let mut now = 0i64;
        for step in steps {
            match step {
                Step::Append(rows) => {
                    now += 30;
                    for (series, offset, value) in rows {
                        // Some late, most not; a minute may come twice.
                        let at = (now + offset) * MINUTE;
                        let row = Row::new(labels(series), at, f64::from(value));
                        let appended = store.append([row]).expect("append");
                        if appended.kept == 1 {
                            model.insert((series, at), f64::from(value));
                        } else {
                            prop_assert_eq!(appended.too_old, 1);
                        }
                    }
                }
                Step::Delete(series, from, length) => {
                    let (from, to) = (from * MINUTE, (from + length) * MINUTE);
                    let which = [Matcher::equal("instance", series.to_string())];
                    store.disk().expect("on disk").delete(&which, from, to).expect("delete");
                    model.retain(|(own, at), _| *own != series || *at < from || *at > to);
                }
                Step::Tend => store.disk().expect("on disk").tend(),
                Step::Checkpoint => store.disk().expect("on disk").checkpoint().expect("write"),
                Step::Restart => {
                    drop(store);
                    store = open(directory.path());
                }
            }
            let mut found = BTreeMap::new();
            for series in all(&store) {
                let number: usize = series.labels.get("instance").parse().expect("a number");
                found.extend(series.samples.iter().map(|s| ((number, s.at), s.value)));
            }
            prop_assert_eq!(&found, &model);
        }
    }
}
