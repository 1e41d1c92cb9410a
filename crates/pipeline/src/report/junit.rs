//! JUnit's XML, as its many writers write it.
//!
//! Suites in suites, `failure`, `error` and `skipped`, and Surefire's `flakyFailure` and `flakyError` for
//! what passed when it was tried again. Entities that a file defines are not followed.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::{Outcome, Test, Tests};

/// How deep elements may be.
const DEEPEST: usize = 64;

/// Reads a file; none if it is something else.
pub(super) fn read(text: &str) -> Option<Tests> {
    let mut reader = Reader::from_str(text);
    let mut tests = Tests::default();
    let mut suites: Vec<String> = Vec::new();
    let mut test: Option<Test> = None;
    let mut depth = 0;
    // What stands in a failure, while it is read.
    let mut is_reading = false;
    let mut said = String::new();
    loop {
        let (element, is_empty) = match reader.read_event() {
            Ok(Event::Start(element)) => (element, false),
            Ok(Event::Empty(element)) => (element, true),
            Ok(Event::End(element)) => {
                depth -= usize::from(depth > 0);
                match element.local_name().as_ref() {
                    "testcase" => tests_end(&mut test, &mut tests),
                    "testsuite" => drop(suites.pop()),
                    _ => {}
                }
                if is_reading
                    && let Some(test) = &mut test
                    && test.message.is_empty()
                {
                    test.message = super::short(said.trim());
                }
                said.clear();
                is_reading = false;
                continue;
            }
            Ok(Event::Text(part)) => {
                if is_reading {
                    say(&mut said, part.as_ref());
                }
                continue;
            }
            Ok(Event::CData(part)) => {
                if is_reading {
                    say(&mut said, part.as_ref());
                }
                continue;
            }
            Ok(Event::GeneralRef(name)) => {
                if is_reading {
                    let name: &str = name.as_ref();
                    say(&mut said, &unescaped(&format!("&{name};")));
                }
                continue;
            }
            Ok(Event::Eof) => break,
            Ok(_) => continue,
            // What could be read up to a fault counts, as a run that was cut short leaves it.
            Err(_) => break,
        };
        let name = element.local_name();
        if depth == 0 && !matches!(name.as_ref(), "testsuites" | "testsuite") {
            return None;
        }
        if !is_empty {
            depth += 1;
            if depth > DEEPEST {
                return None;
            }
        }
        match name.as_ref() {
            "testsuite" if !is_empty => {
                suites.push(attribute(&element, "name").unwrap_or_default());
            }
            "testcase" => {
                let suite = attribute(&element, "classname").filter(|name| !name.is_empty());
                let suite = suite.or_else(|| suites.last().cloned()).unwrap_or_default();
                let name = attribute(&element, "name").unwrap_or_default();
                // Some write thousands with a comma.
                let time = attribute(&element, "time").map(|time| time.replace(',', ""));
                let time = time.and_then(|time| time.parse().ok());
                test = Some(Test::new(&suite, &name, Outcome::Passed).took(time));
                if is_empty {
                    tests_end(&mut test, &mut tests);
                }
            }
            "failure" | "error" => {
                result(&mut test, Outcome::Failed, &element);
                is_reading = !is_empty;
            }
            "skipped" => {
                result(&mut test, Outcome::Skipped, &element);
                is_reading = !is_empty;
            }
            "flakyFailure" | "flakyError" => result(&mut test, Outcome::Flaky, &element),
            _ => is_reading = false,
        }
    }
    (depth == 0 || !tests.is_empty()).then_some(tests)
}

fn tests_end(test: &mut Option<Test>, tests: &mut Tests) {
    if let Some(mut test) = test.take() {
        test.message = super::short(test.message.trim());
        tests.push(test);
    }
}

fn result(test: &mut Option<Test>, outcome: Outcome, element: &BytesStart<'_>) {
    let Some(test) = test else { return };
    // What failed stays so, whatever else is said.
    if test.outcome != Outcome::Failed {
        test.outcome = outcome;
    }
    if test.message.is_empty()
        && let Some(message) = attribute(element, "message")
    {
        test.message = super::short(&message);
    }
}

/// Adds to the text of a failure, as long as it is not long.
fn say(said: &mut String, text: &str) {
    if said.len() < 4 * super::MAX_TEXT {
        said.push_str(&text[..text.floor_char_boundary(4 * super::MAX_TEXT)]);
    }
}

/// A text without escapes; one that cannot be understood stays as it is.
fn unescaped(text: &str) -> String {
    quick_xml::escape::unescape(text).map_or_else(|_| text.to_owned(), std::borrow::Cow::into_owned)
}

fn attribute(element: &BytesStart<'_>, name: &str) -> Option<String> {
    let found = element.try_get_attribute(name).ok()??;
    Some(unescaped(found.value.as_ref()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::read_file;
    use super::super::tests::told;

    fn read(text: &str) -> Vec<String> {
        told(&read_file(Path::new("junit.xml"), text).expect("is a report"))
    }

    #[test]
    fn suites_and_what_became_of_each_test() {
        let text = r#"<?xml version="1.0"?>
<!-- by hand -->
<testsuites name="all" tests="6">
 <testsuite name="cart" tests="4" time="1,234.5">
  <properties><property name="failure" value="x"/></properties>
  <testcase name="adds up" classname="shop.Cart" time="0.0125"/>
  <testcase name="is &lt;empty&gt;" time="1,000.5">
    <failure message="got &quot;1&quot;" type="AssertionError">stack</failure>
    <system-out>noise</system-out>
  </testcase>
  <testcase name="crashes"><error><![CDATA[boom & bang]]></error></testcase>
  <testsuite name="inner"><testcase name="later"><skipped/></testcase></testsuite>
  <testcase name="shaky"><flakyFailure message="once">x</flakyFailure></testcase>
 </testsuite>
</testsuites>"#;
        assert_eq!(
            read(text),
            [
                "ok shop.Cart › adds up (13 ms)",
                "FAILED cart › is <empty> (1000500 ms): got \"1\"",
                "FAILED cart › crashes: boom & bang",
                "skipped inner › later",
                "flaky cart › shaky: once",
            ]
        );
    }

    #[test]
    fn a_file_that_was_cut_short_says_what_it_holds() {
        assert_eq!(read("<testsuite name='a'><testcase name='x'/><testcase na"), ["ok a › x"]);
    }

    #[test]
    fn entities_of_the_file_itself_are_not_followed() {
        let text = "<!DOCTYPE x [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;&a;'>]>\
                    <testsuite><testcase name='&b;'/></testsuite>";
        assert_eq!(read(text), ["ok &b;"]);
    }
}
