"""The tables ``[routers.NAME]`` of a policy file: what in them does not fit together, and the files that they name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path as FilePath
from typing import Any

from costguard_core.budgets.budget import Budget
from costguard_core.errors import ConfigurationError
from costguard_core.util.options import meant
from costguard_core.util.toml_document import Path, Problem


def router_problems(path: Path, given: Mapping[str, Any]) -> Iterator[Problem]:
    """What a router at ``path`` says that no router can follow. Its shape is right already."""
    yield from _tier_problems(path, given)
    yield from _cut_problems(path, given)
    for name in ("budget", "shadow_budget"):
        if name in given:
            try:
                Budget.parse(given[name])
            except ConfigurationError as error:
                yield Problem((*path, name), str(error))
    for name in ("shadow", "shadow_budget"):
        if name in given and "log" not in given:
            yield Problem((*path, name), "nothing is asked twice without a prompt log: write log too")


def _tier_problems(path: Path, given: Mapping[str, Any]) -> Iterator[Problem]:
    tiers: list[str] = given["tiers"]
    named = [((*path, "default"), given["default"])] if "default" in given else []
    for index, rule in enumerate(given.get("rules", ())):
        place = (*path, "rules", index)
        named.append(((*place, "tier"), rule["tier"]))
        if rule.get("max_input_tokens", rule.get("min_input_tokens", 0)) < rule.get("min_input_tokens", 0):
            yield Problem((*place, "max_input_tokens"), "max_input_tokens is below min_input_tokens: no prompt fits")
    for place, tier in named:
        if tier not in tiers:
            known = f"they are {', '.join(tiers)}"
            yield Problem(place, f"{tier!r} is none of the tiers; {meant(tier, tiers, known)}")


def _cut_problems(path: Path, given: Mapping[str, Any]) -> Iterator[Problem]:
    """Of what decides how many requests go up."""
    above, share = len(given["tiers"]) - 1, given.get("share")
    if share is not None and (len(share) if isinstance(share, list) else 1) != above:
        yield Problem((*path, "share"), f"{above + 1} tiers take {above} shares, one for each above the first")
    if "threshold" in given and above > 1:
        yield Problem((*path, "threshold"), "a threshold is for two tiers; with more of them write share")


def with_files(given: Mapping[str, Any], folder: FilePath | None) -> dict[str, Any]:
    """A router whose files are looked for beside the policy file; a trained router that is not there stays as it is."""
    made = dict(given)
    if folder is not None:
        if "score" in made and (folder / made["score"]).is_file():
            made["score"] = str(folder / made["score"])
        if "log" in made:
            made["log"] = str(folder / made["log"].removeprefix("sqlite:///"))
    return made
