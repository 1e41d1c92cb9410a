//! Conditions that hold whatever happens.

use source::workflow::{Part, Template, Workflow};

use super::{Look, Raised, Rule, Severity, steps};

pub(super) const RULE: Rule = Rule {
    id: "always-true-condition",
    severity: Severity::Error,
    what: "a condition has text around `${{ }}` and so always holds",
    why: "the value is put into the text, and a text that is not empty is true",
    mend: "write the whole condition without `${{ }}`, or all of it inside; end a block with `>-` or \
           `|-`, for a line end is text too",
    bad: "on: push\njobs:\n  release:\n    if: ${{ github.ref }} == 'refs/heads/main'\n    \
          runs-on: ubuntu-latest\n    steps:\n      - run: make release\n",
    good: "on: push\njobs:\n  release:\n    if: github.ref == 'refs/heads/main'\n    \
           runs-on: ubuntu-latest\n    steps:\n      - run: make release\n",
    look: Look::Workflow(look),
};

fn look(workflow: &Workflow, raised: &mut Raised<'_>) {
    let of_jobs = workflow.jobs.iter().filter_map(|job| job.condition.as_ref());
    let of_steps = steps(workflow).into_iter().filter_map(|(_, step)| step.condition.as_ref());
    for condition in of_jobs.chain(of_steps) {
        if let Some(text) = text_around(condition) {
            let finding = raised.here(condition.span, "this condition always holds");
            finding.label = Some(if text.trim().is_empty() {
                "a line end or blank stands beside `${{ }}`".to_owned()
            } else {
                format!("`{}` stands outside of `${{{{ }}}}`", text.trim())
            });
        }
    }
}

/// The text beside an expression, if there are both.
fn text_around(condition: &Template) -> Option<String> {
    let parts = condition.parts().ok()?;
    let has_expression = parts.iter().any(|part| matches!(part, Part::Expression { .. }));
    let text = parts.iter().find_map(|part| match part {
        Part::Text { text, .. } => Some((*text).to_owned()),
        Part::Expression { .. } => None,
    });
    // Two expressions side by side are joined to a text as well.
    let text = text.or_else(|| (parts.len() > 1).then(String::new));
    text.filter(|_| has_expression)
}
