"""How often a client may ask: token buckets in bounded memory."""

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable

MOST_CLIENTS = 10_000
_BURST_SECONDS = 2  # of its rate that a client may spend at once


class Buckets:
    """A bucket of tokens for each client; the least recently seen clients are forgotten first.

    Args:
        rate: tokens a second; 0 is no limit.
        most: clients remembered.
        clock: seconds that only go up.
    """

    def __init__(self, rate: float, most: int = MOST_CLIENTS, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate, self.most, self.clock = rate, most, clock
        self.burst = max(1.0, rate * _BURST_SECONDS)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, client: str) -> float:
        """Take a client's token.

        Returns:
            0 if there was one, else the seconds until there is.
        """
        if not self.rate:
            return 0.0
        now = self.clock()
        tokens, then = self._buckets.pop(client, (self.burst, now))
        tokens = min(self.burst, tokens + (now - then) * self.rate)
        wait = 0.0 if tokens >= 1 else (1 - tokens) / self.rate
        self._buckets[client] = (tokens if wait else tokens - 1, now)
        if len(self._buckets) > self.most:
            self._buckets.popitem(last=False)
        return wait


def client_of(host: str) -> str:
    """Whose bucket it is: an address, or of IPv6 the network of 64 bits, since one household has all of it."""
    if ":" not in host:
        return host
    try:
        return str(ipaddress.ip_network((host.partition("%")[0], 64), strict=False))
    except ValueError:
        return host
