"""The public names, in whichever order they are imported."""

from __future__ import annotations

import pytest
from python_process import run_python

import langchain_costguard


@pytest.mark.parametrize("package", ["langchain_costguard", "llamaindex_costguard"])
def test_install_is_a_function_also_after_uninstall_was_imported(package: str) -> None:
    run_python(f"from {package} import uninstall, install; assert callable(install) and callable(uninstall)")


def test_the_old_name_of_the_vector_store_index_still_works() -> None:
    with pytest.warns(DeprecationWarning, match="VectorStoreCacheIndex"):
        found = langchain_costguard.VectorStoreIndex
    assert found is langchain_costguard.VectorStoreCacheIndex
