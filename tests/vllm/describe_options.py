"""The options of `vllm serve` as JSON, as vLLM's own parser has them. Run by vLLM's interpreter.

What an option accepts is found out by asking its parser for values of each kind, since its functions tell no types.
"""

import argparse
import json

from vllm import __version__
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser

SAMPLES = {"integer": "1", "number": "1.5", "size": "1k", "auto": "auto", "json": "{}", "text": "x"}


def accepts(parser, action, value):
    """Whether the option takes the value."""
    try:
        parser._get_value(action, value)
    except (argparse.ArgumentError, ValueError, TypeError, AssertionError):
        return False
    return True


def kind(parser, action):
    """The narrowest kind of values."""
    taken = {name for name, value in SAMPLES.items() if accepts(parser, action, value)}
    if {"size", "auto"} <= taken and "text" not in taken:
        return "size or auto"
    return next(kind for kind in ("text", "json", "size", "number", "integer") if kind in taken)


def described(parser, action):
    """One option."""
    entry = {"flags": action.option_strings, "values": {None: "1", 0: "0"}.get(action.nargs, action.nargs)}
    if entry["values"] != "0":
        entry["kind"] = "text" if action.choices else kind(parser, action)
    if action.choices:
        entry["choices"] = [str(choice) for choice in action.choices if choice is not None]
    return entry


parser = make_arg_parser(FlexibleArgumentParser())
options = [described(parser, action) for action in parser._actions if action.option_strings]
lines = ",\n".join(json.dumps(option) for option in options)
print(f'{{"version": "{__version__.partition("+")[0]}", "options": [\n{lines}\n]}}')
