//! The log of an instance: any file is read to its end, from wherever one begins.

#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use deploy::engine::LogCursor;
use deploy::shim::log::read;
use libfuzzer_sys::fuzz_target;

static DIRECTORY: LazyLock<PathBuf> = LazyLock::new(|| {
    let directory = std::env::temp_dir().join(format!("fuzz-instance-log-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("make a directory");
    directory
});

fuzz_target!(|bytes: &[u8]| {
    std::fs::write(DIRECTORY.join("00000000000000000007"), bytes).expect("write a file");
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end as u64 + 1);
    let all = read(&DIRECTORY, LogCursor::Start).expect("the file is there");
    assert_eq!(all.next, 7 + whole);
    assert!(all.lines.iter().all(|line| !line.text.contains('\n')));
    let last = read(&DIRECTORY, LogCursor::Last(2)).expect("the file is there");
    assert_eq!(last.next, all.next);
    let skip = all.lines.len().saturating_sub(2);
    assert_eq!(last.lines, all.lines[skip..]);
    let end = read(&DIRECTORY, LogCursor::At(all.next)).expect("the file is there");
    assert!(end.lines.is_empty() && end.next == all.next);
    for position in [0, 9, u64::MAX] {
        let _ = read(&DIRECTORY, LogCursor::At(position)).expect("the file is there");
    }
});
