//! A repository, the real binary, and what the journal says: the scenarios are built of these.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use journal::{Event, EventId, Fact, Journal, View};

/// How long anything may take before a test gives up on it.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// A Git repository in a directory of its own, with the real binary at hand.
pub struct World {
    directory: tempfile::TempDir,
    conductor: Option<Child>,
    seen: EventId,
}

impl World {
    /// Returns a repository without a commit.
    pub fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("marline-it-").tempdir().unwrap();
        let world = Self { directory, conductor: None, seen: EventId(0) };
        world.git(["init", "--quiet", "--initial-branch=main"]);
        world.git(["config", "user.name", "Ana"]);
        world.git(["config", "user.email", "ana@example.com"]);
        world.git(["config", "commit.gpgsign", "false"]);
        world
    }

    /// Returns a repository with one commit of these files.
    pub fn with(files: &[(&str, &str)]) -> Self {
        let world = Self::new();
        world.commit("first", files);
        world
    }

    /// Returns a repository with one commit of an example.
    pub fn of_example(name: &str) -> Self {
        let world = Self::new();
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name);
        copy(&from, world.path());
        world.git(["add", "--all"]);
        world.git(["commit", "--quiet", "--message", "first"]);
        world
    }

    /// Returns the directory of the repository.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Returns the directory in which Marline keeps its state.
    pub fn state(&self) -> PathBuf {
        self.path().join(".git/marline")
    }

    /// Writes a file.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Writes files and commits everything; returns the commit.
    pub fn commit(&self, message: &str, files: &[(&str, &str)]) -> String {
        for (path, text) in files {
            self.write(path, text);
        }
        self.git(["add", "--all"]);
        self.git(["commit", "--quiet", "--allow-empty", "--message", message]);
        self.git(["rev-parse", "HEAD"]).trim().to_owned()
    }

    /// Runs git and returns what it printed.
    pub fn git<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> String {
        let output = Command::new("git")
            .current_dir(self.path())
            .args(words)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env_remove("GIT_DIR")
            .output()
            .expect("git is installed");
        assert!(output.status.success(), "git: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Returns the command that runs Marline here, with a plain environment.
    pub fn command<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_marline"));
        command
            .current_dir(self.path())
            .args(words)
            .env("NO_COLOR", "1")
            .env("MARLINE_ACTIONS_MIRROR", "file:///nowhere")
            .env("COLUMNS", "100")
            .env_remove("MARLINE_STATE")
            .env_remove("GITHUB_ACTIONS")
            .stdin(Stdio::null());
        command
    }

    /// Runs Marline to its end.
    pub fn marline<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Said {
        Said::of(self.command(words).output().unwrap())
    }

    /// Starts `marline up` and waits until it answers.
    pub fn up(&mut self) -> &mut Self {
        self.up_with(&[])
    }

    /// Starts `marline up` with more words and waits until it answers.
    pub fn up_with(&mut self, words: &[&str]) -> &mut Self {
        self.up_in(words, &[])
    }

    /// Starts `marline up` in an environment of its own and waits until it answers.
    pub fn up_in(&mut self, words: &[&str], environment: &[(&str, &OsStr)]) -> &mut Self {
        fs::create_dir_all(self.state()).unwrap();
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.state().join("up.log"))
            .unwrap();
        let child = self
            .command(["up", "--detached", "--port", "0"].iter().chain(words))
            .envs(environment.iter().copied())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.conductor = Some(child);
        self.wait_until("the conductor answers", |world| {
            UnixStream::connect(world.state().join("conductor.sock")).is_ok() || {
                let ended = world.conductor.as_mut().and_then(|child| child.try_wait().unwrap());
                assert!(ended.is_none(), "the conductor ended: {}", world.up_log());
                false
            }
        });
        self
    }

    /// Returns what the conductor wrote to its error output.
    pub fn up_log(&self) -> String {
        fs::read_to_string(self.state().join("up.log")).unwrap_or_default()
    }

    /// Kills the conductor as `kill -9` does; everything else goes on.
    pub fn kill_conductor(&mut self) {
        if let Some(mut child) = self.conductor.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Opens the journal.
    pub fn journal(&self) -> Journal {
        Journal::open(self.state().join("journal.db")).unwrap()
    }

    /// Returns the present as the journal tells it.
    pub fn view(&self) -> View {
        self.journal().view().unwrap()
    }

    /// Waits for the next event, after those that were waited for before, that answers.
    pub fn wait_for<T>(&mut self, what: &str, mut find: impl FnMut(&Fact) -> Option<T>) -> T {
        let journal = self.journal();
        let deadline = Instant::now() + PATIENCE;
        loop {
            for event in journal.read(self.seen, 1000).unwrap() {
                self.seen = event.id;
                if let Some(found) = find(&event.fact) {
                    return found;
                }
            }
            assert!(Instant::now() < deadline, "waited for {what}\n{}", self.story());
            pause();
        }
    }

    /// Waits until something holds.
    pub fn wait_until(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(Instant::now() < deadline, "waited until {what}\n{}", self.story());
            pause();
        }
    }

    /// Waits until a service has all traffic at the release of the newest deployment.
    pub fn wait_deployed(&mut self) {
        self.wait_for("a finished deployment", |fact| match fact {
            Fact::DeploymentFinished { .. } => Some(()),
            Fact::DeploymentRolledBack { reason, .. } => panic!("rolled back: {reason}"),
            Fact::GateHeld { reasons, .. } => panic!("held: {reasons:?}"),
            _ => None,
        });
    }

    /// Returns the events so far, for the message of a test that failed.
    pub fn story(&self) -> String {
        let Ok(journal) = Journal::open(self.state().join("journal.db")) else {
            return self.up_log();
        };
        let events: Vec<Event> = journal.newest(60).unwrap_or_default();
        let lines: Vec<String> =
            events.iter().map(|event| format!("{} {:?}", event.id, event.fact)).collect();
        format!("{}\n{}", lines.join("\n"), self.up_log())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if self.state().join("conductor.lock").exists() {
            let _ = self.command(["down"]).output();
        }
        if let Some(mut child) = self.conductor.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What a command said and how it ended.
#[derive(Debug)]
pub struct Said {
    /// The exit code; -1 when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Said {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Fails the test unless the command ended with this code.
    #[track_caller]
    pub fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, code, "\n--- out\n{}\n--- err\n{}", self.out, self.err);
        self
    }

    /// Fails the test unless the command printed this.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        let said = format!("{}{}", self.out, self.err);
        assert!(
            said.contains(text),
            "`{text}` is not in\n--- out\n{}\n--- err\n{}",
            self.out,
            self.err
        );
        self
    }
}

/// Says that a test skips for want of a program; where all must be there, fails it.
pub fn peer_is_missing(test: &str, peer: &str) {
    let required = std::env::var_os("MARLINE_REQUIRE_PEERS").is_some();
    assert!(!required, "{test}: {peer} is missing");
    println!("{test}: skipped, {peer} is missing");
}

/// Gives other threads and processes a moment.
pub fn pause() {
    std::thread::park_timeout(Duration::from_millis(10));
}

/// Returns a port on loopback that nothing listens on.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Asks a server on loopback for a path; gives status and body.
pub fn get(port: u16, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    Some((status, body))
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
