use std::os::unix::ffi::OsStrExt as _;

use super::*;

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).expect("a time in range")
}

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().expect("a file has a parent")).expect("make directories");
    fs::write(path, text).expect("write a file");
}

struct World {
    dir: tempfile::TempDir,
    store: ReleaseStore,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("make a directory");
        write(dir.path(), "tree/bin/server", "#!/bin/sh\n");
        fs::set_permissions(dir.path().join("tree/bin/server"), Permissions::from_mode(0o755))
            .expect("make it executable");
        write(dir.path(), "tree/page.html", "v1");
        write(dir.path(), "tree/.git/HEAD", "secret");
        let store = ReleaseStore::open(dir.path().join("releases")).expect("open the store");
        Self { dir, store }
    }

    fn cut(&self, commit: &str, artifacts: &[PathBuf], environment: &[(&str, &str)]) -> Manifest {
        let variables =
            environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let cut = Cut {
            commit: commit.into(),
            tree: &self.dir.path().join("tree"),
            artifacts,
            compose: Some(ComposeSnapshot {
                text: format!("{environment:?}"),
                environment: BTreeMap::from([("web".into(), variables)]),
            }),
            runs: vec![RunId(1)],
            findings: String::new(),
        };
        self.store.cut(&cut, now()).expect("cut a release")
    }
}

impl Drop for World {
    fn drop(&mut self) {
        remove_tree(&self.dir.path().join("releases")).expect("remove read-only files");
    }
}

#[test]
fn the_same_input_gives_the_same_release_and_one_directory() {
    let world = World::new();
    let first = world.cut("c1", &[], &[]);
    let again = world.cut("c1", &[], &[]);
    assert_eq!(first, again);
    assert_eq!(world.store.list().expect("list"), std::slice::from_ref(&first));
    let paths: Vec<_> = first.files.iter().map(|file| (file.path.as_str(), file.mode)).collect();
    assert_eq!(paths, [("bin/server", FileMode::Executable), ("page.html", FileMode::File)]);
}

#[test]
fn artifacts_lie_over_the_tree_and_every_difference_is_told() {
    let world = World::new();
    let first = world.cut("c1", &[], &[("A", "1"), ("B", "2")]);
    write(world.dir.path(), "artifact/page.html", "built");
    write(world.dir.path(), "artifact/app.js", "x");
    fs::remove_file(world.dir.path().join("tree/bin/server")).expect("remove a file");
    let second = world.cut("c2", &[world.dir.path().join("artifact")], &[("A", "9"), ("C", "3")]);
    let page = fs::read(world.store.files(&second.release).join("page.html")).expect("read");
    assert_eq!(page, b"built");
    let diff = world.store.diff(&first.release, &second.release).expect("compare");
    assert_eq!(diff.added, ["app.js"]);
    assert_eq!(diff.removed, ["bin/server"]);
    assert_eq!(diff.changed, ["page.html"]);
    assert_eq!(diff.environment[&ServiceName::from("web")], ["A", "B", "C"]);
}

#[test]
fn a_release_that_was_tampered_with_is_found_out() {
    let world = World::new();
    let release = world.cut("c1", &[], &[]).release;
    assert_eq!(world.store.verify(&release).expect("verify"), []);
    let files = world.store.files(&release);
    for dir in [&files, &files.join("bin")] {
        fs::set_permissions(dir, Permissions::from_mode(0o755)).expect("open it");
    }
    let page = files.join("page.html");
    fs::remove_file(&page).expect("remove");
    fs::write(&page, "evil").expect("write");
    fs::remove_file(files.join("bin/server")).expect("remove");
    fs::write(files.join("new"), "x").expect("write");
    assert_eq!(
        world.store.verify(&release).expect("verify"),
        [
            Damage::Missing("bin/server".into()),
            Damage::Changed("page.html".into()),
            Damage::Added("new".into()),
        ]
    );
}

#[test]
fn what_a_killed_process_left_is_removed_and_the_cut_repeated() {
    let world = World::new();
    let release = world.cut("c1", &[], &[]).release;
    write(world.dir.path(), "releases/.cut-dead/files/half", "x");
    write(world.dir.path(), "releases/.gone-dead/files/half", "x");
    let store = ReleaseStore::open(world.dir.path().join("releases")).expect("open again");
    let left = fs::read_dir(world.dir.path().join("releases")).expect("read").count();
    assert_eq!(left, 1);
    assert_eq!(store.manifest(&release).expect("still there").release, release);
}

#[test]
fn pruning_never_takes_what_runs() {
    let world = World::new();
    let ids: Vec<_> = ["c1", "c2", "c3"].iter().map(|c| world.cut(c, &[], &[]).release).collect();
    let kept: Vec<_> = world.store.list().expect("list").into_iter().map(|m| m.release).collect();
    let oldest = kept[2].clone();
    let removed = world.store.prune(1, std::slice::from_ref(&oldest)).expect("prune");
    assert_eq!(removed, [kept[1].clone()]);
    assert!(ids.contains(&oldest) && world.store.manifest(&oldest).is_ok());
}

#[test]
fn files_are_read_only_and_odd_names_survive() {
    let world = World::new();
    let odd = std::ffi::OsStr::from_bytes(b"a\xffb \n\\");
    fs::write(world.dir.path().join("tree").join(odd), "x").expect("write");
    symlink("page.html", world.dir.path().join("tree/link")).expect("link");
    let manifest = world.cut("c1", &[], &[]);
    assert!(manifest.files.iter().any(|file| file.path == "a\\xffb \n\\\\"));
    assert!(manifest.files.iter().any(|f| f.path == "link" && f.mode == FileMode::Link));
    let page = world.store.files(&manifest.release).join("page.html");
    let mode = fs::metadata(page).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o444);
}

#[test]
fn a_release_is_found_by_the_beginning_of_its_id_or_commit() {
    let world = World::new();
    let release = world.cut("c1", &[], &[]).release;
    world.cut("c2", &[], &[]);
    assert_eq!(world.store.find(release.short()).expect("by id").release, release);
    assert_eq!(world.store.find("c1").expect("by commit").release, release);
    assert!(matches!(world.store.find("c"), Err(ReleaseError::Ambiguous { count: 2, .. })));
    assert!(matches!(world.store.find("nope"), Err(ReleaseError::Unknown { .. })));
}
