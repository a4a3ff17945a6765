//! Requests as clients may send them, and connections between requests.

use serde_json::json;
use weir_upstream::{Behaviour, ConnectionPolicy, End, Options, Vendor};

use crate::client::{CHAT, Client, Ended, SOON, chat, status};

#[tokio::test]
async fn connection_is_kept_and_counted() {
    let vendor = Vendor::spawn();
    let mut client = Client::connect(&vendor).await;
    for _ in 0..3 {
        assert_eq!(client.ask(CHAT, &chat(1, false)).await.status, 200);
    }
    assert_eq!(vendor.counters().connections, 1);
    assert_eq!(
        vendor
            .bill()
            .iter()
            .map(|line| line.connection)
            .collect::<Vec<_>>(),
        [1, 1, 1]
    );
    client
        .send("GET /v1/models HTTP/1.1\r\nconnection: close\r\n\r\n")
        .await;
    let reply = client.reply().await;
    assert_eq!(reply.header("connection"), Some("close"));
    assert_eq!(client.rest().await.1, Ended::Fin);
}

#[tokio::test]
async fn large_and_chunked_bodies_arrive_whole() {
    let vendor = Vendor::spawn();
    let mut client = Client::connect(&vendor).await;
    let mut ask = chat(1, false);
    ask["messages"][0]["content"] = json!("word ".repeat(200_000));
    let reply = client.ask(CHAT, &ask).await;
    assert_eq!(reply.json()["usage"]["prompt_tokens"], 200_000);
    assert_eq!(vendor.requests()[0].json(), ask);

    let body = chat(2, false).to_string();
    let (first, second) = body.split_at(20);
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n"
    );
    client.send(format!("{head}14;ext=1\r\n{first}\r\n")).await;
    client
        .send(format!(
            "{:X}\r\n{second}\r\n0\r\ntrailer: x\r\n\r\n",
            second.len()
        ))
        .await;
    assert_eq!(client.reply().await.json()["usage"]["completion_tokens"], 2);
    assert_eq!(vendor.requests()[1].body, body);
}

#[tokio::test]
async fn request_is_kept_as_it_came() {
    let vendor = Vendor::spawn();
    let mut client = Client::connect(&vendor).await;
    let head =
        "GET /v1/models?key=secret HTTP/1.1\r\nHOST: v\r\nX-B: 2\r\nx-a:  1\r\nX-B: 3\r\n\r\n";
    client.send(head).await;
    client.reply().await;
    let request = &vendor.requests()[0];
    assert_eq!(request.head, head);
    let names: Vec<_> = request
        .headers
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(names, ["HOST", "X-B", "x-a", "X-B"]);
    assert_eq!(request.header("X-A"), Some("1"));
    assert_eq!(vendor.bill()[0].credential.as_deref(), Some("secret"));
}

#[tokio::test]
async fn expectation_is_met() {
    let vendor = Vendor::spawn();
    let mut client = Client::connect(&vendor).await;
    let body = chat(1, false).to_string();
    let length = body.len();
    client
        .send(format!("POST {CHAT} HTTP/1.1\r\nexpect: 100-continue\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"))
        .await;
    assert_eq!(status(&client.head().await), 100);
    client.send(body).await;
    assert_eq!(client.reply().await.status, 200);
}

#[tokio::test]
async fn what_is_no_request_is_refused() {
    let vendor = Vendor::spawn();
    for (request, expected) in [
        ("\x16\x03\x01 hello\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\ntransfer-encoding: gzip\r\n\r\n", 501),
    ] {
        let mut client = Client::connect(&vendor).await;
        client.send(request).await;
        assert_eq!(client.reply().await.status, expected, "{request:?}");
    }
    let mut client = Client::connect(&vendor).await;
    client
        .send("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n")
        .await;
    assert_eq!(client.reply().await.status, 400);
    assert_eq!(vendor.bill()[0].end, Some(End::BadRequest));
    let mut client = Client::connect(&vendor).await;
    client
        .send(crate::client::request(CHAT, "{\"model\":"))
        .await;
    assert_eq!(
        client.reply().await.json()["error"]["type"],
        "invalid_request_error"
    );
}

#[tokio::test]
async fn old_clients_and_head_requests_are_served() {
    let vendor = Vendor::spawn();
    let mut client = Client::connect(&vendor).await;
    client.send("HEAD /v1/models HTTP/1.1\r\n\r\n").await;
    assert!(client.head().await.contains("content-length: "));
    client.send("GET /v1/models HTTP/1.0\r\n\r\n").await;
    let reply = client.reply().await;
    assert_eq!(reply.json()["object"], "list");
    assert_eq!(vendor.bill()[0].end, Some(End::Complete));
}

#[tokio::test]
async fn idle_connection_is_sent_a_408() {
    let connections = ConnectionPolicy {
        idle_408_after_ms: Some(300),
        ..Default::default()
    };
    let vendor = Vendor::start(Options {
        connections,
        ..Options::default()
    })
    .unwrap();
    let mut client = Client::connect(&vendor).await;
    client.ask(CHAT, &chat(1, false)).await;
    assert_eq!(client.reply().await.status, 408);
    assert_eq!(client.rest().await, (Vec::new(), Ended::Fin));
    vendor.set_connections(ConnectionPolicy {
        idle_close_after_ms: Some(10),
        ..Default::default()
    });
    let mut client = Client::connect(&vendor).await;
    assert_eq!(client.rest().await, (Vec::new(), Ended::Fin));
}

#[tokio::test]
async fn connection_can_close_unannounced_after_some_answers() {
    let vendor = Vendor::spawn();
    vendor.set_connections(ConnectionPolicy {
        close_after_requests: Some(2),
        ..Default::default()
    });
    let mut client = Client::connect(&vendor).await;
    client.ask(CHAT, &chat(1, false)).await;
    let reply = client.ask(CHAT, &chat(1, false)).await;
    assert_eq!(reply.header("connection"), None);
    assert_eq!(client.rest().await.1, Ended::Fin);
}

#[tokio::test]
async fn dropped_vendor_cuts_its_connections() {
    let vendor = Vendor::spawn();
    vendor.push(Behaviour::default().with_first_byte_delay_ms(60_000));
    let mut client = Client::connect(&vendor).await;
    client.post(CHAT, &chat(1, false)).await;
    vendor.wait_for(|bill| bill.len() == 1, SOON).await.unwrap();
    drop(vendor);
    client.rest().await;
}
