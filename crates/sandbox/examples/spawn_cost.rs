//! Prints what one process costs, with the box and without: microseconds per spawn.
//!
//! `cargo run --release -p sandbox --example spawn_cost [COUNT]`

use std::process::Stdio;
use std::time::{Duration, Instant};

use sandbox::{BoxSpec, Command, Level, Limits, Output, Sandbox};

fn main() {
    sandbox::entry();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(measure());
}

async fn measure() {
    let count = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(500);
    let dir = tempfile::tempdir().expect("a directory");
    let workspace = dir.path().join("work");
    std::fs::create_dir(&workspace).expect("made");
    let script = workspace.join("x.sh");
    std::fs::write(&script, "true\n").expect("written");
    let script = script.to_str().expect("plain text");
    let commands: [(&str, Vec<&str>); 2] =
        [("true", vec!["/bin/true"]), ("bash -e x.sh", vec!["/bin/bash", "-e", script])];

    for (name, argv) in &commands {
        let started = Instant::now();
        let before = cpu();
        for _ in 0..count {
            let status = tokio::process::Command::new(argv[0])
                .args(&argv[1..])
                .stdout(Stdio::null())
                .status()
                .await;
            assert!(status.expect("started").success());
        }
        tell(&format!("no box, {name}"), count, started.elapsed(), cpu().saturating_sub(before));
    }
    let limits = Limits {
        processes: Some(1000),
        memory_bytes: Some(4 << 30),
        open_files: Some(1024),
        ..Limits::default()
    };
    for level in [Level::Plain, Level::Landlock, Level::Namespaces] {
        let spec = BoxSpec::new(&workspace)
            .layers_dir(dir.path().join("layers"))
            .limits(limits)
            .level(level);
        let opening = Instant::now();
        let sandbox = Sandbox::open(&spec).await.expect("a box");
        println!("{:>40}: {:>6} µs", format!("open, {level}"), opening.elapsed().as_micros());
        for (name, argv) in &commands {
            for (layer, observe, what) in
                [(false, false, ""), (true, false, ", layer"), (true, true, ", layer, observed")]
            {
                let started = Instant::now();
                let before = cpu();
                for _ in 0..count {
                    let command = Command::new(argv[0])
                        .args(&argv[1..])
                        .layer(layer)
                        .observe(observe)
                        .stdout(Output::Null)
                        .stderr(Output::Null);
                    let process = sandbox.spawn(command).await.expect("started");
                    assert!(process.wait().await.expect("ended").is_success());
                }
                tell(
                    &format!("{level}{what}, {name}"),
                    count,
                    started.elapsed(),
                    cpu().saturating_sub(before),
                );
            }
        }
        let started = Instant::now();
        let before = cpu();
        for number in 0..count {
            let text = format!("echo {number} > file");
            let process = sandbox
                .spawn(Command::new("/bin/bash").args(["-ec", &text]).layer(true))
                .await
                .expect("started");
            assert!(process.wait().await.expect("ended").is_success());
        }
        tell(
            &format!("{level}, layer, bash writes a file"),
            count,
            started.elapsed(),
            cpu().saturating_sub(before),
        );
        let closing = Instant::now();
        sandbox.close().await;
        println!("{:>40}: {:>6} µs", "close", closing.elapsed().as_micros());
    }
}

fn tell(what: &str, count: u32, wall: Duration, cpu: Duration) {
    println!(
        "{what:>40}: {:>6} µs wall, {:>6} µs processor",
        (wall / count).as_micros(),
        (cpu / count).as_micros()
    );
}

/// Reads the processor time of the whole machine but its idle time, as a box is no child of ours
/// before it ends. It is fair only on a quiet machine.
fn cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks = text.lines().next().into_iter().flat_map(|line| line.split_whitespace().skip(1));
    let ticks = ticks.enumerate().filter(|(at, _)| !matches!(at, 3 | 4)).take(6);
    let total: u64 = ticks.filter_map(|(_, ticks)| ticks.parse::<u64>().ok()).sum();
    Duration::from_millis(total * 10)
}
