//! What single values must look like, whatever thing they belong to.

use std::time::Duration;

use ipnet::IpNet;
use jiff::{Timestamp, tz::TimeZone};
use weir_api_types::{
    channel::{Auth, Retry, Timeouts},
    resources::Rates as GivenRates,
};

use crate::{access::Permission, billing::Rates, tenancy::name};

/// Where the secret goes in an auth template.
const PLACEHOLDER: &str = "{secret}";

/// Headers that frame or route a message: a credential in one of them would break it.
const REFUSED_HEADERS: &[&str] = &[
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

const MAX_WAIT: Duration = Duration::from_secs(24 * 60 * 60);
const MAX_ATTEMPTS: u8 = 10;
const MAX_CREDENTIAL_BYTES: usize = 8 * 1024;

/// Why a value is refused.
pub type Refusal = String;

/// The path of a field; of the thing itself where the field has no name.
pub fn field_of(path: &str, field: &str) -> String {
    if field.is_empty() {
        path.to_owned()
    } else {
        format!("{path}.{field}")
    }
}

/// A permission that can hold in a tenant.
pub fn tenant_permission(word: &str) -> Result<Permission, Refusal> {
    match word.parse::<Permission>() {
        Ok(permission) if permission.is_for_tenants() => Ok(permission),
        Ok(_) => Err("holds on the platform alone".to_owned()),
        Err(unknown) => Err(unknown.to_string()),
    }
}

/// A pattern of names.
pub fn pattern(text: &str) -> Result<String, name::Error> {
    name::normal(text)
}

/// An e-mail address in its stored form: lower case.
pub fn email(text: &str) -> Result<String, Refusal> {
    let email = text.trim().to_lowercase();
    let (local, domain) = email.split_once('@').unwrap_or_default();
    let plain = email.bytes().all(|byte| byte.is_ascii_graphic());
    if local.is_empty() || domain.is_empty() || domain.contains('@') || !plain || email.len() > 254
    {
        return Err("is not an e-mail address".to_owned());
    }
    Ok(email)
}

/// A line about a person: anything but control and invisible characters.
pub fn line(text: &str) -> Result<String, name::Error> {
    if text.trim().is_empty() {
        return Ok(String::new());
    }
    name::normal(text)
}

/// The name of a time zone as the database of zones writes it.
pub fn time_zone(text: &str) -> Result<String, Refusal> {
    let unknown = || "is not the name of a time zone such as Asia/Shanghai".to_owned();
    let zone = TimeZone::get(text).map_err(|_| unknown())?;
    zone.iana_name().map(str::to_owned).ok_or_else(unknown)
}

/// A moment in RFC 3339, as Unix milliseconds.
pub fn instant(text: &str) -> Result<i64, Refusal> {
    let moment: Timestamp = text
        .parse()
        .map_err(|_| "is not a moment such as 2027-12-31T00:00:00Z".to_owned())?;
    match moment.as_millisecond() {
        before if before < 0 => Err("must not be before 1970".to_owned()),
        ms => Ok(ms),
    }
}

/// A network, or a single address.
pub fn network(text: &str) -> Result<IpNet, Refusal> {
    let network = text
        .parse::<IpNet>()
        .or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from));
    network
        .map(|network| network.trunc())
        .map_err(|_| "is not a network such as 10.0.0.0/8".to_owned())
}

/// A SHA-256 in hexadecimal.
pub fn sha256(text: &str) -> Result<[u8; 32], Refusal> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut digest = [0; 32];
    let bytes = text.as_bytes();
    let valid = bytes.len() == 64
        && digest
            .iter_mut()
            .zip(bytes.chunks_exact(2))
            .all(|(byte, pair)| match (digit(pair[0]), digit(pair[1])) {
                (Some(high), Some(low)) => {
                    *byte = (high * 16 + low) as u8;
                    true
                }
                _ => false,
            });
    if valid {
        Ok(digest)
    } else {
        Err("is not a SHA-256 in 64 hexadecimal digits".to_owned())
    }
}

/// A count of tokens.
pub fn tokens(count: u64) -> Result<u64, Refusal> {
    match count {
        1..=1_000_000_000 => Ok(count),
        _ => Err("must be from 1 to 1000000000".to_owned()),
    }
}

/// A share among equals.
pub fn weight(weight: u32) -> Result<u32, Refusal> {
    match weight {
        0..=1_000_000 => Ok(weight),
        _ => Err("must be from 0 to 1000000".to_owned()),
    }
}

/// A rate of requests on a route.
pub fn max_rps(rps: u32) -> Result<u32, Refusal> {
    match rps {
        1..=1_000_000 => Ok(rps),
        _ => Err("must be from 1 to 1000000".to_owned()),
    }
}

/// The name that a vendor gives a model.
pub fn upstream_model(text: &str) -> Result<String, Refusal> {
    if text.is_empty() || text.len() > 256 || name::misleads(text) {
        return Err("must have 1 to 256 bytes and no control or invisible characters".to_owned());
    }
    Ok(text.to_owned())
}

/// A prefix of paths under `/proxy/`.
pub fn proxy_path(text: &str) -> Result<String, Refusal> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(&byte);
    let dots = text.split('/').any(|segment| matches!(segment, "." | ".."));
    if !text.starts_with('/')
        || !text.bytes().all(plain)
        || dots
        || text.contains("//")
        || text.len() > 256
    {
        return Err("is not a plain path that begins with a slash".to_owned());
    }
    Ok(text.to_owned())
}

/// A credential: it travels in a header or a query.
pub fn credential(text: &str) -> Result<(), Refusal> {
    match text {
        "" => Err("must not be empty".to_owned()),
        text if text.len() > MAX_CREDENTIAL_BYTES => {
            Err(format!("is longer than {MAX_CREDENTIAL_BYTES} bytes"))
        }
        text if !text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() || byte == b' ') =>
        {
            Err("must be visible ASCII".to_owned())
        }
        text if text.trim() != text => Err("must not begin or end with a space".to_owned()),
        _ => Ok(()),
    }
}

/// How a credential is sent. Errors come with the field they are about.
pub fn auth(auth: &Auth) -> Result<(), (&'static str, Refusal)> {
    match (&auth.header, &auth.value, &auth.query) {
        (Some(header), Some(value), None) => {
            header_name(header).map_err(|refusal| ("header", refusal))?;
            template(value).map_err(|refusal| ("value", refusal))
        }
        (None, None, Some(query)) => {
            let plain =
                |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
            if query.name.is_empty() || !query.name.bytes().all(plain) {
                return Err((
                    "query.name",
                    "must be letters, digits, -, _ and .".to_owned(),
                ));
            }
            template(&query.value).map_err(|refusal| ("query.value", refusal))
        }
        _ => Err(("", "needs either header and value, or query".to_owned())),
    }
}

fn header_name(text: &str) -> Result<(), Refusal> {
    let name = http::HeaderName::from_bytes(text.as_bytes())
        .map_err(|_| "is not the name of a header".to_owned())?;
    if REFUSED_HEADERS.contains(&name.as_str()) {
        return Err("belongs to the message itself and cannot carry a credential".to_owned());
    }
    Ok(())
}

fn template(text: &str) -> Result<(), Refusal> {
    if text.matches(PLACEHOLDER).count() != 1 {
        return Err(format!("must have {PLACEHOLDER} exactly once"));
    }
    if !text
        .bytes()
        .all(|byte| byte.is_ascii_graphic() || byte == b' ')
    {
        return Err("must be visible ASCII".to_owned());
    }
    Ok(())
}

/// How long a channel waits. Errors come with the field they are about.
pub fn timeouts(timeouts: &Timeouts) -> Result<(), (&'static str, Refusal)> {
    let all = [
        ("connect", timeouts.connect),
        ("first_byte", timeouts.first_byte),
        ("idle", timeouts.idle),
        ("total", timeouts.total),
    ];
    match all
        .iter()
        .find(|(_, span)| span.0.is_zero() || span.0 > MAX_WAIT)
    {
        Some((field, _)) => Err((field, "must be more than nothing and at most 1d".to_owned())),
        None => Ok(()),
    }
}

/// How often a channel tries.
pub fn retry(retry: &Retry) -> Result<(), Refusal> {
    match retry.attempts {
        1..=MAX_ATTEMPTS => Ok(()),
        _ => Err(format!("attempts must be from 1 to {MAX_ATTEMPTS}")),
    }
}

/// Rates as the books count with them.
pub fn rates(given: &GivenRates) -> Result<Rates, Refusal> {
    let object = given
        .iter()
        .map(|(unit, price)| (unit.clone(), price.clone().into()))
        .collect();
    serde_json::from_value(serde_json::Value::Object(object)).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_moments_have_one_form() {
        assert_eq!(
            email(" Zhang@Acme.example ").as_deref(),
            Ok("zhang@acme.example")
        );
        for text in [
            "zhang",
            "@acme",
            "zhang@",
            "a@b@c",
            "a b@c",
            "оps@acme.example",
        ] {
            assert!(email(text).is_err(), "{text}");
        }
        assert_eq!(
            network("10.1.2.3/8").map(|n| n.to_string()).as_deref(),
            Ok("10.0.0.0/8")
        );
        assert_eq!(
            network("10.1.2.3").map(|n| n.to_string()).as_deref(),
            Ok("10.1.2.3/32")
        );
        assert!(network("10.0.0.0/33").is_err());
        assert_eq!(instant("1970-01-01T01:00:00.5+01:00"), Ok(500));
        assert!(instant("2027-12-31").is_err() && instant("1969-01-01T00:00:00Z").is_err());
        assert_eq!(time_zone("asia/shanghai").as_deref(), Ok("Asia/Shanghai"));
        assert!(time_zone("Asia/Nowhere").is_err() && time_zone("+08:00").is_err());
    }

    #[test]
    fn auth_has_its_secret_exactly_once_and_in_a_place_that_carries_it() {
        let header = |header: &str, value: &str| Auth {
            header: Some(header.to_owned()),
            value: Some(value.to_owned()),
            query: None,
        };
        assert_eq!(auth(&header("x-api-key", "{secret}")), Ok(()));
        for bad in [
            header("host", "{secret}"),
            header("Transfer-Encoding", "{secret}"),
            header("x y", "{secret}"),
            header("x-api-key", "none"),
            header("x-api-key", "{secret} {secret}"),
            header("x-api-key", "{secret}\r\nx: y"),
            Auth::default(),
        ] {
            assert!(auth(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn rates_are_exact_decimals_of_known_units() {
        let given = |unit: &str, price: &str| {
            rates(&[(unit.to_owned(), price.to_owned())].into()).map(drop)
        };
        assert_eq!(given("input", "0.15"), Ok(()));
        for (unit, price) in [
            ("input", "-1"),
            ("input", "1e308"),
            ("input", "NaN"),
            ("input", "0x10"),
            ("input", "9007199254740993"),
            ("inputs", "1"),
        ] {
            assert!(given(unit, price).is_err(), "{unit} {price}");
        }
    }
}
