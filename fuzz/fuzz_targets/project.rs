//! Detection: whatever the files of a repository hold, what is suggested can be read.
//!
//! The input has a path and a content in turns, with NUL between them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use source::compose::{ComposeFile, Environment, is_usable, read};
use source::project::{Files, detect, suggested_compose};

fuzz_target!(|input: &str| {
    let pieces: Vec<&str> = input.split('\0').collect();
    let files = Files::new(pieces.chunks_exact(2).map(|pair| (pair[0], pair[1])));
    let detection = detect(&files);
    for found in &detection.found {
        assert!(!found.title().is_empty());
    }
    if let Some(workflow) = detection.workflow() {
        let (_, findings) = source::workflow::read("ci.yml", &workflow);
        assert_eq!(findings, [], "{workflow}");
    }
    let Some(compose) = suggested_compose(&detection) else { return };
    let environment = Environment::default().in_directory("shop");
    let (_, findings) = read(&[ComposeFile::new("compose.yaml", &compose)], &environment);
    assert!(is_usable(&findings), "{compose}\n{findings:?}");
});
