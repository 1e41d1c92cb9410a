"""What the measurements are built of: a throw-away repository, the real binary, load from outside, tables."""

import ctypes
import os
import shutil
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parent
PR_SET_CHILD_SUBREAPER = 36


def binary():
    """Returns the program to measure: `MARLINE`, or this workspace's release build."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    path = Path(os.environ.get("MARLINE", target / "release/marline")).resolve()
    if not path.exists():
        sys.exit(f"{path} is not there: cargo build --release -p marline, or set MARLINE")
    return str(path)


def machine():
    """Returns one line about where a figure was measured."""
    model = next(
        (line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")),
        "unknown processor",
    )
    load = " ".join(open("/proc/loadavg").read().split()[:3])
    version = subprocess.run([binary(), "--version"], capture_output=True, text=True).stdout.strip()
    return f"{version}; {os.cpu_count()} × {model}, Linux {os.uname().release}, load average {load}."


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def compiled(name, into):
    """Compiles one of the small C programs of this directory."""
    program = Path(into) / name
    subprocess.run(["gcc", "-O2", "-Wall", "-o", program, BENCH / f"{name}.c", "-lm"], check=True)
    return str(program)


def timed(command, **options):
    """Runs a command; returns seconds of wall time, and of processor time of its whole tree."""
    # Whatever the command leaves behind comes to us, so that its processor time counts as well.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    log = tempfile.TemporaryFile()
    began = time.monotonic()
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **options)
    _, status, used = os.wait4(child.pid, 0)
    wall = time.monotonic() - began
    child.returncode = os.waitstatus_to_exitcode(status)
    processor = used.ru_utime + used.ru_stime
    try:
        while True:
            _, _, used = os.wait4(-1, 0)
            processor += used.ru_utime + used.ru_stime
    except ChildProcessError:
        pass
    if child.returncode != 0:
        log.seek(0)
        sys.exit(f"{command} ended with {child.returncode}\n{log.read().decode(errors='replace')[-4000:]}")
    return wall, processor


class World:
    """A Git repository of its own, and the conductor that carries it."""

    def __init__(self):
        self.root = Path(tempfile.mkdtemp(prefix="marline-bench-"))
        self.path = self.root / "repository"
        self.path.mkdir()
        self.state = self.path / ".git/marline"
        self.conductor = None
        self.git("init", "--quiet", "--initial-branch=main")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.conductor is not None:
            self.marline("down", check=False)
            try:
                self.conductor.wait(30)
            except subprocess.TimeoutExpired:
                self.conductor.kill()
        shutil.rmtree(self.root, ignore_errors=True)

    def environment(self):
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MARLINE_", "GIT", "ACT"))}
        return kept | {
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_AUTHOR_NAME": "Ana",
            "GIT_AUTHOR_EMAIL": "ana@example.com",
            "GIT_COMMITTER_NAME": "Ana",
            "GIT_COMMITTER_EMAIL": "ana@example.com",
            "NO_COLOR": "1",
        }

    def git(self, *words):
        subprocess.run(["git", *words], cwd=self.path, env=self.environment(), check=True, capture_output=True)

    def commit(self, message, files):
        for name, text in files.items():
            path = self.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)

    def marline(self, *words, check=True):
        said = subprocess.run(
            [binary(), *words], cwd=self.path, env=self.environment(), stdin=subprocess.DEVNULL,
            capture_output=True, text=True,
        )
        if check and said.returncode != 0:
            sys.exit(f"marline {' '.join(words)} ended with {said.returncode}\n{said.stdout}{said.stderr}")
        return said.stdout

    def up(self):
        """Starts the conductor, and waits until it answers."""
        self.state.mkdir(exist_ok=True)
        log = open(self.state / "up.log", "a")
        self.conductor = subprocess.Popen(
            [binary(), "up", "--detached", "--port", "0"], cwd=self.path, env=self.environment(),
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )
        self.wait("the conductor answers", lambda: self.marline("status", check=False) != "")

    def facts(self, after=0):
        """Returns what happened after an event: number, seconds since 1970, kind."""
        path = self.state / "journal.db"
        if not path.exists():
            return []
        journal = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)
        try:
            rows = journal.execute("SELECT id, at, kind FROM event WHERE id > ? ORDER BY id", (after,))
            return [(number, at / 1e9, kind) for number, at, kind in rows]
        finally:
            journal.close()

    def newest(self):
        return max((number for number, _, _ in self.facts()), default=0)

    def wait(self, what, holds, patience=180):
        deadline = time.monotonic() + patience
        while True:
            found = holds()
            if found:
                return found
            if time.monotonic() > deadline or (self.conductor and self.conductor.poll() is not None):
                log = self.state / "up.log"
                sys.exit(f"waited until {what}\n{log.read_text()[-4000:] if log.exists() else ''}{self.facts()[-20:]}")
            time.sleep(0.02)

    def wait_for(self, kinds, after, patience=180):
        """Waits for a fact of one of these kinds; returns when it happened, and its kind."""
        find = lambda: next(((at, kind) for _, at, kind in self.facts(after) if kind in kinds), None)
        return self.wait(f"one of {kinds} is on record", find, patience)


class Load:
    """Requests at a constant rate from a process of its own; every one is kept."""

    def __init__(self, program, port, rate, log):
        self.log = Path(log)
        self.child = subprocess.Popen([program, str(port), str(rate)], stdout=open(log, "w"))

    def answers(self):
        """Returns (when it was due, when it was answered, status), in seconds; status 0 is no answer."""
        rows = []
        for line in self.log.read_text().splitlines(keepends=True):
            words = line.split()
            if line.endswith("\n") and len(words) == 3:
                rows.append((int(words[0]) / 1e6, int(words[1]) / 1e6, int(words[2])))
        return rows

    def stop(self):
        """Lets what is under way end; returns every answer."""
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            self.child.wait(30)
        return self.answers()


def is_failed(status):
    return status < 200 or status >= 500


def middle(values):
    return statistics.median(values)


def table(head, rows):
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |", flush=True)
