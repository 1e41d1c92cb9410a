//! `hashFiles`: one hash for all files that match.

use std::path::{Path, PathBuf};

use globset::GlobMatcher;
use sha2::{Digest, Sha256};

use crate::built_in::artifact::{hash, hex};

/// Returns the SHA-256 over the SHA-256 of each file below the workspace that matches, in the
/// order of a walk; empty when none does.
///
/// Each argument may hold several patterns, one a line; a later `!` pattern takes files away and
/// a still later one gives them back. A first argument of `--follow-symbolic-links` follows links
/// to directories.
pub(crate) fn hash_files(workspace: &Path, patterns: &[String]) -> Result<String, String> {
    let follow = patterns.first().is_some_and(|first| first == "--follow-symbolic-links");
    let mut globs = Vec::new();
    for line in patterns
        .iter()
        .skip(usize::from(follow))
        .flat_map(|argument| argument.lines())
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let (excludes, line) = match line.strip_prefix('!') {
            Some(rest) => (true, rest.trim_start()),
            None => (false, line),
        };
        let line = line.strip_prefix("./").unwrap_or(line);
        let whole = workspace.join(line).to_string_lossy().into_owned();
        // A directory stands for all that is below it.
        for text in [whole.clone(), format!("{}/**", whole.trim_end_matches('/'))] {
            let glob = globset::GlobBuilder::new(&text)
                .literal_separator(true)
                .build()
                .map_err(|error| error.to_string())?;
            globs.push((excludes, glob.compile_matcher()));
        }
    }
    let mut files = Vec::new();
    walk(workspace, follow, 0, &globs, &mut files);
    if files.is_empty() {
        return Ok(String::new());
    }
    let mut digest = Sha256::new();
    for file in files {
        let (sum, _) = hash(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        digest.update(sum);
    }
    Ok(hex(&digest.finalize()))
}

/// Depth first, the entries of a directory by name.
fn walk(
    dir: &Path,
    follow: bool,
    depth: usize,
    globs: &[(bool, GlobMatcher)],
    files: &mut Vec<PathBuf>,
) {
    // Links may lead in circles.
    if depth > 100 {
        return;
    }
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let Ok(found) = std::fs::symlink_metadata(&path) else { continue };
        let real =
            if found.is_symlink() && follow { std::fs::metadata(&path).ok() } else { Some(found) };
        let Some(real) = real else { continue };
        if real.is_dir() {
            walk(&path, follow, depth + 1, globs, files);
        } else if real.is_file() {
            let last = globs.iter().rev().find(|(_, glob)| glob.is_match(&path));
            if last.is_some_and(|(excludes, _)| !excludes) {
                files.push(path);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_the_hashes() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(dir.path().join("w")).expect("a directory");
        for (name, text) in [("a.lock", "1"), ("w/b.lock", "2"), ("c.txt", "3")] {
            std::fs::write(dir.path().join(name), text).expect("a file");
        }
        let run = |patterns: &[&str]| {
            let patterns: Vec<String> = patterns.iter().map(|one| (*one).to_owned()).collect();
            hash_files(dir.path(), &patterns).expect("are patterns")
        };
        let sum = |text: &str| Sha256::digest(text.as_bytes());
        let mut both = Sha256::new();
        both.update(sum("1"));
        both.update(sum("2"));
        assert_eq!(run(&["**/*.lock"]), hex(&both.finalize()));
        assert_eq!(run(&["w"]), hex(&Sha256::digest(sum("2"))));
        assert_eq!(run(&["**\n!**/*.lock"]), hex(&Sha256::digest(sum("3"))));
        assert_eq!(run(&["**/nosuch"]), "");
    }
}
