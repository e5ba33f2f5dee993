"""Certificates of an authority of our own, made with the openssl command."""

from __future__ import annotations

import subprocess
from pathlib import Path


def authority(place: Path, name: str = "ca") -> tuple[Path, Path]:
    """The certificate and the key of a new authority."""
    certificate, key = place / f"{name}.crt", place / f"{name}.key"
    _openssl("req -x509 -newkey rsa:2048 -nodes -days 2", f"-subj /CN={name}", f"-keyout {key} -out {certificate}")
    return certificate, key


def signed(place: Path, name: str, by: tuple[Path, Path], address: str = "IP:127.0.0.1") -> tuple[Path, Path]:
    """The certificate and the key of a server or a client, for ``address``."""
    certificate, key, request, extra = (place / f"{name}.{end}" for end in ("crt", "key", "csr", "ext"))
    extra.write_text(f"subjectAltName={address}\n")
    _openssl("req -newkey rsa:2048 -nodes", f"-subj /CN={name}", f"-keyout {key} -out {request}")
    signing = f"-CA {by[0]} -CAkey {by[1]} -CAcreateserial -days 2 -extfile {extra}"
    _openssl("x509 -req", f"-in {request} -out {certificate}", signing)
    return certificate, key


def _openssl(*options: str) -> None:
    subprocess.run(["openssl", *" ".join(options).split()], check=True, capture_output=True)
