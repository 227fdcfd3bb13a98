"""Needs no library, unless the script names some that are missing: `{"missing_libraries": ["torch"]}`."""

import json
import os

print(*json.loads(os.environ.get("SCRIPT", "{}")).get("missing_libraries", []))
