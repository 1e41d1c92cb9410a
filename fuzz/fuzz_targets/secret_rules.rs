//! `.gitleaks.toml`: findings point into it, and whatever rules were read can look through a file.

#![no_main]

use std::sync::Arc;

use fuzz::{Ground, PATH, texts};
use guard::secret::{RuleSet, Scanner, translate};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| {
    let [rules, content] = texts(input);
    let _ = translate(rules);
    let (set, findings) = RuleSet::read(PATH, rules, &|_| None);
    Ground::new(rules).hold(&findings);
    if let Some(set) = set {
        let scanner = Scanner::new(Arc::new(set)).of_commit("4b825dc");
        let _ = scanner.scan("src/main.rs", content.as_bytes());
        let _ = scanner.scan(".env", rules.as_bytes());
    }
});
