//! `marline run --watch`: waits until a file changes that counts.
//!
//! The kernel tells that something happened (inotify), and Git tells whether it counts: a file that is
//! ignored, or that is again as it was, starts nothing. Because a directory that is made may be filled
//! before anybody watches it, Git is asked every few seconds all the same.

use std::collections::BTreeSet;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use source::git::{CommitId, Repository, UncommittedState};

/// How long Git is not asked when nothing is heard, in milliseconds.
const LOOK_EVERY: u16 = 2_000;

/// How long it must be quiet after a change, in milliseconds: an editor writes more than once.
const QUIET: u16 = 60;

/// How long to wait for that at most.
const MOST: Duration = Duration::from_secs(1);

/// Everything that a run of the work tree depends on, as far as Git sees it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct State {
    commit: CommitId,
    branch: Option<String>,
    changed: Vec<(PathBuf, UncommittedState, Option<Stamp>)>,
}

/// Inode, size and time of change of a file.
type Stamp = (u64, u64, i64, i64);

impl State {
    /// Looks at the work tree.
    pub fn of(repository: &Repository) -> anyhow::Result<Self> {
        let head = repository.head().context("look which commit this is")?;
        let uncommitted = repository.uncommitted().context("look what has changed")?;
        let changed = uncommitted.into_iter().map(|one| {
            let found = std::fs::symlink_metadata(repository.root().join(&one.path)).ok();
            let stamp = found.map(|at| (at.ino(), at.len(), at.ctime(), at.ctime_nsec()));
            (one.path, one.state, stamp)
        });
        Ok(Self { commit: head.commit, branch: head.branch, changed: changed.collect() })
    }

    /// Names a path that differs, if files do.
    pub fn difference<'a>(&'a self, before: &'a Self) -> Option<&'a Path> {
        let other = |one: &Self, two: &Self| {
            one.changed.iter().position(|entry| !two.changed.contains(entry))
        };
        // What is not listed any more is as the commit has it.
        let here = other(self, before).map(|at| self.changed[at].0.as_path());
        here.or_else(|| other(before, self).map(|at| before.changed[at].0.as_path()))
    }
}

/// Hears of changes in the directories that hold files.
pub(super) struct Watcher {
    repository: Repository,
    inotify: Inotify,
}

impl Watcher {
    /// Begins to listen.
    pub fn new(repository: &Repository) -> anyhow::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)
            .context("listen for changes of files")?;
        let watcher = Self { repository: repository.clone(), inotify };
        watcher.listen()?;
        Ok(watcher)
    }

    /// Listens in every directory that holds a file of the commit or one that is not committed; in one
    /// that is heard already it changes nothing.
    fn listen(&self) -> anyhow::Result<()> {
        let root = self.repository.root();
        let head = self.repository.head().context("look which commit this is")?;
        let files = self.repository.files_at(&head.commit).context("list the files")?;
        let uncommitted = self.repository.uncommitted().context("look what has changed")?;
        let paths = files.into_iter().map(|file| file.path);
        let paths = paths.chain(uncommitted.into_iter().map(|one| one.path));
        let mut directories = BTreeSet::from([PathBuf::new()]);
        for path in paths {
            directories.extend(path.ancestors().skip(1).map(Path::to_owned));
        }
        let what = AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_ATTRIB
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_MOVE
            | AddWatchFlags::IN_ONLYDIR;
        for directory in directories {
            match self.inotify.add_watch(&root.join(&directory), what) {
                Ok(_) | Err(Errno::ENOENT | Errno::ENOTDIR | Errno::EACCES) => {}
                // Git is asked every few seconds all the same.
                Err(Errno::ENOSPC) => {
                    tracing::warn!("fs.inotify.max_user_watches is too small for all directories");
                    break;
                }
                Err(errno) => {
                    return Err(errno).with_context(|| format!("watch {}", directory.display()));
                }
            }
        }
        Ok(())
    }

    /// Waits until the work tree is another one than before, and returns it; none when told to stop.
    pub fn wait(&self, before: &State, stop: &AtomicBool) -> anyhow::Result<Option<State>> {
        while !stop.load(Ordering::Relaxed) {
            let now = State::of(&self.repository)?;
            if now != *before {
                self.listen()?;
                return Ok(Some(now));
            }
            if self.hears(LOOK_EVERY) {
                let until = Instant::now() + MOST;
                while self.hears(QUIET) && Instant::now() < until {}
            }
        }
        Ok(None)
    }

    /// Tells whether something happens within some milliseconds, and forgets what it was.
    fn hears(&self, milliseconds: u16) -> bool {
        let mut fds = [PollFd::new(self.inotify.as_fd(), PollFlags::POLLIN)];
        let heard = poll(&mut fds, PollTimeout::from(milliseconds)).is_ok_and(|count| count > 0);
        while self.inotify.read_events().is_ok_and(|events| !events.is_empty()) {}
        heard
    }
}
