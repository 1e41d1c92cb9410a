//! Problem matchers and `GITHUB_ARTIFACTS`: what is found has a message and was in the lines.

#![no_main]

use fuzz::texts;
use libfuzzer_sys::fuzz_target;
use pipeline::matcher::{Matchers, level, read};
use pipeline::subject::{self, Subjects};

fuzz_target!(|input: &str| {
    let [json, lines] = texts::<2>(input);
    if let Ok(found) = read(json) {
        let matchers = Matchers::default();
        matchers.add(found);
        let mut scan = matchers.scan();
        for line in lines.lines().take(50) {
            let Some(problem) = scan.line(line) else { continue };
            assert!(problem.message().is_some_and(|message| !message.trim().is_empty()));
            assert!(level(problem.severity()).is_some());
        }
    }
    // No file is at the root of all.
    let digest = |path: &str| match path.trim_matches('/') {
        "" => Err("is a directory".to_owned()),
        _ => Ok(format!("sha256:{}", path.len())),
    };
    if let Ok(declared) = subject::read(lines, "/work", &digest) {
        assert!(declared.iter().all(|one| !one.name.is_empty() && !one.digest.is_empty()));
        let subjects = Subjects::default();
        let _ = subjects.add(declared);
        assert!(subjects.len() <= 500);
    }
});
