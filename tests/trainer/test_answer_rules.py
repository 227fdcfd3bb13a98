"""The user's rules for answers: which answers keep them, and the sentence for those that do not."""

import pytest

from distillery_trainer.data.rows import Rejection
from distillery_trainer.filters.answer_rules import AnswerRules
from task_definitions import run_config


def broken(answer: str, *rules: dict) -> str | None:
    """The sentence about the first rule that an answer breaks."""
    filters = run_config("Text", filters={"answerRules": list(rules)}).generation.filters
    rejection = AnswerRules(filters).rejection(answer)
    assert rejection is None or rejection.reason == "breaks_rule"
    return rejection and rejection.message


@pytest.mark.parametrize(
    ("answer", "rule"),
    [
        ("Dear Ann, thanks.", {"mustContain": "Dear Ann"}),
        ("dear ann", {"mustContain": "Dear Ann", "ignoreCase": True}),
        ("Wie groß!", {"mustContain": "GROSS", "ignoreCase": True}),
        ("a+b", {"mustContain": "+"}),
        ("Thanks.", {"mustNotContain": "as an AI"}),
        ("As an AI", {"mustNotContain": "as an AI"}),
        ("first\nTotal: 12", {"matches": r"(?m)^Total: \d+$"}),
        ("Ünï", {"matches": r"^\p{L}+$"}),
        ('{"a": [1, 2.5e3, null, "\u00fc"]}', {"parsesAs": "JSON"}),
        ("3", {"parsesAs": "JSON"}),
        ("SELECT a, count(*) FROM t WHERE b >= 2 GROUP BY a ORDER BY 2 DESC LIMIT 3;", {"parsesAs": "SQL"}),
        ("WITH x AS (SELECT 1 AS a) SELECT a FROM x", {"parsesAs": "SQL"}),
        ("INSERT INTO t VALUES (1); DELETE FROM t", {"parsesAs": "SQL"}),
        ("-- why\nSELECT 'it''s' -- end", {"parsesAs": "SQL"}),
        ("SELECT `a` FROM `t`", {"parsesAs": "SQL"}),
        ("SELECT TOP 3 [a] FROM [t]", {"parsesAs": "SQL"}),
        ("SELECT `a` FROM t", {"parsesAs": "SQL", "dialect": "MySQL"}),
        ("SELECT a::int FROM t WHERE a ILIKE '%x%'", {"parsesAs": "SQL", "dialect": "Postgres"}),
    ],
)
def test_rule_that_is_kept(answer, rule):
    assert broken(answer, rule) is None


@pytest.mark.parametrize(
    ("answer", "rule", "sentence"),
    [
        (
            "dear Ann",
            {"mustContain": "Dear"},
            'The answer does not contain "Dear" (generation.filters.answerRules[0]).',
        ),
        ("As an AI", {"mustNotContain": "as an ai", "ignoreCase": True}, 'The answer contains "as an ai" (gene'),
        ("Total: x", {"matches": r"^Total: \d"}, r"The answer does not match the regular expression ^Total: \d (gen"),
        ("{'a': 1}", {"parsesAs": "JSON"}, "The answer is not JSON: "),
        ('{"a": 1} Done.', {"parsesAs": "JSON"}, "The answer is not JSON: "),
        ("NaN", {"parsesAs": "JSON"}, "The answer is not JSON: "),
        ("SELECT a FROM t WHERE", {"parsesAs": "SQL"}, "The answer is not SQL: "),
        ("SELECT (a FROM t", {"parsesAs": "SQL"}, "The answer is not SQL: "),
        ("SELECT 'open FROM t", {"parsesAs": "SQL"}, "The answer is not SQL: "),
        ("I cannot answer that.", {"parsesAs": "SQL"}, "The answer is not SQL: "),
        ("Here is the query: SELECT 1", {"parsesAs": "SQL"}, "The answer is not SQL: "),
        ("users", {"parsesAs": "SQL"}, "The answer is not SQL: it holds something that is no known statement (gen"),
        ("SELECT", {"parsesAs": "SQL"}, "The answer is not SQL: it holds something that is no known statement (gen"),
        ("Show me the orders", {"parsesAs": "SQL"}, "The answer is not SQL: it holds something that is no known sta"),
        ("-- nothing", {"parsesAs": "SQL"}, "The answer is not SQL: it holds no statement (generation.filters."),
        ("SELECT `a`", {"parsesAs": "SQL", "dialect": "Postgres"}, "The answer is not SQL: "),
        (f"SELECT {'(' * 5000}", {"parsesAs": "SQL"}, "The answer is not SQL: "),
        (f"SELECT '{'x' * 40_000}'", {"parsesAs": "SQL"}, "The answer is not SQL: it has 40,009 characters, more than"),
    ],
)
def test_rule_that_is_broken(answer, rule, sentence):
    assert broken(answer, rule)[: len(sentence)] == sentence


def test_the_first_broken_rule_is_named():
    rules = [{"mustContain": "a"}, {"mustContain": "b"}, {"mustContain": "c"}]
    assert broken("a", *rules) == 'The answer does not contain "b" (generation.filters.answerRules[1]).'


def test_what_a_parser_says_stands_in_one_line_without_colours():
    sentence = broken("SELECT a\nFRM t\nWHERE", {"parsesAs": "SQL"})
    assert "\n" not in sentence
    assert "\x1b" not in sentence


def test_without_rules_every_answer_is_kept():
    rules = AnswerRules(run_config("Text").generation.filters)
    assert not rules
    assert rules.rejection("anything") is None


def test_an_expression_that_would_backtrack_takes_no_longer_than_any_other():
    assert broken("a" * 65_536 + "b", {"matches": "^(a+)+$"}).startswith("The answer does not match")


def test_a_rejection_names_its_reason():
    filters = run_config("Text", filters={"answerRules": [{"mustContain": "x"}]}).generation.filters
    assert AnswerRules(filters).rejection("y") == Rejection(
        "breaks_rule", 'The answer does not contain "x" (generation.filters.answerRules[0]).'
    )
