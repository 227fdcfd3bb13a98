"""The journal of paid replies: found again under their keys, whatever a kill left behind."""

import hashlib
import json
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distillery_api.paths import Workspace
from distillery_api.spec.teacher import Pricing
from distillery_api.usage import Usage
from distillery_trainer.chat.prices import Spending
from distillery_trainer.chat.reply import Reply
from distillery_trainer.chat.reply_journal import ReplyJournal
from distillery_trainer.chat.reply_locations import ReplyLocations
from distillery_trainer.chat.workspace_lock import locked_workspace
from distillery_trainer.runtime.checked_lines import checked_line
from distillery_trainer.runtime.errors import TryLater


def key(name: object) -> str:
    return hashlib.sha256(str(name).encode()).hexdigest()


def reply(content: str, tokens: int = 10) -> Reply:
    return Reply(content=content, finish_reason="stop", input_tokens=tokens, output_tokens=1, latency_seconds=0.5)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "replies"


def test_reply_is_found_again_by_another_process(folder):
    with ReplyJournal(folder, "generate-a") as journal:
        journal.add_reply(key(1), reply("neutral"), Spending(11))
        assert journal.get(key(1)) == reply("neutral")
    with ReplyJournal(folder, "generate-b") as journal:
        assert journal.get(key(1)) == reply("neutral")
        assert journal.get(key(2)) is None
        assert len(journal) == 1


def test_long_reply_is_read_whole(folder):
    text = "long \u00e4\n" * 5000
    with ReplyJournal(folder, "generate-a") as journal:
        journal.add_reply(key(1), reply(text), Spending(11))
        journal.add_reply(key(2), reply("short"), Spending(11))
        assert journal.get(key(1)).content == text
        assert journal.get(key(2)).content == "short"


def test_keys_that_begin_alike_are_distinguished(folder):
    with ReplyJournal(folder, "generate-a") as journal:
        journal.add_reply("a" * 64, reply("neutral"), Spending(11))
        assert journal.get("a" * 63 + "b") is None


def test_each_process_writes_a_segment_of_its_own(folder):
    with ReplyJournal(folder, "generate-a") as first, ReplyJournal(folder, "generate-a") as second:
        first.add_reply(key(1), reply("one"), Spending(11))
        second.add_reply(key(2), reply("two"), Spending(11))
        first.add_reply(key(3), reply("three"), Spending(11))
    assert sorted(path.name for path in folder.iterdir()) == ["generate-a.0001.jsonl", "generate-a.0002.jsonl"]
    with ReplyJournal(folder, "generate-a") as journal:
        assert [journal.get(key(number)).content for number in (1, 2, 3)] == ["one", "two", "three"]


def test_usage_is_that_of_the_stage_and_spending_that_of_the_workspace(folder):
    with ReplyJournal(folder, "generate-a") as journal:
        journal.add_reply(key(1), reply("one", tokens=100), Spending(101))
        journal.add_failure("http_500", answered=True)
        journal.add_failure("unreachable", answered=False)
    with ReplyJournal(folder, "generate-b") as journal:
        journal.add_reply(key(2), reply("two", tokens=200), Spending(201))
        assert journal.usage == Usage(requests=1, input_tokens=200, output_tokens=1)
        assert journal.spent.tokens == 302
    with ReplyJournal(folder, "generate-a") as journal:
        assert journal.usage == Usage(requests=2, input_tokens=100, output_tokens=1)


def test_reservation_counts_as_spent_until_the_request_is_settled(folder):
    most = Spending(500)
    with ReplyJournal(folder, "generate-a") as journal:
        for _ in range(3):
            journal.reserve(most)
        journal.add_reply(key(1), reply("one", tokens=100), Spending(101), reserved=most)
        journal.add_failure("http_500", answered=True, released=most)
        assert journal.spent.tokens == 101 + 500
    with ReplyJournal(folder, "generate-a") as journal:
        assert journal.spent.tokens == 101 + 500


def test_reply_without_usage_is_marked_with_estimated_tokens(folder):
    with ReplyJournal(folder, "generate-a") as journal:
        journal.reserve(Spending(500))
        cost = Spending(500)
        journal.add_reply(key(1), Reply("neutral", "stop"), cost, reserved=Spending(500), estimated=(90, 3))
    with ReplyJournal(folder, "generate-a") as journal:
        assert journal.spent.tokens == 500
        assert journal.usage == Usage(requests=1, input_tokens=90, output_tokens=3, uncounted_replies=1)


PRICING = Pricing(currency="USD", input_per_million=1.0, output_per_million=4.0, cached_input_per_million=0.5)


def test_cost_is_recorded_beside_the_tokens(folder):
    with ReplyJournal(folder, "generate-a", PRICING) as journal:
        paid = Reply("neutral", "stop", input_tokens=1000, output_tokens=10, cached_tokens=800, reasoning_tokens=4)
        journal.reserve(Spending(2000, 0.008))
        journal.add_reply(key(1), paid, journal.prices.of(1000, 10, 800), reserved=Spending(2000, 0.008))
    lines = [json.loads(line) for line in next(folder.glob("*.jsonl")).read_text().splitlines()]
    assert [(line["spent"], line["cost"]) for line in lines] == [(2000, 0.008), (-990, -0.00736)]
    with ReplyJournal(folder, "generate-a", PRICING) as journal:
        assert journal.spent.tokens == 1010
        assert journal.spent.cost == pytest.approx(0.00064)
        assert journal.usage == Usage(
            requests=1,
            input_tokens=1000,
            output_tokens=10,
            cached_input_tokens=800,
            reasoning_tokens=4,
            currency="USD",
            cost=0.00064,
        )


def test_lines_from_before_there_was_a_pricing_are_charged_at_the_present_one(folder):
    folder.mkdir()
    old = {"content": "neutral", "finish_reason": "stop", "input_tokens": 1000, "output_tokens": 10}
    lines = [
        {"spent": 3000},  # of the reply below
        {"spent": 2000},  # in flight at a kill
        {"key": key(1), "reply": old, "requests": 1, "spent": 1010 - 3000},
        {"failed": "http_500", "requests": 1, "spent": 0},
    ]
    (folder / "generate-a.0001.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with ReplyJournal(folder, "generate-a", PRICING) as journal:
        assert journal.get(key(1)).content == "neutral"
        assert journal.spent.tokens == 1010 + 2000
        assert journal.spent.cost == pytest.approx(0.00104 + 2000 * 4e-6)
    with ReplyJournal(folder, "generate-a") as journal:
        assert journal.spent == Spending(3010, 0.0)


def test_second_stage_of_a_workspace_ends_with_a_message(tmp_path):
    workspace = Workspace(tmp_path)
    said = r"Another stage \(generate-a on .*\) is already sending requests"
    with (
        locked_workspace(workspace, "generate-a"),
        pytest.raises(TryLater, match=said) as caught,
        locked_workspace(workspace, "generate-b"),
    ):
        pass
    assert caught.value.exit_code == 3
    with locked_workspace(workspace, "generate-b"):
        pass


def test_lock_of_a_killed_stage_is_released(tmp_path):
    workspace = Workspace(tmp_path)
    held = (
        "import sys, time; from pathlib import Path; from distillery_api.paths import Workspace\n"
        "from distillery_trainer.chat.workspace_lock import locked_workspace\n"
        "with locked_workspace(Workspace(Path(sys.argv[1])), 'generate-a'): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", held, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(TryLater), locked_workspace(workspace, "generate-b"):
            pass
        process.kill()
    with locked_workspace(workspace, "generate-b"):
        pass


def test_folder_and_files_are_for_the_owner_alone(folder):
    with ReplyJournal(folder, "generate-a") as journal:
        journal.add_reply(key(1), reply("one"), Spending(11))
    assert folder.stat().st_mode & 0o777 == 0o700
    assert next(folder.iterdir()).stat().st_mode & 0o777 == 0o600


@settings(max_examples=60, deadline=None)
@given(replies=st.lists(st.text(), min_size=1, max_size=5), data=st.data())
def test_segment_that_is_cut_anywhere_gives_its_whole_lines(tmp_path_factory, replies, data):
    folder = tmp_path_factory.mktemp("replies")
    with ReplyJournal(folder, "generate-a") as journal:
        for number, content in enumerate(replies):
            journal.add_reply(key(number), reply(content), Spending(11))
    segment = next(folder.iterdir())
    whole = segment.read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    segment.write_bytes(whole[:cut])
    complete = whole[:cut].count(b"\n")
    with ReplyJournal(folder, "generate-a") as journal:
        assert len(journal) == complete
        for number, content in enumerate(replies):
            found = journal.get(key(number))
            assert found == (reply(content) if number < complete else None)
        journal.add_reply(key("new"), reply("new"), Spending(11))
    with ReplyJournal(folder, "generate-a") as journal:
        assert journal.get(key("new")) == reply("new")


def test_zero_bytes_after_a_power_failure_hide_no_other_line(folder):
    with ReplyJournal(folder, "generate-a") as journal:
        journal.add_reply(key(1), reply("one"), Spending(11))
    segment = next(folder.iterdir())
    line = json.dumps({"key": key(2), "reply": {"content": "two", "finish_reason": "stop"}, "spent": 1}).encode()
    segment.write_bytes(segment.read_bytes() + b"\0" * 50 + b"\n" + line + b"\n")
    with ReplyJournal(folder, "generate-b") as journal:
        assert journal.get(key(1)).content == "one"
        assert journal.get(key(2)).content == "two"


NEWER = (
    {"key": key("newer"), "reply": {"content": "x", "finish_reason": "stop", "tone": "kind"}, "spent": 1},
    {"key": key("newer"), "reply": {"content": "x", "finish_reason": "stop"}, "spent": 1, "version": 2},
    {"key": key("newer"), "reply": {"content": ["x"], "finish_reason": "stop"}, "spent": 1},
    {"key": "short", "reply": {"content": "x", "finish_reason": "stop"}, "spent": 1},
    {"key": key("newer"), "spent": 1},
    {"spent": "many"},
)
RUBBISH = (b"\n", b"\0\0\0\n", b"null\n", b"not JSON\n", b'{"key":\n', b"\xff\xfe\xfd\n", *map(checked_line, NEWER))


@pytest.mark.parametrize("line", RUBBISH)
def test_line_that_cannot_be_used_is_left_out_and_named(folder, line, capsys):
    with ReplyJournal(folder, "generate-a") as journal:
        journal.add_reply(key(1), reply("one"), Spending(11))
        journal.add_reply(key(2), reply("two"), Spending(11))
    segment = next(folder.iterdir())
    first, second = segment.read_bytes().splitlines(keepends=True)
    segment.write_bytes(first + line + second)
    with ReplyJournal(folder, "generate-b") as journal:
        assert journal.get(key(1)) == reply("one")
        assert journal.get(key(2)) == reply("two")
        assert journal.get(key("newer")) is None
        assert len(journal) == 2
        assert journal.spent == Spending(22)
    assert capsys.readouterr().err == (
        f"A line is damaged, or of a newer release, and is left out: {segment}, line 2. Lost replies are asked"
        " for again.\n"
    )


def test_reply_of_a_release_without_checksums_is_found(folder):
    folder.mkdir()
    line = {"key": key(1), "reply": {"content": "one", "finish_reason": "stop"}, "requests": 1, "spent": 11}
    (folder / "generate-a.0001.jsonl").write_text(json.dumps(line) + "\n")
    with ReplyJournal(folder, "generate-a") as journal:
        assert journal.get(key(1)).content == "one"
        assert journal.usage.requests == 1


def test_reply_that_is_damaged_after_the_journal_was_opened_is_not_given(folder):
    with ReplyJournal(folder, "generate-a") as journal:
        journal.add_reply(key(1), reply("neutral"), Spending(11))
        segment = next(folder.iterdir())
        segment.write_bytes(segment.read_bytes().replace(b"neutral", b"neutrap"))
        assert journal.get(key(1)) is None


@settings(max_examples=150, deadline=None)
@given(st.lists(st.text(min_size=1), min_size=1, max_size=5), st.data())
def test_damage_hides_no_other_reply_and_never_changes_one(tmp_path_factory, texts, data):
    folder = tmp_path_factory.mktemp("replies")
    with ReplyJournal(folder, "generate-a") as journal:
        for number, text in enumerate(texts):
            journal.add_reply(key(number), reply(text), Spending(11))
    segment = next(folder.iterdir())
    lines = segment.read_bytes().splitlines(keepends=True)
    damaged = data.draw(st.sets(st.integers(0, len(lines) - 1)))
    for number in damaged:
        lines[number] = data.draw(st.sampled_from(DAMAGES))(lines[number], data.draw(st.integers(0, 10_000)))
    segment.write_bytes(b"".join(lines))
    with ReplyJournal(folder, "generate-b") as journal:
        for number, text in enumerate(texts):
            found = journal.get(key(number))
            assert found == reply(text) or (number in damaged and found is None)


def flipped_bit(line: bytes, at: int) -> bytes:
    changed = bytearray(line)
    changed[at // 8 % len(line)] ^= 1 << at % 8
    return bytes(changed)


DAMAGES = (
    flipped_bit,
    lambda line, at: b"\0" * (len(line) - 1) + b"\n",
    lambda line, at: line[: at % len(line)] + b"\n",
    lambda line, at: line[: at % len(line)],
    lambda line, at: line[at % len(line) :],
    lambda line, at: b"",
    lambda line, at: line + RUBBISH[at % len(RUBBISH)],
)
"""What becomes of a line, at a place in it."""


def test_locations_of_many_keys_with_the_last_one_winning():
    locations = ReplyLocations()
    for number in range(40_000):
        locations.add(number * 7919 + 2**63, 0, number)
    locations.add(5 * 7919 + 2**63, 3, 77)
    assert locations.find(2**63) == (0, 0)
    assert locations.find(39_999 * 7919 + 2**63) == (0, 39_999)
    assert locations.find(5 * 7919 + 2**63) == (3, 77)
    assert locations.find(1) is None
    for number in range(40_000, 60_000):
        locations.add(number * 7919 + 2**63, 1, number)
    assert locations.find(5 * 7919 + 2**63) == (3, 77)
    assert locations.find(2**64 - 1) is None
