# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The viral week
#
# An application answers short questions. On Monday it is in the news, and people upload documents: long ones, every one
# different, so that no cache helps. The bill grows sixfold. This notebook plays the week with Costguard's own commands:
# stop the bleeding, find the cause, redesign, keep it from happening again.
#
# Everything runs offline: a real `ChatOpenAI` talks real HTTP to a simulated provider on this machine, at list prices.
# Only the days are make-believe: the clock of the guard moves with the story.

# %%
import random
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from langchain_openai import ChatOpenAI
from typer.testing import CliRunner

from costguard_core.cli.main import app
from costguard_core.counters.memory import MemoryStore
from costguard_core.ledger import open_ledger
from costguard_core.simulate import Simulator
from langchain_costguard import (
    Breaker,
    CostGuard,
    GuardedChatModel,
    SpendLimitExceeded,
    TieredRouter,
    attribute,
)

provider = Simulator(prompt_cache=False).start()
folder = Path(tempfile.mkdtemp())
random.seed(7)


class Clock:
    def __init__(self, day):
        self.now = datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()

    def __call__(self):
        return self.now


clock = Clock("2026-11-02T08:00")  # a Monday


def costguard(*words):
    """The command line, on the ledger of the story."""
    print("$ costguard", " ".join(words).replace(str(folder), "."))
    shown = CliRunner().invoke(app, [*words])
    print(shown.output.replace(str(folder), "."), f"(exit {shown.exit_code})", sep="")
    return shown


def chat_model(model):
    return ChatOpenAI(base_url=provider.base_url, api_key="simulated", model=model, max_retries=0)


def new_guard(name, **rules):
    ledger = open_ledger(f"sqlite:///{folder / name}", clock=clock)
    return CostGuard(store=MemoryStore(clock=clock), ledger=ledger, clock=clock, **rules)


words = [f"{a}{b}" for a in "bcdfghklmnprst" for b in ("ad", "en", "ir", "ot", "um")]


def document(tokens):
    return "Summarise in two sentences. " + " ".join(random.choices(words, k=int(tokens * random.uniform(0.6, 1.6))))


def question():
    return "How do I " + " ".join(random.choices(words, k=12)) + "?"


# %% [markdown]
# ## A quiet week
#
# Sixty short questions a day and two short documents. That is the plan for the month.

# %%
guard = new_guard("calls.db", budgets=["$5/day"], breaker=Breaker("$2/minute", on_open="wait", wait_timeout=30))
model = GuardedChatModel(chat_model("gpt-4o"), guard, cache=False)


def ask(model, endpoint, text, **options):
    """One request of the application; None: refused."""
    clock.now += 20
    with attribute(user=f"u{random.randrange(40)}", endpoint=endpoint, session=f"s{clock.now:.0f}"):
        try:
            answer = model.invoke(text, **options)
        except SpendLimitExceeded as refusal:
            return refusal
        if endpoint == "/documents":
            guard.record_outcome("document", session=f"s{clock.now:.0f}")
        return answer


def day(model, date, questions, documents, tokens):
    clock.now = datetime.fromisoformat(f"{date}T08:00").replace(tzinfo=UTC).timestamp()
    work = [("/questions", question)] * questions + [("/documents", lambda: document(tokens))] * documents
    random.shuffle(work)
    return [ask(model, endpoint, make()) for endpoint, make in work]


for date in ("2026-11-02", "2026-11-03", "2026-11-04", "2026-11-05", "2026-11-06"):
    day(model, date, questions=60, documents=2, tokens=1_500)
guard.flush()
quiet = guard.report("day", since="2026-11-02", until="2026-11-09").total.spend_usd / 5
print(f"a quiet day costs ${quiet:.4f}")

# %% [markdown]
# ## Monday: it is in the news
#
# Three times as many questions would be fine. But there are documents, of some 9,000 tokens each.

# %%
answers = day(model, "2026-11-09", questions=80, documents=14, tokens=9_000)
guard.flush()
monday = guard.report("day", since="2026-11-09", until="2026-11-10").total.spend_usd
overrun = monday / quiet - 1
print(f"Monday costs ${monday:.4f}: {overrun:+.0%} against a quiet day")

# %% [markdown]
# ## Tuesday, 8:00: triage
#
# Nobody knows the cause yet. Two things help at once, in every process, without a deployment: caps for everybody that end by
# themselves, and a breaker on the rate of spend whose calls queue. (`costguard budget emergency --max-input 4000 --rate
# 30/minute --for 2h` is the same from a shell.)

# %%
clock.now = datetime.fromisoformat("2026-11-10T08:00").replace(tzinfo=UTC).timestamp()
emergency = guard.emergency(max_input=4_000, rate="30/minute", duration="2h", reason="sixfold spend", by="on call")
print(emergency)

triage = [ask(model, "/documents", document(9_000)) for _ in range(10)]
triage += [ask(model, "/questions", question()) for _ in range(30)]
refused = [answer for answer in triage if isinstance(answer, SpendLimitExceeded)]
print(f"{len(refused)} of 10 long documents refused, {40 - len(refused)} of 30 questions answered")
print("operators read:", str(refused[0])[:120], "…")
print("users read:    ", refused[0].public)
print(guard.status())

# %% [markdown]
# What was refused cost nothing. Two hours later the caps are gone, and nobody had to remember it.

# %%
clock.now += 2 * 3600
later = ask(model, "/documents", document(9_000))
print(guard.status().emergency, "| a long document passes again:", not isinstance(later, SpendLimitExceeded))

# %% [markdown]
# ## The root cause

# %%
guard.flush()
ledger = str(folder / "calls.db")
monday_alone = ("--since", "2026-11-09", "--until", "2026-11-10")
explained = costguard("explain", *monday_alone, "--against", "2026-11-06", "--db", ledger).stdout

# %%
small_model = GuardedChatModel(chat_model("gpt-4o-mini"), guard, cache=False)
for _ in range(25):  # the application has a small model too, for headlines
    ask(small_model, "/headlines", question())
for _ in range(10):
    ask(model, "/documents", document(9_000))
guard.flush()
advice = costguard("advise", "--since", "2026-11-09", "--until", "2026-11-11", "--db", ledger).stdout

# %% [markdown]
# Long documents, no two alike: no cache will ever help. What is paid for is reading, and the answers are two sentences.
#
# ## The redesign
#
# A rule on the length of a prompt sends long documents to the cheaper model; questions stay where they are. What a document
# costs, before and after, is what the business asked for.

# %%
before = guard.unit_economics("document", since="2026-11-09", until="2026-11-11")
router = TieredRouter((lambda messages: len(messages.text) > 6_000, chat_model("gpt-4o-mini")), chat_model("gpt-4o"))
new_model = GuardedChatModel(router, guard, cache=False)
day(new_model, "2026-11-11", questions=80, documents=14, tokens=9_000)
guard.flush()
after = guard.unit_economics("document", since="2026-11-11", until="2026-11-12")
wednesday = guard.report("day", since="2026-11-11", until="2026-11-12").total.spend_usd
print(f"a document cost ${before.cost_per_outcome_usd:.5f}, and costs ${after.cost_per_outcome_usd:.5f}")
print(f"Wednesday, with Monday's traffic, costs ${wednesday:.4f}: {wednesday / quiet - 1:+.0%} against a quiet day")

# %%
_ = costguard("report", "--by", "endpoint,model", "--since", "2026-11-11", "--until", "2026-11-12", "--db", ledger)

# %% [markdown]
# ## Keeping it so
#
# The rules go into the policy file: advice writes them beside what is there, with date and evidence. Then the gate compares a
# test run of the next release with this one, and fails when somebody sends documents to the dear model again.

# %%
policy = folder / "costguard.toml"
policy.write_text(
    """budgets = ["$5/day"]
breaker = { rate = "$2/minute", on_open = "wait", wait_timeout = "30s" }
loops = 5

[emergency]
max_input = 4000
rate = "30/minute"
for = "2h"

[endpoints."/documents"]
owner = "reading"
budgets = ["$2/day"]
"""
)
written = costguard(
    "advise", "--apply", "--yes", "--confidence", "medium", "--since", "2026-11-09", "--until", "2026-11-11",
    "--db", ledger, "--policy", str(policy),
).stdout

# %%
def release(name, tier):
    """The ledger of a test run."""
    global guard
    guard = new_guard(name)
    under_test = GuardedChatModel(tier, guard, cache=False)
    for _ in range(30):
        ask(under_test, "/documents", document(9_000))
    guard.close()
    return str(folder / name)


good = release("release-1.db", router)
bad = release("release-2.db", chat_model("gpt-4o"))  # somebody removed the route
passed = costguard("gate", good, good)
failed = costguard("gate", bad, good)

# %% [markdown]
# ## What this notebook has shown

# %%
assert overrun > 3, "documents made Monday several times as dear as a quiet day"
assert len(refused) == 10, "the caps refused every long document, and nothing else"
assert "prompt length" in explained.splitlines()[1], "explain names the largest part first"
assert "documents of" in advice and "gpt-4o-mini would cost" in advice
assert after.cost_per_outcome_usd < before.cost_per_outcome_usd / 5, "a document costs less than a fifth"
assert wednesday < monday / 2, "the same traffic costs less than half"
assert 'models = ["gpt-4o-mini"]' in policy.read_text()
assert (passed.exit_code, failed.exit_code) == (0, 1), "the gate lets the good release through, and not the bad one"
provider.stop()
