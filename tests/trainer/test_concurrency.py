"""How many concurrent requests a server sustains."""

from distillery_trainer.chat.concurrency import ConcurrencyLimit


class SimulatedServer:
    """Answers `capacity` concurrent requests in a second each, and lets the others wait or rejects them."""

    def __init__(self, limit: ConcurrencyLimit, capacity: int, *, rejects: bool = False) -> None:
        self.limit, self.capacity, self.rejects = limit, capacity, rejects
        self.now = 0.0

    def rounds(self, count: int) -> list[int]:
        """The concurrency limit before each of some rounds."""
        limits = []
        for _ in range(count):
            limit = self.limit.current
            limits.append(limit)
            started, good = self.now, min(limit, self.capacity)
            self.limit.started(started)
            self.now += 1.0 if self.rejects else max(1.0, limit / self.capacity)
            for number in range(max(limit, 10)):
                self.limit.finished(
                    started, self.now, overloaded=self.rejects and number % limit >= good, at_limit=True
                )
        return limits


def test_limit_rises_to_what_the_user_allows():
    assert SimulatedServer(ConcurrencyLimit(400), capacity=10_000).rounds(5) == [100, 200, 400, 400, 400]


def test_limit_starts_no_higher_than_the_user_allows():
    assert ConcurrencyLimit(3).current == 3


def test_limit_stops_rising_where_more_requests_bring_no_more_replies():
    limits = SimulatedServer(ConcurrencyLimit(2000), capacity=200).rounds(60)
    assert max(limits) <= 420
    assert all(200 <= limit <= 420 for limit in limits[4:])


def test_limit_falls_when_requests_are_rejected_and_settles_at_what_the_server_sustains():
    limits = SimulatedServer(ConcurrencyLimit(2000), capacity=50, rejects=True).rounds(60)
    assert all(45 <= limit <= 85 for limit in limits[4:])


def test_few_failures_among_many_replies_do_not_lower_the_limit():
    limit = ConcurrencyLimit(100)
    for number in range(10_000):
        limit.started(number / 100)
        limit.finished(number / 100, number / 100 + 0.2, overloaded=number % 16 == 0, at_limit=True)
    assert limit.current == 100


def test_responses_to_requests_from_before_lower_the_limit_no_second_time():
    limit = ConcurrencyLimit(64)
    limit.started(0.0)
    for _ in range(64 * 3):
        limit.finished(0.0, 1.0, overloaded=True, at_limit=False)
    assert limit.current == 32


def test_limit_never_falls_below_one():
    limit = ConcurrencyLimit(4)
    for second in range(100):
        limit.started(float(second))
        for _ in range(10):
            limit.finished(float(second), second + 0.5, overloaded=True, at_limit=False)
    assert limit.current == 1
