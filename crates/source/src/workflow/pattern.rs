//! The syntax of branch, tag and path patterns.

/// Says why `pattern` is no pattern.
///
/// `*` and `**` match any characters, `?` and `+` repeat the character before them, `[…]` is one
/// of a set, `\` takes the next character as it is, and a leading `!` excludes.
pub(super) fn check(pattern: &str) -> Result<(), String> {
    let body = pattern.strip_prefix('!').unwrap_or(pattern);
    if body.is_empty() {
        return Err("it is empty".to_owned());
    }
    let mut rest = body.chars();
    while let Some(character) = rest.next() {
        match character {
            '\\' if rest.next().is_none() => {
                return Err("nothing follows the `\\`".to_owned());
            }
            '[' => set(&mut rest)?,
            _ => {}
        }
    }
    Ok(())
}

/// Reads a set up to its `]`.
fn set(rest: &mut std::str::Chars<'_>) -> Result<(), String> {
    let mut previous: Option<char> = None;
    let mut ranging = false;
    loop {
        let character = rest.next().ok_or("`[` is not closed by `]`")?;
        match character {
            ']' if previous.is_none() => return Err("`[]` holds nothing".to_owned()),
            ']' => return Ok(()),
            '-' if previous.is_some() && !ranging => ranging = true,
            _ => {
                if let (true, Some(from)) = (ranging, previous)
                    && from > character
                {
                    return Err(format!("the range `{from}-{character}` runs backwards"));
                }
                ranging = false;
                previous = Some(character);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn a_pattern_closes_its_sets_and_escapes_something() {
        for good in ["main", "releases/**", "!**-beta", "v[12].[0-9]+", "*.jsx?", r"\*\*", "*"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("", "it is empty"),
            ("!", "it is empty"),
            ("v[12", "`[` is not closed by `]`"),
            ("v[]", "`[]` holds nothing"),
            ("[z-a]", "the range `z-a` runs backwards"),
            (r"docs\", r"nothing follows the `\`"),
        ] {
            assert_eq!(check(bad), Err(why.to_owned()), "{bad}");
        }
    }
}
