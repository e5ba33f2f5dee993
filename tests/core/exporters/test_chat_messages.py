"""Alerts as chat services show them: one message per alert, however many users, tried again, and nothing injected."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from costguard_core.errors import ConfigurationError
from costguard_core.exporters import WebhookHook
from costguard_core.exporters.chat import messages, slack, teams
from costguard_core.policy.policy import PolicyError, parse_policy
from costguard_core.types import Alert, Event, Outcome


def _alert(user: str, *, fraction: float = 0.8, settled: int = 20, **more: Any) -> Alert:
    return Alert("$25/day per user", (("user", user),), fraction, "usd", 25 * 10**9, settled * 10**9, 0.0, **more)


@pytest.fixture
def chat() -> Iterator[Any]:
    """A chat service: it answers with the statuses it is given, then 200."""

    class Chat(ThreadingHTTPServer):
        bodies: list[Any]
        statuses: list[int]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status = server.statuses.pop(0) if server.statuses else 200
            if status == 200:
                server.bodies.append(body)
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None: ...

    server = Chat(("127.0.0.1", 0), Handler)
    server.bodies, server.statuses = [], []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def _url(chat: Any) -> str:
    return f"http://127.0.0.1:{chat.server_port}/T0/B0/s3cret"


@pytest.mark.parametrize("shape", ["slack", "teams"])
def test_two_hundred_users_are_one_message(shape: str, chat: Any) -> None:
    chat.statuses = [503, 429]
    hook = WebhookHook(_url(chat), shape=shape, gather=60.0, pause=0.0)
    for number in range(200):
        hook(_alert(f"u{number}", settled=20 + number % 5))
    hook(_alert("u1", fraction=1.0, settled=25))
    hook(Event("e", 0.0, Outcome.MISS, "m"))  # no alert
    hook.close()
    assert hook.failed == hook.dropped == 0
    many, one = chat.bodies
    assert "80% used for 200 scopes" in json.dumps(many)
    assert "and 195 more" in json.dumps(many)
    assert "'u4'" in json.dumps(many)  # one of those who used the most
    assert "100% used: $25 of $25" in json.dumps(one)


def test_the_shapes_are_those_of_the_services() -> None:
    [message] = messages([_alert("<!channel> & *b*"), _alert("u2")])
    sent: Any = slack(message)
    [section] = sent["blocks"]
    assert section["text"]["type"] == "mrkdwn"
    assert "<!channel>" not in section["text"]["text"]
    assert "&lt;!channel&gt; &amp; *b*" in section["text"]["text"]
    card: Any = teams(message)["attachments"][0]  # type: ignore[index]
    assert card["contentType"] == "application/vnd.microsoft.card.adaptive"
    assert card["content"]["type"] == "AdaptiveCard"
    runs = [run["text"] for block in card["content"]["body"] for run in block["inlines"]]
    assert any("<!channel> & *b*" in run for run in runs)  # a run has no markup
    assert message.text.count("\n") == 2


def test_long_messages_are_cut_where_the_service_would_refuse_them() -> None:
    [message] = messages([_alert("u" * 200 + str(number)) for number in range(9)])
    sent: Any = slack(message)
    assert len(sent["blocks"][0]["text"]["text"]) <= 3000
    assert len(message.lines) == 6


def test_alerts_in_words_are_gathered_too() -> None:
    loops = [_alert(f"s{number}", kind="loop", text=f"session s{number} was stopped") for number in range(3)]
    [message] = messages(loops)
    assert message.title == "loop: $25/day per user, 3 times"
    assert messages(loops[:1])[0].title == "loop: session s0 was stopped"
    assert len(messages([*loops, _alert("u1"), _alert("u1", fraction=1.0)])) == 3


def test_options_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="slack or teams"):
        WebhookHook("https://x.example", shape="discord")
    with pytest.raises(ConfigurationError, match="alerts only"):
        WebhookHook("https://x.example", shape="slack", calls=True)
    with pytest.raises(ConfigurationError, match="gather"):
        WebhookHook("https://x.example", shape="slack", gather=-1)
    made = parse_policy(
        '[[hooks]]\ntype = "webhook"\nurl = "${HOOK}"\nshape = "slack"\ngather = "1m"\n',
        {"HOOK": "https://x.example/h"},
    )
    assert made.options["hooks"][0]._shape is slack
    with pytest.raises(PolicyError, match="shape"):
        parse_policy('[[hooks]]\ntype = "webhook"\nurl = "https://x.example"\nshape = "irc"\n')
