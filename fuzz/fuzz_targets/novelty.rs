//! Signatures and novelty: matches quote the log, and a log has nothing new against itself.

#![no_main]

use explain::{novelty, signature};
use fuzz::texts;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| {
    let [failed, green] = texts(input);
    assert!(novelty::new_lines(failed, failed).is_empty());
    let new = novelty::new_lines(failed, green);
    let lines = failed.lines().count();
    assert!(new.iter().all(|line| (1..=lines).contains(&line.number)));
    assert!(new.iter().all(|line| !line.text.contains(['\u{1b}', '\n', '\r'])));
    let numbers: Vec<usize> = new.iter().map(|line| line.number).collect();
    for found in signature::matches(failed, &numbers) {
        assert!((1..=lines).contains(&found.line));
        assert!(!found.cause.is_empty() && !found.help.is_empty());
        assert!(found.text.chars().all(|c| !c.is_control() || c == '\t'), "{:?}", found.text);
        assert_eq!(found.is_new, numbers.contains(&found.line));
    }
});
