"""The kernel is tried on the loader's split too."""

from tests.loading.conftest import split  # noqa: F401
