//! Which addresses are one source.

use std::net::{IpAddr, Ipv6Addr};

/// The address whose failures are counted together: an IPv4 address, the /64 network of an IPv6 address (one host has all
/// of it), or the text as it is.
pub fn canonical_source(address: &str) -> String {
    match address.trim().parse::<IpAddr>().map(|ip| ip.to_canonical()) {
        Ok(IpAddr::V4(ip)) => ip.to_string(),
        Ok(IpAddr::V6(ip)) => format!("{}/64", Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
        Err(_) => address.trim().to_lowercase(),
    }
}

/// The address itself, in one spelling.
pub fn exact_source(address: &str) -> String {
    match address.trim().parse::<IpAddr>() {
        Ok(ip) => ip.to_canonical().to_string(),
        Err(_) => address.trim().to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_source_are_one() {
        for (address, source) in [
            ("192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("2001:DB8:1:2::1", "2001:db8:1:2::/64"),
            (" Host.Example ", "host.example"),
        ] {
            assert_eq!(canonical_source(address), source);
        }
    }
}
