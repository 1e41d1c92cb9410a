//! Ids of jobs and steps: what may be one, and those made for steps without.

use std::collections::HashSet;

use super::model::{Step, StepKind};

/// The longest id that may be written.
const LONGEST: usize = 99;

/// The longest id that is made.
const LONGEST_MADE: usize = 100;

/// Whether a text may be an id.
pub(super) fn is_valid(id: &str) -> bool {
    let mut bytes = id.bytes();
    id.len() <= LONGEST
        && bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

/// Whether an id is one of those that are kept for generated ids.
pub(super) fn is_reserved(id: &str) -> bool {
    id.starts_with("__")
}

/// Gives every step without an id one made from what it does.
pub(super) fn generate(steps: &mut [Step]) {
    let mut taken = HashSet::new();
    collect(steps, &mut taken);
    fill(steps, &mut taken);
}

fn collect(steps: &[Step], taken: &mut HashSet<String>) {
    for step in steps {
        if step.id_span.is_some() {
            taken.insert(step.id.to_lowercase());
        }
        if let StepKind::Parallel(inner) = &step.kind {
            collect(inner, taken);
        }
    }
}

fn fill(steps: &mut [Step], taken: &mut HashSet<String>) {
    for step in steps {
        if step.id_span.is_none() {
            step.id = free(&format!("__{}", stem(&step.kind)), taken);
        }
        if let StepKind::Parallel(inner) = &mut step.kind {
            fill(inner, taken);
        }
    }
}

fn stem(kind: &StepKind) -> String {
    match kind {
        StepKind::Run { .. } => "run".to_owned(),
        StepKind::Wait(_) => "wait".to_owned(),
        StepKind::WaitAll(_) => "wait-all".to_owned(),
        StepKind::Cancel(_) => "cancel".to_owned(),
        StepKind::Parallel(_) => "parallel".to_owned(),
        StepKind::Uses { action, .. } => {
            let action = action.value.as_str();
            if action.starts_with("./") || action.starts_with(".\\") || action.starts_with("$/") {
                return "self".to_owned();
            }
            let name = match action.strip_prefix("docker://") {
                Some(image) => image.to_owned(),
                None => match super::check::repository_path(action) {
                    Some(path) => format!("{}_{}", path[0], path[1]),
                    None => "run".to_owned(),
                },
            };
            name.chars()
                .map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' })
                .collect()
        }
    }
}

/// Returns `stem`, or the first of `stem_2`, `stem_3`… that is free, and takes it.
fn free(stem: &str, taken: &mut HashSet<String>) -> String {
    let mut number = 1;
    loop {
        let suffix = if number == 1 { String::new() } else { format!("_{number}") };
        // Stems are ASCII: every other character became `_`.
        let kept = stem.len().min(LONGEST_MADE - suffix.len());
        let id = format!("{}{suffix}", &stem[..kept]);
        if taken.insert(id.to_lowercase()) {
            return id;
        }
        number += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::is_valid;

    #[test]
    fn an_id_is_short_and_starts_like_a_name() {
        for good in ["a", "_", "build-2", "A_b", &"a".repeat(99)] {
            assert!(is_valid(good), "{good}");
        }
        for bad in ["", "1a", "-a", "a.b", " a", "ä", &"a".repeat(100)] {
            assert!(!is_valid(bad), "{bad}");
        }
    }
}
