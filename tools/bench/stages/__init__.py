"""The stages that are measured: name -> module, whose `contests(options, scratch)` makes its inputs and yields them."""

STAGES = {
    name: f"tools.bench.stages.{name}"
    for name in (
        "prep",
        "loading",
        "handover",
        "index",
        "order",
        "noise",
        "training",
        "clip",
        "tuning",
        "startup",
        "disk",
        "memory",
    )
}
