"""The doctor puts together what all clients and the server itself show, the worst first."""

from __future__ import annotations

import pytest

from provisioner.findings import ForeignServer, PoolUse, Severity, Unheard
from tests.timelines import OFFER, OTHER, codes, event, found


def test_a_server_that_answers_the_probe_is_the_same_finding_as_the_one_clients_chose():
    (finding,) = found(
        event(0, "dhcp.request", ignored="the client chose another server", detail="10.0.0.250"),
        foreign=(ForeignServer("10.0.0.250", "eth0", "10.0.0.77"),),
    )
    assert finding.count == 2


def test_messages_of_a_network_without_a_subnet():
    (finding,) = found(unheard=(Unheard("no enabled subnet covers the client", 7, "10.8.0.1", "eth0"),))
    assert (finding.code, finding.count, finding.severity) == ("network-not-covered", 7, Severity.NOTICE)


def test_a_relay_that_no_subnet_holds():
    (finding,) = found(unheard=(Unheard("no enabled subnet covers the client", 7, "10.8.0.1", "eth0", "10.8.0.1"),))
    assert (finding.code, finding.subject, finding.severity) == ("relay-mismatch", "10.8.0.1", Severity.ERROR)


def test_messages_dropped_for_other_reasons_are_not_networks():
    assert codes(unheard=(Unheard("no DHCP cookie", 7),)) == []


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        (PoolUse("a", 90, 100), ["pool-nearly-full"]),
        (PoolUse("a", 89, 100), []),
        (PoolUse("a", 0, 0), []),
        (PoolUse("a", 100, 100, enabled=False), []),
        (PoolUse("a", 100, 100, proxy=True), []),
    ],
)
def test_a_pool_is_told_before_it_is_empty(pool, expected):
    assert codes(pools=(pool,)) == expected


def test_the_worst_comes_first_then_what_was_seen_last():
    found_codes = codes(
        event(0, OFFER, secs=30, interface="eth0"),
        event(1, "tftp.error", OTHER, key="a", message="there is no file 'a'"),
        event(2, "tftp.error", OTHER, key="b", message="there is no file 'b'"),
        unheard=(Unheard("no enabled subnet covers the client", 1, "10.8.0.1", "eth0"),),
    )
    assert found_codes == ["file-missing", "file-missing", "late-link", "network-not-covered"]
