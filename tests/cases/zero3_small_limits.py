"""`fastpt WORDS` with DeepSpeed's limits on live weights scaled down, as a network of billions would meet them."""

import sys
from typing import Any

from fastpt.cli import main
from fastpt.training import deepspeed_adapter

LIMITS = {
    "stage3_max_live_parameters": 400_000,
    "stage3_max_reuse_distance": 400_000,
    "stage3_prefetch_bucket_size": 20_000,
    "stage3_param_persistence_threshold": 10_000,
}
configuration = deepspeed_adapter.configuration  # looked up here, so that a test that imports this sees it moved


def with_limits(*arguments: Any, **options: Any) -> dict:
    made = configuration(*arguments, **options)
    return {**made, "zero_optimization": {**made["zero_optimization"], **LIMITS}}


if __name__ == "__main__":
    deepspeed_adapter.configuration = with_limits
    main(sys.argv[1:])
