//! The configuration file: whatever its text, it is understood, or refused with a reason.
#![no_main]

use std::path::Path;
use std::sync::OnceLock;

use ctl::config::Store;

/// A running configuration without anything in it.
fn store() -> &'static Store {
    static STORE: OnceLock<Store> = OnceLock::new();
    STORE.get_or_init(|| {
        let file = std::env::temp_dir().join(format!("fuzz-{}.toml", std::process::id()));
        std::fs::write(&file, "").expect("a file");
        let store = Store::load(&file);
        let _ = std::fs::remove_file(&file);
        store.expect("an empty configuration is right")
    })
}

libfuzzer_sys::fuzz_target!(|text: &str| {
    // A route file would lead out of the text.
    if text.contains("route-file") {
        return;
    }
    let file = Path::new("/nonexistent/fuzz.toml");
    if let Err(e) = store().stage_file(text, file) {
        assert!(!e.problems.is_empty() && !e.to_string().is_empty());
    }
});
