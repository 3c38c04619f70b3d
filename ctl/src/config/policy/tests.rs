//! Policies, sets and `[rpki]`: what is read, refused and printed; what a commit keeps; every example of `docs/policy.md`.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use ::bgp::policy::{Action, MatchSpec, NumSet, SetSpec};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::super::model::Valid;
use super::super::parse::parse;
use super::super::store::Store;
use super::super::validate::Files;
use super::parse::RULE_KEYS;
use super::*;

fn read(path: &Path, text: &str, files: Files<'_>) -> Result<Arc<Valid>, String> {
    let valid = parse(path, text).and_then(|c| c.validate(path, text, files));
    valid.map(Arc::new).map_err(|e| e.to_string())
}

fn config(text: &str) -> Result<Arc<Valid>, String> {
    read(Path::new("/etc/t.toml"), text, Files::Read)
}

const FULL: &str = r#"
[prefix-set]
customers = ["203.0.113.0/24 le 28", "2001:db8::/32 ge 40 le 48"]
none = []
[as-set]
cone = [64500, "64510-64519"]
[as-path-set]
paths = "_64510$"
[community-set]
ours = ["64512:*", "no-export"]
[ext-community-set]
targets = ["target:64512:*"]
[large-community-set]
large = ["64512:*:*"]
[policy.from-transit]
default = "reject"
[[policy.from-transit.rule]]
name = "first \"of\" all"
match = { prefix-set = "customers", rpki = ["valid", "not-found"], local-pref = "le 5", med = "none", neighbor-as = [1, "5-7"] }
unless = { as-path-set = ["paths"], community-none = "64512:1-9", next-hop = "10.0.0.0/8" }
call = "reject-invalid"
set = { local-pref = 200, med = "+10", add-community = ["64512:100"], set-ext-community = [], blackhole = true, prepend = ["self", "self"] }
action = "accept"
[[policy.from-transit.rule]]
action = "reject"
[policy.empty]
[rpki]
cache = ["192.0.2.10", "192.0.2.11:8282", "[2001:db8::10]:8282"]
expire = 7200
"#;

#[test]
fn everything_is_read_and_printed() {
    let valid = config(FULL).unwrap();
    let spec = &valid.policy.specs["from-transit"];
    assert_eq!((spec.rules.len(), spec.default), (2, false));
    let rule = &spec.rules[0];
    assert_eq!(rule.name.as_deref(), Some("first \"of\" all"));
    assert_eq!(rule.set.med, Some(NumSet::Add(10)));
    assert_eq!(rule.action, Action::Accept);
    assert_eq!(valid.policy.sets.len(), 7);
    assert_eq!(valid.rpki.as_ref().unwrap().caches.len(), 3);
    assert!(valid.policy("from-transit").unwrap().depends_on_prefix());
    assert!(valid.policy("accept-all").is_some() && valid.policy("x").is_none());
    let text = valid.to_toml();
    assert_eq!(config(&text).unwrap(), valid, "{text}");
    let lines: Vec<String> = valid
        .diff(&Valid::default())
        .steps()
        .map(|s| s.to_string())
        .collect();
    for line in [
        "+ prefix-set customers: 2 entries",
        "+ as-path-set paths: 1 entry",
        "+ policy from-transit: 2 rules, default reject",
        "+ rpki cache 192.0.2.10 cache 192.0.2.11:8282 cache [2001:db8::10]:8282 expire 7200",
    ] {
        assert!(lines.iter().any(|l| l == line), "{line} in {lines:#?}");
    }
}

/// (what is written, the beginning of the answer, a part of its remedy)
const MISTAKES: &[(&str, &str, &str)] = &[
    (
        "[policy]\nx = 1\n",
        "2: policy.x: a table is wanted",
        "[policy.NAME]",
    ),
    ("policy = 1\n", "1: policy: a table by name is wanted", ""),
    (
        "[policy.\"a b\"]\n",
        "1: policy.\"a b\": a name has",
        "letters",
    ),
    (
        "[policy.x]\ndefualt = \"accept\"\n",
        "2: policy.x.defualt: unknown key",
        "\"default\"?",
    ),
    (
        "[policy.x]\ndefault = \"next\"\n",
        "2: policy.x.default: \"next\" is not",
        "\"reject\"",
    ),
    (
        "[policy.accept-all]\n",
        "1: policy.accept-all: is built in",
        "another name",
    ),
    (
        "[policy.x]\nrule = 1\n",
        "2: policy.x.rule: a list of tables",
        "[[rule]]",
    ),
    (
        "[[policy.x.rule]]\nacton = \"accept\"\n",
        "2: policy.x.rule[0].acton: unknown key",
        "\"action\"?",
    ),
    (
        "[[policy.x.rule]]\naction = \"permit\"\n",
        "2: policy.x.rule[0].action: \"permit\" is not",
        "\"accept\"",
    ),
    (
        "[[policy.x.rule]]\nmatch = { }\n",
        "1: policy.x.rule[0].action: the rule changes nothing",
        "\"reject\"",
    ),
    (
        "[[policy.x.rule]]\nmatch = 1\naction = \"accept\"\n",
        "2: policy.x.rule[0].match: a table is wanted",
        "",
    ),
    (
        "[[policy.x.rule]]\nmatch = { prefixset = \"a\" }\n",
        "2: policy.x.rule[0].match.prefixset: unknown key",
        "\"prefix-set\"?",
    ),
    (
        "[prefix-set]\ncustomers = []\n[[policy.x.rule]]\naction = \"accept\"\nmatch = { prefix-set = \"costumers\" }\n",
        "5: policy.x.rule[0].match.prefix-set: there is no prefix-set \"costumers\"",
        "\"customers\"?",
    ),
    (
        "[[policy.x.rule]]\naction = \"accept\"\nunless = { as-path-set = \"a\" }\n",
        "3: policy.x.rule[0].unless.as-path-set: there is no as-path-set \"a\"",
        "[as-path-set]",
    ),
    (
        "[[policy.x.rule]]\nset = { remove-community-set = \"a\" }\n",
        "2: policy.x.rule[0].set.remove-community-set: there is no community-set",
        "",
    ),
    (
        "[[policy.x.rule]]\ncall = \"rejct-all\"\n[policy.reject-al]\n",
        "2: policy.x.rule[0].call: there is no policy \"rejct-all\"",
        "\"reject-al\"?",
    ),
    (
        "[[policy.x.rule]]\ncall = \"x\"\n",
        "2: policy.x.rule[0].call: policies call each other in a circle: x -> x",
        "leave",
    ),
    (
        "[[policy.x.rule]]\nmatch = {\n prefix = [\"10.0.0.0/8\",\n \"10.0.0.1/8\"] }\n",
        "4: policy.x.rule[0].match.prefix: \"10.0.0.1/8\" has bits",
        "10.0.0.0/8",
    ),
    (
        "[[policy.x.rule]]\nmatch = { as-path = \"[0-9]\" }\n",
        "2: policy.x.rule[0].match.as-path: ",
        "whole AS numbers",
    ),
    (
        "[[policy.x.rule]]\nmatch = { community = [] }\n",
        "2: policy.x.rule[0].match.community: an empty list",
        "leave the key out",
    ),
    (
        "[[policy.x.rule]]\nmatch = { med = 1.5 }\n",
        "2: policy.x.rule[0].match.med: a string in quotes, a number",
        "float",
    ),
    (
        "[[policy.x.rule]]\nset = { med = +10 }\n",
        "2: policy.x.rule[0].set.med: a change is written in quotes, \"+10\"",
        "number",
    ),
    (
        "[[policy.x.rule]]\nset = { local-pref = \"igp\" }\n",
        "2: policy.x.rule[0].set.local-pref: \"igp\" is not",
        "\"remove\"",
    ),
    (
        "[[policy.x.rule]]\nmatch = { family = \"ipv6-unicast\" }\nset = { next-hop = \"10.0.0.1\" }\n",
        "3: policy.x.rule[0].set.next-hop: 10.0.0.1 is no next hop for ipv6-unicast",
        "",
    ),
    (
        "[prefix-set]\nx = [\"10.0.0.0/8 le 4\"]\n",
        "2: prefix-set.x: \"10.0.0.0/8 le 4\" holds for nothing",
        "up to 32",
    ),
    (
        "[prefix-set]\nx = [\"10.0.0.0/8\",\n\"y\", true]\n",
        "3: prefix-set.x: \"y\" is no prefix",
        "",
    ),
    (
        "[prefix-set]\nx = { file = \"/nowhere/x\" }\n",
        "2: prefix-set.x: cannot read /nowhere/x",
        "correct the name",
    ),
    (
        "[prefix-set]\nx = { fil = \"x\" }\n",
        "2: prefix-set.x.fil: unknown key",
        "\"file\"?",
    ),
    (
        "[prefix-set]\nx = { }\n",
        "2: prefix-set.x.file: is missing",
        "",
    ),
    (
        "prefix-set = 1\n",
        "1: prefix-set: sets by name are wanted",
        "[prefix-set]",
    ),
    (
        "[as-set]\nx = [\"5-1\"]\n",
        "2: as-set.x: \"5-1\" counts down",
        "\"1-5\"",
    ),
    (
        "[community-set]\nx = [\"1\"]\n",
        "2: community-set.x: \"1\" is no community",
        "\"64512:*\"",
    ),
    ("[rpki]\n", "1: rpki.cache: is missing", "192.0.2.11:8282"),
    (
        "[rpki]\ncache = \"rpki.example.net\"\n",
        "2: rpki.cache: \"rpki.example.net\" is no cache",
        "\"192.0.2.10:8282\"",
    ),
    (
        "[rpki]\ncache = [\"192.0.2.1\", \"192.0.2.1:323\"]\n",
        "2: rpki.cache: 192.0.2.1 is there twice",
        "",
    ),
    (
        "[rpki]\ncache = \"fe80::1\"\n",
        "2: rpki.cache: \"fe80::1\" is link-local",
        "another address",
    ),
    (
        "[rpki]\ncache = \"192.0.2.1\"\nuse = \"any\"\n",
        "3: rpki.use: \"any\" is not",
        "\"first\"",
    ),
    (
        "[rpki]\ncache = \"192.0.2.1\"\nretry = 9000\n",
        "3: rpki.retry: 9000 is not a number from 1 to 7200",
        "",
    ),
    (
        "[rpki]\ncache = \"192.0.2.1\"\nexpire = 600\nrefresh = 3600\n",
        "1: rpki.expire: 600 is not longer than refresh",
        "3601",
    ),
];

#[test]
fn mistakes_are_named_with_their_place() {
    for (text, start, remedy) in MISTAKES {
        let error = config(text).expect_err(text);
        let first = error.lines().next().unwrap();
        assert!(
            first.starts_with(&format!("/etc/t.toml:{start}")),
            "{text}: {error}"
        );
        assert!(error.contains(remedy), "{text}: {error}");
    }
    let caches: Vec<String> = (1..10).map(|i| format!("\"192.0.2.{i}\"")).collect();
    let error = config(&format!("[rpki]\ncache = [{}]\n", caches.join(","))).unwrap_err();
    assert!(error.contains("9 caches; at most 8"), "{error}");
}

#[test]
fn a_wrong_policy_does_not_make_its_name_unknown() {
    let text = "[system]\nrouter-id = \"192.0.2.1\"\n[bgp]\nas = 1\n[bgp.neighbor.\"192.0.2.2\"]\nas = 2\nimport = \"x\"\nexport = \"accept-all\"\n[[policy.x.rule]]\ncall = \"y\"\n";
    let error = config(text).unwrap_err();
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(config(&text.replace("call = \"y\"", "action = \"accept\"")).is_ok());
    let error = config(&text.replace("import = \"x\"", "import = \"xx\"")).unwrap_err();
    assert!(
        error.contains("there is no policy \"xx\"; did you mean \"x\"?"),
        "{error}"
    );
}

#[test]
fn files_are_read_once_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.toml");
    let list = dir.path().join("irr.txt");
    std::fs::write(&list, "10.0.0.0/8 le 24 # ten\n").unwrap();
    std::fs::write(
        dir.path().join("same.txt"),
        "10.0.0.0/9 le 24\n10.128.0.0/9 le 24\n10.0.0.0/8\n",
    )
    .unwrap();
    let text = "[prefix-set]\nirr = { file = \"irr.txt\" }\nsame = { file = \"same.txt\" }\n[[policy.p.rule]]\nmatch = { prefix-set = \"irr\" }\naction = \"accept\"\n";
    std::fs::write(&path, text).unwrap();
    let mut store = Store::load(&path).unwrap();
    let sets = |v: &Valid| v.policy.compiled_sets().clone();
    let first = sets(store.running());
    assert!(
        Arc::ptr_eq(&first.prefix["irr"], &first.prefix["same"]),
        "the same set is there once"
    );
    let policy = store.running().policy("p").unwrap();

    // The file changes; another change is made meanwhile, which leaves it alone.
    std::fs::write(&list, "10.0.0.0/8 le 25\n").unwrap();
    let kept = read(&path, text, Files::Keep(store.running())).unwrap();
    assert_eq!(kept, *store.running());
    assert!(Arc::ptr_eq(&kept.policy("p").unwrap(), &policy));
    // Then it is applied.
    let staged = store.stage_file(text, &path).unwrap();
    let lines: Vec<String> = staged.plan.steps().map(|s| s.to_string()).collect();
    assert_eq!(lines, ["~ prefix-set irr: 1 entry (was 1)"]);
    assert!(!Arc::ptr_eq(
        &staged.plan.next.policy("p").unwrap(),
        &policy
    ));
    let set = sets(&staged.plan.next);
    assert!(Arc::ptr_eq(&set.prefix["same"], &first.prefix["same"]));
    let (_, next) = staged.split();
    store.keep(next);
    // Nothing changes now, and what is there is the same object.
    let policy = store.running().policy("p").unwrap();
    let staged = store.stage_file(text, &path).unwrap();
    assert!(staged.plan.is_empty());
    assert!(Arc::ptr_eq(&staged.plan.next.policy("p").unwrap(), &policy));

    // From another directory, names become whole paths.
    let elsewhere = dir.path().join("sub");
    std::fs::create_dir(&elsewhere).unwrap();
    std::fs::write(elsewhere.join("irr.txt"), "192.0.2.0/24\n").unwrap();
    std::fs::write(elsewhere.join("same.txt"), "192.0.2.0/24\n").unwrap();
    let staged = store
        .stage_file(text, &elsewhere.join("other.toml"))
        .unwrap();
    store.save(&staged).unwrap();
    let moved = Store::load(&path).unwrap();
    let set = sets(moved.running());
    assert!(set.prefix["irr"].contains(&"192.0.2.0/24".parse().unwrap()));

    // Lines that are wrong have the file's name; an empty file is refused.
    std::fs::write(&list, "10.0.0.0/8\nx\n").unwrap();
    let error = read(&path, text, Files::Read).unwrap_err();
    assert!(
        error.starts_with(&format!("{}:2: \"x\" is no prefix", list.display())),
        "{error}"
    );
    std::fs::write(&list, "# nothing\n").unwrap();
    let error = read(&path, text, Files::Read).unwrap_err();
    assert!(
        error.contains("has no entry") && error.contains("irr = []"),
        "{error}"
    );
}

/// The blocks of the user guide that are configurations.
fn documented() -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/policy.md");
    let page = std::fs::read_to_string(page).unwrap();
    let blocks = page.split("```").skip(1).step_by(2);
    blocks
        .filter_map(|block| block.strip_prefix("toml\n"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_example_of_the_guide_is_good() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("irr-as64500.txt"), "203.0.113.0/24 le 28\n").unwrap();
    let path: PathBuf = dir.path().join("t.toml");
    let blocks = documented();
    assert!(blocks.len() >= 8);
    for block in blocks {
        let valid = read(&path, &block, Files::Read).unwrap_or_else(|e| panic!("{e}\n{block}"));
        let text = valid.to_toml();
        assert_eq!(read(&path, &text, Files::Read).unwrap(), valid, "{text}");
    }
}

#[test]
fn every_key_is_in_the_guide() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/policy.md");
    let page = std::fs::read_to_string(page).unwrap();
    let keys = MatchSpec::KEYS
        .iter()
        .chain(&SetSpec::KEYS)
        .chain(&RULE_KEYS);
    for key in keys.chain(&["default"]) {
        assert!(page.contains(&format!("`{key}`")), "{key}");
    }
    for kind in SetKind::ALL {
        assert!(page.contains(&format!("[{}]", kind.section())), "{kind:?}");
    }
    for name in [
        "accept-all",
        "reject-all",
        "graceful-shutdown",
        "reject-invalid",
    ] {
        assert!(page.contains(&format!("| `{name}` |")), "{name}");
    }
}

/// Keys of `match` with values as TOML writes them.
const MATCHES: [(&str, &str); 14] = [
    ("family", "[\"ipv4-unicast\", \"vpnv6\"]"),
    ("session", "\"ebgp\""),
    ("neighbor", "[\"10.0.0.0/8\", \"2001:db8::1\"]"),
    ("neighbor-as", "[1, \"5-7\"]"),
    ("prefix", "\"10.0.0.0/8 ge 9\""),
    ("prefix-set", "[\"a\", \"b\"]"),
    ("rpki", "\"invalid\""),
    ("med", "\"ge 5 le 9\""),
    ("local-pref", "100"),
    ("as-path", "[\"^1 .* 2$\", \"_3_\"]"),
    ("community-all", "[\"1:*\", \"no-export\"]"),
    ("ext-community", "\"target:1-5:*\""),
    ("large-community-none", "\"1:2:*\""),
    ("origin", "[\"igp\"]"),
];

/// Keys of `set`, likewise.
const SETS: [(&str, &str); 11] = [
    ("local-pref", "\"+5\""),
    ("med", "\"igp\""),
    ("next-hop", "\"2001:db8::1\""),
    ("blackhole", "true"),
    ("private-as", "\"replace\""),
    ("prepend", "[7, 7]"),
    ("label-index", "7"),
    ("replace-as", "[1, \"3-4\"]"),
    ("set-community", "[]"),
    ("add-large-community", "[\"1:2:3\", \"4:5:6\"]"),
    ("remove-ext-community", "\"soo:*\""),
];

fn inline(all: &[(&str, &str)]) -> String {
    let parts: Vec<String> = all.iter().map(|(k, v)| format!("{k} = {v}")).collect();
    format!("{{ {} }}", parts.join(", "))
}

prop_compose! {
    fn rule()(
        matches in subsequence(MATCHES.to_vec(), 0..5), unless in subsequence(MATCHES.to_vec(), 0..3),
        set in subsequence(SETS.to_vec(), 0..5), name in prop::option::of("[ -~é]{1,9}"),
        call in select(vec!["", "z", "graceful-shutdown"]), action in select(vec!["accept", "reject", "next"]),
    ) -> String {
        let mut out = format!("match = {}\nunless = {}\nset = {}\n", inline(&matches), inline(&unless), inline(&set));
        if let Some(name) = name {
            let _ = writeln!(out, "name = {}", toml_edit::Value::from(name));
        }
        if !call.is_empty() {
            let _ = writeln!(out, "call = \"{call}\"");
        }
        let nothing = set.is_empty() && call.is_empty();
        let _ = writeln!(out, "action = \"{}\"", if nothing && action == "next" { "accept" } else { action });
        out
    }
}

prop_compose! {
    fn book()(
        rules in prop::collection::vec((select(vec!["p", "q"]), rule()), 0..5), default in any::<bool>(),
        prefixes in subsequence(vec!["10.0.0.0/8", "10.0.0.0/8 le 9", "::/0 ge 128"], 0..3),
        caches in subsequence(vec!["192.0.2.1", "192.0.2.1:324", "[2001:db8::1]:9"], 0..3), refresh in prop::option::of(1u32..86_400),
    ) -> String {
        let mut out = format!("[prefix-set]\na = {prefixes:?}\nb = []\n[policy.z]\ndefault = \"{}\"\n", if default { "accept" } else { "reject" });
        for (policy, rule) in rules {
            let _ = write!(out, "[[policy.{policy}.rule]]\n{rule}");
        }
        if !caches.is_empty() {
            let _ = writeln!(out, "[rpki]\ncache = {caches:?}");
            if let Some(refresh) = refresh {
                let _ = writeln!(out, "refresh = {refresh}\nuse = \"{}\"", if default { "first" } else { "all" });
            }
        }
        out
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_is_printed_reads_back(text in book()) {
        let Ok(valid) = config(&text) else {
            // Families and prefixes that do not go together.
            prop_assert!(text.contains("family"), "{} {}", config(&text).unwrap_err(), text);
            return Ok(());
        };
        let printed = valid.to_toml();
        match config(&printed) {
            Ok(back) => prop_assert_eq!(back, valid, "{}", printed),
            Err(error) => prop_assert!(false, "{}\n{}", error, printed),
        }
    }

    #[test]
    fn what_is_the_same_has_no_steps(a in book(), b in book()) {
        let (Ok(a), Ok(b)) = (config(&a), config(&b)) else { return Ok(()) };
        prop_assert_eq!(a == b, b.diff(&a).is_empty());
        prop_assert!(a.diff(&a).is_empty());
    }

    /// The full example with a piece of it mutilated: understood or refused, never a panic.
    #[test]
    fn mutilated(at in 0..FULL.len(), len in 0_usize..30, with in "[ -~\n]{0,5}") {
        let mut text = FULL.to_owned();
        let end = (at + len).min(text.len());
        text.replace_range(at..end, &with);
        if let Ok(valid) = config(&text) {
            prop_assert_eq!(config(&valid.to_toml()).unwrap(), valid);
        }
    }
}
