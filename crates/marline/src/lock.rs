//! Locks that go away with the process that holds them.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

use nix::fcntl::{Flock, FlockArg};

/// A lock on a file; it ends with this value, or with the process.
#[derive(Debug)]
pub struct Lock {
    _file: Flock<File>,
}

/// Takes the lock, or says that somebody else has it.
pub fn take(path: &Path) -> io::Result<Option<Lock>> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(file) => Ok(Some(Lock { _file: file })),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, error)) => Err(error.into()),
    }
}

/// Whether somebody has the lock.
pub fn is_held(path: &Path) -> bool {
    path.exists() && matches!(take(path), Ok(None))
}
