"""Reads what the demo wrote and demands that it has learned something."""

import json
import sys

text = sys.stdin.read()
summary = json.loads(text[text.index("\n{") + 1 if not text.startswith("{") else 0 :])
if not summary["test_accuracy"] >= 97:
    sys.exit(f"The demo reached {summary['test_accuracy']} % where 97 % is due.")
