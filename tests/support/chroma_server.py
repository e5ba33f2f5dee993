"""A `chroma run` server on a loopback port of its own."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.request import urlopen

from ports import reserved_port
from waiting import wait_until


@contextmanager
def chroma_running(folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Its URL and its process, which keeps everything in ``folder``."""
    with reserved_port() as port:
        url = f"http://127.0.0.1:{port}"
        command = [Path(sys.executable).parent / "chroma", "run", "--path", folder, "--port", str(port)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def listens() -> bool:
            with suppress(OSError):
                urlopen(f"{url}/api/v2/heartbeat", timeout=60).close()
                return True
            return False

        try:
            wait_until(listens)
            yield url, process
        finally:
            process.kill()
            process.wait()
