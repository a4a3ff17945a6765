//! The names that management answers to.
//!
//! A page that a browser shows may point its own name at this machine and then speak to `127.0.0.1:8080` as if it were
//! its own server (DNS rebinding; threats.md, H5). Its name is in `Host`, so a foreign name is turned away.

/// Names besides the machine's own loopback ones.
#[derive(Debug, Clone, Default)]
pub struct Hosts(Vec<String>);

impl Hosts {
    /// From URLs such as the public one, or plain names; ports do not count.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let names = names.into_iter().map(|name| {
            let name = name.split_once("://").map_or(name, |(_, rest)| rest);
            let name = name.split('/').next().unwrap_or_default();
            without_port(name).to_ascii_lowercase()
        });
        Self(names.filter(|name| !name.is_empty()).collect())
    }

    /// Whether a `Host` header's value is one of ours.
    pub fn has(&self, host: &str) -> bool {
        let name = without_port(host).to_ascii_lowercase();
        let name = name.strip_suffix('.').unwrap_or(&name);
        let address = name.trim_start_matches('[').trim_end_matches(']');
        let is_loopback = name == "localhost"
            || address
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.to_canonical().is_loopback());
        is_loopback || self.0.iter().any(|known| known == name)
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            // An IPv6 address has colons of its own and stands in brackets when a port follows.
            if name.contains(':') && !name.ends_with(']') {
                host
            } else {
                name
            }
        }
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_own_names_and_loopback_are_answered_to() {
        let hosts = Hosts::new(["https://weir.example:8443/portal", "weir"]);
        for host in [
            "localhost:8080",
            "127.0.0.1",
            "[::1]:8080",
            "LOCALHOST",
            "weir.example",
            "Weir.Example:443",
            "weir:8080",
        ] {
            assert!(hosts.has(host), "{host}");
        }
        for host in [
            "evil.example",
            "weir.example.evil.example",
            "evil-weir.example",
            "127.0.0.1.nip.example",
            "localhost.evil.example:8080",
            "10.0.0.1",
            "",
            "user@weir.example",
        ] {
            assert!(!hosts.has(host), "{host}");
        }
    }
}
