//! A provider that leads elsewhere, by what it says of itself or by sending on whoever asks.

use std::{io::ErrorKind, net::TcpListener};

use reqwest::Method;
use serde_json::{Value, json};

use super::{Browser, acmes, operate};
use crate::{
    both_stores,
    support::provider::{CLIENT, Endpoint, Provider, SECRET, Twist},
};

/// Where nobody may come. A connection stands in its queue, whether somebody takes it from there or not.
struct Trap(TcpListener);

impl Trap {
    fn set() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self(listener)
    }

    fn port(&self) -> u16 {
        self.0.local_addr().unwrap().port()
    }

    fn is_silent(&self) -> bool {
        let came = self.0.accept().map(drop);
        came.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }
}

/// Its configuration is refused.
const NOT_SET_UP: &str = "The identity provider is not set up as it has to be.";
/// It did not answer, or was not asked at all.
const NOT_ASKED: &str = "The identity provider cannot be asked.";
/// It gave no token.
const NO_TOKEN: &str = "The identity provider's answer does not count.";

both_stores!(
    /// What its configuration names, and where it sends whoever asks, is its own word alone: a tenant's provider leads to its origin and
    /// to the public network, an operator's to no other host in clear text, and a redirect leads nobody anywhere.
    ///
    /// Threats: S1, S2.
    a_provider_that_points_elsewhere_leads_nowhere,
    |bench| {
        let (provider, trap) = (Provider::start().await, Trap::set());
        provider.person("eve", "eve@acme.example", &["eng"]);
        let port = trap.port();
        let at_trap = format!("http://127.0.0.1:{port}/x");
        let mut cases = Vec::new();
        for endpoint in [Endpoint::Authorization, Endpoint::Token, Endpoint::Keys] {
            for url in [
                at_trap.clone(),
                format!("http://localhost:{port}/x"),
                format!("https://127.0.0.1:{port}/x"),
                "http://169.254.169.254/latest/meta-data".to_owned(),
            ] {
                cases.push((Twist::Names(endpoint), url, (502, NOT_SET_UP)));
            }
        }
        // With the scheme and the port of the public network they are refused where they are dialled.
        for endpoint in [Endpoint::Token, Endpoint::Keys] {
            for url in ["https://127.0.0.1/x", "https://169.254.169.254/x"] {
                cases.push((Twist::Names(endpoint), url.to_owned(), (502, NOT_ASKED)));
            }
        }
        for status in [301, 302, 303, 307, 308] {
            for (endpoint, told) in [
                (Endpoint::Configuration, (502, NOT_ASKED)),
                (Endpoint::Keys, (502, NOT_ASKED)),
                // What is posted there: the code, and the client's secret.
                (Endpoint::Token, (401, NO_TOKEN)),
            ] {
                let twist = Twist::Redirects(endpoint, status);
                cases.push((twist, at_trap.clone(), told));
            }
        }
        let company = json!({
            "name": "company", "issuer": provider.issuer, "client_id": CLIENT, "client_secret": SECRET, "creates_people": true,
            "roles": [{"group": "eng", "role": "platform_viewer"}],
        });
        for is_tenants in [true, false] {
            for (twist, url, told) in &cases {
                // An operator's word for the issuer is one for wherever that leads by https.
                if !is_tenants && url.starts_with("https") {
                    continue;
                }
                // Made anew each time: what a provider said of itself is remembered for a while.
                let id = match is_tenants {
                    true => acmes(&bench, &provider).await,
                    false => {
                        let order = company.clone();
                        let made = operate(&bench, Method::POST, "/identity-providers", order);
                        let (status, made) = made.await;
                        assert_eq!(status, 201, "{made}");
                        made["id"].as_str().unwrap().to_owned()
                    }
                };
                provider.twist_towards(*twist, url);
                let mut eve = Browser::new();
                let (status, problem) = eve.tries(&bench, &id).await;
                let said = format!("{twist:?} {url}, of a tenant: {is_tenants}");
                assert_eq!(
                    (status, problem["detail"].as_str()),
                    (told.0, Some(told.1)),
                    "{said}: {problem}"
                );
                let mut cookies = eve.cookies.iter();
                assert!(
                    cookies.all(|(name, _)| name != "__Host-weir_refresh"),
                    "{said}"
                );
                assert!(trap.is_silent(), "{said}");
                let path = format!("/identity-providers/{id}");
                let deleted = operate(&bench, Method::DELETE, &path, Value::Null).await;
                assert_eq!(deleted.0, 204, "{deleted:?}");
            }
        }
        // Nothing but that was wrong with it.
        provider.twist(Twist::None);
        let id = acmes(&bench, &provider).await;
        let mut eve = Browser::new();
        assert_eq!(eve.tries(&bench, &id).await, (303, Value::Null));
    }
);

both_stores!(
    /// In each field that an address of a provider stands in, as its owner gives it and as it says so itself.
    ///
    /// Threats: S3, S4.
    an_odd_address_of_a_provider_is_no_address,
    |bench| {
        let (provider, trap) = (Provider::start().await, Trap::set());
        let id = acmes(&bench, &provider).await;
        let port = trap.port();
        // What one reader takes for the host, and another for something else.
        let mut odd = vec![
            format!("https://id.example@127.0.0.1:{port}"),
            format!("https://127.0.0.1:{port}\\@id.example"),
            format!("https://id.example#@127.0.0.1:{port}"),
        ];
        let others = [
            "https://user:word@id.example",
            "https://id.example\\x",
            "https://id.example\t/x",
            "https://id\n.example/x",
            "https://id.example/x\r\nFLUSHALL",
            "https:///x",
            "HTTPS://id.example",
            "https://%31%32%37.0.0.1",
            "https://id。example",
            "https://１２７.0.0.1",
            "https://[::1",
            "unix:/run/docker.sock",
            "file:///etc/passwd",
            "gopher://127.0.0.1:6379/_FLUSHALL",
            "ftp://id.example",
            "ws://id.example",
        ];
        odd.extend(others.map(str::to_owned));
        // An operator may vouch for any port.
        let mut all = odd.clone();
        let ports = [22, 25, 53, 80, 2375, 5432, 6379, 9200, 10250, 11211];
        all.extend(ports.map(|port| format!("https://id.example:{port}/x")));
        all.push("http://id.example/x".to_owned());
        let path = format!("/identity-providers/{id}");
        for (field, addresses) in [("issuer", &all), ("allowed_origin", &odd)] {
            for address in addresses {
                let order = json!({field: address});
                let (status, problem) = operate(&bench, Method::PATCH, &path, order).await;
                assert_eq!(status, 422, "{field} {address:?}: {problem}");
                assert_eq!(problem["errors"][0]["path"], field, "{address:?}");
            }
        }
        for endpoint in [Endpoint::Authorization, Endpoint::Token, Endpoint::Keys] {
            for address in &all {
                provider.twist_towards(Twist::Names(endpoint), address);
                let before = provider.questions();
                let (status, problem) = Browser::new().tries(&bench, &id).await;
                assert_eq!(
                    (status, problem["detail"].as_str()),
                    (502, Some(NOT_SET_UP)),
                    "{endpoint:?} {address:?}: {problem}"
                );
                assert_eq!(provider.questions(), before + 1, "its configuration alone");
            }
        }
        assert!(trap.is_silent(), "somebody came");
    }
);
