//! Leave for jobs to go to their environments.
//!
//! A job that names an environment waits until somebody says yes: on the terminal, with
//! `marline approve`, or on the page of the run. Question and answer are facts in the journal. An
//! answer counts for the commit: another run of it does not ask for the same job again.

use std::collections::BTreeSet;
use std::future::Future;
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use journal::{Actor, CommitId, EventId, Fact, Journal, JournalError};
use pipeline::execute::{Answered, Approvals, Question};

use crate::cli::RunArgs;
use crate::command::run::{Screen, account};
use crate::exit::{Exit, Failure};
use crate::project::Here;

/// How a process that runs workflows comes by answers.
#[derive(Clone)]
pub enum Manner {
    /// Somebody sits at the terminal.
    Terminal(Arc<Screen>),
    /// Nobody can be asked here; an answer may come from elsewhere for this long.
    Elsewhere(Arc<Screen>, Duration),
    /// The process stays and waits as long as it takes.
    Patient,
}

impl Manner {
    /// Returns the manner of `marline run`.
    pub fn of(args: &RunArgs, here: &Here, screen: Arc<Screen>) -> Result<Self, Failure> {
        let wait = args.wait.as_deref().map(waiting_time).transpose()?;
        let is_terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
        Ok(match wait {
            None if is_terminal && !here.json && !here.no_input => Self::Terminal(screen),
            wait => Self::Elsewhere(screen, wait.unwrap_or_default()),
        })
    }
}

impl std::fmt::Debug for Manner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Terminal(_) => "Terminal",
            Self::Elsewhere(..) => "Elsewhere",
            Self::Patient => "Patient",
        })
    }
}

/// Reads a time like `90s`, `10m` or `2h`.
fn waiting_time(text: &str) -> Result<Duration, Failure> {
    let wrong = || {
        Failure::new(Exit::Usage, format!("`--wait {text}` is no time"))
            .help("write it as --wait 90s, 10m or 2h")
    };
    let seconds = match text.chars().next_back() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(wrong)
}

/// Asks for leave through the journal.
#[derive(Debug)]
pub struct Asking {
    journal: Journal,
    manner: Manner,
    /// The commit that runs; none when uncommitted changes do, which nobody can have said yes to.
    commit: Option<CommitId>,
    /// Environments that were approved before they asked.
    approved: BTreeSet<String>,
    /// Becomes true when a job ended because nobody was there.
    held: Arc<AtomicBool>,
    /// Held by who asks: there is one terminal.
    terminal: Arc<tokio::sync::Mutex<()>>,
}

impl Asking {
    /// Returns what asks in a manner.
    pub fn new(journal: Journal, manner: Manner, commit: Option<CommitId>) -> Self {
        Self {
            journal,
            manner,
            commit,
            approved: BTreeSet::new(),
            held: Arc::default(),
            terminal: Arc::default(),
        }
    }

    /// Says yes to environments before they ask.
    pub fn approve(mut self, environments: &[String]) -> Self {
        self.approved.extend(environments.iter().map(|name| name.to_lowercase()));
        self
    }

    /// Whether a job did not run because nobody was there to say yes.
    pub fn is_held(&self) -> bool {
        self.held.load(Ordering::Relaxed)
    }
}

impl Approvals for Asking {
    fn ask(&self, question: Question) -> Pin<Box<dyn Future<Output = Answered> + Send>> {
        let asked = Asked {
            journal: self.journal.clone(),
            manner: self.manner.clone(),
            commit: self.commit.clone(),
            is_approved: self.approved.contains(&question.environment.to_lowercase()),
            terminal: Arc::clone(&self.terminal),
            question,
        };
        let held = Arc::clone(&self.held);
        Box::pin(async move {
            match asked.answer().await {
                Ok(answer) => {
                    if matches!(answer, Answered::Nobody(_)) {
                        held.store(true, Ordering::Relaxed);
                    }
                    answer
                }
                Err(error) => Answered::No(format!("could not ask: {error}")),
            }
        })
    }
}

/// One question on its way.
struct Asked {
    journal: Journal,
    manner: Manner,
    commit: Option<CommitId>,
    is_approved: bool,
    terminal: Arc<tokio::sync::Mutex<()>>,
    question: Question,
}

impl Asked {
    async fn answer(self) -> Result<Answered, JournalError> {
        let Question { run, job, environment, steps } = &self.question;
        let subject = format!("environment {environment}");
        let before = match &self.commit {
            Some(commit) => self.journal.view()?.approval_of(commit, job, &subject),
            None => None,
        };
        let actor = match self.manner {
            Manner::Patient => Actor::Conductor,
            _ => Actor::Person(account()),
        };
        let fact = Fact::ApprovalRequested {
            subject,
            effect: format!("job {job} of run {run} runs: {}", steps.join(", ")),
            run: Some(*run),
            job: Some(job.clone()),
        };
        let asked = self.journal.append(actor.clone(), before, fact).await?.id;
        let note = match before {
            Some(before) => Some(format!("for this commit, in answer to event {before}")),
            None => self.is_approved.then(|| "said with --approve".to_owned()),
        };
        if let Some(note) = note {
            self.journal
                .append(actor, Some(asked), Fact::Approved { request: asked, note })
                .await?;
            return Ok(Answered::Yes);
        }
        match &self.manner {
            Manner::Patient => heard(&self.journal, asked).await,
            Manner::Elsewhere(screen, wait) => self.wait(asked, screen, *wait).await,
            Manner::Terminal(screen) => {
                let screen = Arc::clone(screen);
                self.type_in(asked, actor, screen).await
            }
        }
    }

    /// Waits for an answer from elsewhere, for a while.
    async fn wait(
        &self,
        asked: EventId,
        screen: &Screen,
        wait: Duration,
    ) -> Result<Answered, JournalError> {
        let Question { run, job, environment, .. } = &self.question;
        if !wait.is_zero() {
            screen.waits(&format!(
                "  {job} waits for approval of environment {environment}: marline approve {run}"
            ));
            if let Ok(answer) = tokio::time::timeout(wait, heard(&self.journal, asked)).await {
                return answer;
            }
        }
        let mend = match self.commit {
            Some(_) => format!(
                "say `marline approve {run}` and run it again, or run it with `--approve {environment}`"
            ),
            None => format!(
                "run it with `--approve {environment}`, or with `--wait 10m` and say `marline approve` meanwhile"
            ),
        };
        Ok(Answered::Nobody(mend))
    }

    /// Asks on the terminal; an answer from elsewhere counts as well.
    async fn type_in(
        &self,
        asked: EventId,
        actor: Actor,
        screen: Arc<Screen>,
    ) -> Result<Answered, JournalError> {
        let Question { job, environment, .. } = &self.question;
        let _terminal = self.terminal.lock().await;
        let text = format!("  {job} wants to go to environment {environment}. Approve? [y/N] ");
        let (said, typed) = tokio::sync::oneshot::channel();
        screen.hush();
        // A thread of its own: nobody must wait for it when the answer came from elsewhere.
        std::thread::spawn(move || {
            let _ = said.send(read_answer(&text));
        });
        let answer = tokio::select! {
            answered = heard(&self.journal, asked) => answered,
            is_yes = typed => {
                let note = "said on the terminal".to_owned();
                let is_yes = is_yes.unwrap_or(false);
                let fact = if is_yes {
                    Fact::Approved { request: asked, note }
                } else {
                    Fact::Rejected { request: asked, note }
                };
                let written = self.journal.append(actor, Some(asked), fact).await;
                written.map(|_| if is_yes {
                    Answered::Yes
                } else {
                    Answered::No("denied on the terminal".to_owned())
                })
            }
        };
        screen.go_on();
        answer
    }
}

fn read_answer(text: &str) -> bool {
    let mut out = std::io::stderr().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    read.is_ok() && matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

/// Waits until somebody has answered.
async fn heard(journal: &Journal, asked: EventId) -> Result<Answered, JournalError> {
    let mut follower = journal.follow(asked);
    loop {
        let event = follower.next().await?;
        match &event.fact {
            Fact::Approved { request, .. } if *request == asked => return Ok(Answered::Yes),
            Fact::Rejected { request, note } if *request == asked => {
                let why = if note.is_empty() { String::new() } else { format!(": {note}") };
                return Ok(Answered::No(format!("{} said no{why}", event.actor)));
            }
            _ => {}
        }
    }
}
