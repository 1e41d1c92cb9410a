//! The rules that every service gets: an ordinary rule file, made for the services of a release.
//!
//! A team that has a rule of the same name has its own in its place, see [`without`].

use std::collections::BTreeSet;

use source::rules::{RuleFile, RuleKind};

/// The name under which the file is known.
pub const NAME: &str = "automatic.yml";

/// Returns the file for these services: errors and slowness that users see, and requests that
/// there were and that are missing. What the proxy counts is all that it asks for.
pub fn file<'a>(services: impl IntoIterator<Item = &'a str>) -> String {
    let services: Vec<&str> = services.into_iter().collect();
    let of = format!("service=~\"{}\"", services.join("|"));
    let count = |metric: &str, window: &str| {
        format!("sum by (service) (increase({metric}{{{of}}}[{window}]))")
    };
    let errors = count("marline_request_errors_total", "5m");
    let requests = count("marline_requests_total", "5m");
    let lately = count("marline_requests_total", "15m");
    format!(
        r"groups:
  - name: automatic
    interval: 15s
    rules:
      # One request in twenty fails, and at least five did.
      - alert: ManyErrors
        expr: |
          {errors}
            / {requests} > 0.05
          and {errors} >= 5
        for: 2m
        labels: {{severity: page}}
        annotations:
          summary: '{{{{ $value | humanizePercentage }}}} of the requests to {{{{ $labels.service }}}} fail'

      # One answer in a hundred takes longer than 2.5 seconds.
      - alert: SlowAnswers
        expr: |
          histogram_quantile(0.99, sum by (service, le) (rate(marline_request_duration_seconds_bucket{{{of}}}[5m]))) > 2.5
          and {requests} >= 100
        for: 5m
        labels: {{severity: ticket}}
        annotations:
          summary: 'one answer of {{{{ $labels.service }}}} in a hundred takes {{{{ $value | humanizeDuration }}}} or longer'

      # There were ten requests a minute an hour ago, and there is none.
      - alert: NoMoreRequests
        expr: |
          sum by (service) (increase(marline_requests_total{{{of}}}[1h] offset 1h)) >= 600
          unless {lately} > 0
        for: 5m
        labels: {{severity: ticket}}
        annotations:
          summary: 'nobody asks {{{{ $labels.service }}}} any more; there were {{{{ $value | humanize }}}} requests in an hour before'
"
    )
}

/// Leaves out the rules whose names are taken, and gives the names of those.
pub fn without(mut file: RuleFile, taken: &BTreeSet<String>) -> (RuleFile, Vec<String>) {
    let mut left_out = Vec::new();
    for group in &mut file.groups {
        group.rules.retain(|rule| {
            let name = &rule.name().value;
            let is_taken = taken.contains(name);
            if is_taken {
                left_out.push(name.clone());
            }
            !is_taken
        });
    }
    (file, left_out)
}

/// Gives the names of the alerts in a file.
pub fn alerts(file: &RuleFile) -> impl Iterator<Item = String> {
    let rules = file.groups.iter().flat_map(|group| &group.rules);
    rules
        .filter(|rule| matches!(rule.kind, RuleKind::Alert { .. }))
        .map(|rule| rule.name().value.clone())
}
