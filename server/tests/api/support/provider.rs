//! A provider of OpenID Connect, with the person who is signed in there: right in all, unless a test twists its word.

use std::sync::Arc;

use aws_lc_rs::{
    encoding::AsDer as _,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use url::Url;

pub const CLIENT: &str = "weir at the provider's";
pub const SECRET: &str = "the client's secret: with/odd+signs";

/// How the provider lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Twist {
    None,
    OtherIssuer,
    OtherAudience,
    ManyAudiences,
    OtherNonce,
    NoNonce,
    Expired,
    NoExpiry,
    NoSubject,
    OtherKey,
    Unsigned,
    /// Signed with its public key as if that were a shared secret.
    PublicKeyAsSecret,
    /// Says in the answer to the browser that somebody else answers.
    AnswersForAnother,
    /// Its configuration has another address for this one, see [`Provider::twist_towards`].
    Names(Endpoint),
    /// Whoever asks there is sent on to that address with this status, and has the right answer along with it.
    Redirects(Endpoint, u16),
}

/// Where it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    Configuration,
    Authorization,
    Token,
    Keys,
}

impl Endpoint {
    fn path(self) -> &'static str {
        match self {
            Self::Configuration => "/.well-known/openid-configuration",
            Self::Authorization => "/authorize",
            Self::Token => "/token",
            Self::Keys => "/keys",
        }
    }
}

/// Answers until it is dropped.
pub struct Provider {
    pub issuer: String,
    state: Arc<Mutex<State>>,
}

struct State {
    /// Claims of whoever is signed in.
    person: Value,
    twist: Twist,
    /// Where a twist leads that leads elsewhere.
    elsewhere: String,
    key: Ed25519KeyPair,
    other: Ed25519KeyPair,
    /// Codes that were given out and not used, with what they are for.
    codes: Vec<(String, Url)>,
    questions: usize,
}

impl Provider {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State {
            person: json!({}),
            twist: Twist::None,
            elsewhere: String::new(),
            key: Ed25519KeyPair::generate().unwrap(),
            other: Ed25519KeyPair::generate().unwrap(),
            codes: Vec::new(),
            questions: 0,
        }));
        let (kept, own) = (Arc::clone(&state), issuer.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&kept), own.clone()));
            }
        });
        Self { issuer, state }
    }

    /// Who is signed in there, by their claims.
    pub fn person(&self, subject: &str, email: &str, groups: &[&str]) {
        self.claims(json!({"sub": subject, "email": email, "email_verified": true, "name": subject, "groups": groups}));
    }

    pub fn claims(&self, claims: Value) {
        self.state.lock().person = claims;
    }

    pub fn twist(&self, twist: Twist) {
        self.state.lock().twist = twist;
    }

    /// The same for a twist that leads elsewhere.
    pub fn twist_towards(&self, twist: Twist, elsewhere: &str) {
        let mut state = self.state.lock();
        (state.twist, state.elsewhere) = (twist, elsewhere.to_owned());
    }

    /// How often it was asked for anything.
    pub fn questions(&self) -> usize {
        self.state.lock().questions
    }
}

async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>, issuer: String) {
    let mut read = Vec::new();
    let (head, body) = loop {
        let mut piece = [0; 4096];
        let count = stream.read(&mut piece).await.unwrap_or_default();
        if count == 0 {
            return;
        }
        read.extend_from_slice(&piece[..count]);
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = header(head, "content-length").map_or(0, |length| length.parse().unwrap());
            if body.len() >= length {
                break (head.to_owned(), body.to_owned());
            }
        }
    };
    state.lock().questions += 1;
    let target = head.split(' ').nth(1).unwrap();
    let url = Url::parse(&format!("{issuer}{target}")).unwrap();
    let (mut status, mut location, answer) = match url.path() {
        "/.well-known/openid-configuration" => (200, None, configuration(&state.lock(), &issuer)),
        "/keys" => (200, None, keys(&state.lock())),
        "/authorize" => (302, Some(authorize(&state, &url, &issuer)), json!({})),
        "/token" => match token(&state, &head, &body, &issuer) {
            Ok(token) => (
                200,
                None,
                json!({"id_token": token, "access_token": "x", "token_type": "Bearer"}),
            ),
            Err(error) => (400, None, json!({"error": error})),
        },
        _ => (404, None, json!({})),
    };
    if let Some((by, elsewhere)) = redirect(&state.lock(), url.path()) {
        (status, location) = (by, Some(elsewhere));
    }
    let answer = answer.to_string();
    let location = location
        .map(|url| format!("location: {url}\r\n"))
        .unwrap_or_default();
    let head = format!(
        "HTTP/1.1 {status} x\r\n{location}content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        answer.len()
    );
    drop(stream.write_all((head + &answer).as_bytes()).await);
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    Some(lines.find(|(known, _)| known.eq_ignore_ascii_case(name))?.1)
}

/// Where it sends whoever asks at this path, if it does, and with which status.
fn redirect(state: &State, path: &str) -> Option<(u16, String)> {
    match state.twist {
        Twist::Redirects(endpoint, status) if endpoint.path() == path => {
            Some((status, state.elsewhere.clone()))
        }
        _ => None,
    }
}

fn configuration(state: &State, issuer: &str) -> Value {
    let address = |endpoint: Endpoint| match state.twist {
        Twist::Names(other) if other == endpoint => state.elsewhere.clone(),
        _ => format!("{issuer}{}", endpoint.path()),
    };
    json!({
        "issuer": issuer,
        "authorization_endpoint": address(Endpoint::Authorization),
        "token_endpoint": address(Endpoint::Token),
        "jwks_uri": address(Endpoint::Keys),
        "authorization_response_iss_parameter_supported": true,
    })
}

fn keys(state: &State) -> Value {
    let public = BASE64_URL_SAFE_NO_PAD.encode(state.key.public_key().as_ref());
    json!({"keys": [
        {"kty": "odd", "kid": "passed over"},
        {"kty": "OKP", "crv": "Ed25519", "kid": "one", "use": "sig", "alg": "EdDSA", "x": public},
    ]})
}

fn word(url: &Url, name: &str) -> String {
    let mut pairs = url.query_pairs();
    pairs
        .find(|(known, _)| known == name)
        .unwrap()
        .1
        .into_owned()
}

/// The person says yes, and the browser goes back with a code.
fn authorize(state: &Mutex<State>, url: &Url, issuer: &str) -> String {
    let mut state = state.lock();
    assert_eq!(word(url, "response_type"), "code");
    assert_eq!(word(url, "client_id"), CLIENT);
    let code = uuid::Uuid::new_v4().to_string();
    let mut back = Url::parse(&word(url, "redirect_uri")).unwrap();
    let own = match state.twist {
        Twist::AnswersForAnother => "https://another.example",
        _ => issuer,
    };
    back.query_pairs_mut()
        .append_pair("state", &word(url, "state"))
        .append_pair("code", &code)
        .append_pair("iss", own);
    state.codes.push((code, url.clone()));
    back.into()
}

fn token(
    state: &Mutex<State>,
    head: &str,
    body: &str,
    issuer: &str,
) -> Result<String, &'static str> {
    let mut state = state.lock();
    let form = Url::parse(&format!("http://form/?{body}")).unwrap();
    let encoded = |text: &str| {
        const PLAIN: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
            .remove(b'-')
            .remove(b'.')
            .remove(b'_')
            .remove(b'~');
        percent_encoding::utf8_percent_encode(text, PLAIN).to_string()
    };
    let pair = format!("{}:{}", encoded(CLIENT), encoded(SECRET));
    let basic = format!("Basic {}", base64::prelude::BASE64_STANDARD.encode(pair));
    if header(head, "authorization") != Some(basic.as_str()) {
        return Err("invalid_client");
    }
    let code = word(&form, "code");
    let at = state.codes.iter().position(|(known, _)| *known == code);
    let (_, asked) = state.codes.remove(at.ok_or("invalid_grant")?);
    let digest = Sha256::digest(word(&form, "code_verifier").as_bytes());
    if BASE64_URL_SAFE_NO_PAD.encode(digest) != word(&asked, "code_challenge")
        || word(&form, "redirect_uri") != word(&asked, "redirect_uri")
    {
        return Err("invalid_grant");
    }
    Ok(signed(&state, &asked, issuer))
}

fn signed(state: &State, asked: &Url, issuer: &str) -> String {
    let now = weir::clock::now_ms() / 1_000;
    let mut claims = state.person.clone();
    let mut own = json!({"iss": issuer, "aud": CLIENT, "exp": now + 300, "iat": now, "nonce": word(asked, "nonce")});
    if asked.query_pairs().any(|(word, _)| word == "max_age") {
        own["auth_time"] = json!(now);
    }
    match state.twist {
        Twist::OtherIssuer => own["iss"] = json!("https://another.example"),
        Twist::OtherAudience => own["aud"] = json!("another client"),
        Twist::ManyAudiences => own["aud"] = json!([CLIENT, "another client"]),
        Twist::OtherNonce => own["nonce"] = json!("of another sign-in"),
        Twist::NoNonce => drop(own.as_object_mut().unwrap().remove("nonce")),
        Twist::Expired => own["exp"] = json!(now - 300),
        Twist::NoExpiry => drop(own.as_object_mut().unwrap().remove("exp")),
        Twist::NoSubject => drop(claims.as_object_mut().unwrap().remove("sub")),
        _ => {}
    }
    let claims_of = claims.as_object_mut().unwrap();
    claims_of.extend(own.as_object().unwrap().clone());
    let header = |algorithm| Header {
        kid: Some("one".to_owned()),
        ..Header::new(algorithm)
    };
    let pair = match state.twist {
        Twist::OtherKey => &state.other,
        _ => &state.key,
    };
    let document: aws_lc_rs::encoding::Pkcs8V1Der<'_> = pair.as_der().unwrap();
    let key = EncodingKey::from_ed_der(document.as_ref());
    match state.twist {
        Twist::Unsigned => {
            let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
            let head = json!({"alg": "none", "typ": "JWT"});
            format!("{}.{}.", part(&head), part(&claims))
        }
        Twist::PublicKeyAsSecret => {
            let key = EncodingKey::from_secret(state.key.public_key().as_ref());
            jsonwebtoken::encode(&header(Algorithm::HS256), &claims, &key).unwrap()
        }
        _ => jsonwebtoken::encode(&header(Algorithm::EdDSA), &claims, &key).unwrap(),
    }
}
