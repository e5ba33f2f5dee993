"""Alerts as messages for chat services: one message per alert, however many users it is about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from costguard_core.errors import ConfigurationError
from costguard_core.exporters.base import as_line
from costguard_core.types import Alert
from costguard_core.util.text import printable

_NAMED = 5  # scopes that a message names; of the others it says how many there are
# What Slack gives a meaning to: https://docs.slack.dev/messaging/formatting-message-text/#escaping
_SLACK = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_SLACK_SECTION = 3000  # characters: https://docs.slack.dev/reference/block-kit/blocks/section-block


class Message(NamedTuple):
    """What people read.

    Attributes:
        title: what happened.
        lines: whom it is about, the one who used the most first.
    """

    title: str
    lines: Sequence[str]

    @property
    def text(self) -> str:
        """All of it as plain text."""
        return "\n".join([self.title, *self.lines])


def messages(alerts: Iterable[Alert]) -> list[Message]:
    """One message for each budget, fraction and kind, in the order of their first alert."""
    groups: dict[tuple[str, str, float], list[Alert]] = {}
    for alert in alerts:
        groups.setdefault((alert.kind, alert.budget, alert.fraction), []).append(alert)
    return [_message(group) for group in groups.values()]


def _message(alerts: Sequence[Alert]) -> Message:
    first = alerts[0]
    if len(alerts) == 1:
        return Message(as_line(first), ())
    dearest = sorted(alerts, key=lambda alert: -alert.settled)
    title = f"budget '{printable(first.budget)}' is {first.fraction:.0%} used for {len(alerts):,} scopes"
    if first.text:
        title = f"{first.kind}: {printable(first.budget)}, {len(alerts):,} times"
    lines = [as_line(alert) for alert in dearest[:_NAMED]]
    more = len(alerts) - len(lines)
    return Message(title, [*lines, f"and {more:,} more"] if more else lines)


def slack(message: Message) -> Mapping[str, object]:
    """For an incoming webhook of Slack's: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks."""
    title = message.title.translate(_SLACK)
    text = "\n".join([f"*{title}*", *(f"• {line.translate(_SLACK)}" for line in message.lines)])
    section = {"type": "section", "text": {"type": "mrkdwn", "text": text[:_SLACK_SECTION]}}
    return {"text": title, "blocks": [section]}


def teams(message: Message) -> Mapping[str, object]:
    """An adaptive card for a workflow of Microsoft Teams. Its texts are runs, which have no markup.

    https://learn.microsoft.com/en-us/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using
    """
    runs = [[{"type": "TextRun", "text": message.title, "weight": "Bolder"}]]
    runs += [[{"type": "TextRun", "text": line}] for line in message.lines]
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": [{"type": "RichTextBlock", "inlines": inlines} for inlines in runs],
    }
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return {"type": "message", "attachments": [attachment]}


SHAPES = {"slack": slack, "teams": teams}
"""What a message is as JSON, by the service that is sent it."""


def shape_named(name: str) -> str:
    """A shape that exists.

    Raises:
        ConfigurationError: there is none of this name.
    """
    if name not in SHAPES:
        raise ConfigurationError(f"shape={name!r}: a webhook's messages have the shape of {' or '.join(SHAPES)}")
    return name
