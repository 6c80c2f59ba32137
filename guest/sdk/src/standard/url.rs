//! Checks the address of an external workspace (org-template.md §9). It resolves no host name; the host checks the
//! address again when it connects.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Checks an address: `http` or `https`, a host, no user or password, and not a cloud's metadata service, which holds
/// the credentials of a machine.
///
/// # Errors
/// When the address breaks one of these rules: the end of a sentence.
pub(crate) fn check(url: &str) -> Result<(), &'static str> {
    let scheme = |name: &str| {
        let (scheme, rest) = url.split_once("://")?;
        scheme.eq_ignore_ascii_case(name).then_some(rest)
    };
    let rest = scheme("https")
        .or_else(|| scheme("http"))
        .ok_or("does not begin with http:// or https://")?;
    if url.contains(|c: char| c.is_whitespace() || c.is_control() || c == '\\') {
        return Err("has a blank, a backslash or a control character");
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err("has a user or a password in it");
    }
    if let Some(bracketed) = authority.strip_prefix('[') {
        let (address, port) = bracketed.split_once(']').ok_or("has a `[` without a `]`")?;
        check_port(port)?;
        let address: Ipv6Addr = address.parse().map_err(|_| "has an invalid IPv6 address")?;
        return if is_metadata_v6(address) {
            Err(METADATA)
        } else {
            Ok(())
        };
    }
    let (host, port) = authority
        .find(':')
        .and_then(|at| authority.split_at_checked(at))
        .unwrap_or((authority, ""));
    check_port(port)?;
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    if host.is_empty() {
        return Err("has no host");
    }
    // Many clients read other spellings, such as `0xa9fea9fe` and `169.254.43518`, as addresses too.
    let last = host.rsplit('.').next().unwrap_or_default();
    if last.starts_with("0x") || last.bytes().all(|byte| byte.is_ascii_digit()) {
        let address: Ipv4Addr = host
            .parse()
            .map_err(|_| "has an address that is not four decimal numbers")?;
        return if is_metadata_v4(address) {
            Err(METADATA)
        } else {
            Ok(())
        };
    }
    let named =
        ["metadata", "instance-data"].contains(&host.as_str()) || host.starts_with("metadata.");
    if named || host == "instance-data.ec2.internal" {
        Err(METADATA)
    } else {
        Ok(())
    }
}

const METADATA: &str = "points to a link-local address or a cloud's metadata service";

fn check_port(port: &str) -> Result<(), &'static str> {
    let number = port.strip_prefix(':').unwrap_or(port);
    let valid = number.is_empty() && port.len() <= 1
        || port.starts_with(':')
            && number.bytes().all(|b| b.is_ascii_digit())
            && number.parse::<u16>().is_ok();
    if valid {
        Ok(())
    } else {
        Err("has an invalid port")
    }
}

fn is_metadata_v4(address: Ipv4Addr) -> bool {
    // Alibaba's metadata service is not in the link-local block.
    address.is_link_local() || address.octets() == [100, 100, 100, 200]
}

fn is_metadata_v6(address: Ipv6Addr) -> bool {
    let ec2 = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    let embedded = address.to_ipv4().is_some_and(is_metadata_v4);
    address.is_unicast_link_local() || address == ec2 || embedded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_http_and_not_a_metadata_service() {
        for url in [
            "https://agents.example.com/a2a?x=1#y",
            "HTTP://localhost:8080",
            "http://10.0.0.1/",
            "http://[::1]:80/",
            "https://example.com.",
            "https://example.com/@user",
        ] {
            assert_eq!(check(url), Ok(()), "{url}");
        }
        for (url, part) in [
            ("ftp://example.com", "http"),
            ("example.com", "http"),
            ("https:///x", "no host"),
            ("https://:80", "no host"),
            ("https://u:p@example.com", "password"),
            ("https://example.com:99999", "port"),
            ("https://example.com:x", "port"),
            ("https://exa mple.com", "blank"),
            ("https://example.com\\@169.254.169.254", "backslash"),
            ("http://169.254.169.254/latest/meta-data", "metadata"),
            ("http://169.254.169.254./", "metadata"),
            ("http://2852039166/", "four decimal"),
            ("http://0xa9fea9fe/", "four decimal"),
            ("http://169.254.43518/", "four decimal"),
            ("http://0251.0376.0251.0376/", "four decimal"),
            ("http://[fe80::1]/", "metadata"),
            ("http://[::ffff:169.254.169.254]/", "metadata"),
            ("http://[fd00:ec2::254]/", "metadata"),
            ("http://[::1/", "`]`"),
            ("http://metadata.google.internal/", "metadata"),
            ("http://Metadata/", "metadata"),
            ("http://100.100.100.200/", "metadata"),
        ] {
            let error = check(url).expect_err(url);
            assert!(error.contains(part), "{url}: {error}");
        }
    }
}
