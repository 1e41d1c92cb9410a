//! Builtins in place of those of `regorus` that fill the memory or answer wrongly.

use regorus::{Engine, Value};
use thiserror::Error;

#[derive(Debug, Error)]
#[error("{0}")]
struct Refused(String);

/// Puts the bounded builtins in place; none of them makes more than `items` items.
pub(super) fn fence(engine: &mut Engine, items: usize) {
    let range = move |args: Vec<Value>| {
        let (from, to) = (whole(&args[0])?, whole(&args[1])?);
        let step = if from <= to { 1 } else { -1 };
        series(from, to, step, items)
    };
    let range_step = move |args: Vec<Value>| {
        let (from, to, step) = (whole(&args[0])?, whole(&args[1])?, whole(&args[2])?);
        if step <= 0 {
            return Err(Refused("the step of a range must be above zero".to_owned()).into());
        }
        series(from, to, if from <= to { step } else { -step }, items)
    };
    let count = |args: Vec<Value>| {
        let (text, part) = (args[0].as_string()?, args[1].as_string()?);
        let count =
            if part.is_empty() { text.chars().count() + 1 } else { text.matches(&**part).count() };
        Ok(Value::from(count as u64))
    };
    let vacant = "an engine begins without extensions";
    engine.add_extension("numbers.range".to_owned(), 2, Box::new(range)).expect(vacant);
    engine.add_extension("numbers.range_step".to_owned(), 3, Box::new(range_step)).expect(vacant);
    engine.add_extension("strings.count".to_owned(), 2, Box::new(count)).expect(vacant);
}

fn whole(value: &Value) -> Result<i64, Refused> {
    value.as_i64().map_err(|_| Refused("the ends of a range must be whole numbers".to_owned()))
}

fn series<E: From<Refused>>(from: i64, to: i64, step: i64, most: usize) -> Result<Value, E> {
    let count = (i128::from(to) - i128::from(from)).abs() / i128::from(step).abs() + 1;
    if count > most as i128 {
        return Err(Refused(format!("a range may have {most} items here, not {count}")).into());
    }
    let items = (0..count as i64).map(|index| Value::from(from + index * step));
    Ok(Value::from(items.collect::<Vec<Value>>()))
}
