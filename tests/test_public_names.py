"""The public names, in whichever order they are imported."""

from __future__ import annotations

import pytest
from python_process import run_python


@pytest.mark.parametrize("package", ["langchain_costguard", "llamaindex_costguard"])
def test_install_is_a_function_also_after_uninstall_was_imported(package: str) -> None:
    run_python(f"from {package} import uninstall, install; assert callable(install) and callable(uninstall)")
