//! Which addresses may be dialled.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// The wire server of Azure's machines, which hands out their configuration and certificates.
const AZURE_WIRE_SERVER: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);

/// The metadata service of Amazon's machines over IPv6. That over IPv4 is link-local.
const AWS_METADATA: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

/// Addresses that an administrator allowed although they would be refused.
#[derive(Debug, Clone, Default)]
pub struct Allowed(Arc<[IpAddr]>);

impl Allowed {
    /// These addresses and all harmless ones.
    #[must_use]
    pub fn new(addresses: &[IpAddr]) -> Self {
        Self(addresses.iter().map(IpAddr::to_canonical).collect())
    }

    /// Whether an address may be dialled.
    ///
    /// # Errors
    /// Why it may not, and what to do.
    pub fn check(&self, address: IpAddr) -> Result<(), String> {
        let address = address.to_canonical();
        if self.0.contains(&address) {
            return Ok(());
        }
        if let Some(inner) = embedded(address) {
            return self
                .check(IpAddr::V4(inner))
                .map_err(|message| format!("{address} leads to {message}"));
        }
        let what = match address {
            IpAddr::V4(v4) if v4 == AZURE_WIRE_SERVER => "the cloud's wire server",
            IpAddr::V6(v6) if v6 == AWS_METADATA => "a metadata service",
            IpAddr::V4(v4) if v4.is_link_local() => "link-local, where metadata services are",
            IpAddr::V6(v6) if v6.is_unicast_link_local() => "link-local, where metadata services are",
            _ if address.is_unspecified() => "no address of anybody",
            _ if address.is_multicast() => "a multicast address",
            IpAddr::V4(v4) if v4.is_broadcast() => "the broadcast address",
            _ => return Ok(()),
        };
        Err(format!(
            "{address} is {what}; if this source is really there, list it under `allowedAddresses`"
        ))
    }
}

/// The address of version 4 that one of version 6 stands for: by a translator (NAT64, RFC 6052), by 6to4 (RFC 3056), or as
/// the "compatible" ones of old (RFC 4291), which some systems still dial.
fn embedded(address: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(address) = address else {
        return None;
    };
    let of = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x64, 0xff9b, 1, _, _, _, high, low]
        | [0x2002, high, low, ..] => Some(of(high, low)),
        // `::` and `::1` are addresses of their own.
        [0, 0, 0, 0, 0, 0, high, low] if high > 0 => Some(of(high, low)),
        _ => None,
    }
}

/// Looks names up as the system does, and drops what may not be dialled. It is asked for every new connection, so a name
/// that resolves differently the second time gains nothing.
impl Resolve for Allowed {
    fn resolve(&self, name: Name) -> Resolving {
        let allowed = self.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let mut refused = None;
            let mut kept: Vec<SocketAddr> = Vec::new();
            for address in found {
                match allowed.check(address.ip()) {
                    Ok(()) => kept.push(address),
                    Err(message) => refused = Some(message),
                }
            }
            match refused {
                Some(message) if kept.is_empty() => Err(Refused(message).into()),
                _ => Ok(Box::new(kept.into_iter()) as Addrs),
            }
        })
    }
}

/// A name that resolves to nothing that may be dialled.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refused(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_services_are_refused_in_every_spelling() {
        let none = Allowed::default();
        for (address, words) in [
            ("169.254.169.254", "link-local"),
            ("169.254.0.1", "link-local"),
            ("::ffff:169.254.169.254", "link-local"),
            ("fe80::1", "link-local"),
            ("64:ff9b::169.254.169.254", "link-local"),
            ("64:ff9b:1::a9fe:a9fe", "link-local"),
            ("2002:a9fe:a9fe::1", "link-local"),
            ("::169.254.169.254", "link-local"),
            ("64:ff9b::168.63.129.16", "wire server"),
            ("168.63.129.16", "wire server"),
            ("::ffff:168.63.129.16", "wire server"),
            ("fd00:ec2::254", "metadata"),
            ("0.0.0.0", "no address"),
            ("::", "no address"),
            ("224.0.0.1", "multicast"),
            ("ff02::1", "multicast"),
            ("255.255.255.255", "broadcast"),
        ] {
            let message = none.check(address.parse().unwrap()).unwrap_err();
            assert!(
                message.contains(words) && message.contains("allowedAddresses"),
                "{message}"
            );
        }
        for address in [
            "127.0.0.1",
            "::1",
            "10.224.0.4",
            "192.168.1.1",
            "20.42.0.1",
            "fd00::1",
            "64:ff9b::20.42.0.1",
        ] {
            assert_eq!(none.check(address.parse().unwrap()), Ok(()), "{address}");
        }
    }

    #[test]
    fn what_is_allowed_is_that_address_and_no_other() {
        let one = Allowed::new(&["::ffff:169.254.169.254".parse().unwrap()]);
        assert_eq!(one.check("169.254.169.254".parse().unwrap()), Ok(()));
        assert!(one.check("169.254.169.253".parse().unwrap()).is_err());
    }
}
