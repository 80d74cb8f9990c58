"""Which IP addresses are public: that of a host on the internet, and nothing that a server's own network answers to."""

import ipaddress

# https://www.iana.org/assignments/iana-ipv4-special-registry, multicast, the reserved rest, and the one address of the
# public range that a cloud (Azure) uses for its hosts' own services.
_NOT_PUBLIC_4 = tuple(
    map(
        ipaddress.IPv4Network,
        (
            *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
            *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15"),
            *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "168.63.129.16/32"),
        ),
    )
)
_GLOBAL_6 = ipaddress.IPv6Network("2000::/3")
# Of the global range: special purposes (Teredo, benchmarks, ORCHID), documentation, and 6to4, which carries an IPv4
# address to a relay that may be anywhere.
_NOT_PUBLIC_6 = tuple(map(ipaddress.IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")))
# How a network without IPv4 names hosts that have nothing else.
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def is_public(address: str) -> bool:
    """Whether an address, as a resolver gives it, is that of a host on the internet.

    Anything that is not exactly an IPv4 or IPv6 address is not, one with a zone (`fe80::1%eth0`) neither.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.scope_id is not None:
            return False
        embedded = parsed.ipv4_mapped
        if embedded is None and parsed in _NAT64:
            embedded = ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)
        if embedded is None:
            return parsed in _GLOBAL_6 and not any(parsed in network for network in _NOT_PUBLIC_6)
        parsed = embedded
    return not any(parsed in network for network in _NOT_PUBLIC_4)
