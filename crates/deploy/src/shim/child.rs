//! The first moment of an instance without a box.

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::{CommandExt as _, parent_id};
use std::process::Command;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::setsid;

/// Becomes the program in `[shim pid, file for an error, program, arguments…]`.
///
/// A session of its own keeps signals to the conductor's terminal away; the death signal lets it
/// end with its shim. That the program cannot be executed is told in a file, as the exit code 127
/// alone could be the program's own.
#[expect(clippy::disallowed_methods, reason = "it is a process of its own with nothing to tidy")]
pub(super) fn become_instance(arguments: &[OsString]) -> ! {
    let [shim, error_file, program, rest @ ..] = arguments else {
        std::process::exit(2);
    };
    // It fails only for the leader of a group, and then the session is its own already.
    let _ = setsid();
    let bound = set_pdeathsig(Signal::SIGKILL);
    if bound.is_err() || shim.to_str() != Some(parent_id().to_string().as_str()) {
        std::process::exit(1);
    }
    let error = Command::new(program).args(rest).exec();
    let errno = error.raw_os_error();
    let told = serde_json::json!({ "errno": errno, "error": error.to_string() });
    let _ = fs::write(error_file, told.to_string());
    std::process::exit(if errno == Some(nix::libc::ENOENT) { 127 } else { 126 });
}
