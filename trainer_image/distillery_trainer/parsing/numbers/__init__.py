"""Numbers as people and models write them: found, brought into canonical form, and compared.

The canonical form is a JSON literal without redundant digits (72 for 72.0 and 7.2e1). A fraction that is not equal to a
short decimal stays one (1/3), and a percentage keeps its sign (50%). What is not one plain number (5√3, 3:1, $1.5M,
"not 72", "13 or 12") has no canonical form; nothing is guessed.
"""

from distillery_trainer.parsing.numbers.equality import equal
from distillery_trainer.parsing.numbers.found import FoundNumber, find_anywhere, find_in_prose
from distillery_trainer.parsing.numbers.lists import with_spaces_in_lists
from distillery_trainer.parsing.numbers.notation import normalize
from distillery_trainer.parsing.numbers.plain import parse
from distillery_trainer.parsing.numbers.stated import is_corrected, stated_number

__all__ = [
    "FoundNumber",
    "equal",
    "find_anywhere",
    "find_in_prose",
    "is_corrected",
    "normalize",
    "parse",
    "stated_number",
    "with_spaces_in_lists",
]
