"""The test teacher: the quickstart's chat server, answering from known gold labels.

    with gold_teacher({"Premise: …": "neutral"}, wrong_rate=0.3, faults=script([rate_limited(1)])) as teacher:
        run_stage(endpoint=teacher.url, model="teacher")
    assert teacher.requests[0].status == 429

As a process, for clusters: `python tests/support/teacher_server.py --data FOLDER --wrong 0.3 --host ADDRESS --port 0
--port-file FILE`, where FOLDER holds `*.jsonl` rows and either `gold` on the rows or a `gold.jsonl` with `prompt_key`.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

# Run as a script, this file has no pytest to set the path for it.
sys.path.append(str(Path(__file__).resolve().parents[2] / "examples" / "quickstart"))

from chat_faults import FaultSchedule, no_faults
from chat_protocol import Answer, AnswerFunction, Message, Rules, last_user_text, text_of
from chat_server import ChatApplication, TeacherServer, serve
from standin_teacher import chance

Gold = Mapping[str, str]
"""The last user message of a row -> its label."""


class GoldAnswers:
    """Answers a request by the longest gold key that its user messages contain, white space and escapes aside.

    The content of a row may be wrapped in any prompt. A share `wrong_rate` of the keys gets a wrong label, always the
    same one. A request without a known key is answered with `unknown`.
    """

    def __init__(self, gold: Gold, *, wrong_rate: float = 0.0, unknown: str = "unknown row") -> None:
        self.gold = {squeezed(content): label for content, label in gold.items()}
        self.wrong_rate, self.unknown = wrong_rate, unknown
        self.labels = sorted(set(gold.values()))
        self._longest_first = sorted(self.gold, key=len, reverse=True)

    def __call__(self, messages: Sequence[Message]) -> Answer:
        """The answer to a request."""
        key = self.find(messages)
        if key is None:
            return Answer(self.unknown, "This row has no gold label.")
        label = self.label(key)
        return Answer(label, f"Having weighed the two sentences, I conclude {label}.")

    def find(self, messages: Sequence[Message]) -> str | None:
        """The longest key in the last user message, else in any of them."""
        everything = " ".join(text_of(message) for message in messages)
        for text in map(squeezed, (last_user_text(messages), everything)):
            if text in self.gold:
                return text
            if key := next((key for key in self._longest_first if key in text), None):
                return key
        return None

    def label(self, key: str) -> str:
        """The gold label of a key, or the wrong one that it always gets."""
        label = self.gold[key]
        others = [other for other in self.labels if other != label]
        if not others or chance("wrong", key) >= self.wrong_rate:
            return label
        return others[int(chance("slip", key) * len(others))]


def squeezed(text: str) -> str:
    """The text with runs of white space as one blank, and without JSON's escapes, since a prompt may quote a row."""
    return " ".join(text.replace("\\n", " ").replace('\\"', '"').split())


def gold_teacher(
    gold: Gold, *, wrong_rate: float = 0.0, faults: FaultSchedule = no_faults, **server: Any
) -> TeacherServer:
    """A server in a thread that answers from gold; `server` are further arguments of TeacherServer."""
    return TeacherServer(GoldAnswers(gold, wrong_rate=wrong_rate), faults=faults, **server)


# --- gold from files


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSON Lines file."""
    with path.open(encoding="utf-8-sig") as lines:
        yield from (json.loads(line) for line in lines if line.strip())


def prompt_key(messages: object) -> str:
    """The key by which a separate gold file names a row: 16 hex digits over its messages."""
    canonical = json.dumps(messages, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def gold_from_rows(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The gold of rows that carry it themselves."""
    return {last_user_text(row["messages"]): row["gold"] for row in rows if "gold" in row}


def gold_from_folder(folder: Path) -> dict[str, str]:
    """The gold of all rows in a folder's `*.jsonl`, from `gold.jsonl` or from the rows themselves."""
    gold_file = folder / "gold.jsonl"
    by_key = {line["prompt_key"]: line["gold"] for line in read_lines(gold_file)} if gold_file.exists() else {}
    rows = [row for path in sorted(folder.glob("*.jsonl")) if path != gold_file for row in read_lines(path)]
    joined = {last_user_text(row["messages"]): by_key.get(prompt_key(row["messages"])) for row in rows}
    return {content: label for content, label in joined.items() if label is not None} | gold_from_rows(rows)


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Serve a teacher that answers from gold labels.")
    parser.add_argument("--data", type=Path, required=True, help="folder of rows and gold labels")
    parser.add_argument("--wrong", type=float, default=0.0, help="share of rows with a wrong label (default 0)")
    parser.add_argument("--host", default="127.0.0.1", help="address to bind (default 127.0.0.1)")
    parser.add_argument("--port", type=int, default=0, help="port to bind (default: any free one)")
    parser.add_argument("--port-file", type=Path, help="file to write the port to, once requests are taken")
    parser.add_argument("--model", default="teacher", help="the model name to answer to (default teacher)")
    parser.add_argument("--key", help="the only API key to accept (default: any)")
    parser.add_argument("--latency", type=float, default=0.05, help="seconds a reply takes (default 0.05)")
    return parser.parse_args(arguments)


def main() -> None:
    """Serve until told to stop."""
    chosen = parse_arguments()
    answers: AnswerFunction = GoldAnswers(gold_from_folder(chosen.data), wrong_rate=chosen.wrong)
    rules = Rules(models=(chosen.model,), api_key=chosen.key)
    serve(ChatApplication(answers, no_faults, rules, chosen.latency), chosen.host, chosen.port, chosen.port_file)


if __name__ == "__main__":
    main()
