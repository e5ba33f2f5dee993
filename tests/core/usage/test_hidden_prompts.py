"""What vendors bill beside a prompt, found in recordings that the first bounds were not read off."""

from __future__ import annotations

import pytest

from costguard_core.usage.media import CITATIONS, Media, media_tokens
from costguard_core.usage.overhead import describing, hidden_tokens
from costguard_core.usage.pictures import picture_tokens
from costguard_core.usage.prompt_content import read_content
from costguard_core.usage.token_counter import TokenCounter

COUNTER = TokenCounter()
PAGE = b"%PDF-1.3 /Type /Page "
TOOL = {"type": "function", "function": {"name": "dial", "parameters": {}}}


@pytest.mark.parametrize(
    ("model", "provider", "params", "recorded"),
    [
        ("grok-4.3", "xai", {}, 192),
        ("grok-4.3", "xai", {"tools": [TOOL]}, 200),
        ("grok-2", "xai", {}, 0),
        ("us.amazon.nova-2-lite-v1:0", "amazon_bedrock", {}, 31),
        ("us.amazon.nova-2-lite-v1:0", "amazon_bedrock", {"reasoningConfig": {"type": "enabled"}}, 85),
        ("Qwen/Qwen2.5-72B-Instruct-Turbo", "together", {}, 14),
        ("gemini-3-flash-preview", "google_vertexai", {"response_json_schema": {"type": "object"}}, 50),
    ],
)
def test_prompts_that_no_request_shows_are_held(model: str, provider: str, params: object, recorded: int) -> None:
    assert recorded <= hidden_tokens(model, provider, params) <= 3 * recorded + 20  # type: ignore[arg-type]


def test_a_schema_is_billed_on_vertex_and_not_in_googles_own_api() -> None:
    params = {"response_json_schema": {"type": "object"}}
    assert describing(params, "google_vertexai") and not describing(params, "google_genai")


def test_documents_that_cohere_is_given_beside_the_messages_are_counted() -> None:
    assert describing({"documents": [{"data": {"text": "Ferries run hourly."}}]}, "cohere", "command-a-plus-05-2026")


@pytest.mark.parametrize("model", ["o4-mini", "codex-mini-latest", "gpt-4.1-mini", "gpt-5-mini"])
def test_small_models_of_openai_count_patches_of_pictures(model: str) -> None:
    """Recorded for o4-mini: 516 tokens for 640 x 480 pixels, which are 300 patches at 1.72."""
    patches = 300
    factor = 1.72 if model in ("o4-mini", "codex-mini-latest") else 1.62
    bound = picture_tokens((640, 480), "openai", model)[1]
    assert patches * factor <= bound <= patches * factor + 20


def test_a_page_of_gemini_2_5_costs_more_outside_of_googles_own_api() -> None:
    """Recorded: 258 tokens there, 1,290 on Vertex AI and at OpenRouter for the same page."""
    page = Media("document", PAGE)
    assert media_tokens(page, "gemini-2.5-flash", "google_genai").bound == 258
    for seller in ("google_vertexai", "openrouter"):
        assert media_tokens(page, "google/gemini-2.5-flash", seller).bound >= 1_290


def test_citations_of_claude_are_held() -> None:
    """Recorded: 590 tokens beside a text of 85, and about 1,550 beside a page."""
    source = {"type": "text", "media_type": "text/plain", "data": "Ferries run hourly."}
    plain = {"type": "document", "source": source}
    cited = {**plain, "citations": {"enabled": True}}
    in_pages = {"document": {"format": "pdf", "source": {"bytes": PAGE}, "citations": {"enabled": True}}}

    def bound(*blocks: object, model: str = "claude-haiku-4-5", provider: str = "anthropic") -> int:
        text, media = read_content(list(blocks))
        return COUNTER.count_chat([("user", text)], model=model, provider=provider, media=media).bound

    assert bound(plain) + 590 <= bound(cited) <= bound(plain) + CITATIONS + 50
    assert bound(cited, cited) < bound(plain, plain) + CITATIONS + 100  # the vendor's prompt stands there once
    one = {"document": {**in_pages["document"], "citations": {"enabled": False}}}
    assert bound(in_pages) >= bound(one) + 1_550
    assert bound(cited, model="gpt-4o", provider="openai") == bound(plain, model="gpt-4o", provider="openai")


def test_results_of_a_search_that_are_to_be_cited_are_found_inside_results_of_tools() -> None:
    found = {"searchResult": {"source": "https://x", "title": "T", "citations": {"enabled": True}, "content": []}}
    media = read_content([{"toolResult": {"toolUseId": "1", "content": [found]}}]).media
    assert [part.kind for part in media] == ["citations"]


def test_a_text_file_is_counted_by_its_tokens_and_its_frame() -> None:
    """Recorded: 110 tokens of which 67 had been held, for a table of 97 bytes."""
    table = b"region,q1,q2,q3\n" + b"".join(b"R%d,%d,%d,%d\n" % (n, 118 + n, 205 - n, 96 + 3 * n) for n in range(12))
    text = COUNTER.count(table.decode(), model="gpt-4o").tokens
    count = COUNTER.count_chat([("user", "")], model="gpt-4o", media=[Media("text", table)])
    empty = COUNTER.count_chat([("user", "")], model="gpt-4o").bound
    assert text + 28 <= count.bound - empty <= text + 40
    assert count.estimated


def test_geminis_tokenizer_takes_each_digit_alone() -> None:
    """Recorded: 881 tokens of which 838 had been held, for a list of primes."""
    numbers = " ".join(str(number) for number in range(100, 400))
    assert COUNTER.count(numbers, model="gemini-2.5-flash").bound >= 3 * 300
    words = "A sentence without any number in it. " * 20
    count = COUNTER.count(words, model="gemini-2.5-flash")
    assert count.bound <= 1.25 * count.tokens + 1


def test_each_call_of_a_tool_that_a_prompt_repeats_has_a_frame() -> None:
    """Recorded for two calls: 99 tokens, of which 88 had been held."""
    plain = COUNTER.count_chat([("ai", "")], model="gpt-4o")
    called = COUNTER.count_chat([("ai", "")], model="gpt-4o", rewritten=True)
    assert called.bound >= plain.bound + 8
    assert called.estimated and not plain.estimated
