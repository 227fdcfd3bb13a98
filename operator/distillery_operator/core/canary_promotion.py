"""Whether a person has let the candidate of a canary pass its step, by the annotation `distillery.dev/promote`.

`RUN.STEP` promotes that step of that run alone, and `RUN` all of its steps. What was set before the canary began is no
promotion: it is left over from an earlier one of the same candidate, of which nobody could know yet how this one goes.
"""

from __future__ import annotations


def is_promoted(annotation: str | None, left_over: str | None, run: str, step: int) -> bool:
    """Whether the annotation promotes that step; `left_over` is its value when the canary began."""
    if annotation is None or annotation == left_over:
        return False
    name, _, further = annotation.partition(".")
    return name == run and further.partition(".")[0] in ("", str(step))


def promotion_of(left_over: str | None, run: str, step: int) -> str:
    """The value that promotes that step alone. Where it is left over, a further number makes it another one."""
    value = f"{run}.{step}"
    if left_over is None or not f"{left_over}.".startswith(f"{value}."):
        return value
    number = left_over.removeprefix(f"{value}.")
    return f"{value}.{int(number) + 1 if number.isdecimal() else 2}"
