"""Where a model's requests go."""

from __future__ import annotations

from costguard_core.util.urls import LastHost, host_in


def test_the_last_host_is_that_of_the_settings_that_are_given() -> None:
    found = LastHost()
    one, other = {"base_url": "https://one.example/v1"}, {"base_url": "https://other.example/v1"}
    for settings in (one, one, other, one, None, {}, other):
        assert found(settings) == host_in(settings or {})
