"""Rows with pictures on this machine, from the manifest to the result table and the exported rows."""

import json
import subprocess

import yaml

from command_line_run import PROGRAM, CommandLineRun, finished, quiet_environment
from pictures import COLOUR_PROMPT, data_url, digest, picture, picture_row, picture_teacher
from vision_families import write_vision_family

COLOURS = {"red": (230, 20, 20), "blue": (20, 20, 230)}
SYSTEM = {"role": "system", "content": "Answer red or blue."}


def colour(number: int) -> tuple[str, bytes]:
    """A label and a picture of about that colour; all differ."""
    label = list(COLOURS)[number % 2]
    return label, picture(tuple(abs(part - number // 2) for part in COLOURS[label]))


def rows(start: int, count: int) -> list[dict]:
    """Rows whose pictures are in the row or beside it, in turn."""
    found = []
    for number in range(start, start + count):
        label, content = colour(number)
        row = picture_row(data_url(content) if number % 3 else f"images/{number}.png", label)
        found.append({**row, "messages": [SYSTEM, *row["messages"]]})
    return found


def test_pictures_go_from_the_rows_to_a_result_table(tmp_path):
    (tmp_path / "images").mkdir()
    for number in range(140):
        (tmp_path / "images" / f"{number}.png").write_bytes(colour(number)[1])
    write_vision_family(tmp_path / "student", "Qwen 2.5 VL")
    gold = {(digest(content), COLOUR_PROMPT): label for label, content in map(colour, range(140))}
    with picture_teacher(gold) as teacher:
        run = CommandLineRun(
            tmp_path,
            teacher.url,
            train=rows(0, 100),
            validation=rows(100, 20),
            test=rows(120, 20),
            training={"epochs": 4, "learningRate": 0.01, "lora": {"rank": 8, "alpha": 16}},
        )
        manifest = yaml.safe_load(run.manifest.read_text())
        manifest["spec"]["task"], manifest["spec"]["data"]["labels"] = "Classification", list(COLOURS)
        (tmp_path / "colours.yaml").write_text(yaml.safe_dump(manifest))
        ended = finished(run.start_file(tmp_path / "colours.yaml"))
    assert ended.exit_code == 0, ended.stderr
    assert len(teacher.requests) == 140
    table = run.result["evaluation"]
    assert (table["teacher"]["score"], table["student"]["score"], table["majority"]["score"]) == (1.0, 1.0, 0.5)
    exported = subprocess.run(
        [str(PROGRAM), "export", str(run.out), "--output", "-"],
        env=quiet_environment(),
        capture_output=True,
        check=True,
        text=True,
    )
    first = json.loads(exported.stdout.splitlines()[0])
    assert first["messages"][1]["content"][0] == {"type": "image_url", "image_url": {"url": data_url(colour(0)[1])}}
