"""Checks of the words and switches that users write into options; those of numbers are in ``numbers.py``."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import fields
from difflib import get_close_matches
from functools import wraps
from inspect import signature
from typing import Any, ParamSpec, TypeVar, overload

from costguard_core.errors import ConfigurationError
from costguard_core.util.numbers import whole_number

P = ParamSpec("P")
R = TypeVar("R")
K = TypeVar("K")

# How keys of providers begin.
_KEY = re.compile(r"(sk|pk|rk|gsk|xai|pplx|fw|hf|or|key|AIza|AKIA|ASIA|Bearer)[-_ ]?[\w-]{16,}$")
_LONGEST_NAME = 200  # characters, as of every other value in the ledger
_NEARLY = 0.8  # similarity from which a name is taken for a misspelt one: a choice


def check_choice(option: str, value: object, valid: Collection[str]) -> None:
    """Raise unless ``value`` is one of ``valid``.

    Raises:
        ConfigurationError: it is not; the text names ``option``, the valid words and the nearest of them.
    """
    if not isinstance(value, str) or value not in valid:
        raise ConfigurationError(f"{option}={value!r} is not one of: {', '.join(valid)}.{nearest(value, valid)}")


def check_flag(option: str, value: object) -> None:
    """Raise unless ``value`` is ``True`` or ``False``.

    Raises:
        ConfigurationError: it is not; the text names ``option``.
    """
    if not isinstance(value, bool):
        raise ConfigurationError(f"{option}={value!r} is neither True nor False")


def check_kind(option: str, value: object, kind: type | tuple[type, ...], example: str) -> None:
    """Raise unless ``value`` is a ``kind``.

    Raises:
        ConfigurationError: it is not; the text names ``option`` and what it was given, and shows ``example``.
    """
    if not isinstance(value, kind):
        raise ConfigurationError(f"{option}= is {example}, not {shown(value)}")


def check_like(option: str, value: object, members: Collection[str], example: str) -> None:
    """Raise unless ``value`` is an object with these ``members``, of whatever class.

    Raises:
        ConfigurationError: it is not; the text names ``option`` and what it was given, and shows ``example``.
    """
    if isinstance(value, type) or not all(hasattr(value, member) for member in members):
        raise ConfigurationError(f"{option}= is {example}, not {shown(value)}")


def check_text(option: str, value: object, example: str) -> None:
    """Raise unless ``value`` is a text that is not empty.

    Raises:
        ConfigurationError: it is not; the text names ``option`` and shows ``example``, not what was given.
    """
    if not isinstance(value, str) or not value.strip():
        given = "an empty text" if isinstance(value, str) else shown(value)
        raise ConfigurationError(f"{option}= is a text such as {example}, not {given}")


def check_function(option: str, value: object, example: str) -> None:
    """Raise unless ``value`` is ``None`` or can be called.

    Raises:
        ConfigurationError: it is neither; the text names ``option`` and shows ``example``.
    """
    if value is not None and not callable(value):
        raise ConfigurationError(f"{option}= is {example}, not {shown(value)}")


def check_answer(value: object) -> None:
    """Raise unless ``value`` can be a static reply.

    Raises:
        ConfigurationError: it is no text, and no function of the error.
    """
    if not isinstance(value, str):
        check_function("answer", value, "a text, or a function of the error")


def check_call_options(*, billed_attempts: object, account: object, **flags: object) -> str | None:
    """Raise for an option of a guarded model that it cannot have; returns ``account`` as the ledger has it.

    Raises:
        ConfigurationError: names the first one.
    """
    whole_number("billed_attempts", billed_attempts, at_least=1)
    for option, value in flags.items():
        check_flag(option, value)
    return account_name(account)


def kept_options(options: dict[str, Any], before: Any) -> dict[str, Any]:
    """Options of a model that is guarded once more: what is left at its default stays as ``before`` has it.

    Args:
        options: as given now.
        before: the dataclass with the options so far; ``None``: it is guarded for the first time.
    """
    if before is None:
        return options
    defaults = {field.name: field.default for field in fields(before)}
    kept = (name for name, value in options.items() if value is None or value == defaults[name])
    return options | {name: getattr(before, name) for name in kept}


def check_spelling(owner: str, options: Iterable[str], known: Collection[str], own: Iterable[str]) -> None:
    """Raise for an option that is not known and nearly is one of ``own``; any other is somebody else's.

    Raises:
        ConfigurationError: there is one; the text names ``owner``, it and the nearest.
    """
    for name in options:
        near = [] if name in known else get_close_matches(name, list(own), n=1, cutoff=_NEARLY) or _anagrams(name, own)
        if near:
            raise ConfigurationError(f'{owner} has no option {name}=. Did you mean "{near[0]}"?')


def _anagrams(name: str, own: Iterable[str]) -> list[str]:
    """Of a short name, two letters that change places are too much for a similarity: "nmae"."""
    return [option for option in own if sorted(option) == sorted(name)]


def check_known(owner: str, given: Iterable[str], known: Collection[str]) -> None:
    """Raise for the first option that is not known; ``owner`` takes no others.

    Raises:
        ConfigurationError: the text names ``owner``, the option, and the nearest that there is or else all.
    """
    for name in given:
        if name not in known:
            meant = nearest(name, known) or f" It has: {', '.join(known)}."
            raise ConfigurationError(f"{owner} has no option {name}=.{meant}")


@overload
def names_options(made: type[K]) -> type[K]: ...
@overload
def names_options(made: Callable[P, R]) -> Callable[P, R]: ...
def names_options(made: Any) -> Any:
    """A function, a method or a class, which meets an option that it does not have with the nearest that it has.

    The options of a pydantic model are its fields, which its constructor does not list.

    Of one that takes any name (``**names``), only a name that nearly is an option is met so.

    Raises:
        ConfigurationError: at the call; see :func:`check_known` and :func:`check_spelling`.
    """
    if isinstance(made, type):
        constructor = "__new__" if issubclass(made, tuple) else "__init__"  # a NamedTuple has the first only
        fields = None if constructor in vars(made) else getattr(made, "model_fields", None)
        setattr(made, constructor, _checked(getattr(made, constructor), fields))
        return made
    return _checked(made, None)


def _checked(made: Callable[..., Any], fields: Collection[str] | None) -> Callable[..., Any]:
    parameters = signature(made).parameters
    takes_any = fields is None and any(kind.kind is kind.VAR_KEYWORD for kind in parameters.values())
    known = fields or [name for name in parameters if name not in ("self", "_cls")]
    names = set(known)

    @wraps(made)
    def checked(*args: Any, **options: Any) -> Any:
        if not options.keys() <= names:
            owner = made.__name__
            if owner in ("__init__", "__new__"):
                owner = (args[0] if isinstance(args[0], type) else type(args[0])).__name__
            if takes_any:
                check_spelling(owner, options, known, known)
            else:
                check_known(owner, options, known)
        return made(*args, **options)

    return checked


def account_name(value: object) -> str | None:
    """The name by which the ledger knows the key or the project that is billed.

    Raises:
        ConfigurationError: it is no text, or looks like the key itself, which is not repeated.
    """
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip():
        raise ConfigurationError('account= is a name for the key or project that is billed, such as "production"')
    if _KEY.match(value):
        raise ConfigurationError('account= looks like a key; give it a name, such as "production"')
    return value[:_LONGEST_NAME]


def shown(given: object) -> str:
    """A class, or what an object is one of; never its contents, which may be a key."""
    kind = given if isinstance(given, type) else type(given)
    name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
    return f"the class {name}" if isinstance(given, type) else "None" if given is None else f"a {name}"


def nearest(word: object, valid: Iterable[str]) -> str:
    """`` Did you mean "…"?``, or nothing where no valid word is like ``word``."""
    near = get_close_matches(str(word), list(valid), n=1)
    return f' Did you mean "{near[0]}"?' if near else ""


def meant(word: object, valid: Iterable[str], otherwise: str = "", *, cutoff: float = 0.6) -> str:
    """``did you mean '…'?``, to end a sentence, or ``otherwise`` where no valid word is as like ``word`` as that."""
    near = get_close_matches(str(word), list(valid), n=1, cutoff=cutoff)
    return f"did you mean {near[0]!r}?" if near else otherwise
