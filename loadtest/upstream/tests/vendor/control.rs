//! The same steering over HTTP.

use serde_json::json;
use weir_upstream::{Options, Vendor};

use crate::client::{CHAT, Client, chat};

#[tokio::test]
async fn orders_are_taken_and_the_bill_is_shown() {
    let vendor = Vendor::start(Options {
        control: true,
        ..Options::default()
    })
    .unwrap();
    let mut client = Client::connect(&vendor).await;
    let orders = json!({
        "push": [{"status": 500}],
        "models": {"gpt-4o": {"tokens": 2, "faults": [{"interim": {"status": 102, "gap_ms": 0, "count": 0}}]}},
        "connections": {"close_after_requests": 100},
    });
    assert_eq!(
        client.ask("/_control/behaviours", &orders).await.status,
        200
    );
    assert_eq!(client.ask(CHAT, &chat(5, false)).await.status, 500);
    assert_eq!(client.ask(CHAT, &chat(5, false)).await.status, 200);
    let bill = client.get("/_control/bill").await.json();
    assert_eq!(
        bill["lines"].as_array().unwrap().len(),
        2,
        "controlling is not billed"
    );
    assert_eq!(bill["by_credential"]["sk-test"]["output"], 2);
    assert_eq!(bill["lines"][1]["end"], "complete");
    assert_eq!(bill["counters"]["connections"], 1);
    let requests = client.get("/_control/requests").await.json();
    assert_eq!(requests[0]["path"], CHAT);
    client.send("DELETE /_control HTTP/1.1\r\n\r\n").await;
    assert_eq!(client.reply().await.status, 200);
    assert!(vendor.bill().is_empty());
    let reply = client.ask(CHAT, &chat(5, false)).await.json();
    assert_eq!(reply["usage"]["completion_tokens"], 5);
}

#[tokio::test]
async fn orders_not_understood_change_nothing() {
    let vendor = Vendor::start(Options {
        control: true,
        ..Options::default()
    })
    .unwrap();
    let mut client = Client::connect(&vendor).await;
    for orders in [
        json!({"pusch": []}),
        json!({"push": [{"recording": "no/such"}]}),
    ] {
        assert_eq!(
            client.ask("/_control/behaviours", &orders).await.status,
            400
        );
    }
    assert_eq!(client.get("/_control/nothing").await.status, 404);
    // Without control the path is one like any other.
    let vendor = Vendor::spawn();
    let mut client = Client::connect(&vendor).await;
    assert_eq!(client.get("/_control/bill").await.json()["object"], "echo");
}
