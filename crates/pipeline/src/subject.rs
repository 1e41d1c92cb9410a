//! What the steps of a job say they made: `$GITHUB_ARTIFACTS` and `$GITHUB_ARTIFACTS_LIST`.
//!
//! A step writes a line for each file or image; later steps read all of them as JSON, so that
//! whoever signs or attests knows what was built. The rules are those of
//! `CreateArtifactsFileCommand.cs` of GitHub's runner. Reading a file is pure.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};

/// The largest file that a step may write.
pub const MAX_FILE: u64 = 1024 * 1024;

/// How many artifacts a job may declare.
const MAX_SUBJECTS: usize = 500;

/// Something that a step made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The name of the file, or the reference of the image.
    pub name: String,
    /// The algorithm and the digest, as `sha256:…`.
    pub digest: String,
    /// Whether it is an image.
    pub is_image: bool,
    /// The line that says so.
    pub line: usize,
}

/// Reads the lines of a step. `digest` gives the digest of a file or why there is none.
pub fn read(
    text: &str,
    workspace: &str,
    digest: &dyn Fn(&str) -> Result<String, String>,
) -> Result<Vec<Subject>, String> {
    let mut subjects = Vec::new();
    for (at, line) in text.strip_prefix('\u{feff}').unwrap_or(text).lines().enumerate() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        let line = at + 1;
        let subject = read_line(trimmed, line, workspace, digest);
        subjects.push(subject.map_err(|why| format!("line {line}: {why}"))?);
    }
    Ok(subjects)
}

fn read_line(
    text: &str,
    line: usize,
    workspace: &str,
    digest: &dyn Fn(&str) -> Result<String, String>,
) -> Result<Subject, String> {
    if text.contains('=') {
        return Err("entries containing '=' are reserved and not permitted".to_owned());
    }
    let after = |scheme: &str| {
        let head = text.get(..scheme.len())?;
        head.eq_ignore_ascii_case(scheme).then(|| &text[scheme.len()..])
    };
    let image = |name: &str, algorithm: &str, hex: &str| Subject {
        name: name.to_owned(),
        digest: format!("{algorithm}:{}", hex.to_ascii_lowercase()),
        is_image: true,
        line,
    };
    if let Some(rest) = after("oci://") {
        let Some((name, algorithm, hex)) = image_digest(rest) else {
            return Err("oci:// entries must include an @sha{256,384,512}:<hex> digest".to_owned());
        };
        let length = hex_length(algorithm);
        if hex.len() != length {
            let got = hex.len();
            return Err(format!("digest '{algorithm}' must be {length} hex characters, got {got}"));
        }
        return Ok(image(name, algorithm, hex));
    }
    let path = match after("file://") {
        Some(path) if path.trim().is_empty() => {
            return Err("file:// entries must include a path".to_owned());
        }
        Some(path) => path,
        None if has_scheme(text) => return Err("unsupported URI scheme".to_owned()),
        None => match image_digest(text) {
            Some((name, algorithm, hex)) if hex.len() == hex_length(algorithm) => {
                return Ok(image(name, algorithm, hex));
            }
            _ => text,
        },
    };
    let digest = digest(path).map_err(|why| {
        let from = if path.starts_with('/') {
            String::new()
        } else {
            format!(" (relative paths are resolved against the workspace root '{workspace}')")
        };
        format!("file '{path}' {why}{from}")
    })?;
    let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or(path).to_owned();
    Ok(Subject { name, digest, is_image: false, line })
}

/// Takes `NAME@sha256:HEX` apart.
fn image_digest(text: &str) -> Option<(&str, &str, &str)> {
    let (name, digest) = text.rsplit_once('@')?;
    let (algorithm, hex) = digest.split_once(':')?;
    let is_known = ["sha256", "sha384", "sha512"].contains(&algorithm);
    let is_hex = !hex.is_empty() && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_known && is_hex && !name.is_empty()).then_some((name, algorithm, hex))
}

fn hex_length(algorithm: &str) -> usize {
    match algorithm {
        "sha384" => 96,
        "sha512" => 128,
        _ => 64,
    }
}

fn has_scheme(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+.-".contains(c))
    })
}

/// Returns the digest of a file that was opened, or why it could not be.
pub fn digest(file: io::Result<File>) -> Result<String, String> {
    let mut file = file.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => "does not exist".to_owned(),
        _ => format!("cannot be read: {error}"),
    })?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match io::Read::read(&mut file, &mut buffer) {
            Ok(0) => break,
            Ok(read) => hash.update(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(format!("cannot be read: {error}")),
        }
    }
    Ok(format!("sha256:{}", crate::built_in::artifact::hex(&hash.finalize())))
}

/// Everything that the steps of a job made; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Subjects {
    known: Arc<Mutex<BTreeMap<String, Subject>>>,
}

impl Subjects {
    /// Adds what a step made, and says how many were new.
    pub fn add(&self, declared: Vec<Subject>) -> Result<usize, String> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut added = 0;
        for subject in declared {
            let line = subject.line;
            if let Some(before) = known.get(&subject.name) {
                if before.digest == subject.digest {
                    continue;
                }
                return Err(format!(
                    "line {line}: artifact '{}' was declared with digest {} and now with {}",
                    subject.name, before.digest, subject.digest
                ));
            }
            if known.len() >= MAX_SUBJECTS {
                return Err(format!(
                    "line {line}: a job declares at most {MAX_SUBJECTS} artifacts"
                ));
            }
            known.insert(subject.name.clone(), subject);
            added += 1;
        }
        Ok(added)
    }

    /// Returns how many there are.
    pub fn len(&self) -> usize {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns what later steps read.
    pub fn to_json(&self) -> String {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let subjects: Vec<serde_json::Value> = known
            .values()
            .map(|one| {
                let kind = if one.is_image { "oci" } else { "file" };
                serde_json::json!({"name": one.name, "digest": one.digest, "kind": kind})
            })
            .collect();
        serde_json::json!({"version": 1, "subjects": subjects}).to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(text: &str) -> Result<Vec<String>, String> {
        let digest = |path: &str| match path {
            "dist/app.tar" | "/abs/x" => Ok("sha256:ab".to_owned()),
            _ => Err("does not exist".to_owned()),
        };
        let read = read(text, "/work", &digest)?;
        Ok(read.iter().map(|one| format!("{} {} {}", one.name, one.digest, one.is_image)).collect())
    }

    #[test]
    fn files_and_images_are_told_apart() {
        let hex = "Ab".repeat(32);
        let text = format!(
            "# made\n\n dist/app.tar \nFILE:///abs/x\nghcr.io/a/b:1@sha256:{hex}\noci://x@sha512:{}\n",
            "0".repeat(128)
        );
        assert_eq!(
            lines(&text),
            Ok(vec![
                "app.tar sha256:ab false".to_owned(),
                "x sha256:ab false".to_owned(),
                format!("ghcr.io/a/b:1 sha256:{} true", "ab".repeat(32)),
                format!("x sha512:{} true", "0".repeat(128)),
            ])
        );
    }

    #[test]
    fn what_cannot_be_is_named_by_its_line() {
        let why = |text: &str| lines(text).expect_err("is wrong");
        assert_eq!(why("\na=b"), "line 2: entries containing '=' are reserved and not permitted");
        assert_eq!(
            why("oci://x@sha256:ab"),
            "line 1: digest 'sha256' must be 64 hex characters, got 2"
        );
        assert_eq!(why("https://x/y"), "line 1: unsupported URI scheme");
        assert_eq!(why("file://"), "line 1: file:// entries must include a path");
        assert_eq!(
            why("nope"),
            "line 1: file 'nope' does not exist (relative paths are resolved against the workspace root '/work')"
        );
    }

    #[test]
    fn one_name_has_one_digest() {
        let subjects = Subjects::default();
        let one = |name: &str, digest: &str| Subject {
            name: name.to_owned(),
            digest: digest.to_owned(),
            is_image: false,
            line: 3,
        };
        assert_eq!(subjects.to_json(), r#"{"version":1,"subjects":[]}"#);
        assert_eq!(subjects.add(vec![one("b", "1"), one("a", "2"), one("b", "1")]), Ok(2));
        assert!(subjects.add(vec![one("a", "3")]).expect_err("another").contains("line 3"));
        let names: Vec<String> = (0..499).map(|at| at.to_string()).collect();
        let many = names.iter().map(|name| one(name, "1")).collect();
        assert!(subjects.add(many).expect_err("too many").contains("at most 500"));
        assert_eq!(subjects.len(), 500);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(oci://|file://|@sha256:|[a-f0-9]|=|#|\n|\\PC){0,30}") {
            let _ = lines(&text);
        }
    }
}
