//! Trace context between services: <https://www.w3.org/TR/trace-context/>.

use super::share::random;

/// Length of a `traceparent` of version 00.
const LENGTH: usize = 55;

/// Returns whether a `traceparent` can be passed on; see the recommendation, 3.2.2.
pub(super) fn is_sound(parent: &[u8]) -> bool {
    let hex = |range: std::ops::Range<usize>| {
        let digits = &parent[range];
        let is_hex = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
        digits.iter().all(is_hex).then(|| digits.iter().any(|digit| *digit != b'0'))
    };
    // A later version may be longer, after one more hyphen.
    let fits = match parent.get(..2) {
        Some(b"00") => parent.len() == LENGTH,
        Some(b"ff") | None => false,
        Some(_) => parent.len() == LENGTH || parent.get(LENGTH) == Some(&b'-'),
    };
    fits && [2, 35, 52].iter().all(|place| parent[*place] == b'-')
        && hex(0..2).is_some()
        && hex(3..35) == Some(true)
        && hex(36..52) == Some(true)
        && hex(53..55).is_some()
}

/// Returns a new `traceparent` whose trace is that of the request id, if that can be one.
///
/// It says that the trace is recorded: nobody before us had an opinion.
pub(super) fn new_parent(request_id: &[u8]) -> String {
    let is_trace = request_id.len() == 32
        && request_id.iter().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte))
        && request_id.iter().any(|byte| *byte != b'0');
    let trace = match std::str::from_utf8(request_id) {
        Ok(id) if is_trace => id.to_owned(),
        _ => format!("{:016x}{:016x}", random() | 1, random()),
    };
    format!("00-{trace}-{:016x}-01", random() | 1)
}

/// Sees that a head on its way to an instance has one sound `traceparent`.
pub(super) fn settle(head: &mut Vec<u8>, request_id: &[u8]) {
    let (mut parents, mut sound) = (0, true);
    for (name, value) in lines(head) {
        if name.eq_ignore_ascii_case(b"traceparent") {
            parents += 1;
            sound &= is_sound(value);
        }
    }
    if parents == 1 && sound {
        return;
    }
    if parents > 0 {
        // What cannot be understood is not passed on, and neither is the state that belongs to it.
        drop_lines(head);
    }
    head.truncate(head.len() - 2);
    let parent = new_parent(request_id);
    head.extend_from_slice(format!("traceparent: {parent}\r\n\r\n").as_bytes());
}

/// Returns the value of a header of a head that was read strictly.
pub(super) fn header<'a>(head: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut lines = lines(head);
    lines.find(|(known, _)| known.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
}

fn lines(head: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    head.split(|byte| *byte == b'\n').skip(1).filter_map(|line| {
        let colon = memchr::memchr(b':', line)?;
        Some((&line[..colon], line[colon + 1..].trim_ascii()))
    })
}

fn drop_lines(head: &mut Vec<u8>) {
    let stays = |line: &&[u8]| {
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        !name.eq_ignore_ascii_case(b"traceparent") && !name.eq_ignore_ascii_case(b"tracestate")
    };
    let kept = head.split_inclusive(|byte| *byte == b'\n').filter(stays);
    *head = kept.collect::<Vec<_>>().concat();
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn only_what_the_recommendation_allows_is_passed_on() {
        for (parent, sound) in [
            (SOUND.to_owned(), true),
            (SOUND.replace("00-4", "cc-4"), true),
            (SOUND.replace("00-4", "cc-4") + "-more", true),
            (SOUND.to_owned() + "-more", false),
            (SOUND.replace("00-4", "ff-4"), false),
            (SOUND.to_uppercase(), false),
            (SOUND.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)), false),
            (SOUND.replace("00f067aa0ba902b7", &"0".repeat(16)), false),
            (SOUND.replace('-', "_"), false),
            (SOUND[..54].to_owned(), false),
            (String::new(), false),
        ] {
            assert_eq!(is_sound(parent.as_bytes()), sound, "{parent}");
        }
        assert!(is_sound(new_parent(b"abc").as_bytes()));
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(&new_parent(id.as_bytes())[3..35], id);
    }

    #[test]
    fn an_unsound_parent_is_replaced_together_with_its_state() {
        let settled = |lines: &str| {
            let mut head =
                format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}X-A: 1\r\n\r\n").into_bytes();
            settle(&mut head, b"4bf92f3577b34da6a3ce929d0e0e4736");
            String::from_utf8(head).expect("text")
        };
        let sound = settled(&format!("Traceparent: {SOUND}\r\ntracestate: a=b\r\n"));
        assert!(sound.ends_with("tracestate: a=b\r\nX-A: 1\r\n\r\n"), "{sound}");
        for lines in ["", "traceparent: x\r\ntracestate: a=b\r\n"] {
            let new = settled(lines);
            assert!(!new.contains("tracestate"), "{new}");
            let start = "GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\r\ntraceparent: 00-4bf9";
            assert!(new.starts_with(start) && new.ends_with("-01\r\n\r\n"), "{new}");
        }
    }
}
