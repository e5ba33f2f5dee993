"""Turns the options of a router into what it works with, and says what is wrong with those that do not fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import isawaitable, iscoroutinefunction
from os import PathLike
from typing import TypeVar, cast

from costguard_core.errors import ConfigurationError
from costguard_core.routing.checks.verify import Answer, Check, Verdict, complete, every, not_refused, valid_json
from costguard_core.routing.learning.scorer import learned
from costguard_core.routing.request import Request
from costguard_core.routing.scores import Score

F = TypeVar("F")


def described(argument: object) -> str:
    """A wrong argument for an error text: numbers and text as they are, of anything else its type, because the repr of
    a model may hold the headers that it signs in with.
    """
    return repr(argument) if isinstance(argument, (str, int, float)) else type(argument).__name__


def plain_function(function: F, option: str) -> F:
    """The function itself, if it is not ``async``. Decisions are made without awaiting, and a coroutine counts as true.

    Args:
        function: what was given.
        option: names it in the error.

    Raises:
        ConfigurationError: it is a coroutine function.
    """
    if iscoroutinefunction(function) or iscoroutinefunction(getattr(function, "__call__", None)):  # noqa: B004 -- its own
        raise ConfigurationError(f"{option} is called without await; give a plain function instead of an async one")
    return function


def not_awaitable(result: F) -> F:
    """What a function returned, if it did not turn out to be ``async`` after all.

    Raises:
        TypeError: it is to be awaited.
    """
    if isawaitable(result):
        close = getattr(result, "close", None)
        if callable(close):
            close()  # it will never be awaited, and need not warn of that
        raise TypeError("an async function at the place of a plain one")
    return result


def scorer(option: object) -> Callable[[Request], Score | None]:
    """``score=`` as a scorer: a scorer, the path of a trained one, or a function that returns a number.

    Raises:
        ConfigurationError: it is none of these.
    """
    if isinstance(option, (str, PathLike)):
        return learned(option)
    if not callable(option):
        raise ConfigurationError(f"score={described(option)} is neither a scorer nor the path of a trained router")
    if hasattr(option, "quantiles"):
        return cast(Callable[[Request], Score | None], option)
    function = plain_function(option, "score=")

    def score(request: Request) -> Score | None:
        result = not_awaitable(function(request))
        return result if result is None or isinstance(result, Score) else Score(float(result))

    return score


def check(option: object) -> Check | None:
    """``verify=`` as one check; an answer on which the check raises has not passed.

    Raises:
        ConfigurationError: neither a function of an ``Answer``, nor a schema, nor ``True``.
    """
    if option is None or option is False:
        return None
    if option is True:
        return every(complete(), not_refused())
    if isinstance(option, Mapping) or (isinstance(option, type) and hasattr(option, "model_json_schema")):
        return valid_json(option)
    if not callable(option):
        raise ConfigurationError(
            f"verify={described(option)} is not a check: a function of an Answer, a schema, or True"
        )
    function = plain_function(option, "verify=")

    def checked(answer: Answer) -> Verdict:
        try:
            result = not_awaitable(function(answer))
        except Exception as error:
            return Verdict(False, f"check failed: {type(error).__name__}")
        return result if isinstance(result, Verdict) else Verdict(bool(result), "" if result else "check said no")

    return checked
