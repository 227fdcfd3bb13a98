"""How many concurrent requests a server sustains."""

from distillery_trainer.chat.concurrency import ConcurrencyLimit


class Server:
    """A server that answers `at_once` calls together in a second each, and lets the others wait or turns them away."""

    def __init__(self, window: ConcurrencyLimit, at_once: int, *, turns_away: bool = False) -> None:
        self.window, self.at_once, self.turns_away = window, at_once, turns_away
        self.now = 0.0

    def rounds(self, count: int) -> list[int]:
        """The window's size before each of some rounds."""
        sizes = []
        for _ in range(count):
            size = self.window.size
            sizes.append(size)
            began, good = self.now, min(size, self.at_once)
            self.window.begun(began)
            self.now += 1.0 if self.turns_away else max(1.0, size / self.at_once)
            for number in range(max(size, 10)):
                self.window.answered(began, self.now, hurt=self.turns_away and number % size >= good, full=True)
        return sizes


def test_window_opens_up_to_what_the_user_allows():
    assert Server(ConcurrencyLimit(400), at_once=10_000).rounds(5) == [100, 200, 400, 400, 400]


def test_window_starts_no_wider_than_the_user_allows():
    assert ConcurrencyLimit(3).size == 3


def test_window_stops_where_more_calls_bring_no_more_replies():
    sizes = Server(ConcurrencyLimit(2000), at_once=200).rounds(60)
    assert max(sizes) <= 420
    assert all(200 <= size <= 420 for size in sizes[4:])


def test_window_closes_when_calls_are_turned_away_and_settles_at_what_is_borne():
    sizes = Server(ConcurrencyLimit(2000), at_once=50, turns_away=True).rounds(60)
    assert all(45 <= size <= 85 for size in sizes[4:])


def test_few_failures_among_many_replies_do_not_close_the_window():
    window = ConcurrencyLimit(100)
    for number in range(10_000):
        window.begun(number / 100)
        window.answered(number / 100, number / 100 + 0.2, hurt=number % 16 == 0, full=True)
    assert window.size == 100


def test_answers_to_calls_from_before_count_no_second_time():
    window = ConcurrencyLimit(64)
    window.begun(0.0)
    for _ in range(64 * 3):
        window.answered(0.0, 1.0, hurt=True, full=False)
    assert window.size == 32


def test_window_never_closes_altogether():
    window = ConcurrencyLimit(4)
    for second in range(100):
        window.begun(float(second))
        for _ in range(10):
            window.answered(float(second), second + 0.5, hurt=True, full=False)
    assert window.size == 1
