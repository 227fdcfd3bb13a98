"""The option `--retry-rejected [REASON]...`: the words after it, as long as they are rejection reasons, are its values;
without any, it means all reasons that may pass."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand

from distillery_api.rejection_reasons import RejectionReason
from distillery_operator.planning.retry_rejected import ReasonError, retry_reasons

FLAG = "--retry-rejected"
ALL = "all"


class RunCommand(TyperCommand):
    """`distillery run`, whose option may have any number of values."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Join the reasons after the flag to one value of it."""
        return super().parse_args(ctx, joined(args))


def joined(arguments: list[str]) -> list[str]:
    """The arguments with `--retry-rejected a b` as `--retry-rejected=a,b`, and without values as `=all`."""
    rest, result = list(arguments), list[str]()
    while rest:
        word = rest.pop(0)
        if word == "--":
            return [*result, word, *rest]
        if word != FLAG:
            result.append(word)
            continue
        values = []
        while rest and _are_reasons(rest[0]):
            values.append(rest.pop(0))
        result.append(f"{FLAG}={','.join(values) or ALL}")
    return result


def chosen_reasons(value: str | None) -> tuple[RejectionReason, ...] | None:
    """The reasons in the option's value, empty for all; None without the option. Raises typer.BadParameter."""
    if value is None:
        return None
    words = [word for word in value.replace(",", " ").split() if word != ALL]
    try:
        return retry_reasons(words)
    except ReasonError as error:
        raise typer.BadParameter(str(error), param_hint=FLAG) from None


def _are_reasons(word: str) -> bool:
    return bool(word) and all(part == ALL or _is_reason(part) for part in word.split(","))


def _is_reason(word: str) -> bool:
    try:
        RejectionReason(word)
    except ValueError:
        return False
    return True
