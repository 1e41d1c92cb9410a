//! Compose files: one file, or two laid over each other, with variables, and a file that either may
//! include or extend.

#![no_main]

use fuzz::{Ground, PATH, texts};
use libfuzzer_sys::fuzz_target;
use source::compose::{ComposeFile, Environment, is_usable, read, read_with};

fuzz_target!(|input: &str| {
    let [first, second, env, other] = texts(input);
    let mut findings = Vec::new();
    let environment = Environment::new([("A", "1"), ("EMPTY", ""), ("NAME", "$A")])
        .in_directory("shop")
        .with_env_file(".env", env, &mut findings);
    let mut files = vec![ComposeFile::new(PATH, first)];
    if !second.is_empty() {
        files.push(ComposeFile::new("second", second));
    }
    let beside = |path: &str| matches!(path, "other" | "sub/other").then(|| other.to_owned());
    let (project, findings) = read_with(&files, &environment, &beside);
    Ground::new(first).hold(&findings);
    let ground = Ground::new(second);
    for span in findings.iter().filter(|f| f.place.path == "second").filter_map(|f| f.place.span) {
        ground.holds(span);
    }
    let Some(project) = project.filter(|_| is_usable(&findings)) else { return };
    for service in project.services.values() {
        let _ = (service.replicas(), service.argv());
    }
    if let Ok(order) = project.select(&["*"], &[] as &[&str]) {
        assert_eq!(order.len(), project.services.len());
    }
    serde_json::to_string(&project).expect("a project can be told as JSON");

    // What is in long form already reads as itself.
    let long = project.normalised().to_string().replace('$', "$$");
    let (again, findings) = read(&[ComposeFile::new(PATH, &long)], &environment);
    let again = again.filter(|_| is_usable(&findings));
    let again = again.unwrap_or_else(|| panic!("{long}\ncannot be read: {findings:?}"));
    assert_eq!(again.normalised(), project.normalised(), "{long}");
});
