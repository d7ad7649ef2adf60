"""How many failovers a process may make: a share of its requests, so that retries never become the outage. Pure."""

from collections import deque


class RetryBudget:
    """Linkerd's retry budget: in any window, `share` of the requests and `least_per_second` besides."""

    def __init__(self, *, share: float = 0.2, least_per_second: float = 3, window_seconds: float = 10) -> None:
        self._share = share
        self._least = least_per_second * window_seconds
        self._window_seconds = window_seconds
        self._requests: deque[float] = deque()
        self._retries: deque[float] = deque()

    def request(self, at: float) -> None:
        """A request was made, which is no retry."""
        self._forget(at)
        self._requests.append(at)

    def has_one(self, at: float) -> bool:
        """Whether one retry more is allowed."""
        self._forget(at)
        return len(self._retries) + 1 <= self._least + self._share * len(self._requests)

    def spend(self, at: float) -> bool:
        """Whether one retry more is allowed; it counts as made if so."""
        is_allowed = self.has_one(at)
        if is_allowed:
            self._retries.append(at)
        return is_allowed

    def _forget(self, at: float) -> None:
        for moments in (self._requests, self._retries):
            while moments and moments[0] <= at - self._window_seconds:
                moments.popleft()
