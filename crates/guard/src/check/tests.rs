use std::process::Command;

use super::*;

fn write(root: &Path, path: &str, content: impl AsRef<[u8]>) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().expect("has a parent")).expect("can be made");
    std::fs::write(path, content).expect("can be written");
}

fn git(root: &Path, args: &[&str]) {
    let status = Command::new("git")
        .args(["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"])
        .args(args)
        .current_dir(root)
        .output()
        .expect("git is there")
        .status;
    assert!(status.success(), "git {args:?}");
}

/// A token that nobody has, put together so that this file does not hold one.
fn token() -> String {
    format!("ghp{}{}", "_", "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8")
}

fn everything(subject: Subject<'_>) -> Report {
    check(subject, &Options::default()).expect("can be checked")
}

fn told(report: &Report) -> Vec<String> {
    report.findings.iter().map(|f| format!("{} {} {}", f.severity, f.rule, f.place)).collect()
}

/// A project with something wrong in each area.
fn project(root: &Path) {
    write(root, "a.env", format!("x\nTOKEN={}\n", token()));
    write(root, "logo.png", b"\x89PNG\0\0");
    write(
        root,
        ".github/workflows/ci.yml",
        "on: issues\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      \
         - run: echo ${{ github.event.issue.title }}\n",
    );
    write(root, "compose.yaml", "services:\n  web:\n    image: web:1\n    privileged: true\n");
    write(root, "policy/a.rego", "package main\ndeny contains msg if {\n");
    write(root, "rules/a.yml", "groups: 1\n");
}

const NOTHING: [String; 0] = [];

const EXPECTED: [&str; 5] = [
    "error script-injection .github/workflows/ci.yml:6:23",
    "error github-pat a.env:2:7",
    "error privileged-service compose.yaml:4:5",
    "error policy-syntax policy/a.rego",
    "error wrong-type rules/a.yml:1:9",
];

/// Where exactly a policy is cut off is the evaluator's to say.
fn without_column(told: Vec<String>) -> Vec<String> {
    let cut = |line: String| match line.split_once(".rego") {
        Some((before, _)) => format!("{before}.rego"),
        None => line,
    };
    told.into_iter().map(cut).collect()
}

#[test]
fn a_directory_and_its_commit_are_checked_alike() {
    let dir = tempfile::tempdir().expect("can be made");
    project(dir.path());
    let of_directory = everything(Subject::Directory(dir.path()));
    assert_eq!(without_column(told(&of_directory)), EXPECTED);
    assert_eq!(
        of_directory.not_checked_lines(),
        [
            "secrets: 1 binary file",
            "rules: whether their queries are PromQL",
            "policy: the policies are asked at the gate",
            "dependencies: no advisory data",
        ]
    );
    assert_eq!(of_directory.files, 6);

    git(dir.path(), &["init", "-q", "-b", "main"]);
    git(dir.path(), &["add", "."]);
    git(dir.path(), &["commit", "-q", "-m", "a"]);
    let repository = Repository::discover(dir.path()).expect("is there");
    let head = repository.head().expect("has a commit");
    let of_commit = everything(Subject::Commit { repository: &repository, commit: &head.commit });
    assert_eq!(of_commit.findings, of_directory.findings);
    assert_eq!(of_commit.not_checked, of_directory.not_checked);
    assert_eq!(of_commit.files, of_directory.files);
}

#[test]
fn what_git_ignores_is_left_out_unless_it_is_tracked() {
    let dir = tempfile::tempdir().expect("can be made");
    write(dir.path(), ".gitignore", "*.env\n");
    write(dir.path(), "local.env", token());
    assert_eq!(told(&everything(Subject::Directory(dir.path()))), NOTHING);
    write(dir.path(), "tracked.env", token());
    git(dir.path(), &["init", "-q", "-b", "main"]);
    git(dir.path(), &["add", "-f", ".gitignore", "tracked.env"]);
    git(dir.path(), &["commit", "-q", "-m", "a"]);
    assert_eq!(
        told(&everything(Subject::Directory(dir.path()))),
        ["error github-pat tracked.env:1:1"]
    );
}

#[test]
fn files_that_only_other_tools_leave_out_are_looked_through() {
    let dir = tempfile::tempdir().expect("can be made");
    write(dir.path(), ".gitignore", "*.env\n");
    write(dir.path(), "inner/.ignore", "*\n");
    write(dir.path(), "inner/.hidden/a.txt", token());
    write(dir.path(), "inner/a.env", token());
    assert_eq!(
        told(&everything(Subject::Directory(&dir.path().join("inner")))),
        ["error github-pat .hidden/a.txt:1:1", "error github-pat a.env:1:1"],
        "without a repository, what lies above says nothing"
    );
}

#[test]
fn only_the_areas_asked_for_are_checked() {
    let dir = tempfile::tempdir().expect("can be made");
    project(dir.path());
    let options = Options { areas: vec![Area::Workflows], ..Options::default() };
    let report = check(Subject::Directory(dir.path()), &options).expect("can be checked");
    assert_eq!(told(&report), EXPECTED[..1]);
    assert_eq!(report.files, 1);
    assert_eq!("compose".parse(), Ok(Area::Compose));
    assert!("all".parse::<Area>().is_err());
}

#[test]
fn a_file_of_secret_rules_is_obeyed() {
    let dir = tempfile::tempdir().expect("can be made");
    write(dir.path(), "a.env", token());
    write(dir.path(), "b.txt", "acme-1234");
    write(dir.path(), ".gitleaks.toml", "[[rules]]\nid = \"acme\"\nregex = 'acme-\\d+'\n");
    assert_eq!(told(&everything(Subject::Directory(dir.path()))), ["error acme b.txt:1:1"]);
    write(dir.path(), ".gitleaksignore", "# known\nb.txt:acme:1\n");
    assert_eq!(told(&everything(Subject::Directory(dir.path()))), NOTHING);
    write(dir.path(), ".gitleaks.toml", "rules = 1");
    let report = everything(Subject::Directory(dir.path()));
    assert_eq!(told(&report), ["error secret-rules .gitleaks.toml:1:9"]);
    assert_eq!(report.not_checked[0].to_string(), "secrets: `.gitleaks.toml` cannot be read");
}

#[test]
fn policies_are_asked_about_what_stands_in_the_files() {
    let dir = tempfile::tempdir().expect("can be made");
    write(dir.path(), "compose.yaml", "services:\n  web:\n    image: web:1\n");
    write(
        dir.path(),
        ".github/workflows/ci.yml",
        "on: push\njobs:\n  a:\n    runs-on: x\n    steps:\n      - run: a\n",
    );
    write(
        dir.path(),
        "policy/a.rego",
        "package main\nwarn contains sprintf(\"%s %s %s\", [name, w.path, w.document.jobs.a.steps[0].run]) if {\n  \
         some name, _ in input.compose.services\n  some w in input.workflows\n}\n",
    );
    write(dir.path(), "policy/a_test.rego", "not rego");
    let options = Options { policy: Some(policy::Input::default()), ..Options::default() };
    let report = check(Subject::Directory(dir.path()), &options).expect("can be checked");
    let messages: Vec<&str> = report.findings.iter().map(|f| f.message.as_str()).collect();
    assert!(messages.contains(&"web .github/workflows/ci.yml a"), "{messages:?}");
    assert_eq!(policies(Subject::Directory(dir.path())).expect("can be read").len(), 1);
}

#[test]
fn names_that_are_no_text_are_shown_and_files_in_them_looked_through() {
    use std::os::unix::ffi::OsStrExt as _;
    let dir = tempfile::tempdir().expect("can be made");
    let name = std::ffi::OsStr::from_bytes(b"a \xff\n.env");
    std::fs::write(dir.path().join(name), token()).expect("can be written");
    let report = everything(Subject::Directory(dir.path()));
    assert_eq!(report.findings[0].place.path, "a \\xff\n.env");
}

#[test]
fn a_file_is_shown_without_its_secrets() {
    let dir = tempfile::tempdir().expect("can be made");
    let text = format!("x\nTOKEN={} # é\n", token());
    write(dir.path(), "a.env", &text);
    let report = everything(Subject::Directory(dir.path()));
    let hidden = format!("x\nTOKEN=ghp_{} # é\n", "•".repeat(36));
    assert_eq!(report.without_secrets("a.env", &text), hidden);
    assert_eq!(report.without_secrets("b.env", &text), text);
}

#[test]
fn a_directory_that_is_not_there_is_an_error() {
    let gone = Path::new("/nowhere/at/all");
    let error = check(Subject::Directory(gone), &Options::default()).expect_err("is not there");
    assert_eq!(error.to_string(), "could not read `/nowhere/at/all`");
}

#[test]
fn the_worst_findings_come_first_where_only_some_fit() {
    let note = Finding::note("a", "a", source::Place::file("a"));
    let error = Finding::error("b", "b", source::Place::file("b"));
    let report = Report { findings: vec![note, error.clone()], ..Report::default() };
    assert_eq!(report.worst(1), [error]);
}

#[test]
fn our_examples_pass_their_own_policies_from_main_only() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    for name in ["guestbook-python", "hello-rust", "quotes-node"] {
        let root = examples.join(name);
        let subject = Subject::Directory(&root);
        let files = policies(subject).expect("can be read");
        let ask = |branch: &str, conclusion: &str| {
            let commit = policy::Commit { branch: Some(branch.to_owned()), ..Default::default() };
            let run = policy::Run {
                name: "ci".to_owned(),
                conclusion: Some(conclusion.to_owned()),
                ..Default::default()
            };
            let input = policy::Input { commit, runs: vec![run], ..Default::default() };
            let input = complete(subject, &Environment::default(), input).expect("can be read");
            let evaluation = policy::evaluate(&files, &input, &policy::Fence::default());
            assert_eq!(evaluation.not_checked, [], "{name}");
            let errors = evaluation.findings.iter().filter(|finding| finding.is_error());
            errors.map(|finding| finding.message.clone()).collect::<Vec<_>>()
        };
        assert_eq!(ask("main", "success"), NOTHING, "{name}");
        assert_eq!(ask("topic", "success"), ["releases come from main, this commit is on topic"]);
        assert_eq!(ask("main", "failure"), ["ci failed"]);
        let errors: Vec<Finding> = everything(subject).findings;
        assert!(!errors.iter().any(Finding::is_error), "{name}: {errors:?}");
    }
}

/// Our own repository, as Git has it and as it lies there.
#[test]
fn our_own_repository_is_clean() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let listed = Command::new("git").arg("ls-files").arg("-z").current_dir(&root).output();
    let Some(listed) = listed.ok().filter(|output| output.status.success()) else {
        println!("our_own_repository_is_clean: skipped, this is no Git repository");
        return;
    };
    let scanner = Scanner::new(RuleSet::built_in());
    let mut findings = Vec::new();
    for path in listed.stdout.split(|byte| *byte == 0).filter(|path| !path.is_empty()) {
        let path = String::from_utf8_lossy(path);
        // A file that somebody just removed is not in the next commit.
        if let Ok(content) = std::fs::read(root.join(&*path)) {
            findings.extend(scanner.scan(&path, &content).findings);
        }
    }
    assert_eq!(findings, [], "{}", source::render::json(&findings));
}
