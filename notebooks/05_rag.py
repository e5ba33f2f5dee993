# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Retrieval with LlamaIndex: a cache, a budget per user, a report
#
# A shop answers questions from its help pages. Customers ask the same dozen things in their own words, one of them asks
# all day, and at the end of the month somebody wants to know who spent what.
#
# Everything runs offline. LlamaIndex's own OpenAI integration talks real HTTP to a simulated provider on this machine,
# which counts the calls that reach it; the embedding model `wordllama` is inside its wheel.

# %%
import random
import sys
import textwrap
import time
from importlib.metadata import version

import matplotlib.pyplot as plt
import pandas as pd
from llama_index.core import Document, VectorStoreIndex
from llama_index.core.embeddings import BaseEmbedding
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai import OpenAI

from costguard_core.cache.semantic.index.memory import MemoryIndex
from costguard_core.cache.semantic.embeddings import open_local
from costguard_core.simulate import Simulator
from llamaindex_costguard import CachePolicy, CostGuard, ExactCache, LayeredCache, SemanticCache, SpendLimitExceeded
from llamaindex_costguard import TieredRouter, attribute, guard_llm

print("Python", sys.version.split()[0])
for package in ("langchain-costguard", "llama-index-core", "llama-index-llms-openai", "wordllama", "matplotlib"):
    print(package, version(package))
plt.rcParams |= {"figure.dpi": 110, "text.parse_math": False, "font.size": 10, "axes.spines.top": False}
plt.rcParams |= {"axes.spines.right": False, "axes.titlelocation": "left", "axes.titleweight": "bold"}
plt.rcParams |= {"legend.frameon": False, "axes.prop_cycle": plt.cycler(color=["#2563eb", "#9ca3af", "#d97706"])}

pd.set_option("display.max_colwidth", None)

# %% [markdown]
# ## Pages, questions, and a provider that knows the answers
#
# Each page of the help centre answers two questions, and each question comes in several wordings. The simulated model
# answers every one of them rightly, so that whatever is wrong later, a cache did it.

# %%
PAGES = {
    "returns": {
        "Anything unworn may be returned within 30 days.": [
            "How long can I return a pair of shoes?",
            "how long can I return shoes",
            "For how long can shoes be returned?",
            "how many days do I have to return shoes",
        ],
        "Worn shoes cannot be returned.": [
            "Can I return worn shoes?",
            "can worn shoes be returned",
            "May I return shoes that were worn?",
        ],
    },
    "shipping": {
        "Shipping to Norway takes four days.": [
            "How long does shipping to Norway take?",
            "how long is shipping to Norway",
            "How many days does shipping to Norway take?",
        ],
        "Shipping to Japan takes nine days.": [
            "How long does shipping to Japan take?",
            "how long is shipping to Japan",
            "How many days does shipping to Japan take?",
        ],
    },
    "account": {
        "Passwords are reset under Settings, Security.": [
            "How do I reset my password?",
            "how can I reset my password",
            "How to reset my password please",
            "I want to reset my password",
        ],
        "Two-factor login is switched on under Settings, Login.": [
            "How do I enable two-factor login?",
            "how can I enable two-factor login",
            "Where do I enable two-factor login?",
        ],
    },
    "payment": {
        "Invoices are sent by mail on the first of each month.": [
            "When do you send invoices?",
            "when are invoices sent",
            "When will invoices be sent?",
        ],
        "Gift cards cannot be paid out.": [
            "Can gift cards be paid out?",
            "can you pay out gift cards",
            "May gift cards be paid out in cash?",
        ],
    },
}
TRUTH = {question: fact for facts in PAGES.values() for fact, questions in facts.items() for question in questions}


def reply(body):
    """The simulated model: finds the question in the prompt and knows its answer."""
    prompt = body["messages"][-1]["content"]
    found = [question for question in TRUTH if question in prompt]
    return TRUTH[max(found, key=len)] if found else None


provider = Simulator(latency=0.02, reply=reply).start()
print(sum(len(facts) for facts in PAGES.values()), "facts,", len(TRUTH), "wordings")

# %% [markdown]
# An ordinary index over the pages, and an ordinary LLM:


# %%
class WordLlama(BaseEmbedding):
    """256 numbers from weights inside a wheel."""

    def _get_text_embedding(self, text):
        return LOCAL.embed([text])[0]

    _get_query_embedding = _get_text_embedding

    async def _aget_query_embedding(self, query):
        return self._get_text_embedding(query)


LOCAL = open_local("wordllama")
pages = [Document(text=f"Help: {name}. " + " ".join(facts), id_=name) for name, facts in PAGES.items()]
index = VectorStoreIndex.from_documents(pages, embed_model=WordLlama(model_name="wordllama"))


def openai(model="gpt-4o"):
    return OpenAI(model=model, max_tokens=100, api_base=provider.base_url, api_key="simulated", max_retries=0)


def engine(llm):
    return index.as_query_engine(llm=llm, similarity_top_k=1)


print(engine(openai()).query("How long does shipping to Norway take?"))

# %% [markdown]
# ## One line, and what is asked twice is paid once
#
# `guard_llm` returns an LLM of the same class that goes wherever the first one went. A day of 180 questions, first
# without it, then with an exact cache, then with a semantic cache behind the exact one.
#
# Questions about oneself ("my password") and about the present are not cached unless somebody says that they may be. Help
# pages say the same to everybody, so here they may.

# %%
rng = random.Random(5)
facts = [fact for facts in PAGES.values() for fact in facts]
popular = [1 / (rank + 1) for rank in range(len(facts))]


def wording():
    fact = rng.choices(facts, popular)[0]
    return rng.choice([question for question, answer in TRUTH.items() if answer == fact])


day = [(rng.choices(["ada", "ben", "cleo"], [6, 2, 1])[0], wording()) for _ in range(180)]


def replay(llm):
    """Ask the day's questions; returns the provider's calls after each of them, how many were wrong, and seconds."""
    provider.reset()
    asked, calls, wrong, started = engine(llm), [], 0, time.perf_counter()
    for user, question in day:
        with attribute(user=user, endpoint="/help"):
            wrong += str(asked.query(question)).strip() != TRUTH[question]
        calls.append(provider.count)
    return calls, wrong, time.perf_counter() - started


same_for_all = CachePolicy(cache_personal=True, cache_dynamic=True)
probe = SemanticCache("wordllama", index=MemoryIndex(), decide="guarded", threshold=0.8, policy=same_for_all)
cache = LayeredCache([ExactCache(policy=same_for_all), probe])
metered, exact, layered = CostGuard(), CostGuard(), CostGuard()
runs = {
    "no cache": (metered, guard_llm(openai(), metered)),
    "exact": (exact, guard_llm(openai(), exact, cache=ExactCache(policy=same_for_all))),
    "exact + semantic": (layered, guard_llm(openai(), layered, cache=cache)),
}
found = {name: replay(llm) for name, (_, llm) in runs.items()}

table = []
for name, (calls, wrong, seconds) in found.items():
    total = runs[name][0].report().total
    table.append((name, calls[-1], f"${total.spend_usd:.4f}", f"${total.saved_usd:.4f}", wrong, round(seconds, 1)))
pd.DataFrame(table, columns=["", "provider calls", "paid", "saved", "wrong answers", "seconds"]).set_index("")

# %%
figure, axis = plt.subplots(figsize=(8, 3.2))
for name, (calls, *_) in found.items():
    axis.plot(range(1, len(day) + 1), calls, label=name)
most, fewer, fewest = (calls[-1] for calls, *_ in found.values())
finding = f"{len(day)} questions: {most} calls without a cache, {fewer} with an exact one, {fewest} with both"
axis.set(xlabel="questions", ylabel="provider calls", title=finding)
axis.spines[["top", "right"]].set_visible(False)
axis.legend(frameon=False)
figure.tight_layout()
plt.show()

# %% [markdown]
# ## Why a question about the same page is not the same question
#
# A retrieval prompt is nine tenths context. Embed it whole, and any two questions about one page look alike. Here only the
# question is embedded; page, template, model and settings must be equal to the letter, or it is another cache.

# %%
whole = "Help: shipping. Shipping to Norway takes four days. Shipping to Japan takes nine days.\nQuery: {}\nAnswer: "


def similarity(one, other):
    a, b = LOCAL.embed([one, other])
    return round(sum(x * y for x, y in zip(a, b, strict=True)), 3)


norway, japan = "How long does shipping to Norway take?", "How long does shipping to Japan take?"
rows = []
for question in ("how long is shipping to Norway", japan, "How do I reset my password?"):
    alone, together = similarity(norway, question), similarity(whole.format(norway), whole.format(question))
    rows.append((question, together, alone, "yes" if TRUTH[question] == TRUTH[norway] else "no"))
pd.DataFrame(rows, columns=[f"against “{norway}”", "whole prompt", "question alone", "same answer"])

# %% [markdown]
# Even alone, a question that is nearly the same may want the opposite. So a hit also needs the same numbers, names, places
# and directions, and says so where it refuses:

# %%
llm = runs["exact + semantic"][1]
for question in ("How do I disable two-factor login?", "Can I return unworn shoes?", "How do I reset your password?"):
    with attribute(user="ben", endpoint="/help"):
        engine(llm).query(question)
near = {(miss.question, miss.stored): (round(miss.similarity, 3), miss.reason) for miss in probe.near_misses()}
rows = [(*pair, *why) for pair, why in near.items()]
pd.DataFrame(rows, columns=["asked", "stored", "similarity", "refused because"])

# %% [markdown]
# A change of the page is another context, so nobody is told yesterday's answer:

# %%
index.update_ref_doc(Document(text="Help: payment. Invoices are sent on the last day of each month.", id_="payment"))
provider.reply = lambda body: "On the last day of each month." if "last day" in str(body) else reply(body)
with attribute(user="ada", endpoint="/help"):
    print(engine(llm).query("When do you send invoices?"))
provider.reply = reply

# %% [markdown]
# ## A budget per user
#
# Ada asks most of the questions. Two cents a day for each user stop her before the provider is called, and nobody else;
# LlamaIndex turns many errors into "Empty Response", but not this one.

# %%
guard = CostGuard(["$0.02/day per user", "$0.50/day"])
llm = guard_llm(openai(), guard, cache=ExactCache())
answered, refused = dict.fromkeys(["ada", "ben", "cleo"], 0), dict.fromkeys(["ada", "ben", "cleo"], 0)
provider.reset()
for number, (user, question) in enumerate(day):
    with attribute(user=user, endpoint="/help"):
        try:
            engine(llm).query(f"{question} (ticket {number})")
            answered[user] += 1
        except SpendLimitExceeded as error:
            refused[user] += 1
            last = error
print(textwrap.fill(str(last), 110))
guard.status()

# %%
figure, axis = plt.subplots(figsize=(8, 2.6))
axis.barh(list(answered), list(answered.values()), label="answered")
axis.barh(list(answered), list(refused.values()), left=list(answered.values()), color="#9ca3af", label="refused")
axis.set(xlabel="questions", title=f"Two cents a day for each refuse {refused['ada']} questions of Ada's")
axis.spines[["top", "right"]].set_visible(False)
axis.invert_yaxis()
axis.legend(frameon=False)
figure.tight_layout()
plt.show()
print("refused calls that reached the provider:", provider.count - sum(answered.values()))

# %% [markdown]
# What is in the cache is still served, to her as well: it costs nothing.

# %%
with attribute(user="ada", endpoint="/help"):
    print(engine(llm).query(f"{day[0][1]} (ticket 0)"))

# %% [markdown]
# ## The cheapest model that is good enough
#
# `TieredRouter` is an LLM too. Here the longest fifth of the questions (without their page) goes to the strong model; a
# score that is learned from a log does better. An answer that fails its check is asked of the strong model as well, and
# both calls are on the bill.

# %%
bill = CostGuard()
router = TieredRouter(
    cheap=openai("gpt-4o-mini"),
    strong=openai("gpt-4o"),
    score=lambda request: len(request.text.split()),
    share=0.2,
    verify=lambda answer: "cannot" not in answer.text,  # bad news is for the better model
    guard=bill,
)
for user, question in day[:40]:
    with attribute(user=user, endpoint="/help"):
        engine(router).query(question)
print(router.explain([ChatMessage(role="user", content="Can I return worn shoes?")]).text)
bill.report(by="model")

# %% [markdown]
# ## Who spent what
#
# The ledger has one event per call, served or paid, and never a word of prompt or answer.

# %%
layered.report(by="user")

# %%
frame = layered.report(by="user").to_pandas().set_index("user")
figure, axis = plt.subplots(figsize=(8, 2.6))
axis.barh(frame.index, frame.spend_usd, label="paid")
axis.barh(frame.index, frame.saved_usd, left=frame.spend_usd, color="#9ca3af", label="saved by the cache")
saved = frame.saved_usd.sum() / (frame.saved_usd + frame.spend_usd).sum()
axis.set(xlabel="dollars", title=f"The cache saved {float(saved):.0%} of the day's bill")
axis.spines[["top", "right"]].set_visible(False)
axis.invert_yaxis()
axis.legend(frameon=False)
figure.tight_layout()
plt.show()

# %%
for one in (metered, exact, layered, guard, bill):
    one.close()
provider.stop()
