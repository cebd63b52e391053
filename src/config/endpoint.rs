//! Addresses: as much of a URL as the rules need, and whose neighbourhood it is in.

use core::net::IpAddr;

/// Scheme, host and port of an `http` or `https` address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Whether it is `https`.
    pub encrypted: bool,
    /// Whether it carries a user name or password.
    pub has_user: bool,
    /// The host, an IPv6 address without its brackets.
    pub host: String,
    /// The port, if one is written.
    pub port: Option<u16>,
}

/// Why an address was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Another scheme, or none.
    #[error("it does not begin with `http://` or `https://`")]
    Scheme,
    /// Nothing between the scheme and the path.
    #[error("it has no host")]
    Host,
    /// A port that is no number from 1 to 65535.
    #[error("its port is not a number from 1 to 65535")]
    Port,
    /// `?` or `#`.
    #[error("it has a query or a fragment; parameters have a field of their own")]
    Query,
}

/// Whose neighbourhood an address is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// This machine.
    Loopback,
    /// The link: the cloud's metadata service is there.
    LinkLocal,
    /// Anywhere else, or a name.
    Elsewhere,
}

impl Endpoint {
    /// Reads an address.
    ///
    /// # Errors
    ///
    /// [`EndpointError`] with the part that is wrong.
    pub fn parse(url: &str) -> Result<Self, EndpointError> {
        let (encrypted, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return Err(EndpointError::Scheme),
        };
        if rest.contains(['?', '#']) {
            return Err(EndpointError::Query);
        }
        let authority = rest.split('/').next().unwrap_or_default();
        let (user, place) = authority
            .rsplit_once('@')
            .map_or((None, authority), |(user, place)| (Some(user), place));
        let (host, port) = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, rest)) => (host, rest.strip_prefix(':')),
            None => place
                .split_once(':')
                .map_or((place, None), |(host, port)| (host, Some(port))),
        };
        if host.is_empty() || host.contains(char::is_whitespace) {
            return Err(EndpointError::Host);
        }
        let port = port
            .map(str::parse)
            .transpose()
            .map_err(|_| EndpointError::Port)?;
        if port == Some(0) {
            return Err(EndpointError::Port);
        }
        Ok(Self {
            encrypted,
            has_user: user.is_some(),
            host: host.to_owned(),
            port,
        })
    }

    /// Whose neighbourhood the host is in.
    #[must_use]
    pub fn reach(&self) -> Reach {
        if self.host.eq_ignore_ascii_case("localhost") {
            return Reach::Loopback;
        }
        match self.host.parse::<IpAddr>() {
            Ok(address) if address.is_loopback() => Reach::Loopback,
            Ok(IpAddr::V4(v4)) if v4.is_link_local() => Reach::LinkLocal,
            Ok(IpAddr::V6(v6)) if v6.is_unicast_link_local() => Reach::LinkLocal,
            Ok(IpAddr::V6(v6)) if v6.to_ipv4_mapped().is_some_and(|v4| v4.is_link_local()) => {
                Reach::LinkLocal
            }
            _ => Reach::Elsewhere,
        }
    }
}
