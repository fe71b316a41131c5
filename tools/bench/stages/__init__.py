"""The stages that are measured: name -> module, whose `contests(options, scratch)` makes its inputs and yields them."""

SHARES = {
    "loading": 0.33,
    "prep": 0.10,
    "training": 0.15,
    "clip": 0.08,
    "tuning": 0.14,
    "startup": 0.04,
    "disk": 0.02,
    "noise": 0.03,
    "order": 0.02,
    "index": 0.05,
    "memory": 0.02,
    "handover": 0.02,
}
"""Of the time that is given for all, what each stage may take before its contests are left at their fewest rounds."""
STAGES = {name: f"tools.bench.stages.{name}" for name in SHARES}
