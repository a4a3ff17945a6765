//! Channels: ways upstream, with their origin and credentials.
//!
//! A credential belongs to its channel's origin (scheme, host and port). [`Base`] is parsed once, when a channel is
//! saved and again when it is loaded, by the same function: what was checked is what is dialled.

use std::{fmt, sync::Arc};

use weir_api_types::channel::{Auth, Kind, Retry, Settings, Timeouts};

use crate::{
    secrets::Secret,
    tenancy::{ChannelId, CredentialId, TenantId},
};

/// One way upstream.
#[derive(Debug, Clone, PartialEq)]
pub struct Channel {
    pub id: ChannelId,
    /// `None`: the platform's, which several tenants share. A tenant's channel is dedicated to it.
    pub owner: Option<TenantId>,
    /// Unique among its owner's channels; a path segment.
    pub name: String,
    pub kind: Kind,
    pub base: Base,
    pub auth: Auth,
    pub credentials: Vec<Credential>,
    pub timeouts: Timeouts,
    pub retry: Retry,
    /// Path prefixes that `/proxy/` may reach on a platform channel; `None` is the kind's inference paths.
    pub proxy_paths: Option<Vec<String>>,
    pub settings: Settings,
    /// Share among channels of the same priority where no route decides.
    pub weight: u32,
    /// Higher goes first where no route decides.
    pub priority: i32,
    pub enabled: bool,
    /// Of a tenant's channel: the origin that an operator vouches for, as [`Base::origin`] writes it.
    pub allowed_origin: Option<String>,
}

impl Channel {
    /// Whether its address is a tenant's word alone: then it leads to the public network, by https, and nowhere else.
    pub fn is_guarded(&self) -> bool {
        self.owner.is_some() && self.allowed_origin.as_ref() != Some(&self.base.origin())
    }
}

/// One secret of a channel's pool.
#[derive(Debug, Clone, PartialEq)]
pub struct Credential {
    pub id: CredentialId,
    pub name: Option<String>,
    pub enabled: bool,
    /// `None` where it could not be opened, or belongs to another origin: such a one is never used, and shown so.
    pub secret: Option<Secret>,
}

/// Where a channel's calls go: scheme, host, port and a path prefix, in normal form.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Base {
    pub tls: bool,
    /// Lower case; IPv6 addresses without brackets.
    pub host: Arc<str>,
    pub port: u16,
    /// Empty, or begins with a slash and does not end with one.
    pub path: Arc<str>,
}

/// Why a base URL is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BaseError {
    #[error("must begin with https:// or http://")]
    Scheme,
    #[error("must not carry a user name or password")]
    UserInfo,
    #[error("must name a host")]
    Host,
    #[error("has a port that is not a number from 1 to 65535")]
    Port,
    #[error("must not have a query or fragment")]
    QueryOrFragment,
    #[error("has a character that is not allowed in a URL, or a dot segment")]
    BadPath,
}

impl Base {
    /// Reads a base URL. One strict reader instead of two lenient ones: what is odd is refused.
    pub fn parse(text: &str) -> Result<Self, BaseError> {
        let (tls, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => return Err(BaseError::Scheme),
        };
        if rest.contains(['?', '#']) {
            return Err(BaseError::QueryOrFragment);
        }
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        if authority.contains('@') {
            return Err(BaseError::UserInfo);
        }
        let (host, port) = split_port(authority)?;
        let path = path.trim_end_matches('/');
        let plain =
            |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(&byte);
        if !path.bytes().all(plain)
            || path.split('/').any(|segment| matches!(segment, "." | ".."))
            || path.contains("//")
        {
            return Err(BaseError::BadPath);
        }
        let port = match port {
            Some(port) => port
                .parse()
                .ok()
                .filter(|port| *port != 0)
                .ok_or(BaseError::Port)?,
            None if tls => 443,
            None => 80,
        };
        Ok(Self {
            tls,
            host: host.to_ascii_lowercase().into(),
            port,
            path: path.into(),
        })
    }

    /// `scheme://host:port`, always with the port: what a credential belongs to.
    pub fn origin(&self) -> String {
        format!("{}://{}:{}", self.scheme(), self.bracketed(), self.port)
    }

    /// The value of the `Host` header: without the scheme's own port.
    pub fn host_header(&self) -> String {
        match (self.tls, self.port) {
            (true, 443) | (false, 80) => self.bracketed(),
            (_, port) => format!("{}:{port}", self.bracketed()),
        }
    }

    /// The path less a final `/v1`: the vendor's root, to which `/proxy/` appends.
    pub fn root_path(&self) -> &str {
        self.path.strip_suffix("/v1").unwrap_or(&self.path)
    }

    fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }

    fn bracketed(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.to_string()
        }
    }
}

/// The URL in normal form, without the scheme's own port.
impl fmt::Display for Base {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}://{}{}",
            self.scheme(),
            self.host_header(),
            self.path
        )
    }
}

fn split_port(authority: &str) -> Result<(&str, Option<&str>), BaseError> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or(BaseError::Host)?;
            host.parse::<std::net::Ipv6Addr>()
                .map_err(|_| BaseError::Host)?;
            match rest.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if rest.is_empty() => (host, None),
                None => return Err(BaseError::Host),
            }
        }
        None => {
            let (host, port) = authority
                .split_once(':')
                .map_or((authority, None), |(host, port)| (host, Some(port)));
            let plain =
                |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
            if host.is_empty() || host.len() > 253 || !host.bytes().all(plain) {
                return Err(BaseError::Host);
            }
            (host, port)
        }
    };
    match port {
        Some(port) if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) => {
            Err(BaseError::Port)
        }
        port => Ok((host, port)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is saved is what is dialled: there is one reader, and one form (threats.md, S3).
    ///
    /// Threats: S3.
    #[test]
    fn base_urls_have_one_normal_form() {
        for (text, normal, origin) in [
            (
                "https://api.openai.com/v1",
                "https://api.openai.com/v1",
                "https://api.openai.com:443",
            ),
            (
                "https://API.openai.com:443/v1/",
                "https://api.openai.com/v1",
                "https://api.openai.com:443",
            ),
            (
                "http://127.0.0.1:8000",
                "http://127.0.0.1:8000",
                "http://127.0.0.1:8000",
            ),
            ("http://[::1]:80/a", "http://[::1]/a", "http://[::1]:80"),
        ] {
            let base = Base::parse(text).expect(text);
            assert_eq!(
                (base.to_string().as_str(), base.origin().as_str()),
                (normal, origin)
            );
            assert_eq!(Base::parse(&base.to_string()).as_ref(), Ok(&base));
        }
        assert_eq!(
            Base::parse("https://a/compatible-mode/v1")
                .expect("a URL")
                .root_path(),
            "/compatible-mode"
        );
    }

    /// Threats: S3.
    #[test]
    fn odd_urls_are_refused() {
        for (text, error) in [
            ("ftp://a", BaseError::Scheme),
            ("HTTPS://a", BaseError::Scheme),
            ("https://", BaseError::Host),
            ("https://user@host/", BaseError::UserInfo),
            ("http://api.vendor.com@127.0.0.1/", BaseError::UserInfo),
            ("https://a\\b", BaseError::Host),
            ("https://a b", BaseError::Host),
            ("https://a\tb", BaseError::Host),
            ("https://%31%32%37", BaseError::Host),
            ("https://a:0", BaseError::Port),
            ("https://a:", BaseError::Port),
            ("https://a:+80", BaseError::Port),
            ("https://a:99999", BaseError::Port),
            ("https://a/v1?x=1", BaseError::QueryOrFragment),
            ("https://a/../b", BaseError::BadPath),
            ("https://a/%2e%2e", BaseError::BadPath),
            ("https://a//b", BaseError::BadPath),
            ("https://[::1", BaseError::Host),
            ("https://exämple.com", BaseError::Host),
            ("https://оpenai.com", BaseError::Host),
            ("https://a。b", BaseError::Host),
            ("https://a\n", BaseError::Host),
            ("https://a\r\nHost: b", BaseError::Host),
            (" https://a", BaseError::Scheme),
            ("https:a", BaseError::Scheme),
            ("https:///a", BaseError::Host),
            ("https://#@b", BaseError::QueryOrFragment),
            ("https://a?@b", BaseError::QueryOrFragment),
            ("unix:/run/x", BaseError::Scheme),
        ] {
            assert_eq!(Base::parse(text), Err(error), "{text}");
        }
    }
}
