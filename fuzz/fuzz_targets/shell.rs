//! Shells: a template that is taken runs the script.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pipeline::shell::Shell;

fuzz_target!(|text: &str| {
    let Ok(shell) = Shell::parse(text) else { return };
    assert!(!shell.program.is_empty());
    let arguments = shell.arguments("/tmp/script");
    assert!(arguments.iter().any(|word| word.contains("/tmp/script")), "{arguments:?}");
    let _ = shell.script(text);
});
