//! Commands as `trunkctl` and batch files take them.
#![no_main]

use api::grammar;

libfuzzer_sys::fuzz_target!(|text: &str| {
    for line in text.lines() {
        let words = || line.split_whitespace();
        if let Err(e) = grammar::change(words()) {
            assert!(!e.0.is_empty() && e.0.lines().count() == 1, "{e:?}");
        }
        let _ = (grammar::route(words()), grammar::label(words()));
        let _ = (grammar::neighbor(words()), grammar::interface(words()));
    }
});
