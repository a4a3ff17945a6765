//! What access tokens are signed with: keys that go round, and none of anybody else's.

use aws_lc_rs::{
    encoding::AsDer as _,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use sea_orm::ConnectionTrait as _;

use super::{
    login::{EMAIL, PASSWORD, by, signing_in, signing_key, somebody, token_of, whole},
    *,
};

/// Longer than a key signs.
const SIGNED_LONG_AGO: &str = "UPDATE signing_keys SET created_ms = created_ms - 2678400000";

// Threats: A2.
#[actix_rt::test]
async fn a_token_is_believed_under_its_own_key_and_the_one_before_alone() {
    for test in all().await {
        // Another process each time: it knows no keys but those that are stored.
        let again = async || app!(&test);
        let app = again().await;
        answer(&app, document(PLATFORM, "")).await;
        somebody(&test).await;
        let mut tokens = Vec::new();
        for _ in 0..3 {
            let app = again().await;
            let signed_in = whole(&app, signing_in(EMAIL, PASSWORD)).await;
            tokens.push(token_of(&signed_in));
            let db = &test.stores.config.write;
            db.execute_unprepared(SIGNED_LONG_AGO).await.expect("SQL");
        }
        let app = again().await;
        let mut known = Vec::new();
        for token in &tokens {
            known.push(whole(&app, by(token, Method::GET, "/me")).await.0);
        }
        assert_eq!(known, [401, 200, 200]);
    }
}

// Threats: A2.
#[actix_rt::test]
async fn a_key_that_a_token_brings_along_signs_nothing() {
    let test = sqlite().await;
    let app = app!(&test);
    answer(&app, document(PLATFORM, "")).await;
    somebody(&test).await;
    let token = token_of(&whole(&app, signing_in(EMAIL, PASSWORD)).await);
    let parts: Vec<&str> = token.split('.').collect();
    let read = |part: &str| {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(part).expect("base64");
        serde_json::from_slice::<Value>(&bytes).expect("JSON")
    };
    let header = read(parts[0]);
    // Of the right key nobody else knows more than what is public.
    let (_, document_) = signing_key(&test).await;
    let right = Ed25519KeyPair::from_pkcs8(&document_).expect("a key");
    let public = right.public_key().as_ref();
    let own = Ed25519KeyPair::generate().expect("a key");
    let own_document: aws_lc_rs::encoding::Pkcs8V1Der<'_> = own.as_der().expect("a document");
    let own_key = jsonwebtoken::EncodingKey::from_ed_der(own_document.as_ref());
    let jwk = |public: &[u8]| {
        let x = BASE64_URL_SAFE_NO_PAD.encode(public);
        json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "x": x})
    };
    let signed = |header: &Value, key: &jsonwebtoken::EncodingKey, by: jsonwebtoken::Algorithm| {
        let encoded = BASE64_URL_SAFE_NO_PAD.encode(header.to_string());
        let message = format!("{encoded}.{}", parts[1]);
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), key, by);
        format!("{message}.{}", signature.expect("a signature"))
    };
    let with = |name: &str, value: Value| {
        let mut header = header.clone();
        header[name] = value;
        header
    };
    let eddsa = jsonwebtoken::Algorithm::EdDSA;
    let mut forged = vec![
        signed(&header, &own_key, eddsa),
        signed(
            &with("jwk", jwk(own.public_key().as_ref())),
            &own_key,
            eddsa,
        ),
        signed(
            &with("jku", json!("https://evil.example/keys")),
            &own_key,
            eddsa,
        ),
        signed(&with("x5c", json!(["MIIB"])), &own_key, eddsa),
    ];
    // The public key as a secret that both sides would share.
    for shared in [
        public.to_vec(),
        BASE64_URL_SAFE_NO_PAD.encode(public).into_bytes(),
    ] {
        let key = jsonwebtoken::EncodingKey::from_secret(&shared);
        let header = with("alg", json!("HS256"));
        forged.push(signed(&header, &key, jsonwebtoken::Algorithm::HS256));
    }
    // Even the right key signs none that says where another is to be found.
    let right_key = jsonwebtoken::EncodingKey::from_ed_der(&document_);
    forged.push(signed(&with("jwk", jwk(public)), &right_key, eddsa));
    for forged in forged {
        let (status, body, _) = whole(&app, by(&forged, Method::GET, "/me")).await;
        assert_eq!(status, 401, "{forged}: {body}");
    }
    let as_made = signed(&header, &right_key, eddsa);
    assert_eq!(whole(&app, by(&as_made, Method::GET, "/me")).await.0, 200);
}
