"""``costguard keys``: what callers of the proxy sign in with."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from costguard_core.cli.arguments import Json, names_and_values
from costguard_core.cli.printing import print_json, print_result, print_text

if TYPE_CHECKING:
    from costguard_core.proxy.keys import KeyStore, VirtualKey

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Make, list, rotate and revoke keys of the proxy.")

Store = Annotated[
    str, typer.Option("--keys", envvar="COSTGUARD_KEYS", help="Where keys are kept: a URL, or the path of a file.")
]
Id = Annotated[str, typer.Argument(help="The id of a key, from costguard keys list.")]

_DEFAULT = "sqlite:///costguard-keys.db"


@app.command()
def create(
    *,
    tag: Annotated[
        list[str] | None, typer.Option(help="Whose calls these are: user=u1, tenant=t1, plan=free …")
    ] = None,
    name: Annotated[str, typer.Option(help="What people call it.")] = "",
    expires: Annotated[str | None, typer.Option(help='How long it is valid: "30d", "12h".')] = None,
    keys: Store = _DEFAULT,
    as_json: Json = False,
) -> None:
    """Make a key. It is shown once, and kept as a hash.

    Example: costguard keys create --tag user=u1 --tag plan=free --expires 30d
    """
    from costguard_core.util.timeparse import seconds

    lifetime = None if expires is None else seconds(expires)
    with _open(keys) as store:
        secret, key = store.create(names_and_values(tag, "--tag"), name=name, lifetime=lifetime)
    _show_new(secret, key, as_json=as_json)


@app.command("list")
def list_keys(*, keys: Store = _DEFAULT, as_json: Json = False) -> None:
    """Show all keys, without the keys themselves.

    Example: costguard keys list
    """
    with _open(keys) as store:
        found = store.list()
    if as_json:
        print_json([_fields(key) for key in found])
        return
    if not found:
        print_text("no keys yet: costguard keys create --tag user=u1")
    for key in found:
        fields = _fields(key)
        tags = " ".join(f"{name}={value}" for name, value in _tags(key).items())
        until = f" until {fields['expires']}" if key.expires is not None else ""
        print_text(f"{key.id}  {fields['state']}{until}  {key.name}  {tags}".rstrip())


@app.command()
def rotate(
    id: Id,
    *,
    overlap: Annotated[str, typer.Option(help="For how long the old key stays valid.")] = "0s",
    keys: Store = _DEFAULT,
    as_json: Json = False,
) -> None:
    """Make a new key with the same tags, and revoke the old one.

    Example: costguard keys rotate ID, with an ID of costguard keys list
    """
    from costguard_core.util.timeparse import seconds

    with _open(keys) as store:
        secret, key = store.rotate(id, overlap=seconds(overlap))
    _show_new(secret, key, as_json=as_json)


@app.command()
def revoke(id: Id, *, keys: Store = _DEFAULT, as_json: Json = False) -> None:
    """Refuse a key from now on.

    Example: costguard keys revoke ID, with an ID of costguard keys list
    """
    with _open(keys) as store:
        key = store.revoke(id)
    print_result(_fields(key), f"revoked {key.id} {key.name}".rstrip(), as_json=as_json)


@contextmanager
def _open(url: str) -> Iterator[KeyStore]:
    from costguard_core.proxy.keys import open_key_store

    with closing(open_key_store(url)) as store:
        yield store


def _show_new(secret: str, key: VirtualKey, *, as_json: bool) -> None:
    print_result({"key": secret, **_fields(key)}, f"{secret}\n  id {key.id}; it is not shown again", as_json=as_json)


def _tags(key: VirtualKey) -> dict[str, str]:
    from costguard_core.types import ATTRIBUTE_NAMES

    named = {name: getattr(key.attribution, name) for name in ATTRIBUTE_NAMES}
    return {**{name: value for name, value in named.items() if value}, **dict(key.attribution.tags)}


def _fields(key: VirtualKey) -> dict[str, object]:
    def moment(seconds: float | None) -> str | None:
        return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")

    return {
        "id": key.id,
        "name": key.name,
        "tags": _tags(key),
        "state": key.state(time.time()),
        "created": moment(key.created),
        "expires": moment(key.expires),
        "revoked": moment(key.revoked),
    }
