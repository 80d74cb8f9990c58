"""Who may reach the pods, whom they may reach, and that streams and large bodies get through."""

from tests.helm.charts import (
    SELECTOR,
    kinds,
    of_file,
    one,
    render,
    template,
)


def test_the_network_is_closed_but_for_what_is_named() -> None:
    spec = one(of_file("replicas"), "NetworkPolicy")["spec"]
    assert spec["podSelector"] == {"matchLabels": SELECTOR}
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert spec["ingress"] == [{"from": [{"podSelector": {}}], "ports": [{"port": "http", "protocol": "TCP"}]}]
    names, internet, valkey, store = spec["egress"]
    assert {(port["port"], port["protocol"]) for port in names["ports"]} == {(53, "UDP"), (53, "TCP")}
    assert internet["ports"] == [{"port": 443, "protocol": "TCP"}]
    assert valkey["ports"] == [{"port": 6379, "protocol": "TCP"}]
    assert store["ports"] == [{"port": 8333, "protocol": "TCP"}]
    closed = one(of_file("air-gapped"), "NetworkPolicy")["spec"]["egress"]
    assert len(closed) == 1
    ingress = one(of_file("ingress"), "NetworkPolicy")["spec"]["ingress"][0]["from"]
    assert ingress[1] == {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress-nginx"}}}
    assert "NetworkPolicy" not in kinds(render({"networkPolicy": {"enabled": False}}))


def test_no_private_address_and_no_metadata_is_reachable() -> None:
    """Computed, not compared: every address that is not public is outside of what the policy allows."""
    import ipaddress

    spec = one(template("helm-4", "1.37.0", None), "NetworkPolicy")["spec"]
    allowed = [peer["ipBlock"] for rule in spec["egress"] for peer in rule["to"] if "ipBlock" in peer]
    assert [block["cidr"] for block in allowed] == ["169.254.20.10/32", "0.0.0.0/0", "2000::/3"]

    def reachable(text: str) -> bool:
        address = ipaddress.ip_address(text)
        return any(
            address in ipaddress.ip_network(block["cidr"])
            and not any(address in ipaddress.ip_network(part) for part in block.get("except", []))
            for block in allowed[1:]
        )

    private = (
        "169.254.169.254 10.1.2.3 172.16.0.1 172.31.255.255 192.168.1.1 127.0.0.1 100.100.100.200 0.0.0.0 224.0.0.1 "
        "255.255.255.255 198.18.0.1 fd00:ec2::254 fe80::1 ::1 ::ffff:169.254.169.254"
    )
    assert [text for text in private.split() if reachable(text)] == []
    assert all(reachable(text) for text in ("1.1.1.1", "172.32.0.1", "192.169.0.1", "2606:4700::1111"))


def test_ingress_lets_streams_and_large_bodies_through() -> None:
    ingress = one(of_file("ingress"), "Ingress")
    prefix = "nginx.ingress.kubernetes.io/"
    assert ingress["metadata"]["annotations"] == {
        f"{prefix}proxy-buffering": "off",
        f"{prefix}proxy-request-buffering": "off",
        f"{prefix}proxy-http-version": "1.1",
        f"{prefix}proxy-body-size": "67108864",
        f"{prefix}proxy-read-timeout": "3600",
        f"{prefix}proxy-send-timeout": "600",
    }
    assert ingress["spec"]["tls"] == [{"secretName": "chat-tls", "hosts": ["chat.example.org", "chat.example.net"]}]
    assert [rule["host"] for rule in ingress["spec"]["rules"]] == ["chat.example.org", "chat.example.net"]
    assert ingress["spec"]["rules"][0]["http"]["paths"] == [
        {
            "path": "/v1",
            "pathType": "Prefix",
            "backend": {"service": {"name": "blue-quartet", "port": {"name": "http"}}},
        }
    ]
    haproxy = one(of_file("everything"), "Ingress")["metadata"]["annotations"]
    assert haproxy["haproxy-ingress.github.io/proxy-body-size"] == "268435456"
    openshift = one(of_file("openshift"), "Ingress")["metadata"]["annotations"]
    assert openshift == {"haproxy.router.openshift.io/timeout": "1h"}


def test_gateway_route() -> None:
    route = one(of_file("gateway"), "HTTPRoute")
    assert route["apiVersion"] == "gateway.networking.k8s.io/v1"
    assert route["spec"] == {
        "parentRefs": [{"name": "public", "namespace": "gateways", "sectionName": "https"}],
        "hostnames": ["chat.example.org"],
        "rules": [
            {
                "matches": [{"path": {"type": "PathPrefix", "value": "/v1"}}],
                "timeouts": {"request": "1h", "backendRequest": "1h"},
                "backendRefs": [{"name": "blue-quartet", "port": 80}],
            }
        ],
    }
