# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The right model for the question
#
# A large model costs five times what a small one costs, and most questions do not need it. Which ones do? Keywords
# cannot tell. Five hundred of your own questions, answered once by both models, can.
#
# Everything runs offline: a real `ChatOpenAI` talks real HTTP to a simulated provider on this machine. **The
# questions and their grades are made up**, because nobody's traffic is in this repository; what is real is the
# method, and what it is worth on real data is in `docs/routing.md`.

# %%
import sys
import tempfile
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from random import Random

import matplotlib.pyplot as plt
import pandas as pd
from langchain_openai import ChatOpenAI

from costguard_core.routing import Request, rules
from costguard_core.routing import learned
from costguard_core.routing.learning.evaluation import prove
from costguard_core.routing.learning.metrics import Curve
from costguard_core.routing.learning.rows import Row
from costguard_core.routing.checks.verify import has_final_number
from costguard_core.simulate import Simulator
from langchain_costguard import CostGuard, PromptLog, TieredRouter, attribute

print("Python", sys.version.split()[0])
for package in ("langchain-costguard", "langchain-core", "langchain-openai", "numpy", "matplotlib", "pandas"):
    print(package, version(package))

# %% [markdown]
# ## Questions that both models answered
#
# An application with five call sites. On each of them some questions are easy and some are not, and how often either
# model is right depends on both. Note the summaries: their prompts are the longest of all, and the small model is
# good at them.

# %%
TOPICS = "the tent,the boots,a refund,the invoice,my parcel,the voucher,the stove,the warranty,the repair".split(",")
TABLES = "orders,customers,parcels,refunds,tickets,products".split(",")
SENTENCES = [
    "The carrier confirmed that the parcel was sorted by hand.", "Jonas will call the warehouse again on Monday.",
    "Eleven cases are open, nine of them older than thirty days.",
    "The contract names a statement at the end of the month.",
    "Nobody has told the customers yet.", "The second batch arrived without its labels.",
]


def faq(rng):
    day = rng.choice(["Monday", "Sunday", "holidays"])
    return f"Quick question: what about {rng.choice(TOPICS)}, is it covered on {day}?", 0.95, 0.97


def summary(rng):
    text = " ".join(rng.choices(SENTENCES, k=rng.randint(15, 40)))
    return f"Summarise for a colleague in two sentences.\n\n{text}", 0.92, 0.95


def extraction(rng):
    fields = rng.sample(["name", "order number", "date", "amount", "city", "phone"], rng.randint(2, 6))
    return f"Extract {', '.join(fields)} as JSON from: {rng.choice(SENTENCES)}", 0.97 - 0.05 * len(fields), 0.96


def sql(rng):
    tables = rng.sample(TABLES, rng.randint(1, 4))
    joined = "" if len(tables) == 1 else f", joined with {' and '.join(tables[1:])}, grouped by month"
    return f"Write SQL that lists {tables[0]}{joined}.", 1.0 - 0.2 * len(tables), 0.98 - 0.04 * len(tables)


def sums(rng):
    steps = rng.randint(1, 4)
    text = " ".join(f"then {rng.choice(['add', 'take off'])} {rng.randint(2, 40)} percent," for _ in range(steps))
    question = f"Start with {rng.randint(20, 900)} euros, {text} and show why the result holds."
    return question, 0.95 - 0.2 * steps, 0.95 - 0.03 * steps


SITES = {  # and how much of the traffic they are, in percent
    "/faq": (faq, 40),
    "/summarise": (summary, 20),
    "/extract": (extraction, 15),
    "/sql": (sql, 15),
    "/sums": (sums, 10),
}


def traffic(count, seed):
    """Rows of question, call site and whether either model was right."""
    rng = Random(seed)
    for _ in range(count):
        site = rng.choices(list(SITES), [weight for _, weight in SITES.values()])[0]
        prompt, weak, strong = SITES[site][0](rng)
        yield Row(prompt, float(rng.random() < weak), float(rng.random() < strong), tag=site)


own, later = list(traffic(500, seed=1)), list(traffic(3000, seed=2))
seen = pd.DataFrame(own)
seen["characters"] = seen.prompt.str.len()
seen.groupby("tag")[["weak", "strong", "characters"]].mean().assign(questions=seen.tag.value_counts()).round(2)

# %% [markdown]
# ## Learn, and prove it
#
# `prove` fits a router to the 500 rows and cross-validates it on them: every row is scored by a router that has not
# seen it. The result is a file of a few tens of kilobytes, weights and hashes, without a word of any prompt.
# `learned` refuses to load it if its interval contains 0.5, which is chance. (In a terminal: `costguard router train
# rows.jsonl`.)

# %%
started = time.perf_counter()
scorer, evaluation = prove(own)
print(f"learned from {len(own)} rows in {time.perf_counter() - started:.1f} s")

folder = tempfile.TemporaryDirectory()
file = Path(folder.name) / "router.json"
scorer.save(file)
trained = learned(file)
print(f"{file.stat().st_size / 1024:.0f} KB; part of the gap recovered: {evaluation.apgr}, chance is 0.5")
print("is one model enough?", evaluation.one_model or "no: the small one is more than 1 % worse")

# %% [markdown]
# ## What it is worth
#
# Three thousand later questions. Sort them by how much they seem to need the large model; let it answer the first so
# many percent. How good are all answers together? Besides the learned router: the rules for the first day, plain
# length, and chance.


# %%
def value(score):
    return 0.0 if score is None else score.value


weak, strong = [row.weak for row in later], [row.strong for row in later]
requests = [Request(row.prompt, tag=row.tag) for row in later]
rng = Random(3)
SCORES = {
    "learned from 500 rows": [trained(request).value for request in requests],
    "rules": [value(rules()(request)) for request in requests],
    "length": [float(len(request.text)) for request in requests],
    "random": [rng.random() for _ in requests],
}
curves = {name: Curve.of(scores, weak, strong) for name, scores in SCORES.items()}
worth = pd.DataFrame(
    {
        name: {"gap recovered (APGR)": curve.apgr.value, "strong calls for 80 % of the gap": curve.cpt(80)}
        for name, curve in curves.items()
    }
).T
worth.round({"gap recovered (APGR)": 3, "strong calls for 80 % of the gap": 0})

# %%
plt.rcParams |= {"figure.dpi": 110, "text.parse_math": False, "font.size": 10, "axes.spines.top": False}
plt.rcParams |= {"axes.spines.right": False, "axes.titlelocation": "left", "axes.titleweight": "bold"}
BLUE, RED = "#2563eb", "#dc2626"
COLORS = dict(zip(curves, (BLUE, "#60a5fa", "#d97706", "#9ca3af")))

figure, axes = plt.subplots(figsize=(8, 4.2), layout="constrained")
shares = [step / 100 for step in range(101)]
for name, curve in curves.items():
    quality = [100 * curve.quality_at(share) for share in shares]
    width = 2.5 if name.startswith("learned") else 1.5
    axes.plot([100 * share for share in shares], quality, color=COLORS[name], linewidth=width, label=name)
curve = curves["learned from 500 rows"]
axes.plot([0, 100], [100 * curve.weak, 100 * curve.strong], "o", color="black", markersize=5, zorder=5)
axes.text(3, 100 * curve.weak - 0.4, "always the small model", fontsize=9, va="top")
axes.text(99, 100 * curve.strong + 0.4, "always the large model", fontsize=9, ha="right", va="bottom")
axes.set(xlabel="% of the questions that the large model answers", ylabel="% of all answers that are right")
axes.set_ylim(100 * curve.weak - 1.5, 100 * curve.strong + 1.2)
axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 0.12))
eighty = curve.cpt(80)
axes.set_title(f"{eighty:.0f} % of the questions to the large model bring 80 % of what it is worth")
plt.show()

# %% [markdown]
# Length sends every summary to the large model first, for nothing. On other traffic it is a better guess, or worse
# than chance: that is why no fixed rule is right for everybody, and why the rows have to be one's own.
#
# ## Switch it on
#
# `TieredRouter` is a chat model. It keeps the share that it is told by cutting at a rolling quantile of its own
# scores, so no threshold has to be found. Here are 300 of the later questions, through a small and a large model, on
# one bill.

# %%
provider = Simulator().start()
guard = CostGuard(["$5/day"])


def chat_model(name):
    return ChatOpenAI(model=name, base_url=provider.base_url, api_key="simulated")


small, large = chat_model("gpt-4.1-mini"), chat_model("gpt-4.1")
router = TieredRouter(cheap=small, strong=large, score=trained, share=0.25, guard=guard, cache=False)

right, bill_of_large = 0.0, 0
tiers = Counter()
for row in later[:300]:
    with attribute(endpoint=row.tag):
        answer = router.invoke(row.prompt, max_tokens=200)
    tier = answer.response_metadata["costguard"]["route"]["tier"]
    tiers[row.tag, tier] += 1
    right += row.strong if tier == "strong" else row.weak
    usage = answer.usage_metadata
    bill_of_large += 2_000 * usage["input_tokens"] + 8_000 * usage["output_tokens"]  # nano-dollars, had it answered all

guard.flush()
report = guard.report(by="route")
spent = report.total.cost
always_small, always_large = (sum(one[:300]) / 300 for one in (weak, strong))
print(f"share of the large model: {router.share_now:.0%}")
print(f"right: {right / 300:.1%}; always small {always_small:.1%}, always large {always_large:.1%}")
saved = 1 - spent / bill_of_large
print(f"paid ${spent / 1e9:.4f}; the large model alone ${bill_of_large / 1e9:.4f}: {saved:.0%} saved")
report

# %%
split = pd.Series(tiers).unstack(fill_value=0).reindex(SITES)[["cheap", "strong"]]
split.rename(columns={"cheap": "small model", "strong": "large model"})

# %% [markdown]
# ## One decision, explained
#
# `explain` decides without spending. Every part of the score is a reason, and reasons name features and call sites,
# never words of the prompt. What went to the message is also in the ledger.

# %%
with attribute(endpoint="/sums"):
    decision = router.explain("Start with 240 euros, add 20 percent, take off 15 percent and show why the result holds.")
print(decision.text)
print(f"saved against the large model: ${decision.saved / 1e9:.6f}", end="\n\n")
with attribute(endpoint="/faq"):
    print(router.explain("Quick question: what about the boots?").text, end="\n\n")
last = list(guard.ledger.events())[-1]
print("in the ledger:", last.model, "|", last.route)

# %% [markdown]
# ## Check, then escalate
#
# Where an answer can be checked, asking the small model first beats guessing. `verify=` is the check; what fails it
# goes to the large model. Both calls are on the bill, and the answer says so.

# %%
provider.reset()
provider.reply = lambda request: "That depends." if "mini" in request["model"] else "288 - 43.20: the answer is 244.80"
check = has_final_number()
checked = TieredRouter(cheap=small, strong=large, score=trained, share=0.0, verify=check, guard=guard, cache=False)
with attribute(endpoint="/sums"):
    escalated = checked.invoke("What remains of 240 euros after 20 percent more and 15 percent less?")
route = escalated.response_metadata["costguard"]["route"]
guard.flush()
calls = list(guard.ledger.events())[-2:]
print(escalated.text, "|", route["reason"])
[f"{call.model}: ${call.cost / 1e9:.6f}" for call in calls]

# %% [markdown]
# ## Where rows come from
#
# From your own traffic, if you say so: with a prompt log, a part of the calls (2 % unless you say otherwise; here all,
# to see some) is answered by the other model too, in the background and on a budget of its own. Nobody waits for it.
# How good the two answers were comes from users, from checks, from a judge, or from whether they agree.
# `costguard router train --log prompts.db` learns from what is there; what looks like a credential is not written
# down, and `costguard router forget --user u1` erases what somebody asked.

# %%
provider.reset()
log = PromptLog(Path(folder.name) / "prompts.db")
sampled = TieredRouter(cheap=small, strong=large, score=trained, share=0.25, guard=guard, cache=False, log=log, shadow=1.0)
for row in later[300:320]:
    with attribute(endpoint=row.tag, user="u1"):
        answer = sampled.invoke(f"{row.prompt} My key is sk-proj-abcdefghijklmnop1234.", max_tokens=200)
sampled.feedback(answer, 0.0)
sampled.flush(30)
guard.flush()
pairs = log.rows()
print(sampled.status(), end="\n\n")
print(pairs[-1].prompt[-60:], "| small", pairs[-1].weak, "| large", pairs[-1].strong)
by_route = guard.report(by="route")
by_route

# %% [markdown]
# ## The claim

# %%
apgr = worth["gap recovered (APGR)"]
assert evaluation.better_than_chance and evaluation.apgr.low > 0.5
assert apgr["learned from 500 rows"] > apgr.drop("learned from 500 rows").max() + 0.05
assert abs(apgr["random"] - 0.5) < 0.05
assert eighty < worth.loc["random", "strong calls for 80 % of the gap"] - 20
assert abs(router.share_now - 0.25) < 0.05
assert spent < 0.6 * bill_of_large
assert decision.tier == "strong" and "/sums" in decision.because
assert report.total.saved == bill_of_large - spent  # the ledger says what routing saved
assert len(pairs) == 20 == by_route["shadow"].calls and "(secret)" in pairs[-1].prompt
assert log.forget(user="u1") == 20 and len(log) == 0
assert route["escalated"] and ["mini" in call.model for call in calls] == [True, False]

provider.stop()
folder.cleanup()
print(f"{eighty:.0f} % strong calls recover 80 % of the gap; chance needs {worth.loc['random'].iloc[1]:.0f} %")
