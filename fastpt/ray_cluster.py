"""A Ray cluster that is joined, or started here, for as long as a job lasts."""

import contextlib
import logging
from collections.abc import Iterator
from types import ModuleType

from fastpt.errors import FastptError


@contextlib.contextmanager
def joined(address: str, cpus: int | None = None) -> Iterator[ModuleType]:
    """The module `ray`, joined to the cluster at `address`; "local" starts one here, of `cpus` (default: all) CPUs.

    Raises FastptError if Ray is not installed or no cluster answers.
    """
    try:
        import ray
    except ImportError:
        raise FastptError("--ray needs Ray, which is not installed. Run: pip install 'fastpt[ray]'") from None
    # "local" is Ray's own word for a new cluster, whatever RAY_ADDRESS says; one that is joined has its CPUs already.
    num_cpus = cpus if address == "local" else None
    try:
        ray.init(
            address=address,
            num_cpus=num_cpus,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise FastptError(f"--ray {address}: no cluster answers there ({str(error).splitlines()[0]}).") from None
    try:
        yield ray
    finally:
        ray.shutdown()
