"""Computes one cell of a study anew with timm and scikit-learn alone: none of fastpt's loader, features or heads.

    python -m tools.check_cell RUN data/flowers17       # of recipes/suites/study.yaml: train and test, 2-fold

Prints the mean per class of a cross-validated logistic regression on features of centre crops by Pillow, beside what
`fastpt tune` says of its own probe. Folds differ, being drawn by another generator: agreement is within the interval
of the difference of two proportions.
"""

import io
import json
import sys
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegressionCV
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastpt import Dataset

run, folder = Path(sys.argv[1]), Path(sys.argv[2])
model = timm.create_model(f"local-dir:{run / 'export'}", pretrained=True, num_classes=0).eval()
_, size, _ = model.pretrained_cfg["input_size"]
mean, std = (torch.tensor(model.pretrained_cfg[name]).view(3, 1, 1) for name in ("mean", "std"))
splits = [Dataset(path.parent) for path in sorted(folder.glob("*/dataset.json"))]
pictures, labels = [], []
for split in splits:  # the stored bytes and labels are read by fastpt, and nothing else
    labels += split.clean_labels.tolist()
    for jpeg in split.jpegs(np.arange(len(split))):
        picture = Image.open(io.BytesIO(jpeg.tobytes())).convert("RGB")
        side = min(picture.size)
        left, top = ((one - side) // 2 for one in picture.size)
        square = picture.resize((size, size), Image.Resampling.BICUBIC, (left, top, left + side, top + side))
        pictures.append((torch.from_numpy(np.array(square)).permute(2, 0, 1) / 255 - mean) / std)
with torch.no_grad():
    features = torch.cat([model(torch.stack(pictures[i : i + 256])) for i in range(0, len(pictures), 256)]).numpy()
probe = make_pipeline(StandardScaler(), LogisticRegressionCV(Cs=np.logspace(-4, 1, 6), cv=5, max_iter=300))
answers = cross_val_predict(probe, features, labels, cv=StratifiedKFold(2, shuffle=True, random_state=0))
found, n = balanced_accuracy_score(labels, answers), len(labels)
rows = json.loads((run / "tune" / "study.json").read_text())["rows"]
ours = [row["value"] for row in rows if (row["domain"], row["set"], row["method"]) == ("id", folder.name, "logistic")]
half = 1.96 * (2 * found * (1 - found) / n) ** 0.5
print(f"{folder.name}: {100 * found:.2f} % here, {100 * np.mean(ours):.2f} % by fastpt, +- {100 * half:.2f} of {n}")
