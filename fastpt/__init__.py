"""fastpt: pre-train on noisy labels, and tune what was learned.

The names a script needs are here and load on first use, so that `fastpt --help` stays quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastpt.data.dataset import Dataset
    from fastpt.errors import DamagedData, FastptError, Preempted, RecipeError
    from fastpt.loading.batch import Batch
    from fastpt.loading.loader import Loader

__version__ = "0.2.0"
__all__ = ["Batch", "DamagedData", "Dataset", "FastptError", "Loader", "Preempted", "RecipeError"]

_HOMES = {
    "Batch": "fastpt.loading.batch",
    "Dataset": "fastpt.data.dataset",
    "Loader": "fastpt.loading.loader",
    **dict.fromkeys(("DamagedData", "FastptError", "Preempted", "RecipeError"), "fastpt.errors"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'fastpt' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
