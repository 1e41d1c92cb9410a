//! Workflow commands: a command that is written again is the same command.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pipeline::command::{Command, resumes};

fuzz_target!(|line: &str| {
    let _ = resumes(line, line.split("::").nth(1).unwrap_or("token"));
    let Some(command) = Command::parse(line) else { return };
    assert!(command.properties.iter().all(|(_, value)| !value.is_empty()));
    for (name, _) in &command.properties {
        assert!(command.property(name).is_some());
    }
    let data = command.data.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let again = Command::parse(&format!("::notice::{data}")).expect("is a command");
    assert_eq!(again.data, command.data);
});
