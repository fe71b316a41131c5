"""The built-in demo set: drawn here, so that it needs no download."""

from typing import TYPE_CHECKING

from datasets_prep.sources import Request, Source

if TYPE_CHECKING:
    from datasets_prep.listing import Found


class Demo(Source):
    summary = "a small world that is drawn here and needs no download"
    example = "fastpt prep --noise 0.05 demo"
    places = "none"
    default_name = "demo"

    def list_splits(self, request: Request) -> "Found":
        from datasets_prep.listing import Found
        from datasets_prep.sources.demo.scenes import demo_splits

        splits = demo_splits(request.seed)
        return Found.only(splits)


SOURCE = Demo()
