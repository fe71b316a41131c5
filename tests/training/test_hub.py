"""What `fastpt export --format hf` writes, loaded by transformers, and pushed to a stand-in for the hub."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import open_clip
import pytest
import timm
import torch
from click.testing import CliRunner

from fastpt.cli import main
from fastpt.errors import FastptError
from fastpt.runs import verify
from fastpt.training.export import export_run
from fastpt.training.hub import push_folder
from fastpt.training.run import train
from tests.training.conftest import TINY_CLIP, VIT_CLIP

transformers = pytest.importorskip("transformers")


@pytest.fixture
def run(supervised, tmp_path):
    return train(supervised("data.noise=0.2"), "tiny", tmp_path / "run")


def test_transformers_loads_timms_models_with_identical_logits(run):
    folder = export_run(run, for_transformers=True)
    theirs = transformers.AutoModelForImageClassification.from_pretrained(folder).eval()
    ours = timm.create_model(f"local-dir:{run / 'export'}", pretrained=True).eval()
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(theirs(images).logits, ours(images))
    assert theirs.config.id2label == {i: f"class {i}" for i in range(4)}
    assert transformers.AutoImageProcessor.from_pretrained(folder)
    assert verify(run) == []
    (folder / "config.json").write_text("{}")
    assert "config.json" in str(verify(run))


def test_transformers_loads_clip_with_the_same_features_and_tokens(clip, tmp_path):
    run = train(clip(f"model={json.dumps(VIT_CLIP)}", "data.size=16"), "tiny", tmp_path / "run")
    folder = export_run(run, for_transformers=True)
    theirs = transformers.CLIPModel.from_pretrained(folder).eval()
    processor = transformers.AutoProcessor.from_pretrained(folder)
    ours, _, _ = open_clip.create_model_and_transforms(f"local-dir:{run / 'export'}")
    texts = ["a picture of a Cat, isn't it?", "Zürich, 1234"]
    ids = processor(text=texts, return_tensors="pt", padding=True, truncation=True)["input_ids"]
    tokens = open_clip.get_tokenizer(f"local-dir:{run / 'export'}")(texts)
    end = 49407
    for found, wanted in zip(ids.tolist(), tokens.tolist(), strict=True):
        assert found[: found.index(end) + 1] == wanted[: wanted.index(end) + 1]
    images = torch.randn(3, 3, 16, 16)
    with torch.no_grad():
        given = theirs(pixel_values=images, input_ids=ids)
        pictures, texts, scale = ours.eval()(images, tokens)
    assert torch.allclose(given.image_embeds, pictures, atol=1e-5)
    assert torch.allclose(given.text_embeds, texts, atol=1e-5)
    assert torch.allclose(given.logits_per_image, scale * pictures @ texts.T, atol=1e-4)


def test_siglips_bias_has_no_place_in_transformers_clip(clip, tmp_path):
    settings = (f"model={json.dumps(VIT_CLIP)}", "data.size=16", "clip.loss=sigmoid", "schedule={steps: 2}")
    run = train(clip(*settings), "tiny", tmp_path / "run")
    with pytest.raises(FastptError, match=r"^transformers' CLIP does not have a logit bias"):
        export_run(run, for_transformers=True)


def test_a_clip_that_transformers_does_not_have_is_refused(clip, tmp_path):
    run = train(clip(f"model={json.dumps(TINY_CLIP)}"), "tiny", tmp_path / "run")
    with pytest.raises(FastptError, match="does not have a ResNet as picture tower"):
        export_run(run, for_transformers=True)
    assert not (run / "export-hf").exists()


class Hub(BaseHTTPRequestHandler):
    """The hub's endpoints that an upload in one commit uses."""

    pushed: dict[str, bytes]
    asked: list[tuple[str, str | None, dict]]
    answers: dict[str, int] = {}  # status of what is asked for, by the end of its path
    address: str

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        lines = [json.loads(line) for line in body.splitlines()]
        self.asked.append((self.path, self.headers["Authorization"], lines[0]))
        status = next((self.answers[end] for end in self.answers if self.path.endswith(end)), 200)
        if not status:
            self.connection.close()
        elif status != 200:
            self._answer(status, {"error": "You may not.", "url": f"{self.address}/me/name"})
        elif self.path.endswith("/preupload/main"):
            files = [{"path": one["path"], "uploadMode": "regular", "shouldIgnore": False} for one in lines[0]["files"]]
            self._answer(200, {"files": files})
        elif self.path.endswith("/commit/main"):
            values = [line["value"] for line in lines if line["key"] == "file"]
            self.pushed |= {value["path"]: base64.b64decode(value["content"]) for value in values}
            self._answer(200, {"commitUrl": f"{self.address}/me/name/commit/1", "commitOid": "1"})
        else:
            self._answer(200, {"url": f"{self.address}/me/name", "warnings": [], "errors": []})

    def do_GET(self):
        self._answer(404, {"error": "not here"})

    def _answer(self, status: int, content: dict) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(monkeypatch):
    """A stand-in for the hub that HF_ENDPOINT points at."""
    handler = type("Handler", (Hub,), {"pushed": {}, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    handler.address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", handler.address)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    yield handler
    server.shutdown()
    server.server_close()


def test_nothing_is_pushed_without_push_and_all_of_it_with(run, hub):
    export = ["export", str(run)]
    assert CliRunner().invoke(main, export).exit_code == 0
    assert hub.asked == []
    done = CliRunner().invoke(main, [*export, "--push", "hf://me/name"])
    assert done.exit_code == 0, done.output
    assert f"pushed to {hub.address}/me/name/commit/1" in done.output
    paths, tokens, bodies = zip(*hub.asked, strict=True)
    assert paths[0] == "/api/repos/create"
    assert bodies[0]["name"] == "name"
    assert bodies[0].get("private") is True or bodies[0].get("visibility") == "private"  # as hubs of two ages have it
    assert set(tokens) == {"Bearer hf_secret"}
    folder = run / "export"
    assert set(hub.pushed) == {path.name for path in folder.iterdir()}
    assert all(hub.pushed[path.name] == path.read_bytes() for path in folder.iterdir() if path.name != "README.md")
    card = hub.pushed["README.md"].decode()
    assert "hf-hub:me/name" in card
    assert "symmetric" in card or "swap" in card  # the noise


@pytest.mark.parametrize(
    ("what", "status"), [("create", 401), ("create", 403), ("create", 500), ("commit/main", 503), ("commit/main", 0)]
)
def test_what_the_hub_refuses_is_one_line_without_the_token_and_may_be_pushed_again(pushed, hub, what, status):
    hub.answers = {what: status}
    with pytest.raises(FastptError, match=r"could not be pushed to me/name: .*[^.]\. Set HF_TOKEN to") as told:
        push_folder(pushed, "me/name")
    assert "hf_secret" not in str(told.value)
    assert "\n" not in str(told.value)
    assert hub.pushed == {}
    hub.answers = {"create": 409}  # it is there since
    assert push_folder(pushed, "me/name") == f"{hub.address}/me/name/commit/1"
    assert set(hub.pushed) == {"README.md", "model.safetensors"}


def test_a_hub_that_is_not_there_is_one_line(pushed, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(FastptError, match=r"could not be pushed to me/name: .*Connection refused\. Set HF_TOKEN"):
        push_folder(pushed, "me/name")


@pytest.fixture
def pushed(tmp_path):
    """A folder as of an export."""
    folder = tmp_path / "run/export"
    folder.mkdir(parents=True)
    (folder / "README.md").write_text("of local-dir:PATH")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


@pytest.mark.parametrize("address", ["me/name", "hf://name", "hf://me/name/more", "hf://me/ name"])
def test_what_is_no_model_of_the_hub_is_refused_first(run, address):
    done = CliRunner().invoke(main, ["export", str(run), "--push", address])
    assert done.exit_code == 2
    assert "Write hf://OWNER/NAME" in done.output
