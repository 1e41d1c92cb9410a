//! Proves each wall from inside a box, with real processes.
//!
//! This target has its own `main`, because the box executes this very program again. Run as root,
//! it proves everything twice: as root and as an ordinary user.

use std::fs;
use std::future::Future;
use std::io::Write;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Stdio;
use std::time::{Duration, Instant};

use sandbox::{
    BoxSpec, ChangeKind, Command, End, Exit, Level, Limits, Network, Output, Patience, Process,
    Sandbox, SandboxError, Seen, Signal, SpawnError, Uses, Wall,
};
use tokio::io::AsyncReadExt;

type Test = fn() -> Pin<Box<dyn Future<Output = ()>>>;

macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        /// Every test, by its sentence.
        const TESTS: &[(&str, Test)] = &[$((stringify!($name), || Box::pin($name()))),*];
    };
}

tests![
    the_box_reports_its_walls,
    exit_codes_and_signals_are_exact,
    the_environment_is_exact,
    the_working_directory_is_the_one_asked_for,
    a_missing_program_is_an_error_and_not_an_exit_code,
    a_large_environment_passes,
    hidden_paths_cannot_be_read_but_the_workspace_below_them_can,
    files_outside_the_workspace_cannot_be_written,
    writable_and_readable_paths_are_what_they_say,
    temporary_files_are_private,
    processes_outside_cannot_be_seen_or_killed,
    nothing_can_be_mounted_and_no_namespace_made,
    privileges_are_gone_and_files_belong_to_the_caller,
    dangerous_calls_are_refused_at_the_landlock_level_too,
    without_a_network_there_is_only_loopback,
    an_open_network_reaches_the_loopback_of_the_machine,
    a_fork_bomb_stops_at_the_limit,
    too_much_memory_is_killed_and_reported,
    the_limits_of_a_process_hold,
    grandchildren_die_when_the_box_closes,
    killing_a_process_kills_its_tree,
    terminate_asks_before_it_kills,
    the_death_of_the_caller_kills_the_box,
    several_processes_run_at_once,
    streams_may_outlive_their_process,
    a_step_without_writes_leaves_no_layer,
    layers_list_exact_changes_and_fold,
    a_layer_stays_as_it_was,
    a_replaced_directory_loses_what_it_held,
    a_background_process_keeps_its_view_and_loses_nothing,
    a_layer_can_be_replayed_elsewhere,
    a_kept_layer_outlives_its_box,
    a_held_layer_leaves_the_workspace_as_it_was,
    an_observed_process_tells_what_it_looked_at,
    an_observed_process_tells_whom_it_reached,
    programs_without_a_library_are_observed_too,
    the_plain_level_says_what_is_missing,
    a_level_too_weak_is_refused,
    common_tools_work,
];

fn main() -> std::process::ExitCode {
    sandbox::entry();
    if let Some(dir) = std::env::var_os("DOOMED_CALLER") {
        doomed_caller(Path::new(&dir));
        return std::process::ExitCode::SUCCESS;
    }
    let filter =
        std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let who = if nix::unistd::geteuid().is_root() { "root" } else { "ordinary user" };
    let chosen: Vec<_> = TESTS.iter().filter(|(name, _)| name.contains(&filter)).collect();
    if std::env::args().any(|argument| argument == "--list") {
        for (name, _) in &chosen {
            println!("{name}: test");
        }
        return std::process::ExitCode::SUCCESS;
    }
    let mut failed = 0;
    for (name, test) in chosen {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let run = || {
            runtime.block_on(async { tokio::time::timeout(Duration::from_mins(2), test()).await })
        };
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
        let passed = matches!(outcome, Ok(Ok(())));
        println!("test {name} ({who}) ... {}", if passed { "ok" } else { "FAILED" });
        failed += i32::from(!passed);
    }
    if who == "root" && !as_ordinary_user(&filter) {
        failed += 1;
    }
    println!("{failed} failed ({who})");
    std::process::ExitCode::from(u8::from(failed > 0))
}

/// Runs this program once more as `nobody`, from a place where `nobody` may read it.
fn as_ordinary_user(filter: &str) -> bool {
    let dir = tempfile::tempdir().expect("a directory");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("set");
    let program = dir.path().join("walls");
    fs::copy(std::env::current_exe().expect("a program"), &program).expect("copied");
    let mut command = std::process::Command::new(&program);
    let status = command
        .arg(filter)
        .current_dir("/")
        .env("HOME", "/nonexistent")
        .gid(65534)
        .uid(65534)
        .status();
    status.expect("started").success()
}

/// A workspace, and what is around it.
struct World {
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        for name in ["state/work", "state/layers", "state/secret", "shared"] {
            fs::create_dir_all(dir.path().join(name)).expect("made");
        }
        fs::write(dir.path().join("state/secret/key"), "the key").expect("written");
        Self { dir }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().canonicalize().expect("there").join(path)
    }

    fn spec(&self) -> BoxSpec {
        BoxSpec::new(self.path("state/work")).hidden(self.path("state"))
    }

    fn layered(&self) -> BoxSpec {
        self.spec().layers_dir(self.path("state/layers"))
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path("state/work").join(path))
            .unwrap_or_else(|error| error.to_string())
    }
}

async fn open(spec: &BoxSpec) -> Sandbox {
    Sandbox::open(spec).await.unwrap_or_else(|error| panic!("no box: {error}"))
}

fn bash(script: &str) -> Command {
    Command::new("bash")
        .args(["-c", script])
        .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
}

struct Told {
    exit: Exit,
    out: String,
}

async fn finish(mut process: Process) -> Told {
    let mut out = String::new();
    if let Some(mut stdout) = process.stdout() {
        stdout.read_to_string(&mut out).await.expect("text");
    }
    let mut err = String::new();
    if let Some(mut stderr) = process.stderr() {
        stderr.read_to_string(&mut err).await.expect("text");
    }
    out.push_str(&err);
    Told { exit: process.wait().await.expect("an end"), out: out.trim_end().to_owned() }
}

async fn run(sandbox: &Sandbox, command: Command) -> Told {
    finish(sandbox.spawn(command).await.expect("started")).await
}

async fn step(sandbox: &Sandbox, script: &str) -> Told {
    run(sandbox, bash(script).layer(true)).await
}

/// Waits for a condition, with a bound.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(20), "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn is_alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
    })
}

/// Counts processes whose arguments hold a marker.
fn with_marker(marker: &str) -> usize {
    let entries = fs::read_dir("/proc").expect("there").flatten();
    entries
        .filter(|entry| {
            let arguments = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&arguments).contains(marker)
        })
        .count()
}

async fn the_box_reports_its_walls() {
    let world = World::new();
    let limits = Limits {
        processes: Some(100),
        memory_bytes: Some(1 << 30),
        open_files: Some(512),
        ..Limits::default()
    };
    let sandbox = open(&world.layered().limits(limits).network(Network::None)).await;
    let protection = sandbox.protection();
    println!("{protection}");
    assert_eq!(protection.level, Level::Namespaces, "{protection}");
    assert!(protection.is_complete(), "{protection}");
    assert!(protection.has(Wall::Layers) && protection.has(Wall::MemoryLimit), "{protection}");
    sandbox.close().await;
}

async fn exit_codes_and_signals_are_exact() {
    let world = World::new();
    let sandbox = open(&world.spec()).await;
    for code in [0, 1, 42, 255] {
        assert_eq!(run(&sandbox, bash(&format!("exit {code}"))).await.exit.end, End::Code(code));
    }
    assert_eq!(run(&sandbox, bash("kill -TERM $$")).await.exit.end, End::Signal(15));
    assert_eq!(run(&sandbox, bash("kill -KILL $$")).await.exit.end, End::Signal(9));
    let busy = run(&sandbox, bash("i=0; while ((i < 20000)); do ((i += 1)); done")).await.exit;
    assert!(busy.user + busy.system > Duration::from_millis(1), "{busy:?}");
    assert!(busy.max_rss > 1 << 20, "{busy:?}");
    sandbox.close().await;
}

async fn the_environment_is_exact() {
    let world = World::new();
    let sandbox = open(&world.spec()).await;
    let command = Command::new("/usr/bin/env").env("B", "2 = two").env("A", "1").env("B", "later");
    assert_eq!(run(&sandbox, command).await.out, "A=1\nB=later");
    let wrong = sandbox.spawn(bash("true").env("A=B", "c")).await;
    assert!(matches!(wrong, Err(SpawnError::Unpassable { .. })), "{wrong:?}");
    sandbox.close().await;
}

async fn the_working_directory_is_the_one_asked_for() {
    let world = World::new();
    fs::create_dir(world.path("state/work/sub")).expect("made");
    let sandbox = open(&world.layered()).await;
    for layer in [false, true] {
        let here = run(&sandbox, Command::new("/bin/pwd").layer(layer)).await;
        assert_eq!(Path::new(&here.out), world.path("state/work"));
        let below = run(&sandbox, Command::new("/bin/pwd").cwd("sub").layer(layer)).await;
        assert_eq!(Path::new(&below.out), world.path("state/work/sub"));
    }
    let nowhere = sandbox.spawn(Command::new("/bin/pwd").cwd("nowhere")).await;
    assert!(matches!(nowhere, Err(SpawnError::Cwd { .. })), "{nowhere:?}");
    sandbox.close().await;
}

async fn a_missing_program_is_an_error_and_not_an_exit_code() {
    let world = World::new();
    let sandbox = open(&world.spec()).await;
    for program in ["no-such-program", "/no/such/program", ""] {
        let started = sandbox.spawn(Command::new(program).env("PATH", "/usr/bin:/bin")).await;
        assert!(matches!(started, Err(SpawnError::Program { .. })), "{program:?}: {started:?}");
    }
    fs::write(world.path("state/work/plain"), "no program").expect("written");
    let started = sandbox.spawn(Command::new("./plain")).await;
    assert!(
        matches!(&started, Err(SpawnError::Program { source, .. }) if source.raw_os_error() == Some(13))
    );
    assert_eq!(run(&sandbox, bash("exit 3")).await.exit.end, End::Code(3), "the box goes on");
    sandbox.close().await;
}

async fn a_large_environment_passes() {
    let world = World::new();
    let sandbox = open(&world.spec()).await;
    let command = (0..100)
        .fold(bash("echo ${#V99}"), |command, at| command.env(format!("V{at}"), "x".repeat(5000)));
    assert_eq!(run(&sandbox, command).await.out, "5000");
    sandbox.close().await;
}

async fn hidden_paths_cannot_be_read_but_the_workspace_below_them_can() {
    for level in [Level::Namespaces, Level::Landlock] {
        let world = World::new();
        fs::write(world.path("shared/file"), "also hidden").expect("written");
        fs::write(world.path("state/work/mine"), "mine").expect("written");
        let spec = world.spec().hidden(world.path("shared/file")).level(level);
        let sandbox = open(&spec).await;
        let key = world.path("state/secret/key");
        let told = run(&sandbox, bash(&format!("cat {}", key.display()))).await;
        assert_ne!(told.exit.end, End::Code(0), "{level}: {}", told.out);
        let told =
            run(&sandbox, bash(&format!("cat {}", world.path("shared/file").display()))).await;
        assert!(!told.out.contains("also hidden"), "{level}: {}", told.out);
        assert_eq!(run(&sandbox, bash("cat mine")).await.out, "mine", "{level}");
        let shadow = run(&sandbox, bash("cat /etc/shadow")).await;
        assert!(!shadow.out.contains("root:"), "{level}: {}", shadow.out);
        sandbox.close().await;
    }
}

async fn files_outside_the_workspace_cannot_be_written() {
    for level in [Level::Namespaces, Level::Landlock] {
        let world = World::new();
        let sandbox = open(&world.spec().level(level)).await;
        let script = "echo x > inside || exit 9
            for dir in / /etc /usr/bin /var /sys /proc/sys/kernel; do
                (echo x > $dir/marline-test-file) 2>/dev/null && echo wrote $dir
            done
            (echo 1 > /proc/sys/vm/drop_caches) 2>/dev/null && echo wrote a sysctl
            (echo h > /proc/sysrq-trigger) 2>/dev/null && [ -s /proc/sysrq-trigger ] && echo wrote sysrq
            true";
        let told = run(&sandbox, bash(script)).await;
        assert_eq!((told.exit.end, told.out.as_str()), (End::Code(0), ""), "{level}");
        assert_eq!(world.read("inside"), "x\n");
        sandbox.close().await;
    }
}

async fn writable_and_readable_paths_are_what_they_say() {
    for level in [Level::Namespaces, Level::Landlock] {
        let world = World::new();
        fs::create_dir(world.path("state/open")).expect("made");
        fs::write(world.path("state/open/note"), "read me").expect("written");
        let spec = world
            .spec()
            .writable(world.path("shared"))
            .readable(world.path("state/open"))
            .level(level);
        let sandbox = open(&spec).await;
        let (shared, note) = (world.path("shared/new"), world.path("state/open/note"));
        let told = run(
            &sandbox,
            bash(&format!("echo new > {}; cat {}", shared.display(), note.display())),
        )
        .await;
        assert_eq!(told.out, "read me", "{level}");
        assert_eq!(fs::read_to_string(&shared).expect("written"), "new\n");
        if level == Level::Namespaces {
            let told = run(&sandbox, bash(&format!("echo x > {}", note.display()))).await;
            assert_eq!(told.exit.end, End::Code(1), "{}", told.out);
        }
        sandbox.close().await;
    }
}

async fn temporary_files_are_private() {
    let world = World::new();
    let outside = tempfile::NamedTempFile::new_in("/tmp").expect("a file");
    let sandbox = open(&world.spec().tmp_bytes(1 << 20)).await;
    let told = run(&sandbox, bash(&format!("ls {}", outside.path().display()))).await;
    assert_ne!(told.exit.end, End::Code(0));
    let name = format!("/tmp/marline-private-{}", std::process::id());
    let shared = format!("/dev/shm/marline-private-{}", std::process::id());
    let told =
        run(&sandbox, bash(&format!("echo x > {name} && echo x > {shared} && cat {name}"))).await;
    assert_eq!(told.out, "x");
    assert!(!Path::new(&name).exists() && !Path::new(&shared).exists());
    let full = run(&sandbox, bash("head -c 2000000 /dev/zero > /tmp/full")).await;
    assert_ne!(full.exit.end, End::Code(0), "{}", full.out);
    sandbox.close().await;
}

async fn processes_outside_cannot_be_seen_or_killed() {
    let world = World::new();
    let victim = std::process::Command::new("sleep")
        .arg("1000")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let victim = Victim(victim.expect("started"));
    for level in [Level::Namespaces, Level::Landlock] {
        let sandbox = open(&world.spec().level(level)).await;
        let told = run(&sandbox, bash(&format!("kill -9 {}", victim.0.id()))).await;
        assert_ne!(told.exit.end, End::Code(0), "{level}");
        assert!(is_alive(victim.0.id()), "{level}");
        if level == Level::Namespaces {
            let told = run(&sandbox, bash("cat /proc/[0-9]*/comm")).await;
            assert!(
                told.out.lines().all(|name| ["bash", "cat", "marline-box"].contains(&name)),
                "{}",
                told.out
            );
            for attempt in [
                "cat /proc/1/environ",
                "readlink /proc/1/fd/0",
                "head -c1 /proc/1/mem",
                "ls /proc/1/root/",
            ] {
                let told = run(&sandbox, bash(attempt)).await;
                assert_ne!(
                    told.exit.end,
                    End::Code(0),
                    "the zygote is closed: {attempt}: {}",
                    told.out
                );
            }
        }
        sandbox.close().await;
    }
}

async fn nothing_can_be_mounted_and_no_namespace_made() {
    let world = World::new();
    let sandbox = open(&world.spec()).await;
    for attempt in [
        "mount -t tmpfs none .",
        "umount /proc",
        "unshare -r true",
        "unshare -m true",
        "chroot / true",
    ] {
        let told = run(&sandbox, bash(attempt)).await;
        assert_ne!(told.exit.end, End::Code(0), "{attempt}: {}", told.out);
    }
    sandbox.close().await;
}

async fn privileges_are_gone_and_files_belong_to_the_caller() {
    let world = World::new();
    for level in [Level::Namespaces, Level::Landlock] {
        let sandbox = open(&world.spec().level(level)).await;
        let told = run(
            &sandbox,
            bash("grep -E '^(Cap(Prm|Eff|Bnd)|NoNewPrivs|Seccomp):' /proc/self/status"),
        )
        .await;
        for wanted in [
            "CapPrm:\t0000000000000000",
            "CapEff:\t0000000000000000",
            "NoNewPrivs:\t1",
            "Seccomp:\t2",
        ] {
            assert!(told.out.contains(wanted), "{level}: {wanted} in {}", told.out);
        }
        let told = run(&sandbox, bash("id -u; touch made; stat -c %u made")).await;
        let own = nix::unistd::geteuid();
        assert_eq!(told.out, format!("{own}\n{own}"), "{level}");
        sandbox.close().await;
    }
}

async fn dangerous_calls_are_refused_at_the_landlock_level_too() {
    if !has("python3") {
        return skipped("python3");
    }
    let world = World::new();
    for level in [Level::Namespaces, Level::Landlock] {
        let sandbox = open(&world.spec().level(level)).await;
        // io_uring_setup, bpf, keyctl, userfaultfd, perf_event_open by their common numbers.
        let calls = if cfg!(target_arch = "x86_64") {
            "425,321,250,323,298"
        } else {
            "425,280,219,282,241"
        };
        let script = format!(
            "import ctypes,socket
c = ctypes.CDLL(None, use_errno=True)
for n in ({calls}):
    r = c.syscall(n, 0, 0, 0, 0, 0); print(r, ctypes.get_errno())
for f in (17, 38, 40):
    try: socket.socket(f, 3, 0); print('socket', f)
    except OSError as e: print(-1, e.errno)"
        );
        let told = run(
            &sandbox,
            Command::new("python3")
                .args(["-c", &script])
                .env("PATH", "/usr/local/bin:/usr/bin:/bin"),
        )
        .await;
        assert_eq!(told.out, ["-1 1"; 8].join("\n"), "{level}");
        sandbox.close().await;
    }
}

async fn without_a_network_there_is_only_loopback() {
    let world = World::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let sandbox = open(&world.spec().network(Network::None)).await;
    assert_eq!(
        run(&sandbox, bash("sed 1,2d /proc/net/dev | cut -d: -f1 | tr -d ' '")).await.out,
        "lo"
    );
    let told = run(&sandbox, bash(&format!("exec 3<>/dev/tcp/127.0.0.1/{port}"))).await;
    assert!(told.out.contains("refused"), "loopback is up and is not the machine's: {}", told.out);
    let told = run(&sandbox, bash("exec 3<>/dev/tcp/192.0.2.1/80")).await;
    assert!(told.out.contains("unreachable"), "{}", told.out);
    sandbox.close().await;
}

async fn an_open_network_reaches_the_loopback_of_the_machine() {
    let world = World::new();
    for level in [Level::Namespaces, Level::Landlock, Level::Plain] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let greeter = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a caller");
            stream.write_all(b"welcome\n").expect("sent");
        });
        let sandbox = open(&world.spec().network(Network::Open).level(level)).await;
        let told =
            run(&sandbox, bash(&format!("exec 3<>/dev/tcp/127.0.0.1/{port}; head -n1 <&3"))).await;
        assert_eq!(told.out, "welcome", "{level}");
        greeter.join().expect("greeted");
        sandbox.close().await;
    }
}

async fn a_fork_bomb_stops_at_the_limit() {
    let world = World::new();
    let limits = Limits { processes: Some(20), ..Limits::default() };
    let sandbox = open(&world.spec().limits(limits)).await;
    assert!(sandbox.protection().has(Wall::ProcessLimit), "{}", sandbox.protection());
    let marker = format!("999.{}", std::process::id());
    let process = sandbox
        .spawn(
            bash(&format!("for i in {{1..60}}; do sleep {marker} & done; wait"))
                .stderr(Output::Null)
                .stdout(Output::Null),
        )
        .await
        .expect("started");
    until("the bomb has grown", || with_marker(&marker) >= 10).await;
    assert!(with_marker(&marker) <= 21, "{} run", with_marker(&marker));
    let exit = process.terminate(&Patience { requests: Vec::new() }).await.expect("ended");
    assert_eq!(exit.end, End::Signal(9));
    sandbox.close().await;
    assert_eq!(with_marker(&marker), 0);
}

async fn too_much_memory_is_killed_and_reported() {
    let world = World::new();
    let limits = Limits { memory_bytes: Some(64 << 20), ..Limits::default() };
    let sandbox = open(&world.spec().limits(limits)).await;
    let told = run(&sandbox, bash("exit 7")).await;
    assert!(!told.exit.oom);
    let told = run(
        &sandbox,
        bash("x=$(head -c 30000000 /dev/zero | tr '\\0' x); y=$x$x$x$x$x; sleep 100"),
    )
    .await;
    assert!(told.exit.oom, "{:?} {}", told.exit, sandbox.protection());
    assert_eq!(told.exit.end, End::Signal(9));
    let told = run(&sandbox, bash("echo alive")).await;
    assert_eq!((told.out.as_str(), told.exit.oom), ("alive", false), "the box goes on");
    sandbox.close().await;
}

async fn the_limits_of_a_process_hold() {
    let world = World::new();
    let limits = Limits {
        open_files: Some(64),
        file_bytes: Some(4096),
        cpu_seconds: Some(1),
        ..Limits::default()
    };
    for level in [Level::Namespaces, Level::Plain] {
        let sandbox = open(&world.spec().limits(limits).level(level)).await;
        assert_eq!(run(&sandbox, bash("ulimit -n; ulimit -t")).await.out, "64\n1", "{level}");
        assert_ne!(
            run(&sandbox, bash("head -c 9999 /dev/zero > big")).await.exit.end,
            End::Code(0),
            "{level}"
        );
        let told = run(&sandbox, bash("while :; do :; done")).await;
        assert!(matches!(told.exit.end, End::Signal(9 | 24)), "{level}: {:?}", told.exit);
        sandbox.close().await;
    }
}

async fn grandchildren_die_when_the_box_closes() {
    let world = World::new();
    for (at, level) in [Level::Namespaces, Level::Landlock, Level::Plain].into_iter().enumerate() {
        let marker = format!("99{at}1.{}", std::process::id());
        let sandbox = open(&world.spec().level(level)).await;
        let script = format!(
            "setsid sleep {marker} >/dev/null 2>&1 & (sleep {marker} >/dev/null 2>&1 &) ; echo done"
        );
        assert_eq!(run(&sandbox, bash(&script)).await.out, "done");
        until("both run", || with_marker(&marker) == 2).await;
        sandbox.close().await;
        assert_eq!(with_marker(&marker), 0, "{level}");
    }
}

async fn killing_a_process_kills_its_tree() {
    let world = World::new();
    for (at, level) in [Level::Namespaces, Level::Plain].into_iter().enumerate() {
        let marker = format!("88{at}1.{}", std::process::id());
        let sandbox = open(&world.spec().level(level)).await;
        let other = sandbox.spawn(bash(&format!("sleep {marker}9; true"))).await.expect("started");
        let script = format!("sleep {marker} & setsid sleep {marker} & wait");
        let process = sandbox.spawn(bash(&script).stdout(Output::Null)).await.expect("started");
        until("all run", || with_marker(&format!("sleep\0{marker}\0")) == 2).await;
        process.kill().await.expect("asked");
        assert_eq!(process.wait().await.expect("ended").end, End::Signal(9));
        until("the tree is gone", || with_marker(&format!("sleep\0{marker}\0")) == 0).await;
        assert_eq!(other.exit(), None, "{level}: others are left alone");
        sandbox.close().await;
        until("the other is gone", || with_marker(&marker) == 0).await;
    }
}

async fn terminate_asks_before_it_kills() {
    let world = World::new();
    let sandbox = open(&world.spec()).await;
    let patience = |millis| Patience {
        requests: vec![
            (Signal::SIGINT, Duration::from_millis(millis)),
            (Signal::SIGTERM, Duration::from_millis(millis)),
        ],
    };
    let polite = "trap 'echo int' INT; trap 'echo term; exit 5' TERM; echo ready; while :; do sleep 0.01; done";
    let mut process = sandbox.spawn(bash(polite)).await.expect("started");
    let mut stdout = process.stdout().expect("a pipe");
    wait_for(&mut stdout, "ready\n").await;
    assert_eq!(process.terminate(&patience(300)).await.expect("ended").end, End::Code(5));
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).await.expect("text");
    assert_eq!(rest, "int\nterm\n");

    let deaf = "trap '' INT TERM; echo ready; while :; do sleep 0.01; done";
    let mut process = sandbox.spawn(bash(deaf)).await.expect("started");
    wait_for(&mut process.stdout().expect("a pipe"), "ready\n").await;
    assert_eq!(process.terminate(&patience(20)).await.expect("ended").end, End::Signal(9));
    sandbox.close().await;
}

async fn wait_for(stream: &mut (impl AsyncReadExt + Unpin), text: &str) {
    let mut seen = vec![0; text.len()];
    stream.read_exact(&mut seen).await.expect("text");
    assert_eq!(String::from_utf8_lossy(&seen), text);
}

async fn the_death_of_the_caller_kills_the_box() {
    for level in ["namespaces", "landlock", "plain"] {
        let world = World::new();
        let mut caller = std::process::Command::new(std::env::current_exe().expect("a program"))
            .env("DOOMED_CALLER", world.path("state/work"))
            .env("MARLINE_BOX", level)
            .spawn()
            .expect("started");
        let pid_file = world.path("state/work/pid");
        let read_pid = || fs::read_to_string(&pid_file).ok()?.trim().parse::<u32>().ok();
        until("the box runs", || read_pid().is_some()).await;
        let pid = read_pid().expect("seen before");
        assert!(is_alive(pid), "{level}");
        caller.kill().expect("killed");
        assert_eq!(caller.wait().expect("reaped").signal(), Some(9));
        until("the box is gone", || !is_alive(pid)).await;
    }
}

/// The caller that will be killed: opens a box and waits for ever.
fn doomed_caller(workspace: &Path) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let sandbox = open(&BoxSpec::new(workspace)).await;
        let process = sandbox.spawn(Command::new("/bin/sleep").arg("1000")).await.expect("started");
        let temporary = workspace.join("pid.new");
        fs::write(&temporary, process.pid().to_string()).expect("written");
        fs::rename(temporary, workspace.join("pid")).expect("renamed");
        let _ = process.wait().await;
    });
}

async fn several_processes_run_at_once() {
    let world = World::new();
    let sandbox = open(&world.layered()).await;
    let first = bash("mkfifo fifo; read line < fifo; echo got $line").layer(true);
    let first = sandbox.spawn(first).await.expect("started");
    let second = sandbox
        .spawn(bash("until [ -p fifo ]; do sleep 0.01; done; echo hello > fifo"))
        .await
        .expect("started");
    assert!(finish(second).await.exit.is_success());
    assert_eq!(finish(first).await.out, "got hello");
    sandbox.close().await;
}

async fn streams_may_outlive_their_process() {
    let world = World::new();
    let sandbox = open(&world.spec()).await;
    let mut process = sandbox.spawn(bash("sleep 1000 & echo out")).await.expect("started");
    let mut stdout = process.stdout().expect("a pipe");
    wait_for(&mut stdout, "out\n").await;
    assert!(process.wait().await.expect("ended").is_success());
    let mut byte = [0];
    let held = tokio::time::timeout(Duration::from_millis(50), stdout.read(&mut byte)).await;
    assert!(held.is_err(), "the grandchild holds the pipe");
    process.kill().await.expect("asked");
    assert_eq!(stdout.read(&mut byte).await.expect("an end"), 0);

    let file = fs::File::create(world.path("shared/log")).expect("made");
    let command = bash("echo to a file").stdout(OwnedFd::from(file)).stderr(Output::Null);
    assert!(run(&sandbox, command).await.exit.is_success());
    assert_eq!(fs::read_to_string(world.path("shared/log")).expect("read"), "to a file\n");
    sandbox.close().await;
}

async fn a_step_without_writes_leaves_no_layer() {
    let world = World::new();
    fs::write(world.path("state/work/file"), "x").expect("written");
    let sandbox = open(&world.layered()).await;
    for _ in 0..3 {
        assert_eq!(step(&sandbox, "cat file").await.exit.layer, None);
    }
    let told = step(&sandbox, "echo y > file").await;
    let layer = told.exit.layer.expect("a layer");
    assert_eq!(layer.number(), 1);
    sandbox.close().await;
    let left: Vec<_> = fs::read_dir(world.path("state/layers")).expect("there").flatten().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

async fn changes_of(sandbox: &Sandbox, script: &str) -> Vec<String> {
    let told = step(sandbox, script).await;
    assert_eq!((&told.exit.end, told.out.as_str()), (&End::Code(0), ""), "{script}");
    assert_eq!(told.exit.layer_failure, None);
    let Some(layer) = told.exit.layer else { return Vec::new() };
    assert!(!layer.is_shared());
    let changes = layer.changes().expect("a list");
    changes
        .iter()
        .map(|change| {
            let kind = match change.kind {
                ChangeKind::Added => '+',
                ChangeKind::Modified => '~',
                ChangeKind::Deleted => '-',
            };
            format!("{kind}{}", change.path.display())
        })
        .collect()
}

async fn layers_list_exact_changes_and_fold() {
    let world = World::new();
    fs::write(world.path("state/work/old"), "old").expect("written");
    fs::write(world.path("state/work/gone"), "gone").expect("written");
    fs::create_dir(world.path("state/work/dir")).expect("made");
    fs::write(world.path("state/work/dir/kept"), "kept").expect("written");
    let sandbox = open(&world.layered()).await;
    let first = "echo new > new; echo more >> old; rm gone; mkdir -p a/b; echo c > a/b/c; ln -s old link; echo d > dir/d";
    assert_eq!(
        changes_of(&sandbox, first).await,
        ["+a", "+a/b", "+a/b/c", "+dir/d", "-gone", "+link", "+new", "~old"]
    );
    assert_eq!(world.read("old"), "oldmore\n");
    assert_eq!(world.read("a/b/c"), "c\n");
    assert!(!world.path("state/work/gone").exists());
    assert_eq!(changes_of(&sandbox, "cat a/b/c old dir/kept > /dev/null").await, [""; 0]);
    assert_eq!(
        changes_of(&sandbox, "rm -r a; chmod 600 old; touch $'bad\\xffname'").await.len(),
        3
    );
    assert!(!world.path("state/work/a").exists());
    assert_eq!(
        fs::metadata(world.path("state/work/old")).expect("there").permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(changes_of(&sandbox, "rm $'bad\\xffname'; echo e > dir/e; rm dir/e").await.len(), 1);
    let plain = run(&sandbox, bash("cat old > seen; cat seen")).await;
    assert_eq!(
        (plain.out.as_str(), plain.exit.layer),
        ("oldmore", None),
        "without a layer it is the workspace itself"
    );
    sandbox.close().await;
    assert_eq!(world.read("seen"), "oldmore\n");
}

async fn a_layer_stays_as_it_was() {
    let world = World::new();
    let sandbox = open(&world.layered()).await;
    let first = step(&sandbox, "echo one > file").await.exit.layer.expect("a layer");
    let second = step(&sandbox, "echo two >> file").await.exit.layer.expect("a layer");
    assert_eq!(world.read("file"), "one\ntwo\n");
    assert_eq!(fs::read_to_string(first.dir().join("upper/file")).expect("kept"), "one\n");
    assert_eq!(fs::read_to_string(second.dir().join("upper/file")).expect("kept"), "one\ntwo\n");
    sandbox.close().await;
}

async fn a_replaced_directory_loses_what_it_held() {
    let world = World::new();
    fs::create_dir(world.path("state/work/dir")).expect("made");
    fs::write(world.path("state/work/dir/a"), "a").expect("written");
    fs::write(world.path("state/work/dir/b"), "b").expect("written");
    let sandbox = open(&world.layered()).await;
    assert_eq!(
        changes_of(&sandbox, "rm -r dir; mkdir dir; echo new > dir/b").await,
        ["-dir/a", "~dir/b"]
    );
    assert!(!world.path("state/work/dir/a").exists());
    assert_eq!(world.read("dir/b"), "new\n");
    assert_eq!(changes_of(&sandbox, "rm -r dir; echo file > dir").await, ["~dir"]);
    assert_eq!(world.read("dir"), "file\n");
    sandbox.close().await;
}

async fn a_background_process_keeps_its_view_and_loses_nothing() {
    let world = World::new();
    let sandbox = open(&world.layered()).await;
    let script = "mkfifo go; (read line < go; echo late > late; echo done > done) > /dev/null 2>&1 & echo early > early";
    let told = step(&sandbox, script).await;
    let layer = told.exit.layer.expect("a layer");
    assert!(layer.is_shared(), "something still runs");
    let told =
        step(&sandbox, "echo x > go; until [ -f done ]; do sleep 0.01; done; cat late").await;
    assert_eq!(told.out, "late");
    let later = told.exit.layer.expect("a layer").changes().expect("a list");
    let names: Vec<_> = later.iter().map(|change| change.path.display().to_string()).collect();
    assert_eq!(names, ["done", "late"]);
    sandbox.close().await;
    assert_eq!(world.read("late"), "late\n");
    assert_eq!(world.read("early"), "early\n");
}

async fn a_layer_can_be_replayed_elsewhere() {
    let (world, other) = (World::new(), World::new());
    fs::write(other.path("state/work/gone"), "gone").expect("written");
    fs::write(world.path("state/work/gone"), "gone").expect("written");
    let sandbox = open(&world.layered()).await;
    let layer = step(&sandbox, "rm gone; mkdir d; echo x > d/f; chmod 700 d/f")
        .await
        .exit
        .layer
        .expect("a layer");
    sandbox.close().await;
    let sandbox = open(&other.layered()).await;
    sandbox.replay(&layer).await.expect("replayed");
    assert_eq!(step(&sandbox, "ls; cat d/f").await.out, "d\nx");
    sandbox.close().await;
    assert_eq!(other.read("d/f"), "x\n");
    assert_eq!(
        fs::metadata(other.path("state/work/d/f")).expect("there").permissions().mode() & 0o777,
        0o700
    );
}

async fn a_kept_layer_outlives_its_box() {
    let world = World::new();
    for dir in ["old", "gone"] {
        fs::create_dir(world.path("state/work").join(dir)).expect("made");
        fs::write(world.path("state/work").join(dir).join("x"), "x").expect("written");
    }
    let sandbox = open(&world.layered()).await;
    let script = "rm -r old gone; mkdir old; echo y > old/y; ln -s nowhere link; chmod 700 old/y";
    let layer = step(&sandbox, script).await.exit.layer.expect("a layer");
    layer.keep(&world.path("state/kept")).expect("kept");
    let changes = layer.changes().expect("a list");
    sandbox.close().await;
    fs::remove_dir_all(world.path("state/work")).expect("removed");
    fs::remove_dir_all(world.path("state/layers")).expect("removed");
    for dir in ["work/old", "work/gone", "layers"] {
        fs::create_dir_all(world.path("state").join(dir)).expect("made");
    }
    fs::write(world.path("state/work/old/x"), "x").expect("written");

    let sandbox = open(&world.layered()).await;
    let kept = sandbox::Layer::kept(world.path("state/kept"));
    assert_eq!(kept.changes().expect("a list"), changes);
    sandbox.replay(&kept).await.expect("replayed");
    let told = step(&sandbox, "ls -A . old; stat -c %a old/y; readlink link").await;
    assert_eq!(told.out, ".:\nlink\nold\n\nold:\ny\n700\nnowhere");
    sandbox.close().await;
}

async fn a_held_layer_leaves_the_workspace_as_it_was() {
    let world = World::new();
    fs::write(world.path("state/work/file"), "one\n").expect("written");
    let sandbox = open(&world.layered()).await;
    let told = run(&sandbox, bash("echo two >> file").layer(true).hold(true)).await;
    assert!(told.exit.alone);
    assert_eq!(world.read("file"), "one\n");
    let layer = told.exit.layer.expect("a layer");
    assert_eq!(fs::read_to_string(layer.dir().join("upper/file")).expect("kept"), "one\ntwo\n");
    sandbox.fold().await.expect("folded");
    assert_eq!(world.read("file"), "one\ntwo\n");
    let told = step(&sandbox, "echo three >> file; sleep 1000 > /dev/null 2>&1 &").await;
    assert!(!told.exit.alone, "something was left");
    sandbox.close().await;
    assert_eq!(world.read("file"), "one\ntwo\nthree\n");
}

/// Runs a command, observed, and returns its output with what was seen.
async fn observe(sandbox: &Sandbox, command: Command) -> (String, Seen) {
    let mut process = sandbox.spawn(command.layer(true).observe(true)).await.expect("started");
    let (mut stdout, mut stderr) =
        (process.stdout().expect("a pipe"), process.stderr().expect("a pipe"));
    let (mut out, mut err) = (String::new(), String::new());
    stdout.read_to_string(&mut out).await.expect("read");
    stderr.read_to_string(&mut err).await.expect("read");
    assert!(process.wait().await.expect("ended").is_success(), "{out}{err}");
    (out, process.seen().expect("observed"))
}

impl World {
    fn uses(&self, seen: &Seen, path: &str) -> Uses {
        assert_eq!(seen.lost, None);
        let path = self.path("state/work").join(path).into_os_string().into_encoded_bytes();
        seen.paths.get(&path).copied().unwrap_or_default()
    }
}

async fn an_observed_process_tells_what_it_looked_at() {
    let world = World::new();
    fs::write(world.path("state/work/read"), "r").expect("written");
    fs::create_dir(world.path("state/work/dir")).expect("made");
    let sandbox = open(&world.layered()).await;
    let script = "cat read; [ -e missing ] || (cd dir && : > below); echo >> more; mkdir new; ln -s read way; cat way; mv new newer; rm more; touch /tmp/left";
    let (out, seen) = observe(&sandbox, bash(script)).await;
    assert_eq!(out, "rr");
    assert!(world.uses(&seen, "read").has(Uses::READ));
    assert!(world.uses(&seen, "missing").has_any(Uses::LOOKED | Uses::LINK));
    assert!(!world.uses(&seen, "missing").has(Uses::READ));
    assert!(!world.uses(&seen, "dir/below").has(Uses::READ), "it was only written");
    assert!(world.uses(&seen, "dir/below").has(Uses::MADE));
    assert!(world.uses(&seen, "more").has(Uses::READ | Uses::REMOVED));
    assert!(world.uses(&seen, "new").has(Uses::NEW));
    let work = world.path("state/work");
    let names =
        [("way", "read"), ("newer", "new")].map(|(new, old)| (work.join(new), work.join(old)));
    assert!(names.iter().all(|name| seen.aliases.contains(name)), "{:?}", seen.aliases);
    let cat = seen.paths.iter().find(|(path, _)| path.ends_with(b"/cat") && path.starts_with(b"/"));
    assert!(cat.is_some());
    assert_eq!(seen.is_there(Path::new("/tmp/left")), Some(true));
    assert_eq!(seen.is_there(Path::new("/tmp/other")), Some(false));
    assert!(seen.reached.is_empty());
    let (_, seen) = observe(&sandbox, bash("true")).await;
    assert_eq!(seen.is_there(Path::new("/tmp/left")), Some(true), "it is seen as the box sees it");
    sandbox.close().await;
}

async fn an_observed_process_tells_whom_it_reached() {
    let world = World::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = listener.local_addr().expect("an address");
    let sandbox = open(&world.layered()).await;
    let connect = format!("exec 3<>/dev/tcp/127.0.0.1/{}", address.port());
    let (_, seen) = observe(&sandbox, bash(&connect)).await;
    assert_eq!((seen.reached.into_iter().collect::<Vec<_>>(), seen.lost), (vec![address], None));

    let inside = "import socket, threading\ns = socket.create_server(('127.0.0.1', 0))\nc = socket.create_connection(s.getsockname())\nu = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\nu.sendto(b'x', ('127.0.0.9', 9))\nu.sendmsg([b'x'], [], 0, ('127.0.0.8', 9))\n";
    let (_, seen) = observe(
        &sandbox,
        Command::new("/usr/bin/python3").args(["-Sc", inside]).env("PATH", "/usr/bin"),
    )
    .await;
    let reached: Vec<String> = seen.reached.iter().map(ToString::to_string).collect();
    assert_eq!(reached, ["127.0.0.8:9", "127.0.0.9:9"]);
    sandbox.close().await;
}

async fn programs_without_a_library_are_observed_too() {
    let world = World::new();
    // An empty loader variable: nothing but the system calls themselves is looked at.
    let busy = ["/bin/busybox", "/usr/sbin/ldconfig", "/sbin/ldconfig"];
    let Some(program) = busy.iter().find(|path| Path::new(path).exists()) else {
        println!("programs_without_a_library_are_observed_too: skipped, none is here");
        return;
    };
    let sandbox = open(&world.layered()).await;
    let script =
        format!("{program} cat read 2>/dev/null || {program} -p -C ./read >/dev/null 2>&1; true");
    let (_, seen) = observe(&sandbox, bash(&script)).await;
    assert!(
        world.uses(&seen, "read").has(Uses::LOOKED)
            || seen.paths.keys().any(|path| path.ends_with(b"/read"))
    );
    sandbox.close().await;
}

async fn the_plain_level_says_what_is_missing() {
    let world = World::new();
    let sandbox = open(&world.layered().network(Network::None).level(Level::Plain)).await;
    let protection = sandbox.protection();
    assert_eq!(protection.level, Level::Plain);
    let missing: Vec<Wall> = protection.missing.iter().map(|(wall, _)| *wall).collect();
    for wall in [
        Wall::ReadOnlySystem,
        Wall::HiddenPaths,
        Wall::PrivateTmp,
        Wall::Network,
        Wall::NoPrivileges,
        Wall::Layers,
    ] {
        assert!(missing.contains(&wall), "{wall:?} in {protection}");
    }
    assert!(protection.to_string().contains("not so: hidden files cannot be read"), "{protection}");
    let told = run(&sandbox, bash("echo x > direct").layer(true)).await;
    assert_eq!((told.exit.end, told.exit.layer), (End::Code(0), None));
    assert_eq!(world.read("direct"), "x\n");
    sandbox.close().await;
}

async fn a_level_too_weak_is_refused() {
    let world = World::new();
    let spec = world.spec().level(Level::Plain).at_least(Level::Namespaces);
    let refused = Sandbox::open(&spec).await;
    assert!(
        matches!(refused, Err(SandboxError::Refused { .. } | SandboxError::TooWeak { .. })),
        "{refused:?}"
    );
}

async fn common_tools_work() {
    let world = World::new();
    let sandbox = open(&world.layered().writable(world.path("shared"))).await;
    let attempts = [
        (
            "git",
            "git init -q . && git add . && git -c user.name=a -c user.email=a@b commit -q --allow-empty -m x && git status --short",
        ),
        ("cc", "echo 'int main(void) { return 0; }' > x.c && cc x.c -o x && ./x"),
        (
            "python3",
            "python3 -c 'import threading,subprocess; t=threading.Thread(target=subprocess.run,args=([\"true\"],)); t.start(); t.join()'",
        ),
        (
            "node",
            "node -e 'require(\"child_process\").execSync(\"true\"); require(\"fs\").writeFileSync(\"n\", \"x\")'",
        ),
        (
            "bash",
            "tee out < <(echo x) > /dev/null; cat <<< here > /dev/null; [ -c /dev/null ] && head -c4 /dev/urandom > r",
        ),
    ];
    for (tool, script) in attempts {
        if !has(tool) {
            skipped(tool);
            continue;
        }
        let command = bash(script).env("HOME", world.path("shared").as_os_str()).layer(true);
        let told = run(&sandbox, command).await;
        assert_eq!((told.exit.end, told.out.as_str()), (End::Code(0), ""), "{tool}");
    }
    sandbox.close().await;
}

fn has(tool: &str) -> bool {
    ["/usr/local/bin", "/usr/bin", "/bin"].iter().any(|dir| Path::new(dir).join(tool).exists())
}

fn skipped(tool: &str) {
    println!("skipped in part: {tool} is not here");
}

/// A process outside the box, gone with the test whatever its outcome.
struct Victim(std::process::Child);

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
