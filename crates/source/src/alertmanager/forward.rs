//! Which Alertmanagers alerts are sent to: `alerting` of `prometheus.yml`.
//!
//! Only `static_configs` are read; what would send other alerts, or to others, is refused by name.
//! The rest of the file is for others to read.

use std::collections::BTreeMap;

use super::{items, known, optional};
use crate::yaml::{self, Findings, Node};
use crate::{Finding, Span};

/// Where alerts are sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forwarding {
    /// The Alertmanagers, in the order written.
    pub targets: Vec<Target>,
    /// `global.external_labels`: every alert gets them.
    pub labels: BTreeMap<String, String>,
}

/// An Alertmanager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// How receipts name it: `127.0.0.1:9093`.
    pub name: String,
    /// Its address, with the prefix of its paths.
    pub url: String,
    /// Where it stands.
    pub span: Span,
}

/// Reads `alerting` and `global.external_labels` of `prometheus.yml`.
pub fn read(path: &str, text: &str) -> (Forwarding, Vec<Finding>) {
    let options = yaml::Options { merge_keys: true, ..yaml::Options::default() };
    let (root, faults) = yaml::read(path, text, &options);
    let mut findings = Findings::new(path);
    findings.extend(faults);
    let mut forwarding = Forwarding::default();
    if let Some(root) = &root {
        let labels =
            optional(root, "global").and_then(|global| optional(global, "external_labels"));
        for (name, value) in labels.and_then(Node::as_mapping).unwrap_or_default() {
            let (Some(name), Some(value)) = (name.as_str(), value.as_str()) else { continue };
            forwarding.labels.insert(name.to_owned(), value.to_owned());
        }
        if let Some(alerting) = optional(root, "alerting") {
            known(alerting, &["alertmanagers", "alert_relabel_configs"], &mut findings);
            refuse(alerting, &["alert_relabel_configs"], &mut findings);
            for node in items(alerting, "alertmanagers", &mut findings) {
                targets(node, &mut forwarding.targets, &mut findings);
            }
        }
    }
    (forwarding, findings.into_sorted())
}

fn targets(node: &Node, found: &mut Vec<Target>, findings: &mut Findings) {
    let Some(keys) = node.expect_mapping(findings) else { return };
    const KNOWN: &[&str] = &["static_configs", "scheme", "path_prefix", "timeout", "api_version"];
    let other = keys.iter().filter_map(|(key, _)| key.as_str());
    let other: Vec<&str> = other.filter(|key| !KNOWN.contains(key)).collect();
    refuse(node, &other, findings);
    let scheme = optional(node, "scheme").and_then(Node::as_str).unwrap_or("http");
    if !matches!(scheme, "http" | "https") {
        let span = optional(node, "scheme").map_or(node.span, |scheme| scheme.span);
        findings.error("alerting-target", "`scheme` must be http or https", span);
    }
    if let Some(version) = optional(node, "api_version")
        && version.as_str() != Some("v2")
    {
        findings.error("alerting-target", "`api_version` must be v2", version.span);
    }
    let prefix = optional(node, "path_prefix").and_then(Node::as_str).unwrap_or("/");
    let prefix = prefix.trim_matches('/');
    let prefix = if prefix.is_empty() { String::new() } else { format!("/{prefix}") };
    for config in items(node, "static_configs", findings) {
        for target in items(config, "targets", findings) {
            let Some(name) = target.expect_scalar(findings) else { continue };
            if name.is_empty() || name.contains(['/', '@', ' ']) {
                let message = "a target is HOST:PORT, without a scheme and a path";
                findings.error("alerting-target", message, target.span).help =
                    Some("write `scheme` and `path_prefix` beside `static_configs`".to_owned());
                continue;
            }
            let url = format!("{scheme}://{name}{prefix}");
            found.push(Target { name: name.to_owned(), url, span: target.span });
        }
    }
}

fn refuse(node: &Node, keys: &[&str], findings: &mut Findings) {
    for key in keys {
        if let Some((key, value)) = node.entry(key)
            && !value.is_null()
        {
            let name = key.as_str().unwrap_or_default();
            let message = format!("`{name}` of `alerting` is not supported");
            findings.error("alerting-key", message, key.span).help =
                Some("name each Alertmanager under `static_configs`".to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alertmanagers_are_read_with_their_addresses() {
        let text = "global: {external_labels: {cluster: eu}}\nalerting:\n  alertmanagers:\n    \
                    - scheme: https\n      path_prefix: /am/\n      static_configs: [{targets: ['a:9093', b]}]\n    \
                    - static_configs: [{targets: ['c:1']}]\nscrape_configs: []\n";
        let (forwarding, findings) = read("prometheus.yml", text);
        assert!(findings.is_empty(), "{findings:?}");
        let urls: Vec<&str> = forwarding.targets.iter().map(|target| target.url.as_str()).collect();
        assert_eq!(urls, ["https://a:9093/am", "https://b/am", "http://c:1"]);
        assert_eq!(forwarding.labels["cluster"], "eu");
    }

    #[test]
    fn what_would_send_to_others_is_refused_with_its_place() {
        let table = [
            (
                "  alertmanagers:\n    - dns_sd_configs: [{names: [a]}]\n",
                "p.yml:3:7: `dns_sd_configs` of `alerting` is not supported",
            ),
            (
                "  alert_relabel_configs: [{action: drop}]\n",
                "p.yml:2:3: `alert_relabel_configs` of `alerting` is not supported",
            ),
            (
                "  alertmanagers: [{static_configs: [{targets: ['http://a']}]}]\n",
                "p.yml:2:48: a target is HOST:PORT, without a scheme and a path",
            ),
            (
                "  alertmanagers: [{scheme: ftp, static_configs: []}]\n",
                "p.yml:2:28: `scheme` must be http or https",
            ),
            ("  alertmanagers: [{api_version: v1}]\n", "p.yml:2:33: `api_version` must be v2"),
        ];
        for (text, wanted) in table {
            let (_, findings) = read("p.yml", &format!("alerting:\n{text}"));
            let said: Vec<String> = (findings.iter())
                .map(|finding| format!("{}: {}", finding.place, finding.message))
                .collect();
            assert_eq!(said, [wanted], "{text}");
        }
    }
}
