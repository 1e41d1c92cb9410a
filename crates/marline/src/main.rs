//! A DevOps engineer in one binary: arguments, wiring, the conductor.
//!
//! - [`cli`]: the command line.
//! - [`command`]: one file per command.
//! - [`conductor`]: the process that decides.
//! - [`runs`]: workflows run for a commit or the work tree.
//! - [`pages`]: the pages and the socket, served.
//! - [`demo`]: a minute's tour.
//! - [`project`], [`state`], [`tree`]: the repository, what is kept about it, what a team wrote.

mod approval;
mod cli;
mod client;
mod command;
mod conductor;
mod demo;
mod exit;
mod lock;
mod occasion;
mod output;
mod pages;
mod project;
mod rules;
mod runs;
mod state;
mod tree;

use std::process::ExitCode;

use clap::Parser as _;

use cli::{Cli, Command};
use exit::{Exit, Failure, Outcome};

fn main() -> ExitCode {
    // Our own program plays the parts of a box and of a shim; both must begin before any thread.
    sandbox::entry();
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == "__shim") {
        // The shim's own arguments come after its name.
        deploy::shim::main(arguments);
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Done };
            let _ = error.print();
            return exit.into();
        }
    };
    let is_json = cli.global.json;
    match run(cli) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            failure.print(is_json);
            failure.exit.into()
        }
    }
}

fn run(cli: Cli) -> Outcome {
    let threads = match &cli.command {
        // The proxy is quickest, and smallest, on one thread.
        Some(Command::Proxy { .. }) => tokio::runtime::Builder::new_current_thread(),
        _ => {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(2);
            builder
        }
    };
    let mut threads = threads;
    let runtime = threads.enable_all().build()?;
    let global = cli.global;
    runtime.block_on(async {
        match cli.command {
            None => command::glance::run(&global),
            Some(Command::Demo(args)) => demo::run(&args, &global).await,
            Some(Command::Run(args)) => command::run::run(&args, &global).await,
            Some(Command::Eval(args)) => command::eval::run(&args, &global),
            Some(Command::Check(args)) => command::check::run(&args, &global).await,
            Some(Command::Up(args)) => command::up::run(&args, &global).await,
            Some(Command::Down) => command::up::down(&global).await,
            Some(Command::Deploy(args)) => command::wish::deploy(&args, &global).await,
            Some(Command::Rollback(args)) => command::wish::rollback(&args, &global).await,
            Some(Command::Promote(args)) => command::wish::promote(&args, &global).await,
            Some(Command::Abort(args)) => command::wish::abort(&args, &global).await,
            Some(Command::Scale(args)) => command::wish::scale(&args, &global).await,
            Some(Command::Restart(args)) => command::wish::restart(&args, &global).await,
            Some(Command::Maintenance(args)) => command::wish::maintenance(&args, &global).await,
            Some(Command::Status) => command::status::run(&global).await,
            Some(Command::Logs(args)) => command::logs::run(&args, &global).await,
            Some(Command::Metrics(args)) => command::metrics::run(&args, &global).await,
            Some(Command::Alerts(args)) => command::alerts::run(&args, &global),
            Some(Command::Silence { command }) => command::silence::run(&command, &global).await,
            Some(Command::Notify { command }) => command::notify::run(&command, &global).await,
            Some(Command::Rules { command }) => command::rules::run(&command, &global).await,
            Some(Command::Why(args)) => command::why::run(&args, &global),
            Some(Command::Incidents) => command::timeline::incidents(&global),
            Some(Command::Timeline(args)) => command::timeline::run(&args, &global).await,
            Some(Command::Release { command }) => command::release::run(&command, &global),
            Some(Command::Artifact { command }) => command::artifact::run(&command, &global).await,
            Some(Command::Cache { command }) => command::cache::run(&command, &global).await,
            Some(Command::Dispatch(args)) => command::dispatch::run(&args, &global).await,
            Some(Command::Approve(args)) => command::approve::run(&args, &global).await,
            Some(Command::Report(args)) => command::report::run(&args, &global),
            Some(Command::Config { files }) => command::config::run(&global, &files),
            Some(Command::Secret { command }) => command::secret::run(&command, &global).await,
            Some(Command::Audit(args)) => command::timeline::audit(&args, &global),
            Some(Command::Ui) => command::up::ui(&global).await,
            Some(Command::Completion { shell }) => {
                let mut command = <Cli as clap::CommandFactory>::command();
                clap_complete::generate(shell, &mut command, "marline", &mut std::io::stdout());
                Ok(Exit::Done)
            }
            Some(Command::Man) => {
                let command = <Cli as clap::CommandFactory>::command();
                clap_mangen::Man::new(command).render(&mut std::io::stdout())?;
                Ok(Exit::Done)
            }
            Some(Command::Proxy { dir }) => {
                tracing_to_stderr();
                deploy::proxy::serve(dir).await?;
                Ok(Exit::Done)
            }
            Some(Command::Shop { conf }) => {
                demo::serve_shop(&conf)?;
                Ok(Exit::Done)
            }
            Some(Command::Shim { .. }) => {
                Err(Failure::new(Exit::Usage, "`__shim` is for Marline's own use"))
            }
        }
    })
}

/// Has what processes in the background have to say written to their error output.
fn tracing_to_stderr() {
    let _ = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_max_level(tracing::Level::INFO)
        .try_init();
}
