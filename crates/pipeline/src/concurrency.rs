//! Groups of `concurrency`: what is in one runs one after the other.
//!
//! A group is a directory, so that it holds for every process that works on a repository. Who wants
//! to run takes a numbered ticket, a file that it keeps locked; the lowest ticket runs. A lock goes
//! with its process, so a ticket that nobody holds belongs to one that was killed, and is removed.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

/// The longest name of a group.
pub const MAX_NAME: usize = 400;

/// How many may wait in a group with `queue: max`.
const MOST_WAITING: usize = 100;

/// How often one who waits looks whether it may go on.
const LOOK_EVERY: Duration = Duration::from_millis(40);

/// The groups of a repository. Clones are the same groups.
#[derive(Debug, Clone)]
pub struct Groups {
    dir: PathBuf,
}

/// How somebody enters a group.
#[derive(Debug, Clone, Copy, Default)]
pub struct Manners {
    /// Whether what runs is cancelled.
    pub cancels: bool,
    /// Whether those that wait stay, in place of the newest alone.
    pub queues: bool,
}

/// A turn in a group; it ends when this is dropped, or with the process.
#[derive(Debug)]
pub struct Turn {
    ticket: Ticket,
    superseded: watch::Receiver<bool>,
    looking: tokio::task::JoinHandle<()>,
}

impl Turn {
    /// Becomes true when a newer one asks this one to end.
    pub fn superseded(&self) -> watch::Receiver<bool> {
        self.superseded.clone()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.looking.abort();
        self.ticket.remove();
    }
}

#[derive(Debug)]
struct Ticket {
    path: PathBuf,
    _file: Flock<File>,
}

impl Ticket {
    fn mark(&self) -> PathBuf {
        self.path.with_extension("cancel")
    }

    fn is_superseded(&self) -> bool {
        self.mark().exists()
    }

    fn remove(&self) {
        let _ = fs::remove_file(&self.path);
        let _ = fs::remove_file(self.mark());
    }
}

impl Groups {
    /// Returns the groups that are kept in a directory; it is made when it is needed.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Waits for a turn; none when a newer one took its place. Names ignore case.
    pub async fn enter(&self, name: &str, manners: Manners) -> io::Result<Option<Turn>> {
        let digest = Sha256::digest(name.to_lowercase().as_bytes());
        let (group, _) = digest.split_at(16);
        let group = u128::from_be_bytes(group.try_into().expect("a SHA-256 has 32 bytes"));
        let dir = self.dir.join(format!("{group:032x}"));
        // Dropped when nobody waits for the turn any more, and then the ticket is given back.
        let waiting = Waiting(Some(take_ticket(&dir, manners)?));
        loop {
            let ticket = waiting.0.as_ref().expect("it is taken only when the wait is over");
            if ticket.is_superseded() {
                return Ok(None);
            }
            if is_first(&dir, ticket)? {
                return Ok(Some(waiting.begin()));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

struct Waiting(Option<Ticket>);

impl Waiting {
    fn begin(mut self) -> Turn {
        let ticket = self.0.take().expect("a wait begins once");
        let (tell, superseded) = watch::channel(false);
        let mark = ticket.mark();
        let looking = tokio::spawn(async move {
            while !mark.exists() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            tell.send_replace(true);
            // The channel stays open: who waits for it must not take its end for an answer.
            std::future::pending::<()>().await;
        });
        Turn { ticket, superseded, looking }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(ticket) = &self.0 {
            ticket.remove();
        }
    }
}

/// Takes a ticket, and the place of those whom a newcomer replaces.
fn take_ticket(dir: &Path, manners: Manners) -> io::Result<Ticket> {
    fs::create_dir_all(dir)?;
    let _guard = guard(dir)?;
    let before = living(dir)?;
    let number = before.last().map_or(1, |(number, _)| number + 1);
    let path = dir.join(format!("{number:020}"));
    let file = OpenOptions::new().create(true).truncate(true).write(true).open(&path)?;
    let file = Flock::lock(file, FlockArg::LockExclusiveNonblock)
        .map_err(|(_, error)| io::Error::from(error))?;
    let ticket = Ticket { path, _file: file };
    for (at, (_, path)) in before.iter().enumerate() {
        let runs = at == 0;
        let waits_too_long = manners.queues && before.len() - at > MOST_WAITING;
        if (runs && manners.cancels) || (!runs && (!manners.queues || waits_too_long)) {
            File::create(path.with_extension("cancel"))?;
        }
    }
    Ok(ticket)
}

fn is_first(dir: &Path, ticket: &Ticket) -> io::Result<bool> {
    let _guard = guard(dir)?;
    Ok(living(dir)?.first().is_none_or(|(_, path)| *path == ticket.path))
}

/// Keeps everybody else from looking at the tickets or changing them.
fn guard(dir: &Path) -> io::Result<Flock<File>> {
    let file =
        OpenOptions::new().create(true).truncate(false).write(true).open(dir.join("lock"))?;
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| error.into())
}

/// Returns the tickets that somebody holds, the oldest first; removes all others.
fn living(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut tickets = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let number = path.file_name().and_then(|name| name.to_str()?.parse::<u64>().ok());
        if let Some(number) = number {
            tickets.push((number, path));
        }
    }
    tickets.sort();
    let mut living = Vec::new();
    for (number, path) in tickets {
        match File::open(&path).map(|file| Flock::lock(file, FlockArg::LockSharedNonblock)) {
            Ok(Err((_, Errno::EWOULDBLOCK))) => living.push((number, path)),
            Ok(Err((_, error))) => return Err(error.into()),
            Ok(Ok(_)) => {
                let _ = fs::remove_file(&path);
                let _ = fs::remove_file(path.with_extension("cancel"));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(living)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Manners = Manners { cancels: false, queues: false };

    fn groups() -> (tempfile::TempDir, Groups) {
        let dir = tempfile::tempdir().expect("a directory");
        let groups = Groups::new(dir.path());
        (dir, groups)
    }

    /// Whether somebody gets a turn while others are left alone.
    async fn waits(
        entering: &mut (impl Future<Output = io::Result<Option<Turn>>> + Unpin),
    ) -> bool {
        tokio::time::timeout(LOOK_EVERY * 3, entering).await.is_err()
    }

    #[tokio::test]
    async fn one_runs_and_the_newest_waits() {
        let (_dir, groups) = groups();
        let first = groups.enter("g", PLAIN).await.expect("works").expect("is free");
        let mut second = Box::pin(groups.enter("G", PLAIN));
        assert!(waits(&mut second).await);
        let mut third = Box::pin(groups.enter("g", PLAIN));
        assert!(waits(&mut third).await);
        assert!(second.await.expect("works").is_none(), "a newer one took its place");
        assert!(!*first.superseded().borrow());
        drop(first);
        assert!(third.await.expect("works").is_some());
    }

    #[tokio::test]
    async fn other_groups_do_not_wait() {
        let (_dir, groups) = groups();
        let _first = groups.enter("g", PLAIN).await.expect("works").expect("is free");
        assert!(groups.enter("h", PLAIN).await.expect("works").is_some());
    }

    #[tokio::test]
    async fn all_wait_in_order_when_they_queue() {
        let (_dir, groups) = groups();
        let manners = Manners { cancels: false, queues: true };
        let first = groups.enter("g", manners).await.expect("works").expect("is free");
        let mut second = Box::pin(groups.enter("g", manners));
        assert!(waits(&mut second).await);
        let mut third = Box::pin(groups.enter("g", manners));
        assert!(waits(&mut third).await);
        drop(first);
        let second = second.await.expect("works").expect("waited");
        assert!(waits(&mut third).await);
        drop(second);
        assert!(third.await.expect("works").is_some());
    }

    #[tokio::test]
    async fn what_runs_is_asked_to_end() {
        let (_dir, groups) = groups();
        let first = groups.enter("g", PLAIN).await.expect("works").expect("is free");
        let mut second = Box::pin(groups.enter("g", Manners { cancels: true, queues: false }));
        assert!(waits(&mut second).await);
        first.superseded().wait_for(|told| *told).await.expect("is told");
        drop(first);
        assert!(second.await.expect("works").is_some());
    }

    #[tokio::test]
    async fn who_gives_up_or_is_killed_leaves_its_place() {
        let (dir, groups) = groups();
        let first = groups.enter("g", PLAIN).await.expect("works").expect("is free");
        let mut second = Box::pin(groups.enter("g", PLAIN));
        assert!(waits(&mut second).await);
        drop(second);
        drop(first);
        // What a killed process leaves: a ticket that nobody holds.
        let group = fs::read_dir(dir.path()).expect("is there").next().expect("is one");
        File::create(group.expect("is read").path().join(format!("{:020}", 1))).expect("is made");
        assert!(groups.enter("g", PLAIN).await.expect("works").is_some());
    }
}
