//! `marline run --watch`: what a change invalidates runs again, and nothing else.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use crate::world::{PATIENCE, World};

/// A watching Marline, whose lines can be waited for.
struct Watching {
    marline: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Watching {
    fn start(world: &World) -> Self {
        let mut marline = world
            .command(["run", "--watch", "--explain-cache"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let (out, err) = (marline.stdout.take().unwrap(), marline.stderr.take().unwrap());
        let second = sender.clone();
        std::thread::spawn(move || {
            BufReader::new(out).lines().map_while(Result::ok).all(|line| sender.send(line).is_ok())
        });
        std::thread::spawn(move || {
            BufReader::new(err).lines().map_while(Result::ok).all(|line| second.send(line).is_ok())
        });
        Self { marline, lines, seen: Vec::new() }
    }

    /// Waits for a line and returns all before it since the last one that was waited for.
    fn until(&mut self, text: &str) -> String {
        let until = Instant::now() + PATIENCE;
        let mut before = String::new();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("waited for `{text}`: {:#?}", self.seen);
            };
            self.seen.push(line.clone());
            if line.contains(text) {
                return before;
            }
            before += &line;
            before.push('\n');
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.marline.kill();
        let _ = self.marline.wait();
    }
}

#[test]
fn only_what_a_change_invalidates_runs_again() {
    let world = World::with(&[
        ("one.txt", "1"),
        ("two.txt", "2"),
        (".gitignore", "*.log\n"),
        (
            ".github/workflows/ci.yml",
            "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - uses: actions/checkout@v4\n      - run: cat one.txt\n      - run: cat two.txt\n",
        ),
    ]);
    let mut watching = Watching::start(&world);
    watching.until("waiting for a change");

    // Neither counts: one is ignored, the other is what it was.
    world.write("noise.log", "x");
    world.write("sub/noise.log", "x");
    world.write("two.txt", "two");
    watching.until("two.txt changed");
    let said = watching.until("waiting for a change");
    if said.contains("level") && said.contains("cannot be observed") {
        println!("skipped: steps cannot be observed here, so that none is replayed");
        return;
    }
    assert!(said.contains("a, step 2: cached"), "{said}");
    assert!(said.contains("a, step 3: runs: two.txt changed"), "{said}");
    assert_eq!(said.matches(", run ").count(), 1, "{said}");

    // What cannot be run now is said, and a directory made and filled at once is found.
    world.write(".github/workflows/ci.yml", "on: push\njobs: 7\n");
    watching.until("nothing was started");
    watching.until("waiting for a change");
    world.write(
        ".github/workflows/ci.yml",
        "on: push\njobs:\n  b:\n    runs-on: ubuntu-latest\n    steps:\n      - uses: actions/checkout@v4\n      - run: ls new/deep/er\n",
    );
    watching.until("1 failed");
    watching.until("waiting for a change");
    world.write("new/deep/er/file", "x");
    watching.until("1 passed");
    watching.until("waiting for a change");

    let pid = nix::unistd::Pid::from_raw(i32::try_from(watching.marline.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    let until = Instant::now() + PATIENCE;
    let ended = loop {
        if let Some(ended) = watching.marline.try_wait().unwrap() {
            break ended;
        }
        assert!(Instant::now() < until, "it goes on after Ctrl-C");
        crate::world::pause();
    };
    assert_eq!(ended.code(), Some(130));
}
