//! What may be reached under `/proxy/{channel}/`.
//!
//! A channel that several tenants share passes stateless calls only: what a vendor keeps would be everybody's (threats.md,
//! K2). A channel dedicated to one tenant passes everything but the administration of the vendor's account.

use weir_api_types::channel::Kind;

use crate::catalog::Channel;

/// Inference paths of OpenAI's kind that keep nothing at the vendor, below its root.
const OPENAI: &[&str] = &[
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/images/generations",
    "/v1/images/edits",
    "/v1/images/variations",
    "/v1/audio/speech",
    "/v1/audio/transcriptions",
    "/v1/audio/translations",
    "/v1/moderations",
    "/v1/rerank",
];
const ANTHROPIC: &[&str] = &["/v1/messages", "/v1/messages/count_tokens"];
const DASHSCOPE: &[&str] = &[
    "/api/v1/services/aigc/text-generation/generation",
    "/api/v1/services/aigc/multimodal-generation/generation",
    "/api/v1/services/embeddings/text-embedding/text-embedding",
    "/compatible-mode/v1/chat/completions",
    "/compatible-mode/v1/embeddings",
];
/// Gemini's methods that keep nothing, after the model's colon.
const GEMINI_METHODS: &[&str] = &[
    "generateContent",
    "streamGenerateContent",
    "embedContent",
    "batchEmbedContents",
    "countTokens",
];

/// First segments of vendors' account administration, whatever the version before them.
const ADMINISTRATION: &[&str] = &[
    "organization",
    "organizations",
    "projects",
    "dashboard",
    "api_keys",
    "admin",
    "billing",
    "usage",
    "credits",
    "auth",
    "keys",
];

/// Whether a path, decoded and below the vendor's root, may be reached through the channel, unless it is
/// [administration](is_administration).
pub fn may_reach(channel: &Channel, path: &str) -> bool {
    match (&channel.owner, &channel.proxy_paths) {
        (Some(_), None) => true,
        (_, Some(listed)) => listed.iter().any(|pattern| fits(pattern, path)),
        (None, None) => is_inference(channel.kind, path),
    }
}

/// Whether the path is one of the kind's that generate something and keep nothing.
pub fn is_inference(kind: Kind, path: &str) -> bool {
    let path = path.strip_suffix('/').unwrap_or(path);
    match kind {
        Kind::Openai | Kind::AzureOpenai | Kind::Custom => OPENAI.contains(&path),
        Kind::Anthropic => ANTHROPIC.contains(&path),
        Kind::Dashscope => DASHSCOPE.contains(&path),
        Kind::Gemini => {
            let model = path
                .strip_prefix("/v1beta/models/")
                .or_else(|| path.strip_prefix("/v1/models/"));
            let method = model
                .filter(|model| !model.contains('/'))
                .and_then(|model| model.rsplit_once(':'));
            method.is_some_and(|(_, method)| GEMINI_METHODS.contains(&method))
        }
    }
}

/// The model that a path names, for the kind whose requests carry it there: the vendor reads it from nowhere else.
pub fn model_in_path(kind: Kind, path: &str) -> Option<&str> {
    if kind != Kind::Gemini {
        return None;
    }
    let (_, named) = path.split_once("/models/")?;
    named.rsplit_once(':').map(|(model, _)| model)
}

/// A listed path fits itself, and with `/*` at its end everything below it.
fn fits(pattern: &str, path: &str) -> bool {
    match pattern.strip_suffix("/*") {
        Some(prefix) => path
            .strip_prefix(prefix)
            .is_some_and(|rest| rest.starts_with('/')),
        None => {
            path.strip_suffix('/').unwrap_or(path) == pattern.strip_suffix('/').unwrap_or(pattern)
        }
    }
}

/// Whether a path, in any form in which the vendor may read it, leads to the administration of the vendor's account.
pub fn is_administration(path: &str) -> bool {
    let is_version = |segment: &&str| {
        let digits = segment.strip_prefix(['v', 'V']).unwrap_or_default();
        digits.starts_with(|c: char| c.is_ascii_digit()) || segment.is_empty()
    };
    let first = path
        .split('/')
        // Some servers cut parameters off every segment.
        .map(|segment| segment.split(';').next().unwrap_or_default())
        .find(|segment| !is_version(segment))
        .unwrap_or_default();
    ADMINISTRATION
        .iter()
        .any(|word| word.eq_ignore_ascii_case(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn administration_is_recognised_in_any_spelling() {
        for path in [
            "/v1/organization/users",
            "/organization",
            "/v1/Organizations/x",
            "/dashboard/billing",
            "/v1//organization",
            "/v1;x=1/organization;y",
            "/v1beta/projects/1",
        ] {
            assert!(is_administration(path), "{path}");
        }
        for path in [
            "/v1/chat/completions",
            "/v1/files",
            "/v1/models/organization",
        ] {
            assert!(!is_administration(path), "{path}");
        }
    }

    #[test]
    fn a_listed_path_fits_itself_or_what_is_below() {
        assert!(fits("/v1/rerank", "/v1/rerank/") && !fits("/v1/rerank", "/v1/rerank/x"));
        assert!(
            fits("/v1/files/*", "/v1/files/1")
                && !fits("/v1/files/*", "/v1/files")
                && !fits("/v1/files/*", "/v1/filesystem")
        );
    }

    #[test]
    fn geminis_methods_stand_behind_the_model() {
        assert!(is_inference(
            Kind::Gemini,
            "/v1beta/models/gemini-pro:generateContent"
        ));
        assert!(!is_inference(
            Kind::Gemini,
            "/v1beta/models/x/y:generateContent"
        ));
        assert!(!is_inference(Kind::Gemini, "/v1beta/cachedContents/1"));
    }
}
