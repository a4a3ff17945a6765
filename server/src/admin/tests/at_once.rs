//! Two who change the same thing at once.

use super::*;

/// A thing that is changed in a transaction of its own, and not as a piece of the configuration.
const THINGS: [(&str, &str); 2] = [
    (
        "/identity-providers",
        r#"{"tenant": "acme", "name": "id", "issuer": "https://id.example", "client_id": "weir"}"#,
    ),
    (
        "/service-tokens",
        r#"{"tenant": "acme", "name": "ci", "role": "viewer"}"#,
    ),
];
const TIMES: usize = 10;

/// Path and tag of a new thing.
async fn made<S: Answers>(app: &S, path: &str, order: &str) -> (String, String) {
    let order: Value = serde_json::from_str(order).expect("JSON");
    let (status, made) = answer(app, request(Method::POST, path).set_json(order)).await;
    assert_eq!(status, 201, "{made}");
    let one = format!("{path}/{}", made["id"].as_str().expect("an id"));
    let shown = call_service(app, request(Method::GET, &one).to_request()).await;
    let tag = shown.headers().get(header::ETAG).expect("a tag");
    (one, tag.to_str().expect("ASCII").to_owned())
}

#[actix_rt::test]
async fn of_two_changes_of_one_thing_as_it_was_one_is_done() {
    for test in all().await {
        let app = app!(&test);
        answer(&app, document(PLATFORM, "")).await;
        for (path, order) in THINGS {
            for _ in 0..TIMES {
                let (one, tag) = made(&app, path, order).await;
                let change = || {
                    let off = request(Method::PATCH, &one).set_json(json!({"enabled": false}));
                    answer(&app, off.insert_header((header::IF_MATCH, tag.clone())))
                };
                let both = futures_util::future::join(change(), change()).await;
                let mut statuses = [both.0.0, both.1.0];
                statuses.sort_unstable();
                assert_eq!(statuses, [200, 412], "{path}: {both:?}");
                assert_eq!(answer(&app, request(Method::DELETE, &one)).await.0, 204);
            }
        }
    }
}

#[actix_rt::test]
async fn what_is_deleted_while_it_is_changed_stays_deleted() {
    for test in all().await {
        let app = app!(&test);
        answer(&app, document(PLATFORM, "")).await;
        for (path, order) in THINGS {
            for _ in 0..TIMES {
                let (one, _) = made(&app, path, order).await;
                let change = request(Method::PATCH, &one).set_json(json!({"enabled": true}));
                let gone = answer(&app, request(Method::DELETE, &one));
                let (changed, gone) = futures_util::future::join(answer(&app, change), gone).await;
                assert_eq!(gone.0, 204, "{path}: {gone:?}");
                assert!([200, 404].contains(&changed.0), "{path}: {changed:?}");
                assert_eq!(
                    answer(&app, request(Method::GET, &one)).await.0,
                    404,
                    "{path}"
                );
            }
        }
    }
}
