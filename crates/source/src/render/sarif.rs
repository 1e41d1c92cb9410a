//! Findings as SARIF 2.1.0, which code scanning services read.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::{Finding, Severity};

/// The program that found something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tool<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its version, as `1.2.3`.
    pub version: &'a str,
}

/// Returns the findings as a SARIF 2.1.0 log with one run.
pub fn sarif(findings: &[Finding], tool: Tool<'_>) -> String {
    let mut rules: Vec<&str> = findings.iter().map(|finding| finding.rule.as_str()).collect();
    rules.sort_unstable();
    rules.dedup();
    let results: Vec<Value> = findings.iter().map(|finding| result(finding, &rules)).collect();
    let rules: Vec<Value> = rules.iter().map(|rule| json!({ "id": rule })).collect();
    let log = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": tool.name,
                "semanticVersion": tool.version,
                "rules": rules,
            }},
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    });
    serde_json::to_string_pretty(&log).expect("a JSON value can be written")
}

fn result(finding: &Finding, rules: &[&str]) -> Value {
    let level = match finding.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    };
    let mut message = finding.message.clone();
    for more in [&finding.why, &finding.help].into_iter().flatten() {
        let _ = write!(message, "\n{more}");
    }
    let mut place = json!({ "artifactLocation": { "uri": uri(&finding.place.path) } });
    if let Some(span) = finding.place.span {
        place["region"] = json!({
            "startLine": span.start.line,
            "startColumn": span.start.column,
            "endLine": span.end.line,
            "endColumn": span.end.column,
        });
    }
    json!({
        "ruleId": finding.rule,
        "ruleIndex": rules.binary_search(&finding.rule.as_str()).ok(),
        "level": level,
        "message": { "text": message },
        "locations": [{ "physicalLocation": place }],
    })
}

/// A path as a relative URI reference.
fn uri(path: &str) -> String {
    let mut uri = String::new();
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            let _ = write!(uri, "%{byte:02X}");
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Place, Position, Span};
    use insta::assert_snapshot;

    #[test]
    fn a_log_names_each_rule_and_each_place_as_a_uri() {
        let span = Span::new(Position::new(4, 13), Position::new(4, 18));
        let findings = [
            Finding::error("unknown", "no `a`", Place::at("a b.yml", span)).help("add it"),
            Finding::note("early", "the file", Place::file("c.yml")),
        ];
        assert_snapshot!(sarif(&findings, Tool { name: "Marline", version: "0.1.0" }), @r#"
{
  "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
  "version": "2.1.0",
  "runs": [
    {
      "tool": {
        "driver": {
          "name": "Marline",
          "semanticVersion": "0.1.0",
          "rules": [
            {
              "id": "early"
            },
            {
              "id": "unknown"
            }
          ]
        }
      },
      "columnKind": "unicodeCodePoints",
      "results": [
        {
          "ruleId": "unknown",
          "ruleIndex": 1,
          "level": "error",
          "message": {
            "text": "no `a`\nadd it"
          },
          "locations": [
            {
              "physicalLocation": {
                "artifactLocation": {
                  "uri": "a%20b.yml"
                },
                "region": {
                  "startLine": 4,
                  "startColumn": 13,
                  "endLine": 4,
                  "endColumn": 18
                }
              }
            }
          ]
        },
        {
          "ruleId": "early",
          "ruleIndex": 0,
          "level": "note",
          "message": {
            "text": "the file"
          },
          "locations": [
            {
              "physicalLocation": {
                "artifactLocation": {
                  "uri": "c.yml"
                }
              }
            }
          ]
        }
      ]
    }
  ]
}
"#);
    }
}
