//! `[bmp.*]` and `[mrt]`.

use super::super::watch::Monitor;
use super::valid;
use crate::config::Valid;

const WHOLE: &str = "[bmp.near]\naddress = \"192.0.2.20\"\n[bmp.far]\naddress = \"2001:db8::20\"\nport = 5000\n\
    source-address = \"2001:db8::1\"\nmonitor = [\"loc-rib\", \"pre-policy\", \"post-policy\"]\nstatistics = 0\n\
    [mrt]\nupdates = \"/var/lib/trunkline/mrt\"\nrotate = 60\nkeep = 0\n";

#[test]
fn what_is_written_is_read_back() {
    let got = valid(WHOLE).unwrap();
    let near = &got.watch.bmp["near"];
    assert_eq!((near.port, near.statistics), (11_019, 60));
    assert_eq!(near.monitor, [Monitor::PrePolicy]);
    let far = &got.watch.bmp["far"];
    assert_eq!((far.port, far.statistics), (5000, 0));
    assert_eq!(
        far.monitor,
        [Monitor::PrePolicy, Monitor::PostPolicy, Monitor::LocRib]
    );
    let mrt = got.watch.mrt.as_ref().unwrap();
    assert_eq!((mrt.rotate, mrt.keep), (60, 0));
    let text = got.to_toml();
    assert_eq!(valid(&text).unwrap(), got, "{text}");
    let lines =
        |from: &Valid| -> Vec<String> { got.diff(from).steps().map(|s| s.to_string()).collect() };
    assert_eq!(
        lines(&Valid::default()),
        [
            "+ bmp far: [2001:db8::20]:5000, pre-policy, post-policy, loc-rib",
            "+ bmp near: 192.0.2.20:11019, pre-policy",
            "+ mrt: updates in /var/lib/trunkline/mrt",
        ]
    );
    assert_eq!(lines(&got), [] as [&str; 0]);
}

#[test]
fn mistakes_are_named() {
    for (text, start, remedy) in [
        ("bmp = 1\n", "1: bmp: a table by name", "[bmp.NAME]"),
        (
            "[bmp]\naddress = \"192.0.2.1\"\n",
            "2: bmp.address: a table is wanted",
            "[bmp.NAME]",
        ),
        ("[bmp.x]\n", "1: bmp.x.address: is missing", "address = "),
        (
            "[bmp.x]\naddress = \"0.0.0.0\"\n",
            "2: bmp.x.address: 0.0.0.0 is no address",
            "",
        ),
        (
            "[bmp.x]\naddress = \"192.0.2.1\"\nmonitr = 1\n",
            "3: bmp.x.monitr: unknown key",
            "\"monitor\"?",
        ),
        (
            "[bmp.x]\naddress = \"192.0.2.1\"\nmonitor = []\n",
            "3: bmp.x.monitor: is empty",
            "pre-policy",
        ),
        (
            "[bmp.x]\naddress = \"192.0.2.1\"\nmonitor = \"all\"\n",
            "3: bmp.x.monitor: \"all\" is not one of",
            "loc-rib",
        ),
        (
            "[bmp.x]\naddress = \"192.0.2.1\"\nsource-address = \"::1\"\n",
            "3: bmp.x.source-address: ::1 and the station's 192.0.2.1",
            "",
        ),
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
