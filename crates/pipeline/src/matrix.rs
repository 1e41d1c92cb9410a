//! One job becomes several.

use crate::expression::{Object, Value};

/// The most jobs a matrix may give.
pub const MAX_JOBS: usize = 256;

/// The longest name of a job.
const MAX_NAME: usize = 100;

/// One combination of a matrix.
#[derive(Debug, Clone, PartialEq)]
pub struct Combination {
    /// The `matrix` context.
    pub values: Value,
    /// What tells it from the others: the texts of its own values, extra ones left out.
    pub segments: Vec<String>,
}

/// Returns the combinations of a matrix, in the order of GitHub.
///
/// The last key varies fastest. `exclude` takes away what matches all it names; `include` adds
/// values to every combination it matches, or a combination of its own when it matches none.
pub fn expand(matrix: &Value) -> Result<Vec<Combination>, String> {
    let Some(matrix) = matrix.as_object() else {
        return Err("`matrix` must be a mapping".to_owned());
    };
    let mut vectors: Vec<(&str, &[Value])> = Vec::new();
    for (name, values) in matrix.iter() {
        if name.eq_ignore_ascii_case("include") || name.eq_ignore_ascii_case("exclude") {
            continue;
        }
        match values.as_array() {
            Some([]) => return Err(format!("matrix vector '{name}' does not contain any values")),
            Some(items) => vectors.push((name, items)),
            None => return Err(format!("`matrix.{name}` must be a list")),
        }
    }
    let excludes = filters(matrix, "exclude")?;
    for exclude in &excludes {
        for key in exclude.keys() {
            if !vectors.iter().any(|(name, _)| name.eq_ignore_ascii_case(key)) {
                return Err(format!(
                    "matrix exclude key '{key}' does not match any key within the matrix"
                ));
            }
        }
    }
    let includes = filters(matrix, "include")?;
    let mut matched = vec![false; includes.len()];
    let product = if vectors.is_empty() {
        0
    } else {
        vectors
            .iter()
            .try_fold(1usize, |size, (_, items)| size.checked_mul(items.len()))
            .filter(|size| *size <= 1 << 20)
            .ok_or_else(too_many)?
    };
    let is_vector = |key: &str| vectors.iter().any(|(name, _)| name.eq_ignore_ascii_case(key));

    let mut combinations = Vec::new();
    for index in 0..product {
        let mut values = Object::default();
        let mut block = product;
        for (name, items) in &vectors {
            block /= items.len();
            values.insert(*name, items[index / block % items.len()].clone());
        }
        let own = Value::from(values.clone());
        if excludes.iter().any(|exclude| matches(&own, exclude, |_| true)) {
            continue;
        }
        for (include, matched) in includes.iter().zip(&mut matched) {
            if matches(&own, include, is_vector) {
                *matched = true;
                for (key, value) in include.iter().filter(|(key, _)| !is_vector(key)) {
                    values.insert(key, value.clone());
                }
            }
        }
        let segments = segments(&own);
        combinations.push(Combination { values: Value::from(values), segments });
        if combinations.len() > MAX_JOBS {
            return Err(too_many());
        }
    }
    for (include, _) in includes.iter().zip(&matched).filter(|(_, matched)| !**matched) {
        let (own, extra): (Vec<_>, Vec<_>) = include.iter().partition(|(key, _)| is_vector(key));
        let values = Value::from(
            own.into_iter()
                .chain(extra)
                .map(|(key, value)| (key, value.clone()))
                .collect::<Object>(),
        );
        let segments = segments(&values);
        combinations.push(Combination { values, segments });
    }
    match combinations.len() {
        0 => Err("matrix must define at least one vector".to_owned()),
        more if more > MAX_JOBS => Err(too_many()),
        _ => Ok(combinations),
    }
}

fn too_many() -> String {
    format!("a matrix may give at most {MAX_JOBS} jobs")
}

fn filters<'a>(matrix: &'a Object, key: &str) -> Result<Vec<&'a Object>, String> {
    let items = match matrix.get(key) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(value) => value.as_array().ok_or_else(|| format!("`matrix.{key}` must be a list"))?,
    };
    items
        .iter()
        .map(|item| {
            item.as_object().filter(|object| !object.is_empty()).ok_or_else(|| {
                format!("each entry of `matrix.{key}` must be a mapping with values")
            })
        })
        .collect()
}

/// Whether every value that a filter names is there, however deep.
fn matches(values: &Value, filter: &Object, counts: impl Fn(&str) -> bool) -> bool {
    filter
        .iter()
        .filter(|(key, _)| counts(key))
        .all(|(key, wanted)| matches_value(values.get(key), wanted))
}

fn matches_value(found: Option<&Value>, wanted: &Value) -> bool {
    match wanted {
        Value::Object(wanted) => wanted
            .iter()
            .all(|(key, value)| matches_value(found.and_then(|found| found.get(key)), value)),
        Value::Array(wanted) => wanted.items.iter().enumerate().all(|(at, value)| {
            let item = found.and_then(Value::as_array).and_then(|items| items.get(at));
            matches_value(item, value)
        }),
        _ => found.unwrap_or(&Value::Null).equals(wanted),
    }
}

/// The texts of all values, however deep, nothing left out but nothing itself.
fn segments(value: &Value) -> Vec<String> {
    match value {
        Value::Object(object) => object.values().flat_map(segments).collect(),
        Value::Array(array) => array.items.iter().flat_map(segments).collect(),
        _ => Some(value.to_text()).filter(|text| !text.is_empty()).into_iter().collect(),
    }
}

/// Returns the name of a combination: `job (a, b)`, cut where it is too long.
pub fn name(job: &str, segments: &[String]) -> String {
    let name = if segments.is_empty() {
        job.to_owned()
    } else {
        format!("{job} ({})", segments.join(", "))
    };
    if name.encode_utf16().count() <= MAX_NAME {
        return name;
    }
    let mut short: String = String::new();
    for c in name.chars() {
        if short.encode_utf16().count() + c.len_utf16() > MAX_NAME - 3 {
            break;
        }
        short.push(c);
    }
    short + "..."
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn names(matrix: serde_json::Value) -> Vec<String> {
        expand(&Value::from(matrix))
            .expect("is a matrix")
            .iter()
            .map(|combination| name("job", &combination.segments))
            .collect()
    }

    #[test]
    fn the_last_key_varies_fastest() {
        assert_eq!(
            names(json!({"a": [1, 2], "b": ["x", "y"]})),
            ["job (1, x)", "job (1, y)", "job (2, x)", "job (2, y)"]
        );
    }

    #[test]
    fn exclude_takes_away_what_matches_ignoring_case() {
        assert_eq!(
            names(json!({"a": [1, 2], "b": ["x", "y"], "exclude": [{"A": 2, "b": "X"}]})),
            ["job (1, x)", "job (1, y)", "job (2, y)"]
        );
    }

    #[test]
    fn include_adds_to_each_match_or_stands_alone() {
        let matrix = json!({
            "fruit": ["apple", "pear"], "animal": ["cat", "dog"],
            "include": [
                {"color": "green"}, {"color": "pink", "animal": "cat"},
                {"fruit": "apple", "shape": "circle"}, {"fruit": "banana"},
                {"fruit": "banana", "animal": "cat"}
            ]
        });
        let values: Vec<String> = expand(&Value::from(matrix))
            .expect("is a matrix")
            .iter()
            .map(|one| {
                let object = one.values.as_object().expect("is an object");
                let texts: Vec<String> = object.values().map(Value::to_text).collect();
                texts.join(" ")
            })
            .collect();
        assert_eq!(
            values,
            [
                "apple cat pink circle",
                "apple dog green circle",
                "pear cat pink",
                "pear dog green",
                "banana",
                "banana cat"
            ]
        );
    }

    #[test]
    fn what_is_no_matrix_is_refused() {
        for matrix in [
            json!({"a": []}),
            json!({"a": [1], "exclude": [{"b": 1}]}),
            json!({}),
            json!([]),
            json!({"a": (0..17).collect::<Vec<_>>(), "b": (0..17).collect::<Vec<_>>()}),
        ] {
            assert!(expand(&Value::from(matrix.clone())).is_err(), "{matrix}");
        }
    }

    #[test]
    fn a_long_name_is_cut() {
        let name = name("job", &["x".repeat(200)]);
        assert_eq!(name.len(), 100);
        assert!(name.ends_with("..."));
    }

    proptest! {
        #[test]
        fn there_are_as_many_jobs_as_combinations(sizes in proptest::collection::vec(1usize..5, 1..4)) {
            let matrix: serde_json::Map<_, _> = sizes
                .iter()
                .enumerate()
                .map(|(at, size)| (format!("k{at}"), json!((0..*size).collect::<Vec<_>>())))
                .collect();
            prop_assert_eq!(names(matrix.into()).len(), sizes.iter().product::<usize>());
        }
    }
}
