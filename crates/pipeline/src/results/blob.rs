//! The part of a block blob's protocol that the clients use: blocks, the list that joins them, and
//! ranges.

use quick_xml::Reader;
use quick_xml::events::Event;

/// The most blocks of one blob.
pub const MAX_BLOCKS: usize = 50_000;

/// The longest name of a block, as it is written in an address.
pub const MAX_BLOCK_ID: usize = 128;

/// The blocks of a blob in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockList(pub Vec<String>);

/// Reads the list of blocks that make a blob.
pub fn parse_block_list(text: &[u8]) -> Result<BlockList, String> {
    let text = std::str::from_utf8(text).map_err(|_| "the list is not UTF-8".to_owned())?;
    let mut reader = Reader::from_str(text);
    let mut ids = Vec::new();
    let mut depth = 0_u32;
    let mut id = String::new();
    loop {
        let event = reader.read_event().map_err(|error| format!("the list is no XML: {error}"))?;
        match event {
            Event::Start(start) => {
                depth += 1;
                let name = start.local_name();
                let is_known = match depth {
                    1 => name.as_ref() == "BlockList",
                    2 => {
                        id.clear();
                        matches!(name.as_ref(), "Latest" | "Committed" | "Uncommitted")
                    }
                    _ => false,
                };
                if !is_known {
                    return Err("the list holds something that is no block".to_owned());
                }
            }
            Event::Text(part) if depth == 2 => {
                let part: &str = part.as_ref();
                if id.len() + part.len() > MAX_BLOCK_ID {
                    return Err("the name of a block is too long".to_owned());
                }
                id.push_str(part.trim());
            }
            Event::End(_) => {
                if depth == 2 {
                    ids.push(std::mem::take(&mut id));
                    if ids.len() > MAX_BLOCKS {
                        return Err(format!("a blob has at most {MAX_BLOCKS} blocks"));
                    }
                }
                depth = depth.saturating_sub(1);
            }
            Event::Empty(start) if depth == 0 && start.local_name().as_ref() == "BlockList" => {}
            Event::Eof if depth == 0 => return Ok(BlockList(ids)),
            Event::Decl(_) | Event::Comment(_) | Event::Text(_) => {}
            _ => return Err("the list is not whole".to_owned()),
        }
    }
}

/// Reads a range of bytes as it is asked for; none if it is not one that can be given.
///
/// Gives the first and the last byte.
pub fn parse_range(text: &str, length: u64) -> Option<(u64, u64)> {
    let (first, last) = text.trim().strip_prefix("bytes=")?.split_once('-')?;
    let end = length.checked_sub(1)?;
    let (first, last) = match (first.trim(), last.trim()) {
        ("", "") => return None,
        ("", count) => (length.saturating_sub(count.parse().ok()?), end),
        (first, "") => (first.parse().ok()?, end),
        (first, last) => (first.parse().ok()?, last.parse::<u64>().ok()?.min(end)),
    };
    (first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_list_is_read_in_its_order() {
        let text = b"<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\n<BlockList>\n <Latest>Yg==</Latest><Committed>YQ==</Committed></BlockList>";
        let list = parse_block_list(text).expect("is a list");
        assert_eq!(list.0, ["Yg==", "YQ=="]);
        assert_eq!(parse_block_list(b"<BlockList/>").expect("is empty").0, Vec::<String>::new());
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for text in [
            "<BlockList><Latest>a",
            "<Other><Latest>a</Latest></Other>",
            "<BlockList><Latest><Latest>a</Latest></Latest></BlockList>",
            "<!DOCTYPE x [<!ENTITY a \"b\">]><BlockList><Latest>&a;</Latest></BlockList>",
        ] {
            assert!(parse_block_list(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn ranges_are_what_http_says() {
        assert_eq!(parse_range("bytes=0-3", 10), Some((0, 3)));
        assert_eq!(parse_range("bytes=4-", 10), Some((4, 9)));
        assert_eq!(parse_range("bytes=-4", 10), Some((6, 9)));
        assert_eq!(parse_range("bytes=5-99", 10), Some((5, 9)));
        for text in ["bytes=10-", "bytes=4-3", "bytes=-", "items=0-1", "bytes=0-1,3-4", "bytes=x-"]
        {
            assert_eq!(parse_range(text, 10), None, "{text}");
        }
        assert_eq!(parse_range("bytes=0-", 0), None);
    }

    proptest! {
        #[test]
        fn a_range_lies_within_its_blob(text in "bytes=[0-9]{0,20}-[0-9]{0,20}", length: u64) {
            if let Some((first, last)) = parse_range(&text, length) {
                prop_assert!(first <= last && last < length);
            }
        }

        #[test]
        fn any_bytes_are_a_list_or_refused(bytes: Vec<u8>) {
            let _ = parse_block_list(&bytes);
        }
    }
}
