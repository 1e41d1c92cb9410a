//! Workflows that nobody here wrote, run in the box of this machine.

#[allow(dead_code, reason = "its own tests run by themselves")]
#[path = "run.rs"]
mod run;

fn main() {
    sandbox::entry();
    let words: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let name = "act_workflows";
    if words.is_empty() || words.iter().any(|word| name.contains(word.as_str())) {
        run::the_public_workflows_run();
    }
}
