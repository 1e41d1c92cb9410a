//! Secrets in files: a finding points at the secret and does not repeat it.

#![no_main]

use std::sync::LazyLock;

use fuzz::{Ground, PATH};
use guard::secret::{RuleSet, Scanner};
use libfuzzer_sys::fuzz_target;
use source::yaml::LineIndex;

static SCANNER: LazyLock<Scanner> = LazyLock::new(|| Scanner::new(RuleSet::built_in()));

fuzz_target!(|text: &str| {
    let scan = SCANNER.scan(PATH, text.as_bytes());
    // Lines of a scan end with `\n` alone, and a byte order mark is a character of the file.
    if text.starts_with('\u{feff}') || text.contains('\r') {
        return;
    }
    Ground::new(text).hold(&scan.findings);
    let lines = LineIndex::new(text);
    for finding in &scan.findings {
        let Some(span) = finding.place.span else { continue };
        let secret = &text[lines.range(text, span)];
        let told = serde_json::to_string(finding).expect("a finding is JSON");
        assert!(secret.len() < 8 || !told.contains(secret), "{secret:?} in {told}");
    }
});
