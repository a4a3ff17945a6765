//! Takes what looks like a secret out of what was said.

use std::{borrow::Cow, sync::LazyLock};

use regex::{Captures, Regex};
use serde_json::Value;

const MASKED: &str = "***";

/// Names of fields whose values are secrets, without regard to case, `-` and `_`.
const FIELDS: &[&str] = &[
    "authorization",
    "apikey",
    "xapikey",
    "xgoogapikey",
    "password",
    "passwd",
    "passphrase",
    "secret",
    "clientsecret",
    "token",
    "accesstoken",
    "refreshtoken",
    "idtoken",
    "bearertoken",
    "authtoken",
    "privatekey",
    "cookie",
    "setcookie",
    "credential",
    "credentials",
];

/// What secrets look like. A name in front of one stays.
static SECRETS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(concat!(
        r"(?x)",
        // Keys in PEM, to their end or the text's.
        r"-----BEGIN\ [A-Z\ ]*PRIVATE\ KEY-----[\s\S]*?(?:-----END\ [A-Z\ ]*PRIVATE\ KEY-----|\z)",
        // JSON Web Tokens.
        r"|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*",
        // What vendors begin their keys with; Weir's own too.
        r"|\b(?:sk|pk|rk|wk|wst|wa|wl)-[A-Za-z0-9_-]{16,}",
        r"|\b(?:sk|pk|rk)_(?:live|test)_[A-Za-z0-9]{16,}",
        r"|\b(?:gh[pousr]_|github_pat_|glpat-|xox[abeoprs]-|hf_|npm_|pypi-|dop_v1_|shpat_)[A-Za-z0-9_-]{16,}",
        r"|\bAIza[A-Za-z0-9_-]{30,}|\bya29\.[A-Za-z0-9_-]{20,}",
        r"|\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}\b",
        // Authorization headers.
        r"|(?P<scheme>(?i:\b(?:bearer|basic)))\ +[A-Za-z0-9._~+/=-]{12,}",
        // Assignments, as in configuration and in commands.
        r"|(?P<name>(?i:\b[a-z0-9_-]*(?:password|passwd|passphrase|secret|api[_-]?key|access[_-]?key|auth[_-]?token|access[_-]?token|private[_-]?key)\b)",
        r#"["']?\s*[:=]\s*["']?)(?:[^\s"',;]{4,})"#,
        // User and password in a URL.
        r"|(?P<url>[a-z][a-z0-9+.-]*://)[^\s/:@]*:[^\s/@]+@",
    ))
    .ok()
});

/// A text without what looks like a secret in it.
pub fn text(text: &str) -> Cow<'_, str> {
    let Some(secrets) = &*SECRETS else {
        // A pattern that is none would be a mistake of ours: nothing is shown then.
        return Cow::Borrowed(MASKED);
    };
    secrets.replace_all(text, |found: &Captures<'_>| {
        let named = |name: &str| found.name(name).map(|part| part.as_str().to_owned());
        match (named("scheme"), named("name"), named("url")) {
            (Some(scheme), ..) => format!("{scheme} {MASKED}"),
            (_, Some(name), _) => format!("{name}{MASKED}"),
            (.., Some(url)) => format!("{url}{MASKED}@"),
            _ => MASKED.to_owned(),
        }
    })
}

/// Masks all texts in a value, and whatever has the name of a secret.
pub fn value(value: &mut Value) {
    match value {
        Value::String(said) => {
            if let Cow::Owned(masked) = text(said) {
                *said = masked;
            }
        }
        Value::Array(all) => all.iter_mut().for_each(self::value),
        Value::Object(fields) => {
            for (name, field) in fields {
                if is_secret(name) && !matches!(field, Value::Null | Value::Bool(_)) {
                    *field = MASKED.into();
                } else {
                    self::value(field);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn is_secret(name: &str) -> bool {
    let plain = name.chars().filter(|letter| !matches!(letter, '-' | '_'));
    let plain: String = plain.flat_map(char::to_lowercase).collect();
    FIELDS.contains(&plain.as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_looks_like_a_secret_is_gone_and_the_rest_stays() {
        assert!(SECRETS.is_some());
        for (said, masked) in [
            ("nothing to hide, sk-short", "nothing to hide, sk-short"),
            (
                "my key is sk-proj-0123456789abcdef, ok?",
                "my key is ***, ok?",
            ),
            ("wk-acme-0123456789-abcdefghij", "***"),
            (
                "Authorization: Bearer abcdefghijklmnop",
                "Authorization: Bearer ***",
            ),
            ("DB_PASSWORD='hunter22' next", "DB_PASSWORD='***' next"),
            (
                "aws_secret_access_key = abcd/efgh+1234",
                "aws_secret_access_key = ***",
            ),
            ("postgres://me:pw@host/db", "postgres://***@host/db"),
            ("AKIAIOSFODNN7EXAMPLE", "***"),
            ("ghp_0123456789abcdef0123", "***"),
            ("eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.c2ln", "***"),
            (
                "a -----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY----- b",
                "a *** b",
            ),
            ("cut -----BEGIN PRIVATE KEY-----\nMII", "cut ***"),
            ("the password policy is long", "the password policy is long"),
        ] {
            assert_eq!(text(said), masked, "{said}");
        }
    }

    #[test]
    fn fields_are_masked_by_name_wherever_they_stand() {
        let mut said = json!({
            "model": "m", "max_tokens": 5, "token": "abc",
            "tools": [{"type": "mcp", "authorization": "x", "headers": {"X-Api-Key": "y", "Accept": "z"}}],
            "messages": [{"role": "user", "content": [{"type": "text", "text": "use sk-0123456789abcdef0"}]}],
        });
        value(&mut said);
        assert_eq!(
            said,
            json!({
                "model": "m", "max_tokens": 5, "token": "***",
                "tools": [{"type": "mcp", "authorization": "***", "headers": {"X-Api-Key": "***", "Accept": "z"}}],
                "messages": [{"role": "user", "content": [{"type": "text", "text": "use ***"}]}],
            })
        );
    }
}
