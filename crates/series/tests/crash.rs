//! A store loses nothing that it answered for, when its process is killed or its disk is full.
//!
//! This program starts itself again as the process that is killed, or that fills its disk.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use series::disk::Settings;
use series::{AppendError, Labels, Millis, Row, Store};

const KILLS: usize = 200;
const SERIES: i64 = 6;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match &arguments[1..] {
        [role, directory] if role == "append" => append_until_killed(Path::new(directory)),
        [role, directory] if role == "fill" => fill(Path::new(directory)),
        // What a list of tests asks for: there is nothing to choose here.
        [list, ..] if list == "--list" => {}
        _ => {
            killed_at_any_moment_a_store_has_every_sample_that_it_answered_for();
            println!("test killed_at_any_moment_a_store_has_every_sample ... ok");
            a_full_disk_refuses_samples_and_takes_them_again_when_there_is_room();
        }
    }
}

/// Small ranges of time, so that a block is written, or several become one, at any moment.
fn settings() -> Settings {
    Settings {
        span: Duration::from_mins(1),
        late: Duration::from_secs(5),
        free: 0.0,
        threads: false,
        ..Settings::default()
    }
}

fn batch(second: i64) -> Vec<Row> {
    let of = |series: i64| {
        let labels = Labels::metric("beats_total", [("series", series.to_string().as_str())]);
        Row::new(labels, second * 1000, (second * (series + 1)) as f64)
    };
    (0..SERIES).map(of).collect()
}

/// Returns how many seconds from the first on every series has, and checks each value.
fn whole_seconds(store: &Store) -> i64 {
    let all = store.select(&[], Millis::MIN, Millis::MAX).expect("select");
    let mut shortest = if all.len() as i64 == SERIES { i64::MAX } else { 0 };
    for series in &all {
        let number: i64 = series.labels.get("series").parse().expect("a number");
        for (second, sample) in series.samples.iter().enumerate() {
            let second = second as i64;
            assert_eq!(sample.at, second * 1000, "a gap in {}", series.labels);
            assert_eq!(sample.value.to_bits(), ((second * (number + 1)) as f64).to_bits());
        }
        shortest = shortest.min(series.samples.len() as i64);
    }
    shortest
}

fn append_until_killed(directory: &Path) {
    let store = Store::open(directory, settings()).expect("open");
    let disk = store.disk().expect("on disk");
    let mut second = whole_seconds(&store);
    let mut out = std::io::stdout().lock();
    loop {
        store.append(batch(second)).expect("append");
        writeln!(out, "{second}").and_then(|()| out.flush()).expect("tell");
        second += 1;
        if second % 7 == 0 {
            disk.tend();
        }
        if second % 31 == 0 {
            disk.checkpoint().expect("write a checkpoint");
        }
    }
}

fn killed_at_any_moment_a_store_has_every_sample_that_it_answered_for() {
    let seed = std::env::var("SERIES_CRASH_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).expect("randomness");
        u64::from_le_bytes(bytes)
    });
    println!("seed {seed}: set SERIES_CRASH_SEED to it to kill at the same answers");
    let mut state = seed | 1;
    let mut random = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let directory = tempfile::tempdir().expect("a directory");
    let program = std::env::current_exe().expect("this program");
    let (mut answered, mut slowest) = (0i64, Duration::ZERO);
    for kill in 0..KILLS {
        let mut child = Command::new(&program)
            .arg("append")
            .arg(directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start");
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        // The process goes on while we read, so it dies in the middle of anything.
        let mut wanted = 1 + random(40);
        for line in lines {
            let Some(second) = line.ok().and_then(|line| line.parse::<i64>().ok()) else {
                break;
            };
            answered = answered.max(second + 1);
            wanted -= 1;
            if wanted == 0 {
                let spins = random(200_000);
                (0..spins).for_each(|_| std::hint::spin_loop());
                child.kill().expect("kill");
                // What it told before it died counts as well.
                wanted = u64::MAX;
            }
        }
        child.wait().expect("wait");
        let store = Store::open(directory.path(), settings()).expect("open after a kill");
        let recovery = store.disk().expect("on disk").recovery().clone();
        let whole = whole_seconds(&store);
        assert!(whole >= answered, "kill {kill}: {answered} answered, {whole} there (seed {seed})");
        assert!(recovery.set_aside.is_empty(), "kill {kill}: {recovery:?} (seed {seed})");
        assert_eq!(recovery.broken, 0, "kill {kill}: {recovery:?} (seed {seed})");
        slowest = slowest.max(recovery.took);
    }
    println!("{KILLS} kills, {answered} answered seconds kept, slowest start {slowest:?}");
}

fn a_full_disk_refuses_samples_and_takes_them_again_when_there_is_room() {
    let directory = tempfile::tempdir().expect("a directory");
    let program = std::env::current_exe().expect("this program");
    // A disk of one mebibyte of our own; it is gone with the process.
    let mount = "mount -t tmpfs -o size=1m tmpfs \"$1\" && exec \"$2\" fill \"$1\"";
    let within = |command: &mut Command| {
        command.args(["sh", "-c", mount, "sh"]).arg(directory.path()).arg(&program).output()
    };
    let root = within(Command::new("unshare").arg("-m"));
    let output = match root {
        Ok(output) if output.status.success() => Ok(output),
        _ => within(Command::new("unshare").args(["-r", "-m"])),
    };
    match output {
        Ok(output) if output.status.success() => {
            println!("test a_full_disk_refuses_samples_and_takes_them_again ... ok");
        }
        Ok(output) if !String::from_utf8_lossy(&output.stderr).contains("panicked") => {
            let why = String::from_utf8_lossy(&output.stderr);
            println!("test a_full_disk … skipped: no disk of its own here ({})", why.trim());
        }
        Ok(output) => panic!("{}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => println!("test a_full_disk … skipped: no `unshare` here ({error})"),
    }
}

fn fill(directory: &Path) {
    let filler = directory.join("filler");
    std::fs::write(&filler, vec![1; 700 << 10]).expect("room for the filler");
    let state = directory.join("series");
    let store = Store::open(&state, settings()).expect("open");
    let disk = store.disk().expect("on disk");
    let began = Instant::now();
    let mut kept = 0;
    let refused = loop {
        match store.append(batch(kept)) {
            Ok(appended) => assert_eq!(appended.kept as i64, SERIES),
            Err(error) => break error,
        }
        kept += 1;
        if kept % 100 == 0 {
            disk.tend();
        }
        assert!(began.elapsed() < Duration::from_mins(5), "the disk never got full");
    };
    let AppendError::Unwritable { reason } = &refused;
    assert!(reason.contains("No space left"), "{reason}");
    // Nothing that was answered is missing, nothing that was refused is there.
    assert_eq!(whole_seconds(&store), kept);
    disk.tend();
    assert_eq!(whole_seconds(&store), kept);
    std::fs::remove_file(&filler).expect("make room");
    for second in kept..kept + 100 {
        store.append(batch(second)).expect("there is room again");
    }
    disk.tend();
    drop(store);
    let store = Store::open(&state, settings()).expect("open again");
    assert_eq!(whole_seconds(&store), kept + 100);
    let recovery = store.disk().expect("on disk").recovery();
    assert_eq!((recovery.broken, recovery.set_aside.len()), (0, 0), "{recovery:?}");
}
