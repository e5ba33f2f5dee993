"""Worked answers to school mathematics by four models and a person: does the comparator tell which arrive at the same?

    python benchmarks/worked_answers.py example_model_solutions.jsonl

The file is ``grade_school_math/data/example_model_solutions.jsonl`` of openai/grade-school-math on GitHub (MIT). Of
each problem three pairs of answers are compared, each answer in a style of its own: with the marks of the data set or
without, as lines, as a paragraph, with or without a last line that states the result. Two are the same if their last
lines state the same number.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from costguard_core.cache.semantic.comparator.comparator import TextComparator

_AUTHORS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
_PAIRS = ((3, 4), (0, 3), (1, 2))  # the last of the five is the person
_MARKS = re.compile(r"<<[^>]*>>")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--problems", type=int, default=None)
    options = parser.parse_args()
    if not options.file.is_file():
        raise SystemExit(f"{options.file} is not there; see the first lines of this program for where to get it")
    compare, rng = TextComparator(), random.Random(0)
    counts: Counter[str] = Counter()
    for line in options.file.read_text().splitlines()[: options.problems]:
        problem = json.loads(line)
        answers = [*(problem[author]["solution"] for author in _AUTHORS), problem["ground_truth"]]
        for left, right in _PAIRS:
            results = _result(answers[left]), _result(answers[right])
            if None in results:
                continue
            found = compare(_styled(answers[left], rng), _styled(answers[right], rng)).same
            kind = "equal" if results[0] == results[1] else "different"
            counts[kind] += 1
            counts[f"{kind} wrong"] += found is not None and found is not (kind == "equal")
            counts[f"{kind} cannot tell"] += found is None
    for kind in ("equal", "different"):
        print(f"{counts[kind]} {kind}: {counts[f'{kind} wrong']} wrong, {counts[f'{kind} cannot tell']} cannot be told")


def _result(answer: str) -> float | None:
    """What the last line says."""
    try:
        return float(answer.strip().splitlines()[-1].removeprefix("A:").replace(",", "").replace("$", ""))
    except ValueError:
        return None


def _styled(answer: str, rng: random.Random) -> str:
    *steps, last = _MARKS.sub("", answer).strip().splitlines()
    result = last.removeprefix("A:").strip()
    paragraph = " ".join(f"{step.rstrip('.')}." for step in steps)
    styles: tuple[Callable[[], str], ...] = (
        lambda: answer,
        lambda: "\n".join((*steps, last)),
        lambda: "\n".join(steps),
        lambda: paragraph,
        lambda: f"{paragraph} The answer is {result}.",
        lambda: "\n".join(f"{number}. {step}" for number, step in enumerate(steps, 1)) + f"\n\n**Answer: {result}**",
        lambda: "\n".join((*steps, f"#### {result}")),
    )
    return rng.choice(styles)()


if __name__ == "__main__":
    main()
