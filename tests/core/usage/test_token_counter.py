from __future__ import annotations

import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from python_process import run_python

from costguard_core.usage import tokenizer_files as vocabulary
from costguard_core.usage.media import Media, media_tokens
from costguard_core.usage.token_counter import TokenCounter
from costguard_core.usage.tokenizer_files import RECIPES, candidate_files, load_encoding

COUNTER = TokenCounter()
MODELS = ["gpt-4o", "gpt-4", "claude-sonnet-4-5", "gemini-2.5-pro", "somebody-elses-model"]


class TestExactness:
    @pytest.mark.parametrize(
        ("model", "encoding"),
        [
            ("gpt-4o", "o200k_base"),
            ("gpt-4o-mini-2024-07-18", "o200k_base"),
            ("gpt-4.1-nano", "o200k_base"),
            ("gpt-5", "o200k_base"),
            ("o1", "o200k_base"),
            ("o3-mini", "o200k_base"),
            ("o4-mini", "o200k_base"),
            ("ft:gpt-4o:org::id", "o200k_base"),
            ("openai/gpt-4o", "o200k_base"),
            ("gpt-4", "cl100k_base"),
            ("gpt-4-turbo", "cl100k_base"),
            ("gpt-3.5-turbo", "cl100k_base"),
            ("gpt-35-turbo", "cl100k_base"),
            ("text-embedding-3-small", "cl100k_base"),
        ],
    )
    def test_openai_text_is_exact(self, model: str, encoding: str) -> None:
        text = "Zażółć gęślą jaźń — 12345 tokens, naïvely?\n\n  def f(x): return x**2  # 漢字 😀"
        encoder = load_encoding(encoding)
        assert encoder is not None
        tokens = len(encoder.encode_ordinary(text))
        assert COUNTER.count(text, model=model) == (tokens, False, tokens)

    def test_the_two_encodings_differ_here(self) -> None:
        text = "こんにちは世界、これは試験です"
        assert COUNTER.count(text, model="gpt-4o").tokens < COUNTER.count(text, model="gpt-4").tokens

    def test_known_counts(self) -> None:
        assert COUNTER.count("tiktoken is great!", model="gpt-4").tokens == 6  # OpenAI's cookbook
        assert COUNTER.count("tiktoken is great!", model="gpt-4o").tokens == 6
        assert COUNTER.count("", model="gpt-4o") == (0, False, 0)

    @pytest.mark.parametrize("model", ["claude-sonnet-4-5", "gemini-2.5-pro", "llama3", "gpt-7"])
    def test_others_are_estimates_with_a_margin(self, model: str) -> None:
        count = COUNTER.count("The quick brown fox jumps over the lazy dog.", model=model)
        assert count.estimated
        assert count.bound > count.tokens > 0

    def test_the_recipes_are_tiktoken_s(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from tiktoken_ext import openai_public

        asked: dict[str, str] = {}
        monkeypatch.setattr(
            openai_public, "load_tiktoken_bpe", lambda url, expected_hash: asked.setdefault(url, expected_hash) and {}
        )
        for name, recipe in RECIPES.items():
            original = getattr(openai_public, name)()
            assert original["pat_str"] == recipe.pattern
            assert recipe.sha256 in asked.values()


class TestChat:
    def test_a_message_is_framed_and_the_reply_primed(self) -> None:
        assert COUNTER.count_chat([("user", "hi")], model="gpt-4o") == (3 + 1 + 1 + 3, False, 8)
        assert COUNTER.count_chat([], model="gpt-4o").tokens == 3

    def test_the_cookbook_s_example(self) -> None:
        """OpenAI's cookbook prints 129 prompt tokens for gpt-4 on these messages, counted and billed."""
        system = "system"
        messages = [
            (
                system,
                "You are a helpful, pattern-following assistant that translates corporate jargon into plain English.",
                None,
            ),
            (system, "New synergies will help drive top-line growth.", "example_user"),
            (system, "Things working well together will increase revenue.", "example_assistant"),
            (
                system,
                "Let's circle back when we have more bandwidth to touch base on opportunities for increased leverage.",
                "example_user",
            ),
            (
                system,
                "Let's talk later when we're less busy about how to do better.",
                "example_assistant",
            ),
            (
                "user",
                "This late pivot means we don't have time to boil the ocean for the client deliverable.",
                None,
            ),
        ]
        assert COUNTER.count_chat(messages, model="gpt-4").tokens == 129

    def test_tools_and_images_are_estimates(self) -> None:
        plain = COUNTER.count_chat([("user", "hi")], model="gpt-4o")
        tools = COUNTER.count_chat([("user", "hi")], model="gpt-4o", tools_json='[{"name": "search"}]')
        image = COUNTER.count_chat([("user", "hi")], model="gpt-4o", images=2)
        assert tools.estimated
        assert tools.bound >= tools.tokens > plain.tokens
        assert image.estimated
        assert image.bound == plain.bound + 2 * media_tokens(Media("image"), "gpt-4o", None).bound
        mini = COUNTER.count_chat([("user", "hi")], model="gpt-4o-mini", images=1)
        assert mini.bound == plain.bound + 48_169


class TestGarbage:
    @given(st.text(max_size=300), st.sampled_from(MODELS))
    def test_counts_are_never_negative_and_never_above_their_bound(self, text: str, model: str) -> None:
        count = COUNTER.count(text, model=model)
        assert 0 <= count.tokens <= count.bound
        chat = COUNTER.count_chat([("user", text)], model=model)
        assert count.tokens < chat.tokens <= chat.bound

    @pytest.mark.parametrize(
        "text", ["<|endoftext|>", "<|im_start|>system", "\ud800 lone surrogate", "\x00\x00", "é́" * 5]
    )
    def test_no_text_raises(self, text: str) -> None:
        assert COUNTER.count(text, model="gpt-4o").tokens > 0

    @pytest.mark.parametrize("unit", ["a", " ", "\n", "1", "^", "ab", "漢", "😀", "\t"])
    def test_an_endless_run_is_counted_in_slices_and_says_so(self, unit: str) -> None:
        """A run of a million spaces overflows the encoder's stack, which would end the process' thread."""
        count = COUNTER.count(unit * (1_000_000 // len(unit.encode())), model="gpt-4o")
        assert count.estimated
        assert 0 < count.tokens < count.bound <= 1_100_000

    def test_a_slice_costs_little_accuracy(self) -> None:
        encoder = load_encoding("o200k_base")
        assert encoder is not None
        text = "ab" * 10_000
        count = COUNTER.count(text, model="gpt-4o")
        assert count.estimated
        assert len(encoder.encode_ordinary(text)) == pytest.approx(count.tokens, rel=0.001)

    def test_a_long_ordinary_text_stays_exact(self) -> None:
        text = "The quick brown fox jumps over the lazy dog. " * 10_000
        assert COUNTER.count(text, model="gpt-4o") == (100_001, False, 100_001)


class TestOffline:
    def test_nothing_touches_the_network_or_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*args: Any, **kwargs: Any) -> None:
            raise AssertionError("the network was touched")

        monkeypatch.setattr(socket.socket, "connect", refuse)
        monkeypatch.setattr(socket, "getaddrinfo", refuse)
        monkeypatch.setattr(vocabulary, "_loaded", {})
        before = dict(os.environ)
        assert not TokenCounter().count("hello", model="gpt-4o").estimated
        assert dict(os.environ) == before

    def test_without_a_vocabulary_three_bytes_are_a_token(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(vocabulary, "_loaded", {})
        monkeypatch.setattr(vocabulary, "_missing", set())
        monkeypatch.setattr(vocabulary, "candidate_files", lambda name: iter(()))
        count = TokenCounter().count("ééééé", model="gpt-4o")
        assert count.tokens == 4  # ceil(10 / 3)
        assert count.estimated
        assert count.bound > count.tokens

    def test_a_corrupt_vocabulary_is_passed_over(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        truncated, wrong = tmp_path / "a.tiktoken.gz", tmp_path / "b"
        whole = next(candidate_files("o200k_base"))
        truncated.write_bytes(whole.read_bytes()[:1000])
        wrong.write_bytes(b"YQ== 0\n")
        monkeypatch.setattr(vocabulary, "_loaded", {})
        monkeypatch.setattr(
            vocabulary, "candidate_files", lambda name: iter([tmp_path / "none", truncated, wrong, whole])
        )
        assert not TokenCounter().count("hello", model="gpt-4o").estimated

    def test_tiktoken_s_own_cache_is_used(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
        assert tmp_path / "fb374d419588a4632f3f557e76b4b70aebbca790" in list(candidate_files("o200k_base"))

    def test_many_threads_load_a_vocabulary_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        loads: list[str] = []
        original = vocabulary._vocabularies
        monkeypatch.setattr(vocabulary, "_loaded", {})
        monkeypatch.setattr(vocabulary, "_vocabularies", lambda name: loads.append(name) or original(name))
        counters = [TokenCounter() for _ in range(8)]
        threads = [threading.Thread(target=counter.warm_up, args=("gpt-4",)) for counter in counters]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert loads == ["cl100k_base"]


def test_importing_costs_neither_tiktoken_nor_the_price_data() -> None:
    program = """
        import sys, types
        package = types.ModuleType("costguard_core")
        package.__path__ = [sys.argv[1]]
        sys.modules["costguard_core"] = package
        import costguard_core.usage.token_counter, costguard_core.pricing, costguard_core.usage.reader
        heavy = {"tiktoken", "genai_prices", "pydantic", "httpx", "requests"} & set(sys.modules)
        assert not heavy, heavy
    """
    folder = str(Path(vocabulary.__file__).parents[1])
    run_python(program, folder)
