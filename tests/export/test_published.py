"""Published snapshots and metadata: reading, and damaged or malicious files."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import pytest
import torch
import yaml
from support.malicious import Malicious
from support.published_archive import VISTAS, metadata, published_files, snapshot, torch_bytes, write_zip
from support.tiny_network import NUM_STUFF, NUM_THINGS, tiny_network

from seamseg.export.published import load_published, read_metadata, read_snapshot
from seamseg.structures import Category


def test_read_snapshot_tensors_load_strictly_by_name(tmp_path: Path) -> None:
    source, target = tiny_network(seed=1), tiny_network(seed=2)
    torch.save(snapshot(source.state_dict()), tmp_path / "best.pth.tar")
    target.load_state_dict(read_snapshot(tmp_path / "best.pth.tar").tensors, strict=True)
    for name, tensor in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], tensor), name


def test_read_snapshot_names_keep_the_part_as_prefix(tmp_path: Path) -> None:
    content = snapshot(tiny_network().state_dict())
    assert "backbone.mod1.conv1.weight" in content["state_dict"]["body"]
    torch.save(content, tmp_path / "best.pth.tar")
    assert "body.backbone.mod1.conv1.weight" in read_snapshot(tmp_path / "best.pth.tar").tensors


def test_read_snapshot_existing_counters_are_kept_and_missing_ones_are_0(tmp_path: Path) -> None:
    content = snapshot(tiny_network().state_dict())
    content["state_dict"]["body"]["backbone.mod1.bn1.num_batches_tracked"] = torch.tensor(191000)
    torch.save(content, tmp_path / "best.pth.tar")
    tensors = read_snapshot(tmp_path / "best.pth.tar").tensors
    assert int(tensors["body.backbone.mod1.bn1.num_batches_tracked"]) == 191000
    assert int(tensors["rpn_head.bn1.num_batches_tracked"]) == 0


def refused(path: Path) -> str:
    with pytest.raises(ValueError, match=path.name) as caught:
        read_snapshot(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("content", [b"", b"hello"])
def test_read_snapshot_file_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "best.pth.tar").write_bytes(content)
    assert "cannot be read" in refused(tmp_path / "best.pth.tar")


def test_read_snapshot_missing_file_is_refused(tmp_path: Path) -> None:
    assert "No such file" in refused(tmp_path / "best.pth.tar")


@pytest.mark.parametrize("content", [[1], {}, {"state_dict": 3}, {"state_dict": {"body": {}, "rpn_head": {}}}])
def test_read_snapshot_torch_file_with_other_content_is_refused(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "best.pth.tar")
    assert "not a published snapshot" in refused(tmp_path / "best.pth.tar")


@pytest.mark.parametrize("early", [True, False])
@pytest.mark.parametrize("part", ["config", "body", "optimizer", "training_meta"])
def test_read_snapshot_malicious_file_cannot_run_code(tmp_path: Path, part: str, early: bool) -> None:
    content = snapshot(tiny_network().state_dict())
    (content["state_dict"] if part in content["state_dict"] else content)[part] = Malicious(tmp_path / "owned")
    (tmp_path / "best.pth.tar").write_bytes(torch_bytes(content, early))
    assert "cannot be read" in refused(tmp_path / "best.pth.tar")
    assert not (tmp_path / "owned").exists()


def test_load_published_malicious_archive_cannot_run_code(tmp_path: Path) -> None:
    files = published_files(tiny_network().state_dict(), "", metadata(NUM_STUFF, NUM_THINGS))
    files["seamseg_r50_vistas.tar"] = torch_bytes({"state_dict": Malicious(tmp_path / "owned")})
    with pytest.raises(ValueError, match=r"model\.zip/seamseg_r50_vistas\.tar cannot be read") as caught:
        load_published(write_zip(tmp_path / "model.zip", files))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "owned").exists()


def test_read_snapshot_gpu_weights_are_loaded_on_the_cpu(tmp_path: Path) -> None:
    """The old torch format names the device of the tensors, which may not exist on this machine."""
    content = torch_bytes(snapshot(tiny_network(seed=3).state_dict()))
    on_gpu = content.replace(b"ctorch\nFloatStorage\n", b"ctorch.cuda\nFloatStorage\n")
    on_gpu = on_gpu.replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0")
    assert b"cuda:0" in on_gpu
    (tmp_path / "best.pth.tar").write_bytes(on_gpu)
    tensors, expected = read_snapshot(tmp_path / "best.pth.tar").tensors, tiny_network(seed=3).state_dict()
    assert all(torch.equal(tensors[name], tensor) for name, tensor in expected.items())


def test_read_snapshot_compressed_parts_are_refused(tmp_path: Path) -> None:
    """New torch files are zip archives without compression, so compressed parts are refused."""
    torch.save(snapshot(tiny_network().state_dict()), tmp_path / "stored.pth")
    with (
        zipfile.ZipFile(tmp_path / "stored.pth") as stored,
        zipfile.ZipFile(tmp_path / "best.pth.tar", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for name in stored.namelist():
            bomb.writestr(name, stored.read(name))
    assert "compressed parts" in refused(tmp_path / "best.pth.tar")


@pytest.mark.parametrize("early", [True, False])
def test_read_snapshot_truncated_file_is_refused(tmp_path: Path, early: bool) -> None:
    content = torch_bytes(snapshot(tiny_network().state_dict()), early)
    for part in range(20):
        (tmp_path / "best.pth.tar").write_bytes(content[: len(content) * part // 20])
        assert "cannot be read" in refused(tmp_path / "best.pth.tar")


def test_read_snapshot_entry_that_is_not_a_tensor_is_refused(tmp_path: Path) -> None:
    content = snapshot(tiny_network().state_dict())
    content["state_dict"]["roi_head"]["extra"] = [1, 2]
    torch.save(content, tmp_path / "best.pth.tar")
    assert "roi_head.extra is a list" in refused(tmp_path / "best.pth.tar")


@pytest.mark.parametrize("early", [True, False])
def test_load_published_archive_gives_weights_classes_and_settings(tmp_path: Path, early: bool) -> None:
    state = tiny_network(seed=5).state_dict()
    files = published_files(state, VISTAS, metadata(NUM_STUFF, NUM_THINGS), early)
    published = load_published(write_zip(tmp_path / "model.zip", files))
    assert published.file.tensors.keys() == state.keys()
    assert all(torch.equal(published.file.tensors[name], tensor) for name, tensor in state.items())
    assert [entry["isthing"] for entry in published.file.categories] == [0] * NUM_STUFF + [1] * NUM_THINGS
    assert yaml.safe_load(published.file.settings)["rpn"]["inference"] == {"before_nms": 6000, "after_nms": 1000}
    assert len(published.notes) == 2
    assert published.notes[1].startswith("dropped optimizer, loss_meter from the snapshot")


def noted(folder: Path, change: Callable[[dict[str, Any]], None]) -> list[str]:
    """Return the notes about a changed snapshot, without the two usual ones."""
    content = snapshot(tiny_network().state_dict())
    change(content)
    files = published_files({}, VISTAS, metadata(NUM_STUFF, NUM_THINGS))
    files["seamseg_r50_vistas.tar"] = torch_bytes(content)
    return list(load_published(write_zip(folder / "model.zip", files)).notes[2:])


def test_load_published_different_settings_in_the_snapshot_are_reported(tmp_path: Path) -> None:
    assert noted(tmp_path, lambda content: content.update(config=VISTAS)) == []
    (note,) = noted(tmp_path, lambda content: content.update(config="[roi]\nnum_samples = 7\nnms_threshold = .5"))
    assert "[roi] num_samples" in note
    assert "config.ini" in note
    (note,) = noted(tmp_path, lambda content: content.update(config="[roi]\nnum_samples = x"))
    assert "cannot be read ([roi] num_samples = x must be an integer)" in note


def test_load_published_unknown_parts_of_the_snapshot_are_reported(tmp_path: Path) -> None:
    (note,) = noted(tmp_path, lambda content: content["state_dict"].update(depth_head={}))
    assert note.startswith("dropped depth_head from the snapshot")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.ini", b"\xff\xfe", "config.ini in MODEL is not UTF-8 text"),
        ("config.ini", b"x", "config.ini in MODEL: it is not an INI file"),
        (
            "config.ini",
            b"[fpn]\ninterpolation = bilinear",
            "config.ini in MODEL: [fpn] interpolation = bilinear",
        ),
        ("metadata.bin", b"\xc1", "MODEL/metadata.bin cannot be read as seamseg metadata"),
        ("seamseg_r50_vistas.tar", b"", "the snapshot MODEL/seamseg_r50_vistas.tar cannot be read"),
    ],
)
def test_load_published_error_names_the_archive_and_the_file(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    files = published_files(tiny_network().state_dict(), VISTAS, metadata(NUM_STUFF, NUM_THINGS))
    path = write_zip(tmp_path / "model.zip", {**files, name: content})
    with pytest.raises(ValueError, match=r"model\.zip") as caught:
        load_published(path)
    assert message.replace("MODEL", str(path)) in str(caught.value)
    assert "\n" not in str(caught.value)


META = {
    "num_stuff": 2,
    "num_thing": 1,
    "categories": ["sky", "road", "car"],
    "palette": [[1, 2, 3], [4, 5, 6], [7, 8, 255]],
    "original_ids": [27, 13, 55],
}


def written(folder: Path, meta: Any) -> Path:
    path = folder / "metadata.bin"
    path.write_bytes(msgpack.packb({"meta": meta, "images": [{"id": "a", "cat": [255, 0], "size": [2, 3]}]}))
    return path


def test_read_metadata_gives_the_categories(tmp_path: Path) -> None:
    categories = read_metadata(written(tmp_path, META))
    assert (categories.num_stuff, categories.num_things) == (2, 1)
    assert categories.classes == (
        Category("sky", False, (1, 2, 3), 27),
        Category("road", False, (4, 5, 6), 13),
        Category("car", True, (7, 8, 255), 55),
    )


@pytest.mark.parametrize(
    "meta",
    [
        {},
        5,
        *({name: value for name, value in META.items() if name != key} for key in META if key != "num_thing"),
        META | {"palette": [[1, 2, 3]]},
        META | {"palette": [[1, 2], [4, 5, 6], [7, 8, 9]]},
        META | {"original_ids": [1, 1, 2]},
        META | {"num_stuff": "many"},
    ],
)
def test_read_metadata_with_other_content_is_refused(tmp_path: Path, meta: Any) -> None:
    with pytest.raises(ValueError, match=r"metadata\.bin cannot be read as seamseg metadata"):
        read_metadata(written(tmp_path, meta))


@pytest.mark.parametrize("content", [b"", b"hello", b"\xc1", b"\x81"])
def test_read_metadata_damaged_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "metadata.bin").write_bytes(content)
    with pytest.raises(ValueError, match=r"metadata\.bin cannot be read as seamseg metadata"):
        read_metadata(tmp_path / "metadata.bin")


def test_read_metadata_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"metadata\.bin cannot be read as seamseg metadata"):
        read_metadata(tmp_path / "metadata.bin")
