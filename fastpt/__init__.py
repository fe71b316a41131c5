"""fastpt: pre-train on noisy labels, and tune what was learned.

The three names a script needs are here and load on first use, so that `fastpt --help` stays quick.
"""

_HOMES = {"Dataset": "fastpt.data.dataset", "Loader": "fastpt.loading.loader", "Batch": "fastpt.loading.loader"}

__all__ = ["Batch", "Dataset", "Loader"]


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module 'fastpt' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
