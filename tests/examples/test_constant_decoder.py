import pytest

from fastpt import FastptError, Loader
from fastpt.loading.decoders import DECODERS
from fastpt.testing import assert_decodes


@pytest.fixture(autouse=True)
def _in_the_table(monkeypatch):
    """The one line that fastpt/loading/decoders/__init__.py would get."""
    monkeypatch.setitem(DECODERS.table, "constant", "tests.examples.constant_decoder:ConstantDecoder")


def test_it_keeps_the_contract_of_decoders(labelled):
    assert_decodes(labelled, "constant")


def test_its_option_reaches_it(labelled):
    with Loader(labelled, 8, 16, seed=0, decoder="constant", decoder_options={"level": 7}) as loader:
        assert all((batch.images == 7).all() for batch in loader)


def test_an_option_out_of_range_is_refused(labelled):
    with pytest.raises(FastptError, match="level is 300"):
        Loader(labelled, 8, 16, seed=0, decoder="constant", decoder_options={"level": 300})
