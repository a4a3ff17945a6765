//! Where a provider is, and how far its address is believed.

use crate::catalog::channel::Base;

use super::Error;

/// On whose word an address rests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// An operator's: wherever its issuer is.
    Operator,
    /// A tenant's: https on the public network, but for an origin that an operator vouches for.
    Tenant { allowed_origin: Option<String> },
}

/// A place that may be called.
#[derive(Debug, Clone, PartialEq)]
pub struct Endpoint {
    /// Scheme, host and port.
    pub base: Base,
    /// Path and query as they go on the wire.
    pub path: String,
    /// Whether it leads to the public network or nowhere.
    pub is_guarded: bool,
}

impl Endpoint {
    /// Reads a URL. What the issuer's own origin is not has to be https.
    pub fn parse(url: &str, issuer: &str, trust: &Trust) -> Result<Self, Error> {
        let refused = |what: &str| Error::Configuration(format!("has an address that {what}"));
        let (base, path) = split(url).map_err(|error| refused(&error))?;
        let issuer = split(issuer).map_err(|error| refused(&error))?.0.origin();
        let is_guarded = match trust {
            Trust::Operator => {
                if !base.tls && base.origin() != issuer {
                    return Err(refused("is not https"));
                }
                false
            }
            Trust::Tenant { allowed_origin } => {
                let is_allowed = allowed_origin.as_ref() == Some(&base.origin());
                if !is_allowed && (!base.tls || base.port != 443) {
                    return Err(refused("is not https on port 443"));
                }
                !is_allowed
            }
        };
        Ok(Self {
            base,
            path,
            is_guarded,
        })
    }
}

/// Origin and path: a final slash is a part of some providers' paths.
fn split(url: &str) -> Result<(Base, String), String> {
    let after = url.find("://").map_or(0, |at| at + 3);
    let at = url[after..].find(['/', '?', '#']);
    let (origin, path) = url.split_at(at.map_or(url.len(), |at| after + at));
    let is_plain = path.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_plain || path.contains(['#', '\\']) {
        return Err("has a character that is not allowed".to_owned());
    }
    let base = Base::parse(origin).map_err(|error| error.to_string())?;
    let path = match path.starts_with('/') {
        true => path.to_owned(),
        false => format!("/{path}"),
    };
    Ok((base, path))
}
