"""Calls and alerts to :mod:`logging`."""

from __future__ import annotations

import logging

from costguard_core.exporters.base import as_dict, as_line
from costguard_core.types import Alert, Event
from costguard_core.util.numbers import whole_number
from costguard_core.util.options import check_kind, names_options


@names_options
class LoggingHook:
    """One line per call at ``level`` and per alert at ``alert_level``; the fields are in the record's ``costguard``."""

    def __init__(
        self,
        logger: logging.Logger | None = None,
        *,
        level: int = logging.INFO,
        alert_level: int = logging.WARNING,
    ) -> None:
        if logger is not None:
            check_kind("logger", logger, (logging.Logger, logging.LoggerAdapter), 'such as logging.getLogger("costs")')
        whole_number("level", level, at_least=0)
        whole_number("alert_level", alert_level, at_least=0)
        self._logger = logger or logging.getLogger("costguard")
        self._level, self._alert_level = level, alert_level

    def __call__(self, item: Event | Alert, /) -> None:
        level = self._alert_level if isinstance(item, Alert) else self._level
        if self._logger.isEnabledFor(level):
            self._logger.log(level, "%s", as_line(item), extra={"costguard": as_dict(item)})
