"""The page as a Starlette application: rendered here, filtered by its URL, safe for whatever names it shows."""

from __future__ import annotations

import hmac
import json
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

from costguard_core.attribution import check_tag_name
from costguard_core.budgets.status import Status
from costguard_core.errors import ConfigurationError, CostGuardError, MissingExtraError
from costguard_core.ledger import Ledger
from costguard_core.ledger.columns import DIMENSIONS as COLUMNS
from costguard_core.pricing import PriceBook
from costguard_core.reports.queries import make_report
from costguard_core.reports.time_buckets import read_zone
from costguard_core.types import usd
from costguard_core.util.options import check_choice
from costguard_core.util.text import printable
from costguard_core.web import figures, tables
from costguard_core.web.calls import latest_calls
from costguard_core.web.controls import change

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

    from costguard_core.budgets.run_time import RunTimeControls
    from costguard_core.reports.economics import UnitEconomics
    from costguard_core.reports.explain import Explanation
    from costguard_core.web.cache_review import CacheReview

_HERE = Path(__file__).parent
_COOKIE = "costguard_page"
_LONGEST_FORM = 10_000  # bytes
_MOST_CALLS = 10_000  # in a CSV file: a spreadsheet is no database
_OWN_NAMES = {"range": "7d", "by": "model", "part": ""}  # in a URL; calls cannot be filtered by tags of these names
# Nothing from elsewhere, nothing inline: https://developer.mozilla.org/docs/Web/HTTP/Guides/CSP
_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "font-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}


class Page:
    """What the application shows and may do.

    Args:
        ledger: what was recorded.
        read_status: of the budgets; ``None``: there is no counter store to ask.
        trip, reset: the manual switch; ``None``: the page cannot throw it.
        controls: limits and caps at run time; ``None``: the page cannot change any.
        token: what a browser must show; ``None``: everybody who reaches the page may read it.
        clock: unix seconds.
        timezone: whose hours and days the chart has, and in which times are written.
        prices: by which an explanation tells longer prompts from dearer ones; ``None``: the public lists.
        review: a semantic cache to look at and to judge, which takes a token.

    Raises:
        ConfigurationError: there is no such zone.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        read_status: Callable[[], Status] | None = None,
        trip: Callable[[str], None] | None = None,
        reset: Callable[[], None] | None = None,
        controls: RunTimeControls | None = None,
        token: str | None = None,
        clock: Callable[[], float] = time.time,
        timezone: str = "UTC",
        prices: PriceBook | None = None,
        review: CacheReview | None = None,
    ) -> None:
        self.ledger = ledger
        self.review = None if token is None else review
        self.read_status = read_status
        self.trip, self.reset, self.controls = trip, reset, controls
        self.token = token
        self.clock = clock
        self.timezone, self.zone = timezone, read_zone(timezone)
        self.prices = prices or PriceBook()
        self.form_key = secrets.token_urlsafe(32)  # a form that lacks it was not made by this page

    def status(self) -> Status | None:
        """The budgets, if they can be read."""
        try:
            return None if self.read_status is None else self.read_status()
        except CostGuardError:
            return None


def create_page(page: Page, *, prefix: str = "") -> Starlette:
    """The application. ``prefix`` is the path under which another application serves it.

    Raises:
        MissingExtraError: starlette or jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
        from starlette.applications import Starlette
        from starlette.routing import Mount, Route
        from starlette.staticfiles import StaticFiles
    except ImportError:
        raise MissingExtraError("the page", "web") from None
    templates = Environment(
        loader=PackageLoader("costguard_core.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.globals.update(
        prefix=prefix,
        ranges=figures.RANGES,
        dimensions=list(figures.DIMENSIONS),
        own_names=_OWN_NAMES,
        zone=_zone_name(page.timezone),
    )
    templates.filters.update(
        dollars=dollars,
        signed=signed,
        count=count,
        percent=percent,
        name=shown,
        used=figures.used_percent,
        amount=amount,
        moment=partial(moment, zone=page.zone),
    )
    views = _Views(page, templates, prefix)
    routes = [
        Route("/", views.guarded(views.overview)),
        Route("/explain", views.guarded(views.explain)),
        Route("/forecast", views.guarded(views.forecast)),
        Route("/economics", views.guarded(views.economics)),
        Route("/calls", views.guarded(views.calls)),
        Route("/{table:str}.csv", views.guarded(views.csv)),
        Route("/login", views.login, methods=["GET", "POST"]),
        Route("/switch", views.guarded(views.switch), methods=["POST"]),
        Route("/cache", views.guarded(views.cache)),
        Route("/cache/judge", views.guarded(views.judge), methods=["POST"]),
        Mount("/static", StaticFiles(directory=_HERE / "static")),
    ]
    return Starlette(routes=routes, exception_handlers={CostGuardError: views.failed})


class _Views:
    """One method per address. Each reads the database in a thread, so that the loop stays free."""

    def __init__(self, page: Page, templates: Any, prefix: str) -> None:
        self._page, self._templates, self._prefix = page, templates, prefix

    def guarded(self, view: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        """``view`` for those who have shown the token."""

        async def asked(request: Request) -> Response:
            from starlette.responses import RedirectResponse

            if not self._may_read(request):
                return RedirectResponse(f"{self._prefix}/login", status_code=303)
            return await view(request)

        return asked

    async def overview(self, request: Request) -> Response:
        wanted = _wanted(request)
        page = self._page
        found = await _in_thread(
            lambda: figures.overview(
                page.ledger,
                range=wanted["range"],
                by=wanted["by"],
                where=wanted["where"],
                now=page.clock(),
                status=page.status(),
                timezone=page.timezone,
            )
        )
        budgets = figures.budget_rows(found.status) if found.status is not None else []
        return self._page_of(
            "overview.html",
            found=found,
            budgets=budgets[:12],
            hidden_budgets=max(0, len(budgets) - 12),
            chart=json.dumps(found.chart._asdict() | {"series": [line._asdict() for line in found.chart.series]}),
            link=partial(_link, self._prefix, wanted),
            can_switch=page.trip is not None and page.token is not None,
            can_change=page.controls is not None and page.token is not None,
            page_budgets=[budget.name for budget in page.controls.budgets] if page.controls is not None else [],
            can_review=page.review is not None,
            form_key=page.form_key,
        )

    async def explain(self, request: Request) -> Response:
        """Why the span cost more or less than the one before: the whole page, or what the overview puts into itself."""
        part = request.query_params.get("part") == "1"
        wanted = _wanted(request)
        found = await _in_thread(lambda: self._explanation(wanted))
        template = "changes.html" if part else "explain.html"
        return self._page_of(template, found=found, part=part, wanted=wanted, link=partial(_link, self._prefix, wanted))

    def _explanation(self, wanted: Mapping[str, Any]) -> Explanation:
        page = self._page
        return figures.changes(
            page.ledger,
            range=wanted["range"],
            where=wanted["where"],
            now=page.clock(),
            timezone=page.timezone,
            prices=page.prices,
        )

    async def forecast(self, request: Request) -> Response:
        """What the month will cost: a page of its own, or what the overview puts into itself."""
        part = request.query_params.get("part") == "1"
        page = self._page
        found = await _in_thread(lambda: figures.month(page.ledger, page.status(), timezone=page.timezone))
        return self._page_of("month.html" if part else "forecast.html", found=found)

    async def economics(self, request: Request) -> Response:
        """What outcomes cost: a page of its own, or what the overview puts into itself."""
        part = request.query_params.get("part") == "1"
        wanted = _wanted(request)
        found = await _in_thread(lambda: self._outcomes(wanted))
        template = "outcomes.html" if part else "economics.html"
        return self._page_of(template, found=found, wanted=wanted, link=partial(_link, self._prefix, wanted))

    def _outcomes(self, wanted: Mapping[str, Any]) -> list[UnitEconomics]:
        return figures.outcomes(self._page.ledger, range=wanted["range"], where=wanted["where"], now=self._page.clock())

    async def calls(self, request: Request) -> Response:
        wanted = _wanted(request)
        since = figures.span_of(wanted["range"], self._page.clock())
        found = await _in_thread(lambda: latest_calls(self._page.ledger, wanted["where"], since=since))
        return self._page_of("calls.html", calls=found, wanted=wanted, link=partial(_link, self._prefix, wanted))

    async def csv(self, request: Request) -> Response:
        """A table of the page: ``rows``, ``calls``, ``changes``, ``economics``, ``budgets`` or ``refused``."""
        from starlette.responses import Response

        table, wanted, page = request.path_params["table"], _wanted(request), self._page
        since = figures.span_of(wanted["range"], page.clock())
        read: dict[str, Callable[[], str]] = {
            "rows": lambda: make_report(page.ledger, wanted["by"], since=since, where=wanted["where"]).to_csv(),
            "calls": lambda: tables.calls(latest_calls(page.ledger, wanted["where"], since=since, limit=_MOST_CALLS)),
            "changes": lambda: tables.changes(self._explanation(wanted)),
            "economics": lambda: tables.outcomes(self._outcomes(wanted)),
            "budgets": lambda: tables.budgets(page.status()),
            "refused": lambda: tables.refused(page.ledger, since, wanted["where"]),
        }
        if table not in read:
            raise ConfigurationError(f"{table}.csv is no table of this page: it has {', '.join(read)}")
        text = await _in_thread(read[table])
        named = f"costguard-{wanted['by'] if table == 'rows' else table}.csv"
        headers = {**_HEADERS, "content-disposition": f'attachment; filename="{named}"'}
        return Response(text, media_type="text/csv; charset=utf-8", headers=headers)

    async def login(self, request: Request) -> Response:
        from starlette.responses import RedirectResponse

        if request.method == "GET":
            return self._page_of("login.html", failed=False)
        given = (await _form(request)).get("token", "")
        if self._page.token is None or not hmac.compare_digest(given.encode(), self._page.token.encode()):
            return self._page_of("login.html", status=403, failed=True)
        answer = RedirectResponse(f"{self._prefix}/", status_code=303)
        secure = request.url.scheme == "https"
        answer.set_cookie(_COOKIE, _seal(given), httponly=True, samesite="strict", secure=secure, max_age=12 * 3600)
        return answer

    async def switch(self, request: Request) -> Response:
        from starlette.responses import RedirectResponse

        page = self._page
        form = await _form(request)
        if page.trip is None or page.reset is None or page.token is None:
            raise ConfigurationError("this page cannot stop spending: start it with a token and a counter store")
        self._check_form(form)
        await _in_thread(partial(change, page, form))
        return RedirectResponse(f"{self._prefix}/", status_code=303)

    async def cache(self, request: Request) -> Response:
        """Pairs of questions in the semantic cache, and what was changed by what was said of one."""
        review = self._review()
        pairs = await _in_thread(review.pairs)
        told = review.told(request.query_params.get("told", ""))
        return self._page_of("cache.html", pairs=pairs, told=told, form_key=self._page.form_key)

    async def judge(self, request: Request) -> Response:
        from starlette.responses import RedirectResponse

        form = await _form(request)
        self._check_form(form)
        pair, said = form.get("pair", ""), form.get("do")
        check_choice("do", said or "", ("confirm", "refute"))
        await _in_thread(partial(self._review().judge, pair, same=said == "confirm"))
        return RedirectResponse(f"{self._prefix}/cache?{urlencode({'told': pair})}", status_code=303)

    def _review(self) -> CacheReview:
        if self._page.review is None:
            raise ConfigurationError(
                "this page shows no semantic cache: start it with a token and one, costguard serve --token … --chroma …"
            )
        return self._page.review

    def _check_form(self, form: Mapping[str, str]) -> None:
        """That a form is one of this page's."""
        if not hmac.compare_digest(form.get("key", "").encode(), self._page.form_key.encode()):
            raise ConfigurationError("this form is too old: go back, load the page again and repeat it")

    async def failed(self, request: Request, error: Exception) -> Response:
        return self._page_of("failed.html", status=400, text=printable(str(error), most=1000))

    def _may_read(self, request: Request) -> bool:
        token = self._page.token
        if token is None:
            return True
        kind, _, bearer = request.headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return hmac.compare_digest(bearer.encode(), token.encode())
        return hmac.compare_digest(request.cookies.get(_COOKIE, "").encode(), _seal(token).encode())

    def _page_of(self, template: str, *, status: int = 200, **values: Any) -> Response:
        from starlette.responses import HTMLResponse

        text = self._templates.get_template(template).render(**values)
        return HTMLResponse(text, status_code=status, headers=_HEADERS)


async def _form(request: Request) -> dict[str, str]:
    """The fields of a form that was sent, also the empty ones: a call without a user has an empty one.

    Raises:
        ConfigurationError: it is too long, of which no more is read.
    """
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > _LONGEST_FORM:
            raise ConfigurationError(f"a form of this page has at most {_LONGEST_FORM:,} bytes")
    return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))


def _seal(token: str) -> str:
    """What the cookie holds instead of the token."""
    return hmac.new(token.encode(), b"costguard page", "sha256").hexdigest()


async def _in_thread(read: Callable[[], Any]) -> Any:
    from starlette.concurrency import run_in_threadpool

    return await run_in_threadpool(read)


def _wanted(request: Request) -> dict[str, Any]:
    """What the URL asks for: ``range``, ``by`` and, under every other name, what calls must have."""
    given = dict(request.query_params)
    chosen, by, _ = (given.pop(name, default) for name, default in _OWN_NAMES.items())
    for name in (by, *given):
        if name not in COLUMNS:
            check_tag_name(name)
    if chosen not in figures.RANGES:
        raise ConfigurationError(f"range={chosen!r} is not one of {', '.join(figures.RANGES)}")
    return {"range": chosen, "by": by, "where": given}


def _link(prefix: str, wanted: Mapping[str, Any], path: str = "/", drop: str | None = None, /, **changes: str) -> str:
    """An address with what is shown now, changed; ``drop`` is a name that is no longer filtered by.

    ``changes`` may have any name that a tag has.
    """
    where = {name: value for name, value in wanted["where"].items() if name != drop}
    query = {"range": wanted["range"], "by": wanted["by"], **where, **changes}
    return f"{prefix}{path}?{urlencode(query)}"


# How figures are written


def dollars(nanos: int) -> str:
    """Nano-dollars: cents where there are dollars, more digits where there are not."""
    value = usd(nanos)
    if value == 0:
        return "$0"
    sign, value = ("-", -value) if value < 0 else ("", value)
    if value >= 1000:
        return f"{sign}${value:,.0f}"
    if value >= 1:
        return f"{sign}${value:,.2f}"
    return f"{sign}${value.quantize(Decimal('0.0001')):f}" if value >= Decimal("0.0001") else f"{sign}<$0.0001"


def count(number: int) -> str:
    """A number with separators."""
    return f"{number:,}"


def percent(fraction: float | Decimal | None) -> str:
    """A fraction as a percentage."""
    return "–" if fraction is None else f"{fraction * 100:.0f} %"


def shown(value: str | None) -> str:
    """A name that somebody typed."""
    return "(none)" if value is None else printable(value, most=80)


def amount(value: Decimal | int, unit: str) -> str:
    """An amount of a budget."""
    return f"${value:,.2f}" if unit == "usd" else f"{value:,}"


def signed(nanos: int) -> str:
    """A difference of nano-dollars."""
    return f"+{dollars(nanos)}" if nanos > 0 else dollars(nanos).replace("-", "\N{MINUS SIGN}")


def moment(seconds: float, *, zone: tzinfo = UTC) -> str:
    """Unix seconds, in a time zone."""
    return datetime.fromtimestamp(seconds, UTC).astimezone(zone).strftime("%Y-%m-%d %H:%M:%S")


def _zone_name(timezone: str) -> str:
    return {"local": "those of the server", "utc": "UTC"}.get(timezone.lower(), timezone)
