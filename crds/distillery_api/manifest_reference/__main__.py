"""Print the page."""

import sys

from distillery_api.manifest_reference.page import to_markdown

if __name__ == "__main__":
    sys.stdout.write(to_markdown())
