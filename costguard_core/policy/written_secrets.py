"""Passwords, keys and secret addresses that stand in a policy file, where they must not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from urllib.parse import parse_qsl

from costguard_core.cache.secrets import is_secret
from costguard_core.errors import ConfigurationError
from costguard_core.util.toml_document import Path, Problem, takes_no_variable, without_variables
from costguard_core.util.urls import has_credentials, split

_ADDRESSES = ("store", "ledger", "url", "keys", "cache", "path", "log", "jwks")
"""The settings that are, or may be, a URL."""

# Hosts whose webhook addresses are secrets: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks/
_SECRET_HOSTS = (
    "hooks.slack.com",
    "webhook.office.com",
    "logic.azure.com",
    "discord.com",
    "discordapp.com",
    "api.telegram.org",
    "events.pagerduty.com",
)


def written_secrets(values: object, path: Path = ()) -> Iterator[Problem]:
    """Passwords, keys and secret addresses that stand in the file itself, defaults of variables included."""
    pairs = values.items() if isinstance(values, Mapping) else enumerate(values) if isinstance(values, list) else ()
    for name, value in pairs:
        place = (*path, name)
        if not isinstance(value, str):
            yield from written_secrets(value, place)
        elif name in _ADDRESSES:
            yield from _secrets_in_address(place, value)
        elif name == "key" and path[:2] == ("proxy", "upstreams") and takes_no_variable(value):
            yield Problem(place, 'the file shows a key: write key = "${OPENAI_API_KEY}"')
        elif (
            path[-1:] == ("headers",)
            and path != ("proxy", "headers")
            and is_secret(str(name))
            and takes_no_variable(value)
        ):
            yield Problem(place, f'the file shows a secret: write {name} = "${{{_variable_name(path[0])}_SECRET}}"')


def _secrets_in_address(path: Path, url: str) -> Iterator[Problem]:
    written = without_variables(url)
    name = _variable_name(path[0] if path[0] == "hooks" else path[-1])
    try:
        parts = split(written)
        secret = has_credentials(written) or any(is_secret(name) and value for name, value in parse_qsl(parts.query))
        if not secret and not (parts.hostname in _SECRET_HOSTS and takes_no_variable(url)):
            return
    except ConfigurationError as error:
        yield Problem(path, str(error))
        return
    shown = "the address is a secret" if path[0] == "hooks" else "the file shows a password"
    variable = name if name.endswith("URL") else f"{name}_URL"
    yield Problem(path, f'{shown}: write {path[-1]} = "${{{variable}}}"')


def _variable_name(setting: str | int) -> str:
    return "WEBHOOK" if setting == "hooks" else str(setting).upper()
