"""Rate limits of clients, in bounded memory."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelgraph.service.middleware import TokenBuckets, client_of


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@given(st.lists(st.floats(0, 5), max_size=60), st.floats(0.2, 20))
def test_buckets_admit_burst_and_rate_at_most(pauses: list[float], rate: float) -> None:
    clock = Clock()
    buckets = TokenBuckets(rate, clock=clock)
    let_in = 0
    for pause in pauses:
        clock.now += pause
        wait = buckets.take("a")
        let_in += wait == 0
        assert let_in <= buckets.burst + (clock.now - 100) * rate + 1e-6
        if wait:
            clock.now += wait + 1e-9
            assert buckets.take("a") == 0, "after the wait that was told there is a token"
            let_in += 1


def test_clients_have_separate_buckets() -> None:
    buckets = TokenBuckets(1, clock=Clock())
    assert [buckets.take("a") > 0 for _ in range(4)] == [False, False, True, True]
    assert buckets.take("b") == 0


def test_rate_zero_means_no_limit() -> None:
    buckets = TokenBuckets(0)
    assert not any(buckets.take("a") for _ in range(1000))
    assert len(buckets) == 0


def test_capacity_is_bounded_and_recent_clients_are_kept() -> None:
    buckets = TokenBuckets(1, capacity=10, clock=Clock())
    for number in range(100):
        buckets.take(f"c{number}")
        buckets.take("regular")
    assert len(buckets) == 10
    assert buckets.take("regular") > 0


@pytest.mark.parametrize(
    ("host", "client"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("not:an:address", "not:an:address"),
    ],
)
def test_clients_are_addresses_or_networks(host: str, client: str) -> None:
    assert client_of(host) == client
