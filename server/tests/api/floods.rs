//! Sign-ins in numbers that nobody has: what programs call goes on beside them, and memory stays bounded.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{Bench, Setup, Store, gateway, people::Person};

/// Sign-ins under way together.
const COMERS: usize = 300;
/// What a hash needs, of which a few are made at once, and what else a process takes for so many connections.
const MOST_BYTES: u64 = 200 * 1024 * 1024;

/// Threats: A3.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_sign_ins_takes_bounded_memory_and_no_call_from_anybody() {
    let mut bench = Bench::without_gateway(Store::Embedded, Setup::patient()).await;
    let process = bench.process().await;
    bench.apply(&Bench::usual_resources()).await;
    Person::invited(&bench, "known@acme.example", "acme", "viewer").await;
    let sign_in = async |email: String, password: String| {
        let url = format!("{}/v1/admin/sign-in", bench.admin_url);
        let order = json!({"email": email, "password": password});
        let answer = bench.http.post(url).json(&order).send().await.unwrap();
        let status = answer.status().as_u16();
        let problem: Value = answer.json().await.unwrap();
        (
            status,
            problem["code"].as_str().unwrap_or_default().to_owned(),
        )
    };
    assert_eq!(
        gateway::status(&bench.http, &bench.url, gateway::KEY, "gpt-test").await,
        200
    );
    let before = process.memory_bytes();
    // One password on many names, and many on one.
    let flood = join_all((0..COMERS).map(|at| match at % 2 {
        0 => sign_in(
            format!("nobody-{at}@acme.example"),
            "Summer2026!".to_owned(),
        ),
        _ => sign_in("known@acme.example".to_owned(), format!("password {at}")),
    }));
    let (mut most, mut served) = (before, 0);
    let beside = async {
        loop {
            let status = gateway::status(&bench.http, &bench.url, gateway::KEY, "gpt-test").await;
            assert_eq!(status, 200, "a call beside the flood");
            most = most.max(process.memory_bytes());
            served += 1;
        }
    };
    let answers = tokio::select! {
        answers = flood => answers,
        () = beside => unreachable!("it goes on as long as the flood"),
    };
    for (status, code) in &answers {
        // Who waits too long for a hash, or for the one who writes to SQLite, is told to come again.
        let wanted = [
            (401, "sign_in_failed"),
            (429, "too_many_tries"),
            (503, "overloaded"),
            (503, "store_unavailable"),
        ];
        assert!(
            wanted.contains(&(*status, code.as_str())),
            "{status} {code}"
        );
    }
    assert!(answers.iter().any(|(status, _)| *status == 401));
    assert!(served > 0, "no call came through beside the flood");
    assert!(most < before + MOST_BYTES, "{before} became {most}");
    // What is no password is not hashed.
    let huge = "x".repeat(1_000_000);
    let (status, code) = sign_in("huge@acme.example".to_owned(), huge).await;
    assert_eq!((status, code.as_str()), (413, "request_too_large"));
}
