# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # One endpoint for every language
#
# After this notebook you can put budgets, a cache and a ledger in front of applications that are not written in Python: you
# start the proxy, give each customer a key, point clients of OpenAI and of Anthropic at it, and read who spent what.
#
# It runs offline: the provider is Costguard's simulated one, on this machine.

# %%
import json
import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import anthropic
import httpx
import openai

from costguard_core import CostGuard
from costguard_core.simulate import Simulator

print("Python", sys.version.split()[0])
for package in ("langchain-costguard", "openai", "anthropic"):
    print(package, version(package))

provider = Simulator().start()
folder = Path(tempfile.mkdtemp())
os.chdir(folder)
os.environ["PROVIDER_KEY"] = "sk-of-the-provider"

# %% [markdown]
# ## The policy file
#
# A customer on the free plan has half a cent a day; `auto` is a model that picks the cheaper of two where that will do.
# The key of the provider comes from the environment of the proxy: clients never see it.

# %%
Path("costguard.toml").write_text(f"""
store = "sqlite:///costguard.db"
ledger = "sqlite:///costguard.db"
budgets = ["$0.005/day per user where plan=free"]

[proxy]
port = 0                                  # any free one
keys = "sqlite:///keys.db"

[[proxy.upstreams]]
url = "{provider.base_url}"
provider = "anthropic"
models = ["claude-*"]
vendor = "anthropic"
key = "${{PROVIDER_KEY}}"

[[proxy.upstreams]]
url = "{provider.base_url}"
provider = "openai"
key = "${{PROVIDER_KEY}}"

[proxy.routers.auto]
tiers = ["gpt-4o-mini", "gpt-4o"]
threshold = 0.5
""")


def costguard(*words):
    """What one types as `costguard …`."""
    command = [sys.executable, "-c", "from costguard_core.cli.main import app; app()", *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def new_key(*tags):
    made = costguard("keys", "create", "--keys=sqlite:///keys.db", *(f"--tag={tag}" for tag in tags), "--json")
    return json.loads(made)["key"]


ann, ben = new_key("user=ann", "plan=pro"), new_key("user=ben", "plan=free")
print(costguard("keys", "list", "--keys=sqlite:///keys.db"))

# %% [markdown]
# ## Start it
#
# `costguard proxy --config costguard.toml` in a terminal; here in a process of its own, which says where it listens.

# %%
command = [sys.executable, "-uc", "from costguard_core.cli.main import app; app()", "proxy", "--config", "costguard.toml"]
proxy = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
url = proxy.stdout.readline().split()[-1]
while True:
    try:
        ready = httpx.get(f"{url}/ready").json()
        break
    except httpx.TransportError:
        assert proxy.poll() is None, "the proxy has ended"
ready

# %% [markdown]
# ## Any client
#
# What changes in an application is an address and a key, or two environment variables (`OPENAI_BASE_URL`,
# `OPENAI_API_KEY`). Here are the vendors' clients, and plain HTTP, which is what any other language sends.

# %%
chat = openai.OpenAI(base_url=f"{url}/v1", api_key=ann, max_retries=0)
claude = anthropic.Anthropic(base_url=url, api_key=ann, max_retries=0)
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]

print(chat.chat.completions.create(model="auto", messages=QUESTION).choices[0].message.content[:70])
print(claude.messages.create(model="claude-sonnet-4-5", max_tokens=90, messages=QUESTION).content[0].text[:70])

answer = httpx.post(
    f"{url}/v1/chat/completions",
    headers={"authorization": f"Bearer {ann}"},
    json={"model": "auto", "messages": QUESTION},
)
{name: value for name, value in answer.headers.items() if name.startswith("x-costguard")}

# %% [markdown]
# The third one asked what the first had asked. It came from the cache, whatever language either is written in, and cost
# nothing; `x-costguard-route` says which model `auto` stood for.
#
# ## A budget of one customer
#
# Ben is on the free plan. His client gets the error that it knows from the provider, 429, with a text that names no
# amount; everybody else goes on.

# %%
free = openai.OpenAI(base_url=f"{url}/v1", api_key=ben, max_retries=0)
answered = 0
try:
    while answered < 100:
        question = [{"role": "user", "content": f"Tell me about city number {answered}."}]
        free.chat.completions.create(model="gpt-4o", messages=question, max_tokens=200)
        answered += 1
except openai.RateLimitError as refusal:
    print(f"after {answered} answers: {refusal.status_code}", refusal.body["message"])

# %% [markdown]
# ## Who spent what
#
# The ledger is the one of the Python packages. `costguard report --by user` prints the same.

# %%
proxy.terminate()
proxy.wait(60)
with CostGuard(store="sqlite:///costguard.db", ledger="sqlite:///costguard.db") as guard:
    by_user = guard.report(by="user")
print(by_user)

# %%
rows = {row.key[0]: row.totals for row in by_user.rows}
asked = [request.body["model"] for request in provider.requests]
assert (rows["ann"].paid, rows["ann"].hits) == (2, 1)
assert asked.count("gpt-4o") == rows["ben"].paid == answered > 0
assert 0 < rows["ben"].cost <= 5_000_000  # nano-dollars: never more than half a cent
assert rows["ben"].refused == 1
provider.stop()
