//! The five fields of a schedule.

/// Says why `text` is no schedule: minute, hour, day of month, month, day of week.
pub(super) fn check(text: &str) -> Result<(), String> {
    let fields: Vec<&str> = text.split_ascii_whitespace().collect();
    if text.trim_start().starts_with('@') {
        return Err("names such as `@daily` are not known".to_owned());
    }
    if fields.len() != FIELDS.len() {
        return Err(format!("it has {} of 5 fields", fields.len()));
    }
    fields.iter().zip(&FIELDS).try_for_each(|(text, field)| field.check(text))
}

struct Field {
    name: &'static str,
    least: u32,
    most: u32,
    /// Words for the numbers from `least` up.
    words: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field { name: "minute", least: 0, most: 59, words: &[] },
    Field { name: "hour", least: 0, most: 23, words: &[] },
    Field { name: "day of month", least: 1, most: 31, words: &[] },
    Field {
        name: "month",
        least: 1,
        most: 12,
        words: &[
            "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
        ],
    },
    Field {
        name: "day of week",
        least: 0,
        most: 6,
        words: &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
    },
];

impl Field {
    fn check(&self, text: &str) -> Result<(), String> {
        text.split(',').try_for_each(|item| self.item(item))
    }

    fn item(&self, item: &str) -> Result<(), String> {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (item, None),
        };
        if let Some(step) = step {
            let number: u32 = step.parse().map_err(|_| self.fault(item))?;
            if number == 0 {
                return Err(format!("the step of the {} is 0", self.name));
            }
        }
        if range == "*" {
            return Ok(());
        }
        let Some((from, to)) = range.split_once('-') else {
            return self.number(range).map(drop);
        };
        let (from, to) = (self.number(from)?, self.number(to)?);
        if from > to {
            return Err(format!("the {} range `{range}` runs backwards", self.name));
        }
        Ok(())
    }

    fn number(&self, text: &str) -> Result<u32, String> {
        if let Some(at) = self.words.iter().position(|word| word.eq_ignore_ascii_case(text)) {
            return Ok(self.least + at as u32);
        }
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(self.fault(text));
        }
        let number: u32 = text.parse().map_err(|_| self.fault(text))?;
        if !(self.least..=self.most).contains(&number) {
            return Err(format!("the {} is {}–{}", self.name, self.least, self.most));
        }
        Ok(number)
    }

    fn fault(&self, text: &str) -> String {
        format!("`{text}` is not a {}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn a_schedule_has_five_fields_in_their_ranges() {
        for good in ["* * * * *", "0 */12 * * *", "30 5 1,15 JAN-mar MON-FRI", "0-30/5 4 * * 6"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("@daily", "names such as `@daily` are not known"),
            ("0 0 * *", "it has 4 of 5 fields"),
            ("60 0 * * *", "the minute is 0–59"),
            ("0 0 0 * *", "the day of month is 1–31"),
            ("0 0 * FOO *", "`FOO` is not a month"),
            ("*/0 0 * * *", "the step of the minute is 0"),
            ("0 9-5 * * *", "the hour range `9-5` runs backwards"),
            ("0 0 ? * *", "`?` is not a day of month"),
            ("0 0 * * 7", "the day of week is 0–6"),
            (", 0 * * *", "`` is not a minute"),
        ] {
            assert_eq!(check(bad), Err(why.to_owned()), "{bad}");
        }
    }
}
