//! What nobody here wrote: workflows, run in the box of this machine; expressions and filters, answered.

use std::panic::catch_unwind;
use std::process::ExitCode;

#[path = "conformance/answers.rs"]
mod answers;
#[allow(dead_code, reason = "its own tests run by themselves")]
#[path = "run.rs"]
mod run;

const SUITES: [(&str, fn()); 3] = [
    ("expressions", answers::expressions),
    ("filters", answers::filters),
    ("act_workflows", run::the_public_workflows_run),
];

fn main() -> ExitCode {
    sandbox::entry();
    let words: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let mut all_met = true;
    for (name, suite) in SUITES {
        if words.is_empty() || words.iter().any(|word| name.contains(word.as_str())) {
            all_met &= catch_unwind(suite).is_ok();
        }
    }
    ExitCode::from(u8::from(!all_met))
}
