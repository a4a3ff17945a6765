//! For tests alone: which attack is held by which test, for `docs/security.md`.
//!
//! A test says so itself: a line `Threats: U1, H4.` in the comment above it.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use super::generated;

/// The attacks in the order of the page, in a few words. One without a test is not held yet, and the page says so.
const ATTACKS: &[(&str, &str)] = &[
    (
        "K1",
        "something in a request, or a channel that moves, takes the credential to another origin",
    ),
    ("K3", "secrets by expansion of `${...}`"),
    (
        "K4",
        "an answer that names the credential or the vendor's account",
    ),
    (
        "K6",
        "a channel that was not granted, or a name that shadows another",
    ),
    ("K7", "headers that name the vendor's other accounts"),
    (
        "K8",
        "the credential shown to a server with a wrong certificate",
    ),
    (
        "A1",
        "every way to carry a key, with every restriction of a key",
    ),
    ("A2", "forged access tokens"),
    ("A3", "floods of sign-ins, and locks that an outsider holds"),
    ("A4", "a refresh token used twice, or by somebody else"),
    (
        "A5",
        "links to another password, poisoned, guessed or used twice",
    ),
    (
        "A6",
        "an identity provider that lies, or says what is not its to say",
    ),
    ("A7", "whoever comes first to a fresh installation"),
    ("A8", "codes of the second factor, guessed or used twice"),
    ("A9", "a session that is old, or was there before"),
    ("A11", "the key in the URL"),
    ("A12", "guessing keys"),
    ("B1", "one request id for many requests"),
    (
        "B2",
        "a doubled key, read one way here and another way there",
    ),
    ("B3", "numbers that are negative, huge or none"),
    ("B4", "the race for what is left of a budget"),
    ("B5", "paths that nobody counts"),
    ("B6", "leaving before the bill"),
    ("B8", "another name or path for the same model"),
    ("B9", "an upstream that lies about usage"),
    (
        "B10",
        "the key of a request that comes twice, used for another one",
    ),
    ("B13", "a save that writes an old balance back"),
    ("B14", "a clock that jumps"),
    ("B15", "making Weir pay for retries"),
    ("D1", "a secret in a log line"),
    ("D2", "a sealed value moved to another place"),
    (
        "D3",
        "another master key, half given or given twice, while Weir serves",
    ),
    ("D4", "a secret in an export"),
    ("D5", "forged and flooding log lines"),
    ("D6", "series without end, and metrics for strangers"),
    ("D7", "an audit log that is edited, cut or added to"),
    (
        "D8",
        "what was said in calls, kept longer or read by others than its tenant wants",
    ),
    ("H1", "where one request ends and the next begins"),
    ("H2", "headers that leak, lie or vanish"),
    ("H3", "paths that servers read differently"),
    (
        "H4",
        "slow, big and deep requests, and answers that nobody reads",
    ),
    ("H5", "request targets and hosts of others"),
    ("H6", "pages of other sites"),
    ("H8", "HTTP/2, which is not spoken"),
    (
        "H9",
        "line breaks on their way into headers, events and logs",
    ),
    ("H10", "markup and details in errors"),
    ("H11", "multipart forms without measure"),
    ("H12", "bytes that nobody thought of"),
    ("L1", "model names as a weapon"),
    ("L4", "tool arguments as log text"),
    ("P1", "an upstream's page on Weir's origin"),
    ("T1", "somebody else's id"),
    ("T2", "giving oneself, or others, more than one has"),
    ("T3", "a cache that forgets who asked"),
    ("T4", "the noisy neighbour"),
    ("T6", "learning or squatting on a value of another's key"),
    ("T7", "what was left behind after revoking"),
    (
        "T8",
        "service tokens beyond their role, their tenant or their time",
    ),
    (
        "T9",
        "invitations used twice, by others, or for more than the inviter has",
    ),
    ("T10", "queries that ask a list for more than it shows"),
    ("T11", "lists and errors that tell of other tenants"),
    ("T12", "names that look like others"),
    ("T13", "labels that blame another"),
    (
        "T14",
        "what is left of a deleted tenant (files at a vendor stay in the account that they are in), operators in disguise",
    ),
    ("T15", "a colleague who leads everybody's prompts elsewhere"),
    ("U1", "an upstream whose answers get out of step"),
    ("U2", "hostile answers"),
    ("U3", "refusals that would ban a shared credential"),
    ("R2", "names that act in a key of Redis"),
    ("R3", "forged words over pub/sub"),
    ("R4", "foreign, cut and edited files in the spool"),
    ("R6", "half-dead stores"),
    ("O3", "doors of management left open on the public listener"),
    ("O4", "old TLS, and certificates that change"),
    (
        "S1",
        "an address of a tenant's that leads into the own network, however it is spelled",
    ),
    ("S2", "a name that leads elsewhere when it is asked again"),
    ("S3", "an address that two readers read differently"),
    ("S4", "other protocols and ports"),
];

/// The tests of each case: their names and the file, from the package's folder.
fn tests() -> BTreeMap<String, Vec<(String, PathBuf)>> {
    let mut found = BTreeMap::new();
    let mut folders: Vec<PathBuf> = ["src", "tests/api", "dialect/src", "dialect/tests"]
        .map(PathBuf::from)
        .into();
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    for file in files {
        read(&file, &mut found);
    }
    found
}

fn read(file: &Path, found: &mut BTreeMap<String, Vec<(String, PathBuf)>>) {
    let text = fs::read_to_string(file).unwrap();
    let mut cases: Vec<&str> = Vec::new();
    for line in text.lines().map(str::trim) {
        let comment = line
            .strip_prefix("//")
            .map(|rest| rest.trim_matches(['/', ' ']));
        if let Some(said) = comment.and_then(|comment| comment.strip_prefix("Threats: ")) {
            cases = said.trim_end_matches('.').split(", ").collect();
            continue;
        }
        let Some(name) = name(line).filter(|_| !cases.is_empty()) else {
            continue;
        };
        for case in cases.drain(..) {
            let place = (name.to_owned(), file.to_owned());
            found.entry(case.to_owned()).or_default().push(place);
        }
    }
    assert!(cases.is_empty(), "{}: {cases:?} of no test", file.display());
}

/// The name of the test that a line begins: a function's, or the one given to `both_stores!`.
fn name(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("async ").unwrap_or(line);
    let rest = rest
        .strip_prefix("fn ")
        .or_else(|| rest.strip_prefix("both_stores!("));
    let is_word = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    match rest {
        Some(rest) => {
            let end = rest.find(['(', ',', '<']).unwrap_or(rest.len());
            Some(&rest[..end]).filter(|name| is_word(name))
        }
        None => line.strip_suffix(',').filter(|name| is_word(name)),
    }
}

#[test]
fn the_table_of_attacks_is_current() {
    let mut tests = tests();
    let mut table = String::from("| | attack | held by |\n| --- | --- | --- |\n");
    for (case, attack) in ATTACKS {
        let held = tests.remove(*case).unwrap_or_default();
        let mut held: Vec<String> = held
            .iter()
            .map(|(name, file)| format!("`{name}` ({})", file.display()))
            .collect();
        held.dedup();
        let held = match held.as_slice() {
            [] => "no test yet".to_owned(),
            held => held.join("<br>"),
        };
        writeln!(table, "| {case} | {attack} | {held} |").unwrap();
    }
    assert!(
        tests.is_empty(),
        "cases without a word in ATTACKS: {tests:?}"
    );
    generated::assert_part_current("docs/security.md", "attacks", &table);
}
