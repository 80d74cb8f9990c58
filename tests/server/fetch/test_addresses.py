"""Every range that is not the internet, by one address or both ends of it; nothing is connected to."""

import pytest

from server.fetch.addresses import is_public

PUBLIC = ["93.184.215.14", "8.8.8.8", "1.1.1.1", "223.255.255.255", "172.32.0.1", "2606:4700:4700::1111"]
PUBLIC += ["64:ff9b::8.8.8.8", "::ffff:8.8.8.8", "2a00:1450::1"]
NOT_PUBLIC = {
    "this host": ["0.0.0.0", "0.1.2.3", "::"],
    "loopback": ["127.0.0.1", "127.255.255.254", "::1"],
    "private": ["10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.1.1", "fc00::1", "fd12::1"],
    "shared by carriers": ["100.64.0.1", "100.127.255.255", "100.100.100.200"],
    "link-local and metadata": ["169.254.0.1", "169.254.169.254", "fe80::1", "fd00:ec2::254", "168.63.129.16"],
    "protocols": ["192.0.0.1", "192.0.0.192", "192.88.99.1", "198.18.0.1", "198.19.255.255", "2001:2::1"],
    "documentation": ["192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1", "3fff::1"],
    "multicast": ["224.0.0.1", "239.255.255.255", "ff02::1"],
    "reserved": ["240.0.0.1", "255.255.255.255", "4000::1", "5f00::1", "100::1", "fec0::1"],
    "IPv4 in IPv6": ["::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "::8.8.8.8", "64:ff9b::127.0.0.1"],
    "tunnels": [
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::8.8.8.8",
        "2002:7f00:1::",
        "2002:808:808::1",
        "2001::1",
        "2001:0:1::",
    ],
    "zones": ["fe80::1%eth0", "2606:4700::1%1"],
    "other spellings": [
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "127.1",
        "localhost",
        "",
        " 8.8.8.8",
        "8.8.8.8 ",
        "08.8.8.8",
    ],
}


@pytest.mark.parametrize("address", PUBLIC)
def test_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("kind", NOT_PUBLIC)
def test_not_public(kind: str) -> None:
    assert [address for address in NOT_PUBLIC[kind] if is_public(address)] == []
