"""A provider on this machine that speaks as OpenAI, Anthropic, Gemini, Ollama, Cohere, Mistral and Bedrock do.

It answers every request with the same text and the usage that it is told to report, whole or as a stream, and keeps
what arrived. ``costguard_core.simulate`` counts and can fail; this one says what it is told to, in more languages.
"""

from __future__ import annotations

import json
import struct
import threading
import zlib
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self

TEXT = '{"name": "Bob", "age": 3}'
_OPENAI = {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500}
_RESPONSES = {"input_tokens": 1000, "output_tokens": 500, "total_tokens": 1500}
_ANTHROPIC = {"input_tokens": 1000, "output_tokens": 500}
_GEMINI = {"promptTokenCount": 1000, "candidatesTokenCount": 500, "totalTokenCount": 1500}
_OLLAMA = {"prompt_eval_count": 1000, "eval_count": 500}
_COHERE = {
    "billed_units": {"input_tokens": 1000, "output_tokens": 500},
    "tokens": {"input_tokens": 1100, "output_tokens": 520},
}
_BEDROCK = {"inputTokens": 1000, "outputTokens": 500, "totalTokens": 1500}
# Models of sellers who report usage in the last chunk of the answer itself.
_TOGETHER = ("mistral", "llama", "codestral", "magistral", "ministral", "pixtral")
Events = list[tuple[str | None, Any]]


class Request(NamedTuple):
    """What arrived."""

    path: str
    body: dict[str, Any]


@dataclass
class ProviderServer:
    """``with ProviderServer() as server``: ``server.url`` is its root.

    Attributes:
        usage: what the next answers report, in the words of the protocol; ``None``: 1,000 tokens in, 500 out.
        model: the model that they name; ``None``: the one that was asked for.
        text: what they say.
        apart: in a stream, usage comes in a last chunk of its own, without content (but never from Mistral and Groq).
        older: Anthropic's streams say what the prompt cost in their first event alone, as some gateways' do.
        requests: what arrived.
    """

    usage: dict[str, Any] | None = None
    model: str | None = None
    text: str = TEXT
    apart: bool = True
    older: bool = True
    requests: list[Request] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"provider": self}))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def reset(self) -> None:
        """Answer as a new one would, and forget what arrived."""
        for name, default in vars(ProviderServer()).items():
            setattr(self, name, default)

    @property
    def body(self) -> dict[str, Any]:
        """The last request."""
        return self.requests[-1].body

    def answer(self, path: str, body: dict[str, Any]) -> tuple[str, bytes]:
        """Content type and body of the answer to a request."""
        path = path.partition("?")[0]
        streamed = bool(body.get("stream"))
        if path.endswith("/responses"):
            return _events(self._responses(body)) if streamed else _json(self._response(body))
        if path.endswith("/messages"):
            return _events(self._message_stream(body)) if streamed else _json(self._message(body))
        if path.endswith("/embeddings"):
            return _json(self._embeddings(body))
        if "enerateContent" in path:
            model = path.split("models/")[1].split(":")[0]
            return _events(self._gemini_stream(model)) if "stream" in path else _json(self._gemini(model, self.text))
        if path.endswith(("/v1/chat", "/v2/chat")):
            return self._cohere(body, newer="/v2/" in path)
        if path.endswith("/api/chat"):
            return self._ollama(body)
        if path.endswith("/api/show"):
            return _json({"capabilities": ["completion", "tools"], "model_info": {}, "details": {}})
        if path.endswith("/converse"):
            return _json(self._converse(body))
        if path.endswith("/converse-stream"):
            return "application/vnd.amazon.eventstream", b"".join(map(_aws_event, self._converse_stream()))
        return _events(self._chunks(body)) if streamed else _json(self._chat(body))

    def _named(self, body: dict[str, Any]) -> str:
        return self.model or str(body.get("model", "the-model"))

    # OpenAI and those who imitate it

    def _chat(self, body: dict[str, Any]) -> dict[str, Any]:
        tool = next(iter(body.get("tools") or ()), None)
        message: dict[str, Any] = {"role": "assistant", "content": self.text}
        if tool is not None:
            function = {"name": tool["function"]["name"], "arguments": self.text}
            message |= {"content": "", "tool_calls": [{"id": "call_1", "type": "function", "function": function}]}
        choice = {"index": 0, "message": message, "text": self.text, "finish_reason": "stop", "logprobs": None}
        usage = _OPENAI if self.usage is None else self.usage
        named = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": self._named(body)}
        named["system_fingerprint"] = "fp"
        return {**named, "choices": [choice], "usage": usage}

    def _chunks(self, body: dict[str, Any]) -> Events:
        whole = {**self._chat(body), "object": "chat.completion.chunk"}
        usage = whole.pop("usage")
        delta = whole["choices"][0]["message"]
        for index, call in enumerate(delta.get("tool_calls", ())):
            call["index"] = index
        empty = {"index": 0, "delta": {}, "text": "", "finish_reason": "stop"}
        chunks = [
            {**whole, "choices": [{"index": 0, "delta": delta, "text": self.text, "finish_reason": None}]},
            {**whole, "choices": [empty]},
        ]
        if not self.apart or whole["model"].startswith(_TOGETHER):
            chunks[-1] |= {"usage": usage, "x_groq": {"id": "req_1", "usage": usage}}
        elif (body.get("stream_options") or {}).get("include_usage", "stream_options" not in body):
            chunks.append({**whole, "choices": [], "usage": usage})
        return [*((None, chunk) for chunk in chunks), (None, "[DONE]")]

    def _response(self, body: dict[str, Any]) -> dict[str, Any]:
        content = [{"type": "output_text", "text": self.text, "annotations": []}]
        message = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": content}
        tools = {"parallel_tool_calls": True, "tool_choice": "auto", "tools": []}
        head = {"id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "metadata": {}, **tools}
        nothing = {"error": None, "incomplete_details": None, "instructions": None, "temperature": 1, "top_p": 1}
        usage = _RESPONSES if self.usage is None else self.usage
        details = {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
        return {**head, **nothing, "model": self._named(body), "output": [message], "usage": {**details, **usage}}

    def _responses(self, body: dict[str, Any]) -> Events:
        whole = self._response(body)
        item = whole["output"][0]
        where = {"item_id": item["id"], "output_index": 0, "content_index": 0}
        part = {"type": "output_text", "text": "", "annotations": []}
        events: list[dict[str, Any]] = [
            {
                "type": "response.created",
                "response": {**whole, "status": "in_progress", "output": [], "usage": None},
            },
            {"type": "response.output_item.added", "output_index": 0, "item": {**item, "content": []}},
            {"type": "response.content_part.added", **where, "part": part},
            {"type": "response.output_text.delta", **where, "delta": self.text, "logprobs": []},
            {"type": "response.output_text.done", **where, "text": self.text, "logprobs": []},
            {"type": "response.output_item.done", "output_index": 0, "item": item},
            {"type": "response.completed", "response": whole},
        ]
        return [(str(event["type"]), {**event, "sequence_number": n}) for n, event in enumerate(events)]

    def _embeddings(self, body: dict[str, Any]) -> dict[str, Any]:
        count = len(body["input"]) if isinstance(body.get("input"), list) else 1
        data = [{"object": "embedding", "index": index, "embedding": [0.5, 0.5]} for index in range(count)]
        usage = {"prompt_tokens": 1000, "total_tokens": 1000} if self.usage is None else self.usage
        return {"id": "embd-1", "object": "list", "data": data, "model": self._named(body), "usage": usage}

    # Anthropic

    def _message(self, body: dict[str, Any]) -> dict[str, Any]:
        tool = next(iter(body.get("tools") or ()), None)
        text = {"type": "text", "text": self.text}
        called = {"type": "tool_use", "id": "toolu_1", "name": (tool or {}).get("name"), "input": json.loads(self.text)}
        head = {"id": "msg_1", "type": "message", "role": "assistant", "model": self._named(body)}
        usage = _ANTHROPIC if self.usage is None else self.usage
        content = [text] if tool is None or "input_schema" not in tool else [called]
        content = [*_searches((usage.get("server_tool_use") or {}).get("web_search_requests") or 0), *content]
        return {**head, "content": content, "usage": usage, "stop_reason": "end_turn", "stop_sequence": None}

    def _message_stream(self, body: dict[str, Any]) -> Events:
        """As Anthropic's: the prompt is in the first event, the running totals are in the last."""
        whole = self._message(body)
        usage, text = whole["usage"], {"type": "text", "text": ""}
        begun = {**usage, "output_tokens": 1}
        first = {"type": "message_start", "message": {**whole, "content": [], "stop_reason": None, "usage": begun}}
        delta = {"type": "text_delta", "text": self.text}
        repeated = _IN_DELTA if self.older else (*_IN_DELTA, *_PROMPT_IN_DELTA)
        told = {name: value for name, value in usage.items() if name in repeated}
        events: list[dict[str, Any]] = [
            first,
            *_blocks(whole["content"][:-1]),
            {"type": "content_block_start", "index": len(whole["content"]) - 1, "content_block": text},
            {"type": "content_block_delta", "index": len(whole["content"]) - 1, "delta": delta},
            {"type": "content_block_stop", "index": len(whole["content"]) - 1},
            {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn", "stop_sequence": None},
                "usage": told,
            },
            {"type": "message_stop"},
        ]
        return [(str(event["type"]), event) for event in events]

    # Gemini

    def _gemini(self, model: str, text: str | None) -> dict[str, Any]:
        content: dict[str, Any] = {"role": "model"} if text is None else {"role": "model", "parts": [{"text": text}]}
        candidate = {"content": content, "finishReason": "STOP", "index": 0}
        usage = _GEMINI if self.usage is None else self.usage
        named = {"modelVersion": self.model or model, "responseId": "gemini-1"}
        return {"candidates": [candidate], "usageMetadata": usage, **named}

    def _gemini_stream(self, model: str) -> Events:
        first, last = self._gemini(model, self.text), self._gemini(model, None)
        if not self.apart:
            return [(None, first)]
        del first["usageMetadata"]
        return [(None, first), (None, last)]

    # Ollama

    def _ollama(self, body: dict[str, Any]) -> tuple[str, bytes]:
        head = {"model": self._named(body), "created_at": "2026-01-01T00:00:00Z"}
        usage = _OLLAMA if self.usage is None else self.usage
        took = {"total_duration": 1, "load_duration": 1, "prompt_eval_duration": 1, "eval_duration": 1}
        said, nothing = {"role": "assistant", "content": self.text}, {"role": "assistant", "content": ""}
        end = {"done": True, "done_reason": "stop", **took, **usage}
        if body.get("stream") is False:
            return _json({**head, "message": said, **end})
        lines = [{**head, "message": said, "done": False}, {**head, "message": nothing, **end}]
        return "application/x-ndjson", b"".join(json.dumps(line).encode() + b"\n" for line in lines)

    # Cohere

    def _cohere(self, body: dict[str, Any], *, newer: bool) -> tuple[str, bytes]:
        usage = _COHERE if self.usage is None else self.usage
        if newer:
            content = [{"type": "text", "text": self.text}]
            message = {"role": "assistant", "content": content}
            if not body.get("stream"):
                return _json({"id": "c1", "finish_reason": "COMPLETE", "message": message, "usage": usage})
            delta = {"message": {"content": {"text": self.text}}}
            end = {"finish_reason": "COMPLETE", "usage": usage}
            events: Events = [
                (None, {"type": "message-start", "id": "c1", "delta": {"message": {"role": "assistant"}}}),
                (None, {"type": "content-delta", "index": 0, "delta": delta}),
                (None, {"type": "message-end", "delta": end}),
            ]
            return _events(events)
        whole = {"text": self.text, "generation_id": "g1", "response_id": "c1", "finish_reason": "COMPLETE"}
        tool = next(iter(body.get("tools") or ()), None)
        if tool is not None:
            whole["tool_calls"] = [{"name": tool["name"], "parameters": json.loads(self.text)}]
        whole |= {"chat_history": [], "meta": {"api_version": {"version": "1"}, **usage}}
        if not body.get("stream"):
            return _json(whole)
        lines = [
            {"event_type": "stream-start", "generation_id": "g1", "is_finished": False},
            {"event_type": "text-generation", "text": self.text, "is_finished": False},
            {"event_type": "stream-end", "is_finished": True, "finish_reason": "COMPLETE", "response": whole},
        ]
        return "application/stream+json", b"".join(json.dumps(line).encode() + b"\n" for line in lines)

    # Bedrock

    def _converse(self, body: dict[str, Any]) -> dict[str, Any]:
        tools = (body.get("toolConfig") or {}).get("tools")
        name = tools[0]["toolSpec"]["name"] if tools else None
        used = {"toolUse": {"toolUseId": "tool_1", "name": name, "input": json.loads(self.text)}} if name else None
        message = {"message": {"role": "assistant", "content": [used or {"text": self.text}]}}
        usage = _BEDROCK if self.usage is None else self.usage
        return {"output": message, "stopReason": "end_turn", "usage": usage, "metrics": {"latencyMs": 5}}

    def _converse_stream(self) -> Events:
        usage = _BEDROCK if self.usage is None else self.usage
        return [
            ("messageStart", {"role": "assistant"}),
            ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": self.text}}),
            ("contentBlockStop", {"contentBlockIndex": 0}),
            ("messageStop", {"stopReason": "end_turn"}),
            ("metadata", {"usage": usage, "metrics": {"latencyMs": 5}}),
        ]


# What Anthropic repeats at the end of a stream: https://platform.claude.com/docs/en/build-with-claude/streaming
_IN_DELTA = ("output_tokens", "server_tool_use", "output_tokens_details", "iterations")
_PROMPT_IN_DELTA = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")


def _searches(number: int) -> list[dict[str, Any]]:
    """What Anthropic's web searches leave in a message."""
    blocks: list[dict[str, Any]] = []
    for count in range(number):
        use = {"type": "server_tool_use", "id": f"srvtoolu_{count}", "name": "web_search", "input": {"query": "q"}}
        page = {"type": "web_search_result", "url": "https://example.org", "title": "t", "encrypted_content": "e"}
        blocks += [use, {"type": "web_search_tool_result", "tool_use_id": use["id"], "content": [page]}]
    return blocks


def _blocks(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    for index, block in enumerate(blocks):
        events.append({"type": "content_block_start", "index": index, "content_block": block})
        events.append({"type": "content_block_stop", "index": index})
    return events


def _json(body: Any) -> tuple[str, bytes]:
    return "application/json", json.dumps(body).encode()


def _events(events: Events) -> tuple[str, bytes]:
    written = b""
    for name, data in events:
        text = data if isinstance(data, str) else json.dumps(data)
        written += (f"event: {name}\n" if name else "").encode() + f"data: {text}\n\n".encode()
    return "text/event-stream", written


def _aws_event(event: tuple[str | None, Any]) -> bytes:
    """https://smithy.io/2.0/aws/amazon-eventstream.html"""
    name, data = event
    named = {":event-type": str(name), ":content-type": "application/json", ":message-type": "event"}
    headers = b"".join(
        bytes([len(key)]) + key.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
        for key, value in named.items()
    )
    payload = json.dumps(data).encode()
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + payload
    return message + struct.pack(">I", zlib.crc32(message))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    provider: ProviderServer

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._send("application/json", b'{"models": [], "name": "models/m", "data": []}')

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)) or b"{}")
        self.provider.requests.append(Request(self.path, body))
        self._send(*self.provider.answer(self.path, body))

    def _send(self, kind: str, data: bytes) -> None:
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
