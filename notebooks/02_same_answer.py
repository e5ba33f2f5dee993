# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Other words, same answer
#
# "How do I reset my password?" and "forgot my password, what now" deserve one answer and one payment. "Refund for order
# 1182" and "refund for order 1183" do not, although every embedding model takes them for the same sentence.
#
# This notebook shows what a semantic cache gets right and wrong, and how Costguard's decides. It runs offline: the
# embedding model `wordllama` is inside its wheel.

# %%
import random
import sys
import tempfile
from importlib.metadata import version

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage

from costguard_core.cache import Answer, CacheKey
from costguard_core.cache.keys import digest
from costguard_core.cache.semantic.engine import SemanticEngine
from costguard_core.cache.semantic.rules.lexical import veto
from costguard_core.cache.semantic.query import SemanticQuery
from costguard_core.cache.semantic.index.memory import MemoryIndex
from costguard_core.cache.semantic.embeddings import open_local
from langchain_costguard import SemanticCache

print("Python", sys.version.split()[0])
for package in ("langchain-costguard", "langchain-core", "chromadb", "wordllama", "matplotlib"):
    print(package, version(package))
plt.rcParams |= {"figure.dpi": 110, "text.parse_math": False, "font.size": 10, "axes.spines.top": False}
plt.rcParams |= {"axes.spines.right": False, "axes.titlelocation": "left", "axes.titleweight": "bold"}
plt.rcParams |= {"legend.frameon": False, "axes.prop_cycle": plt.cycler(color=["#2563eb", "#9ca3af", "#d97706"])}

pd.set_option("display.max_colwidth", None)

# %% [markdown]
# ## A hit, and near misses
#
# `SemanticCache` is a LangChain cache. A model that answers with its own question makes every wrong hit visible.


# %%
class Echo(FakeListChatModel):
    """Says what it was asked, so that an answer shows for which question it was made."""

    def _call(self, messages, *args, **kwargs):
        return f"[the answer to: {messages[-1].content}]"


folder = tempfile.mkdtemp()
cache = SemanticCache("wordllama", path=folder, decide="guarded", threshold=0.75)
bot = Echo(responses=[""], cache=cache)
system = SystemMessage("You answer customers of a shop.")

stored = [
    "How do I reset my password?",
    "How do I enable two-factor login?",
    "How far is 100 km in miles?",
    "Can I return worn shoes?",
    "What are your opening hours in Paris?",
]
for question in stored:
    bot.invoke([system, HumanMessage(question)])

asked = [
    "how can I reset my password",
    "How do I reset your password?",
    "How do I disable two-factor login?",
    "How far is 100 miles in km?",
    "How far is 200 km in miles?",
    "Can I not return worn shoes?",
    "what are the opening hours in Paris",
]
rows = []
for question in asked:
    verdict = cache.explain(bot, [system, HumanMessage(question)])
    near = verdict.neighbour
    rows.append((question, near.question, round(near.similarity, 3), "hit" if verdict.hit else "miss", verdict.reason))
pd.DataFrame(rows, columns=["asked", "nearest stored", "similarity", "", "why"])

# %% [markdown]
# The refused ones are *more* similar than some of the right ones: no threshold separates them. A hit is marked on the
# message, and the mark is what a user's thumbs-down needs:

# %%
hit = bot.invoke([system, HumanMessage("how can I reset my password")])
print(hit.content)
print({name: value for name, value in hit.response_metadata["costguard"].items() if name != "hit"})

cache.refute(hit)
print(bot.invoke([system, HumanMessage("how can I reset my password")]).content)

# %% [markdown]
# ## What must be equal
#
# Only the last question is embedded. Everything else – tenant, model, parameters, system prompt, tools, schema – must
# match exactly, or it is another cache; conversations and agents' turns are left to the exact cache.

# %%
pirate = SystemMessage("You are a pirate.")
laptop = [system, HumanMessage("Tell me about the laptop."), AIMessage("It is light."), HumanMessage("How much is it?")]
tent = [system, HumanMessage("Tell me about the tent."), AIMessage("It is green."), HumanMessage("How much is it?")]
for name, messages in {
    "another system prompt": [pirate, HumanMessage("how can I enable two-factor login")],
    "same question after a laptop": laptop,
    "same question after a tent": tent,
}.items():
    print(f"{name}: {cache.explain(bot, messages).reason}")
    bot.invoke(messages)
cache.close()

# %% [markdown]
# ## A day of traffic with known answers
#
# To count errors, questions are needed whose answers are known. Here they are made: 40 questions that people ask, each in
# many wordings. Half of them have a twin that differs in one word.

# %%
THINGS = "password,address,newsletter,invoice,parcel,gift card,warranty,account,subscription,phone number".split(",")
DEEDS = "change,delete,find,share".split(",")
OPENINGS = "How do I|how can I|Please tell me how to|what do I do to|I want to|is there a way to|help me|can I|where do I".split("|")
MIDDLES = "my|the|that|this".split("|")
ENDINGS = "|?|, please| please|, thanks| in the app| in your app| on the website| online".split("|")

rng = random.Random(7)
traffic = {}
while len(traffic) < 700:
    deed, thing = rng.choice(DEEDS), rng.choice(THINGS)
    text = f"{rng.choice(OPENINGS)} {deed} {rng.choice(MIDDLES)} {thing}{rng.choice(ENDINGS)}"
    traffic[text] = f"{deed} {thing}"
questions, answers = list(traffic), list(traffic.values())
order = rng.sample(range(len(questions)), len(questions))
questions, answers = [questions[i] for i in order], [answers[i] for i in order]
vectors = np.array(open_local("wordllama").embed(questions))
pd.Series(questions[:6]).to_frame("for example")

# %%
similar = vectors @ vectors.T
nearest = [(int(similar[i, :i].argmax()), float(similar[i, :i].max())) for i in range(1, len(questions))]
right = [s for i, (j, s) in enumerate(nearest, start=1) if answers[i] == answers[j]]
wrong = [s for i, (j, s) in enumerate(nearest, start=1) if answers[i] != answers[j]]

figure, axis = plt.subplots(figsize=(8, 3))
bins = np.linspace(0.5, 1, 51)
axis.hist(right, bins, alpha=0.7, label=f"same answer ({len(right)})")
axis.hist(wrong, bins, alpha=0.7, label=f"another answer ({len(wrong)})")
finding = f"Between {min(right):.2f} and {max(wrong):.2f} a neighbour may be right or wrong"
axis.set(xlabel="similarity to the nearest earlier question", ylabel="questions", title=finding)
axis.legend()
plt.show()

# %% [markdown]
# ## Three rules
#
# * **threshold**: what other caches do: nearest stored question, similar enough.
# * **guarded**: the same, unless a number, name, negation, opposite, order or the thing spoken about differs.
# * **calibrated**: serves only when the answers of neighbouring questions agree, and only while fewer than `max_error` of
#   the hits are wrong. It learns that from the answers that are paid for anyway: after each miss the fresh answer is
#   compared with the one that would have been served.


# %%
def by_threshold(threshold, guards):
    stored, hits, wrong = [], 0, 0
    for i, question in enumerate(questions):
        best = max(stored, key=lambda j: similar[i, j], default=None)
        if best is not None and similar[i, best] >= threshold and not (guards and veto(question, questions[best])):
            hits += 1
            wrong += answers[best] != answers[i]
        else:
            stored.append(i)
    return hits / len(questions), wrong / len(questions)


def by_calibration(max_error):
    engine, hits, wrong = SemanticEngine(MemoryIndex(), max_error=max_error), 0, 0
    history = []
    for question, answer, vector in zip(questions, answers, vectors.tolist(), strict=True):
        asked = SemanticQuery(question, "scope", CacheKey(digest=digest(question)))
        hit = engine.lookup(asked, vector)
        if hit is None:
            engine.save(asked, vector, Answer(payload=[answer]), answer)
        else:
            hits += 1
            wrong += hit.answer.payload[0] != answer
        history.append((hits, wrong))
    return hits / len(questions), wrong / len(questions), history, engine.stats()


curves = {
    "threshold": [by_threshold(t, guards=False) for t in np.arange(0.6, 1.0, 0.02)],
    "guarded": [by_threshold(t, guards=True) for t in np.arange(0.6, 1.0, 0.02)],
}
promises = {max_error: by_calibration(max_error) for max_error in (0.02, 0.1)}

# %%
figure, axis = plt.subplots(figsize=(8, 4))
for name, points in curves.items():
    axis.plot(*zip(*points, strict=True), marker=".", label=name)
for max_error, (hit, error, _, _) in promises.items():
    axis.plot(hit, error, "k*", markersize=12, label="calibrated" if max_error == 0.02 else None)
    axis.annotate(f"max_error={max_error}", (hit, error), xytext=(0, 10), ha="center", textcoords="offset points")
hit, error, *_ = promises[0.1]
at_that = {name: np.interp(hit, *zip(*sorted(points), strict=True)) for name, points in curves.items()}
told = ", ".join(f"{wrong:.1%} {name}" for name, wrong in {**at_that, "calibrated": error}.items())
axis.set(xlabel="hits, share of all requests", ylabel="wrong answers, share of all requests")
axis.margins(x=0.1)
axis.set(title=f"Wrong answers at {hit:.0%} hits: {told}")
axis.legend()
plt.show()

# %% [markdown]
# Made-up traffic flatters every rule that looks at words, so take the shape and not the numbers;
# `benchmarks/semantic.py` measures on public data. What matters is how the calibrated cache behaves in time: it starts
# closed, opens when its own traffic has shown that it may, and says how wrong it is.

# %%
_, _, history, stats = promises[0.02]
figure, axis = plt.subplots(figsize=(8, 3))
axis.plot([hits for hits, _ in history], label="hits")
axis.plot([wrong for _, wrong in history], label="of which wrong")
closed = next(i for i, (hits, _) in enumerate(history) if hits)
finding = f"max_error=0.02: closed for {closed} requests, then {history[-1][0]} hits, {history[-1][1]} of them wrong"
axis.set(xlabel="requests", title=finding)
axis.legend()
plt.show()
low, high = stats.measured_error.low, stats.measured_error.high
print(f"measured error of would-be hits: {stats.measured_error.share:.1%} (95 %: {low:.1%} to {high:.1%})")
print(f"{stats.hits} hits, {stats.audits} more were paid for anyway to check, {stats.labels} labels")
