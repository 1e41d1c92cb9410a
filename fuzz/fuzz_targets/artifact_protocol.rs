//! What clients of the artifact and cache services send: a call, a list of blocks, a range.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pipeline::results::{parse_block_list, parse_call, parse_range};

fuzz_target!(|input: (u8, u64, &[u8])| {
    let (which, length, bytes) = input;
    let calls = [
        ("ArtifactService", "CreateArtifact"),
        ("ArtifactService", "FinalizeArtifact"),
        ("ArtifactService", "ListArtifacts"),
        ("ArtifactService", "DeleteArtifact"),
        ("CacheService", "CreateCacheEntry"),
        ("CacheService", "FinalizeCacheEntryUpload"),
        ("CacheService", "GetCacheEntryDownloadURL"),
    ];
    let (service, method) = calls[usize::from(which) % calls.len()];
    if let Err(refused) =
        parse_call(&format!("github.actions.results.api.v1.{service}"), method, bytes)
    {
        assert!((400..500).contains(&refused.status()));
    }
    if let Ok(list) = parse_block_list(bytes) {
        assert!(list.0.iter().all(|block| block.len() <= 128));
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Some((first, last)) = parse_range(text, length)
    {
        assert!(first <= last && last < length);
    }
});
