"""Exports of consoles, as they are downloaded and as people change them."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costguard_core.errors import ConfigurationError
from costguard_core.ledger import open_ledger
from costguard_core.reports.reconciliation import reconcile
from costguard_core.reports.reconciliation.bill import CACHE_READ, CACHE_WRITE, INPUT, OUTPUT, WHOLE, Subject, nanos_of
from costguard_core.reports.reconciliation.csv_bill import read_csv
from costguard_core.reports.reconciliation.csv_numbers import COMMA, POINT, decimal_mark
from costguard_core.reports.reconciliation.csv_numbers import plain as plain_number
from costguard_core.reports.reconciliation.line_items import openai_line
from costguard_core.reports.reconciliation.names import one_to_one, plain, same_model, undated
from costguard_core.types import Event, Outcome, Usage

OPENAI_COSTS = (
    "start_time,end_time,start_time_iso,end_time_iso,amount_value,amount_currency,quantity,quantity_unit,line_item,"
    "user_id,api_key_id,project_id,organization_id,project_name,organization_name,user_email,api_source\n"
    "1790467200,1790553600,2026-09-27T00:00:00+00:00,2026-09-28T00:00:00+00:00,,,,,,,,,,,,,\n"
    "1790553600,1790640000,2026-09-28T00:00:00,2026-09-29T00:00:00,0.003835980000000000000000000000,usd,1534,tokens,"
    '"gpt-4o-2024-08-06, input",,,,org-x,,Org,a@example.com,\n'
    "1790553600,1790640000,2026-09-28T00:00:00,2026-09-29T00:00:00,0.02,usd,2,calls,web search tool calls,,,,,,,,\n"
)
OPENAI_USAGE = (
    "start_time,end_time,start_time_iso,end_time_iso,num_model_requests,model,batch,service_tier,input_tokens,"
    "output_tokens,input_cached_tokens,input_audio_tokens,output_audio_tokens\n"
    "1790553600,1790640000,2026-09-28T00:00:00,2026-09-29T00:00:00,3,gpt-4o-2024-08-06,false,default,1534,0,1000,0,0\n"
    "1790553600,1790640000,2026-09-28T00:00:00,2026-09-29T00:00:00,1,gpt-4o-2024-08-06,true,,100,10,0,0,0\n"
)
ANTHROPIC_COSTS = (
    "\ufeffusage_date_utc,model,workspace,api_key,usage_type,context_window,token_type,cost_usd,list_price_usd,"
    "cost_type,inference_geo,speed,api_key_id,api_key_status\n"
    "2026-08-04,Claude Sonnet 4.5,Default,key,message,≤ 200k,input_no_cache,0.30,0.30,token,global,,apikey_1,active\n"
    "2026-08-04,Claude Sonnet 4.5,Default,key,message,≤ 200k,output,0.15,0.15,token,global,,apikey_1,active\n"
    "2026-08-04,Claude Sonnet 4.5,Default,key,batch,≤ 200k,output,0.075,0.075,token,global,,apikey_1,active\n"
    "2026-08-04,,Default,key,message,,,0.05,0.05,web_search,,,apikey_1,active\n"
)
ANTHROPIC_USAGE = (
    "usage_date_utc,model_version,api_key,workspace,usage_type,context_window,usage_input_tokens_no_cache,"
    "usage_input_tokens_cache_write_5m,usage_input_tokens_cache_write_1h,usage_input_tokens_cache_read,"
    "usage_output_tokens,web_search_count,inference_geo,speed\n"
    "2026-08-04,claude-sonnet-4-5-20250929,key,Default,standard,≤ 200k,100000,7,0,50,10000,5,global,\n"
)
OPENROUTER = (
    "Date,Slug,Usage,BYOK Usage,Requests,Prompt Tokens,Completion Tokens,Reasoning Tokens\n"
    '"2026-05-1","openai/gpt-4o","1,234.5",0,12,"1,000",100,0\n'
)


def write(tmp_path: Path, text: str, name: str = "bill.csv") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_openais_exports_of_costs_and_usage_are_one_bill(tmp_path: Path) -> None:
    bill = read_csv([write(tmp_path, OPENAI_COSTS, "a.csv"), write(tmp_path, OPENAI_USAGE, "b.csv")])
    model, day = "gpt-4o-2024-08-06", "2026-09-28"
    row = bill.rows[Subject(day, model)]
    assert (bill.provider, bill.has_money, set(bill.rows)) == (
        "openai",
        True,
        {Subject(day, model), Subject(day, "web_search", is_tool=True)},
    )
    assert row.money == {(None, INPUT): 3_835_980}
    assert row.tokens == {
        (None, INPUT): 534,
        (None, CACHE_READ): 1_000,
        ("batch", INPUT): 100,
        ("batch", OUTPUT): 10,
    }
    assert row.requests == 4
    assert bill.rows[Subject(day, "web_search", is_tool=True)].requests == 2


def test_anthropics_exports(tmp_path: Path) -> None:
    costs = read_csv([write(tmp_path, ANTHROPIC_COSTS)])
    row = costs.rows[Subject("2026-08-04", "Claude Sonnet 4.5")]
    assert row.money == {(None, INPUT): 300_000_000, (None, OUTPUT): 150_000_000, ("batch", OUTPUT): 75_000_000}
    assert costs.rows[Subject("2026-08-04", "web_search", is_tool=True)].money == {(None, WHOLE): 50_000_000}
    usage = read_csv([write(tmp_path, ANTHROPIC_USAGE)])
    assert not usage.has_money
    assert usage.rows[Subject("2026-08-04", "claude-sonnet-4-5-20250929")].tokens == {
        (None, INPUT): 100_000,
        (None, CACHE_READ): 50,
        (None, CACHE_WRITE): 7,
        (None, OUTPUT): 10_000,
    }
    assert usage.rows[Subject("2026-08-04", "web_search", is_tool=True)].requests == 5


def test_any_other_export_with_its_provider_or_its_columns(tmp_path: Path) -> None:
    bill = read_csv([write(tmp_path, OPENROUTER)], provider="openrouter")
    row = bill.rows[Subject("2026-05-01", "openai/gpt-4o")]
    assert (row.nanos, row.requests, row.tokens) == (
        1_234_500_000_000,
        12,
        {(None, INPUT): 1_000, (None, OUTPUT): 100},
    )
    own = write(tmp_path, "Datum;Modell;Betrag\n2026-05-01;m;0.5\n")
    bill = read_csv([own], provider="acme", columns={"day": "Datum", "model": "Modell", "cost": "Betrag"})
    assert bill.rows[Subject("2026-05-01", "m")].nanos == 500_000_000


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("day,model,cost\n2026-05-01,m,1\n", {}, "say whose bill"),
        ("when,model,cost\n", {"provider": "x"}, "no column is the day"),
        ("day,cost\n", {"provider": "x"}, "no column is the model"),
        ("day,model\n", {"provider": "x"}, "no column has money or tokens"),
        ("day,model,cost\n31.12.2026,m,1\n", {"provider": "x"}, "bill.csv, line 2: '31.12.2026' is no day"),
        ("day,model,cost\n2026-02-30,m,1\n", {"provider": "x"}, "is no day"),
        ('day,model,cost\n2026-05-01,m,"1,5"\n', {"provider": "x"}, "'1,5' is no amount"),
        ("day,model,cost\n2026-05-01,m,NaN\n", {"provider": "x"}, "no amount"),
        ("day,model,cost\n2026-05-01,m,1e400\n", {"provider": "x"}, "'1e400' is no amount"),
        ("day,model,requests,cost\n2026-05-01,m,-3,1\n", {"provider": "x"}, "no count"),
        ("day,model,requests,cost\n2026-05-01,m,1e999999,1\n", {"provider": "x"}, "no count"),
        ("day,model,cost,currency\n2026-05-01,m,1,EUR\n", {"provider": "x"}, "only usd"),
        ("day,model,cost\n", {"provider": "x", "columns": {"cost": "Cots"}}, "no column 'Cots'. Did you mean 'cost'"),
        ("day,model,cost\n", {"provider": "x", "columns": {"costs": "cost"}}, 'Did you mean "cost"'),
        ("", {"provider": "x"}, "bill.csv is empty"),
        ("\ufeff \n\n", {"provider": "x"}, "bill.csv is empty"),
        ('day,model,cost\n2026-05-01,m,"0,002"\n', {"provider": "x"}, "'0,002' is no amount"),
        ("day;model;cost\n2026-05-01;m;1,234\n", {"provider": "x"}, "may be 1.234 or 1234"),
        ("day;model;cost\n2026-05-01;m;1.234\n", {"provider": "x"}, "may be 1.234 or 1234"),
        ("day;model;cost\n2026-05-01;m;1,5\n2026-05-02;m;1.5\n", {"provider": "x"}, "a point in one and a comma in"),
        ("day;model;cost;requests\n2026-05-01;m;1,5;2,5\n", {"provider": "x"}, "'2.5' is no count"),
        ('day,model,requests\n2026-05-01,m,"1,5"\n', {"provider": "x", "columns": {"input": "requests"}}, "no count"),
        (OPENAI_USAGE, {"provider": "x", "columns": {"day": "model"}}, "is no day"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line(
    tmp_path: Path, text: str, options: dict[str, object], words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        read_csv([write(tmp_path, text)], **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("amount", "nanos"),
    [
        ("0,002", 2_000_000),
        ("1.234,56", 1_234_560_000_000),
        ("1.234.567,8", 1_234_567_800_000_000),
        ("-12,5", -12_500_000_000),
        ("1\u202f234,5", 1_234_500_000_000),
        ("$7", 7_000_000_000),
        ("1.234", 1_234_000_000_000),  # the other line says that the comma is the decimal mark
        ("1,234", 1_234_000_000),
    ],
)
def test_a_decimal_comma_is_known_from_the_other_amounts(tmp_path: Path, amount: str, nanos: int) -> None:
    text = f"sep=;\r\nmodel;cost;input_tokens;day\r\nm;{amount};1.000;2026-05-01\r\nother;0,5;;2026-05-01\r\n"
    bill = read_csv([write(tmp_path, f"\ufeff{text}")], provider="x")
    row = bill.rows[Subject("2026-05-01", "m")]
    assert (row.nanos, row.tokens) == (nanos, {(None, INPUT): 1_000})


_amounts = st.lists(st.integers(-(10**15), 10**15), min_size=1, max_size=8)


@given(_amounts, st.booleans(), st.booleans())
def test_an_amount_is_the_same_however_it_is_written(amounts: list[int], comma: bool, grouped: bool) -> None:  # noqa: FBT001
    numbers = [f"{Decimal(nanos).scaleb(-9):{',' * grouped}.9f}" for nanos in amounts]
    swapped = [number.translate(str.maketrans(".,", ",.")) for number in numbers]
    written = swapped if comma else numbers
    mark = decimal_mark(written, (), delimiter=";")
    assert mark == (COMMA if comma else POINT)
    assert [nanos_of(plain_number(number, mark)) for number in written] == amounts


def test_exports_that_overlap_are_counted_once_and_a_line_that_repeats_is_named(tmp_path: Path) -> None:
    head = "day,model,cost\n"
    first = write(tmp_path, head + "2026-05-01,m,1\n2026-05-02,m,2\n2026-05-02,m,2\n", "a.csv")
    second = write(tmp_path, head + "2026-05-02,m,2\n2026-05-02,m,2\n2026-05-02,m,2\n2026-05-03,m,4\n", "b.csv")
    bill = read_csv([first, second, second], provider="x")
    assert [row.nanos // 10**9 for row in bill.rows.values()] == [1, 6, 4]
    notes = " ".join(bill.notes)
    assert "Lines of b.csv that a file before it has too, taken once: 2." in notes
    assert "taken once: 4." in notes
    assert "Lines of a.csv that repeat another one of it, counted as often as they stand: 1." in notes


def test_money_of_lines_without_a_day_is_named(tmp_path: Path) -> None:
    bill = read_csv([write(tmp_path, "day,model,cost\n2026-05-01,m,1.25\n,Total,1.25\n\n,,\n")], provider="x")
    assert [row.nanos for row in bill.rows.values()] == [1_250_000_000]
    assert bill.notes == ["Lines of bill.csv with money and without a day, such as totals, which are not counted: 1."]


def test_money_and_usage_of_one_model_under_two_names_are_one_row(tmp_path: Path) -> None:
    """Anthropic's costs say "Claude Sonnet 4.5" where its usage says claude-sonnet-4-5-20250929."""
    noon = datetime(2026, 8, 4, 12, tzinfo=UTC).timestamp()
    usage = Usage(100_057, 10_000, cache_read_tokens=50, cache_write_tokens=7, web_searches=5)
    cost = 100_000 * 3_000 + 50 * 300 + 7 * 3_750 + 10_000 * 15_000
    names = {"model": "claude-sonnet-4-5", "answered_model": "claude-sonnet-4-5-20250929", "provider": "anthropic"}
    files = [write(tmp_path, ANTHROPIC_COSTS, "c.csv"), write(tmp_path, ANTHROPIC_USAGE, "u.csv")]
    with open_ledger("memory://") as ledger:
        ledger.append(Event("1", noon, Outcome.MISS, usage=usage, cost=cost + 50_000_000, **names))
        found = reconcile(ledger, csv=files)
    rows = {row.name: row for row in found}
    assert set(rows) == {"claude-sonnet-4-5-20250929", "web_search"}
    assert (rows["web_search"].difference, found.billed) == (0, 575_000_000)
    assert sum(nanos for _, nanos in found.parts) == found.difference
    assert "missing" not in dict(found.parts)


def test_two_snapshots_are_not_put_together() -> None:
    assert one_to_one(["Claude Sonnet 4.5"], ["claude-sonnet-4-5-20250929"]) == [
        ("Claude Sonnet 4.5", "claude-sonnet-4-5-20250929")
    ]
    assert one_to_one(["gpt-4o"], ["gpt-4o-2024-05-13", "gpt-4o-2024-08-06"]) == []
    assert one_to_one(["gpt-4o-2024-05-13"], ["gpt-4o-2024-08-06"]) == []
    assert one_to_one(["gpt-4o", "gpt-4o-2024-08-06"], ["openai/gpt-4o-2024-08-06"]) == [
        ("gpt-4o-2024-08-06", "openai/gpt-4o-2024-08-06")
    ]


@pytest.mark.parametrize(
    ("written", "zone", "day"),
    [
        ("2026-05-01T00:00:00+00:00", "America/New_York", "2026-05-01"),  # a day, as it is written
        ("2026-05-01T23:30:00-05:00", "UTC", "2026-05-02"),
        ("2026-05-01T23:30:00Z", "Europe/Berlin", "2026-05-02"),
        ("2026-05-01 23:30:00", "Europe/Berlin", "2026-05-01"),
        ("1777593600", "Europe/Berlin", "2026-05-01"),  # midnight in UTC
        ("1777586400", "Europe/Berlin", "2026-05-01"),  # midnight in Berlin
        ("1777586400", "UTC", "2026-04-30"),
    ],
)
def test_a_time_is_of_the_day_in_the_zone_that_is_compared(tmp_path: Path, written: str, zone: str, day: str) -> None:
    bill = read_csv([write(tmp_path, f"day,model,cost\n{written},m,1\n")], provider="x", zone=ZoneInfo(zone))
    assert list(bill.rows) == [Subject(day, "m")]


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu"])
def test_days_that_are_asked_for_are_days_of_the_zone(tmp_path: Path, zone: str) -> None:
    bill = "".join(f"2026-05-{day:02},m,1\n" for day in range(1, 6))
    with open_ledger("memory://") as ledger:
        found = reconcile(
            ledger,
            csv=write(tmp_path, f"day,model,cost\n{bill}"),
            provider="x",
            since="2026-05-02",
            until="2026-05-04",
            timezone=zone,
        )
    assert (found.since, found.until, found.billed) == ("2026-05-02", "2026-05-04", 2 * 10**9)


def test_calls_around_midnight_are_of_the_days_of_the_zone(tmp_path: Path) -> None:
    # 23:59 and 00:01 in Berlin, in summer
    times = [datetime(2026, 5, 2, 21, 59, tzinfo=UTC).timestamp(), datetime(2026, 5, 2, 22, 1, tzinfo=UTC).timestamp()]
    text = "day,model,cost\n2026-05-02,gpt-4o,0.0025\n2026-05-03,gpt-4o,0.005\n"
    with open_ledger("memory://") as ledger:
        for number, moment in enumerate(times, start=1):
            usage = Usage(1_000 * number, 0)
            event = Event(str(number), moment, Outcome.MISS, "gpt-4o", "openai", usage=usage, cost=2_500_000 * number)
            ledger.append(event)
        found = reconcile(ledger, csv=write(tmp_path, text), provider="openai", timezone="Europe/Berlin")
    assert [(row.difference, row.parts) for row in found] == [(0, ()), (0, ())]


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        read_csv([tmp_path / "nothing.csv"])
    (tmp_path / "picture.csv").write_bytes(b"\x89PNG\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match="no CSV file"):
        read_csv([tmp_path / "picture.csv"])
    both = [write(tmp_path, OPENAI_COSTS, "a.csv"), write(tmp_path, ANTHROPIC_USAGE, "b.csv")]
    with pytest.raises(ConfigurationError, match=r"b\.csv is a bill of anthropic"):
        read_csv(both)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("gpt-4o-2024-08-06, input", ("gpt-4o-2024-08-06", None, None, INPUT)),
        ("gpt-5.5-2026-04-23, cached input", ("gpt-5.5-2026-04-23", None, None, CACHE_READ)),
        ("priority | gpt-5.6-sol, output, long context", ("gpt-5.6-sol", None, "priority", OUTPUT)),
        ("gpt-audio-mini-2025-12-15 audio, input", ("gpt-audio-mini-2025-12-15", None, None, "audio_input")),
        ("gpt-image-2.5-flare image, output", ("gpt-image-2.5-flare", None, None, "image_output")),
        ("ft:gpt-4o-2024-08-06:org::x, output", ("ft:gpt-4o-2024-08-06:org::x", None, None, OUTPUT)),
        ("text-embedding-3-small, input", ("text-embedding-3-small", None, None, INPUT)),
        ("gpt-5-nano, input_tokens", ("gpt-5-nano", None, None, INPUT)),
        ("whisper-1, audio", ("whisper-1", None, None, WHOLE)),
        ("web search tool calls", (None, "web_search", None, WHOLE)),
        ("assistants api | file search", (None, "file_search", None, WHOLE)),
        ("assistants api | code interpreter", (None, "code_session", None, WHOLE)),
        ("file search storage", (None, "file search storage", None, WHOLE)),
        ("", (None, "other", None, WHOLE)),
    ],
)
def test_lines_of_openais_costs(line: str, expected: tuple[str | None, str | None, str | None, str]) -> None:
    assert tuple(openai_line(line)) == expected


@given(st.text(max_size=60))
def test_any_line_is_read_as_something(line: str) -> None:
    found = openai_line(line)
    assert (found.model is None) != (found.tool is None)


def test_the_same_model_is_found_under_its_names() -> None:
    assert plain("Claude 3.5 Sonnet 2024-10-22") == "claude-3-5-sonnet-20241022"
    assert undated("anthropic/claude-sonnet-4-5-20250929") == undated("Claude Sonnet 4.5") == "claude-sonnet-4-5"
    billed = ["gpt-4o-2024-05-13", "gpt-4o-2024-08-06", "gpt-4o-mini-2024-07-18"]
    assert same_model(["gpt-4o-2024-08-06", "gpt-4o"], billed) == "gpt-4o-2024-08-06"
    assert same_model(["gpt-4o-mini"], billed) == "gpt-4o-mini-2024-07-18"
    assert same_model(["gpt-4o"], billed) is None  # two could be meant
    assert same_model(["gpt-4"], billed) is None
    assert same_model(["gpt-3.5-turbo"], ["gpt-3.5-turbo-0125"]) == "gpt-3.5-turbo-0125"


def test_an_export_without_money_is_valued_at_list_prices(tmp_path: Path) -> None:
    noon = datetime(2026, 8, 4, 12, tzinfo=UTC).timestamp()
    cost = 100_000 * 3_000 + 50 * 300 + 7 * 3_750 + 10_000 * 15_000
    usage = Usage(100_057, 10_000, cache_read_tokens=50, cache_write_tokens=7, web_searches=5)
    with open_ledger("memory://") as ledger:
        event = Event("1", noon, Outcome.MISS, "claude-sonnet-4-5", "anthropic", usage=usage, cost=cost + 50_000_000)
        ledger.append(event)
        found = reconcile(ledger, csv=write(tmp_path, ANTHROPIC_USAGE))
    assert (found.since, found.until, found.rest) == ("2026-08-04", "2026-08-05", 0)
    assert abs(found.difference) < 100
    assert {kind for kind, _ in found.parts} <= {"rounding"}
    assert "list prices" in str(found)


def test_days_of_another_time_zone_are_recognised_and_can_be_named(tmp_path: Path) -> None:
    """Calls of an evening in New York are of the next day in UTC."""
    lines = ["day,model,cost"]
    with open_ledger("memory://") as ledger:
        for day in range(1, 6):
            evening = datetime(2026, 7, day, 1, 30, tzinfo=UTC).timestamp()  # 21:30 of the day before
            usage = Usage(1_000 * day, 0)
            event = Event(str(day), evening, Outcome.MISS, "gpt-4o", "openai", usage=usage, cost=2_500_000 * day)
            ledger.append(event)
            lines.append(f"2026-{'06-30' if day == 1 else f'07-{day - 1:02}'},gpt-4o,{0.0025 * day}")
        bill = write(tmp_path, "\n".join(lines))
        wrong = reconcile(ledger, csv=bill, provider="openai", since="2026-06-30", until="2026-07-06")
        right = reconcile(
            ledger,
            csv=bill,
            provider="openai",
            since="2026-06-30",
            until="2026-07-06",
            timezone="America/New_York",
        )
    assert wrong.rest > 0
    assert any("UTC-" in note and "--timezone" in note for note in wrong.notes)
    assert (right.rest, right.difference, right.zone) == (0, 0, "America/New_York")
