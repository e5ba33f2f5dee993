"""``costguard simulate``: the simulated provider alone, for as long as you want."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(add_completion=False)


@app.command()
def simulate(
    *,
    port: Annotated[int, typer.Option(help="Where to listen; 0 is any free port.", min=0, max=65535)] = 8080,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    latency: Annotated[float, typer.Option(help="Median seconds per answer.", min=0)] = 0.4,
    spread: Annotated[float, typer.Option(help="Log-normal spread of the latency; 0 makes it fixed.", min=0)] = 0.3,
    per_token: Annotated[float, typer.Option(help="Further seconds per output token.", min=0)] = 0.002,
    fault_rate: Annotated[float, typer.Option(help="Share of requests that fail (429, 500, 503).", min=0, max=1)] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of the faults.")] = 0,
    prompt_cache: Annotated[bool, typer.Option(help="Report cached tokens for repeated prefixes.")] = True,
) -> None:
    """Run an OpenAI-compatible server on this machine: no key, no bill, nothing leaves it.

    Example: costguard simulate --port 8080, then OPENAI_BASE_URL=http://127.0.0.1:8080/v1
    """
    from costguard_core.simulate import Latency, Simulator

    server = Simulator(
        latency=Latency(median=latency, sigma=spread, per_token=per_token),
        fault_rate=fault_rate,
        seed=seed,
        prompt_cache=prompt_cache,
        host=host,
        port=port,
    )
    server.serve(on_listening=_announce)


def _announce(base_url: str) -> None:
    typer.echo(f"Simulated provider at {base_url} (stop it with Ctrl-C). Try:", err=True)
    typer.echo(f'  ChatOpenAI(base_url="{base_url}", api_key="simulated", model="gpt-4o-mini")', err=True)
    typer.echo(f"  curl {base_url}/chat/completions -H 'content-type: application/json' \\", err=True)
    typer.echo('    -d \'{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}\'', err=True)
