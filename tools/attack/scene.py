"""What is attacked: tiny splits, sources, runs and a study, and the commands that read them.

A command runs in a fork of this process, which has imported everything already, so that it is at work at once.
"""

import contextlib
import csv
import hashlib
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow.parquet as pq

from fastpt import Dataset
from fastpt.cli import main
from fastpt.errors import FastptError
from fastpt.study import work as study_work
from tests.cases import workplace
from tests.cases.delivery import delivered
from tests.conftest import picture
from tools.bench.range_server import RangeServer

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 600.0  # seconds that a command may take
SERVED = "served"  # the folder of a split, beside the scene


@dataclass(frozen=True)
class Job:
    """A command, and what it gives: without times and paths, the same whenever it is run on the same."""

    words: str
    """Those after `fastpt`; or a function of `Dataset` and its file, whose pictures are read."""
    result: Callable[[Path], Any] = lambda log: log.read_text()
    """Read in the scene's folder, after a command that ended well; takes the file of what was printed."""
    again: str = ""
    """What is added where the command goes on with its own work."""


def digests(*folders: str) -> Callable[[Path], Any]:
    """A result: the bytes of all files below folders, but for those that hold times, nothing, or sums of such."""

    def read(_: Path) -> Any:
        found = {folder: workplace.digests(folder) for folder in folders if Path(folder).is_dir()}
        return {
            folder: {
                name: sum for name, sum in files.items() if not name.endswith((".lock", "README.md", "manifest.json"))
            }
            for folder, files in found.items()
        }

    return read


def trained(run: str) -> Callable[[Path], Any]:
    """A result: a run's weights, losses and evaluations."""

    def read(log: Path) -> Any:
        losses = [[line["step"], line["loss"], line["lr"]] for line in workplace.events(run, "train")]
        evals = [{k: v for k, v in line.items() if k != "seconds"} for line in workplace.events(run, "eval")]
        return [losses, evals, digests(f"{run}/export")(log)]

    return read


def tuned(path: str) -> Callable[[Path], Any]:
    """A result: what heads measured."""

    def read(_: Path) -> Any:
        found = json.loads(Path(path).read_text())
        return [found["rows"], found["spectra"], found["methods"]]

    return read


prepared = digests("prepared")


def doubted(_: Path) -> Any:
    """A result: what `suspects` says of each sample."""
    return pq.read_table("doubted.parquet").to_pydict()


def planned(_: Path) -> Any:
    """A result: the targets of the plans of theirs/train, and what they say but for the sum of the file they are from,
    which is that of its bytes."""
    sums = {"source_sha256", "self_sha256"}
    return [
        {key: value for key, value in json.loads(path.read_text()).items() if key not in sums}
        if path.suffix == ".json"
        else hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(Path("theirs/train/noise").glob("*.*"))
        if path.suffix in (".json", ".npy")
    ]


def reported(_: Path) -> Any:
    """A result: the tables of a report, without what it says of time."""
    tables = sorted(Path("report_files").glob("*.csv"))
    timeless = {"seconds", "images_per_second", "minutes"}
    return {
        path.name: [{k: v for k, v in row.items() if k not in timeless} for row in csv.DictReader(path.open())]
        for path in tables
    }


def studied(log: Path) -> Any:
    """A result: what every run of a study gave."""
    runs = sorted(Path("study/runs").glob("*"))
    return [[run.name, trained(str(run))(log), tuned(f"{run}/tune/small.json")(log)] for run in runs]


COLUMNS = "--path-column path --label-column label"
PREP = "--name pets --max-rejects 0.2 --out prepared"
TUNE = "tune --run run --suite small.yaml --out tuned.json --lp --mlp"
HEADS = "--nmtune --epochs 60 --num-seeds 3 --fractions 0.5,1"
ON_TARS = "--set data.train=tars/train --set data.noise=0 --set data.val=null"
BY_MODEL = "--predictions suspects.parquet"
SUSPECTS = "suspects data/pets/train --noise symmetric-0.25-seed0 --run run --folds 2 --pictures 4"
LONGER = "--set schedule.steps=12 --set evaluate.every_epochs=100"
JOBS = {
    "prep": Job(f"prep imagefolder --source drawn --shard-samples 8 --workers 2 --noise 0.25 {PREP}", prepared),
    "prep tars": Job(f"prep webdataset --source drawn.tar --format wds --workers 1 {PREP}", prepared),
    "prep list": Job(f"prep list --source drawn --list list.csv {COLUMNS} --workers 1 {PREP}", prepared),
    "train": Job("train recipe.yaml --run-dir new", trained("new"), "--resume"),
    "train clip": Job("train clip.yaml --run-dir new", trained("new"), "--resume"),
    "train tars": Job(f"train recipe.yaml --run-dir new {ON_TARS}", trained("new"), "--resume"),
    "resume": Job(f"train recipe.yaml --run-dir killed --resume {LONGER}", trained("killed")),
    "export": Job("export run", digests("run/export")),
    "tune": Job(f"{TUNE} --epochs 3", tuned("tuned.json")),
    "tune many": Job(f"{TUNE} {HEADS}", tuned("tuned.json")),
    "report": Job("report run --out report.html --files", reported),
    "materialize": Job("materialize data/pets/train --noise 0.25 --format wds --out made", digests("made")),
    "materialize ffcv": Job("materialize data/pets/train --noise 0.25 --format ffcv --out made", digests("made")),
    "noise": Job("noise data/pets/train --rate 0.5", digests("data/pets/train/noise")),
    "import": Job("noise theirs/train --import plan.parquet", digests("theirs/train/noise")),
    "instance": Job(f"noise theirs/train --kind instance --rate 0.25 {BY_MODEL}", planned),
    "confused": Job(f"noise theirs/train --kind asymmetric --rate 0.25 {BY_MODEL}", planned),
    "corrected": Job("noise theirs/train --kind external --file suspects.parquet", planned),
    "suspects": Job(f"{SUSPECTS} --out doubted.parquet", doubted),
    "info": Job("info data/pets/train"),
    "preview": Job("preview data/pets/train", lambda _: "a page"),
    "verify": Job("verify data/pets/train"),
    "verify tars": Job("verify tars/train"),
    "verify run": Job("verify run"),
    "study": Job("study study.yaml --out study", studied),
    "study status": Job("study status study.yaml --out study --json"),
    "read ffcv": Job("from_ffcv other.beton"),
    "read tar": Job("from_webdataset drawn.tar"),
}


# --- the scene ----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def at_an_address(base: Path) -> Iterator[None]:
    """The split base/SERVED at an address of this machine, and the job that trains on it."""
    (base / SERVED).parent.mkdir(exist_ok=True)
    with RangeServer(base / SERVED) as server:
        remote = f"--set data.train={server.url} --set data.noise=0 --set data.val=null --set record.samples=[]"
        JOBS["train remote"] = Job(f"train recipe.yaml --run-dir new {remote}", trained("new"), "--resume")
        yield


def make(folder: Path, *more: str) -> None:
    """Everything that is attacked, in a new folder; each kind of cache has been filled. `more` jobs are done, too."""
    folder.mkdir(parents=True)
    with contextlib.chdir(folder):
        workplace.make_data(Path("data"))
        shutil.copytree("data/pets/train", folder.parent / SERVED)
        shutil.copytree("data/pets/train", "theirs/train", ignore=shutil.ignore_patterns("noise"))
        recipe = {**workplace.RECIPE, "data": {**workplace.RECIPE["data"], "noise": 0.25}}
        recipe["record"] = {"samples": ["loss", "margin", "correct"]}
        recipes = {"recipe": recipe, "clip": workplace.CLIP, "small": workplace.SUITE, "study": STUDY}
        for name, values in recipes.items():
            workplace.write_yaml(f"{name}.yaml", values)
        _draw()
    for words in (
        "prep imagefolder --source drawn --format wds --shard-samples 8 --max-rejects 0.2 --out tars",
        "train recipe.yaml --run-dir run",
        f"train recipe.yaml --run-dir killed --set checkpoint.keep=9 {LONGER}",
        "tune --run run --suite small.yaml --lp --mlp --epochs 3",
        "noise data/pets/train --plan symmetric-0.25-seed0 --export plan.parquet",
        "suspects data/pets/train --run run --folds 2 --out suspects.parquet",
        *(JOBS[name].words for name in ("train clip", "read ffcv", "read tar", *more)),
    ):
        ended = run(folder, words)
        if ended.code:
            raise SystemExit(f"the scene cannot be made: {words}: {ended.printed[-2000:]}")
        shutil.rmtree(folder / "new", ignore_errors=True)
    with contextlib.chdir(folder):
        workplace.cut_off(Path("killed"), step=8)


STUDY = {
    "name": "attacked",
    "pretrain": [{"recipe": "recipe.yaml", "rates": [0.25], "seeds": [0], "suites": ["small.yaml"]}],
    "tune": {"methods": ["lp", "mlp"], "num_seeds": 2, "options": ["--epochs", "3"]},
}


def _draw() -> None:
    """Pictures in class folders, in a tar with labels, in a list, and an FFCV file without sums."""
    rows = []
    with tarfile.open("drawn.tar", "w") as tar:
        for number in range(24):
            path = Path(f"drawn/train/class-{number % 3}/{number:03d}.jpg")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"no picture" if number == 5 else picture(9000 + number, size=(60, 44)))
            label = Path("label.cls")
            label.write_text(str(number % 3))
            tar.add(path, f"{number:03d}.jpg")
            tar.add(label, f"{number:03d}.cls")
            rows.append(f"train/class-{number % 3}/{number:03d}.jpg,{number % 3}\n")
    Path("label.cls").unlink()
    Path("list.csv").write_text("path,label\n" + "".join(rows))
    beton = min(Path("data/pets/train/images").glob("*.beton"))
    subprocess.run(["cp", "--sparse=always", beton, "other.beton"], check=True)


# --- running ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int  # negative: the signal; of one that took longer than LIMIT, -SIGKILL
    printed: str
    log: Path


def start(folder: Path, words: str, log: Path) -> int:
    """Start `fastpt WORDS` in a folder and in a group of its own; returns its process id."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.setsid()
        os.chdir(folder)
        with log.open("ab") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        os.environ |= {"XDG_CACHE_HOME": str(folder / "cache"), "TMPDIR": str(folder), "PYTHONPATH": str(ROOT)}
        module: Any = study_work
        module.subprocess = _ForkedSteps
        code = _fastpt(words.split())
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _fastpt(words: list[str]) -> int:
    sys.argv = ["fastpt", *words]
    try:
        if words[0].startswith("from_"):
            print(json.dumps(delivered(getattr(Dataset, words[0])(words[1]))))
        else:
            main(words, prog_name="fastpt")
    except (FastptError, OSError) as error:
        print(f"Error: {error}")
        return 1
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


class _Forked:
    """A step of a study as a fork, in place of `subprocess.Popen`: nothing is imported again."""

    def __init__(
        self, words: list[str], env: Mapping[str, str], stdout: IO, stderr: int, preexec_fn: Callable[[], None]
    ):
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid:
            return
        code = 1
        try:
            preexec_fn()
            os.dup2(stdout.fileno(), 1)
            os.dup2(stdout.fileno(), 2)
            code = _fastpt(words[3:])  # behind `python -m fastpt`
        finally:
            sys.stdout.flush()
            os._exit(code)

    def poll(self, options: int = os.WNOHANG) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, options)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def wait(self) -> int | None:
        return self.poll(0)

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)


class _ForkedSteps:
    """What `fastpt.study.work` takes of the module `subprocess`."""

    Popen, run, STDOUT = _Forked, staticmethod(subprocess.run), subprocess.STDOUT


def run(folder: Path, words: str) -> Ended:
    """`fastpt WORDS` in a folder, to its end."""
    log = Path(tempfile.gettempdir(), f"attack-{os.getpid()}.log")
    log.unlink(missing_ok=True)
    pid, end = start(folder, words, log), time.monotonic() + LIMIT
    while not (done := os.waitpid(pid, os.WNOHANG))[0]:
        if time.monotonic() > end:
            os.killpg(pid, signal.SIGKILL)
        time.sleep(0.01)
    return Ended(os.waitstatus_to_exitcode(done[1]), log.read_text(errors="replace"), log)


def result(folder: Path, job: Job, ended: Ended) -> str:
    """A digest of what a job gave."""
    with contextlib.chdir(folder):
        found = job.result(ended.log)
    return hashlib.sha256(json.dumps(found, sort_keys=True, default=str).encode()).hexdigest()


def undisturbed(folder: Path, job: Job) -> str:
    """The digest of what a job gives on what is whole."""
    ended = run(folder, job.words)
    if ended.code:
        raise SystemExit(f"{job.words} does not work on what is whole: {ended.printed[-2000:]}")
    return result(folder, job, ended)


def import_all() -> None:
    """Import what commands import, so that their forks have it."""
    modules = ("datasets_prep.convert", "datasets_prep.materialize", "fastpt.report.page", "fastpt.report.preview")
    more = ("fastpt.study.run", "fastpt.training.run", "fastpt.tuning.command", "torch.utils.tensorboard")
    for name in (*modules, *more):
        importlib.import_module(name)
