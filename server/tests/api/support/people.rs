//! People who sign in.

use reqwest::{Method, header};
use serde_json::{Value, json};

use super::Bench;

/// Somebody who is signed in.
pub struct Person {
    pub access: String,
    /// As a request sends it.
    pub cookie: String,
}

impl Person {
    /// Invites somebody into a tenant; they come and sign in with a password.
    pub async fn invited(bench: &Bench, email: &str, tenant: &str, role: &str) -> Self {
        let order = json!({"tenant": tenant, "email": email, "role": role});
        let invitation = bench.admin(Method::POST, "/invitations").json(&order);
        let invitation: Value = invitation.send().await.unwrap().json().await.unwrap();
        let url = invitation["url"].as_str();
        let (_, token) = url
            .unwrap_or_else(|| panic!("{invitation}"))
            .split_once('#')
            .unwrap();
        let password = format!("the password of {email}");
        let order = json!({"token": token, "name": email, "password": password});
        let post = |path: &str| {
            bench
                .http
                .post(format!("{}/v1/admin{path}", bench.admin_url))
        };
        let accepted = post("/invitations/accept")
            .json(&order)
            .send()
            .await
            .unwrap();
        assert_eq!(accepted.status(), 204);
        let order = json!({"email": email, "password": password});
        let signed_in = post("/sign-in").json(&order).send().await.unwrap();
        assert_eq!(signed_in.status(), 200);
        let cookie = signed_in.headers()[header::SET_COOKIE].to_str().unwrap();
        let cookie = cookie.split(';').next().unwrap().to_owned();
        let answer: Value = signed_in.json().await.unwrap();
        Self {
            access: answer["access_token"].as_str().unwrap().to_owned(),
            cookie,
        }
    }
}
