//! The texts inside Compose files: variables, durations, sizes, words of a command.

#![no_main]

use std::time::Duration;

use fuzz::PATH;
use libfuzzer_sys::fuzz_target;
use source::compose::{ComposeFile, Environment, parse_bytes, parse_duration, read, shell_words};

fuzz_target!(|text: &str| {
    if let Some(duration) = parse_duration(text) {
        assert!(duration < Duration::from_hours(24 * 366 * 101));
    }
    let _ = parse_bytes(text);
    if let Ok(words) = shell_words(text) {
        let quoted: Vec<String> =
            words.iter().map(|word| format!("'{}'", word.replace('\'', "'\\''"))).collect();
        assert_eq!(shell_words(&quoted.join(" ")).ok(), Some(words));
    }
    let quoted = serde_json::Value::from(text).to_string();
    let yaml = format!(
        "services: {{a: {{image: x, labels: {{l: {quoted}}}, command: {quoted}, mem_limit: {quoted}, \
         ports: [{quoted}], volumes: [{quoted}], stop_grace_period: {quoted}, cpus: {quoted}, \
         healthcheck: {{test: {quoted}, interval: {quoted}}}, user: {quoted}}}}}"
    );
    let environment = Environment::new([("A", "1"), ("EMPTY", "")]);
    let (_, findings) = read(&[ComposeFile::new(PATH, &yaml)], &environment);
    fuzz::Ground::new(&yaml).hold(&findings);
    let label = format!("services: {{a: {{image: x, labels: {{l: {quoted}}}}}}}");
    let (project, _) = read(&[ComposeFile::new(PATH, &label)], &environment);
    if !text.contains('$')
        && let Some(project) = project
    {
        let value = &project.normalised()["services"]["a"]["labels"]["l"];
        assert_eq!(value.as_str(), Some(text), "a text without variables stays as it is");
    }
});
