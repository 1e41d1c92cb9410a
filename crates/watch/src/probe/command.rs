//! Does a command inside the instance end well?

use super::{Answer, Probe, Running, Target};

pub(super) const PROBE: Probe =
    Probe { name: "command", asks: "whether a command ends with exit code 0", ask };

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandOutput {
    /// Its exit code, or why it could not be run or was ended.
    pub exit: Result<i32, String>,
    /// The end of what it wrote.
    pub output: String,
}

fn ask(target: Target) -> Running<Answer> {
    Box::pin(run(target))
}

async fn run(target: Target) -> Answer {
    let Some(run) = target.run else {
        return Err("there is no way to run a command in this instance".to_owned());
    };
    if target.command.is_empty() {
        return Err("the health check has no command".to_owned());
    }
    let CommandOutput { exit, output } = run(target.command).await;
    let last = output.lines().rev().map(str::trim).find(|line| !line.is_empty());
    let wrote = last.map(|line| format!(": {}", line.chars().take(200).collect::<String>()));
    let wrote = wrote.unwrap_or_default();
    match exit {
        Ok(0) => Ok(format!("exit code 0{wrote}")),
        Ok(code) => Err(format!("exit code {code}{wrote}")),
        Err(reason) => Err(format!("{reason}{wrote}")),
    }
}
