//! The proxy's control socket: a request that is understood says the same when it is sent again.

#![no_main]

use deploy::proxy::{Answer, Request};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &[u8]| {
    if let Ok(request) = serde_json::from_slice::<Request>(line) {
        let written = serde_json::to_vec(&request).expect("a request is JSON");
        assert!(!written.contains(&b'\n'), "a request is one line");
        let again: Request = serde_json::from_slice(&written).expect("is understood again");
        assert_eq!(again, request);
        if let Request::SetRoutes(routes) = request {
            let _ = routes.check().map_err(|error| error.to_string());
        }
    }
    if let Ok(answer) = serde_json::from_slice::<Answer>(line) {
        let written = serde_json::to_vec(&answer).expect("an answer is JSON");
        let again: Answer = serde_json::from_slice(&written).expect("is understood again");
        assert_eq!(again, answer);
    }
});
