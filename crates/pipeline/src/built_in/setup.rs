//! `actions/setup-node` and its like: a tool of the machine, in the version asked for, put first
//! in the `PATH`.
//!
//! Nothing is fetched. A version that is not installed is an error that says which ones are.

use std::cmp::Ordering;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::artifact::Outcome;
use super::{checkout, input};

/// A tool that can be set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tool {
    /// Node.js.
    Node,
    /// Python.
    Python,
    /// Go.
    Go,
    /// Java.
    Java,
    /// Rust.
    Rust,
}

/// A tool in one version.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Installed {
    version: Vec<u64>,
    shown: String,
    /// The folder of its programs.
    bin: PathBuf,
}

/// What tells a tool from others.
struct Kind {
    shown: &'static str,
    program: &'static str,
    arguments: &'static [&'static str],
    input: &'static str,
    /// Input that names a file with the version, and the files looked for without any input.
    file: &'static str,
    /// Folders of versions, `~` for the home of whoever runs Marline; `*` for one part.
    places: &'static [&'static str],
}

impl Tool {
    fn kind(self) -> Kind {
        match self {
            Tool::Node => Kind {
                shown: "Node.js",
                program: "node",
                arguments: &["--version"],
                input: "node-version",
                file: "node-version-file",
                places: &["~/.nvm/versions/node/*/bin", "/opt/hostedtoolcache/node/*/*/bin"],
            },
            Tool::Python => Kind {
                shown: "Python",
                program: "python3",
                arguments: &["--version"],
                input: "python-version",
                file: "python-version-file",
                places: &["~/.pyenv/versions/*/bin", "/opt/hostedtoolcache/Python/*/*/bin"],
            },
            Tool::Go => Kind {
                shown: "Go",
                program: "go",
                arguments: &["version"],
                input: "go-version",
                file: "go-version-file",
                places: &["/usr/local/go/bin", "~/sdk/*/bin", "/opt/hostedtoolcache/go/*/*/bin"],
            },
            Tool::Java => Kind {
                shown: "Java",
                program: "java",
                arguments: &["-version"],
                input: "java-version",
                file: "java-version-file",
                places: &["/usr/lib/jvm/*/bin", "/opt/hostedtoolcache/*/*/*/bin"],
            },
            Tool::Rust => Kind {
                shown: "Rust",
                program: "rustc",
                arguments: &["--version"],
                input: "toolchain",
                file: "",
                places: &["~/.rustup/toolchains/*/bin"],
            },
        }
    }
}

/// Finds the tool asked for. `path` is the `PATH` of jobs; `git_ref` what stands behind `@`.
pub(crate) fn set_up(
    tool: Tool,
    inputs: &[(String, String)],
    git_ref: &str,
    path: &str,
    workspace: &Path,
) -> Result<Outcome, String> {
    let kind = tool.kind();
    let wanted = wanted(tool, &kind, inputs, git_ref, workspace)?;
    let installed = installed(tool, &kind, path);
    let found = if tool == Tool::Rust {
        choose_toolchain(&wanted, &installed)
    } else {
        choose(&wanted, &installed)
    };
    let Some(found) = found else {
        let there: Vec<&str> = installed.iter().map(|one| one.shown.as_str()).collect();
        let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
        return Err(format!(
            "{} `{wanted}` is not installed here; installed: {there}. Nothing is downloaded: install it, or ask for one that is there",
            kind.shown
        ));
    };
    let mut outcome = Outcome::default();
    outcome.notes.push(format!("{} {} in {}", kind.shown, found.shown, found.bin.display()));
    if input(inputs, "cache").is_some_and(|cache| cache != "false") {
        outcome.notes.push("`cache` changes nothing here: the home of jobs is kept".to_owned());
    }
    let bin = found.bin.to_string_lossy().into_owned();
    let home = found.bin.parent().unwrap_or(&found.bin).to_string_lossy().into_owned();
    let mut output = |name: &str, value: &str| {
        outcome.outputs.push((name.to_owned(), value.to_owned()));
    };
    let mut variables: Vec<(&str, String)> = Vec::new();
    match tool {
        Tool::Node => output("node-version", &format!("v{}", found.shown)),
        Tool::Go => output("go-version", &found.shown),
        Tool::Python => {
            output("python-version", &found.shown);
            output("python-path", &format!("{bin}/python3"));
            variables.push(("pythonLocation", home.clone()));
            variables.push(("Python_ROOT_DIR", home));
        }
        Tool::Java => {
            output("version", &found.shown);
            output("distribution", input(inputs, "distribution").unwrap_or_default());
            output("path", &home);
            variables.push(("JAVA_HOME", home));
        }
        Tool::Rust => {
            check_parts(inputs, found)?;
            output("name", &wanted);
            output("cachekey", &found.shown);
        }
    }
    if !matches!(tool, Tool::Rust | Tool::Java) {
        outcome.outputs.push(("cache-hit".to_owned(), "false".to_owned()));
    }
    outcome.paths.push(bin);
    outcome.variables.extend(variables.into_iter().map(|(name, value)| (name.to_owned(), value)));
    Ok(outcome)
}

/// The version that is asked for: by an input, by a file, or any.
fn wanted(
    tool: Tool,
    kind: &Kind,
    inputs: &[(String, String)],
    git_ref: &str,
    workspace: &Path,
) -> Result<String, String> {
    if let Some(version) = input(inputs, kind.input) {
        return Ok(version.trim().to_owned());
    }
    if tool == Tool::Rust {
        let is_toolchain = ["stable", "beta", "nightly"].iter().any(|one| git_ref.starts_with(one))
            || git_ref.starts_with(|c: char| c.is_ascii_digit()) && git_ref.contains('.');
        return Ok(if is_toolchain { git_ref } else { "stable" }.to_owned());
    }
    let Some(file) = input(inputs, kind.file) else { return Ok(String::new()) };
    let path =
        checkout::inside(workspace, Path::new(file).parent().and_then(Path::to_str).unwrap_or(""))?
            .join(Path::new(file).file_name().unwrap_or_default());
    let is_plain = std::fs::symlink_metadata(&path).is_ok_and(|found| found.is_file());
    let text = is_plain.then(|| std::fs::read_to_string(&path).ok()).flatten();
    let text = text.ok_or_else(|| format!("the version file `{file}` cannot be read"))?;
    version_in(tool, file, &text)
        .ok_or_else(|| format!("the version file `{file}` names no version of {}", kind.shown))
}

/// The version that a version file names.
fn version_in(tool: Tool, file: &str, text: &str) -> Option<String> {
    let name = file.rsplit('/').next().unwrap_or(file);
    let lines =
        || text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let found = match name {
        "package.json" => {
            let json: serde_json::Value = serde_json::from_str(text).ok()?;
            json.pointer("/volta/node")
                .or_else(|| json.pointer("/engines/node"))?
                .as_str()?
                .to_owned()
        }
        "go.mod" | "go.work" => {
            lines().find_map(|line| line.strip_prefix("go "))?.trim().to_owned()
        }
        ".tool-versions" => {
            let names: &[&str] = match tool {
                Tool::Node => &["nodejs", "node"],
                Tool::Python => &["python"],
                Tool::Go => &["golang", "go"],
                Tool::Java => &["java"],
                Tool::Rust => &["rust"],
            };
            let line = lines().find(|line| {
                line.split_whitespace().next().is_some_and(|name| names.contains(&name))
            })?;
            line.split_whitespace().nth(1)?.to_owned()
        }
        _ => lines().next()?.to_owned(),
    };
    (!found.is_empty()).then_some(found)
}

/// Every version that is installed, the newest first.
fn installed(tool: Tool, kind: &Kind, path: &str) -> Vec<Installed> {
    let home = std::env::home_dir().unwrap_or_default();
    let rustup = std::env::var_os("RUSTUP_HOME").map(PathBuf::from);
    let mut dirs: Vec<PathBuf> = Vec::new();
    for place in kind.places {
        match (place.strip_prefix("~/.rustup"), &rustup) {
            (Some(rest), Some(rustup)) => expand(rustup, rest, &mut dirs),
            _ => match place.strip_prefix("~/") {
                Some(rest) => expand(&home, rest, &mut dirs),
                None => expand(Path::new("/"), place, &mut dirs),
            },
        }
    }
    // What stands in the PATH is asked last: behind a shim may be one of the others.
    dirs.extend(std::env::split_paths(path).filter(|dir| !dir.ends_with("shims")));
    let mut found: Vec<Installed> = Vec::new();
    for dir in dirs {
        let program = dir.join(kind.program);
        let is_proxy =
            tool == Tool::Rust && program.canonicalize().is_ok_and(|real| real.ends_with("rustup"));
        if is_proxy || !program.is_file() || found.iter().any(|one| one.bin == dir) {
            continue;
        }
        if let Some(shown) = version_of(&program, kind.arguments) {
            let version = numbers(&shown);
            // Two ways to one program are one.
            if tool == Tool::Rust || !found.iter().any(|one| one.shown == shown) {
                found.push(Installed { version, shown, bin: dir });
            }
        }
    }
    found.sort_by(|a, b| b.version.cmp(&a.version));
    found
}

/// The folders that a pattern with `*` for single parts means.
fn expand(base: &Path, pattern: &str, into: &mut Vec<PathBuf>) {
    let mut dirs = vec![base.to_owned()];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        let mut next = Vec::new();
        for dir in dirs {
            if part != "*" {
                next.push(dir.join(part));
                continue;
            }
            let entries = std::fs::read_dir(&dir).into_iter().flatten().flatten();
            next.extend(entries.map(|entry| entry.path()));
        }
        next.sort();
        dirs = next;
    }
    into.extend(dirs.into_iter().filter(|dir| dir.is_dir()));
}

/// Asks a program for its version.
fn version_of(program: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    let start = text.find(|c: char| c.is_ascii_digit())?;
    let version: String = text[start..]
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+' | '_'))
        .collect();
    Some(version)
}

fn numbers(version: &str) -> Vec<u64> {
    version
        .trim_start_matches(|c: char| !c.is_ascii_digit())
        .split(['.', '+', '_', '-'])
        .map_while(|part| part.parse().ok())
        .collect()
}

/// The newest version that fits.
fn choose<'a>(wanted: &str, installed: &'a [Installed]) -> Option<&'a Installed> {
    installed.iter().find(|one| fits(wanted, &one.version))
}

/// A toolchain by its channel or version.
fn choose_toolchain<'a>(wanted: &str, installed: &'a [Installed]) -> Option<&'a Installed> {
    let named = |one: &&Installed| {
        let folder = one.bin.parent().and_then(Path::file_name).map(|name| name.to_string_lossy());
        folder.is_some_and(|name| name == wanted || name.starts_with(&format!("{wanted}-")))
    };
    if let Some(found) = installed.iter().find(named) {
        return Some(found);
    }
    let is_stable = |one: &&Installed| !one.shown.contains('-');
    match wanted {
        "stable" => installed.iter().find(is_stable),
        version => {
            choose(version, installed).filter(|_| version.starts_with(|c: char| c.is_ascii_digit()))
        }
    }
}

/// Components and targets of Rust that are asked for and not there are an error.
fn check_parts(inputs: &[(String, String)], found: &Installed) -> Result<(), String> {
    let list = |names: [&str; 2]| {
        let given = names.into_iter().filter_map(|name| input(inputs, name));
        given
            .flat_map(|text| text.split([',', ' ', '\n']))
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let root = found.bin.parent().unwrap_or(&found.bin);
    for target in list(["targets", "target"]) {
        if !root.join("lib/rustlib").join(&target).is_dir() {
            return Err(format!(
                "Rust {} has no target `{target}` here; add it with rustup",
                found.shown
            ));
        }
    }
    for component in list(["components", "component"]) {
        let program = match component.as_str() {
            "rustfmt" => "cargo-fmt",
            "clippy" => "cargo-clippy",
            "rust-analyzer" => "rust-analyzer",
            "miri" => "cargo-miri",
            _ => continue,
        };
        if !found.bin.join(program).exists() {
            return Err(format!(
                "Rust {} has no `{component}` here; add it with rustup",
                found.shown
            ));
        }
    }
    Ok(())
}

/// Whether a version is in a range as npm writes them: `20`, `20.x`, `^20.1`, `>=18 <21`, `18 || 20`.
fn fits(wanted: &str, version: &[u64]) -> bool {
    let wanted = wanted.trim();
    let any = ["", "*", "x", "latest", "current", "node", "stable", "oldstable", "3.x"];
    if any.contains(&wanted) {
        return wanted != "3.x" || version.first() == Some(&3);
    }
    if wanted.starts_with("lts") {
        // Long supported are the even ones.
        return version.first().is_some_and(|major| major % 2 == 0);
    }
    wanted.split("||").any(|range| {
        let range = range.replace(", ", " ").replace(',', " ");
        let mut words = range.split_whitespace().peekable();
        let mut all = words.peek().is_some();
        while let Some(word) = words.next() {
            let is_bare = word.chars().all(|c| "<>=^~".contains(c));
            let word = if is_bare {
                format!("{word}{}", words.next().unwrap_or_default())
            } else {
                word.to_owned()
            };
            if words.peek() == Some(&"-") {
                words.next();
                let end = words.next().unwrap_or_default();
                all &= meets(&format!(">={word}"), version) && meets(&format!("<={end}"), version);
            } else {
                all &= meets(&word, version);
            }
        }
        all
    })
}

/// Whether a version meets one comparison.
fn meets(comparison: &str, version: &[u64]) -> bool {
    let number = comparison.trim_start_matches(['<', '>', '=', '^', '~', 'v']);
    let sign = comparison[..comparison.len() - number.len()].trim_end_matches('v');
    let wanted = numbers(number);
    if wanted.is_empty() {
        return number.starts_with(['x', '*']);
    }
    let padded = |numbers: &[u64]| {
        let mut three = [0; 3];
        for (to, from) in three.iter_mut().zip(numbers) {
            *to = *from;
        }
        three
    };
    let order = padded(version).cmp(&padded(&wanted));
    let starts = version.iter().zip(&wanted).take(3).all(|(a, b)| a == b);
    match sign {
        "" | "=" => starts,
        ">" => order == Ordering::Greater && !(starts && wanted.len() < 3),
        ">=" => order != Ordering::Less,
        "<" => order == Ordering::Less,
        "<=" => order != Ordering::Greater || (starts && wanted.len() < 3),
        "~" => order != Ordering::Less && version.iter().zip(&wanted).take(2).all(|(a, b)| a == b),
        "^" => {
            let fixed = wanted.iter().position(|part| *part != 0).map_or(wanted.len(), |at| at + 1);
            order != Ordering::Less && version.iter().zip(&wanted).take(fixed).all(|(a, b)| a == b)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_those_of_npm() {
        let cases = [
            ("20", "20.9.1", true),
            ("20", "21.0.0", false),
            ("20.x", "20.9.1", true),
            ("20.9", "20.9.1", true),
            ("20.9.2", "20.9.1", false),
            ("v20", "20.9.1", true),
            (">=18", "20.9.1", true),
            (">= 18 < 20", "20.9.1", false),
            (">20", "20.9.1", false),
            ("<=20", "20.9.1", true),
            ("^20.1", "20.9.1", true),
            ("^0.2.1", "0.3.0", false),
            ("~20.1", "20.9.1", false),
            ("18 || 20", "20.9.1", true),
            ("18 - 20", "19.0.0", true),
            ("lts/*", "20.9.1", true),
            ("lts/*", "21.0.0", false),
            ("", "3.11.2", true),
            ("3.11", "3.11.2", true),
            ("nonsense", "3.11.2", false),
        ];
        for (range, version, expected) in cases {
            assert_eq!(fits(range, &numbers(version)), expected, "{version} in `{range}`");
        }
    }

    #[test]
    fn version_files_name_a_version() {
        let cases = [
            (Tool::Node, "package.json", "{\"engines\":{\"node\":\">=18\"}}", Some(">=18")),
            (Tool::Node, ".nvmrc", "# mine\nlts/*\n", Some("lts/*")),
            (Tool::Go, "sub/go.mod", "module x\n\ngo 1.22\n", Some("1.22")),
            (Tool::Python, ".tool-versions", "nodejs 20\npython 3.11.2\n", Some("3.11.2")),
            (Tool::Go, "go.mod", "module x\n", None),
        ];
        for (tool, file, text, expected) in cases {
            assert_eq!(version_in(tool, file, text).as_deref(), expected, "{file}");
        }
    }

    #[test]
    fn a_toolchain_is_found_by_its_channel_or_version() {
        let one = |folder: &str, shown: &str| Installed {
            version: numbers(shown),
            shown: shown.to_owned(),
            bin: Path::new("/t").join(folder).join("bin"),
        };
        let all = [
            one("nightly-x86_64-unknown-linux-gnu", "1.97.0-nightly"),
            one("stable-x86_64-unknown-linux-gnu", "1.95.0"),
        ];
        let chosen = |wanted: &str| choose_toolchain(wanted, &all).map(|one| one.shown.as_str());
        assert_eq!(chosen("stable"), Some("1.95.0"));
        assert_eq!(chosen("nightly"), Some("1.97.0-nightly"));
        assert_eq!(chosen("1.95"), Some("1.95.0"));
        assert_eq!(chosen("1.80.0"), None);
        assert_eq!(chosen("beta"), None);
    }
}
