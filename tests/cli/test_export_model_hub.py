"""Models on the Hugging Face Hub: the real huggingface_hub against a local server with its API."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from support.command_processes import environment
from support.fake_hub import FakeHub
from support.tiny_experiment import narrow_body

import seamseg
from seamseg.cli import main
from seamseg.errors import SeamsegError
from seamseg.export.model_folder import ALL_FILES

pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")

FILES = set(ALL_FILES) - {"example.jpg"}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """Server that the package uses in this process, with an empty cache and a token."""
    constants, utils = import_module("huggingface_hub.constants"), import_module("huggingface_hub.utils")
    utils.disable_progress_bars()
    with FakeHub() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.endpoint)
        template = server.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True, raising=False)
        monkeypatch.setenv("HF_TOKEN", "hf_test")
        yield server
    utils.enable_progress_bars()


@pytest.fixture(scope="module")
def model_files(run_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Files of an exported model folder."""
    out = tmp_path_factory.mktemp("exported") / "street"
    with narrow_body():
        assert main(["export-model", str(run_dir), str(out)]) == 0
    return {path.name: path.read_bytes() for path in out.iterdir()}


def test_hub_model_predicts_like_the_folder(
    command: Any, hub: FakeHub, model_files: dict[str, bytes], run_dir: Path, photo: Path, tmp_path: Path
) -> None:
    hub.add("org/street", model_files | {"train.py": b"raise SystemExit", "weights.pt": b"pickle"})
    outs = [tmp_path / "one", tmp_path / "two"]
    for model, out in zip((run_dir, "hf://org/street"), outs, strict=True):
        assert command("predict", model, photo, out, "--device=cpu").code == 0
    assert (outs[0] / "panoptic/photo.png").read_bytes() == (outs[1] / "panoptic/photo.png").read_bytes()
    assert json.loads((outs[1] / "panoptic.json").read_text())["info"]["model"] == "hf://org/street"
    downloaded = {path.name for path in (tmp_path / "cache").rglob("snapshots/*/*")}
    assert downloaded == FILES - {"README.md"}
    assert not any("train.py" in request or "weights.pt" in request for request in hub.requests)


def test_hub_model_of_a_revision_is_that_of_the_commit(hub: FakeHub, model_files: dict[str, bytes]) -> None:
    repository = hub.add("org/street", model_files)
    first = repository.head
    repository.commit({"config.yaml": b"task: unknown\n"}, "break it")
    assert seamseg.load_model(f"hf://org/street@{first}", device="cpu").task == "panoptic"
    with pytest.raises(SeamsegError, match="has been changed or damaged"):
        seamseg.load_model("hf://org/street", device="cpu")
    with pytest.raises(SeamsegError, match="hf://org/street@v9 names a revision"):
        seamseg.load_model("hf://org/street@v9", device="cpu")


def test_hub_model_without_network_comes_from_the_cache(hub: FakeHub, model_files: dict[str, bytes]) -> None:
    hub.add("org/street", model_files)
    first = seamseg.load_model("hf://org/street", device="cpu")
    hub.stop()
    assert seamseg.load_model("hf://org/street", device="cpu").categories == first.categories
    with pytest.raises(SeamsegError, match="hf://org/other"):
        seamseg.load_model("hf://org/other", device="cpu")


def test_hub_model_without_network_and_weights_in_the_cache_is_said_to_be_incomplete(
    hub: FakeHub, model_files: dict[str, bytes], tmp_path: Path
) -> None:
    hub.stop()
    cached = tmp_path / "cache" / "models--org--street"
    for name, content in (("refs/main", b"0" * 40), (f"snapshots/{'0' * 40}/config.yaml", model_files["config.yaml"])):
        (cached / name).parent.mkdir(parents=True)
        (cached / name).write_bytes(content)
    with pytest.raises(SeamsegError, match=r"hf://org/street has no model\.safetensors.*a part of the model"):
        seamseg.load_model("hf://org/street", device="cpu")


def test_damaged_hub_model_is_named_as_the_user_wrote_it(
    hub: FakeHub, model_files: dict[str, bytes], tmp_path: Path
) -> None:
    hub.add("org/street", model_files | {"categories.json": b"[]"})
    with pytest.raises(SeamsegError) as caught:
        seamseg.load_model("hf://org/street", device="cpu")
    assert str(caught.value).startswith("hf://org/street: ")
    assert f"delete {tmp_path / 'cache' / 'models--org--street'})" in str(caught.value)
    without_sums = {name: content for name, content in model_files.items() if name == "model.safetensors"}
    settings = re.sub(rb'(\\ntask: |"task: )panoptic', rb"\1panoptik", without_sums["model.safetensors"], count=1)
    assert settings != without_sums["model.safetensors"]
    hub.add("org/lane", {"model.safetensors": settings})
    with pytest.raises(SeamsegError, match="in hf://org/lane"):
        seamseg.load_model("hf://org/lane", device="cpu")


def test_hub_models_that_cannot_be_read_are_refused_in_one_sentence(
    refuses: Any, hub: FakeHub, photo: Path, tmp_path: Path
) -> None:
    hub.add("org/gated", {"model.safetensors": b"x"}, gated=True)
    hub.add("org/empty", {"pytorch_model.bin": b"x", "config.yaml": b""})
    hub.add("org/other", {"model.safetensors": b"not safetensors"})

    def sentence(model: str) -> str:
        return refuses("predict", model, photo, tmp_path / "out", "--device=cpu")

    assert "there is no hf://org/unknown" in sentence("hf://org/unknown")
    assert "hf://org/gated is gated" in sentence("hf://org/gated")
    assert "hf://org/empty has no model.safetensors" in sentence("hf://org/empty")
    assert "model.safetensors" in sentence("hf://org/other")
    for name in ("hf://street", "hf://org/a/b", "hf://org/../x", "hf://org/street@", "hf://"):
        assert "write hf://ORG/NAME" in sentence(name)
    assert not (tmp_path / "out").exists()


def test_hub_model_without_the_package_says_what_to_install(
    refuses: Any, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert "pip install huggingface_hub" in refuses("predict", "hf://org/street", photo, tmp_path / "out")
    assert "pip install huggingface_hub" in refuses("export-model", tmp_path, tmp_path / "out", "--push=org/street")


def test_push_creates_the_repository_with_card_and_picture(
    command: Any, hub: FakeHub, run_dir: Path, photo: Path, tmp_path: Path
) -> None:
    out = tmp_path / "street"
    given = ("--push=org/street", "--private", "--license=cc-by-4.0", "--example", photo)
    result = command("export-model", run_dir, out, *given)
    assert (result.code, result.out) == (0, f"exported: {out}\nuploaded: {hub.endpoint}/org/street\n")
    repository = hub.repositories["org/street"]
    assert repository.private
    assert len(repository.messages) == 2  # creation and one commit
    assert repository.files == {path.name: path.read_bytes() for path in out.iterdir()} | {
        ".gitattributes": repository.files[".gitattributes"]
    }
    card = repository.files["README.md"].decode()
    front = yaml.safe_load(card.split("---\n")[1])
    assert front["license"] == "cc-by-4.0"
    assert front["pipeline_tag"] == "image-segmentation"
    assert "](example.jpg)" in card
    assert "hf://org/street" in card
    picture = cv2.imdecode(np.frombuffer(repository.files["example.jpg"], np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == cv2.imread(str(photo)).shape
    assert seamseg.load_model("hf://org/street", device="cpu").task == "panoptic"


def test_push_never_replaces_files_without_overwrite(
    command: Any, refuses: Any, hub: FakeHub, run_dir: Path, tmp_path: Path
) -> None:
    repository = hub.add("org/street", {"README.md": b"mine", "notes.txt": b"keep"})
    before = repository.head
    sentence = refuses("export-model", run_dir, tmp_path / "a", "--push=org/street")
    assert "already contains README.md" in sentence
    assert "--overwrite" in sentence
    assert not (tmp_path / "a").exists()
    assert repository.head == before
    result = command("export-model", run_dir, tmp_path / "a", "--push=org/street", "--overwrite")
    assert result.code == 0
    assert "no license" in result.err
    assert set(repository.files) == FILES | {".gitattributes", "notes.txt"}
    assert repository.files["notes.txt"] == b"keep"
    assert repository.commits[before]["README.md"] == b"mine"


def test_push_uploads_nothing_if_the_local_part_fails(
    refuses: Any, hub: FakeHub, run_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    assert "not empty" in refuses("export-model", run_dir, tmp_path / "out", "--push=org/street")
    assert "no model" in refuses("export-model", tmp_path / "none", tmp_path / "new", "--push=org/street")
    wrong = ("--example", tmp_path / "none.jpg")
    refuses("export-model", run_dir, tmp_path / "new", "--push=org/street", *wrong)
    assert hub.repositories == {}
    assert not (tmp_path / "new").exists()


def test_push_that_is_refused_keeps_the_local_folder_and_says_why(
    refuses: Any, hub: FakeHub, run_dir: Path, tmp_path: Path
) -> None:
    hub.add("org/public", {})
    assert "is public" in refuses("export-model", run_dir, tmp_path / "a", "--push=org/public", "--private")
    for status, reason in ((401, "hf auth login"), (403, "permission"), (412, "changed in the meantime")):
        hub.fail = status
        sentence = refuses("export-model", run_dir, tmp_path / "a", "--push=org/public", "--overwrite")
        assert reason in sentence
        assert {path.name for path in (tmp_path / "a").iterdir()} == FILES
    assert set(hub.repositories["org/public"].files) == {".gitattributes"}
    assert "write ORG/NAME" in refuses("export-model", run_dir, tmp_path / "b", "--push=street")
    assert "--push" in refuses("export-model", run_dir, tmp_path / "b", "--private")


def test_push_without_network_is_refused_before_the_export(
    refuses: Any, hub: FakeHub, run_dir: Path, tmp_path: Path
) -> None:
    hub.stop()
    assert "hf://org/street" in refuses("export-model", run_dir, tmp_path / "a", "--push=org/street")
    assert not (tmp_path / "a").exists()


def test_endpoint_of_the_environment_is_used(model_files: dict[str, bytes], tmp_path: Path) -> None:
    """A real process reads HF_ENDPOINT and HF_HOME, as users set them for a mirror."""
    code = "from seamseg.export.hub_models import download_model; print(download_model('hf://org/street'))"
    with FakeHub() as server:
        server.add("org/street", model_files)
        settings = {"HF_ENDPOINT": server.endpoint, "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_XET": "1"}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment() | settings, capture_output=True, text=True, check=True
        )
    folder = Path(done.stdout.strip().splitlines()[-1])
    assert folder.is_relative_to(tmp_path)
    assert (folder / "model.safetensors").read_bytes() == model_files["model.safetensors"]
