//! Which addresses a tenant's word may lead to.
//!
//! What a tenant gives as an address is never a way into the network that Weir stands in, nor to the machine's own services. The decision is
//! made on the address that is dialled, after the name was resolved, whatever way it was spelled (threats.md, S1).

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::LazyLock,
};

use ipnet::{Ipv4Net, Ipv6Net};

/// IPv4 that is not of the public network, by IANA's registry of special purposes, and addresses at which clouds serve the
/// machine's own secrets although they look public.
const NOT_PUBLIC_V4: &[&str] = &[
    "0.0.0.0/8",
    "10.0.0.0/8",
    // Shared by carriers; Alibaba's and Volcano's metadata.
    "100.64.0.0/10",
    "127.0.0.0/8",
    // Metadata of AWS, GCP, Azure, Oracle, Tencent.
    "169.254.0.0/16",
    "172.16.0.0/12",
    // Oracle's metadata is 192.0.0.192.
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    // Multicast, and what is reserved behind it.
    "224.0.0.0/3",
    // Azure's wire server.
    "168.63.129.16/32",
];

/// Of IPv6 all that is public lies here (RFC 4291, section 2.4, and IANA's allocations).
const PUBLIC_V6: &str = "2000::/3";

/// What of it is not.
const NOT_PUBLIC_V6: &[&str] = &[
    // Protocol assignments, Teredo (2001::/32) among them.
    "2001::/23",
    "2001:db8::/32",
    // 6to4: an IPv4 address is within.
    "2002::/16",
    "3fff::/20",
];

/// How an IPv4 address is written as IPv6, other than `::ffff:a.b.c.d`.
const NAT64: &str = "64:ff9b::/96";

struct Networks {
    not_public_v4: Vec<Ipv4Net>,
    public_v6: Vec<Ipv6Net>,
    not_public_v6: Vec<Ipv6Net>,
    nat64: Vec<Ipv6Net>,
}

static NETWORKS: LazyLock<Networks> = LazyLock::new(|| {
    fn all<N: std::str::FromStr>(texts: &[&str]) -> Vec<N> {
        let networks = texts.iter().map(|text| text.parse().ok());
        networks.flatten().collect()
    }
    Networks {
        not_public_v4: all(NOT_PUBLIC_V4),
        public_v6: all(&[PUBLIC_V6]),
        not_public_v6: all(NOT_PUBLIC_V6),
        nat64: all(&[NAT64]),
    }
});

/// Whether an address is one of the public network, to which anybody's word may lead.
pub fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let networks = &NETWORKS.not_public_v4;
    !networks.iter().any(|network| network.contains(&address))
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let within = |networks: &[Ipv6Net]| networks.iter().any(|network| network.contains(&address));
    if within(&NETWORKS.nat64) {
        let embedded = (address.to_bits() & u128::from(u32::MAX)) as u32;
        return is_public_v4(Ipv4Addr::from_bits(embedded));
    }
    within(&NETWORKS.public_v6) && !within(&NETWORKS.not_public_v6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_networks_are_read() {
        let networks = &*NETWORKS;
        assert_eq!(networks.not_public_v4.len(), NOT_PUBLIC_V4.len());
        assert_eq!(networks.not_public_v6.len(), NOT_PUBLIC_V6.len());
        assert_eq!((networks.public_v6.len(), networks.nat64.len()), (1, 1));
    }

    /// Threats: S1.
    #[test]
    fn only_the_public_network_is_reached() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.100.100.200",
            "100.96.0.96",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "169.254.170.2",
            "169.254.170.23",
            "169.254.0.23",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "224.0.0.1",
            "239.255.255.250",
            "240.0.0.1",
            "255.255.255.255",
            "168.63.129.16",
            "::",
            "::1",
            "fc00::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "::10.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2002:a00:1::1",
            "2001:0:4136:e378:8000:63bf:3fff:fdd2",
            "2001:db8::1",
            "100::1",
            "5f00::1",
        ] {
            let address: IpAddr = address.parse().expect(address);
            assert!(!is_public(address), "{address}");
        }
        for address in [
            "1.1.1.1",
            "104.18.7.192",
            "172.32.0.1",
            "172.15.255.255",
            "100.63.255.255",
            "100.128.0.1",
            "192.0.1.1",
            "168.63.129.17",
            "223.255.255.255",
            "2606:4700::6812:7c0",
            "2a00:1450:4001:82a::200a",
            "64:ff9b::101:101",
            "::ffff:8.8.8.8",
        ] {
            let address: IpAddr = address.parse().expect(address);
            assert!(is_public(address), "{address}");
        }
    }
}
