//! Parts of the UTC date of a time.

/// A part of the UTC date of a time in seconds.
pub(crate) fn date_part(function: &str, at: f64) -> f64 {
    if !at.is_finite() || at.abs() > 1e14 {
        return f64::NAN;
    }
    let at = at.trunc() as i64;
    let days = at.div_euclid(86_400);
    let (year, month, day) = civil(days);
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let part = match function {
        "minute" => at.rem_euclid(3600) / 60,
        "hour" => at.rem_euclid(86_400) / 3600,
        "day_of_week" => (days + 4).rem_euclid(7),
        "day_of_month" => day,
        "day_of_year" => days - days_to(year) + 1,
        "days_in_month" => match month {
            2 if leap => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        },
        "month" => month,
        _ => year,
    };
    part as f64
}

/// Year, month and day of a day counted from 1970, by counting from the first of March of the
/// year 0, where leap days come last.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// The first day of a year, counted from 1970.
fn days_to(year: i64) -> i64 {
    let before = year - 1;
    365 * before + before.div_euclid(4) - before.div_euclid(100) + before.div_euclid(400) - 719_162
}
