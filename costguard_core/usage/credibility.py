"""Usage that cannot be true: counts of zero, or of next to nothing, beside a text that is there.

Gateways and compatible servers report zeros, nulls, a part, or the numbers of another request. What is reported then is
replaced by a count of our own and marked as estimated; what can be true is kept.
"""

from __future__ import annotations

from dataclasses import replace

from costguard_core.types import Call, Usage, UsageReport
from costguard_core.usage.token_counter import TokenCounter

# No tokenizer writes running text in longer tokens: English has about 4.5 letters to a token, code and tables up to 8.
# Only a text beyond this ratio is counted to find out (runs of spaces or dots can be longer).
_LETTERS_PER_TOKEN = 16
# How far a report may stay below our own count: tokenizers differ by less than a factor of two.
_TOO_FEW = 3
_SMALL = 32  # tokens; differences below are framing

# For a prompt of a batch whose whole usage was reported for another one.
COUNTED_ELSEWHERE = Usage()


def complete_usage(report: UsageReport, call: Call, tokens: TokenCounter) -> Usage:
    """What was consumed: as reported, with counts of our own where the report is missing or cannot be true."""
    usage = _with_sound(report.usage, call) if call.audio_tokens else report.usage
    if usage is None:
        answer = "" if report.text is None else report.text()
        return Usage(input_tokens=_prompt(report, call), output_tokens=_written(answer, call, tokens), estimated=True)
    if usage is COUNTED_ELSEWHERE:
        return usage
    if not (usage.input_tokens or usage.output_tokens) and (usage.units or usage.others):
        return usage  # billed by pieces or other models alone, and not by tokens of its own
    answer = "" if report.text is None else report.text()
    if len(answer) > _LETTERS_PER_TOKEN * usage.output_tokens:
        counted = _written(answer, call, tokens)
        if counted > _TOO_FEW * usage.output_tokens + (_SMALL if usage.output_tokens else 0):
            usage = replace(usage, output_tokens=counted, estimated=True)
    if call.input_tokens is not None and call.input_tokens <= _TOO_FEW * usage.input_tokens:
        return usage
    letters = 0 if report.prompt_letters is None else report.prompt_letters()
    too_few = not usage.input_tokens or letters > _LETTERS_PER_TOKEN * (usage.input_tokens + _SMALL)
    # What is embedded is text, and counted as that; the count of a chat may be a bound, of documents and tools.
    if too_few or call.kind == "embedding":
        counted = _prompt(report, call)
        if counted > _TOO_FEW * usage.input_tokens + (0 if too_few else _SMALL):
            usage = replace(usage, input_tokens=counted, estimated=True)
    return usage


def _with_sound(usage: Usage | None, call: Call) -> Usage | None:
    """Some of Google's integrations drop how much of a prompt was sound, which costs more than text."""
    if usage is None or usage.audio_input_tokens or "google" not in (call.provider or ""):
        return usage
    others = usage.cache_read_tokens + usage.image_input_tokens + usage.video_input_tokens
    return replace(
        usage, audio_input_tokens=max(0, min(call.audio_tokens, usage.input_tokens - others)), estimated=True
    )


def _prompt(report: UsageReport, call: Call) -> int:
    if call.input_tokens is not None:
        return call.input_tokens
    return 0 if report.prompt_tokens is None else report.prompt_tokens()


def _written(answer: str, call: Call, tokens: TokenCounter) -> int:
    return tokens.count(answer, model=call.model, provider=call.provider).tokens if answer else 0
