//! Findings as annotations of a GitHub workflow.

use crate::{Finding, Severity};

/// Returns the findings as workflow commands, one a line: GitHub shows each beside its line.
pub fn github(findings: &[Finding]) -> String {
    findings.iter().map(|finding| command(finding) + "\n").collect()
}

fn command(finding: &Finding) -> String {
    let level = match finding.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "notice",
    };
    let mut properties = format!("file={}", property(&finding.place.path));
    if let Some(span) = finding.place.span {
        properties.push_str(&format!(",line={},endLine={}", span.start.line, span.end.line));
        // GitHub takes columns only within one line; its end column is included.
        if span.start.line == span.end.line {
            let last = span.end.column.saturating_sub(1).max(span.start.column);
            properties.push_str(&format!(",col={},endColumn={last}", span.start.column));
        }
    }
    properties.push_str(&format!(",title={}", property(&finding.rule)));
    let mut message = finding.message.clone();
    for more in [&finding.why, &finding.help].into_iter().flatten() {
        message.push('\n');
        message.push_str(more);
    }
    format!("::{level} {properties}::{}", data(&message))
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Place, Position, Span};
    use insta::assert_snapshot;

    #[test]
    fn a_finding_is_one_command_and_its_text_cannot_be_another() {
        let span = Span::new(Position::new(4, 13), Position::new(4, 18));
        let findings = [
            Finding::error("unknown", "no `a`\n::stop-commands::x", Place::at("a,b.yml", span))
                .help("100 % sure"),
            Finding::note("whole", "the file", Place::file("c.yml")),
        ];
        assert_snapshot!(github(&findings), @r#"
::error file=a%2Cb.yml,line=4,endLine=4,col=13,endColumn=17,title=unknown::no `a`%0A::stop-commands::x%0A100 %25 sure
::notice file=c.yml,title=whole::the file
"#);
    }
}
