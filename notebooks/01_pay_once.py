# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Pay once for each answer
#
# A support bot hears the same questions all day, and its provider sends a bill for every single one. Costguard keeps each
# answer and gives it out again: in streams too, to fifty people at once, and never to somebody it was not meant for.
#
# Everything below runs offline: a real `ChatOpenAI` talks real HTTP to a simulated provider on this machine, which counts
# the requests that reach it. No key, no bill.

# %%
import random
import sys
import time
from importlib.metadata import version

import matplotlib.pyplot as plt
import pandas as pd
from langchain_core.caches import InMemoryCache
from langchain_openai import ChatOpenAI
from openai import OpenAIError

from costguard_core.simulate import Fault, Simulator
from langchain_costguard import CachePolicy, CostGuard, ExactCache, GuardedChatModel, attribute

print("Python", sys.version.split()[0])
for package in ("langchain-costguard", "langchain-core", "langchain-openai", "matplotlib", "pandas"):
    print(package, version(package))

pd.set_option("display.max_colwidth", None)

# %% [markdown]
# ## The second time is free
#
# `GuardedChatModel` goes around the model you have and is used like it.

# %%
provider = Simulator(latency=0.4).start()  # a provider that takes 0.4 s to answer


def chat_model(**options):
    return ChatOpenAI(base_url=provider.base_url, api_key="simulated", model="gpt-4.1", **options)


guard = CostGuard()
bot = GuardedChatModel(chat_model(), guard, cache=ExactCache("memory://"))

for attempt in ("first", "second"):
    started = time.perf_counter()
    answer = bot.invoke("How do I reset my password?")
    milliseconds = 1000 * (time.perf_counter() - started)
    mark = answer.response_metadata.get("costguard", "paid for")
    print(f"{attempt}: {milliseconds:4.0f} ms, calls at the provider: {provider.count}, {mark}")

# %% [markdown]
# The second message says where it came from and what it saved. It is a fresh copy with an id of its own, so nothing
# downstream notices the difference, except the bill.
#
# ## Streams too
#
# LangChain has caches, but it never asks them in `stream`, which is how most chat windows and all agents call a model. The
# guarded model replays a stored answer in pieces, and it does not matter whether it was first streamed or invoked.

# %%
def paid_calls(model, question):
    """Ask once with `invoke` and twice with `stream`; how often did the provider hear of it?"""
    before = provider.count
    whole = model.invoke(question).content
    for _ in range(2):
        pieces = [chunk.content for chunk in model.stream(question) if chunk.content]
        assert "".join(pieces) == whole and len(pieces) > 1
    return provider.count - before


question = "How do I add a colleague to my workspace?"
streams = {
    "LangChain's InMemoryCache": paid_calls(chat_model(cache=InMemoryCache()), question),
    "GuardedChatModel": paid_calls(bot, question),
}
for name, calls in streams.items():
    print(f"{name:26} one invoke, two streams: {calls} paid")

# %% [markdown]
# ## Fifty people, one call
#
# On Monday morning everybody asks at the same moment, and there is no answer yet to be repeated. The first request goes
# out; the others wait for its answer and take a copy each. If it fails, the next in line goes.

# %%
before = provider.count
answers = bot.batch(["How do I export my invoices as PDF?"] * 50, {"max_concurrency": 50})
together = provider.count - before
print(f"{len(answers)} answers, each with an id of its own: {len({a.id for a in answers}) == 50}")
print(f"calls at the provider: {together}")

# %% [markdown]
# ## What is never repeated
#
# A wrong answer is worse than a paid one. The weather was different an hour ago; *my* order is not *your* order; half an
# answer is not an answer. Such requests go to the provider every time, and the cache says why.


# %%
def asked_twice(question, **options):
    """How many of two identical requests were paid for, and what the cache had to say about it."""
    cache, before = ExactCache("memory://"), provider.count
    model, failed = GuardedChatModel(chat_model(**options), guard, cache=cache), []
    for _ in range(2):
        try:
            model.invoke(question)
        except OpenAIError:
            failed = ["the first call failed"]
    because = ", ".join([*cache.stats().declined, *failed])
    return {"asked twice": question, "calls": provider.count - before, "because": because}


rows = [
    asked_twice("How do I change my address?"),
    asked_twice("Where is my order?"),
    asked_twice("Why was invoice 2024-1182 so high?"),
    asked_twice("What is the weather in Vienna?"),
    asked_twice("Is the service down right now?"),
    asked_twice("Write a slogan for us.", temperature=1.3),
    asked_twice("Explain your return policy at length.", max_tokens=5),
]
provider.faults.append(Fault(status=500))
rows.append(asked_twice("Do you ship to Iceland?", max_retries=0))
never = pd.DataFrame(rows).set_index("asked twice")
never

# %% [markdown]
# The first row is the interesting one: it says *my*, and yet it has one answer for everybody, so it is kept. The rules
# read English and lean towards paying. Your own go into `CachePolicy(never_cache=(rule,))`, and
# `with cache_control(refresh=True):` asks anew when you know better.
#
# ## Tenants never share
#
# Two companies on one deployment may ask in the same words and must not get each other's answers. Tenants are always kept
# apart. With the user in the scope as well, even personal questions can be repeated, each to the one who asked.

# %%
by_user = ExactCache("memory://", policy=CachePolicy(scope=("tenant", "user")))
private = GuardedChatModel(chat_model(), guard, cache=by_user)
people = [("acme", "ann"), ("acme", "bob"), ("globex", "ann")]
scopes = {}
for model, name in ((bot, "tenants"), (private, "tenants and users")):
    for question in ("What does the premium plan include?", "Where is my order?"):
        before = provider.count
        for tenant, user in people * 2:
            with attribute(tenant=tenant, user=user):
                model.invoke(question)
        scopes[question, name] = provider.count - before

print("Calls at the provider when three people of two companies each ask twice, by what is kept apart:")
pd.Series(scopes).unstack()

# %% [markdown]
# ## What it saves
#
# Four hundred requests of one afternoon: thirty popular questions (a few of them very popular), and now and then one
# about somebody's own order. The same afternoon runs twice, without and with the cache.

# %%
FAQ = [
    f"How do I {verb} {thing}?"
    for verb in ("change", "cancel", "print", "share", "find", "download")
    for thing in ("a booking", "an invoice", "a return label", "the price list", "a gift card")
]
rng = random.Random(7)
popularity = [1 / (rank + 1) for rank in range(len(FAQ))]
afternoon = [
    ("/orders", f"Where is order {rng.randrange(10_000, 99_999)}?")
    if rng.random() < 0.15
    else ("/faq", rng.choices(FAQ, popularity)[0])
    for _ in range(400)
]


def run(cache):
    """The afternoon's bill: a guard, and the dollars spent after each request."""
    bill = CostGuard()
    model = GuardedChatModel(chat_model(), bill, cache=cache)
    for endpoint, question in afternoon:
        with attribute(endpoint=endpoint):
            model.invoke(question)
    bill.flush()
    events = sorted(bill.ledger.events(), key=lambda event: event.time)
    return bill, pd.Series([event.cost for event in events]).cumsum() / 10**9


provider.latency = 0
without_cache, without = run(cache=False)
with_cache, paid = run(cache=ExactCache("memory://"))

# %%
plt.rcParams |= {"figure.dpi": 110, "text.parse_math": False, "font.size": 10, "axes.spines.top": False}
plt.rcParams |= {"axes.spines.right": False, "axes.titlelocation": "left", "axes.titleweight": "bold"}
GREY, BLUE = "#9ca3af", "#2563eb"

requests = range(1, len(afternoon) + 1)
figure, axes = plt.subplots(figsize=(8, 4))
axes.fill_between(requests, paid, without, color=BLUE, alpha=0.08, linewidth=0)
axes.plot(requests, without, color=GREY, linewidth=2)
axes.plot(requests, paid, color=BLUE, linewidth=2)
for line, color, words in ((without, GREY, "every request"), (paid, BLUE, "each question once")):
    axes.text(404, line.iloc[-1], f"{words}\n${line.iloc[-1]:.3f}", color=color, va="center")
axes.text(300, (without[299] + paid[299]) / 2, "saved", color=BLUE, ha="center", alpha=0.8)
axes.set(xlabel="requests of the afternoon", ylabel="spent, in dollars", xlim=(0, 400), ylim=(0, None))
share = 1 - paid.iloc[-1] / without.iloc[-1]
axes.set_title(f"Paying once for each question saves {share:.0%} of the bill", pad=14)
figure.subplots_adjust(right=0.8)
plt.show()

# %% [markdown]
# The grey line climbs with every request. The blue one flattens as the bot learns its questions, and keeps the slope of
# what cannot be repeated. The ledger has every request, with its cost or what it saved:

# %%
with_cache.report(by="endpoint")

# %% [markdown]
# ## The claim
#
# Nothing was lost on the way: what was spent plus what was saved is the bill without a cache, to the nano-dollar.

# %%
bill = with_cache.report(by="endpoint")

assert streams == {"LangChain's InMemoryCache": 3, "GuardedChatModel": 1}
assert together == 1
assert list(never["calls"]) == [1] + [2] * (len(never) - 1)
assert scopes["What does the premium plan include?", "tenants"] == 2  # once per company
assert scopes["Where is my order?", "tenants"] == 6  # never repeated
assert scopes["Where is my order?", "tenants and users"] == 3  # once per person
assert bill.total.paid == len(set(afternoon)) and bill["/orders"].hits == 0
assert bill.total.cost + bill.total.saved == without_cache.report().total.cost
provider.stop()
print(f"paid {bill.total.paid} of {bill.total.calls} requests, and every one of them once")
