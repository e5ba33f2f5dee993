"""Which prices a command uses."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from costguard_core.pricing import PriceBook


def price_book(file: Path | None) -> PriceBook:
    """The lists, with the declared prices of a price file, else those (and the discounts) of the policy file that
    ``$COSTGUARD_CONFIG`` names.

    Raises:
        ConfigurationError: one of the files cannot be used.
    """
    from costguard_core.pricing import PriceBook
    from costguard_core.pricing.price_file import book_of, read_price_file

    if file is not None:
        return PriceBook(read_price_file(file).prices)
    if not os.environ.get("COSTGUARD_CONFIG"):
        return PriceBook()
    from costguard_core.policy import load_policy

    return book_of(load_policy().options)
