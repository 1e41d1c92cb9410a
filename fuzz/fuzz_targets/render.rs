//! Findings, told: nothing a file holds reaches a terminal or a forge as a command.

#![no_main]

use fuzz::PATH;
use libfuzzer_sys::fuzz_target;
use source::render::{Look, Tool, github, json, sarif, text};

fuzz_target!(|input: &str| {
    let (_, mut findings) = source::workflow::read(PATH, input);
    findings.extend(source::rules::read(PATH, input).1);
    findings.truncate(20);
    let shown = text(&findings, Look::Plain, |_| Some(input.to_owned()));
    let odd = shown.chars().find(|c| c.is_control() && *c != '\n');
    assert_eq!(odd, None, "{shown:?}");
    let commands = github(&findings);
    assert!(commands.lines().all(|line| line.starts_with("::")), "{commands:?}");
    assert_eq!(commands.lines().count(), findings.len());
    serde_json::from_str::<serde_json::Value>(&json(&findings)).expect("is JSON");
    let log = sarif(&findings, Tool { name: "marline", version: "1.2.3" });
    serde_json::from_str::<serde_json::Value>(&log).expect("is JSON");
});
