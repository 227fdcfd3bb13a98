"""Rules that answers must keep, each of which is checked by program alone."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from distillery_api import regular_expressions
from distillery_api.base import ApiModel, Rule
from distillery_api.spec.fields import Flag


class ParsesAs(StrEnum):
    """What an answer may have to be."""

    JSON = "JSON"
    SQL = "SQL"


class SqlDialect(StrEnum):
    """Dialects of SQL."""

    BIG_QUERY = "BigQuery"
    CLICK_HOUSE = "ClickHouse"
    DATABRICKS = "Databricks"
    DUCK_DB = "DuckDB"
    HIVE = "Hive"
    MY_SQL = "MySQL"
    ORACLE = "Oracle"
    POSTGRES = "Postgres"
    REDSHIFT = "Redshift"
    SNOWFLAKE = "Snowflake"
    SPARK = "Spark"
    SQLITE = "SQLite"
    TRINO = "Trino"
    TSQL = "TSQL"


RuleText = Annotated[str, Field(min_length=1, max_length=500)]
Expression = Annotated[
    str,
    Field(max_length=500),
    # CEL cannot say whether a text is an expression. The operator reports what the API server lets pass.
    Rule(
        "self.size() > 0",
        "not a regular expression; write one in the syntax of RE2, which has no look-around and no backreferences",
        lambda pattern: len(pattern) > 0 and regular_expressions.is_valid(pattern),
    ),
]


def _says_one_thing(rule: AnswerRule) -> bool:
    said = (rule.must_contain, rule.must_not_contain, rule.matches, rule.parses_as)
    return sum(each is not None for each in said) == 1


def _ignores_case_of_a_text(rule: AnswerRule) -> bool:
    return not rule.ignore_case or rule.must_contain is not None or rule.must_not_contain is not None


class AnswerRule(ApiModel):
    """A rule that every answer must keep: exactly one of mustContain, mustNotContain, matches and parsesAs."""

    must_contain: RuleText | None = None
    """Text that the answer must contain, letter by letter. Default: none."""
    must_not_contain: RuleText | None = None
    """Text that the answer must not contain, letter by letter. Default: none."""
    matches: Expression | None = None
    """Regular expression that must match somewhere in the answer; write ^ and $ for the whole of it, and (?i) to ignore
    case. Its syntax is that of RE2, without look-around and backreferences. Default: none."""
    parses_as: ParsesAs | None = None
    """What the answer must be: JSON (one value) or SQL (one statement or several). Of a reply with exactly one code
    fence, the content of the fence is then the answer, for teacher and student alike. Default: anything."""
    dialect: SqlDialect | None = None
    """Dialect of SQL. Default: what most of them share, with names in double quotes, backticks or brackets."""
    ignore_case: Flag = False
    """Ignores upper and lower case in mustContain and mustNotContain. Default: false."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "[has(self.mustContain), has(self.mustNotContain), has(self.matches), has(self.parsesAs)]"
            ".filter(given, given).size() == 1",
            "a rule says one thing: set exactly one of mustContain, mustNotContain, matches and parsesAs, and give each"
            " rule an item of its own",
            _says_one_thing,
        ),
        Rule(
            "!has(self.ignoreCase) || !self.ignoreCase || has(self.mustContain) || has(self.mustNotContain)",
            "ignoreCase is for mustContain and mustNotContain; remove it, or begin the expression with (?i)",
            _ignores_case_of_a_text,
        ),
        Rule(
            "!has(self.dialect) || has(self.parsesAs) && self.parsesAs == 'SQL'",
            "dialect is for SQL; remove it, or set parsesAs to SQL",
            lambda rule: rule.dialect is None or rule.parses_as is ParsesAs.SQL,
        ),
    )
