//! The edge: whatever arrives where HTTP/1.1 is spoken is read one way, and sent on framed that way.

#![no_main]

use deploy::proxy::read_http1;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| read_http1(bytes));
