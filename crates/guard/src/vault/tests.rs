use super::*;

fn vault() -> (tempfile::TempDir, Vault) {
    let dir = tempfile::tempdir().expect("a directory can be made");
    let vault = Vault::open(&dir.path().join("vault")).expect("opens");
    (dir, vault)
}

fn value(vault: &Vault, name: &str) -> Option<String> {
    vault.get(name).expect("can be read").map(|secret| secret.expose().to_owned())
}

#[test]
fn what_is_set_is_got_by_whoever_opens_the_vault_later() {
    let (dir, vault) = vault();
    vault.set("TOKEN", &Secret::new("s3cret\nline"), &[]).expect("is set");
    vault.set("TOKEN", &Secret::new("newer"), &[]).expect("is set");
    let again = Vault::open(&dir.path().join("vault")).expect("opens");
    assert_eq!(value(&again, "TOKEN").as_deref(), Some("newer"));
    assert_eq!(value(&again, "OTHER"), None);
    assert!(vault.remove("TOKEN").expect("can be removed"));
    assert!(!vault.remove("TOKEN").expect("can be removed"));
    assert_eq!(value(&vault, "TOKEN"), None);
}

#[test]
fn no_file_of_the_vault_holds_a_value_or_is_open_to_others() {
    let (dir, vault) = vault();
    vault.set("TOKEN", &Secret::new("very-secret-value"), &["web".to_owned()]).expect("is set");
    for entry in fs::read_dir(dir.path().join("vault")).expect("can be listed") {
        let path = entry.expect("can be listed").path();
        let content = fs::read(&path).expect("can be read");
        assert!(memchr::memmem::find(&content, b"very-secret-value").is_none(), "{path:?}");
        let mode = fs::metadata(&path).expect("is there").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{path:?}");
    }
}

#[test]
fn a_list_tells_names_and_scopes_and_no_values() {
    let (_dir, vault) = vault();
    vault.set("B", &Secret::new("value-of-b"), &["web".to_owned()]).expect("is set");
    vault.set("A", &Secret::new("value-of-a"), &[]).expect("is set");
    let list = vault.list().expect("can be listed");
    let told: Vec<(&str, usize)> = list.iter().map(|e| (e.name.as_str(), e.scope.len())).collect();
    assert_eq!(told, [("A", 0), ("B", 1)]);
    assert!(!format!("{list:?}").contains("value-of"));
}

#[test]
fn a_secret_is_given_only_to_those_it_is_for() {
    let (_dir, vault) = vault();
    vault.set("ALL", &Secret::new("a"), &[]).expect("is set");
    vault.set("WEB", &Secret::new("w"), &["web".to_owned()]).expect("is set");
    let gets = |name: &str, who: &str| vault.get_for(name, who).expect("can be read").is_some();
    assert!(gets("ALL", "db") && gets("WEB", "web"));
    assert!(!gets("WEB", "db"));
}

#[test]
fn after_a_rotation_the_old_identity_opens_nothing() {
    let (dir, vault) = vault();
    let identity = dir.path().join("vault/identity");
    vault.set("TOKEN", &Secret::new("kept"), &["web".to_owned()]).expect("is set");
    let old = fs::read(&identity).expect("can be read");
    assert_eq!(vault.rotate().expect("rotates"), 1);
    assert_eq!(value(&vault, "TOKEN").as_deref(), Some("kept"));
    assert_eq!(vault.list().expect("can be listed")[0].scope, ["web"]);
    fs::write(&identity, old).expect("can be written");
    assert!(matches!(vault.get("TOKEN"), Err(VaultError::Decrypt { .. })));
}

#[test]
fn a_rotation_that_was_cut_off_loses_nothing() {
    let (_dir, vault) = vault();
    vault.set("ONE", &Secret::new("1"), &[]).expect("is set");
    // As after a crash right behind the first step: a new identity first, nothing encrypted for it.
    let mut identities = vault.identities().expect("can be read");
    identities.insert(0, Identity::generate());
    vault.write_identities(&identities).expect("can be written");
    vault.set("TWO", &Secret::new("2"), &[]).expect("is set");
    assert_eq!(value(&vault, "ONE").as_deref(), Some("1"));
    assert_eq!(vault.rotate().expect("rotates"), 2);
    assert_eq!(value(&vault, "ONE").as_deref(), Some("1"));
    assert_eq!(value(&vault, "TWO").as_deref(), Some("2"));
    assert_eq!(vault.identities().expect("can be read").len(), 1);
}

#[test]
fn names_that_are_no_names_are_refused() {
    let (_dir, vault) = vault();
    for name in
        ["", "../x", "a/b", "1A", "a-b", "GITHUB_TOKEN", "github_x", "ä", "a\0", &"a".repeat(101)]
    {
        assert!(matches!(vault.get(name), Err(VaultError::Name { .. })), "{name}");
        let set = vault.set(name, &Secret::new("x"), &[]);
        assert!(matches!(set, Err(VaultError::Name { .. })), "{name}");
    }
    assert!(vault.get("_A1").is_ok());
}

#[test]
fn an_identity_that_others_may_read_is_refused() {
    let (dir, vault) = vault();
    let identity = dir.path().join("vault/identity");
    fs::set_permissions(&identity, fs::Permissions::from_mode(0o644)).expect("can be changed");
    assert!(matches!(vault.list(), Err(VaultError::Open { .. })));
}

#[test]
fn a_damaged_file_is_an_error_and_no_value() {
    let (dir, vault) = vault();
    vault.set("TOKEN", &Secret::new("x"), &[]).expect("is set");
    fs::write(dir.path().join("vault/TOKEN.age"), b"age-encryption.org/v1\n-> X")
        .expect("is written");
    assert!(matches!(vault.get("TOKEN"), Err(VaultError::Decrypt { .. })));
}

#[test]
fn two_that_open_a_new_vault_at_once_share_one_identity() {
    let dir = tempfile::tempdir().expect("a directory can be made");
    std::thread::scope(|scope| {
        for name in ["A", "B", "C", "D"] {
            let dir = dir.path();
            scope.spawn(move || {
                Vault::open(dir)
                    .expect("opens")
                    .set(name, &Secret::new(name), &[])
                    .expect("is set");
            });
        }
    });
    let vault = Vault::open(dir.path()).expect("opens");
    for name in ["A", "B", "C", "D"] {
        assert_eq!(value(&vault, name).as_deref(), Some(name));
    }
}
