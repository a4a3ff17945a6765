//! What a script may try again, and what not.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener},
    thread,
};

use weir_upstream::Identity;

use super::*;
use crate::support::Setup;

/// The address of a server that says always the same, and hangs up.
fn says(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, mut request) = (stream.unwrap(), [0; 8_192]);
            drop(stream.read(&mut request));
            drop(stream.write_all(answer.as_bytes()));
            drop(stream.shutdown(Shutdown::Write));
            // Hanging up on what is still to come would be a reset, and could overtake the answer.
            drop(stream.read_to_end(&mut Vec::new()));
        }
    });
    url
}

#[tokio::test]
async fn what_may_have_been_done_is_not_to_be_tried_again() {
    let cut = "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{";
    let large = "HTTP/1.1 200 OK\r\ncontent-length: 999999999\r\n\r\n{";
    let busy = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
    let late = "HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n";
    for (answer, read, write) in [
        ("", 6, 1),
        (cut, 6, 1),
        (large, 1, 1),
        ("SSH-2.0-OpenSSH_9.9\r\n\r\n", 1, 1),
        (busy, 6, 6),
        (late, 6, 6),
    ] {
        let environment = [("WEIR_URL".to_owned(), says(answer)), token()];
        failed(&weir(&environment, &["settings", "show"]).await, read);
        let change = ["settings", "change", "--set", "mode=normal"];
        let said = failed(&weir(&environment, &change).await, write);
        let may_be_done = said.contains("may have been done");
        assert_eq!(may_be_done, write == 1, "{answer:?}: {said}");
    }
    // Nobody listens there: nothing can have been done.
    let environment = [
        ("WEIR_URL".to_owned(), "http://127.0.0.1:1".to_owned()),
        token(),
    ];
    let change = ["settings", "change", "--set", "mode=normal"];
    failed(&weir(&environment, &change).await, 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_does_not_fit_is_no_matter_of_time() {
    let folder = tempfile::tempdir().unwrap();
    let identity = Identity::self_signed(&["weir.test"]).unwrap();
    let certificate = write(folder.path(), "cert.pem", &identity.certificate_pem);
    let key = write(folder.path(), "key.pem", &identity.key_pem);
    let setup = Setup {
        environment: vec![("WEIR_TLS_CERT", certificate), ("WEIR_TLS_KEY", key)],
        ..Setup::default()
    };
    let bench = Bench::start(Store::Embedded, setup).await;
    assert!(bench.url.starts_with("https://"), "{}", bench.url);
    let said = failed(&cli(&bench, &["tenants", "list"]).await, 1);
    assert!(said.contains("certificate"), "{said}");
}
