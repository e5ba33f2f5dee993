"""Who asks: virtual keys, tokens, headers and fields; nobody gets in without, and nothing is stored in the clear."""

from __future__ import annotations

import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import jwt
import pytest
from asgi_server import serving
from cryptography.hazmat.primitives.asymmetric import rsa
from typer.testing import CliRunner

from costguard_core.cli.main import app
from costguard_core.errors import ConfigurationError
from costguard_core.guard import CostGuard
from costguard_core.proxy.keys import KeyStore, open_key_store
from costguard_core.proxy.settings import proxy_settings
from costguard_core.simulate import Simulator

BODY: Any = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "What is a cost guard?"}]}


@pytest.fixture(params=["sqlite", "postgres"])
def keys(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    url = f"sqlite:///{tmp_path}/keys.db" if request.param == "sqlite" else request.getfixturevalue("postgres_db")
    store = open_key_store(url)
    yield store
    store.close()


def _ask(url: str, key: str | None = None, **headers: str) -> httpx.Response:
    signed = {"authorization": f"Bearer {key}"} if key else {}
    return httpx.post(f"{url}/chat/completions", json=BODY, headers={**signed, **headers})


def test_a_key_says_whose_calls_these_are_and_the_provider_never_sees_it(keys: KeyStore, start_proxy: Any) -> None:
    secret, key = keys.create({"user": "u1", "plan": "free"}, name="laptop")
    received: list[dict[str, str]] = []

    async def upstream(scope: Any, receive: Any, send: Any) -> None:
        received.append({name.decode(): value.decode() for name, value in scope["headers"]})
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b'{"usage": {"prompt_tokens": 1, "completion_tokens": 1}}'})

    with serving(upstream, lifespan="off") as url:
        upstreams = [{"url": url, "provider": "openai", "key": "sk-up"}]
        proxy = start_proxy("$1/day per plan", keys=keys, headers={"x-user": "user"}, upstreams=upstreams)
        assert _ask(proxy.base_url, secret, **{"x-user": "u2"}).status_code == 200
    assert received[0]["authorization"] == "Bearer sk-up"
    assert secret not in json.dumps(received)
    proxy.guard.flush()
    assert proxy.guard.report(("user", "plan")).rows[0].key == ("u1", "free")
    assert key.state(time.time()) == "active"


def test_no_tags_of_a_request_push_out_those_of_its_key(keys: KeyStore, start_proxy: Any) -> None:
    secret, _ = keys.create({"plan": "free", "team": "search"})
    proxy = start_proxy("$1/day per plan", keys=keys, headers={"x-region": "region"}, cache=False)
    metadata = {"plan": "pro", "region": "moon", "team": "x"} | {f"made_up_{number}": "x" for number in range(40)}
    signed = {"authorization": f"Bearer {secret}", "x-region": "eu"}
    answer = httpx.post(f"{proxy.base_url}/chat/completions", json={**BODY, "metadata": metadata}, headers=signed)
    assert answer.status_code == 200
    proxy.guard.flush()
    by = ("plan", "team", "region", "made_up_39", "made_up_0")
    assert proxy.guard.report(by).rows[0].key == ("free", "search", "eu", "x", None)


def test_unknown_expired_revoked_and_missing_keys_are_refused(keys: KeyStore, start_proxy: Any) -> None:
    expired, _ = keys.create({}, lifetime=0.0)
    revoked, key = keys.create({})
    proxy = start_proxy(keys=keys)
    assert _ask(proxy.base_url, revoked).status_code == 200
    keys.revoke(key.id)
    for secret in ("cg-unknown", expired, revoked, "sk-mine", None):
        answer = _ask(proxy.base_url, secret)
        assert answer.status_code == 401
        assert answer.json()["error"]["type"] == "authentication_error"
        assert secret is None or secret not in answer.text


def test_a_rotated_key_keeps_its_tags_and_the_old_one_ends(keys: KeyStore) -> None:
    old, key = keys.create({"user": "u1"}, name="ci", lifetime=3600)
    new, rotated = keys.rotate(key.id)
    assert keys.find(old) is None
    assert (found := keys.find(new)) is not None
    assert (found.attribution.user, found.name, rotated.expires is not None) == ("u1", "ci", True)
    with pytest.raises(ConfigurationError, match="revoked"):
        keys.rotate(key.id)
    with pytest.raises(ConfigurationError, match="costguard keys list"):
        keys.revoke("none")


def test_keys_are_kept_as_hashes_in_a_private_file(tmp_path: Path) -> None:
    path = tmp_path / "keys.db"
    store = open_key_store(f"sqlite:///{path}")
    secret, _ = store.create({"user": "u1"})
    store.close()
    stored = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert secret.encode() not in stored
    assert secret[3:].encode() not in stored
    assert path.stat().st_mode & 0o077 == 0


def test_callers_with_different_keys_share_no_answers_unless_the_policy_says_so(
    keys: KeyStore, openai_server: Simulator, start_proxy: Any
) -> None:
    first, _ = keys.create({"user": "u1"})
    second, _ = keys.create({"user": "u2"})
    apart, together = start_proxy(keys=keys), start_proxy(keys=keys, share=True)
    for proxy, wanted in ((apart, 2), (together, 1)):
        openai_server.reset()
        for secret in (first, second, first):
            assert _ask(proxy.base_url, secret).status_code == 200
        assert openai_server.count == wanted


def test_headers_and_fields_attribute_where_there_are_no_keys(start_proxy: Any) -> None:
    proxy = start_proxy(headers={"X-Team": "team"}, cache=False)
    body = {**BODY, "user": "u1", "metadata": {"endpoint": "/faq", "model": "ignored"}}
    httpx.post(f"{proxy.base_url}/chat/completions", json=body, headers={"x-team": "search"})
    proxy.guard.flush()
    assert proxy.guard.report(("user", "endpoint", "team")).rows[0].key == ("u1", "/faq", "search")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "proxy.internal"])
def test_without_keys_it_listens_on_this_machine_only(host: str) -> None:
    with pytest.raises(ConfigurationError, match="costguard keys create"):
        proxy_settings({"host": host}, {})
    assert proxy_settings({"host": host, "keys": "sqlite:///k.db"}, {}).host == host


def test_the_command_makes_lists_and_revokes_keys(tmp_path: Path) -> None:
    runner, path = CliRunner(), str(tmp_path / "keys.db")
    made = runner.invoke(app, ["keys", "create", "--tag", "user=u1", "--expires", "30d", "--keys", path, "--json"])
    key = json.loads(made.stdout)
    assert key["key"].startswith("cg-")
    listed = runner.invoke(app, ["keys", "list", "--keys", path])
    assert f"{key['id']}  active until" in listed.stdout
    assert key["key"] not in listed.stdout
    assert runner.invoke(app, ["keys", "revoke", key["id"], "--keys", path]).exit_code == 0
    assert json.loads(runner.invoke(app, ["keys", "list", "--keys", path, "--json"]).stdout)[0]["state"] == "revoked"
    assert runner.invoke(app, ["keys", "create", "--tag", "usr=u1", "--keys", path]).exit_code == 2


@pytest.fixture
def identity_provider() -> Any:
    """A server of public keys, and a function that signs claims."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(private.public_key())) | {"kid": "k1", "use": "sig"}

    class Keys(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = json.dumps({"keys": [public]}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Keys)
    Thread(target=server.serve_forever, daemon=True).start()

    def sign(**claims: Any) -> str:
        return jwt.encode({"exp": time.time() + 600, "aud": "proxy", **claims}, private, "RS256", headers={"kid": "k1"})

    yield f"http://127.0.0.1:{server.server_port}/", sign
    server.shutdown()
    server.server_close()


def test_tokens_of_an_identity_provider_attribute_by_their_claims(identity_provider: Any, start_proxy: Any) -> None:
    address, sign = identity_provider
    wanted = {"jwks": address, "audience": "proxy", "claims": {"sub": "user", "plan": "plan"}}
    proxy = start_proxy(jwt=wanted, guard=CostGuard())
    assert _ask(proxy.base_url, sign(sub="u1", plan="pro")).status_code == 200
    for token in (sign(sub="u1", aud="other"), sign(sub="u1", exp=time.time() - 60), "a.b.c", _unsigned(), None):
        assert _ask(proxy.base_url, token).status_code == 401
    proxy.guard.flush()
    assert proxy.guard.report(("user", "plan")).rows[0].key == ("u1", "pro")


def _unsigned() -> str:
    return jwt.encode({"sub": "u1", "aud": "proxy", "exp": time.time() + 600}, None, "none", headers={"kid": "k1"})
