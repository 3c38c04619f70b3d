#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Some((how, body)) = data.split_first() {
        bgp::fuzz::update(body, &bgp::fuzz::context(*how));
    }
});
