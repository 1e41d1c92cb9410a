//! Real repositories, asked through the real `git`.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use source::git::{
    Change, CloneOptions, CommitId, EntryKind, GitError, Range, Repository, UncommittedState,
};
use tempfile::TempDir;

/// A repository in a directory of its own, with a fixed author and clock.
struct World {
    dir: TempDir,
}

impl World {
    fn empty() -> Self {
        let world = Self { dir: TempDir::new().expect("a temporary directory") };
        fs::create_dir(world.path()).expect("a directory for the repository");
        world.git(&["init", "--quiet", "--initial-branch=main"]);
        world
    }

    fn new() -> Self {
        let world = Self::empty();
        world.write("README", "one\n");
        world.commit("first");
        world
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("repo")
    }

    fn beside(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn git(&self, args: &[&str]) -> String {
        git_in(&self.path(), args)
    }

    fn write(&self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().expect("it is below the root")).expect("its directory");
        fs::write(path, content).expect("a file in the repository");
    }

    fn commit(&self, message: &str) -> CommitId {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "-m", message]);
        self.git(&["rev-parse", "HEAD"]).parse().expect("an id")
    }

    fn open(&self) -> Repository {
        Repository::discover(&self.path()).expect("a repository")
    }
}

fn git_in(dir: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .arg("-C")
        .arg(dir)
        .args(["-c", "user.name=Ana", "-c", "user.email=ana@example.com"])
        .args([
            "-c",
            "protocol.file.allow=always",
            "-c",
            "commit.gpgSign=false",
            "-c",
            "core.fsync=none",
        ])
        .args(args)
        .env("GIT_AUTHOR_DATE", "1700000000 +0100")
        .env("GIT_COMMITTER_DATE", "1700000001 +0100")
        .output()
        .expect("git runs");
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

fn odd_names() -> Vec<PathBuf> {
    let names: [&[u8]; 6] =
        [b"with space", b"two\nlines", b"not-utf8-\xff\xfe", b"-rf", b"dir/:(top)", b"\"q\"\t"];
    names.into_iter().map(|name| PathBuf::from(OsStr::from_bytes(name))).collect()
}

#[test]
fn a_directory_outside_any_repository_says_how_to_make_one() {
    let dir = TempDir::new().expect("a temporary directory");
    let error = Repository::discover(dir.path()).expect_err("there is no repository");
    assert!(matches!(error, GitError::NotARepository { .. }), "{error:?}");
    assert!(error.help().expect("help").contains("git init"));
}

#[test]
fn a_directory_that_does_not_exist_is_named() {
    let error = Repository::discover(Path::new("/nonexistent/here")).expect_err("nothing there");
    assert_eq!(error.to_string(), "could not use `/nonexistent/here`");
}

#[test]
fn an_empty_repository_asks_for_a_first_commit() {
    let error = Repository::discover(&World::empty().path()).expect_err("it has no commit");
    assert!(matches!(error, GitError::Empty { .. }), "{error:?}");
    assert!(error.help().expect("help").contains("git commit"));
}

#[test]
fn a_bare_repository_says_to_clone_it() {
    let world = World::new();
    let bare = world.beside("bare.git");
    world.git(&["clone", "--quiet", "--bare", ".", "../bare.git"]);
    let error = Repository::discover(&bare).expect_err("it is bare");
    assert!(matches!(error, GitError::Bare { .. }), "{error:?}");
    assert!(error.help().expect("help").contains("git clone"));
}

#[test]
fn a_repository_of_another_user_says_how_to_trust_it() {
    let world = World::new();
    let trusted = Command::new("git").args(["config", "--get-all", "safe.directory"]).output();
    let trusts_all = trusted.is_ok_and(|out| out.stdout.contains(&b'*'));
    let chown = Command::new("chown").args(["-R", "65533"]).arg(world.path()).output();
    if trusts_all || !chown.is_ok_and(|out| out.status.success()) {
        println!("skipped a_repository_of_another_user_says_how_to_trust_it: needs root");
        return;
    }
    let error = Repository::discover(&world.path()).expect_err("it is another user's");
    assert!(matches!(error, GitError::UnsafeOwnership { .. }), "{error:?}");
    assert!(error.help().expect("help").contains("safe.directory"));
}

#[test]
fn a_repository_is_found_from_a_directory_inside_it() {
    let world = World::new();
    world.write("a/b/c", "x");
    let found = Repository::discover(&world.path().join("a/b")).expect("a repository");
    assert_eq!(found.root(), world.path().canonicalize().expect("it exists"));
    assert!(found.common_dir().ends_with(".git"));
}

#[test]
fn a_linked_worktree_has_its_own_head_and_the_shared_directory() {
    let world = World::new();
    world.git(&["worktree", "add", "--quiet", "-b", "side", "../side"]);
    let side = Repository::discover(&world.beside("side")).expect("a worktree");
    assert_eq!(side.head().expect("a head").branch.as_deref(), Some("side"));
    assert_eq!(side.common_dir(), world.open().common_dir());
    assert_ne!(side.git_dir(), side.common_dir());
}

#[test]
fn the_head_names_branch_and_commit() {
    let world = World::new();
    let second = world.commit("second");
    let head = world.open().head().expect("a head");
    assert_eq!((head.branch.as_deref(), head.commit), (Some("main"), second));
}

#[test]
fn a_detached_head_has_no_branch() {
    let world = World::new();
    world.git(&["checkout", "--quiet", "--detach"]);
    assert_eq!(world.open().head().expect("a head").branch, None);
}

#[test]
fn revisions_that_look_like_options_are_only_unknown() {
    let world = World::new();
    let repository = world.open();
    for rev in ["--help", "-n1", "--exec=touch x", "nope", "", "HEAD..HEAD", "a\0b", "HEAD:README"]
    {
        let error = repository.resolve(rev).expect_err("it names no commit");
        assert!(matches!(error, GitError::UnknownRevision { .. }), "{rev:?}: {error:?}");
    }
}

#[test]
fn tags_and_relations_resolve_to_commits() {
    let world = World::new();
    let first = world.open().head().expect("a head").commit;
    world.git(&["tag", "-a", "v1", "-m", "one"]);
    world.commit("second");
    let repository = world.open();
    assert_eq!(repository.resolve("v1").expect("a tag"), first);
    assert_eq!(repository.resolve("HEAD~1").expect("a parent"), first);
    assert_eq!(repository.resolve(first.short()).expect("a short id"), first);
}

#[test]
fn the_tip_of_a_branch_follows_commits_and_packing() {
    let world = World::new();
    let repository = world.open();
    let second = world.commit("second");
    assert_eq!(repository.branch_tip("main").expect("an answer"), Some(second.clone()));
    world.git(&["pack-refs", "--all"]);
    assert_eq!(repository.branch_tip("main").expect("an answer"), Some(second));
    assert_eq!(repository.branch_tip("gone").expect("an answer"), None);
}

#[test]
fn a_reftable_repository_answers_the_same() {
    let world = World { dir: TempDir::new().expect("a temporary directory") };
    fs::create_dir(world.path()).expect("a directory");
    let init = Command::new("git")
        .args(["init", "--quiet", "--initial-branch=main", "--ref-format=reftable"])
        .arg(world.path())
        .output();
    if !init.is_ok_and(|out| out.status.success()) {
        println!("skipped a_reftable_repository_answers_the_same: this Git has no reftable");
        return;
    }
    world.write("a", "1");
    let tip = world.commit("first");
    let repository = world.open();
    assert_eq!(repository.branch_tip("main").expect("an answer"), Some(tip.clone()));
    let clone = world.beside("clone");
    repository.clone_to(&tip, &clone, &on("main")).expect("a clone");
    assert_eq!(git_in(&clone, &["rev-parse", "main"]), tip.as_str());
}

#[test]
fn a_commit_tells_who_when_and_what() {
    let world = World::new();
    world.git(&[
        "commit",
        "--quiet",
        "--allow-empty",
        "-m",
        "area: do it\n\nBecause.\n\nAnd so.\n",
    ]);
    let repository = world.open();
    let id = repository.resolve("HEAD").expect("a head");
    let commit = repository.commit(&id).expect("the commit");
    assert_eq!(commit.author_name, "Ana");
    assert_eq!(commit.author_email, "ana@example.com");
    assert_eq!(commit.committed_at, 1_700_000_001);
    assert_eq!(commit.subject, "area: do it");
    assert_eq!(commit.body, "Because.\n\nAnd so.");
    assert_eq!(commit.parents, [repository.resolve("HEAD~1").expect("a parent")]);
}

#[test]
fn the_log_is_bounded_by_range_and_limit() {
    let world = World::new();
    let first = world.open().head().expect("a head").commit;
    let ids: Vec<CommitId> = (0..4).map(|n| world.commit(&format!("c{n}"))).collect();
    let repository = world.open();
    let subjects = |range: &Range, limit| -> Vec<String> {
        let log = repository.log(range, limit).expect("a log");
        log.into_iter().map(|commit| commit.subject).collect()
    };
    let all = Range { after: None, to: ids[3].clone() };
    assert_eq!(subjects(&all, 100), ["c3", "c2", "c1", "c0", "first"]);
    assert_eq!(subjects(&all, 2), ["c3", "c2"]);
    let since = Range { after: Some(first), to: ids[1].clone() };
    assert_eq!(subjects(&since, 100), ["c1", "c0"]);
}

#[test]
fn an_unknown_commit_is_named_in_the_error() {
    let world = World::new();
    let repository = world.open();
    let nobody: CommitId = "0123456789012345678901234567890123456789".parse().expect("an id");
    for error in [
        repository.commit(&nobody).expect_err("no commit"),
        repository.files_at(&nobody).expect_err("no tree"),
        repository.checkout_to(&nobody, &world.beside("out")).expect_err("no tree"),
    ] {
        assert!(matches!(error, GitError::UnknownRevision { .. }), "{error:?}");
    }
}

#[test]
fn changed_files_keep_odd_names_apart() {
    let world = World::new();
    let first = world.open().head().expect("a head").commit;
    for name in odd_names() {
        world.write(name, "x\n");
    }
    world.write("README", "two\n");
    let second = world.commit("odd");
    fs::remove_file(world.path().join("with space")).expect("it is there");
    let third = world.commit("less");

    let repository = world.open();
    let changes = repository.changed_files(Some(&first), &second).expect("changes");
    assert_eq!(changes.len(), odd_names().len() + 1);
    for name in odd_names() {
        let change = changes.iter().find(|change| change.path == name).expect("it changed");
        assert_eq!(change.change, Change::Added, "{name:?}");
    }
    let readme = changes.iter().find(|change| change.path == Path::new("README"));
    assert_eq!(readme.expect("it changed").change, Change::Modified);
    let gone = repository.changed_files(Some(&second), &third).expect("changes");
    assert_eq!(gone.len(), 1);
    assert_eq!(gone[0].change, Change::Deleted);
    assert_eq!(repository.changed_files(None, &first).expect("changes").len(), 1);

    let summary = repository.diff_summary(Some(&first), &second).expect("a summary");
    assert_eq!((summary.files, summary.insertions, summary.deletions), (7, 7, 1));
    assert_eq!(repository.diff_summary(None, &first).expect("a summary").insertions, 1);
}

#[test]
fn what_is_not_committed_is_listed_by_state() {
    let world = World::new();
    world.write("gone", "x");
    world.write(".gitignore", "ignored\n");
    world.commit("second");
    let repository = world.open();
    assert!(!repository.is_dirty().expect("an answer"));

    world.write("README", "changed\n");
    world.write("staged", "x");
    world.git(&["add", "staged"]);
    world.write("new\nline", "x");
    world.write("ignored", "x");
    fs::remove_file(world.path().join("gone")).expect("it is there");
    let mut listed = repository.uncommitted().expect("a list");
    listed.sort_by(|a, b| a.path.cmp(&b.path));
    let listed: Vec<(&str, UncommittedState)> =
        listed.iter().map(|one| (one.path.to_str().expect("these are UTF-8"), one.state)).collect();
    assert_eq!(
        listed,
        [
            ("README", UncommittedState::Modified),
            ("gone", UncommittedState::Deleted),
            ("new\nline", UncommittedState::Untracked),
            ("staged", UncommittedState::Added),
        ]
    );
}

#[test]
fn files_are_read_from_a_commit_not_from_the_worktree() {
    let world = World::new();
    for name in odd_names() {
        world.write(&name, name.as_os_str().as_bytes());
    }
    symlink("README", world.path().join("link")).expect("a link");
    world.write("empty", "");
    let commit = world.commit("odd");
    world.write("README", "later\n");

    let repository = world.open();
    let read = |path: &Path| repository.read_at(&commit, path).expect("an answer");
    for name in odd_names() {
        assert_eq!(read(&name).as_deref(), Some(name.as_os_str().as_bytes()));
    }
    assert_eq!(read(Path::new("README")).as_deref(), Some(b"one\n".as_slice()));
    assert_eq!(read(Path::new("link")).as_deref(), Some(b"README".as_slice()));
    assert_eq!(read(Path::new("empty")).as_deref(), Some(b"".as_slice()));
    for none in ["nope", "dir", "../repo/README", "/etc/passwd", ""] {
        assert_eq!(read(Path::new(none)), None, "{none}");
    }

    let mut asked = odd_names();
    asked.insert(1, PathBuf::from("nope"));
    let many = repository.read_many_at(&commit, &asked).expect("an answer");
    assert_eq!(many[1], None);
    assert_eq!(many[2].as_deref(), Some(asked[2].as_os_str().as_bytes()));
}

#[test]
fn a_thousand_large_files_are_read_without_a_standstill() {
    let world = World::new();
    for n in 0..1000 {
        world.write(format!("many/{n}"), vec![b'x'; 4096]);
    }
    let commit = world.commit("many");
    let paths: Vec<PathBuf> = (0..1000).map(|n| PathBuf::from(format!("many/{n}"))).collect();
    let read = world.open().read_many_at(&commit, &paths).expect("an answer");
    assert!(read.iter().all(|content| content.as_ref().is_some_and(|c| c.len() == 4096)));
}

#[test]
fn a_checkout_is_exactly_the_tree_of_the_commit() {
    let world = World::new();
    for name in odd_names() {
        world.write(name, "x\n");
    }
    world.write("run.sh", "#!/bin/sh\n");
    let script = world.path().join("run.sh");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("executable");
    symlink("nowhere", world.path().join("dangling")).expect("a link");
    world.write(".gitattributes", "*.bat text eol=crlf\n");
    world.write("a.bat", "one\ntwo\n");
    let commit = world.commit("all kinds");
    world.write("README", "dirty\n");
    world.write("untracked", "x");

    let repository = world.open();
    let before = index_bytes(&repository);
    let out = world.beside("out");
    repository.checkout_to(&commit, &out).expect("a checkout");

    let read = |path: &str| fs::read(out.join(path)).expect("it is there");
    assert_eq!(read("README"), b"one\n");
    assert_eq!(read("a.bat"), b"one\r\ntwo\r\n");
    assert!(odd_names().iter().all(|name| out.join(name).is_file()));
    let mode = fs::metadata(out.join("run.sh")).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o111, 0o111);
    assert_eq!(fs::read_link(out.join("dangling")).expect("a link"), Path::new("nowhere"));
    assert!(!out.join("untracked").exists() && !out.join(".git").exists());
    assert_eq!(index_bytes(&repository), before, "the user's index is not touched");
    let dirty = fs::read(world.path().join("README")).expect("it is there");
    assert_eq!(dirty, b"dirty\n", "the user's worktree is not touched");
}

fn index_bytes(repository: &Repository) -> Vec<u8> {
    fs::read(repository.git_dir().join("index")).expect("an index")
}

#[test]
fn nothing_is_checked_out_over_what_is_there() {
    let world = World::new();
    let repository = world.open();
    let commit = repository.head().expect("a head").commit;
    let error = repository.checkout_to(&commit, &world.path()).expect_err("it is not empty");
    assert!(matches!(error, GitError::NotEmpty { .. }), "{error:?}");
}

fn on(branch: &str) -> CloneOptions {
    CloneOptions { branch: Some(branch.to_owned()), include_uncommitted: false }
}

#[test]
fn a_clone_is_clean_has_history_and_leaves_the_user_alone() {
    let world = World::new();
    world.write("README", "two\n");
    let second = world.commit("second");
    world.git(&["tag", "v1"]);
    world.git(&["remote", "add", "origin", "https://u:secret@example.com/a.git"]);
    world.write("README", "dirty\n");
    let hook = world.path().join(".git/hooks/post-checkout");
    fs::create_dir_all(hook.parent().expect("it has one")).expect("a directory");
    fs::write(&hook, "#!/bin/sh\ntouch \"$0.ran\"\n").expect("a hook");
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).expect("executable");

    let repository = world.open();
    let clone = world.beside("clone dir");
    repository.clone_to(&second, &clone, &on("main")).expect("a clone");

    assert_eq!(git_in(&clone, &["status", "--porcelain"]), "");
    assert_eq!(git_in(&clone, &["log", "--format=%s"]), "second\nfirst");
    assert!(git_in(&clone, &["diff", "HEAD~1"]).contains("+two"));
    assert_eq!(git_in(&clone, &["symbolic-ref", "--short", "HEAD"]), "main");
    assert_eq!(git_in(&clone, &["describe", "--tags"]), "v1");
    assert_eq!(fs::read(clone.join("README")).expect("it is there"), b"two\n");
    assert!(!hook.with_extension("ran").exists(), "no hook ran");
    git_in(&clone, &["commit", "--quiet", "--allow-empty", "-m", "of the clone"]);
    assert_eq!(repository.head().expect("a head").commit, second);

    let remote = &repository.remotes().expect("remotes")[0];
    assert_eq!(
        (remote.name.as_str(), remote.shown_url().as_str()),
        ("origin", "https://example.com/a.git")
    );
    assert_eq!(git_in(&clone, &["remote", "get-url", "origin"]), remote.url);
}

#[test]
fn a_repository_in_a_directory_with_an_odd_name_is_found_and_cloned() {
    for name in ["a\nb", "end\n", "\"quoted\"\nend", " blank ", "-rf"] {
        let world = World::new();
        let odd = world.beside(name);
        fs::rename(world.path(), &odd).expect("it can be renamed");
        let repository = Repository::discover(&odd).expect("a repository");
        assert_eq!(repository.root(), odd.canonicalize().expect("it exists"), "{name:?}");
        let commit = repository.head().expect("a head").commit;
        let clone = world.beside("clone");
        repository.clone_to(&commit, &clone, &on("main")).expect("a clone");
        assert_eq!(git_in(&clone, &["log", "--format=%s"]), "first", "{name:?}");
        repository.checkout_to(&commit, &world.beside("out")).expect("a checkout");
    }
}

#[test]
fn a_thousand_files_are_checked_out_in_time() {
    let world = World::new();
    for n in 0..1000 {
        world.write(format!("d{}/f{n}", n % 50), format!("{n}\n"));
    }
    let commit = world.commit("many");
    let repository = world.open();
    let clock = std::time::Instant::now();
    repository.checkout_to(&commit, &world.beside("out")).expect("a checkout");
    let checkout = clock.elapsed();
    let clock = std::time::Instant::now();
    repository.clone_to(&commit, &world.beside("clone"), &on("main")).expect("a clone");
    let clone = clock.elapsed();
    let clock = std::time::Instant::now();
    for _ in 0..20 {
        repository.branch_tip("main").expect("an answer");
    }
    println!("1,000 files: checkout {checkout:?}, clone {clone:?}; tip {:?}", clock.elapsed() / 20);
    assert!(checkout.as_secs() < 20 && clone.as_secs() < 20, "{checkout:?} {clone:?}");
    assert_eq!(fs::read(world.beside("out/d7/f57")).expect("it is there"), b"57\n");
}

#[test]
fn a_clone_without_a_branch_is_detached() {
    let world = World::new();
    let first = world.open().head().expect("a head").commit;
    world.commit("second");
    let clone = world.beside("clone");
    world.open().clone_to(&first, &clone, &CloneOptions::default()).expect("a clone");
    let found = Repository::discover(&clone).expect("a repository").head().expect("a head");
    assert_eq!((found.branch, found.commit), (None, first));
}

#[test]
fn uncommitted_changes_come_along_when_asked() {
    let world = World::new();
    world.write("gone", "x");
    world.write("becomes-dir", "x");
    world.write("was-dir/inner", "x");
    symlink("/", world.path().join("was-link")).expect("a link");
    world.write(".gitignore", "ignored\n");
    world.write("run.sh", "x");
    let commit = world.commit("second");

    let root = world.path();
    world.write("README", "dirty\n");
    world.write(odd_names()[2].clone(), "odd\n");
    world.write("ignored", "x");
    fs::remove_file(root.join("gone")).expect("it is there");
    fs::remove_file(root.join("becomes-dir")).expect("it is there");
    world.write("becomes-dir/inner", "y");
    fs::remove_dir_all(root.join("was-dir")).expect("it is there");
    world.write("was-dir", "y");
    fs::remove_file(root.join("was-link")).expect("it is there");
    world.write("was-link/inner", "y");
    fs::set_permissions(root.join("run.sh"), fs::Permissions::from_mode(0o755))
        .expect("executable");

    let clone = world.beside("clone");
    let options = CloneOptions { branch: Some("main".into()), include_uncommitted: true };
    let repository = world.open();
    repository.clone_to(&commit, &clone, &options).expect("a clone");

    let read = |path: &Path| fs::read(clone.join(path)).expect("it is there");
    assert_eq!(read(Path::new("README")), b"dirty\n");
    assert_eq!(read(&odd_names()[2]), b"odd\n");
    assert_eq!(read(Path::new("becomes-dir/inner")), b"y");
    assert_eq!(read(Path::new("was-dir")), b"y");
    assert_eq!(read(Path::new("was-link/inner")), b"y");
    assert!(!clone.join("gone").exists() && !clone.join("ignored").exists());
    let copy = Repository::discover(&clone).expect("a repository");
    let sorted = |repository: &Repository| {
        let mut list = repository.uncommitted().expect("a list");
        list.sort_by(|a, b| a.path.cmp(&b.path));
        list
    };
    assert_eq!(sorted(&copy), sorted(&repository));
}

#[test]
fn a_shallow_repository_says_so_and_can_be_cloned() {
    let world = World::new();
    let second = world.commit("second");
    let url = format!("file://{}", world.path().display());
    git_in(world.dir.path(), &["clone", "--quiet", "--depth=1", &url, "shallow"]);
    assert!(!world.open().is_shallow().expect("an answer"));

    let shallow = Repository::discover(&world.beside("shallow")).expect("a repository");
    assert!(shallow.is_shallow().expect("an answer"));
    let older = shallow.resolve("HEAD~1").expect_err("it was cut off");
    assert!(older.help().expect("help").contains("--unshallow"));
    let clone = world.beside("clone");
    shallow.clone_to(&second, &clone, &on("main")).expect("a clone");
    assert_eq!(git_in(&clone, &["log", "--format=%s"]), "second");
    assert_eq!(git_in(&clone, &["status", "--porcelain"]), "");
}

#[test]
fn a_submodule_is_listed_and_stays_an_empty_directory() {
    let inner = World::new();
    let world = World::new();
    let url = inner.path();
    world.git(&["submodule", "--quiet", "add", url.to_str().expect("UTF-8"), "vendor/inner"]);
    let commit = world.commit("with submodule");
    let repository = world.open();
    assert_eq!(repository.submodules(&commit).expect("a list"), [Path::new("vendor/inner")]);
    let entries = repository.files_at(&commit).expect("a list");
    assert!(entries.iter().any(|entry| entry.kind == EntryKind::Submodule));
    assert_eq!(repository.read_at(&commit, Path::new("vendor/inner")).expect("an answer"), None);

    let out = world.beside("out");
    repository.checkout_to(&commit, &out).expect("a checkout");
    assert_eq!(fs::read_dir(out.join("vendor/inner")).expect("a directory").count(), 0);
    let clone = world.beside("clone");
    repository.clone_to(&commit, &clone, &on("main")).expect("a clone");
    assert_eq!(git_in(&clone, &["status", "--porcelain"]), "");
}

#[test]
fn the_environment_of_a_hook_does_not_lead_astray() {
    if std::env::var_os("GIT_DIR").is_none() {
        // Run this very test again as a hook would: with the variables of another repository.
        let other = World::new();
        let me = std::env::current_exe().expect("a test binary");
        let status = Command::new(me)
            .args(["--exact", "the_environment_of_a_hook_does_not_lead_astray"])
            .env("GIT_DIR", other.path().join(".git"))
            .env("GIT_INDEX_FILE", "/nonexistent/index")
            .output()
            .expect("the test binary runs");
        assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stdout));
        return;
    }
    let dir = TempDir::new().expect("a temporary directory");
    let error = Repository::discover(dir.path()).expect_err("there is no repository");
    assert!(matches!(error, GitError::NotARepository { .. }), "{error:?}");
}

#[test]
fn only_full_ids_are_commit_ids() {
    for text in ["", "abc", &"g".repeat(40), &"A".repeat(40), &"a".repeat(41)] {
        assert!(text.parse::<CommitId>().is_err(), "{text}");
    }
    assert!("a".repeat(64).parse::<CommitId>().is_ok());
}
