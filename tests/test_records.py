import math

import pytest

from fastpt.errors import DamagedData
from fastpt.records import read_sealed_line, read_sealed_yaml, sealed_line, write_sealed_yaml

VALUE = {"task": "supervised", "lr": 1e-05, "name": "é: #x", "list": [1, None, True]}


def test_yaml_is_read_as_it_was_written(tmp_path):
    write_sealed_yaml(tmp_path / "a.yaml", VALUE)
    assert read_sealed_yaml(tmp_path / "a.yaml") == VALUE


def test_every_changed_byte_of_yaml_is_seen(tmp_path):
    path = tmp_path / "a.yaml"
    write_sealed_yaml(path, VALUE)
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(DamagedData, match=r"a\.yaml is damaged"):
            read_sealed_yaml(path)


@pytest.mark.parametrize("length", [0, 10, -1])
def test_yaml_that_was_cut_is_damaged(tmp_path, length):
    path = tmp_path / "a.yaml"
    write_sealed_yaml(path, VALUE)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(DamagedData, match="is damaged"):
        read_sealed_yaml(path)


@pytest.mark.parametrize("event", [{"event": "train", "loss": 0.1 + 0.2}, {"name": "é"}, {}])
def test_a_line_is_read_as_it_was_written(event):
    assert read_sealed_line(sealed_line(event)) == event


def test_a_line_holds_what_is_no_number():
    assert math.isnan(read_sealed_line(sealed_line({"loss": math.nan}))["loss"])


@pytest.mark.parametrize(
    "line",
    ["", "{", "[]", "7", "{}", '{"step": 1}', '{"step": 1, "xxh3": 5}', sealed_line({"step": 1}).replace("1", "2")],
)
def test_a_line_that_is_not_as_written_is_none(line):
    assert read_sealed_line(line) is None
