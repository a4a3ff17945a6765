//! Whose address a request comes from.
//!
//! `X-Forwarded-For` is believed only hop by hop: as long as the hop that spoke is a configured proxy, the next hop to
//! the left is taken, and the first that is no proxy is the caller. Everything left of it is the caller's own claim
//! (threats.md, H2).

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

/// The caller's address, given the TCP peer, the configured proxies and the values of `X-Forwarded-For` in the order
/// of the lines. A hop that is not an address ends the walk: the proxy that wrote it is taken for the caller.
pub fn caller<'a>(
    peer: IpAddr,
    proxies: &[IpNet],
    forwarded_for: impl DoubleEndedIterator<Item = &'a str>,
) -> IpAddr {
    let mut caller = peer.to_canonical();
    for hop in forwarded_for.rev().flat_map(|line| line.rsplit(',')) {
        if !contains(proxies, caller) {
            break;
        }
        match parse(hop.trim()) {
            Some(address) => caller = address,
            None => break,
        }
    }
    caller
}

/// Whether one of the networks has the address; an IPv4 address inside IPv6 counts as the IPv4 address.
pub fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}

/// An IPv4 address, or the 64 bits of an IPv6 one that its owner cannot choose.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
        }
    }
}

fn parse(hop: &str) -> Option<IpAddr> {
    let bracketed = hop
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(hop);
    let address = bracketed
        .parse::<IpAddr>()
        .ok()
        .or_else(|| hop.parse::<SocketAddr>().ok().map(|socket| socket.ip()))?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(peer: &str, lines: &[&str]) -> String {
        let proxies = [
            "10.0.0.0/8".parse().expect("a network"),
            "::1/128".parse().expect("a network"),
        ];
        caller(
            peer.parse().expect("an address"),
            &proxies,
            lines.iter().copied(),
        )
        .to_string()
    }

    #[test]
    fn only_configured_proxies_are_believed() {
        assert_eq!(of("203.0.113.9", &["10.1.1.1"]), "203.0.113.9");
        assert_eq!(of("10.0.0.1", &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(of("10.0.0.1", &["1.2.3.4, 198.51.100.7"]), "198.51.100.7");
        assert_eq!(
            of("10.0.0.1", &["1.2.3.4", "198.51.100.7, 10.0.0.2"]),
            "198.51.100.7"
        );
        assert_eq!(of("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn odd_hops_end_the_walk() {
        assert_eq!(of("10.0.0.1", &["127.0.0.1, unknown"]), "10.0.0.1");
        assert_eq!(of("10.0.0.1", &["[2001:db8::1]:443"]), "2001:db8::1");
        assert_eq!(of("::ffff:10.0.0.1", &["192.0.2.4:1234"]), "192.0.2.4");
    }
}
