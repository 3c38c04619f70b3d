//! `[mrt]`.

use super::valid;
use crate::config::Valid;

const WHOLE: &str = "[mrt]\nupdates = \"/var/lib/trunkline/mrt\"\nrotate = 60\nkeep = 0\n";

#[test]
fn what_is_written_is_read_back() {
    let got = valid(WHOLE).unwrap();
    let mrt = got.watch.mrt.as_ref().unwrap();
    assert_eq!((mrt.rotate, mrt.keep), (60, 0));
    let text = got.to_toml();
    assert_eq!(valid(&text).unwrap(), got, "{text}");
    let lines =
        |from: &Valid| -> Vec<String> { got.diff(from).steps().map(|s| s.to_string()).collect() };
    assert_eq!(
        lines(&Valid::default()),
        ["+ mrt: updates in /var/lib/trunkline/mrt"]
    );
    assert_eq!(lines(&got), [] as [&str; 0]);
}

#[test]
fn mistakes_are_named() {
    for (text, start, remedy) in [
        ("[mrt]\n", "1: mrt.updates: is missing", "/var/lib"),
        (
            "[mrt]\nupdates = \"here\"\n",
            "2: mrt.updates: \"here\" is not the whole name",
            "",
        ),
        (
            "[mrt]\nupdates = \"/x\"\nrotate = 0\n",
            "3: mrt.rotate: 0 is not a number",
            "86400",
        ),
    ] {
        let error = valid(text).unwrap_err().to_string();
        let answer = error.strip_prefix("/etc/t.toml:").unwrap_or(&error);
        assert!(answer.starts_with(start), "{text}{error}");
        assert!(answer.contains(remedy), "{text}{error}");
    }
}
