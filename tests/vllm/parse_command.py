"""How vLLM's own parser understands lists of arguments of `vllm serve`, as JSON. Run by vLLM's interpreter."""

import json
import sys

from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
from vllm.utils.argparse_utils import FlexibleArgumentParser

PLAIN = str | int | float | list | dict


def parsed(arguments):
    """The options by name, without those that JSON cannot hold."""
    options = make_arg_parser(FlexibleArgumentParser()).parse_args(arguments)
    validate_parsed_serve_args(options)
    return {name: value for name, value in vars(options).items() if isinstance(value, PLAIN)}


print(json.dumps([parsed(arguments) for arguments in json.loads(sys.argv[1])]))
