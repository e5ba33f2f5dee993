"""Is the prompt that is held before a call as long as the one that was billed? python benchmarks/holds.py FOLDER...

The folders hold recorded requests and answers of real providers (cassettes of VCR for Python, Ruby or R as YAML, the
same as JSON, or HAR), such as the tests of pydantic-ai, openllmetry, openinference, dd-trace-py and braintrust-sdk-
python, off which the bounds were read; of Mirascope, crewAI, ruby_llm, chatlas, activeagent, ellmer, dd-trace-js,
langsmith-sdk, magentic, opentelemetry-python-contrib, logfire, openllmetry-js, llm and its plugins for Anthropic,
Gemini and OpenRouter, agentops, elastic-otel-python-instrumentations and ruby-openai, where nobody had looked; and of
charmbracelet/fantasy, cloned from GitHub. Each request is counted as a guarded LangChain model counts it, and compared
with the prompt tokens that the answer says were billed.

Prints, per class of request, how often the bound is below the bill, and the median of bound / bill. The length of an
answer is not measured: what is held for it is the request's own limit. ``--half`` measures one of two halves, chosen by
the hash of the request, so that what was found in one can be tried on the other; ``--without`` leaves out the requests
of folders that are known. Exits 1 if more than 2 % of the bounds are below the bill, or more than 3 % of the counts
that say that they are exact are not, or text or tools are held at more than 1.5 times their bill in the median. Files
are nearly all one-page test files there, and those by address have no known length: their ratios are printed only.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import hashlib
import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import yaml
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from costguard_core import Attribution, CostGuard, Usage
from costguard_core.lifecycle.calls import chat_call
from costguard_core.usage.overhead import is_hosted
from costguard_core.usage.parameters import Known
from costguard_core.usage.prompt_content import read_content
from costguard_core.usage.reader import read_usage
from langchain_costguard.translate.messages import read_messages

GOAL_BELOW, GOAL_RATIO, GOAL_INEXACT = 0.02, 1.5, 0.03
_HOSTS = (
    ("openai.azure.com", "azure"),
    ("api.openai.com", "openai"),
    ("anthropic.com", "anthropic"),
    ("generativelanguage", "google_genai"),
    ("aiplatform", "google_vertexai"),
    ("bedrock", "amazon_bedrock"),
    ("groq.com", "groq"),
    ("mistral.ai", "mistralai"),
    ("deepseek.com", "deepseek"),
    ("openrouter.ai", "openrouter"),
    ("cerebras.ai", "cerebras"),
    ("x.ai", "xai"),
    ("cohere", "cohere"),
    ("together", "together"),
    ("z.ai", "zai"),
    ("perplexity.ai", "perplexity"),
    ("fireworks.ai", "fireworks"),
    ("services.ai.azure.com", "azure_ai"),
    ("cognitiveservices.azure.com", "azure"),
    ("huggingface.co", "huggingface"),
)


class Recording(NamedTuple):
    """One request, and the usage in its answer."""

    path: str
    url: str
    request: dict[str, Any]
    usage: dict[str, Any]
    answer_model: str | None


class Measured(NamedTuple):
    """One request: what was held for its prompt and what was billed, in tokens."""

    recording: Recording
    provider: str
    model: str
    kind: str
    bound: int
    results: int
    billed: int
    exact: bool


def recordings(folders: list[Path]) -> Iterator[Recording]:
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.suffix in (".yaml", ".yml", ".json", ".har", ".gz"):
                yield from read_file(path)


def read_file(path: Path) -> Iterator[Recording]:
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        is_json = path.suffix in (".json", ".har")
        found = json.loads(data) if is_json else yaml.load(data, Loader=yaml.CSafeLoader)
    except (ValueError, yaml.YAMLError, OSError):
        return
    for pair in pairs_of(found):
        if not isinstance(pair, dict) or not isinstance(pair.get("request"), dict):
            continue
        request, response = pair["request"], pair.get("response") or {}
        asked, answered = body_of(request), body_of(response)
        if not isinstance(asked, dict):
            continue
        usage, model = usage_of(answered)
        if usage:
            yield Recording(str(path), str(request.get("uri") or request.get("url")), asked, usage, model)


def pairs_of(found: Any) -> list[Any]:
    """The requests and answers of a file: VCR of Python, VCR of Ruby and R, or HAR (Polly.js)."""
    if not isinstance(found, dict):
        return []
    log = found.get("log")
    pairs = log.get("entries") if isinstance(log, dict) else found.get("http_interactions", found.get("interactions"))
    return pairs if isinstance(pairs, list) else [found]


def body_of(part: Mapping[str, Any]) -> Any:
    if "parsed_body" in part:
        return part["parsed_body"]
    body = raw_body(part)
    if isinstance(body, bytes):
        if body[:2] == b"\x1f\x8b":
            try:
                body = gzip.decompress(body)
            except (OSError, EOFError):
                return None
        body = body.decode("utf-8", "replace")
    if not isinstance(body, str):
        return body
    try:
        return json.loads(body)
    except ValueError:
        return body


def raw_body(part: Mapping[str, Any]) -> Any:
    body = part.get("body")
    for name in ("postData", "content"):  # HAR
        held = part.get(name)
        if body is None and isinstance(held, dict):
            text = held.get("text")
            encoded = held.get("encoding") == "base64" and isinstance(text, str)
            body = base64.b64decode(text) if encoded else text
    if isinstance(body, dict):
        encoded = body.get("base64_string")  # Ruby's
        return base64.b64decode(encoded) if isinstance(encoded, str) else body.get("string", body)
    return body


def usage_of(body: Any) -> tuple[dict[str, Any], str | None]:
    """The usage in an answer or in the events of a stream."""
    if isinstance(body, list):
        parts = [part for part in body if isinstance(part, dict)]
        return usage_of(parts[-1]) if parts else ({}, None)
    if isinstance(body, dict):
        inner = body.get("response") if isinstance(body.get("response"), dict) else body
        found = inner.get("usage") or inner.get("usageMetadata") or {}
        return (found if isinstance(found, dict) else {}), inner.get("model") or inner.get("modelVersion")
    merged: dict[str, Any] = {}
    model = None
    if isinstance(body, str):
        for line in body.splitlines():
            if not line.startswith("data:"):
                continue
            try:
                event = json.loads(line[5:])
            except ValueError:
                continue
            if not isinstance(event, dict):
                continue
            for holder in (event, event.get("message"), event.get("response"), event.get("x_groq")):
                if isinstance(holder, dict):
                    found = holder.get("usage") or holder.get("usageMetadata")
                    merged |= {k: v for k, v in found.items() if v is not None} if isinstance(found, dict) else {}
                    model = holder.get("model") or holder.get("modelVersion") or model
    return merged, model


# A request of each API as messages and parameters


def translated(recording: Recording) -> tuple[str, str, list[BaseMessage], dict[str, Any]] | None:
    """Provider, model, messages and parameters; ``None``: no chat."""
    url, body = recording.url, recording.request
    host = urlsplit(url).netloc
    provider = next((name for part, name in _HOSTS if part in host), None)
    path = unquote(urlsplit(url).path)
    if provider is None or "embed" in path or "batches" in path or "count" in path.lower().rpartition("/")[2]:
        return None
    model = body.get("model") or ""
    if provider in ("google_genai", "google_vertexai") and isinstance(body.get("contents"), (list, str)):
        return provider, path.rpartition("/")[2].partition(":")[0], *google(body)
    if provider == "amazon_bedrock":
        model = path.partition("/model/")[2].partition("/")[0]
        return (provider, model, *bedrock(body)) if "converse" in path else None
    if provider == "azure" and not model:
        model = path.partition("/deployments/")[2].partition("/")[0]
    if not isinstance(model, str):
        return None
    model = model or recording.answer_model or ""
    if path.endswith("/responses") and "input" in body and "previous_response_id" not in body:
        return provider, model, *responses(body)
    if isinstance(body.get("messages"), list):
        is_anthropic = path.endswith("/messages")
        return provider, model, *(anthropic(body) if is_anthropic else chat(body))
    return None


def chat(body: Mapping[str, Any]) -> tuple[list[BaseMessage], dict[str, Any]]:
    messages = []
    for message in body["messages"]:
        calls = [
            {
                "name": call["function"]["name"],
                "args": arguments(call["function"].get("arguments")),
                "id": call.get("id"),
            }
            for call in message.get("tool_calls") or ()
            if isinstance(call.get("function"), dict)
        ]
        messages.append(as_message(message["role"], message.get("content") or "", calls, message.get("name")))
    return messages, {key: value for key, value in body.items() if key not in ("messages", "model")}


def anthropic(body: Mapping[str, Any]) -> tuple[list[BaseMessage], dict[str, Any]]:
    messages = [as_message("system", body["system"])] if body.get("system") else []
    for message in body["messages"]:
        content = message["content"]
        calls = [
            {"name": block["name"], "args": arguments(block.get("input")), "id": block.get("id")}
            for block in (content if isinstance(content, list) else ())
            if isinstance(block, dict) and block.get("type") == "tool_use"
        ]
        messages.append(as_message(message["role"], content, calls))
    return messages, {key: value for key, value in body.items() if key not in ("messages", "model", "system")}


def responses(body: Mapping[str, Any]) -> tuple[list[BaseMessage], dict[str, Any]]:
    messages = [as_message("system", body["instructions"])] if body.get("instructions") else []
    given = body["input"]
    for item in [{"role": "user", "content": given}] if isinstance(given, str) else given:
        if not isinstance(item, dict):
            continue
        kind = item.get("type", "message")
        if kind == "message":
            messages.append(as_message(item.get("role", "user"), item.get("content") or ""))
        elif kind == "function_call":
            call = {"name": item["name"], "args": arguments(item.get("arguments")), "id": item.get("call_id")}
            messages.append(as_message("assistant", "", [call]))
        elif kind == "function_call_output":
            messages.append(as_message("tool", item.get("output") or ""))
        elif kind == "reasoning":
            block = {"type": "reasoning", "reasoning": texts_of(item.get("summary"))}
            messages.append(as_message("assistant", [{**block, "encrypted_content": item.get("encrypted_content")}]))
        else:
            messages.append(as_message("assistant", [item]))
    return messages, {key: value for key, value in body.items() if key not in ("input", "model", "instructions")}


def google(body: Mapping[str, Any]) -> tuple[list[BaseMessage], dict[str, Any]]:
    system = body.get("systemInstruction") or body.get("system_instruction")
    messages = [as_message("system", parts_of(system))] if system else []
    given = body["contents"]
    for content in [{"role": "user", "parts": [{"text": given}]}] if isinstance(given, str) else given:
        parts = [part for part in parts_of(content) if isinstance(part, dict)]
        called = [found for part in parts if (found := part.get("functionCall") or part.get("function_call"))]
        calls = [{"name": call["name"], "args": call.get("args") or {}, "id": "1"} for call in called]
        blocks = [
            block
            for block in parts_of(content)
            if not (isinstance(block, dict) and ("functionCall" in block or "function_call" in block))
        ]
        results = any("functionResponse" in part or "function_response" in part for part in parts)
        role = "assistant" if content.get("role") == "model" else "tool" if results else "user"
        message = as_message(role, blocks, calls)
        seals = [part.get("thoughtSignature") for part in parts]
        if calls and any(seals):  # as LangChain keeps them
            sealed = {str(number): seal for number, seal in enumerate(seals) if seal}
            message.additional_kwargs["__gemini_function_call_thought_signatures__"] = sealed
        messages.append(message)
    config = body.get("generationConfig") or {}
    params = {"tools": body.get("tools"), "cached_content": body.get("cachedContent"), **config}
    for name in ("responseSchema", "responseJsonSchema"):
        if config.get(name):
            params["response_schema"] = config[name]
    return messages, params


def bedrock(body: Mapping[str, Any]) -> tuple[list[BaseMessage], dict[str, Any]]:
    messages = [as_message("system", body["system"])] if body.get("system") else []
    for message in body.get("messages") or ():
        calls = [
            {"name": block["toolUse"]["name"], "args": arguments(block["toolUse"].get("input")), "id": "1"}
            for block in message["content"]
            if isinstance(block.get("toolUse"), dict)
        ]
        blocks = [block for block in message["content"] if "toolUse" not in block]
        messages.append(as_message(message["role"], blocks, calls))
    config = body.get("toolConfig") or {}
    params = {**(body.get("additionalModelRequestFields") or {}), "tools": config.get("tools")}
    return messages, {**params, **({"outputConfig": body["outputConfig"]} if body.get("outputConfig") else {})}


def parts_of(content: Any) -> list[Any]:
    if isinstance(content, str):
        return [content]
    parts = content.get("parts") or []
    return parts if isinstance(parts, list) else [parts]


def as_message(role: str, content: Any, calls: list[Any] | None = None, name: str | None = None) -> BaseMessage:
    if role in ("system", "developer"):
        return SystemMessage(content)
    if role in ("assistant", "model"):
        return AIMessage(content, tool_calls=calls or [])
    if role in ("tool", "function"):
        text = content if isinstance(content, (str, list)) else json.dumps(content)
        return ToolMessage(text, tool_call_id="1")
    return HumanMessage(content, name=name)


def arguments(given: Any) -> dict[str, Any]:
    if isinstance(given, dict):
        return given
    try:
        found = json.loads(given or "{}")
    except ValueError:
        return {"value": given}
    return found if isinstance(found, dict) else {"value": found}


def texts_of(summary: Any) -> str:
    return "".join(part.get("text", "") for part in summary or () if isinstance(part, dict))


# What is measured


def kind_of(messages: list[BaseMessage], params: Mapping[str, Any]) -> str:
    tools = [tool for tool in params.get("tools") or () if tool]
    if any(is_hosted(tool) and not (isinstance(tool, dict) and "toolSpec" in tool) for tool in tools):
        return "provider's tools"
    held = {part.kind for message in messages for part in read_content(message.content).media}
    for kind in ("document", "video", "audio", "image"):
        if kind in held:
            unknown = any(part.data is None for message in messages for part in read_content(message.content).media)
            return f"{kind} by address" if unknown else kind
    if tools:
        return "tools"
    schema = ("response_format", "text", "output_config", "outputConfig", "output_format", "response_schema")
    return "schema" if any(params.get(name) for name in schema) else "text"


def request_key(recording: Recording) -> str:
    return json.dumps(recording.request, sort_keys=True, default=str)


def measure(guard: CostGuard, recording: Recording) -> Measured | None:
    try:
        found = translated(recording)
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    if found is None:
        return None
    provider, model, messages, params = found
    usage = read_usage(recording.usage, provider=provider)
    if usage is None or not usage.input_tokens:
        return None
    call = chat_call(guard, read_messages(messages), Known(model, provider), params, Attribution())
    return Measured(
        recording,
        provider,
        model,
        kind_of(messages, params),
        call.input_tokens or 0,
        call.result_tokens,
        billed_prompt(usage),
        not call.input_estimated,
    )


def billed_prompt(usage: Usage) -> int:
    return usage.input_tokens


def main() -> int:
    arguments_ = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments_.add_argument("folders", nargs="+", type=Path)
    arguments_.add_argument("--below", action="store_true", help="print every request whose bound is below the bill")
    arguments_.add_argument("--above", type=float, help="print those whose bound is more than so many times the bill")
    arguments_.add_argument(
        "--without", type=Path, action="append", default=[], help="leave out this folder's requests"
    )
    arguments_.add_argument("--half", type=int, choices=(0, 1), help="only one half of the requests, by their hash")
    given = arguments_.parse_args()
    guard = CostGuard(["1000000000 tokens/day"])
    classes: dict[tuple[str, str], list[Measured]] = defaultdict(list)
    seen: set[str] = set()
    known = {request_key(one) for one in recordings(given.without)}
    read = 0
    for recording in recordings(given.folders):
        read += 1
        key = json.dumps([recording.request, recording.usage], sort_keys=True, default=str)
        if key in seen or request_key(recording) in known:
            continue
        seen.add(key)
        if given.half is not None and hashlib.sha256(key.encode()).digest()[0] & 1 != given.half:
            continue
        one = measure(guard, recording)
        if one is not None:
            classes[one.kind, one.provider].append(one)
            held = one.bound + one.results
            if (given.below and held < one.billed) or (given.above and held > given.above * one.billed):
                print(
                    f"{one.bound}+{one.results} for {one.billed}: {one.provider} {one.model} {one.kind} "
                    f"{one.recording.path[-110:]} {json.dumps(one.recording.request, default=str)[:260]}"
                )
    return report(read, classes)


def report(read: int, classes: Mapping[tuple[str, str], list[Measured]]) -> int:
    whole = [one for found in classes.values() for one in found]
    print(f"{read} recorded answers with usage, {len(whole)} distinct chats counted")
    if not whole:
        return 2
    print(
        f"{'class':18}{'provider':18}{'chats':>6}{'below':>7}{'share':>8}{'median':>8}{'most':>8}{'exact':>7}{'wrong':>7}"
    )
    failed = False
    by_kind: dict[str, list[Measured]] = defaultdict(list)
    for (kind, provider), found in sorted(classes.items()):
        by_kind[kind] += found
        line(kind, provider, found)
    print()
    for kind, found in sorted(by_kind.items()):
        failed |= line(kind, "all", found) > GOAL_RATIO and kind in ("text", "tools")
    below = sum(one.bound + one.results < one.billed for one in whole) / max(1, len(whole))
    line("all", "all", whole)
    exact = [one for one in whole if one.exact]
    inexact = sum(one.bound != one.billed for one in exact) / max(1, len(exact))
    return 1 if failed or below > GOAL_BELOW or inexact > GOAL_INEXACT else 0


def line(kind: str, provider: str, found: list[Measured]) -> float:
    below = sum(one.bound + one.results < one.billed for one in found)
    ratios = [(one.bound + one.results) / one.billed for one in found]
    exact = [one for one in found if one.exact]
    wrong = sum(one.bound != one.billed for one in exact)
    middle = median(ratios)
    print(
        f"{kind:18}{provider:18}{len(found):6}{below:7}{below / len(found):8.1%}{middle:8.2f}{max(ratios):8.1f}"
        f"{len(exact):7}{wrong:7}"
    )
    return middle


if __name__ == "__main__":
    sys.exit(main())
