//! A command of the team's own, with the webhook's message on its standard input.

use std::sync::Arc;

use source::yaml::Node;

use super::{Letter, Notifier, TellError};
use crate::probe::CommandOutput;

pub(super) const NOTIFIER: Notifier =
    Notifier { name: "command", tell: |letter| Box::pin(tell(letter)) };

async fn tell(letter: Arc<Letter>) -> Result<String, TellError> {
    let Some(run) = letter.run() else {
        return Err(TellError::lasting("commands cannot be run here"));
    };
    let words = letter.node("command").and_then(Node::as_sequence).unwrap_or_default();
    let words: Vec<String> = words.iter().filter_map(Node::as_str).map(str::to_owned).collect();
    if words.is_empty() {
        return Err(TellError::lasting(
            "`command` is a list of words, as in `[notify-send, hello]`",
        ));
    }
    let CommandOutput { exit, output } = run(words, letter.message(0).to_string()).await;
    let last = output.lines().rev().map(str::trim).find(|line| !line.is_empty());
    let last: String = last.unwrap_or_default().chars().take(200).collect();
    match exit {
        Ok(0) => Ok(last),
        Ok(code) => Err(TellError::passing(format!("it ended with exit code {code}: {last}"))),
        Err(why) => Err(TellError::passing(format!("it could not be run: {why}"))),
    }
}
