"""Ollama's counts, in its last chunk: https://github.com/ollama/ollama/blob/main/docs/api.md."""

from __future__ import annotations

from costguard_core.types import Usage
from costguard_core.usage.fields import count


def read_ollama(raw: object) -> Usage:
    """``prompt_eval_count`` and ``eval_count``; a prompt that is in its cache is counted as 0 by old releases."""
    return Usage(input_tokens=count(raw, "prompt_eval_count"), output_tokens=count(raw, "eval_count"))
