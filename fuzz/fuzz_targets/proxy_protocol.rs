//! What a load balancer before the proxy says of its clients.

#![no_main]

use deploy::proxy::read_proxy_protocol;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = read_proxy_protocol(bytes);
});
