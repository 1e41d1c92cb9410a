//! What each built-in rule finds, and what it lets be.
//!
//! The texts are put together here, so that this repository holds nothing that looks like a secret.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;

const HEX: &str = "0123456789abcdef";
const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
const BASE32: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const WORD: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const BECH32: &str = "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L";

/// Letters that look drawn by lot, always the same.
fn of(alphabet: &str, length: usize) -> String {
    let letters: Vec<char> = alphabet.chars().collect();
    let mut state = 0x2545_f491_4f6c_dd1d_u64 ^ length as u64;
    let draw = |_| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        letters[(state >> 33) as usize % letters.len()]
    };
    (0..length).map(draw).collect()
}

/// For each rule a text it finds and a text it lets be.
fn examples() -> Vec<(&'static str, String, String)> {
    let hex = |length| of(HEX, length);
    let word = |length| of(WORD, length);
    let short = |prefix: &str, secret: &str| {
        (format!("x = \"{prefix}{secret}\""), format!("x = \"{prefix}{}\"", &secret[..5]))
    };
    let of_form = |id, prefix: &str, secret: String| {
        let (bad, good) = short(prefix, &secret);
        (id, bad, good)
    };
    let uuid = format!("{}-{}-{}-{}-{}", hex(8), hex(4), hex(4), hex(4), hex(12));
    vec![
        of_form("aws-access-token", "AKIA", of(BASE32, 16)),
        (
            "aws-secret-access-key",
            format!("aws_secret_access_key = {}", word(40)),
            format!("aws_secret_access_key = {}", "a".repeat(40)),
        ),
        of_form("azure-ad-client-secret", "", format!("abc8Q~{}", word(32))),
        of_form("azure-storage-key", "AccountKey=", format!("{}==", word(86))),
        of_form("gcp-api-key", "AIza", word(35)),
        of_form("google-oauth-client-secret", "GOCSPX-", word(28)),
        of_form("digitalocean-token", "dop_v1_", hex(64)),
        of_form("fly-token", "fm2_", word(120)),
        of_form("heroku-api-key-v2", "HRKU-AA", word(58)),
        of_form("pulumi-api-token", "pul-", hex(40)),
        of_form("hashicorp-tf-api-token", "", format!("{}.atlasv1.{}", word(14), word(67))),
        of_form("vault-service-token", "hvs.", word(90)),
        of_form("databricks-api-token", "dapi", hex(32)),
        of_form("supabase-token", "sbp_", hex(40)),
        of_form("planetscale-api-token", "pscale_tkn_", word(43)),
        of_form("doppler-api-token", "dp.pt.", word(43)),
        of_form("github-pat", "ghp_", word(36)),
        of_form("github-fine-grained-pat", "github_pat_", format!("{}_{}", word(22), word(59))),
        of_form("gitlab-pat", "glpat-", word(20)),
        of_form("gitlab-token", "glrt-", word(20)),
        of_form("npm-access-token", "npm_", word(36)),
        of_form("pypi-upload-token", "pypi-AgEIcHlwaS5vcmc", word(80)),
        of_form("crates-io-token", "cio", word(32)),
        of_form("rubygems-api-token", "rubygems_", hex(48)),
        of_form("docker-hub-token", "dckr_pat_", word(27)),
        of_form("artifactory-api-key", "AKCp", word(69)),
        of_form("postman-api-token", "PMAK-", format!("{}-{}", hex(24), hex(34))),
        of_form("sentry-user-token", "sntryu_", hex(64)),
        of_form("linear-api-key", "lin_api_", word(40)),
        of_form("atlassian-api-token", "ATATT3", word(180)),
        of_form("notion-api-token", "ntn_", format!("{}{}", of("0123456789", 11), word(35))),
        of_form("figma-token", "figd_", word(40)),
        of_form("airtable-personal-access-token", "pat", format!("{}.{}", word(14), hex(64))),
        of_form("slack-bot-token", "xoxb-", format!("1234567890-{}", word(24))),
        of_form(
            "slack-app-token",
            "xapp-1-",
            format!("{}-1234567890123-{}", of(UPPER, 11), hex(64)),
        ),
        of_form(
            "slack-webhook-url",
            "https://hooks.slack.com/services/",
            format!("T{}/B{}/{}", of(UPPER, 8), of(UPPER, 10), word(24)),
        ),
        of_form(
            "discord-webhook-url",
            "https://discord.com/api/webhooks/123456789012345678/",
            word(68),
        ),
        (
            "discord-bot-token",
            format!("discord: {}", format_args!("M{}.{}.{}", word(23), word(6), word(27))),
            "discord: Mx.y.z".to_owned(),
        ),
        of_form(
            "microsoft-teams-webhook",
            "https://a.webhook.office.com/webhookb2/",
            format!("{uuid}@{uuid}/IncomingWebhook/{}/{uuid}", hex(32)),
        ),
        of_form("telegram-bot-api-token", "123456789:AA", word(33)),
        of_form("sendgrid-api-token", "SG.", format!("{}.{}", word(22), word(43))),
        of_form("mailgun-private-api-token", "mailgun key-", hex(32)),
        of_form("mailchimp-api-key", "", format!("{}-us12", hex(32))),
        of_form("twilio-api-key", "SK", hex(32)),
        of_form("stripe-access-token", "sk_live_", word(24)),
        of_form("stripe-test-token", "sk_test_", word(24)),
        of_form("shopify-access-token", "shpat_", hex(32)),
        of_form("square-access-token", "sq0atp-", word(22)),
        of_form("openai-api-key", "sk-proj-", format!("{}T3BlbkFJ{}", word(74), word(74))),
        of_form("anthropic-api-key", "sk-ant-api03-", format!("{}AA", word(93))),
        of_form("huggingface-access-token", "hf_", of(LETTERS, 34)),
        of_form("grafana-service-account-token", "glsa_", format!("{}_{}", word(32), hex(8))),
        of_form("grafana-cloud-api-token", "glc_eyJ", word(60)),
        of_form("new-relic-user-api-key", "NRAK-", of(UPPER, 27)),
        of_form("datadog-access-token", "DD_API_KEY=", hex(32)),
        (
            "private-key",
            format!("-----BEGIN RSA PRIVATE{}-----\n{}\n-----END RSA", " KEY", word(200)),
            format!("-----BEGIN RSA PRIVATE{}-----\n…\n-----END RSA", " KEY"),
        ),
        of_form("age-secret-key", "AGE-SECRET-KEY-1", of(BECH32, 58)),
        of_form("jwt", "", format!("eyJ{}.eyJ{}.{}", word(33), word(60), word(43))),
        (
            "password-in-url",
            format!("postgres://app:{}@db.acme.io/app", word(14)),
            "postgres://app:$PASSWORD@db.acme.io/app".to_owned(),
        ),
        (
            "generic-api-key",
            format!("client_secret = \"{}\"", of(WORD, 40)),
            "client_secret = \"from-the-environment\"".to_owned(),
        ),
    ]
}

fn scan(text: &str) -> Vec<source::Finding> {
    Scanner::new(RuleSet::built_in()).scan("file.txt", text.as_bytes()).findings
}

fn with_rules(toml: &str) -> Scanner {
    let (rules, findings) = RuleSet::read(".gitleaks.toml", toml, &|_| None);
    assert_eq!(findings, []);
    Scanner::new(Arc::new(rules.expect("no findings")))
}

#[test]
fn every_built_in_rule_finds_its_example_and_lets_the_other_be() {
    let rules = RuleSet::built_in();
    assert!(rules.rules.len() >= 40, "{}", rules.rules.len());
    let examples = examples();
    for rule in &rules.rules {
        assert!(examples.iter().any(|(id, ..)| *id == rule.id), "{} has no example", rule.id);
        assert!(!rule.keywords.is_empty(), "{} would look at every file", rule.id);
        assert_eq!(rule.regex.as_ref().and_then(Pattern::fault), None, "{}", rule.id);
    }
    let scanner = Scanner::new(rules);
    for (id, bad, good) in examples {
        let ids = |text: &str| -> Vec<String> {
            scanner.scan("file.txt", text.as_bytes()).findings.into_iter().map(|f| f.rule).collect()
        };
        assert!(
            ids(&bad).iter().any(|found| found == id),
            "{id} is not found in {bad}: {:?}",
            ids(&bad)
        );
        assert!(!ids(&good).iter().any(|found| found == id), "{id} is found in {good}");
    }
}

#[test]
fn a_built_in_file_has_no_findings_of_its_own() {
    let text = include_str!("built_in.toml");
    let (rules, findings) = RuleSet::read("built_in.toml", text, &|_| None);
    assert_eq!(findings, []);
    assert_eq!(rules.as_ref(), Some(&*RuleSet::built_in()));
}

#[test]
fn a_finding_says_where_and_never_what() {
    for (id, bad, _) in examples() {
        let text = format!("first line\n  é {bad}\n");
        for finding in scan(&text) {
            let told = serde_json::to_string(&finding).expect("is JSON");
            let span = finding.place.span.expect("has a span");
            let line = text.lines().nth(span.start.line as usize - 1).expect("is a line");
            let width = (span.end.column - span.start.column) as usize;
            let secret: String =
                line.chars().skip(span.start.column as usize - 1).take(width).collect();
            assert!(!secret.is_empty(), "{id}: {span:?}");
            assert!(!told.contains(&secret), "{id}: {told}");
        }
    }
}

#[test]
fn a_line_that_says_allow_is_let_be() {
    let token = format!("ghp_{}", of(WORD, 36));
    assert_eq!(scan(&format!("a = {token}")).len(), 1);
    assert_eq!(scan(&format!("a = {token} # marline:allow")), []);
    assert_eq!(scan(&format!("a = {token} # gitleaks:allow")), []);
    assert_eq!(scan(&format!("a = {token}\n# marline:allow")).len(), 1);
}

#[test]
fn what_a_rule_knows_is_not_also_guessed() {
    let findings = scan(&format!("token = \"ghp_{}\"", of(WORD, 36)));
    let rules: Vec<&str> = findings.iter().map(|f| f.rule.as_str()).collect();
    assert_eq!(rules, ["github-pat"]);
    assert!(findings[0].is_error());
}

#[test]
fn a_guess_reports_and_does_not_hold() {
    let findings = scan(&format!("client_secret = \"{}\"", of(WORD, 40)));
    assert_eq!(findings.len(), 1);
    assert!(!findings[0].is_error());
}

#[test]
fn binary_and_huge_files_are_said_to_be_unchecked() {
    let scanner = Scanner::new(RuleSet::built_in());
    assert_eq!(scanner.scan("a.png", b"\x89PNG\0").not_checked, Some(NotScanned::Binary));
    assert_eq!(scanner.scan("a.txt", b"text").not_checked, None);
    assert!(matches!(Scanner::takes(1 << 30), Err(NotScanned::TooLarge { .. })));
}

#[test]
fn allowlists_hold_by_one_or_by_all_of_their_conditions() {
    let rules = |condition: &str| {
        with_rules(&format!(
            "[[rules]]\nid = \"a\"\nregex = 'key-(\\w+)'\nkeywords = [\"key\"]\n\
             [[rules.allowlists]]\ncondition = \"{condition}\"\npaths = ['^docs/']\nstopwords = [\"sample\"]\n"
        ))
    };
    let count = |scanner: &Scanner, path: &str, text: &str| {
        scanner.scan(path, text.as_bytes()).findings.len()
    };
    let any = rules("OR");
    assert_eq!(count(&any, "docs/a", "key-real"), 0);
    assert_eq!(count(&any, "src/a", "key-sample"), 0);
    assert_eq!(count(&any, "src/a", "key-real"), 1);
    let all = rules("AND");
    assert_eq!(count(&all, "docs/a", "key-real"), 1);
    assert_eq!(count(&all, "docs/a", "key-sample"), 0);
}

#[test]
fn the_target_of_an_allowlist_is_the_secret_the_match_or_the_line() {
    let rules = |target: &str, regex: &str| {
        with_rules(&format!(
            "[[rules]]\nid = \"a\"\nregex = 'key-(\\w+)'\n\
             [rules.allowlist]\nregexTarget = \"{target}\"\nregexes = ['{regex}']\n"
        ))
    };
    let count = |scanner: Scanner| scanner.scan("a", b"x key-one y").findings.len();
    assert_eq!(count(rules("secret", "^one$")), 0);
    assert_eq!(count(rules("match", "^one$")), 1);
    assert_eq!(count(rules("match", "^key-one$")), 0);
    assert_eq!(count(rules("line", "y$")), 0);
}

#[test]
fn a_list_for_the_file_may_name_rules_and_commits() {
    let toml = "[[rules]]\nid = \"a\"\nregex = 'aaa'\n[[rules]]\nid = \"b\"\nregex = 'bbb'\n\
                [[allowlists]]\ntargetRules = [\"a\"]\ncommits = [\"ABC\"]\n";
    let ids = |scanner: Scanner| -> Vec<String> {
        scanner.scan("f", b"aaa bbb").findings.into_iter().map(|f| f.rule).collect()
    };
    assert_eq!(ids(with_rules(toml)), ["a", "b"]);
    assert_eq!(ids(with_rules(toml).of_commit("abc")), ["b"]);
}

#[test]
fn entropy_path_and_group_narrow_a_rule() {
    let scanner = with_rules(
        "[[rules]]\nid = \"a\"\nregex = '(k)=(\\w+)'\nsecretGroup = 2\nentropy = 2.0\npath = '\\.env$'\n",
    );
    assert_eq!(scanner.scan("a.env", b"k=aaaaaaaa").findings, []);
    assert_eq!(scanner.scan("a.txt", b"k=abcdefgh").findings, []);
    assert_eq!(scanner.scan("a.env", b"k=abcdefgh").findings.len(), 1);
    assert!((entropy(b"abcdefgh") - 3.0).abs() < 1e-9);
    let by_path = with_rules("[[rules]]\nid = \"key-file\"\npath = '\\.pem$'\n");
    assert_eq!(by_path.scan("a.pem", b"").findings.len(), 1);
}

#[test]
fn a_file_lays_itself_over_the_built_in_rules() {
    let toml = "[extend]\nuseDefault = true\ndisabledRules = [\"jwt\"]\n\
                [[rules]]\nid = \"github-pat\"\nkeywords = [\"extra\"]\n\
                [[rules]]\nid = \"ours\"\nregex = 'ours-\\d+'\n";
    let (rules, findings) = RuleSet::read(".gitleaks.toml", toml, &|_| None);
    assert_eq!(findings, []);
    let rules = rules.expect("no findings");
    assert!(rules.rule("jwt").is_none());
    assert!(rules.rule("ours").is_some());
    let github = rules.rule("github-pat").expect("is extended");
    assert!(github.regex.is_some() && github.keywords.contains(&"extra".to_owned()));
}

#[test]
fn a_file_may_extend_another_of_the_repository() {
    let base = "[[rules]]\nid = \"base\"\nregex = 'base'\n";
    let load = |path: &str| (path == "base.toml").then(|| base.to_owned());
    let (rules, findings) = RuleSet::read("a.toml", "[extend]\npath = \"base.toml\"\n", &load);
    assert_eq!(findings, []);
    assert!(rules.expect("no findings").rule("base").is_some());
    let again = |_: &str| Some("[extend]\npath = \"self.toml\"\n".to_owned());
    let (_, findings) = RuleSet::read("self.toml", &again("").expect("is a text"), &again);
    assert_eq!(findings[0].message, "rule files extend each other too deeply");
}

#[test]
fn everything_wrong_in_a_rule_file_is_said_with_its_place() {
    let toml = "[[rules]]\nid = \"a\"\nregex = '(a'\n\n[[rules]]\nid = \"b\"\nregexp = 'b'\n\n\
                [[rules]]\nid = \"c\"\nregex = 'c'\n[[rules.required]]\nid = \"a\"\n";
    let (_, findings) = RuleSet::read(".gitleaks.toml", toml, &|_| None);
    let said: Vec<String> =
        findings.iter().map(|f| format!("{}: {}", f.place, f.message)).collect();
    assert_eq!(
        said,
        [
            ".gitleaks.toml: `regexp` is not a key here",
            ".gitleaks.toml:12:1: rule `c` needs other rules, which is not supported",
            ".gitleaks.toml:3:9: the pattern cannot be used: unclosed group",
            ".gitleaks.toml: rule `b` has neither `regex` nor `path`",
        ]
    );
    let (rules, findings) = RuleSet::read("x.toml", "[[rules]\n", &|_| None);
    assert_eq!(rules, None);
    assert_eq!(findings[0].place.span.expect("has a span").start.line, 1);
}

proptest! {
    #[test]
    fn no_bytes_make_the_scanner_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        keyword in prop::sample::select(vec!["ghp_", "secret = \"", "-----BEGIN PRIVATE", "://a:", "eyJ"]),
        at in 0..400_usize,
    ) {
        let mut bytes: Vec<u8> = bytes.into_iter().map(|byte| byte.max(1)).collect();
        let at = at.min(bytes.len());
        bytes.splice(at..at, keyword.bytes());
        let _ = Scanner::new(RuleSet::built_in()).scan("a", &bytes);
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,80}|[\\[\\]a-z=\"'\n{}.]{0,80}") {
        let _ = RuleSet::read("a.toml", &text, &|_| None);
    }

    #[test]
    fn what_is_written_is_what_is_read(
        id in "[a-z-]{1,12}",
        words in prop::collection::vec("[a-z]{1,8}", 0..4),
        entropy in 0_u8..9,
    ) {
        let toml = format!("[[rules]]\nid = \"{id}\"\nregex = 'a'\nentropy = {entropy}\nkeywords = {words:?}\n");
        let (rules, findings) = RuleSet::read("a.toml", &toml, &|_| None);
        prop_assert_eq!(findings, []);
        let rules = rules.expect("no findings");
        prop_assert_eq!(&rules.rules[0].id, &id);
        prop_assert_eq!(&rules.rules[0].keywords, &words);
        prop_assert!((rules.rules[0].entropy - f64::from(entropy)).abs() < 1e-9);
    }
}
