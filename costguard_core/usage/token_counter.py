"""Counting tokens, with no network: of a prompt before the call, and instead of a report that cannot be true.

Exact where the tokenizer is known, honest where it is not. tiktoken's encoder is fed with a vocabulary that is already
on the machine (tiktoken alone would download one).

Gateways and compatible servers report zeros, nulls, a part, or the numbers of another request. Counts of zero, or of
next to nothing, beside a text that is there are replaced by a count of our own and marked as estimated; what can be
true is kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from math import ceil
from typing import NamedTuple

from costguard_core.types import Call, Usage, UsageReport
from costguard_core.usage.media import CITATIONS, Media, media_tokens
from costguard_core.usage.openai_tools import FUNCTIONS_END
from costguard_core.usage.overhead import is_new_claude, sealed_tokens
from costguard_core.usage.tokenizer_files import Encoder, load_encoding

# OpenAI's cookbook, "How to count tokens with tiktoken": every message is framed by 3 tokens, a name costs 1 more, and
# the reply is primed with 3.
_PER_MESSAGE, _PER_NAME, _PRIMING = 3, 1, 3
# Recorded with models that think (o3, o4, GPT-5 and later): one token less at the end, and two more for each answer
# that the prompt repeats.
_PRIMING_THINKING, _PER_ANSWER_THINKING = 2, 2
_THINKING = re.compile(r"(ft:)?(o[34]($|-)|gpt-5|codex-mini|computer-use)")
_ANSWERS = ("ai", "assistant", "AIMessageChunk")

# How far a vendor's own tokenizer may exceed o200k on the same text.
_MARGIN_OPENAI = 1.1  # unknown successor, tool schemas, texts counted in slices
_MARGIN_CLAUDE = 1.47
_MARGIN_NEW_CLAUDE = 1.85  # the tokenizer since Opus 4.7 makes up to 1.35 times as many tokens as the one before
_MARGIN_UNKNOWN = 1.5
# Recorded: Gemini and Cohere bill the text alone, within 2 % of o200k's count; Mistral's and Amazon's tokenizers make
# up to 1.37 times as many tokens. The recordings are English; other languages have the rest of these margins.
_MARGIN_UNFRAMED, _MARGIN_MISTRAL = 1.25, 1.4
_UNFRAMED = re.compile(r"gemini|^command|cohere\.command")
_MISTRAL = re.compile(r"mistral|mixtral|magistral|pixtral|devstral|codestral|nova-")
# OpenAI, Gemini and Cohere do not send tools and schemas as JSON. Recorded at OpenAI: at most 0.8 of a token for each
# of the JSON, and eight for the frame; in the median half to two thirds of it at all three. What is said of functions
# is written as OpenAI's models read it (`openai_tools`).
_MARGIN_TOOLS, _MARGIN_UNFRAMED_TOOLS = 0.8, 1.0
_MARGIN_FUNCTIONS = 1.15
_TOOLS_FRAME = 12
# Recorded up to 8 beside two calls of tools that a prompt repeats.
_CALLS_FRAME = 10
_FILE_FRAME = 30  # recorded 28 tokens around a file of text, with its name
_SLACK = 3  # tokens of a prompt without a frame: a recording is one token off

_BYTES_PER_TOKEN = 3  # without a vocabulary; English has more bytes per token, so this errs upwards

_O200K = re.compile(r"(ft:)?(chatgpt-4o|gpt-4o|gpt-4\.\d|gpt-5|gpt-oss|o[134]($|-)|codex-mini|computer-use)")
_CL100K = re.compile(r"(ft:)?(gpt-4($|-|:)|gpt-3\.?5|gpt-35|text-embedding-|(davinci|babbage)-002)")

# Gemini's tokenizer takes each digit alone (https://ai.google.dev/gemma/docs/core/model_card: Gemma's splits digits).
_DIGITS = re.compile(r"\d{2,3}")
_MARGIN_DIGITS = 1.05

_SLICE = 10_000
# One unbroken run of a million letters takes the encoder a second, and one of spaces overflows its stack.
_ENDLESS_RUN = re.compile(rf"(?<!\s)\s{{{_SLICE}}}|(?<!\S)\S{{{_SLICE}}}")

_CACHED_TEXTS = 256
_LONGEST_CACHED_TEXT = 65_536

Message = tuple[str, str] | tuple[str, str, str | None]


class Count(NamedTuple):
    """``tokens`` is the best guess; ``bound`` is safe to reserve (the same number when ``estimated`` is false)."""

    tokens: int
    estimated: bool
    bound: int


class _Tokenizer(NamedTuple):
    """How a model counts.

    ``margin`` is 1 when this is the model's own tokenizer; ``thinks``: the model is one of OpenAI's that think;
    ``framed``: what stands around messages is billed.
    """

    encoding: str
    margin: float
    thinks: bool = False
    framed: bool = True

    @property
    def tools_margin(self) -> float:
        """Of the JSON of tools and schemas, which vendors write shorter."""
        return _MARGIN_TOOLS if self.margin == 1 else _MARGIN_UNFRAMED_TOOLS if not self.framed else self.margin


class TokenCounter:
    """Counts text and chats. Thread-safe; vocabularies are loaded once per process, at the first count that needs one.

    Args:
        allow_download: let tiktoken fetch a vocabulary that is not installed. Off, nothing touches the network, and a
            missing vocabulary means an estimate of one token per three bytes.
    """

    def __init__(self, *, allow_download: bool = False) -> None:
        self._allow_download = allow_download
        self._encoders: dict[str, Encoder] = {}
        self._remembered = lru_cache(maxsize=_CACHED_TEXTS)(self._counted)

    def count(self, text: str, *, model: str, provider: str | None = None) -> Count:
        """Tokens of a plain text."""
        counted = self._remembered if len(text) <= _LONGEST_CACHED_TEXT else self._counted
        return counted(text, _tokenizer(model, provider))

    def count_chat(
        self,
        messages: Iterable[Message],
        *,
        model: str,
        provider: str | None = None,
        tools_json: str | None = None,
        images: int = 0,
        media: Iterable[Media] = (),
        hidden: int = 0,
        rewritten: bool = False,
    ) -> Count:
        """Prompt tokens of a chat of ``(role, text)`` or ``(role, text, name)``.

        Exact for the text of OpenAI's models (3 tokens frame each message, 3 prime the reply). Tool definitions and
        media are estimates for every model: vendors rewrite the former and tile the latter. ``images`` are pictures of
        unknown size, for each of which ``Count.bound`` assumes the largest that the model takes; ``media`` are
        measured. ``hidden`` are tokens that the vendor adds on its own. ``rewritten``: the prompt has parts that the
        vendor writes in a form of its own, such as calls of tools, so that the count is none to the token.
        """
        tokenizer = _tokenizer(model, provider)
        priming = _PRIMING_THINKING if tokenizer.thinks else _PRIMING if tokenizer.framed else _SLACK
        pieces = [_framing(priming, tokenizer)]
        if rewritten and tokenizer.margin == 1:
            pieces.append(_estimate(_CALLS_FRAME, 1))
        for role, text, *name in messages:
            counted = self._remembered if len(text) <= _LONGEST_CACHED_TEXT else self._counted
            if tokenizer.framed:
                pieces += (_framing(_PER_MESSAGE, tokenizer), self._remembered(role, tokenizer))
            pieces.append(counted(text, tokenizer))
            if tokenizer.thinks and role in _ANSWERS:
                pieces.append(_framing(_PER_ANSWER_THINKING, tokenizer))
            if name and name[0]:  # one token more in documents, none in recordings
                rewritten = True
                pieces += (_framing(_PER_NAME, tokenizer), self._remembered(name[0], tokenizer))
        if tools_json:
            pieces += self._described(tools_json, tokenizer)
        if images > 0 or media:
            pieces += self._of_media((*[Media("image")] * images, *media), tokenizer, model, provider)
        if hidden:
            pieces.append(Count(hidden, estimated=True, bound=hidden))
        total, estimated, bound = 0, rewritten, 0
        for piece in pieces:  # one pass: this runs for every call
            total += piece.tokens
            estimated = estimated or piece.estimated
            bound += piece.bound
        return Count(total, estimated, bound)

    def _described(self, text: str, tokenizer: _Tokenizer) -> Iterator[Count]:
        """What a model is told of tools and of the form of its answer."""
        own = tokenizer.margin == 1
        functions, end, rest = text.rpartition(FUNCTIONS_END) if own else ("", "", text)
        for part in filter(None, (functions + end, rest)):
            counted = self._remembered if len(part) <= _LONGEST_CACHED_TEXT else self._counted
            tokens = counted(part, tokenizer).tokens
            if part is rest:
                yield _estimate(tokens + _TOOLS_FRAME * own, tokenizer.tools_margin)
            else:
                yield _estimate(tokens, _MARGIN_FUNCTIONS)

    def _of_media(
        self, media: Iterable[Media], tokenizer: _Tokenizer, model: str, provider: str | None
    ) -> Iterator[Count]:
        cites = False
        for part in media:
            if part.kind == "text" and part.data is not None:
                text = self._counted(part.data.decode("utf-8", "replace"), tokenizer)
                yield Count(text.tokens, True, text.bound)
                yield _estimate(_FILE_FRAME, max(tokenizer.margin, _MARGIN_OPENAI))
                continue
            length = media_tokens(part, model, provider)
            yield Count(length.tokens, estimated=True, bound=length.bound)
            if part.kind == "citations" and length.bound and not cites:
                cites = True
                yield Count(CITATIONS, estimated=True, bound=CITATIONS)

    def warm_up(self, model: str, provider: str | None = None) -> None:
        """Load the vocabulary of a model now (about half a second) instead of at the first count."""
        self._encoder(_tokenizer(model, provider).encoding)

    def _counted(self, text: str, tokenizer: _Tokenizer) -> Count:
        """Tokens of a text; an estimate where that is not what one uninterrupted encoding would have given."""
        encoder = self._encoders.get(tokenizer.encoding) or self._encoder(tokenizer.encoding)
        margin = tokenizer.margin
        if encoder is None:
            tokens = ceil(len(text.encode("utf-8", "surrogatepass")) / _BYTES_PER_TOKEN)
            margin = max(margin, _MARGIN_OPENAI) if text else margin
        elif _ENDLESS_RUN.search(text) is None:
            tokens = len(encoder.encode_ordinary(text))
        else:
            slices = (text[start : start + _SLICE] for start in range(0, len(text), _SLICE))
            tokens = sum(len(encoder.encode_ordinary(part)) for part in slices)
            margin = max(margin, _MARGIN_OPENAI)
        bound = ceil(tokens * margin)
        if not tokenizer.framed:
            bound = max(bound, ceil((tokens + _single_digits(text)) * _MARGIN_DIGITS))
        return Count(tokens, margin != 1, bound)

    def _encoder(self, encoding: str) -> Encoder | None:
        encoder = load_encoding(encoding, allow_download=self._allow_download)
        if encoder is not None:
            self._encoders[encoding] = encoder
        return encoder


@lru_cache(maxsize=1024)
def _tokenizer(model: str, provider: str | None) -> _Tokenizer:
    """The encoding to count with. Prefixes such as ``openai/`` do not matter; an unknown model is counted as o200k."""
    name = model.lower().rpartition("/")[2]
    if _O200K.match(name):
        if "search" in name:  # bills the question, and not what stands around it
            return _Tokenizer("o200k_base", _MARGIN_OPENAI)
        return _Tokenizer("o200k_base", 1, thinks=_THINKING.match(name) is not None)
    if _CL100K.match(name):
        return _Tokenizer("cl100k_base", 1)
    if "claude" in name or "anthropic" in (provider or "").lower():
        return _Tokenizer("o200k_base", _MARGIN_NEW_CLAUDE if is_new_claude(name) else _MARGIN_CLAUDE)
    if _UNFRAMED.search(name):
        return _Tokenizer("o200k_base", _MARGIN_UNFRAMED, framed=False)
    if re.match(r"(ft:)?gpt-\d", name):
        return _Tokenizer("o200k_base", _MARGIN_OPENAI)
    return _Tokenizer("o200k_base", _MARGIN_MISTRAL if _MISTRAL.search(name) else _MARGIN_UNKNOWN)


@lru_cache(maxsize=64)
def _framing(tokens: int, tokenizer: _Tokenizer) -> Count:
    return Count(tokens, False, tokens) if tokenizer.margin == 1 else _estimate(tokens, tokenizer.margin)


def _estimate(tokens: int, margin: float) -> Count:
    bound = ceil(tokens * margin)
    return Count(min(tokens, bound), True, bound)


_USERS = ("user", "human")


def _single_digits(text: str) -> int:
    """How many tokens more a tokenizer makes that takes each digit alone, where o200k takes up to three together."""
    runs = _DIGITS.findall(text)
    return sum(map(len, runs)) - len(runs) if runs else 0


class ReadPrompt(NamedTuple):
    """What the messages of a request are made of.

    Attributes:
        messages: role and text of each, and a name where it has one.
        texts: the roles and texts, one after the other, which tell one prompt from another.
        media: what else is in them.
        caches: they have breakpoints for the provider's own prompt cache.
        sealed: letters of encrypted thoughts, with the number of the message that has them.
        rewritten: there are calls of tools, which vendors write in a form of their own.
        tokens: of parts that came as numbers of tokens.
        caches_for_hour: one of the breakpoints asks for an hour.
    """

    messages: Sequence[Message]
    texts: Sequence[str]
    media: Sequence[Media] = ()
    caches: bool = False
    sealed: Sequence[tuple[int, int]] = ()
    rewritten: bool = False
    tokens: int = 0
    caches_for_hour: bool = False

    @property
    def size(self) -> int:
        """About how long it takes to count: its characters, and the bytes of what is no text."""
        size = sum(map(len, self.texts))
        return size + sum([len(part.data or b"") for part in self.media]) if self.media else size

    def letters(self) -> int:
        """How many characters of text its messages have."""
        return sum([len(message[1]) for message in self.messages])

    def counted(
        self, tokens: TokenCounter, model: str, provider: str | None, described: str | None, hidden: int
    ) -> Count:
        """Its tokens, with tools that are ``described`` to the model and those that the provider adds (``hidden``)."""
        return tokens.count_chat(
            self.messages,
            model=model,
            provider=provider,
            tools_json=described,
            media=self.media,
            hidden=hidden + self.tokens + (self._sealed_tokens(model, provider) if self.sealed else 0),
            rewritten=self.rewritten,
        )

    def _sealed_tokens(self, model: str, provider: str | None) -> int:
        """Tokens of encrypted thoughts, at most."""
        asked = max((at for at, message in enumerate(self.messages) if message[0] in _USERS), default=-1)
        letters, in_turn = (sum(size for at, size in self.sealed if at > first) for first in (-1, asked))
        return sealed_tokens(letters, model, provider, in_turn=in_turn)


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
