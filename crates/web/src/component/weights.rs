//! How traffic is split between releases.

use explain::words::basis_points;
use journal::{ReleaseId, View, Weight};
use maud::{Markup, html};

use super::{release_name, subject_of};

/// Returns the split as one bar with its legend; the new release is coloured.
pub(crate) fn weights(weights: &[Weight], new: Option<&ReleaseId>, view: &View) -> Markup {
    let total: u32 = weights.iter().map(|weight| weight.basis_points).sum::<u32>().max(1);
    let percent = |points: u32| format!("{:.2}%", f64::from(points) * 100.0 / f64::from(total));
    // The old release first, so that the new one grows in from the right.
    let mut ordered: Vec<&Weight> = weights.iter().collect();
    ordered.sort_by_key(|weight| Some(&weight.release) == new);
    let label: Vec<String> = ordered
        .iter()
        .map(|weight| {
            format!("{} on {}", basis_points(weight.basis_points), weight.release.short())
        })
        .collect();
    // Where each part begins.
    let starts = ordered.iter().scan(0, |end, weight| {
        let start = *end;
        *end += weight.basis_points;
        Some(start)
    });
    html! {
        div.weights {
            svg.bar width="100%" height="12" role="img" aria-label=(format!("Traffic: {}", label.join(", "))) {
                rect.ground width="100%" height="12" rx="6" {}
                @for (weight, start) in ordered.iter().zip(starts) {
                    @let class = if Some(&weight.release) == new { "new" } else { "old" };
                    rect.(class) x=(percent(start)) width=(percent(weight.basis_points)) height="12" rx="6" {}
                }
            }
            ul.legend {
                @for weight in &ordered {
                    @let is_new = Some(&weight.release) == new;
                    li {
                        span.key.(if is_new { "new" } else { "old" }) aria-hidden="true" {}
                        b { (basis_points(weight.basis_points)) }
                        " " (if is_new { "new" } else { "present" }) " "
                        (release_name(&weight.release, view))
                        @if let Some(subject) = subject_of(&weight.release, view) { span.faint { " " (subject) } }
                    }
                }
            }
        }
    }
}
