//! Whatever somebody sends for a field: a problem document, and nothing half done.

use super::{roles::operations, *};
use crate::store;

#[actix_rt::test]
async fn no_value_of_any_field_breaks_anything_or_does_half_of_it() {
    for test in all().await {
        let app = app!(&test);
        answer(&app, document(PLATFORM, "")).await;
        let nobody = uuid::Uuid::new_v4().to_string();
        let head = async || store::audit::last(&test.stores.config.read).await;
        let (before, _) = head().await.expect("a head");
        let mut tried = 0;
        for operation in operations() {
            let Some(fields) = &operation.fields else {
                continue;
            };
            let path = operation.path.replace("{id}", &nobody);
            let path = path.replace("{credential}", &nobody);
            let method = Method::from_bytes(operation.method.as_bytes()).expect("a method");
            for field in fields {
                for (value, may_pass) in [
                    (json!({"no": {"such": "thing"}}), false),
                    (json!([[["x"]]]), false),
                    (json!("x".repeat(100_000)), false),
                    (json!("a\u{0}b"), false),
                    (json!("\u{202e}"), false),
                    (json!(-1), false),
                    (json!(1e300), false),
                    (json!(18_446_744_073_709_551_615_u64), false),
                    (json!(true), true),
                    (json!(""), true),
                    (json!(null), true),
                ] {
                    let order = json!({field: value});
                    let sent = request(method.clone(), &path).set_json(&order);
                    let (status, body) = answer(&app, sent).await;
                    let said = format!("{method} {path} {field}: {value:.60}: {status} {body}");
                    let is_refused = (400..500).contains(&status);
                    assert!(is_refused || (may_pass && status < 300), "{said}");
                    // No part of an answer is as long as what was sent.
                    assert!(body.to_string().len() < 10_000, "{said:.2000}");
                    tried += 1;
                }
            }
            // What is no order at all.
            for text in [
                "",
                "{",
                "[]",
                "null",
                "\"x\"",
                "{\"a\":1,\"a\":2}",
                "{\"name\":\"\\ud800\"}",
            ] {
                let sent = request(method.clone(), &path)
                    .insert_header((header::CONTENT_TYPE, "application/json"))
                    .set_payload(text);
                let (status, body) = answer(&app, sent).await;
                assert!(
                    (400..500).contains(&status),
                    "{method} {path} {text}: {status} {body}"
                );
            }
        }
        assert!(tried > 1_000, "{tried}");
        // What passed was a switch or an empty word; of all that was refused nothing was done.
        let (after, _) = head().await.expect("a head");
        assert!(after - before < 40, "{before} {after}");
    }
}
