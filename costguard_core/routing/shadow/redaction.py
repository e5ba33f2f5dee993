"""Replaces credentials that people paste into prompts, before anything is written down.

The beginnings of tokens are those that their issuers document: OpenAI, Anthropic, Stripe (``sk-``, ``pk_``, ``rk_``),
Hugging Face (``hf_``), GitHub (``ghp_`` …), GitLab (``glpat-``), npm, Slack (``xoxb-`` …), AWS (``AKIA``), Google
(``AIza``).
"""

from __future__ import annotations

import re

HIDDEN = "(secret)"

_WHOLE = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"  # a JSON web token
    r"|\b(?:sk|pk|rk|hf|gh[opsur]|github_pat|glpat|npm|xox[abeoprs])[-_][\w-]{12,}"
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"
    r"|\bAIza[\w-]{30,}",
    re.DOTALL,
)
_NAMED = re.compile(
    r"(?P<name>\b(?:bearer|basic)\s+|"
    r"\b[\w-]{0,40}(?:passwor[dt]|passwd|passphrase|secret|api[_-]?key|access[_-]?key|[_-]token)[\"']?\s{0,3}[:=]\s{0,3})"
    r"(?P<quote>[\"']?)[^\s\"',;]{6,}",
    re.IGNORECASE,
)
_IN_URL = re.compile(r"(?P<name>\b[a-z][a-z0-9+.-]{1,20}://[^\s:/@]{1,100}:)[^\s/@]{1,200}(?=@)", re.IGNORECASE)


def redacted(text: str) -> str:
    """The text without what looks like a credential.

    Recognised are private keys, tokens with a known beginning, ``password=…``, ``Bearer …`` and passwords in URLs. A
    secret that looks like prose is not recognised.
    """
    text = _WHOLE.sub(HIDDEN, text)
    text = _IN_URL.sub(lambda found: found["name"] + HIDDEN, text)
    return _NAMED.sub(lambda found: found["name"] + found["quote"] + HIDDEN, text)
