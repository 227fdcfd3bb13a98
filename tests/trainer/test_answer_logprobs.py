"""Which of a reply's tokens are the answer's."""

import pytest

from distillery_trainer.chat.token_logprobs import Position
from distillery_trainer.generation.answer_logprobs import find_answer, last_positions, positions_of


def positions(*texts):
    return [Position(text, ((text, -0.5),)) for text in texts]


def texts(found):
    return [position.text for position in found]


@pytest.mark.parametrize(
    ("answer", "text", "found"),
    [
        ("neutral", "neutral", (0, 7)),
        ("neutral", " neutral\n", (1, 8)),
        ("neutral", '{"reason": "It is neutral.", "answer_choice": "neutral"}', (47, 54)),
        ("neutral", '{"answer_choice": "neutral", "reason": "all is neutral"}', (19, 26)),
        ("neutral", "It may be neutral. Answer: neutral.", (27, 34)),
        ("yes", 'She said "yes". Or not? Answer: yes.', (32, 35)),
        ("12", '{"reason": "12 and 12 are 24", "answer": 12}', (41, 43)),
        ("12", '{"answer":"12","reason":"so it is 12"}', (11, 13)),
        ("B", "Because of the cat, B", (20, 21)),
        ("B", 'By far. {"answer_choice": "B"}', (27, 28)),
        ("12", "120 - 108 = 12", (12, 14)),
        ("a+b", "the sum a+b", (8, 11)),
        ("sí, señor", "Respuesta: sí, señor.", (11, 20)),
        ("neutral", "Neutral", None),
        ("neutral", "neutrality", None),
        ("neutral", "", None),
        ("", "anything", None),
        ('He said "no"', '{"answer": "He said \\"no\\""}', None),
    ],
)
def test_where_an_answer_is_in_a_reply(answer, text, found):
    assert find_answer(answer, text) == found


def test_answer_in_json_is_cut_out_of_the_tokens_of_the_reply():
    reply = positions('{"', "reason", '":', ' "', "So", '",', ' "', "answer", '":', ' "', "neut", "ral", '"}')
    assert texts(positions_of("neutral", reply)) == ["neut", "ral"]


def test_token_with_the_blank_before_the_answer_is_part_of_it():
    assert texts(positions_of("neutral", positions("Answer", ":", " neut", "ral", "."))) == [" neut", "ral"]


def test_characters_in_several_tokens_are_found():
    parts = [Position(part, ((1, -0.5),)) for part in ("Es ist ", "sch\udcc3", "\udcb6n", "!")]
    assert texts(positions_of("schön", parts)) == ["sch\udcc3", "\udcb6n"]


def test_reply_with_the_answer_in_other_words_has_no_positions():
    assert positions_of("neutral", positions("Ne", "utral")) == []


def test_scored_text_ends_with_its_answer():
    assert texts(last_positions("neutral", positions(' "', "neut", "ral"))) == ["neut", "ral"]
    assert last_positions("neutral", positions("neut", "ral", '"')) == []
    assert texts(last_positions("two words", positions("a", "two", "words"))) == ["two", "words"], "blanks are lost"
    assert last_positions("neutral", []) == []
