//! Remote write: whatever bytes come, they are samples or an error, and take little memory.

#![no_main]

use libfuzzer_sys::fuzz_target;
use web::prometheus::protobuf::{Version, read};
use web::prometheus::write::unpack;

fuzz_target!(|bytes: &[u8]| {
    for version in [Version::One, Version::Two] {
        let mut samples = 0;
        let _ = read(version, bytes, &mut |series| samples += series.samples.len());
        assert!(samples <= bytes.len());
    }
    if let Ok(bytes) = unpack(bytes) {
        let _ = read(Version::One, &bytes, &mut |_| {});
    }
});
