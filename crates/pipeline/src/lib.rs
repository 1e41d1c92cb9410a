//! A commit becomes a run.
//!
//! Deciding is pure, acting is at the edge: [`plan`](mod@plan) turns a workflow and what happened
//! into jobs and steps, and refuses with findings what this version cannot do;
//! [`execute`](mod@execute) runs them.
//!
//! - [`expression`]: what `${{ … }}` gives.

pub mod built_in;
pub mod command;
pub mod event;
pub mod execute;
pub mod expression;
pub mod file_command;
pub mod filter;
mod hash_files;
pub mod log;
pub mod mask;
pub mod matrix;
pub mod plan;
pub mod shell;
pub mod template;

/// Returns a folder of the public test data, or says that the test skips.
#[cfg(test)]
fn conformance(folder: &str, test: &str) -> Option<std::path::PathBuf> {
    let root = std::env::var_os("MARLINE_CONFORMANCE").map_or_else(
        || std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance"),
        std::path::PathBuf::from,
    );
    let dir = root.join(folder);
    if dir.is_dir() {
        return Some(dir);
    }
    println!("{test}: skipped, {} is missing", dir.display());
    None
}
