//! What an exit code or a signal means.

use journal::Certainty;

/// What the end of a process says about its cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meaning {
    /// In words, as in `the command was not found`.
    pub text: String,
    /// How sure that is.
    pub certainty: Certainty,
    /// What to do about it.
    pub help: &'static str,
}

/// Returns what an exit code usually means, where it means more than "it failed".
///
/// A shell reports a child that a signal ended as 128 plus the signal.
pub fn meaning_of_code(code: i32) -> Option<Meaning> {
    let meaning =
        |text: &str, certainty, help| Some(Meaning { text: text.to_owned(), certainty, help });
    match code {
        124 => meaning(
            "it ran into a time limit set with `timeout`",
            Certainty::Likely,
            "Find out what it waits for, or raise the limit.",
        ),
        126 => meaning(
            "a file was found but may not be executed",
            Certainty::Likely,
            "Make it executable: git update-index --chmod=+x FILE",
        ),
        127 => meaning(
            "a command was not found",
            Certainty::Likely,
            "Install it in an earlier step, or check its spelling and PATH.",
        ),
        129..=192 => meaning_of_signal(code - 128),
        _ => None,
    }
}

/// Returns what the signal that ended a process says.
pub fn meaning_of_signal(signal: i32) -> Option<Meaning> {
    let (name, text, certainty, help) = match signal {
        1 => (
            "SIGHUP",
            "its terminal went away",
            Certainty::Likely,
            "Start it detached from the terminal.",
        ),
        2 => ("SIGINT", "somebody interrupted it", Certainty::Likely, "Run it again."),
        3 => ("SIGQUIT", "somebody made it quit", Certainty::Likely, "Run it again."),
        4 => (
            "SIGILL",
            "it used an instruction this processor does not have",
            Certainty::Likely,
            "Build it for this machine's processor.",
        ),
        6 => (
            "SIGABRT",
            "it gave up on an internal check",
            Certainty::Likely,
            "Read its last lines: they name the check.",
        ),
        7 => (
            "SIGBUS",
            "it read memory that is not there",
            Certainty::Unsure,
            "Look for a truncated file or a full /dev/shm.",
        ),
        8 => (
            "SIGFPE",
            "it divided by zero",
            Certainty::Likely,
            "Look for a division in the code that ran last.",
        ),
        9 => (
            "SIGKILL",
            "it was killed: often for using too much memory, else by a time limit or a person",
            Certainty::Unsure,
            "Give it more memory, or make it use less; check the machine's free memory at that time.",
        ),
        11 => (
            "SIGSEGV",
            "it crashed on a bad memory access",
            Certainty::Likely,
            "Run it under a debugger, or rebuild its native parts.",
        ),
        13 => (
            "SIGPIPE",
            "the reader of its output went away",
            Certainty::Likely,
            "Look at what stands after it in the pipe.",
        ),
        15 => (
            "SIGTERM",
            "it was asked to stop",
            Certainty::Likely,
            "Look at who stopped it: a cancelled run, a time limit or a person.",
        ),
        24 => (
            "SIGXCPU",
            "it used up its processor time",
            Certainty::Certain,
            "Raise the limit, or make it do less.",
        ),
        25 => (
            "SIGXFSZ",
            "it wrote a file over its size limit",
            Certainty::Certain,
            "Raise the limit, or write less.",
        ),
        31 => (
            "SIGSYS",
            "it used a system call that the box forbids",
            Certainty::Likely,
            "See which one in the log; the step can run without the box.",
        ),
        _ => return None,
    };
    Some(Meaning { text: format!("{text} ({name})"), certainty, help })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_says_a_signal_as_128_and_more() {
        assert_eq!(meaning_of_code(139), meaning_of_signal(11));
        assert_eq!(meaning_of_code(1), None);
    }

    #[test]
    fn a_kill_alone_proves_nothing() {
        let killed = meaning_of_code(137).expect("137 means something");
        assert_eq!(killed.certainty, Certainty::Unsure);
    }
}
