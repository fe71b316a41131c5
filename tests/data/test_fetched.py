"""Prepared splits at an address: the order and the pixels of the local split, whatever is in the cache."""

import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from fastpt import Dataset, Loader
from fastpt.cli import main
from fastpt.data import fetched
from fastpt.data.verify import verify
from fastpt.errors import DamagedData, FastptError
from fastpt.noise import add_noise
from fastpt.storage import transfer, web
from tests.conftest import made_up, prepared
from tests.servers import s3_server, upload
from tools.bench.range_server import Answer, RangeServer


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(transfer, "WAITS", (0.01, 0.01, 0.01))
    return tmp_path / "cache/fastpt/splits"


@pytest.fixture
def server(labelled):
    with RangeServer(labelled.path.parent) as server:
        yield server


def batches(dataset: Dataset, order: str, epochs: int = 2) -> list[tuple[list[int], bytes]]:
    loader = Loader(dataset, 8, 32, seed=3, order=order, threads=1)
    found = []
    for epoch in range(epochs):
        loader.set_epoch(epoch)
        found += [(batch.sample_ids.tolist(), batch.images.numpy().tobytes()) for batch in loader]
    return found


def wait_for(condition, seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def shards_here(dataset: Dataset) -> list[str]:
    return sorted(path.name for path in dataset.path.glob("images/*.beton"))


@pytest.mark.parametrize("order", ["random", "quasi_random", "sequential"])
def test_order_and_pixels_are_those_of_the_local_split(labelled, server, order):
    there = Dataset(f"{server.url}/train")
    assert batches(there, order) == batches(labelled, order)
    assert there.targets(0.25).tolist() == labelled.targets(0.25).tolist()
    assert there.keys == labelled.keys
    wait_for(lambda: len(shards_here(there)) == 3)
    assert batches(Dataset(f"{server.url}/train"), order) == batches(labelled, order)


def test_a_bucket_is_an_address_of_a_split(labelled):
    with s3_server():
        upload(labelled.path.parent, "splits")
        there = Dataset("s3://splits/train")
        assert batches(there, "random") == batches(labelled, "random")
        assert there.noise_plans() == labelled.noise_plans()


def test_a_run_goes_on_in_the_middle_of_an_epoch_as_with_the_local_split(labelled, server):
    def rest(dataset: Dataset) -> list[list[int]]:
        first = Loader(dataset, 8, 32, seed=1, threads=1)
        iterator = iter(first)
        next(iterator), next(iterator)
        second = Loader(dataset, 8, 32, seed=1, threads=1)
        second.load_state_dict(first.state_dict())
        return [batch.sample_ids.tolist() for batch in second]

    assert rest(Dataset(f"{server.url}/train")) == rest(labelled)


def test_training_begins_before_a_shard_is_here(labelled, server):
    server.fault = lambda request, answer: slow(request, answer)

    def slow(request, answer):
        is_shard = request.path.endswith(".beton") and answer.status == 206
        return Answer(503) if is_shard and answer.stop - answer.start > 20_000 else None

    there = Dataset(f"{server.url}/train")
    assert next(iter(Loader(there, 8, 32, seed=3, threads=1))).sample_ids.tolist()
    assert shards_here(there) == []


def test_a_shard_is_fetched_once_by_all_processes(labelled, server):
    script = (
        "import sys; from fastpt import Dataset; d = Dataset(sys.argv[1]);\n"
        "import time\n"
        "while not all([d._fetched.has(i) for i in range(3)]): time.sleep(0.01)\n"
    )
    command = [sys.executable, "-c", script, f"{server.url}/train"]
    running = [subprocess.Popen(command) for _ in range(3)]
    assert [one.wait(60) for one in running] == [0, 0, 0]
    asked = [(request.path, int(found[1]), int(found[2])) for request in server.requests if (found := ranged(request))]
    pieces = Counter((path, start) for path, start, last in asked if last - start > 100_000)
    assert set(pieces.values()) == {1}
    assert {path for path, _ in pieces} == {f"/train/images/{one['name']}" for one in labelled.manifest["shards"]}


def ranged(request) -> re.Match | None:
    return re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("range", ""))


def test_a_killed_fetch_leaves_nothing_wrong(labelled, server, cache):
    script = (
        "import sys; from fastpt import Dataset; from fastpt.storage.ranges import RemoteFile; import os, signal\n"
        "real = RemoteFile.pieces\n"
        "def pieces(*words):\n"
        "    for piece in real(*words):\n"
        "        yield piece[:1000]\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "RemoteFile.pieces = pieces\n"
        "d = Dataset(sys.argv[1]); d._fetched.has(0)\n"
        "import time; time.sleep(60)\n"
    )
    command = [sys.executable, "-c", script, f"{server.url}/train"]
    assert subprocess.run(command, timeout=60).returncode == -signal.SIGKILL
    assert [path.name for path in cache.glob("*/images/*.beton")] == []
    there = Dataset(f"{server.url}/train")
    assert not there._fetched.has(0)
    wait_for(lambda: there._fetched.has(0))
    name = labelled.manifest["shards"][0]["name"]
    assert (there.path / "images" / name).read_bytes() == labelled.shard_path(0).read_bytes()
    assert sorted(path.name for path in there.path.glob("images/.*.tmp")) == []


def test_what_was_cut_in_the_cache_is_fetched_anew(labelled, server):
    there = whole(Dataset(f"{server.url}/train"))
    os.truncate(there.shard_path(0), 100)
    (there.path / "dataset.json").write_text("{")
    again = Dataset(f"{server.url}/train")
    assert batches(again, "random") == batches(labelled, "random")
    wait_for(lambda: again._fetched.has(0))
    assert again.shard_path(0).read_bytes() == labelled.shard_path(0).read_bytes()


def test_a_flipped_byte_in_the_cache_is_told_with_what_to_delete(labelled, server):
    there = whole(Dataset(f"{server.url}/train"))
    jpeg = labelled.jpegs(np.array([0]), checked=True)[0].tobytes()
    shard = next(path for path in there.path.glob("images/*.beton") if jpeg in path.read_bytes())
    content = bytearray(shard.read_bytes())
    content[content.find(jpeg) + len(jpeg) // 2] ^= 1
    shard.chmod(0o644)
    shard.write_bytes(content)
    with pytest.raises(DamagedData, match=f"Delete {re.escape(str(there.path))}, which is a cache"):
        Dataset(f"{server.url}/train").jpegs(np.array([0]), checked=True)


@pytest.mark.parametrize("at", [0.2, 0.5, -1])
def test_a_flipped_byte_of_the_table_in_the_cache_is_told_with_what_to_delete(labelled, server, at):
    there = Dataset(f"{server.url}/train")
    flip(there.path / "samples.parquet", at)
    with pytest.raises(DamagedData, match=f"Delete {re.escape(str(there.path))}, which is a cache"):
        read_all(Dataset(f"{server.url}/train"))


def read_all(dataset: Dataset) -> None:
    """The whole of its table."""
    assert list(dataset.stored_keys)
    dataset.table()


def flip(path: Path, at: float) -> None:
    """Another byte at that share of a file, or at its end."""
    content = bytearray(path.read_bytes())
    content[int(at * len(content)) if at >= 0 else -1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("suffix", [".json", ".npy"])
def test_a_flipped_byte_of_a_plan_in_the_cache_is_fetched_anew(labelled, server, suffix):
    there = Dataset(f"{server.url}/train")
    (plan,) = there.path.glob(f"noise/*{suffix}")
    flip(plan, -1)
    assert np.array_equal(Dataset(f"{server.url}/train").targets(0.25), labelled.targets(0.25))


@pytest.mark.parametrize(
    ("number", "advice"),
    [(errno.ENOSPC, "Make room, or set FASTPT_CACHE_GB to less"), (errno.EROFS, "Set XDG_CACHE_HOME to a folder that")],
)
@pytest.mark.parametrize("what", ["dataset.json", "samples.parquet", "train-00000.beton"])
def test_a_cache_that_cannot_be_written_is_told_and_left_without_pieces(
    labelled, server, monkeypatch, cache, what, number, advice
):
    move = Path.replace

    def broken(self: Path, target: Path) -> Path:
        if target.name == what:
            raise OSError(number, os.strerror(number))
        return move(self, target)

    monkeypatch.setattr(Path, "replace", broken)
    with pytest.raises(FastptError, match=rf"/{what} cannot be written \({os.strerror(number)}\)\. {advice}"):
        whole(Dataset(f"{server.url}/train"))
    assert list(cache.rglob("*.tmp")) == []


def test_a_server_that_says_nothing_more_is_told_after_a_while(labelled, server, monkeypatch):
    monkeypatch.setattr(web, "READ_SECONDS", 0.1)
    web._pool.cache_clear()
    server.fault = lambda request, answer: (
        Answer(206, answer.headers | {"Content-Length": "1000000"}) if request.path.endswith(".beton") else None
    )
    with pytest.raises(FastptError, match=r"could not be read, 4 times in a row \(no answer in time\)"):
        whole(Dataset(f"{server.url}/train"))
    web._pool.cache_clear()


def test_a_shard_that_is_another_file_is_told_and_not_kept(labelled, tmp_path):
    shutil.copytree(labelled.path, tmp_path / "train")
    shard = tmp_path / "train/images" / labelled.manifest["shards"][1]["name"]
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    with RangeServer(tmp_path) as server:
        there = Dataset(f"{server.url}/train")
        there._fetched.has(1)
        wait_for(lambda: there._fetched._fetching._failed)
        with pytest.raises(DamagedData, match=f"{shard.name} is not the file that .*/train/dataset.json names"):
            there._fetched.has(1)
        assert shards_here(there) == []


def test_room_is_made_of_what_was_unused_for_longest_and_never_of_what_is_open(tmp_path, monkeypatch, cache):
    splits = []
    for number in range(3):
        splits.append(prepared(tmp_path / f"data/{number}", made_up(20, keys=[f"{number}/{i}" for i in range(20)])))
    size = splits[0].manifest["shards"][0]["bytes"]
    monkeypatch.setenv(fetched.CACHE_GB, str(2.5 * size / 1e9))
    with RangeServer(tmp_path / "data") as server:
        first, second = (whole(Dataset(f"{server.url}/{number}/train")) for number in range(2))
        folders = [first.path, second.path]
        os.utime(folders[0] / ".used", (1, 1))
        with pytest.raises(FastptError, match=r"splits in use take .* Set FASTPT_CACHE_GB to more"):
            whole(Dataset(f"{server.url}/2/train"))
        del first, second
        third = whole(Dataset(f"{server.url}/2/train"))
        assert [folder.is_dir() for folder in folders] == [False, True]
        assert third.jpegs(np.arange(20), checked=True)


def whole(dataset: Dataset) -> Dataset:
    wait_for(lambda: all([dataset._fetched.has(i) for i in range(len(dataset.manifest["shards"]))]))
    return dataset


def test_a_split_that_does_not_fit_the_cache_is_a_line(labelled, server, monkeypatch):
    monkeypatch.setenv(fetched.CACHE_GB, "0.00001")
    with pytest.raises(FastptError, match=r"GB of pictures, and the cache .* may have 0\.0 GB\. Set FASTPT_CACHE_GB"):
        Dataset(f"{server.url}/train")
    monkeypatch.setenv(fetched.CACHE_GB, "much")
    with pytest.raises(FastptError, match="is the size of the cache of splits in GB, such as 200; found 'much'"):
        Dataset(f"{server.url}/train")


def test_an_address_where_no_split_is_is_a_line(server):
    with pytest.raises(FastptError, match=r"/nowhere is no prepared split: it has no dataset.json"):
        Dataset(f"{server.url}/nowhere")


def test_plans_that_come_and_go_at_the_address_do_so_here(labelled, tmp_path):
    shutil.copytree(labelled.path, tmp_path / "train")
    with RangeServer(tmp_path) as server:
        assert Dataset(f"{server.url}/train").noise_plans() == labelled.noise_plans()
        shutil.rmtree(tmp_path / "train/noise")
        assert Dataset(f"{server.url}/train").noise_plans() == []


def test_nothing_is_written_beside_a_split_at_an_address_and_it_is_not_verified_there(server):
    there = Dataset(f"{server.url}/train")
    with pytest.raises(FastptError, match=r"is an address, which is only read. Make the noise plan in the folder"):
        add_noise(there, 0.5, 0)
    with pytest.raises(FastptError, match=r"is an address: each shard is held to its sha256 when it is fetched"):
        verify(Path(f"{server.url}/train"))


def test_a_split_at_an_address_is_told_of_like_any_other(server):
    result = CliRunner().invoke(main, ["info", f"{server.url}/train"])
    assert (result.exit_code, "40 samples" in result.output) == (0, True), result.output
