//! `GITHUB_ENV` and its like: what was read says the same when it is written again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pipeline::file_command::{read_pairs, read_paths};

fuzz_target!(|text: &str| {
    assert!(read_paths(text).iter().all(|path| !path.is_empty() && !path.contains('\n')));
    let Ok(pairs) = read_pairs(text) else { return };
    let mut written = String::new();
    for (name, value) in &pairs {
        assert!(!name.is_empty() && !name.contains('\n'));
        // Longer than any line, so that no line of the value is the delimiter.
        let delimiter = "x".repeat(text.len() + 1);
        written.push_str(&format!("{name}<<{delimiter}\n{value}\n{delimiter}\n"));
    }
    // A byte order mark is taken off the beginning only once, and `A<` would meet its own `<<`.
    if !written.starts_with('\u{feff}') && !pairs.iter().any(|(name, _)| name.ends_with('<')) {
        assert_eq!(read_pairs(&written), Ok(pairs));
    }
});
