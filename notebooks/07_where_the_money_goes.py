# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Where the money goes
#
# After this notebook you can say who and what spends the money, what a sale costs, why yesterday was dearer than the same
# day a week before, and what the month will cost. The questions are asked of the ledger, which every call of an application
# is written to; prompts and answers are not in it.
#
# Three weeks of a shop's assistant are recorded here as an adapter would record them: the clock and the usage are made
# up, prices are list prices, and all figures below come from the ledger.

# %%
import random
from datetime import UTC, datetime

import matplotlib.pyplot as plt

from costguard_core import Call, CostGuard, Outcome, Usage, attribute
from costguard_core.counters.memory import MemoryStore
from costguard_core.ledger import open_ledger

random.seed(11)


class Clock:
    now = datetime(2026, 11, 2, tzinfo=UTC).timestamp()  # a Monday

    def __call__(self):
        return self.now


clock = Clock()
ledger = open_ledger("memory://", clock=clock)
guard = CostGuard(["$25/day", "$3/day per user"], store=MemoryStore(clock=clock), ledger=ledger, clock=clock)
customers = [f"user-{number:02}" for number in range(40)]


# %% [markdown]
# ## Three weeks of calls
#
# Questions about orders go to the small model and are often repeated. Advice on shoes goes to the large one, and sometimes
# ends in a sale. From the third Thursday on, somebody pastes whole catalogues into the advice.


# %%
def call(model, tokens_in, tokens_out):
    made = Call(guard.new_id(), model, clock(), provider="openai", input_tokens=tokens_in, max_output_tokens=tokens_out)
    guard.after(guard.before(made), Usage(tokens_in, tokens_out))


def hit(model, tokens_in, tokens_out):
    made = Call(guard.new_id(), model, clock(), provider="openai", attribution=who)
    saved = guard.prices.cost(Usage(tokens_in, tokens_out), model=model, provider="openai")
    guard.hit(made, Outcome.EXACT, saved=saved)


def busy(day):
    return 0.5 if day % 7 >= 5 else 1.0


for day in range(21):
    for minute in sorted(random.sample(range(8 * 60, 20 * 60), int(90 * busy(day)))):
        clock.now = datetime(2026, 11, 2, tzinfo=UTC).timestamp() + day * 86_400 + minute * 60
        user = random.choice(customers)
        plan = "pro" if int(user[-2:]) < 8 else "free"
        if random.random() < 0.6:
            with attribute(user=user, endpoint="/orders", plan=plan) as who:
                answer = hit if random.random() < 0.45 else call
                answer("gpt-4o-mini", random.randint(400, 700), random.randint(60, 160))
        else:
            with attribute(user=user, endpoint="/advice", plan=plan, session=f"{user}-{day}"):
                catalogue = 22_000 if day >= 17 and plan == "pro" else 0
                call("gpt-4o", random.randint(1_500, 2_500) + catalogue, random.randint(250, 500))
                if random.random() < 0.15:
                    guard.record_outcome("sale", value=random.choice(["39.00", "59.00", "89.00"]))

clock.now = datetime(2026, 11, 23, 8, tzinfo=UTC).timestamp()
guard.flush()
calls = guard.report(by="endpoint").total.calls
print(f"{calls:,} calls of {len(customers)} users")

# %% [markdown]
# The guard itself shows what is left of its budgets.

# %%
guard

# %% [markdown]
# ## Who spends it
#
# A report is made by any dimension, or several, and by any tag that the application gives (`plan` here).

# %%
guard.report(by="endpoint,plan")

# %%
guard.report(by="user", limit=5, sort="spend")

# %% [markdown]
# Spend by day, from the same ledger.

# %%
days = guard.report(by="day,endpoint")
names = sorted({key[0] for key in (row.key for row in days.rows)})
plt.rcParams |= {"figure.dpi": 110, "text.parse_math": False, "font.size": 10, "axes.spines.top": False}
plt.rcParams |= {"axes.spines.right": False, "axes.titlelocation": "left", "axes.titleweight": "bold"}
figure, axes = plt.subplots(figsize=(8, 3.4), layout="constrained")
below = [0.0] * len(names)
for endpoint, color in (("/orders", "#9ca3af"), ("/advice", "#2563eb")):
    spend = {row.key[0]: row.totals.cost / 1e9 for row in days.rows if row.key[1] == endpoint}
    heights = [spend.get(name, 0.0) for name in names]
    axes.bar(range(len(names)), heights, bottom=below, color=color, label=endpoint)
    below = [low + height for low, height in zip(below, heights, strict=True)]
axes.set_xticks(range(0, len(names), 7), [names[index] for index in range(0, len(names), 7)])
axes.set_ylabel("dollars a day")
axes.set_title("The bill doubles when catalogues are pasted in")
axes.legend(frameon=False, loc="upper left")
plt.show()

# %% [markdown]
# ## What a sale costs
#
# An outcome takes the calls of its session, or of its user, within the seven days before it. What belongs to none is a line of its own, and the
# lines add up to the bill.

# %%
guard.unit_economics("sale", since="30d")

# %%
guard.unit_economics("active_user", since="30d")

# %% [markdown]
# ## Why the bill changed
#
# The last four days against the same four days of the week before. The parts add up to the difference to the nano-dollar.

# %%
why = guard.explain(since="2026-11-19", until="2026-11-23", against="2026-11-12")
why

# %% [markdown]
# ## What comes
#
# The month's bill with an interval, from the days so far.

# %%
guard.forecast()

# %% [markdown]
# ## What must hold

# %%
parts = dict(why.parts)
assert sum(parts.values()) == why.difference > 0
assert max(parts, key=parts.get) == "prompt length"
assert why.carriers[0].values[0][0] in ("/advice", "pro", "gpt-4o")
assert sum(row.totals.cost for row in days.rows) == days.total.cost == guard.report(by="user").total.cost
sale = guard.unit_economics("sale", since="30d")
assert sale.attributed + sale.unattributed == guard.report(by="user", since="30d").total.cost
guard.close()
