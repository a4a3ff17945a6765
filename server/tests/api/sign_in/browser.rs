//! A browser on its way to an identity provider and back.

use reqwest::{Response, header};

use super::*;

/// A browser that goes where it is sent, one step at a time, and keeps the cookies of this installation.
pub struct Browser {
    pub http: reqwest::Client,
    pub cookies: Vec<(String, String)>,
}

impl Browser {
    pub fn new() -> Self {
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy();
        Self {
            http: http.build().unwrap(),
            cookies: Vec::new(),
        }
    }

    pub async fn get(&mut self, url: &str) -> Response {
        self.send(self.http.get(url)).await
    }

    pub async fn send(&mut self, request: reqwest::RequestBuilder) -> Response {
        let cookies: Vec<String> = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let answer = request
            .header(header::COOKIE, cookies.join("; "))
            .send()
            .await
            .unwrap();
        for cookie in answer.headers().get_all(header::SET_COOKIE) {
            let cookie = cookie.to_str().unwrap();
            let (pair, flags) = cookie.split_once(';').unwrap();
            assert!(
                flags.contains("HttpOnly") && flags.contains("Secure"),
                "{cookie}"
            );
            let (name, value) = pair.split_once('=').unwrap();
            self.cookies.retain(|(known, _)| known != name);
            if !value.is_empty() {
                self.cookies.push((name.to_owned(), value.to_owned()));
            }
        }
        answer
    }

    /// To the provider and back, as far as the address with the code.
    pub async fn with_code(&mut self, bench: &Bench, provider: &str) -> String {
        self.with_code_of(bench, &format!("{provider}?return_to=/keys"))
            .await
    }

    /// The same with what else the query says.
    pub async fn with_code_of(&mut self, bench: &Bench, asked: &str) -> String {
        let url = format!("{}/v1/admin/sign-in/with/{asked}", bench.admin_url);
        let answer = self.get(&url).await;
        assert_eq!(answer.status(), 303, "{}", answer.text().await.unwrap());
        self.through(location(&answer)).await
    }

    /// Through the provider's page.
    pub async fn through(&mut self, url: String) -> String {
        let answer = self.http.get(&url).send().await.unwrap();
        assert_eq!(answer.status(), 302);
        location(&answer)
    }

    pub async fn signs_in(&mut self, bench: &Bench, provider: &str) -> (u16, Value) {
        let url = self.with_code(bench, provider).await;
        self.comes_back(&url).await
    }

    /// The same with a provider that may not even get as far as that.
    pub async fn tries(&mut self, bench: &Bench, provider: &str) -> (u16, Value) {
        let url = format!(
            "{}/v1/admin/sign-in/with/{provider}?return_to=/keys",
            bench.admin_url
        );
        let answer = self.get(&url).await;
        let status = answer.status().as_u16();
        if status != 303 {
            return (status, answer.json().await.unwrap());
        }
        let back = self.through(location(&answer)).await;
        self.comes_back(&back).await
    }

    /// With the address that the provider gave; what it is answered, and then the access token.
    pub async fn comes_back(&mut self, url: &str) -> (u16, Value) {
        let answer = self.get(url).await;
        let status = answer.status().as_u16();
        if status != 303 {
            return (status, answer.json().await.unwrap());
        }
        assert_eq!(location(&answer), "/keys");
        assert!(answer.bytes().await.unwrap().is_empty());
        (status, Value::Null)
    }

    pub async fn token(&mut self, bench: &Bench) -> String {
        let url = format!("{}/v1/admin/sign-in/refresh", bench.admin_url);
        let answer = self.send(self.http.post(url)).await;
        assert_eq!(answer.status(), 200);
        let answer: Value = answer.json().await.unwrap();
        answer["access_token"].as_str().unwrap().to_owned()
    }

    /// What they may do now, in the tenant that they name.
    pub async fn me(&mut self, bench: &Bench) -> Value {
        let token = self.token(bench).await;
        let (status, me) = ask(bench, &token, Method::GET, "/me", Value::Null).await;
        assert_eq!(status, 200, "{me}");
        me
    }
}

fn location(answer: &Response) -> String {
    answer.headers()[header::LOCATION]
        .to_str()
        .unwrap()
        .to_owned()
}
