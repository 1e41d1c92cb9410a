//! What an instance printed, in files.
//!
//! A line is `2026-11-23T10:00:00.123456Z stdout F hello`: the time the shim read it, the stream,
//! `F` for a full line or `P` for one that goes on in the next, the text. It is the format that
//! Kubernetes' container runtimes write, so log collectors read it as it is.
//!
//! Each file is named after the position of its first byte in all that was ever printed, so that a
//! position stays true when old files are removed.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::engine::{LogCursor, LogLine, LogLines, Stream};

/// Longest text in one line; what is longer goes on in the next.
pub const LINE_BYTES: usize = 16 * 1024;
/// Size at which a new file is begun.
const FILE_BYTES: u64 = 8 * 1024 * 1024;
/// Files that are kept.
const FILES: usize = 5;
/// Most that one read gives.
const READ_BYTES: u64 = 1024 * 1024;

/// Writes the log of an instance. A full disk loses lines and never stops the instance.
#[derive(Debug)]
pub(crate) struct LogWriter {
    directory: PathBuf,
    file: Option<File>,
    start: u64,
    length: u64,
    file_bytes: u64,
    lost: u64,
}

impl LogWriter {
    pub fn open(directory: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&directory)?;
        Ok(Self { directory, file: None, start: 0, length: 0, file_bytes: FILE_BYTES, lost: 0 })
    }

    /// Lines that could not be written.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    pub fn write(&mut self, at: Timestamp, stream: Stream, text: &[u8], partial: bool) {
        let name = match stream {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        };
        let mut line = format!("{at:.6} {name} {} ", if partial { 'P' } else { 'F' }).into_bytes();
        line.extend_from_slice(text);
        line.push(b'\n');
        if self.append(&line).is_err() {
            self.lost += 1;
            // A part of a line may have been written: go on in a new file, after it.
            self.file = None;
        }
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        if self.file.is_none() || self.length >= self.file_bytes {
            self.start += self.length;
            self.length = 0;
            let path = self.directory.join(format!("{:020}", self.start));
            self.file = Some(File::options().create(true).append(true).open(path)?);
            let files = log_files(&self.directory)?;
            for (_, old) in files.iter().rev().skip(FILES) {
                fs::remove_file(old)?;
            }
        }
        let file = self.file.as_mut().expect("a file was just opened");
        let before = self.length;
        self.length += line.len() as u64;
        file.write_all(line).inspect_err(|_| {
            let _ = file.set_len(before);
            self.length = before;
        })
    }
}

/// Splits a stream into lines.
#[derive(Debug, Default)]
pub(crate) struct LineSplitter {
    open: Vec<u8>,
}

impl LineSplitter {
    /// Takes bytes and gives each line that is ready, with whether it goes on.
    pub fn take(&mut self, bytes: &[u8], mut line: impl FnMut(&[u8], bool)) {
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            self.open.extend_from_slice(&rest[..end]);
            rest = &rest[end + 1..];
            self.cut(&mut line);
            let text = self.open.strip_suffix(b"\r").unwrap_or(&self.open);
            line(text, false);
            self.open.clear();
        }
        self.open.extend_from_slice(rest);
        self.cut(&mut line);
    }

    /// Gives what is left when the stream ends.
    pub fn end(&mut self, mut line: impl FnMut(&[u8], bool)) {
        if !self.open.is_empty() {
            line(&self.open, true);
            self.open.clear();
        }
    }

    fn cut(&mut self, line: &mut impl FnMut(&[u8], bool)) {
        while self.open.len() > LINE_BYTES {
            line(&self.open[..LINE_BYTES], true);
            self.open.drain(..LINE_BYTES);
        }
    }
}

/// Reads the log in a directory, at most about a megabyte at a time.
pub fn read(directory: &Path, cursor: LogCursor) -> io::Result<LogLines> {
    let files = log_files(directory)?;
    let Some((first, _)) = files.first() else {
        return Ok(LogLines::default());
    };
    match cursor {
        LogCursor::Start => read_from(&files, *first),
        LogCursor::At(position) => read_from(&files, position),
        LogCursor::Last(count) => read_last(&files, count as usize),
    }
}

fn read_from(files: &[(u64, PathBuf)], position: u64) -> io::Result<LogLines> {
    let mut found = LogLines { next: position, ..LogLines::default() };
    for (start, path) in files {
        let mut file = File::open(path)?;
        let end = start + file.metadata()?.len();
        if end <= found.next {
            continue;
        }
        if *start > found.next {
            found.skipped += start - found.next;
            found.next = *start;
        }
        file.seek(SeekFrom::Start(found.next - start))?;
        let mut text = Vec::new();
        file.take(READ_BYTES).read_to_end(&mut text)?;
        let whole = memchr::memrchr(b'\n', &text).map_or(0, |end| end + 1);
        found.next += whole as u64;
        found.lines.extend(text[..whole].split_inclusive(|b| *b == b'\n').filter_map(parse));
        if whole > 0 {
            return Ok(found);
        }
    }
    Ok(found)
}

fn read_last(files: &[(u64, PathBuf)], count: usize) -> io::Result<LogLines> {
    let mut found = LogLines::default();
    for (start, path) in files.iter().rev() {
        let mut text = fs::read(path)?;
        text.truncate(memchr::memrchr(b'\n', &text).map_or(0, |end| end + 1));
        found.next = found.next.max(start + text.len() as u64);
        let lines: Vec<_> = text.split_inclusive(|b| *b == b'\n').filter_map(parse).collect();
        let wanted = count - found.lines.len().min(count);
        let skip = lines.len().saturating_sub(wanted);
        found.lines.splice(0..0, lines.into_iter().skip(skip));
        if found.lines.len() >= count {
            break;
        }
    }
    Ok(found)
}

fn parse(line: &[u8]) -> Option<LogLine> {
    let line = line.strip_suffix(b"\n")?;
    let mut parts = line.splitn(4, |b| *b == b' ');
    let at = std::str::from_utf8(parts.next()?).ok()?.parse().ok()?;
    let stream = match parts.next()? {
        b"stdout" => Stream::Stdout,
        b"stderr" => Stream::Stderr,
        _ => return None,
    };
    let partial = parts.next()? == b"P";
    Some(LogLine { at, stream, text: String::from_utf8_lossy(parts.next()?).into_owned(), partial })
}

/// The files of a log with the position of their first byte, oldest first.
fn log_files(directory: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry?;
        if let Some(start) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
            files.push((start, entry.path()));
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(lines: &LogLines) -> Vec<&str> {
        lines.lines.iter().map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn a_position_stays_true_when_old_files_are_gone() {
        let dir = tempfile::tempdir().expect("make a directory");
        let mut log = LogWriter::open(dir.path().join("log")).expect("open");
        log.file_bytes = 100;
        let path = dir.path().join("log");
        log.write(Timestamp::UNIX_EPOCH, Stream::Stdout, b"first", false);
        let first = read(&path, LogCursor::Start).expect("read");
        assert_eq!(texts(&first), ["first"]);
        for n in 0..40 {
            log.write(Timestamp::UNIX_EPOCH, Stream::Stderr, format!("line {n}").as_bytes(), false);
        }
        assert_eq!(log_files(&path).expect("list").len(), FILES);
        let mut all = Vec::new();
        let mut next = read(&path, LogCursor::At(first.next)).expect("read");
        assert!(next.skipped > 0, "old files were removed");
        while !next.lines.is_empty() {
            all.extend(next.lines.iter().map(|line| line.text.clone()));
            let again = read(&path, LogCursor::At(next.next)).expect("read");
            assert_eq!(again.skipped, 0);
            next = again;
        }
        assert_eq!(all.last().map(String::as_str), Some("line 39"));
        let last = read(&path, LogCursor::Last(2)).expect("read");
        assert_eq!(texts(&last), ["line 38", "line 39"]);
        assert_eq!(last.next, next.next);
    }

    #[test]
    fn long_and_open_lines_are_marked_and_nothing_is_lost() {
        let mut splitter = LineSplitter::default();
        let mut lines = Vec::new();
        let long = vec![b'x'; LINE_BYTES + 5];
        splitter.take(&long, |text, partial| lines.push((text.len(), partial)));
        splitter.take(b"\r\nhalf", |text, partial| lines.push((text.len(), partial)));
        splitter.end(|text, partial| lines.push((text.len(), partial)));
        assert_eq!(lines, [(LINE_BYTES, true), (5, false), (4, true)]);
    }
}
