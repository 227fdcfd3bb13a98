"""`python -m distillery_operator`: run the operator, with all its settings from DISTILLERY_* variables."""

import sys

from distillery_operator.controller.process import main

if __name__ == "__main__":
    sys.exit(main())
