"""Draw docs/page.png: the page over a month of made-up calls, in headless Chromium.

python .ci/page_picture.py docs/page.png
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from pathlib import Path
from time import time

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

from asgi_server import serving  # noqa: E402
from chromium import chromium, chromium_binary  # noqa: E402

from costguard_core import CostGuard  # noqa: E402
from costguard_core.ledger import open_ledger  # noqa: E402
from costguard_core.types import Attribution, Call, Event, Outcome, Usage  # noqa: E402
from costguard_core.web.app import create_page  # noqa: E402
from costguard_core.web.serve import open_page  # noqa: E402

HOUR, DAYS, CALLS_A_DAY = 3600.0, 30, 480
BUDGETS = ["$4/day", "$0.50/day per user", "$100/month"]
MODELS = (("gpt-4o-mini", 150, 600), ("gpt-4o", 2_500, 10_000), ("claude-sonnet-4-5", 3_000, 15_000))  # nanos a token
# Endpoints, with the tokens of a prompt and an answer, and the model that answers most of them.
ENDPOINTS = (
    ("/faq", 500, 150, 0),
    ("/support", 1_800, 400, 1),
    ("/summarise", 6_000, 500, 2),
    ("/search", 900, 120, 0),
)
OUTCOMES = [Outcome.MISS] * 60 + [Outcome.EXACT] * 22 + [Outcome.SEMANTIC] * 8 + [Outcome.COALESCED] * 3
OUTCOMES += [Outcome.REFUSED] * 4 + [Outcome.ERROR] * 3


def events(now: float) -> list[Event]:
    """Calls of thirty days: fewer at night, and twice as many long documents since yesterday."""
    chance, made = random.Random(11), []
    for number in range(DAYS * CALLS_A_DAY):
        age = chance.uniform(0, DAYS * 24 * HOUR)
        if chance.random() < 0.6 and not 7 <= (now - age) % (24 * HOUR) / HOUR <= 21:
            continue
        weights = (40, 25, 20 if age < 20 * HOUR else 8, 15)
        endpoint, read, written, model = chance.choices(ENDPOINTS, weights)[0]
        name, per_input, per_output = MODELS[model if chance.random() < 0.85 else chance.randrange(3)]
        outcome = chance.choice(OUTCOMES)
        inputs, outputs = int(read * chance.uniform(0.5, 1.6)), int(written * chance.uniform(0.4, 1.8))
        price = inputs * per_input + outputs * per_output
        is_paid, user = outcome is Outcome.MISS, chance.choices(range(40), [1 / (n + 3) for n in range(40)])[0]
        plan, session = "free" if user % 3 else "pro", f"s{number // 6}"
        who = Attribution(user=f"user-{user}", endpoint=endpoint, session=session, tags=(("plan", plan),))
        made.append(
            Event(
                id=f"{number:016x}",
                time=now - age,
                outcome=outcome,
                model=name,
                provider="anthropic" if name.startswith("claude") else "openai",
                attribution=who,
                usage=Usage(input_tokens=inputs, output_tokens=outputs) if outcome is not Outcome.REFUSED else Usage(),
                cost=price if is_paid else 0,
                saved=price if outcome in (Outcome.EXACT, Outcome.SEMANTIC, Outcome.COALESCED) else 0,
                latency=chance.lognormvariate(0.2, 0.6) if is_paid else 0.01,
                reason="$0.50/day per user" if outcome is Outcome.REFUSED else None,
                priced_by="list" if is_paid else None,
            )
        )
    return sorted(made, key=lambda event: event.time)


def main(path: Path) -> None:
    binary = chromium_binary()
    if binary is None:
        raise SystemExit("no Chromium: make browser installs one")
    now = time()
    with tempfile.TemporaryDirectory() as folder:
        ledger_url, store_url = f"sqlite:///{folder}/calls.db", f"sqlite:///{folder}/store.db"
        policy = Path(folder) / "costguard.toml"
        policy.write_text(f'ledger = "{ledger_url}"\nstore = "{store_url}"\nbudgets = {json.dumps(BUDGETS)}\n')
        calls = events(now)
        with open_ledger(ledger_url) as ledger:
            for event in calls:
                ledger.append(event)
        with CostGuard(BUDGETS, store=store_url, ledger="memory://") as guard:
            for event in calls:
                if event.cost and event.time >= now - now % (24 * HOUR):
                    call = Call(event.id, event.model, event.time, event.provider, event.attribution)
                    guard.after(guard.admit_anyway(call), event.usage)
        with serving(create_page(open_page(str(policy))), lifespan="off") as url, chromium(binary) as tab:
            tab.show(width=1360, height=1100)
            tab.open(f"{url}/?range=7d&by=endpoint")
            tab.wait_for("document.querySelectorAll('[data-from] > .note:only-child > a').length === 0")
            tab.save_picture(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
