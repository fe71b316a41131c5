"""The encoder that a finished run exported, with the evaluation crop of its recipe."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from fastpt.config import Precision
from fastpt.errors import DamagedData, FastptError
from fastpt.files import MANIFEST, find_damage, read_sealed_json
from fastpt.recipe import recipe_of
from fastpt.runs import read_provenance
from fastpt.runs.folder import EXPORT, EXPORT_FORMAT, PROVENANCE, RECIPE
from fastpt.runs.records import known_settings
from fastpt.tuning.encoders.encoder import Encoder, Preprocessing, freeze
from fastpt.tuning.encoders.open_clip import load_open_clip
from fastpt.tuning.encoders.timm import load_timm


class RunEncoder:
    form = "run:FOLDER"

    def open(self, name: str, overrides: dict[str, Any], device: str, precision: Precision) -> Encoder:
        """The encoder of a run's folder. Raises FastptError if it has no export, DamagedData if it changed."""
        run = Path(name)
        export = run / EXPORT
        if export.is_dir() and (problem := find_damage(export, EXPORT_FORMAT)):
            raise DamagedData(
                f"{export} is damaged ({problem}). Write it anew with `fastpt export {run}` or `fastpt train --resume`."
            )
        if (run / PROVENANCE).is_file() and (settings := known_settings(read_provenance(run))):
            found = read_sealed_json(export / MANIFEST, EXPORT_FORMAT) if export.is_dir() else {}
            if found.get("settings_sha256", "") not in {"", *settings}:
                raise FastptError(f"{export} is of another run than {run / PROVENANCE}. Write it with `fastpt export`.")
        if (export / "open_clip_config.json").is_file():
            loaded = load_open_clip(f"local-dir:{export}", "")
        elif (export / "config.json").is_file():
            loaded = load_timm(f"local-dir:{export}", "")
        else:
            state = "has no export yet: its training has not ended" if run.is_dir() else "does not exist"
            raise FastptError(
                f"run {run} {state}. Train it with `fastpt train`, or write its export with `fastpt export`."
            )
        preprocessing = loaded.preprocessing
        if (run / RECIPE).is_file():
            data = recipe_of(run).data
            preprocessing = Preprocessing(
                data.eval_size or data.size,
                data.crop_fraction,
                data.eval_interpolation,
                preprocessing.mean,
                preprocessing.std,
            )
        preprocessing, name = replace(preprocessing, **overrides), run.resolve().name
        return replace(freeze(name, loaded.model, preprocessing, device, precision, loaded.tokenizer), run=run)


KIND = RunEncoder()
