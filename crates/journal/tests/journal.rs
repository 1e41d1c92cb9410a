//! The journal from outside: order, causes, hash chain, several writers, sudden death.

use std::path::Path;
use std::time::Duration;

use journal::{Actor, CommitId, Conclusion, Event, EventId, Fact, Journal, JournalError, RunId};

fn seen(commit: &str) -> Fact {
    Fact::CommitSeen {
        commit: CommitId::from(commit),
        branch: Some("main".to_owned()),
        before: None,
        author: "Ana".to_owned(),
        subject: "a change".to_owned(),
        files_changed: 1,
    }
}

fn finished(run: u64) -> Fact {
    Fact::RunFinished { run: RunId(run), conclusion: Conclusion::Success, milliseconds: 5 }
}

fn open(directory: &Path) -> Journal {
    Journal::open(directory.join("journal.db")).expect("a new directory takes a journal")
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("it comes within 20 s")
}

#[tokio::test]
async fn what_was_appended_is_read_back_after_opening_again() {
    let directory = tempfile::tempdir().unwrap();
    let first = {
        let journal = open(directory.path());
        let first = journal.append(Actor::Conductor, None, seen("aaa")).await.unwrap();
        journal.append(Actor::Person("ana".into()), Some(first.id), finished(1)).await.unwrap();
        first
    };
    let events = open(directory.path()).read(EventId(0), 10).unwrap();
    assert_eq!(events.len(), 2);
    assert_eq!(events[0], first);
    assert_eq!(events[1].cause, Some(first.id));
    assert_eq!(events[1].actor, Actor::Person("ana".into()));
}

#[tokio::test]
async fn what_was_noted_comes_before_what_is_appended_after_it() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path());
    for run in 0..100 {
        journal.note(Actor::Conductor, None, finished(run)).unwrap();
    }
    let last = journal.append(Actor::Conductor, None, seen("bbb")).await.unwrap();
    assert_eq!(last.id, EventId(101));
    let events = journal.read(EventId(0), 200).unwrap();
    assert!(events[..100].iter().all(|event| event.fact.kind() == "RunFinished"));
}

#[test]
fn what_was_noted_is_kept_when_the_last_handle_goes() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path());
    journal.note(Actor::Conductor, None, finished(1)).unwrap();
    drop(journal);
    assert_eq!(open(directory.path()).read(EventId(0), 10).unwrap().len(), 1);
}

#[tokio::test]
async fn causes_are_followed_backwards_and_effects_forwards() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path());
    let a = journal.append(Actor::Conductor, None, seen("a")).await.unwrap();
    let b = journal.append(Actor::Conductor, Some(a.id), finished(1)).await.unwrap();
    let c = journal.append(Actor::Conductor, Some(b.id), finished(2)).await.unwrap();
    let ids = |events: Vec<Event>| events.into_iter().map(|event| event.id).collect::<Vec<_>>();
    assert_eq!(ids(journal.causes(c.id).unwrap()), [c.id, b.id, a.id]);
    assert_eq!(ids(journal.effects(a.id).unwrap()), [b.id]);
    assert_eq!(ids(journal.of_run(RunId(2)).unwrap()), [c.id]);
    assert_eq!(ids(journal.of_kind("RunFinished", 1).unwrap()), [c.id]);
}

#[tokio::test]
async fn two_writers_share_one_chain_and_one_row_of_numbers() {
    let directory = tempfile::tempdir().unwrap();
    let (one, two) = (open(directory.path()), open(directory.path()));
    let mut follower = one.follow(EventId(0));
    let append = async |journal: &Journal| {
        let mut numbers = Vec::new();
        for _ in 0..50 {
            let event = journal
                .append_with(Actor::Conductor, None, |numbers| Ok(finished(numbers.run()?.0)))
                .await
                .unwrap();
            let Fact::RunFinished { run, .. } = event.fact else { unreachable!("made above") };
            numbers.push(run.0);
        }
        numbers
    };
    let (mut numbers, more) = within(async { tokio::join!(append(&one), append(&two)) }).await;
    numbers.extend(more);
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=100).collect::<Vec<_>>());
    assert_eq!(one.verify().unwrap(), Ok(100));
    for id in 1..=100 {
        assert_eq!(within(follower.next()).await.unwrap().id, EventId(id));
    }
}

#[test]
fn a_number_that_was_taken_is_never_given_again() {
    let directory = tempfile::tempdir().unwrap();
    let taken: Vec<_> = (0..3).map(|_| open(directory.path()).take_run().unwrap()).collect();
    assert_eq!(taken, [RunId(1), RunId(2), RunId(3)]);
}

#[tokio::test]
async fn an_edited_event_shows() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path());
    for commit in ["a", "b", "c"] {
        journal.append(Actor::Conductor, None, seen(commit)).await.unwrap();
    }
    assert_eq!(journal.verify().unwrap(), Ok(3));
    let other = rusqlite::Connection::open(journal.path()).unwrap();
    other.execute("UPDATE event SET body = replace(body, 'Ana', 'Bob') WHERE id = 2", []).unwrap();
    assert_eq!(journal.verify().unwrap().unwrap_err().event, EventId(2));
    other.execute("DELETE FROM event WHERE id = 2", []).unwrap();
    assert_eq!(journal.verify().unwrap().unwrap_err().event, EventId(3));
}

#[test]
fn a_journal_of_a_newer_version_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()));
    let path = directory.path().join("journal.db");
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let error = Journal::open(&path).unwrap_err();
    assert!(matches!(error, JournalError::Newer { found: 99, .. }), "{error}");
}

#[test]
fn a_file_that_is_no_journal_is_an_error_that_names_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal.db");
    std::fs::write(&path, "not a database, and long enough to be looked at".repeat(40)).unwrap();
    let error = Journal::open(&path).unwrap_err();
    assert!(error.to_string().contains("journal.db"), "{error}");
}

#[tokio::test]
async fn a_kind_from_a_newer_version_is_kept_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path());
    let body = serde_json::json!({ "colour": "green" });
    let fact = Fact::Unknown { kind: "MoodChanged".into(), version: 7, body };
    journal.append(Actor::Conductor, None, fact.clone()).await.unwrap();
    assert_eq!(journal.read(EventId(0), 1).unwrap()[0].fact, fact);
    assert_eq!(journal.view().unwrap().newest, Some(EventId(1)));
}

/// Kills a process that appends, again and again, and looks whether every acknowledged event is
/// there and the chain holds.
#[test]
fn nothing_acknowledged_is_lost_to_sudden_death() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    if let Some(directory) = std::env::var_os("JOURNAL_TEST_APPENDER") {
        let journal = open(Path::new(&directory));
        for run in 0.. {
            let event = journal.append_blocking(Actor::Conductor, None, finished(run)).unwrap();
            println!("acknowledged {}", event.id);
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for round in 1..=10_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "nothing_acknowledged_is_lost_to_sudden_death", "--nocapture"])
            .env("JOURNAL_TEST_APPENDER", directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut wanted = round * 3;
        while wanted > 0 {
            let line = lines.next().expect("the appender goes on until it is killed").unwrap();
            // The test harness prints its own words on the line of the first answer.
            if let Some((_, id)) = line.split_once("acknowledged ") {
                acknowledged = id.parse::<u64>().unwrap();
                wanted -= 1;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let rest = lines.map_while(Result::ok).filter_map(|line| {
            line.split_once("acknowledged ").and_then(|(_, id)| id.parse::<u64>().ok())
        });
        acknowledged = rest.last().unwrap_or(acknowledged);
        let journal = open(directory.path());
        let kept = journal.verify().unwrap().expect("the chain holds");
        assert!(kept >= acknowledged, "{kept} of {acknowledged} acknowledged events are there");
    }
}
