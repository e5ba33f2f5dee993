"""Text Generation Inference: https://huggingface.co/docs/text-generation-inference/reference/api_reference.

``details.generated_tokens`` counts the answer; the prompt is counted only where its tokens are asked for
(``details.prefill``). The chat route answers as OpenAI does.
"""

from __future__ import annotations

from costguard_core.types import Usage
from costguard_core.usage.fields import count, items


def read_generation(raw: object) -> Usage:
    """``details`` of a generation; a prompt that was not counted is 0 here, and counted by the guard."""
    prompt = count(raw, "input_length") or len(items(raw, "prefill"))
    return Usage(input_tokens=prompt, output_tokens=count(raw, "generated_tokens"))
