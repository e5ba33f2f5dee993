"""A policy file: what it means, and what is said about one that cannot be used."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import fields
from decimal import Decimal
from pathlib import Path
from time import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import SecretStr

from costguard_core.budgets.agents import AgentLimit
from costguard_core.budgets.breaker import Breaker
from costguard_core.budgets.budget import Budget
from costguard_core.budgets.estimates import Assumptions
from costguard_core.budgets.loops import Loops
from costguard_core.cache.keys import CacheKey, Uncacheable
from costguard_core.cache.policy import CachePolicy, Request
from costguard_core.errors import ConfigurationError, SpendLimitExceeded
from costguard_core.guard import CostGuard
from costguard_core.policy import PolicyError, load_policy, parse_policy
from costguard_core.policy.schema import policy_schema
from costguard_core.types import Attribution, Call
from costguard_core.util.toml_document import Document, dotted

WHOLE = """
store = "memory://"
ledger = "${LEDGER:-memory://}"
timezone = "Europe/Vienna"
lease = "10m"
breaker = { rate = "$2/minute", cooldown = 5 }
budgets = [
    "$25/day per user",
    { limit = "$500/month", on_exceed = "wait", wait_timeout = "10s", alerts = [0.9] },
]
loops = { repeats = 4, within = "minute" }
discount = { openai = "0.10" }
unpriced = { input = "15", output = "75" }
assume = { output = 1000 }

[agents]
research = "$0.50"
writer = { limit = "$1", wrap_up = 0.7 }

[emergency]
max_input = 4000
rate = "30/minute"
for = "2h"

[plans.free]
budgets = ["$1/day per user"]

[cache]
ttl = "7d"

[endpoints."/support"]
owner = "support"
budgets = ["$50/day"]
models = ["gpt-4o-mini"]
max_cost_per_call = "0.02"
review_above = "$500/month"
cache = { ttl = "1d", scope = ["tenant", "user"] }

[endpoints."/live"]
cache = { enabled = false }

[prices."my-model"]
input = "2.50"
output = 10

[[hooks]]
type = "logging"
"""


def problems(text: str, **environment: str) -> list[tuple[int, int, str]]:
    with pytest.raises(PolicyError) as caught:
        parse_policy(text, environment)
    return [(place.line, place.column, key) for place, key, _ in caught.value.problems]


def test_every_part_of_the_file_becomes_what_the_guard_takes() -> None:
    policy = parse_policy(WHOLE, {})
    assert [str(budget) for budget in policy.budgets] == [
        "$25/day per user",
        "$500/month",
        "$1/day per user where plan=free",
        "$50/day where endpoint=/support",
        "$0.02/call where endpoint=/support",
    ]
    assert {budget.timezone for budget in policy.budgets} == {"Europe/Vienna"}
    assert policy.budgets[1].on_exceed == "wait"
    assert policy.budgets[1].wait_timeout == 10
    assert policy.options["breaker"] == Breaker("$2/minute", cooldown=5)
    assert policy.options["assume"] == Assumptions(output=1000)
    assert policy.options["lease"] == 600
    assert policy.options["loops"] == Loops(4, "minute")
    assert policy.options["agents"] == {"research": AgentLimit("$0.50"), "writer": AgentLimit("$1", 0.7)}
    assert policy.emergency == {"max_input": 4000, "rate": "30/minute", "duration": "2h"}
    assert policy.endpoints["/support"].owner == "support"
    with CostGuard(policy.budgets, **policy.options) as guard:
        charge = guard.after(guard.before(Call("1", "my-model", time(), max_output_tokens=9)), None)
        assert guard.ledger.url == "memory://"
        assert charge.priced_by == "declared"


def test_a_plan_limits_those_who_are_on_it(tmp_path: Path) -> None:
    path = tmp_path / "costguard.toml"
    path.write_text('[plans.free]\nbudgets = ["1 requests/day per user"]\n')
    with CostGuard.from_file(path) as guard:
        free = Attribution(user="u1", tags=(("plan", "free"),))
        guard.before(Call("1", "m", time(), attribution=free))
        guard.before(Call("2", "m", time(), attribution=Attribution(user="u1")))
        with pytest.raises(SpendLimitExceeded):
            guard.before(Call("3", "m", time(), attribution=free))


def test_caches_follow_the_rules_of_the_endpoint() -> None:
    policy = parse_policy(WHOLE, {}).cache
    tenant = Attribution(tenant="t", user="u1")
    elsewhere = policy.key(Request("d", attribution=tenant))
    support = policy.key(Request("d", attribution=Attribution(tenant="t", user="u1", endpoint="/support")))
    other_user = policy.key(Request("d", attribution=Attribution(tenant="t", user="u2", endpoint="/support")))
    live = policy.key(Request("d", attribution=Attribution(tenant="t", endpoint="/live")))
    assert isinstance(elsewhere, CacheKey)
    assert isinstance(support, CacheKey)
    assert isinstance(other_user, CacheKey)
    assert (elsewhere.ttl, support.ttl) == (7 * 86400, 86400)
    assert support.digest != other_user.digest
    assert isinstance(live, Uncacheable)


def test_the_file_is_found_by_path_environment_and_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "costguard.toml").write_text('budgets = ["$1/day"]')
    (tmp_path / "other.toml").write_text('budgets = ["$2/day"]')
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COSTGUARD_CONFIG", raising=False)
    assert CostGuard.from_file().budgets == (Budget.parse("$1/day"),)
    monkeypatch.setenv("COSTGUARD_CONFIG", str(tmp_path / "other.toml"))
    assert CostGuard.from_file().budgets == (Budget.parse("$2/day"),)
    assert CostGuard.from_file(tmp_path / "costguard.toml", budgets=["$3/day"]).budgets == (Budget.parse("$3/day"),)
    with pytest.raises(ConfigurationError, match=r"Did you mean .*other\.toml"):
        load_policy(tmp_path / "othr.toml")


@pytest.mark.parametrize(
    ("text", "line", "column", "key", "said"),
    [
        ("lease = ,", 1, 9, "", "Invalid value"),
        ('\nbudgts = ["$5/day"]', 2, 1, "budgts", "did you mean 'budgets'"),
        ('budgets = "$5/day"', 1, 1, "budgets", "a list of limits"),
        ('budgets = [\n  "$5/day",\n  "$25/dya"]', 3, 3, "budgets[1]", 'Did you mean "day"'),
        (
            '[[budgets]]\nlimit = "$5/day"\n[[budgets]]\nlimit = "$5/day"\non_exceed = "wat"',
            5,
            1,
            "budgets[1].on_exceed",
            "'wait'",
        ),
        ('[[budgets]]\non_exceed = "wait"', 1, 1, "budgets[0]", "limit must be given"),
        ('[plans.free]\nbudgets = ["$5/day where plan=pro"]', 2, 12, "plans.free.budgets[0]", "plan=pro"),
        ('[endpoints."/a b"]\nownr = "x"', 2, 1, 'endpoints."/a b".ownr', "did you mean 'owner'"),
        ('[endpoints.a]\ncache = { ttl = "1 day" }', 2, 11, "endpoints.a.cache.ttl", "write"),
        ('[endpoints.a]\nmax_cost_per_call = "cheap"', 2, 1, "endpoints.a.max_cost_per_call", "cannot read"),
        ('[prices.m]\ninput = "two"', 2, 1, "prices.m.input", "a number of dollars"),
        ('[prices.m]\ninpt = "2"', 2, 1, "prices.m.inpt", "did you mean 'input'"),
        ("[prices.m]\ninput = 2\nbatch = { inputt = 1 }", 3, 11, "prices.m.batch.inputt", "did you mean 'input'"),
        ('discount = { openai = "2" }', 1, 14, "discount.openai", ""),
        ("x = " + "[" * 9_999, 1, 1, "", "too deeply"),
        ("lease = true", 1, 1, "lease", "a length of time"),
        ('breaker = "$2/day"', 1, 1, "breaker", "spend rate"),
        ('[[hooks]]\ntype = "webhok"', 2, 1, "hooks[0].type", "'webhook'"),
        ('[[hooks]]\ntype = "logging"\nurl = "http://h/x"', 3, 1, "hooks[0].url", "no setting of this type of hook"),
        ('[[hooks]]\ntype = "webhook"', 1, 1, "hooks[0]", "url must be given"),
        ('store = "${NOT_SET}"', 1, 1, "store", "NOT_SET"),
        ('timezone = "Europe/Wien"\nbudgets = ["$5/day"]', 2, 12, "budgets[0]", "IANA"),
    ],
)
def test_errors_name_the_place_and_what_to_write(text: str, line: int, column: int, key: str, said: str) -> None:
    with pytest.raises(PolicyError) as caught:
        parse_policy(text, {})
    [(place, name, _)] = caught.value.problems
    assert (place, name) == ((line, column), key)
    assert said in str(caught.value)
    assert str(caught.value).startswith(f"costguard.toml:{line}:{column}: ")


def settings(schema: dict[str, Any], path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The path of every setting that the schema names, at every depth."""
    while "$ref" in schema:
        schema = policy_schema()["$defs"][schema["$ref"].rpartition("/")[2]]
    for shape in schema.get("anyOf", []):
        yield from settings(shape, path)
    for name, inner in schema.get("properties", {}).items():
        yield (*path, name)
        yield from settings(inner, (*path, name))
    if isinstance(schema.get("additionalProperties"), dict):
        yield from settings(schema["additionalProperties"], (*path, "some"))
    if "items" in schema:
        yield from settings(schema["items"], (*path, 0))


def inline(path: tuple[str | int, ...]) -> str:
    text = "1"
    for key in reversed(path):
        text = f"[{text}]" if key == 0 else f"{{ {key} = {text} }}"
    return text


def ways_to_write(path: tuple[str | int, ...]) -> Iterator[str]:
    """A setting as TOML may write it: inline, as dotted keys, below headers, in an array of several lines."""
    yield f"{path[0]} = {inline(path[1:])}"
    if 0 not in path:
        yield ".".join(map(str, path)) + " = 1"
        yield f"# a comment\n[{'.'.join(map(str, path[:-1]))}]\n{path[-1]} = 1" if path[1:] else f"\n{path[0]} = 1"
        return
    first = path.index(0)
    head, rest = ".".join(map(str, path[:first])), path[first + 1 :]
    yield f"{head} = [\n  # a comment\n  {inline(rest)},\n]"
    yield f"[[{head}]]\n{rest[0]} = {inline(rest[1:])}"


@pytest.mark.parametrize("path", sorted(set(settings(policy_schema())), key=str), ids=dotted)
def test_a_misspelt_setting_is_told_with_its_place_and_the_nearest_word(path: tuple[str | int, ...]) -> None:
    right = str(path[-1])
    wrong = f"{right[:-2]}{right[-1]}" if len(right) > 3 else f"{right}x"
    for text in ways_to_write((*path[:-1], wrong)):
        with pytest.raises(PolicyError) as caught:
            parse_policy(text, {})
        [[place, said]] = [[place, said] for place, key, said in caught.value.problems if key.endswith(wrong)]
        line = text.count("\n", 0, text.rindex(wrong)) + 1
        assert place == (line, text.splitlines()[line - 1].rindex(wrong) + 1), text
        assert repr(right) in said


def test_every_problem_is_told_at_once_in_the_order_of_the_lines() -> None:
    assert problems('lease = "soon"\n[plans.a]\nbudgets = ["$0/day"]\n[prices.m]\noutput = 1') == [
        (1, 1, "lease"),
        (3, 12, "plans.a.budgets[0]"),
        (4, 1, "prices.m"),
    ]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('store = "redis://:pw@host"', "store"),
        ('ledger = "postgresql://me:pw@host/db"', "ledger"),
        ('[[hooks]]\ntype = "webhook"\nurl = "https://hooks.slack.com/services/T/B/x"', "hooks[0].url"),
        (
            '[[hooks]]\ntype = "webhook"\nurl = "https://h/x"\nheaders = { Authorization = "Bearer x" }',
            "hooks[0].headers.Authorization",
        ),
        ('[[hooks]]\ntype = "webhook"\nurl = "https://h/x?api_key=T/B/x"', "hooks[0].url"),
        ('store = "redis://:pw@host/${DATABASE:-0}"', "store"),  # a variable, but not where it matters
        ('ledger = "${LEDGER:-postgresql://me:pw@host/db}"', "ledger"),
        ('[[proxy.upstreams]]\nurl = "http://h"\nkey = "${KEY:-:pw@}"', "proxy.upstreams[0].key"),
        (
            '[[proxy.upstreams]]\nurl = "http://h"\nheaders = { x-api-key = ":pw@" }',
            "proxy.upstreams[0].headers.x-api-key",
        ),
        ('[[proxy.upstreams]]\nurl = "http://me:pw@h"', "proxy.upstreams[0].url"),
        ('[proxy.semantic]\nurl = "http://me:pw@h"', "proxy.semantic.url"),
        ('[routers.r]\ntiers = ["a", "b"]\nlog = "postgresql://me:pw@h/d"', "routers.r.log"),
    ],
)
def test_a_secret_in_the_file_is_refused_and_not_repeated(text: str, key: str) -> None:
    with pytest.raises(PolicyError, match=r"\$\{") as caught:
        parse_policy(text, {})
    assert [name for _, name, _ in caught.value.problems] == [key]
    assert not any(secret in str(caught.value) for secret in (":pw@", "T/B/x", "Bearer x"))


@pytest.mark.parametrize("host", ["[host", "[::x]", "host\u2100"])
def test_an_address_that_cannot_be_read_is_told_with_its_place(host: str) -> None:
    text = f'store = "redis://:pw@{host}"\n[[hooks]]\ntype = "webhook"\nurl = "https://me:pw@{host}"'
    assert problems(text) == [(1, 1, "store"), (4, 1, "hooks[0].url")]
    with pytest.raises(PolicyError) as caught:
        parse_policy(text, {})
    assert "pw@" not in str(caught.value)


def test_a_secret_of_the_wrong_shape_is_not_repeated_either() -> None:
    for text in ('store = ["redis://:pw@host"]', '[[proxy.upstreams]]\nurl = "http://h"\nkey = [":pw@"]'):
        with pytest.raises(PolicyError, match="this value does not fit") as caught:
            parse_policy(text, {})
        assert ":pw@" not in str(caught.value)


def test_secrets_come_from_the_environment() -> None:
    policy = parse_policy('store = "${REDIS_URL}"', {"REDIS_URL": "redis://:pw@host"})
    assert policy.options["store"] == "redis://:pw@host"


def test_paths_begin_where_the_file_is(tmp_path: Path) -> None:
    (tmp_path / "costguard.toml").write_text('prices = "prices.toml"')
    with pytest.raises(PolicyError, match=r"costguard\.toml:1:1: prices: the price file .* cannot be read"):
        load_policy(tmp_path / "costguard.toml")
    (tmp_path / "prices.toml").write_text('[prices.m]\ninput = "1"')
    assert load_policy(tmp_path / "costguard.toml").options["prices"] == str(tmp_path / "prices.toml")


def test_the_schema_is_valid_and_knows_every_option() -> None:
    schema = policy_schema()
    Draft202012Validator.check_schema(schema)
    table = schema["$defs"]["budgetTable"]["properties"]
    said_in_the_limit = {"unit", "window", "per", "where"}
    assert set(table) == {field.name for field in fields(Budget) if field.init} - said_in_the_limit
    rules = schema["properties"]["cache"]["properties"]
    only_in_code = {"never_cache", "by_endpoint"}
    assert set(rules) - {"enabled"} == {field.name for field in fields(CachePolicy)} - only_in_code
    assert set(schema["properties"]["assume"]["properties"]) == set(Assumptions._fields)


_words = st.text(st.characters(codec="utf-8", exclude_characters="\x7f", exclude_categories=("Cc", "Cs")), max_size=8)


@given(st.lists(st.tuples(_words, st.lists(_words, max_size=3)), max_size=5))
def test_every_key_that_begins_a_line_has_its_place(tables: list[tuple[str, list[str]]]) -> None:
    lines, wanted = [], {}
    for table, keys in dict(tables).items():
        lines.append(f"[{json.dumps(table, ensure_ascii=False)}]")
        for key in dict.fromkeys(keys):
            lines.append(f"  {json.dumps(key, ensure_ascii=False)} = 1")
            wanted[table, key] = (len(lines), 3)
    document = Document("\n".join(lines), "a.toml")
    assert {path: document.place(path) for path in wanted} == wanted


def test_text_of_several_lines_holds_no_keys() -> None:
    document = Document('a = """\nb = 1\n[c]\n"""\nb = 2', "a.toml")
    assert document.place(("b",)) == (5, 1)


def test_a_path_is_shown_as_it_is_written_in_the_file() -> None:
    assert dotted(("endpoints", "/faq", "budgets", 0)) == 'endpoints."/faq".budgets[0]'


def test_a_limit_of_an_endpoint_holds(tmp_path: Path) -> None:
    path = tmp_path / "costguard.toml"
    path.write_text('unpriced = { input = "1", output = "1" }\n[endpoints."/faq"]\nmax_cost_per_call = 0.000001\n')
    with CostGuard.from_file(path) as guard, pytest.raises(SpendLimitExceeded) as refused:
        guard.before(
            Call("1", "m", time(), attribution=Attribution(endpoint="/faq"), input_tokens=9, max_output_tokens=900)
        )
    assert refused.value.limit == Decimal("0.000001")


DOCS = (Path(__file__).parents[3] / "docs" / "policy.md").read_text()


def test_the_example_of_the_docs_can_be_used() -> None:
    text = "\n".join(re.findall(r"^```toml\n(.*?)^```", DOCS, flags=re.MULTILINE | re.DOTALL))
    policy = parse_policy(text, {})
    assert policy.routers["auto"]["tiers"] == ["gpt-4o-mini", "gpt-4o"]
    assert len(policy.budgets) == 5
    assert set(policy.endpoints) == {"/support", "/prices-now"}


def test_the_snippet_of_the_docs_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from langchain_openai import ChatOpenAI

    text = "\n".join(re.findall(r"^```toml\n(.*?)^```", DOCS, flags=re.MULTILINE | re.DOTALL))
    snippets = re.findall(r"^```python\n(.*?)^```", DOCS, flags=re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REDIS_URL", raising=False)
    monkeypatch.delenv("COSTGUARD_CONFIG", raising=False)
    (tmp_path / "costguard.toml").write_text(text)
    names: dict[str, Any] = {name: ChatOpenAI(model="gpt-4o", api_key=SecretStr("k")) for name in ("mini", "large")}
    for snippet in snippets:
        exec(compile(snippet, "policy.md", "exec"), names)
    assert names["cache"].policy.by_endpoint["/support"].ttl == 86400
    names["guard"].close()
