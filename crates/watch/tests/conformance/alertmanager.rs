//! Files of Alertmanager, good and bad.

use scoreboard::Suite;
use source::alertmanager;

/// The files that Alertmanager's own tests expect to be refused.
const BAD: [&str; 20] = [
    "conf.bad.yml",
    "conf.mattermost-no-webhook-url.yml",
    "conf.mattermost-valid-receiver-both-webhook-url-and-file.yml",
    "conf.opsgenie-default-apikey-old-team.yml",
    "conf.opsgenie-no-apikey.yml",
    "conf.rocketchat-both-token-and-tokenfile.yml",
    "conf.rocketchat-both-tokenid-and-tokenidfile.yml",
    "conf.rocketchat-no-token.yml",
    "conf.slack-both-file-and-token.yml",
    "conf.slack-both-url-and-token.yml",
    "conf.slack-no-api-url-or-token.yml",
    "conf.slack-update-message-and-webhook.yml",
    "conf.smtp-both-password-and-file.yml",
    "conf.sns-invalid.yml",
    "conf.telegram-both-bot-token-and-file.yml",
    "conf.telegram-no-bot-token.yml",
    "conf.telegram-valid-receiver-both-bot-token-and-file.yml",
    "conf.victorops-both-file-and-apikey.yml",
    "conf.victorops-no-apikey.yml",
    "conf.wechat-both-file-and-secret.yml",
];

#[test]
fn configurations_of_alertmanager() {
    let test = "configurations_of_alertmanager";
    let Some(root) = scoreboard::data(test, "watch/alertmanager") else { return };
    let mut suite = Suite::new("alertmanager configurations");
    for path in scoreboard::files(&root, &["yml"]) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).expect("a file of the suite");
        let (config, findings) = alertmanager::read(&name, &text);
        let errors: Vec<String> = (findings.iter().filter(|finding| finding.is_error()))
            .map(|finding| format!("{} {}", finding.place, finding.message))
            .collect();
        suite.case(
            &name,
            match (BAD.contains(&name.as_str()), errors.is_empty()) {
                (true, true) => Err("it is wrong and was not refused".to_owned()),
                (false, false) => Err(errors.join("\n")),
                (false, true) if config.is_none() => Err("it gave nothing".to_owned()),
                _ => Ok(()),
            },
        );
    }
    suite.must_pass(100.0);
}

/// A file, the labels of an alert, and the receivers that it goes to.
type Case = (&'static str, &'static [(&'static str, &'static str)], &'static str);

#[test]
fn routes_of_alertmanager() {
    let test = "routes_of_alertmanager";
    let Some(root) = scoreboard::data(test, "watch/alertmanager") else { return };
    let mut suite = Suite::new("alertmanager routes");
    // The first two are those of Alertmanager's `cli/test_routing_test.go`; what the others give is
    // what `amtool config routes test` of 0.25 prints.
    let good = "config/testdata/conf.good.yml";
    let cases: [Case; 10] = [
        ("cli/testdata/conf.routing-reverted.yml", &[("test", "2")], "test2,test1"),
        ("cli/testdata/conf.routing-reverted.yml", &[("test", "volovina")], "default"),
        ("cli/testdata/conf.routing-reverted.yml", &[("test", "1")], "test1"),
        (good, &[("service", "foo1")], "team-X-mails"),
        (good, &[("service", "foo1"), ("severity", "critical")], "team-X-pager"),
        (good, &[("service", "foo11"), ("severity", "critical")], "team-X-mails"),
        (good, &[("service", "files"), ("severity", "critical")], "team-Y-pager"),
        (good, &[("service", "database")], "team-DB-pager"),
        (
            good,
            &[("service", "database"), ("owner2", "team-X"), ("owner", "team-Y")],
            "team-X-pager,team-Y-pager",
        ),
        (good, &[], "team-X-mails"),
    ];
    for (file, labels, wanted) in cases {
        let text = std::fs::read_to_string(root.join(file)).expect("a file of the suite");
        let (config, _) = alertmanager::read(file, &text);
        let config = config.expect("it is good");
        let get = |name: &str| {
            let own = labels.iter().find(|(own, _)| *own == name);
            own.map(|(_, value)| (*value).to_owned()).unwrap_or_default()
        };
        let got: Vec<&str> =
            config.routes_of(&get).iter().map(|route| route.receiver.as_str()).collect();
        let got = got.join(",");
        let outcome = if got == wanted { Ok(()) } else { Err(format!("{got}, not {wanted}")) };
        suite.case(format!("{file} {labels:?}"), outcome);
    }
    suite.must_pass(100.0);
}
