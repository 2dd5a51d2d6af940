"""Which format a folder has."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import get_args

import pytest
from support.legacy_folder import write_legacy
from support.tiny_dataset import write_tiny_panoptic
from support.vistas_folder import write_vistas

from seamseg.config.data import DataFormat
from seamseg.data.formats.coco import CocoPanoptic
from seamseg.data.formats.open import FORMATS, choose_format, open_data_set, split_names


def test_the_setting_knows_every_format() -> None:
    assert get_args(DataFormat) == tuple(FORMATS)


def test_each_format_is_recognized(tmp_path: Path) -> None:
    write_tiny_panoptic(tmp_path / "coco")
    write_vistas(tmp_path / "old", older=True)
    write_vistas(tmp_path / "new", versions=["v2.0"])
    write_legacy(tmp_path / "legacy")
    formats = {"coco": "coco", "old": "vistas_v1.2", "new": "vistas_v2.0", "legacy": "seamseg"}
    for folder, name in formats.items():
        assert choose_format(tmp_path / folder) == name
        assert choose_format(tmp_path / folder, wanted=name) == name
        assert choose_format(tmp_path / folder, preferred="coco") == name
    assert isinstance(open_data_set(tmp_path / "coco", "train"), CocoPanoptic)
    assert split_names(tmp_path / "coco", "coco") == ["train"]
    assert split_names(tmp_path / "old", "vistas_v1.2") == ["training", "validation"]
    assert split_names(tmp_path / "old", "vistas_v2.0") == []
    assert split_names(tmp_path / "legacy", "seamseg") == ["train", "val"]


def test_several_formats_in_one_folder(tmp_path: Path) -> None:
    write_vistas(tmp_path, versions=["v1.2", "v2.0"])
    said = refused(tmp_path)
    assert "holds Mapillary Vistas v1.2 and Mapillary Vistas v2.0" in said
    assert said.endswith("say which by data.format=vistas_v1.2 or data.format=vistas_v2.0")
    assert choose_format(tmp_path, "vistas_v2.0") == "vistas_v2.0"
    assert choose_format(tmp_path, preferred="vistas_v1.2") == "vistas_v1.2"
    assert "holds" in refused(tmp_path, preferred="coco")


def test_no_format(tmp_path: Path) -> None:
    said = refused(tmp_path)
    assert "is no data set that is read as it is; looked for COCO panoptic: annotations/panoptic_SPLIT.json; " in said
    assert all(kind.looked_for in said for kind in FORMATS.values())
    (tmp_path / "gtFine").mkdir()
    assert "(it looks like Cityscapes, which `seamseg convert cityscapes` converts)" in refused(tmp_path)
    assert "Cityscapes" in refused(tmp_path, wanted="coco")
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        choose_format(tmp_path / "nowhere")


def test_another_format_than_wanted(tmp_path: Path) -> None:
    write_legacy(tmp_path)
    said = refused(tmp_path, wanted="vistas_v1.2")
    assert "is not Mapillary Vistas v1.2 (data.format=vistas_v1.2): looked for config_v1.2.json with " in said
    assert said.endswith("; it looks like seamseg of 2019, data.format=seamseg")
    assert "there is no format 'voc'; known are coco, " in refused(tmp_path, wanted="voc")


@pytest.mark.parametrize("missing", ["config_v1.2.json", "training/v1.2", "training/images"])
def test_half_a_data_set_is_none(missing: str, tmp_path: Path) -> None:
    write_vistas(tmp_path, splits=["training"])
    path = tmp_path / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert "is no data set" in refused(tmp_path)


def refused(root: Path, wanted: str | None = None, preferred: str | None = None) -> str:
    with pytest.raises(ValueError, match=r".") as caught:
        choose_format(root, wanted, preferred)
    assert "\n" not in str(caught.value)
    return str(caught.value)
