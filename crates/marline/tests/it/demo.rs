//! The tour: one command, a good release, a bad one, the roll-back, the words.

use std::process::Command;

fn demo(words: &[&str]) -> (Option<i32>, serde_json::Value) {
    let directory = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_marline"))
        .args(["demo", "--json"])
        .args(words)
        .current_dir(directory.path())
        .env("TMPDIR", directory.path())
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let last = out.lines().last().unwrap_or_default();
    let left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().collect();
    assert!(left.is_empty(), "nothing is left behind: {left:?}");
    let summary = serde_json::from_str(last).unwrap_or_else(|_| {
        panic!("{out}\n{}", String::from_utf8_lossy(&output.stderr));
    });
    (output.status.code(), summary)
}

#[test]
fn the_tour_rolls_the_bad_release_back_and_loses_no_request_on_the_good_one() {
    let (code, last) = demo(&[]);
    let summary = &last["summary"];
    assert_eq!(code, Some(0), "{last}");
    assert!(summary["requests"].as_u64().unwrap() > 500, "{last}");
    assert_eq!(summary["failed_while_good"], 0, "{last}");
    assert!((1..=40).contains(&summary["failed"].as_u64().unwrap()), "{last}");
    assert!(summary["rolled_back_after_seconds"].as_f64().unwrap() < 30.0, "{last}");
    assert!(summary["incident"].as_u64().unwrap() >= 1, "{last}");
    assert!(!summary["why"].as_str().unwrap().is_empty(), "{last}");
}

#[test]
fn the_tour_works_without_python() {
    let (code, last) = demo(&["--without-python"]);
    assert_eq!(code, Some(0), "{last}");
}
