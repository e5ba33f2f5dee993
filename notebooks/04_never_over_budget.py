# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Never over budget
#
# A budget of ten cents, calls that cost one cent each: ten calls may pass. That is easy while they come one after the
# other. This notebook lets two hundred come at once.
#
# Everything runs offline: a real `ChatOpenAI` talks real HTTP to a simulated provider on this machine. The provider
# counts the calls that reach it, because those are the ones that would be on the bill.

# %%
import logging
import random
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from langchain_core.callbacks import BaseCallbackHandler
from langchain_openai import ChatOpenAI

from costguard_core.simulate import Simulator
from langchain_costguard import Budget, CostGuard, CostGuardCallbackHandler, GuardedChatModel
from langchain_costguard import SpendLimitExceeded, attribute

print("Python", sys.version.split()[0])
for package in ("langchain-costguard", "langchain-core", "langchain-openai", "matplotlib", "pandas"):
    print(package, version(package))

# LangChain logs every exception of a callback, also those that are meant. Hundreds follow.
logging.getLogger("langchain_core.callbacks.manager").setLevel(logging.CRITICAL)

# %%
provider = Simulator(latency=0.05).start()  # every call takes 50 ms
PRICES = {"one-cent": {"input": "0", "output": "0", "request": "0.01"}}  # and costs a cent


def chat_model(**options):
    settings = {"model": "one-cent", "api_key": "simulated", "max_retries": 0} | options
    return ChatOpenAI(base_url=provider.base_url, **settings)


# %% [markdown]
# ## The guard that everybody writes
#
# Add up what calls have cost; raise when the sum has reached the limit. It is in every tutorial, and in many libraries.

# %%
class OverBudget(RuntimeError):
    pass


class NaiveBudget(BaseCallbackHandler):
    raise_error = True

    def __init__(self, limit):
        self.limit, self.spent = limit, 0.0

    def on_chat_model_start(self, *args, **kwargs):
        if self.spent >= self.limit:
            raise OverBudget

    def on_llm_end(self, response, **kwargs):
        self.spent += 0.01


# %% [markdown]
# It is correct for one caller. But a call is added up when it *ends*, and until then everybody else looks at a sum that
# does not know of it.
#
# Costguard asks before the call instead: what may it cost at worst? That much is *held*, in one step with the comparison,
# and what is held counts like what is spent. When the call ends, the hold becomes its exact cost. Here is that rule
# twice, as a callback and as a model around the model:

# %%
def naive():
    return chat_model().with_config(callbacks=[NaiveBudget(0.10)])


def handler():
    guard = CostGuard(["$0.10/day"], prices=PRICES)
    return chat_model().with_config(callbacks=[CostGuardCallbackHandler(guard)])


def guarded():
    return GuardedChatModel(chat_model(), CostGuard(["$0.10/day"], prices=PRICES), cache=False)


def passes(call):
    """Whether a call was answered; if not, it was refused, since everything else raises here."""
    try:
        call()
    except (OverBudget, SpendLimitExceeded):
        return False
    return True


def load(model, callers):
    """All callers ask at once. When did calls reach the provider, in seconds after the first one?"""
    provider.reset()
    together = threading.Barrier(callers)

    def caller(number):
        together.wait()
        return passes(lambda: model.invoke(f"question {number}"))

    with ThreadPoolExecutor(callers) as pool:
        answered = sum(pool.map(caller, range(callers)))
    arrived = [request.at for request in provider.requests]
    assert len(arrived) == answered
    return [at - arrived[0] for at in arrived]


GUARDS = {
    "naive callback": naive,
    "Costguard, as a callback": handler,
    "Costguard, around the model": guarded,
}
arrivals = {(name, n): load(make(), n) for n in (32, 200) for name, make in GUARDS.items()}
reached = pd.Series({key: len(times) for key, times in arrivals.items()}).unstack()
reached.loc[list(GUARDS)].rename(columns="{} callers".format)

# %%
plt.rcParams |= {"figure.dpi": 110, "text.parse_math": False, "font.size": 10, "axes.spines.top": False}
plt.rcParams |= {"axes.spines.right": False, "axes.titlelocation": "left", "axes.titleweight": "bold"}
BLUE, RED = "#2563eb", "#dc2626"
COLORS = dict(zip(GUARDS, ("#6b7280", "#60a5fa", BLUE)))

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), width_ratios=(3, 2), layout="constrained")
last = max(map(max, arrivals.values()))
for (name, callers), times in arrivals.items():
    if callers == 200:
        spent = [0.01 * (number + 1) for number in range(len(times))]
        milliseconds = [1000 * at for at in [*times, last]]
        left.step(milliseconds, [*spent, spent[-1]], where="post", color=COLORS[name], linewidth=2)
left.set(xlabel="milliseconds since the first of 200 calls", ylabel="on the bill, in dollars")
for row, name in enumerate(GUARDS):
    for column, callers in enumerate((32, 200)):
        dollars = reached.loc[name, callers] / 100
        bar = right.bar(column + (row - 1) * 0.28, dollars, width=0.26, color=COLORS[name])
        right.bar_label(bar, [f"${dollars:.2f}"], padding=2, fontsize=9, color=COLORS[name])
right.set_xticks([0, 1], ["32 callers", "200 callers"])
for axes in (left, right):
    axes.axhline(0.10, color=RED, linewidth=1, linestyle="--")
    axes.set_ylim(0, reached.max(axis=None) / 100 * 1.08)
left.text(1000 * last, 0.11, "budget: $0.10", color=RED, ha="right", va="bottom", fontsize=9)
handles = [plt.Line2D([], [], color=color, linewidth=4) for color in COLORS.values()]
left.legend(handles, COLORS, frameon=False, loc="upper left")
worst = reached.loc["naive callback"].max() / 10
figure.suptitle(
    f"Counting afterwards spends {worst:.2g} times the budget; holding before spends exactly the budget",
    x=0.01, ha="left", weight="bold",
)
plt.show()

# %% [markdown]
# How far the naive callback overshoots depends on luck and on the machine: three to twenty times in our runs, and never
# less than all who were inside before the first call had ended. The blue bars are always the same.
#
# ## What a refusal says
#
# The other callers were not left hanging. They got an exception at once, before anything was sent; it has the numbers as
# attributes, and its text names the one line that changes them.

# %%
guard = CostGuard(["$0.02/day per user"], prices=PRICES)
model = GuardedChatModel(chat_model(), guard, cache=False)

with attribute(user="ann"):
    try:
        for n in range(3):
            model.invoke(f"question {n}")
    except SpendLimitExceeded as refusal:
        print(textwrap.fill(str(refusal), 90), end="\n\n")
        for name in ("budget", "scope", "limit", "spent", "held", "requested"):
            print(f"{name:10}", getattr(refusal, name))

# %% [markdown]
# Who does not want an exception writes down the answer to give instead:

# %%
polite = Budget.parse("$0.01/day", answer="I am out of words for today. Please try again tomorrow.")
model = GuardedChatModel(chat_model(), CostGuard([polite], prices=PRICES), cache=False)
first, second = model.invoke("Hello?"), model.invoke("Hello again?")
print(second.content, second.response_metadata)

# %% [markdown]
# ## Many budgets, calls of every size
#
# Real calls are not one cent each, and real budgets come in layers. Here eight hundred calls, from ten tokens to two
# thousand, come from 32 threads and eight users; one of them, Eve, is in a hurry. A call must fit into the minute, into
# the day and into the day of its user, all at once, or nothing is taken from any of them.
#
# Nobody knows beforehand how long an answer will be: a call holds its worst case and gives back what it did not need.
# One more thread does nothing but look at the counters.

# %%
guard = CostGuard(
    ["$0.50/minute", "$2/day", "$0.10/day per user"],
    prices={"mixed": {"input": "1", "output": "10"}},  # dollars per million tokens
)
model = GuardedChatModel(chat_model(model="mixed"), guard, cache=False)
CALLS, USERS = 800, ["ann", "bob", "cleo", "dan", "fay", "gil", "hal"]


def answer(request):
    """The provider uses anything between a third of the allowed tokens and all of them."""
    allowed = request["max_completion_tokens"]
    share = random.Random(request["messages"][-1]["content"]).uniform(0.33, 1)
    return {"content": "…", "output_tokens": int(allowed * share)}


def mixed_call(number):
    rng = random.Random(number)
    user = "eve" if rng.random() < 0.3 else rng.choice(USERS)
    longest = int(10 * 200 ** rng.random())  # 10 to 2,000 tokens, short ones more often
    with attribute(user=user):
        passed = passes(lambda: model.invoke(f"question {number}", max_tokens=longest))
    if not passed:
        time.sleep(0.03)  # who is refused lets the others finish
    return passed


def watch(every=0.004):
    """Look at every counter until told to stop."""
    while not finished.wait(every):
        seen.append((time.perf_counter() - started, list(guard.status())))


provider.reset()
provider.reply = answer
finished, seen, started = threading.Event(), [], time.perf_counter()
with ThreadPoolExecutor(33) as pool:
    watching = pool.submit(watch)
    passed = sum(pool.map(mixed_call, range(CALLS)))
    finished.set()
    watching.result()
print(f"{passed} calls passed, {CALLS - passed} were refused, {len(seen)} looks at the counters")
guard.status()

# %%
rows = [(at, row) for at, status in seen for row in status]
highest = max((row.spent + row.held) / row.limit for _, row in rows)
used = {row.scope.get("user", row.budget): float(row.spent / row.limit) for row in guard.status()}

minute = [(at, row) for at, row in rows if row.budget == "$0.50/minute"]
seconds = [at for at, _ in minute]
spent = [float(row.spent) for _, row in minute]
held = [float(row.spent + row.held) for _, row in minute]

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), width_ratios=(3, 2), layout="constrained")
left.fill_between(seconds, spent, color=BLUE, alpha=0.75, linewidth=0, label="spent")
left.fill_between(seconds, spent, held, color=BLUE, alpha=0.25, linewidth=0, label="held by calls in flight")
left.axhline(0.50, color=RED, linewidth=1, linestyle="--")
left.text(0, 0.505, "$0.50/minute", color=RED, va="bottom", fontsize=9)
left.set(xlabel="seconds", ylabel="dollars", ylim=(0, 0.56), xlim=(0, None))
left.legend(frameon=False, loc="upper left", bbox_to_anchor=(0, 0.88))

names = ["$0.50/minute", "$2/day", "eve", *USERS][::-1]
right.barh(names, [100 * used[name] for name in names], color=BLUE, height=0.6)
for place, name in enumerate(names):
    right.text(125, place, f"{used[name]:.1%}", ha="right", va="center", fontsize=9)
right.axvline(100, color=RED, linewidth=1, linestyle="--")
right.set(xlabel="% spent of each budget (users: $0.10/day)", xlim=(0, 125), xticks=[0, 50, 100])
right.tick_params(axis="y", length=0)
figure.suptitle(
    f"Ten limits at once: none was ever passed, and {used['$0.50/minute']:.2%} of the tightest was used",
    x=0.01, ha="left", weight="bold",
)
plt.show()

# %% [markdown]
# The pale band is the price of certainty: while calls are in flight, the room they may need is closed to others. It
# melts as they end, small calls fill the gaps, and hardly anything stays unused.
#
# ## When a process dies
#
# A hold that nobody gives back would lock a budget for ever. So each hold is a lease. Here another process, on the same
# SQLite file, makes a call and is killed (`kill -9`) before its answer comes.

# %%
WORKER = """
import sys
from langchain_openai import ChatOpenAI
from langchain_costguard import CostGuard, GuardedChatModel, attribute

store, base_url = sys.argv[1:]
prices = {"one-cent": {"input": "0", "output": "0", "request": "0.01"}}
guard = CostGuard(["$0.02/day"], store=store, prices=prices, lease=4)  # seconds; 10 minutes if not said
model = ChatOpenAI(model="one-cent", base_url=base_url, api_key="simulated")
with attribute(user="worker"):
    GuardedChatModel(model, guard).invoke("Are you still there?")
"""

folder = tempfile.TemporaryDirectory()
store = f"sqlite:///{Path(folder.name) / 'costguard.db'}"
survivor = CostGuard(["$0.02/day"], store=store, prices=PRICES, lease=4)
provider.reset()
provider.latency = 60
worker = subprocess.Popen([sys.executable, "-c", WORKER, store, provider.base_url])
while not provider.count and worker.poll() is None:
    time.sleep(0.01)
worker.kill()
worker.wait()

[after_the_kill] = survivor.status()
survivor.status()

# %% [markdown]
# The cent of the dead worker is still held, since nobody can know that it is dead. Four seconds later its lease is over.
# The provider has probably billed the call, so the hold is not given back but *charged*, and the next call that comes by
# writes it down. No cleaner has to run.

# %%
time.sleep(4.2)
provider.latency = 0.05
GuardedChatModel(chat_model(), survivor, cache=False).invoke("I am.")
[after_the_lease] = survivor.status()
survivor.status()

# %%
deaths = survivor.report(by=["outcome", "user"])
deaths

# %% [markdown]
# ## The claim

# %%
assert reached.loc["naive callback"].min() > 20  # more than twice the budget, at any load
assert (reached.loc[["Costguard, as a callback", "Costguard, around the model"]] == 10).all(axis=None)
assert highest <= 1  # spent and held, of every budget, whenever somebody looked
assert used["$0.50/minute"] >= 0.98
assert second.response_metadata["costguard"]["refused"] == "$0.01/day"
assert (after_the_kill.spent, after_the_kill.held) == (0, after_the_kill.limit / 2)
assert (after_the_lease.spent, after_the_lease.held) == (after_the_lease.limit, 0)
assert deaths["abandoned", "worker"].calls == 1

survivor.close()
folder.cleanup()
provider.stop()
print(f"with 200 callers: ${reached.loc['naive callback', 200] / 100:.2f} against a budget of $0.10,")
print("and exactly $0.10 with Costguard")
