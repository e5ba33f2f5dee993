"""The command line: ``costguard <command>``. Each command's module is loaded only when that command runs.

Commands of the core are listed here; adapters add theirs through the entry point group ``costguard.commands``, so the
core never imports an adapter. A command is a ``typer.Typer`` (a single command or a group of them).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from difflib import get_close_matches
from functools import partial
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from costguard_core.cli.printing import print_text
from costguard_core.errors import ConfigurationError, CostGuardError, MissingExtraError

ENTRY_POINT_GROUP = "costguard.commands"
_OWN_COMMANDS = {
    "advise": "costguard_core.cli.advise:app",
    "budget": "costguard_core.cli.budget:app",
    "cache": "costguard_core.cli.cache:app",
    "check": "costguard_core.cli.check:app",
    "datadog": "costguard_core.cli.grafana:datadog_app",
    "economics": "costguard_core.cli.economics:app",
    "explain": "costguard_core.cli.explain:app",
    "export": "costguard_core.cli.export:app",
    "forecast": "costguard_core.cli.forecast:app",
    "gate": "costguard_core.cli.gate:app",
    "grafana": "costguard_core.cli.grafana:app",
    "keys": "costguard_core.cli.keys:app",
    "ledger": "costguard_core.cli.ledger:app",
    "prices": "costguard_core.cli.prices:app",
    "proxy": "costguard_core.cli.proxy:app",
    "reconcile": "costguard_core.cli.reconcile:app",
    "report": "costguard_core.cli.report:app",
    "router": "costguard_core.cli.router:app",
    "serve": "costguard_core.cli.serve:app",
    "simulate": "costguard_core.simulate.command:app",
}
# What people want of a command, under which the help lists it.
_PANELS = {
    "See where the money goes": ("report", "explain", "forecast", "economics", "serve", "grafana", "datadog", "export"),
    "Set limits and keep them": ("budget", "check", "gate", "proxy", "keys"),
    "Know prices and bills": ("prices", "reconcile", "ledger"),
    "Pay less": ("advise", "cache", "router"),
    "Try it": ("demo", "simulate"),
}
_PANEL_OF = {name: panel for panel, names in _PANELS.items() for name in names}
_BAD_INPUT = 2
_POLICY_URLS = {"db": "ledger", "store": "store"}  # an option, and what the policy file calls it
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]  # Typer has no public name for it


class LazyCommands(TyperGroup):
    """A group whose commands are imported when they are asked for, and whose errors are one line."""

    def list_commands(self, ctx: object) -> list[str]:
        found = _loaders()
        return [*(name for name in _PANEL_OF if name in found), *sorted(found.keys() - _PANEL_OF.keys())]

    def get_command(self, ctx: object, cmd_name: str) -> Any:
        if cmd_name not in self.commands and (load := _find_loader(cmd_name)):
            command: Any = get_command(load())
            command.name = cmd_name
            command.rich_help_panel = _PANEL_OF.get(cmd_name)
            _take_urls_from_policy(command)
            for each in _with_its_commands(command):
                each.get_params = partial(_params_without_pydantic, each.get_params)
            self.commands[cmd_name] = command
        return self.commands.get(cmd_name)

    def get_params(self, ctx: Any) -> list[Any]:
        return _params_without_pydantic(super().get_params, ctx)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        try:
            return super().resolve_command(ctx, args)
        except _UsageError as error:
            error.message = _no_such_command(args[0])  # type: ignore[attr-defined]
            raise

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except CostGuardError as error:
            print_text(f"costguard: {error}", error=True)
            bad_input = isinstance(error, (ConfigurationError, MissingExtraError))
            raise typer.Exit(_BAD_INPUT if bad_input else 1) from error
        except _UsageError as error:
            if message := error.format_message():  # type: ignore[attr-defined]
                print_text(f"costguard: {message}", error=True)  # else the help has been shown
            raise typer.Exit(_BAD_INPUT) from error


def _no_such_command(word: str) -> str:
    """What is said of a word that is no command: those that it may have meant, or where all of them are listed."""
    close = get_close_matches(word, _loaders(), n=2)
    meant = " or ".join(f"'costguard {name}'" for name in close)
    return f"there is no command {word!r}; " + (f"did you mean {meant}?" if close else "costguard --help lists them")


def _take_urls_from_policy(command: object) -> None:
    """Where ``COSTGUARD_CONFIG`` names a policy file, its ledger and store are the defaults of ``--db``/``--store``."""
    path = os.environ.get("COSTGUARD_CONFIG")
    wanted = [p for each in _with_its_commands(command) for p in each.params if p.name in _POLICY_URLS]
    if not path or not wanted:
        return
    from costguard_core.policy import load_policy

    options = load_policy(path).options
    for parameter in wanted:
        if (url := options.get(_POLICY_URLS[parameter.name])) is not None:
            parameter.default = url


def _with_its_commands(command: Any) -> list[Any]:
    """A command and, of a group, all of its commands."""
    return [command, *getattr(command, "commands", {}).values()]


class _Conversion:
    """What Typer makes of a value, without pydantic (0.3 s of CPU) where nothing, a text or a plain number was typed.

    Typer 0.29 looks for a parameter's conversion in ``_runtime_param``. With other versions all is converted by Typer.
    """

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        several = param.multiple or param.nargs == -1
        wanted = param.type_descriptor
        if value is None:
            return () if several else None
        if not (wanted.is_path or wanted.is_choice or wanted.is_file or wanted.parameter_info.parser):
            if wanted.annotation == list[str] and not isinstance(value, str) and all(type(v) is str for v in value):
                return list(value)
            if type(value) is wanted.annotation:
                return value
            if wanted.annotation is int and not wanted.is_ranged and re.fullmatch("-?[0-9]{1,18}", str(value)):
                return int(value)
        param._runtime_param = None
        return param.get_runtime_param().coerce(value, param=param, ctx=ctx)


def _params_without_pydantic(get_params: Callable[[Any], list[Any]], ctx: Any) -> list[Any]:
    """The parameters that Typer lists, with our conversion in the versions whose private place for it is known."""
    parameters = get_params(ctx)
    if typer.__version__.startswith("0.29."):
        for parameter in parameters:
            parameter._runtime_param = _Conversion()
    return parameters


def _find_loader(name: str) -> Callable[[], typer.Typer] | None:
    """How a command is loaded. The packages of this machine are looked through only for one that is not the core's."""
    if name in _OWN_COMMANDS:
        return _loader(_OWN_COMMANDS[name])
    return _loaders().get(name)


def _loaders() -> dict[str, Callable[[], typer.Typer]]:
    from importlib.metadata import entry_points

    found = {name: _loader(target) for name, target in _OWN_COMMANDS.items()}
    return found | {point.name: point.load for point in entry_points(group=ENTRY_POINT_GROUP)}


def _loader(target: str) -> Callable[[], typer.Typer]:
    def load() -> typer.Typer:
        module, _, name = target.partition(":")
        app: typer.Typer = getattr(import_module(module), name)
        return app

    return load


app = typer.Typer(
    name="costguard",
    cls=LazyCommands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # a traceback with local variables would print prompts and keys
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 -- the signature that Typer calls
    if wanted:
        from importlib.metadata import version

        typer.echo(f"costguard {version('langchain-costguard')}")
        raise typer.Exit


@app.callback()
def main(
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Keep the bill of an LLM application under control: pay once for each answer, never more than allowed."""
