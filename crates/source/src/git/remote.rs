//! Commits of other repositories: what their branches and tags are, and their files.

use std::io::Read;
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use super::{CommitId, Git, GitError};

/// How long another machine may take to answer.
const PATIENCE: Duration = Duration::from_mins(2);

/// Which protocols are spoken; none that runs a program.
const PROTOCOLS: &str = "file:git:http:https:ssh";

/// Returns the commit that a tag, a branch or a whole commit id of another repository is.
pub fn remote_commit(url: &str, name: &str) -> Result<Option<CommitId>, GitError> {
    if let Ok(commit) = name.to_ascii_lowercase().parse() {
        return Ok(Some(commit));
    }
    let tag = format!("refs/tags/{name}");
    let peeled = format!("{tag}^{{}}");
    let branch = format!("refs/heads/{name}");
    let mut git = remote(Path::new("."), "ask another repository for its branches and tags");
    git.args(["ls-remote", "--", url, &tag, &peeled, &branch, name]);
    let answer = String::from_utf8_lossy(&patient(git)?).into_owned();
    let found = |wanted: &str| {
        answer.lines().find_map(|line| {
            let (commit, name) = line.split_once('\t')?;
            (name == wanted).then(|| commit.parse().ok()).flatten()
        })
    };
    // A tag object is not what it stands for, and tags go before branches.
    Ok([peeled.as_str(), &tag, &branch, name].into_iter().find_map(found))
}

/// Writes the files of a commit of another repository into `dir`, which is empty or does not
/// exist yet, without history.
pub fn fetch_to(url: &str, commit: &CommitId, dir: &Path) -> Result<(), GitError> {
    super::prepare_empty(dir)?;
    let mut git = Git::in_dir(dir, "make a repository");
    git.args(["init", "--quiet", "--template="]);
    git.output()?;
    let fetch = |refs: &str, depth: &[&str]| {
        let mut git = remote(dir, "fetch from another repository");
        git.args(["fetch", "--quiet", "--no-tags"]).args(depth).args(["--", url, refs]);
        patient(git)
    };
    if let Err(first) = fetch(commit.as_str(), &["--depth=1"]) {
        // Some servers give only what a branch or tag names.
        fetch("+refs/*:refs/remotes/origin/*", &[]).map_err(|_| first)?;
    }
    let mut git = Git::in_dir(dir, "write the files of a commit");
    git.args(super::CHECKOUT_CONFIG);
    git.args(["checkout", "--quiet", "--detach", commit.as_str()]);
    git.output()?;
    let git_dir = dir.join(".git");
    std::fs::remove_dir_all(&git_dir).map_err(|source| GitError::Io { path: git_dir, source })
}

fn remote(dir: &Path, doing: &'static str) -> Git {
    let mut git = Git::in_dir(dir, doing);
    git.env("GIT_ALLOW_PROTOCOL", PROTOCOLS);
    git.env("GIT_SSH_COMMAND", "ssh -o BatchMode=yes -o ConnectTimeout=20");
    git.env("GIT_HTTP_LOW_SPEED_LIMIT", "1000").env("GIT_HTTP_LOW_SPEED_TIME", "30");
    git
}

/// Runs Git and ends it when it takes too long.
fn patient(mut git: Git) -> Result<Vec<u8>, GitError> {
    let doing = git.doing;
    let failed = |source| GitError::spawn(doing, source);
    let child = git.command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.map_err(failed)?;
    let (out, err) = (end_of(child.stdout.take()), end_of(child.stderr.take()));
    let deadline = Instant::now() + PATIENCE;
    let rest = || deadline.saturating_duration_since(Instant::now());
    // Git ends when its streams do.
    let (Ok(out), Ok(err)) = (out.recv_timeout(rest()), err.recv_timeout(rest())) else {
        let _ = child.kill();
        let _ = child.wait();
        return Err(git.failed(b"it did not answer in two minutes"));
    };
    let status = child.wait().map_err(failed)?;
    if status.success() { Ok(out) } else { Err(git.failed(&err)) }
}

/// Gives all of a stream when it has ended.
fn end_of(stream: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(stream) = stream {
            // What was read before a fault is what there is to say.
            let _ = stream.take(16 << 20).read_to_end(&mut bytes);
        }
        let _ = sender.send(bytes);
    });
    receiver
}
