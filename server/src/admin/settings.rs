//! Settings that operators change while Weir runs.

use actix_web::{HttpResponse, http::StatusCode, web};
use weir_api_types::settings::{RuntimeSettings, SettingsPatch};

use super::{
    State, audit,
    body::Order,
    error::ApiError,
    thing::{IfMatch, under_tag},
};
use crate::{
    access::{Author, Caller},
    catalog::Kind,
    clock::now_ms,
    store::{self, Change, settings},
    telemetry::check_filter,
    tenancy::name,
};

/// Most origins that may call.
const MAX_ORIGINS: usize = 100;
/// A spool that was booked and outlived its process by so long would be booked again.
const MIN_DAYS: u32 = 30;
/// A hundred years.
const MAX_DAYS: u32 = 36_500;

/// `GET /v1/admin/settings`
pub async fn show(_: Caller, state: web::Data<State>) -> Result<HttpResponse, ApiError> {
    let settings = settings::get(&state.stores.config.read).await?;
    under_tag(StatusCode::OK, &settings, &settings)
}

/// `PATCH /v1/admin/settings`: in force on every instance as soon as it has this version of the configuration.
pub async fn change(
    _: Caller,
    author: Author,
    if_match: IfMatch,
    order: Order<SettingsPatch>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let mut change = Change::begin(&state.stores).await?;
    let before = settings::get(change.transaction()).await?;
    if_match.check(&before)?;
    // One that is there no longer keeps nobody from another setting.
    let chosen = order.0.default_channel.clone().flatten();
    let after = patched(&before, order.0)?;
    if let (Some(_), Some(channel)) = (chosen, &after.default_channel) {
        let known = store::channels::of_platform(change.transaction(), channel).await?;
        if !known {
            let message = "there is no platform channel of this name";
            return Err(ApiError::field("default_channel", message));
        }
    }
    let done = audit::differs("settings", None, "", Some(&before), Some(&after))?;
    if !done.is_empty() {
        settings::put(change.transaction(), &after, now_ms()).await?;
        store::audit::append(change.transaction(), &state.sealer, &author, &done).await?;
        change.changed(Kind::Settings, settings::ID);
    }
    state.catch_up(change.commit().await?).await;
    under_tag(StatusCode::OK, &after, &after)
}

fn patched(before: &RuntimeSettings, patch: SettingsPatch) -> Result<RuntimeSettings, ApiError> {
    let mut after = before.clone();
    after.mode = patch.mode.unwrap_or(after.mode);
    after.strategy = patch.strategy.unwrap_or(after.strategy);
    if let Some(log) = patch.log {
        if let Some(filter) = &log {
            check_filter(filter).map_err(|reason| ApiError::field("log", reason))?;
        }
        after.log = log;
    }
    if let Some(share) = patch.trace_sample {
        if share.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
            return Err(ApiError::field("trace_sample", "is from 0 to 1"));
        }
        after.trace_sample = share;
    }
    if let Some(origins) = patch.cors_origins {
        if origins.len() > MAX_ORIGINS {
            let message = format!("are at most {MAX_ORIGINS}");
            return Err(ApiError::field("cors_origins", message));
        }
        let origins = origins.iter().enumerate().map(|(at, text)| {
            let refused = |reason| ApiError::field(&format!("cors_origins[{at}]"), reason);
            origin(text).ok_or_else(|| refused("is no origin such as https://tools.example"))
        });
        after.cors_origins = origins.collect::<Result<_, _>>()?;
    }
    if let Some(channel) = patch.default_channel {
        let channel = channel.map(|channel| name::channel(&channel)).transpose();
        after.default_channel =
            channel.map_err(|error| ApiError::field("default_channel", error))?;
    }
    if let Some(days) = patch.request_days {
        if days.is_some_and(|days| !(MIN_DAYS..=MAX_DAYS).contains(&days)) {
            let message = format!("is from {MIN_DAYS} to {MAX_DAYS}");
            return Err(ApiError::field("request_days", message));
        }
        after.request_days = days;
    }
    Ok(after)
}

/// An origin as browsers write it: scheme, host and, where it is not the scheme's own, port; in lower case, with nothing behind.
fn origin(text: &str) -> Option<String> {
    let text = text.to_ascii_lowercase();
    let uri: actix_web::http::Uri = text.parse().ok()?;
    let is_web = matches!(uri.scheme_str(), Some("https" | "http"));
    let authority = uri.authority()?;
    let is_plain = !authority.as_str().contains('@') && !authority.host().contains('*');
    let bare = format!("{}://{authority}", uri.scheme_str()?);
    (is_web && is_plain && text == bare).then_some(bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_written_as_browsers_write_them() {
        for good in [
            "https://tools.example",
            "http://localhost:3000",
            "https://[::1]:8443",
        ] {
            assert_eq!(origin(good).as_deref(), Some(good));
        }
        assert_eq!(
            origin("https://Tools.Example").as_deref(),
            Some("https://tools.example")
        );
        for bad in [
            "null",
            "*",
            "https://*.example",
            "https://tools.example/",
            "https://tools.example/path",
            "https://user@tools.example",
            "ftp://tools.example",
            "tools.example",
            "",
        ] {
            assert_eq!(origin(bad), None, "{bad}");
        }
    }
}
