"""Who asks: by virtual key, by a token of an identity provider, by headers, and by what the request says itself."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, NamedTuple

from costguard_core.attribution import check_tag_name
from costguard_core.cache.keys import digest
from costguard_core.errors import ConfigurationError, CostGuardError, MissingExtraError
from costguard_core.proxy.keys import PREFIX, KeyStore, attribution_of
from costguard_core.proxy.settings import Jwt, ProxySettings
from costguard_core.types import ATTRIBUTE_NAMES, MOST_TAGS, Attribution


class UnauthorizedError(CostGuardError):
    """The caller does not show who it is. The text says so without repeating what it showed."""


class Caller(NamedTuple):
    """Who asks.

    Attributes:
        attribution: what the call is attributed to.
        account: the id of the virtual key; ``None``: it has none.
        reader: callers with equal readers may share cached answers inside a tenant.
    """

    attribution: Attribution
    account: str | None = None
    reader: str = ""


class Callers:
    """Tells callers apart.

    Args:
        settings: of the proxy.
        keys: the virtual keys, if there are any.
    """

    def __init__(self, settings: ProxySettings, keys: KeyStore | None) -> None:
        self._settings = settings
        self._keys = keys
        self._tokens = None if settings.jwt is None else _Tokens(settings.jwt)

    async def identify(self, headers: Mapping[str, str], body: Mapping[str, object]) -> Caller:
        """The caller of a request. What its key or token says wins over headers, and these over the body.

        Raises:
            UnauthorizedError: keys or tokens are asked for, and this is none that is valid.
        """
        shown = _shown(headers)
        signed: Mapping[str, str] = {}
        account: str | None = None
        reader = "" if self._settings.share else sha256(shown.encode("utf-8", "surrogatepass")).hexdigest()
        if self._settings.knows_callers:
            signed, account, subject = await self._signed(shown)
            reader = "" if self._settings.share else account or subject or reader
        return Caller(_attribution(_said(body), self._in_headers(headers), signed), account, reader)

    async def _signed(self, shown: str) -> tuple[Mapping[str, str], str | None, str | None]:
        """What a key or a token attributes, the id of the key, and a hash of whom the token is about."""
        if shown.startswith(PREFIX) and self._keys is not None:
            store = self._keys
            key = store.find(shown) if store.is_known(shown) else await asyncio.to_thread(store.find, shown)
            if key is None:
                raise UnauthorizedError("this key is not valid: it is unknown, expired or revoked")
            named = {name: getattr(key.attribution, name) for name in ATTRIBUTE_NAMES}
            return {**{n: v for n, v in named.items() if v}, **dict(key.attribution.tags)}, key.id, None
        if self._tokens is not None and shown.count(".") == 2:
            tags, subject = await asyncio.to_thread(self._tokens.read, shown)
            return tags, None, subject
        raise UnauthorizedError("show a key of this proxy: Authorization: Bearer cg-… or x-api-key: cg-…")

    def _in_headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        wanted = self._settings.headers
        return {target: headers[name] for name, target in wanted.items() if headers.get(name)}


class _Tokens:
    """JSON Web Tokens: https://www.rfc-editor.org/rfc/rfc7519, with keys by https://www.rfc-editor.org/rfc/rfc7517."""

    # Signatures by public keys only: with a shared secret, a public key could be passed off as the secret.
    ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")

    def __init__(self, settings: Jwt) -> None:
        try:
            import jwt
        except ImportError:
            raise MissingExtraError("[proxy.jwt]", "proxy") from None
        self._jwt = jwt
        self._settings = settings
        self._keys = jwt.PyJWKClient(settings.jwks, cache_keys=True, lifespan=300, timeout=5)

    def read(self, token: str) -> tuple[dict[str, str], str | None]:
        """What the claims of a valid token attribute, and a hash of its subject, which is the same in the next token.
        May fetch the keys of the identity provider.

        Raises:
            UnauthorizedError: the token is not valid.
        """
        settings = self._settings
        try:
            key = self._keys.get_signing_key_from_jwt(token)
            claims = self._jwt.decode(
                token,
                key.key,
                algorithms=list(self.ALGORITHMS),
                audience=settings.audience,
                issuer=settings.issuer,
                options={"require": ["exp"], "verify_aud": settings.audience is not None},
            )
        except self._jwt.PyJWTError as error:
            raise UnauthorizedError(f"this token is not valid ({type(error).__name__})") from None
        subject = claims.get("sub")  # unique at its issuer: https://www.rfc-editor.org/rfc/rfc7519#section-4.1.2
        named = None if not subject else digest("jwt", str(claims.get("iss") or ""), str(subject))
        tags = {
            target: str(claims[claim]) for claim, target in settings.claims.items() if claims.get(claim) is not None
        }
        return tags, named


def _shown(headers: Mapping[str, str]) -> str:
    """The key or token that a request shows."""
    bearer = headers.get("authorization", "")
    kind, _, token = bearer.partition(" ")
    return (
        token.strip() if kind.lower() == "bearer" and token else headers.get("x-api-key") or headers.get("api-key", "")
    )


def _said(body: Mapping[str, Any]) -> dict[str, str]:
    """What OpenAI's ``user`` and either vendor's ``metadata`` say."""
    found: dict[str, str] = {}
    metadata = body.get("metadata")
    for name, value in metadata.items() if isinstance(metadata, Mapping) else ():
        target = "user" if name == "user_id" else name
        if isinstance(value, (str, int)) and (target in ATTRIBUTE_NAMES or _may_be_tag(target)):
            found[target] = str(value)
    if isinstance(body.get("user"), str):
        found["user"] = body["user"]
    return found


def _may_be_tag(name: str) -> bool:
    try:
        check_tag_name(name)
    except ConfigurationError:
        return False
    return True


def _attribution(*said: Mapping[str, str]) -> Attribution:
    """What several sources say, the last of which is trusted most, with at most as many tags as a call may have.

    Of more, those of the source that is trusted least are left out; the call is never refused.
    """
    together: dict[str, str] = {}
    for source in reversed(said):
        together = {**{name: value for name, value in source.items() if name not in together}, **together}
    named = {name: value for name, value in together.items() if name in ATTRIBUTE_NAMES}
    tags = [(name, value) for name, value in together.items() if name not in ATTRIBUTE_NAMES]
    return attribution_of({**named, **dict(tags[-MOST_TAGS:])})
