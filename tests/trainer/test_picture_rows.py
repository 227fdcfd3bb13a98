"""Rows with pictures: read, checked, limited, sent to the teacher, and written out by reference."""

import io
import json
import shutil

import pytest
from PIL import Image

from data_source import row_of, rule_of, source, write
from distillery_api.runtime.picture_parts import in_parts
from distillery_trainer.chat.llm_judge import JudgePrompt
from distillery_trainer.chat.system_messages import with_system_in_first_user_turn
from distillery_trainer.chat.token_estimate import TokenEstimate
from distillery_trainer.data.picture_files import PictureFiles
from distillery_trainer.data.row_reader import check_rows, parsed_rows
from distillery_trainer.data.rows import Row
from distillery_trainer.data.sources import Source
from distillery_trainer.data.tool_messages import chat_fields
from distillery_trainer.runtime.errors import TryLater, UserError
from file_server import file_server
from generate_run import GenerateRun, jsonl
from pictures import (
    COLOUR_PROMPT,
    data_url,
    digest,
    gold_of_pictures,
    picture,
    picture_row,
    picture_teacher,
    pictures_in,
    shown,
)

RED, BLUE = picture("red"), picture("blue")
COLOURS = {"red": (250, 10, 10), "blue": (10, 10, 250)}


@pytest.fixture(autouse=True)
def _in_its_own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a source without a run keeps its pictures here


def colour_rows(count: int, start: int = 0) -> list[dict]:
    """Rows of pictures that all differ."""
    colours = list(COLOURS)
    return [
        picture_row(data_url(picture(tuple(abs(c - n) for c in COLOURS[colours[n % 2]]))), colours[n % 2])
        for n in range(start, start + count)
    ]


def generate_run(root, teacher, config=(), **options) -> GenerateRun:
    """A run whose rows ask for the colour of a picture."""
    splits = {"train": colour_rows(12), "validation": colour_rows(6, 40), "test": colour_rows(4, 80)}
    of_colours = {"task": "Classification", "labels": list(COLOURS)}
    return GenerateRun(root, teacher.url, config={**of_colours, **dict(config)}, **{**splits, **options})


# --- reading


def test_picture_of_a_row_becomes_a_mark_in_the_text_and_a_file_under_its_digest(tmp_path):
    row = row_of(tmp_path, picture_row(data_url(RED)))
    name = f"{digest(RED)}.png"
    assert row.messages == [{"role": "user", "content": f"\ufffc{COLOUR_PROMPT}", "pictures": [name]}]
    assert (tmp_path / "pictures" / name).read_bytes() == RED
    assert row.text == f"\ufffc{COLOUR_PROMPT}"


def test_pictures_between_texts_are_sent_where_they_stood(tmp_path):
    content = [
        {"type": "text", "text": "Compare "},
        {"type": "image_url", "image_url": {"url": data_url(RED)}},
        {"type": "text", "text": " with "},
        {"type": "input_image", "image_url": data_url(BLUE)},
    ]
    row = row_of(tmp_path, {"messages": [{"role": "user", "content": content}]})
    assert chat_fields(row.messages, PictureFiles(tmp_path / "pictures").data_url) == {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Compare "},
                    {"type": "image_url", "image_url": {"url": data_url(RED)}},
                    {"type": "text", "text": " with "},
                    {"type": "image_url", "image_url": {"url": data_url(BLUE)}},
                ],
            }
        ]
    }


def test_message_without_pictures_is_sent_as_it_is():
    message = {"role": "user", "content": "a \ufffc that somebody wrote"}
    assert in_parts(message, lambda name: {"name": name}) == message


def test_picture_beside_the_rows_is_read(tmp_path):
    (tmp_path / "images").mkdir()
    write(tmp_path, "images/red.jpg", picture(kind="JPEG"))
    row = row_of(tmp_path, picture_row("images/red.jpg"))
    assert row.messages[0]["pictures"] == [f"{digest(picture(kind='JPEG'))}.jpg"]


def test_picture_on_the_server_of_the_rows_is_fetched_once_for_all_passes(tmp_path):
    with file_server() as server:
        rows = [picture_row("images/red.png"), picture_row(f"{server.url}/other/red.png")]
        server.files = {"/set/rows.jsonl": jsonl(rows), "/set/images/red.png": RED, "/other/red.png": RED}
        where = source(f"{server.url}/set/rows.jsonl?signature=secret", scratch=tmp_path)
        found = [list(parsed_rows(where)) for _ in range(2)]
        assert [row.messages[0]["pictures"] for row in found[0]] == [[f"{digest(RED)}.png"]] * 2
        assert server.requests.count("GET /set/images/red.png") == 1


def test_server_without_an_answer_is_tried_again_later(tmp_path):
    with file_server() as server:
        server.files = {"/rows.jsonl": jsonl([picture_row("red.png")]), "/red.png": RED}
        where = source(f"{server.url}/rows.jsonl", scratch=tmp_path)
        with where.opened() as stream:
            stream.read()
        server.status = 503
        with pytest.raises(TryLater, match=r"red\.png: the file cannot be read from the server"):
            list(parsed_rows(where))


def test_address_of_a_picture_is_no_way_out_of_where_the_rows_are(tmp_path):
    folder = tmp_path / "rows"
    folder.mkdir()
    outside = write(tmp_path, "outside.png", RED)
    (folder / "link.png").symlink_to(outside)
    (folder / "inside.png").write_bytes(RED)
    assert row_of(folder, picture_row(f"file://{folder}/inside.png")).messages[0]["pictures"]
    for address in ("link.png", str(outside), f"file://{outside}"):
        assert rule_of(folder, picture_row(address)) == (
            f"the picture {address} is outside of the folder of the rows; put it there"
        )
    assert rule_of(folder, picture_row("../outside.png")) == (
        'the picture ../outside.png has a part ".."; write its address without one'
    )


@pytest.mark.parametrize("address", ["https://other.example/red.png?key=1", "s3://bucket/red.png"])
def test_rows_do_not_choose_which_servers_get_requests(address, tmp_path):
    assert rule_of(tmp_path, picture_row(address)) == (
        f"the picture {address.partition('?')[0]} is on a server that the manifest does not name; rows may have"
        " pictures from where they are themselves, so put both there, or write the picture into the row as a data URL"
    )


def test_file_of_this_machine_is_not_read_for_rows_of_a_server(tmp_path):
    red = write(tmp_path, "red.png", RED)
    with file_server() as server:
        server.files = {"/rows.jsonl": jsonl([picture_row(f"file://{red}"), picture_row(str(red))])}
        [scheme, path] = parsed_rows(source(f"{server.url}/rows.jsonl", scratch=tmp_path))
        assert "is in another place than the rows" in str(scheme)
        assert "the file does not exist" in str(path)


def test_redirect_of_a_picture_to_another_server_is_refused(tmp_path):
    with file_server() as server, file_server() as other:
        other.files = {"/red.png": RED}
        server.files = {"/rows.jsonl": jsonl([picture_row("red.png")])}
        server.redirects = {"/red.png": f"{other.url}/red.png"}
        [error] = parsed_rows(source(f"{server.url}/rows.jsonl", scratch=tmp_path))
        assert "the server redirects to another one" in str(error)
        assert other.requests == []


# --- what is refused


def damaged() -> bytes:
    """Half of a picture."""
    content = picture((1, 2, 3), (64, 64), "JPEG")
    return content[: len(content) // 2]


def animated() -> bytes:
    """A picture that moves."""
    file = io.BytesIO()
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(file, "WEBP", save_all=True, append_images=frames[1:])
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"<svg></svg>", "is not a picture in PNG, JPEG or WebP"),
        (picture(kind="GIF"), "is not a picture in PNG, JPEG or WebP"),
        (picture(size=(4100, 4000)), "has 4100 x 4000 pixels; at most 16,000,000 are supported, so make it smaller"),
        (picture(size=(404, 4)), "is a strip of 404 x 4 pixels; at most 100 to 1 is supported"),
        (animated(), "is animated; save one of its frames"),
    ],
)
def test_file_that_models_cannot_read_is_refused(content, rule, tmp_path):
    write(tmp_path, "x.png", content)
    assert rule_of(tmp_path, picture_row("x.png")) == f"the picture x.png {rule}"
    assert not (tmp_path / "pictures").exists()


def test_damaged_picture_is_refused(tmp_path):
    write(tmp_path, "x.jpg", damaged())
    assert rule_of(tmp_path, picture_row("x.jpg")).startswith("the picture x.jpg is damaged (")


def test_large_file_is_refused_before_it_is_read_to_its_end(tmp_path):
    with (tmp_path / "x.png").open("wb") as file:
        file.truncate(2**40)
    assert rule_of(tmp_path, picture_row("x.png")) == (
        "the picture x.png is larger than 8,388,608 bytes; make it smaller"
    )


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (shown("missing.png"), "the picture missing.png does not exist"),
        (shown("data:image/png;base64,#"), "the picture in the row is not valid base64"),
        (
            shown("data:image/svg+xml,<svg/>"),
            "the picture in the row has no base64 data; write data:image/png;base64,…",
        ),
        (
            [{"type": "image_url", "image_url": {}}],
            'message 1: a picture without address; write {"type": "image_url", "image_url": {"url": …}}',
        ),
        (
            shown("a.png", "a \ufffc"),
            "message 1: the text has the character U+FFFC, which stands for a picture; remove it",
        ),
        (
            [{"type": "input_audio", "input_audio": {}}],
            "a part of the content is not text (input_audio); only text and pictures are supported",
        ),
        ([*shown("a.png") * 9], "the row has 9 pictures; at most 8 are supported"),
    ],
)
def test_content_that_is_no_text_with_pictures_is_refused(content, rule, tmp_path):
    write(tmp_path, "a.png", RED)
    assert rule_of(tmp_path, {"messages": [{"role": "user", "content": content}]}) == rule


def test_pictures_beside_tools_are_refused(tmp_path):
    tool = {"type": "function", "function": {"name": "look", "description": "Look.", "parameters": {"type": "object"}}}
    assert rule_of(tmp_path, picture_row(data_url(RED)) | {"tools": [tool]}) == (
        "pictures are read in messages of OpenAIFineTuning alone, and not in rows with tools or logs"
    )


def test_only_the_user_shows_pictures(tmp_path):
    messages = [{"role": "system", "content": shown(data_url(RED))}, {"role": "user", "content": "?"}]
    assert rule_of(tmp_path, {"messages": messages}) == (
        "message 1: only the user's messages may have pictures; remove those of the system"
    )


# --- what covers a message covers its pictures


def message(*names: str) -> dict:
    return {"role": "user", "content": "\ufffc" * len(names) + "Which?", "pictures": list(names)}


def test_judge_sees_the_pictures_of_the_conversation_that_it_reads():
    prompt = JudgePrompt("Judge.", "verdict", ("accept", "reject"))
    _, user = prompt.messages([{"role": "system", "content": "Answer."}, message("a.png", "b.png")], answer="red")
    assert user["pictures"] == ["a.png", "b.png"]
    assert user["content"].count("\ufffc") == 2


def test_system_text_in_the_first_user_message_leaves_its_pictures_there():
    folded = with_system_in_first_user_turn([{"role": "system", "content": "Answer."}, message("a.png")])
    assert folded == [{"role": "user", "content": "Answer.\n\n\ufffcWhich?", "pictures": ["a.png"]}]


def test_picture_counts_as_about_a_thousand_tokens_and_at_most_four_thousand():
    estimate = TokenEstimate()
    text = [{"role": "user", "content": "Which?"}]
    assert estimate.of_prompt([message("a.png")]) - estimate.of_prompt(text) == 1024
    assert estimate.at_most([message("a.png")]) - estimate.at_most(text) == 4096 + len("\ufffc".encode())


# --- the generate stage


def test_teacher_sees_every_picture_and_rows_name_them(tmp_path):
    train, validation, test = colour_rows(12), colour_rows(6, 40), colour_rows(4, 80)
    with picture_teacher(gold_of_pictures(train, validation, test)) as teacher:
        run = generate_run(tmp_path, teacher)
        result = run.run()
        sent = [request.messages for request in teacher.requests]
    assert result.message.startswith("Kept 12 of 12 train rows and 6 of 6 validation rows")
    assert {digest(content) for messages in sent for content in pictures_in(messages)} == {
        name for name, _ in gold_of_pictures(train, validation, test)
    }
    [first, *_] = run.rows("train")
    name = f"{digest(pictures_in(train[0]['messages'])[0])}.png"
    assert first["prompt"][-1] == {"role": "user", "content": f"\ufffc{COLOUR_PROMPT}", "pictures": [name]}
    assert first["completion"] == [{"role": "assistant", "content": "red"}]
    assert (run.workspace / "pictures" / name).exists()
    [held_out, *_] = run.rows("test")
    assert held_out["teacherPrompt"][-1]["pictures"] == held_out["studentPrompt"][-1]["pictures"]


def test_replies_about_pictures_are_paid_once_and_a_changed_picture_is_a_new_request(tmp_path):
    names = [f"{number}.png" for number in range(22)]
    colours = [picture((200, number, 0)) for number in range(22)]
    for name, content in zip(names, colours, strict=True):
        write(tmp_path, name, content)
    rows = [picture_row(name, "red") for name in names]
    gold = {(digest(content), COLOUR_PROMPT): "red" for content in colours}
    other = picture((0, 0, 99))
    gold[digest(other), COLOUR_PROMPT] = "blue"
    with picture_teacher(gold) as teacher:
        splits = {"train": rows[:12], "validation": rows[12:18], "test": rows[18:]}
        generate_run(tmp_path, teacher, **splits).run()
        assert len(teacher.requests) == 22
        again = generate_run(tmp_path, teacher, **splits, folder="generate-1111111111")
        again.run()
        assert len(teacher.requests) == 22
        write(tmp_path, "3.png", other)
        generate_run(tmp_path, teacher, **splits, folder="generate-2222222222").run()
        assert len(teacher.requests) == 23
        assert pictures_in(teacher.requests[-1].messages) == [other]


def test_rows_with_one_text_and_different_pictures_are_no_duplicates_but_the_same_picture_is(tmp_path):
    rows = colour_rows(12)
    with picture_teacher(gold_of_pictures(rows, colour_rows(6, 40), colour_rows(4, 80))) as teacher:
        run = generate_run(tmp_path, teacher, train=[*rows, rows[0]], generation={"filters": {"duplicates": "Near"}})
        result = run.run()
    assert result.splits["train"].rejected_by_reason == {"duplicate": 1}


def test_rows_that_show_the_same_picture_stay_in_one_split(tmp_path):
    rows = [picture_row(data_url(picture((number // 4, 0, 0))), "red", f"Question {number}?") for number in range(64)]
    with picture_teacher(gold_of_pictures(rows)) as teacher:
        run = generate_run(tmp_path, teacher, train=rows, validation=None, test=None, data={"validationFraction": 0.5})
        run.run()
    shown_in = {
        split: {name for row in run.rows(split) for name in (row.get("prompt") or row["studentPrompt"])[-1]["pictures"]}
        for split in ("train", "validation", "test")
    }
    assert all(shown_in.values())
    assert not shown_in["train"] & (shown_in["validation"] | shown_in["test"])
    assert not shown_in["validation"] & shown_in["test"]


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        (
            {"task": "NLI", "labels": ["red", "blue", "green"]},
            "the row has pictures, which the task NLI does not read; use another task, or remove the row",
        ),
        (
            {"training": {"objective": {"kind": "Preference"}}},
            "the row has pictures, which training.objective.kind Preference does not read; use Labels or Logits",
        ),
    ],
)
def test_rows_with_pictures_are_refused_where_nothing_can_be_learned_from_them(config, problem, tmp_path):
    with picture_teacher({}) as teacher:
        run = generate_run(tmp_path, teacher, config=config)
        result = run.run()
        assert teacher.requests == []
    assert f"train.jsonl, lines 1, 2, 3 and 9 more: {problem}" in result.message


def test_picture_that_is_gone_is_named(tmp_path):
    with picture_teacher({}) as teacher:
        run = generate_run(tmp_path, teacher)
        files = PictureFiles(run.workspace / "pictures")
    name = files.add(RED)
    shutil.rmtree(run.workspace / "pictures")
    with pytest.raises(UserError, match="generate again, which reads pictures anew"):
        files.data_url(name)


def test_invalid_picture_is_listed_with_its_line(tmp_path):
    where = source(write(tmp_path, "rows.jsonl", jsonl([picture_row(data_url(RED)), picture_row("no.png")])))
    assert isinstance(where, Source)
    with pytest.raises(UserError) as error:
        check_rows([where], lambda row: None if isinstance(row, Row) else "no row")
    assert f"{where.uri}, line 2: the picture no.png does not exist" in error.value.message
    assert json.dumps(RED.decode("latin-1")) not in error.value.message
