//! Runs the proxy alone: `proxy DIR`, for measurements.

use std::{env, path::PathBuf, process::ExitCode};

fn main() -> ExitCode {
    let Some(dir) = env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: proxy DIR");
        return ExitCode::from(2);
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = runtime.expect("the system gives us a poller").block_on(deploy::proxy::serve(dir));
    if let Err(error) = result {
        eprintln!("could not {error}: {:?}", std::error::Error::source(&error));
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
