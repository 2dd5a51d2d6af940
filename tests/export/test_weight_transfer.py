"""Weights move between networks of other tasks and class lists; output layers are matched by class name."""

from __future__ import annotations

import pytest
import torch
from support.tiny_experiment import narrow_body, tiny_experiment
from support.tiny_network import scenes
from torch import Tensor

from seamseg.builders import build_initialized_network
from seamseg.errors import ModelError
from seamseg.export.weight_transfer import (
    TransferredWeights,
    all_rows,
    matching_classes,
    split_parts,
    transfer_weights,
    untouched_modules,
)
from seamseg.modules.abn import ABN
from seamseg.networks import SegmentationNet
from seamseg.structures import Categories, Category


def categories(stuff: str, things: str) -> Categories:
    """Make categories from names separated by blanks."""
    names = [(name, name in things.split()) for name in (*stuff.split(), *things.split())]
    return Categories(tuple(Category(name, flag, (0, 0, 0), index) for index, (name, flag) in enumerate(names)))


OLD = categories("sky road grass", "car person bus")
NEW = categories("road sky water", "tram bus car")  # permuted, missing (grass, person) and added (water, tram)


def network_of(classes: Categories, seed: int, *overrides: str) -> SegmentationNet:
    """Build a network all of whose tensors are random, with weights of norms of both signs."""
    with narrow_body():
        network = build_initialized_network(tiny_experiment(None, f"training.seed={seed}", *overrides), classes)
    generator = torch.Generator().manual_seed(seed)
    for tensor in network.state_dict().values():
        if tensor.ndim == 1:
            tensor.copy_(torch.randn(tensor.shape, generator=generator) + 0.1).abs_()
        elif tensor.ndim == 0:
            tensor.fill_(seed)
    for norm in network.modules():
        if isinstance(norm, ABN) and norm.weight is not None:
            norm.weight.data[::2] *= -1
    return network


def state_of(network: SegmentationNet) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def moved(
    old: SegmentationNet,
    new: SegmentationNet,
    old_classes: Categories = OLD,
    new_classes: Categories = NEW,
    end: str = "",
) -> tuple[TransferredWeights, dict[str, Tensor], dict[str, Tensor]]:
    """Transfer weights; return the report and the state of the new network before and after."""
    before = state_of(new)
    report = transfer_weights(new, new_classes, old, old_classes, f"run{end}")
    return report, before, state_of(new)


def things(classes: Categories) -> list[str]:
    return [one.name for one in classes.classes if one.is_thing]


def rows_by_class(state: dict[str, Tensor], classes: Categories, kind: str) -> dict[str, Tensor]:
    """Return the values of each output layer that belong to a class, by layer and class."""
    found = {f"sem {name}": state[f"sem_head.conv_sem.{kind}"][index] for index, name in enumerate(classes.names)}
    found["cls background"] = state[f"roi_head.roi_cls.{kind}"][0]
    for index, name in enumerate(things(classes)):
        found[f"cls {name}"] = state[f"roi_head.roi_cls.{kind}"][1 + index]
        found[f"bbx {name}"] = state[f"roi_head.roi_bbx.{kind}"].unflatten(0, (-1, 4))[index]
        found[f"msk {name}"] = state[f"roi_head.roi_msk.{kind}"][index]
        if f"roi_head.point.roi_pnt.{kind}" in state:
            found[f"pnt {name}"] = state[f"roi_head.point.roi_pnt.{kind}"][index]
        if f"roi_head.roi_iou.{kind}" in state:
            found[f"iou {name}"] = state[f"roi_head.roi_iou.{kind}"][index]
    return found


@pytest.mark.parametrize("kind", ["weight", "bias"])
def test_transfer_output_layers_are_matched_by_class_name(kind: str) -> None:
    branches = "roi.mask_scoring=true", "roi.mask_head=pointrend"
    old, new = (network_of(classes, seed, *branches) for classes, seed in ((OLD, 1), (NEW, 2)))
    _, before, after = moved(old, new)
    theirs, initial, ours = (
        rows_by_class(state, classes, kind) for state, classes in ((state_of(old), OLD), (before, NEW), (after, NEW))
    )
    assert {name for name in ours if torch.equal(ours[name], theirs.get(name, torch.tensor(0)))} == {
        *("sem sky", "sem road", "sem bus", "sem car", "cls background"),
        *(f"{layer} {name}" for layer in ("cls", "bbx", "msk", "pnt", "iou") for name in ("bus", "car")),
    }
    assert {name for name in ours if torch.equal(ours[name], initial[name])} == {
        *("sem water", "sem tram", "cls tram", "bbx tram", "msk tram", "pnt tram", "iou tram")
    }


CASCADE = "roi.cascade=[0.5,0.6,0.7]"


@pytest.mark.parametrize("kind", ["weight", "bias"])
def test_transfer_of_a_cascade_matches_the_classes_of_every_stage_and_copies_its_boxes(kind: str) -> None:
    old, new = (network_of(classes, seed, CASCADE) for classes, seed in ((OLD, 1), (NEW, 2)))
    report, before, after = moved(old, new)
    theirs = state_of(old)
    for stage in ("", "stages.2.", "stages.3."):
        name = f"roi_head.{stage}roi_cls.{kind}"
        assert torch.equal(after[name][[0, 2, 3]], theirs[name][[0, 3, 1]])  # background, bus and car
        assert torch.equal(after[name][1], before[name][1])  # tram
        name = f"roi_head.{stage}roi_bbx_any.{kind}"
        assert torch.equal(after[name], theirs[name])
    assert not report.other_shape


def test_transfer_from_one_stage_to_a_cascade_uses_the_layers_of_the_first_stage() -> None:
    report, before, after = moved(network_of(OLD, 1), network_of(OLD, 2, CASCADE), new_classes=OLD)
    changed = {name for name in after if name.startswith("roi_head.") and not torch.equal(before[name], after[name])}
    assert {".".join(name.split(".")[:2]) for name in changed} == {
        f"roi_head.{layer}" for layer in ("fc", "roi_cls", "conv", "roi_msk")
    }
    assert list(report.not_here) == ["roi_head.roi_bbx"]


def test_transfer_all_other_tensors_are_copied() -> None:
    old, new = network_of(OLD, 1), network_of(NEW, 2)
    report, _, after = moved(old, new)
    expected = state_of(old)
    layers = ("sem_head.conv_sem.", "roi_head.roi_")
    assert all(torch.equal(after[name], expected[name]) for name in after if not name.startswith(layers))
    assert set(report.rows) == set(after)


def test_transfer_permuted_classes_predict_permuted_logits() -> None:
    permuted = categories("grass sky road", "bus car person")
    old, new = network_of(OLD, 1).eval(), network_of(permuted, 2).eval()
    moved(old, new, new_classes=permuted)
    images, _ = scenes(["objects"], [(64, 96)])
    ours, theirs = (network.predict(images).semantics(0).logits for network in (new, old))
    # Convolutions of several classes at once may round differently in another order.
    expected = theirs[[OLD.names.index(name) for name in permuted.names]]
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-3)


def test_transfer_class_that_is_stuff_in_one_network_is_matched_in_the_semantic_layer_only() -> None:
    other = categories("sky car", "grass person")
    old, new = network_of(OLD, 1), network_of(other, 2)
    report, before, after = moved(old, new, new_classes=other)
    theirs, initial, ours = (
        rows_by_class(state, classes, "weight")
        for state, classes in ((state_of(old), OLD), (before, other), (after, other))
    )
    for name in ("car", "grass"):
        assert torch.equal(ours[f"sem {name}"], theirs[f"sem {name}"])
    for layer in ("cls", "bbx", "msk"):
        assert torch.equal(ours[f"{layer} grass"], initial[f"{layer} grass"])
        assert torch.equal(ours[f"{layer} person"], theirs[f"{layer} person"])
    assert report.only_semantic == ["car", "grass"]


def test_transfer_without_a_common_thing_leaves_the_region_outputs_as_they_are() -> None:
    other = categories("sky", "dog cat")
    report, before, after = moved(network_of(OLD, 1), network_of(other, 2), new_classes=other)
    for layer in ("roi_cls", "roi_bbx", "roi_msk"):
        assert torch.equal(before[f"roi_head.{layer}.weight"], after[f"roi_head.{layer}.weight"])
    assert set(report.other_classes) == {"roi_head.roi_cls", "roi_head.roi_bbx", "roi_head.roi_msk"}


def test_matching_classes_ignores_case_unless_it_distinguishes_classes() -> None:
    assert matching_classes(categories("Sky", "Car"), categories("road sky", "car")) == [(0, 1), (1, 2)]
    assert matching_classes(categories("Sky", "car Car"), categories("sky", "Car")) == [(2, 1)]


def test_transfer_from_panoptic_to_semantic_uses_body_and_semantic_head() -> None:
    old, new = network_of(OLD, 1), network_of(NEW, 2, "task=semantic")
    report, _, after = moved(old, new)
    expected = state_of(old)
    assert all(torch.equal(after[name], expected[name]) for name in after if not name.startswith("sem_head.conv_sem."))
    assert set(report.not_here) == {"rpn_head", "roi_head"}
    assert untouched_modules(all_rows(new), [report.rows]) == ["sem_head.conv_sem"]  # tram and water are new


def test_transfer_from_semantic_to_panoptic_leaves_the_detection_heads_random() -> None:
    old, new = network_of(OLD, 1, "task=semantic"), network_of(OLD, 2)
    report, before, after = moved(old, new, new_classes=OLD)
    assert all(torch.equal(after[name], tensor) for name, tensor in state_of(old).items())
    heads = ("rpn_head.", "roi_head.")
    assert all(torch.equal(after[name], before[name]) for name in after if name.startswith(heads))
    assert untouched_modules(all_rows(new), [report.rows]) == ["rpn_head", "roi_head"]


@pytest.mark.parametrize("forward", [True, False])
def test_transfer_backbone_moves_between_networks_with_and_without_pyramid(forward: bool) -> None:
    deep = ["task=semantic", "sem.head=deeplab"]
    old, new = network_of(OLD, 1, *(deep if forward else [])), network_of(OLD, 2, *([] if forward else deep))
    _, _, after = moved(old, new, new_classes=OLD)
    names = ("body.mod2.block1.convs.conv1.weight", "body.backbone.mod2.block1.convs.conv1.weight")
    theirs, ours = names if forward else names[::-1]
    assert torch.equal(after[ours], state_of(old)[theirs])


def test_transfer_of_parts_changes_nothing_else() -> None:
    report, before, after = moved(network_of(OLD, 1), network_of(OLD, 2), new_classes=OLD, end=":rpn_head,body.fpn")
    changed = {name for name in after if not torch.equal(before[name], after[name])}
    assert changed == {name for name in after if name.startswith(("rpn_head.", "body.fpn."))} == set(report.rows)


def test_transfer_unknown_part_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ModelError, match=r"heads .*body, rpn_head, roi_head, sem_head.*body, sem_head$"):
        moved(network_of(OLD, 1, "task=semantic"), network_of(NEW, 2), end=":body,heads")


@pytest.mark.parametrize(
    ("old_norm", "new_norm"),
    [
        ("{name: bn, scale: abs}", "{name: bn, scale: signed}"),
        ("{name: bn, scale: signed}", "{name: plain}"),
        ("{name: plain}", "{name: syncbn, scale: signed}"),
        ("{name: syncbn, scale: abs}", "{name: affine}"),
        ("{name: brn, scale: abs}", "{name: bn, scale: abs}"),
    ],
)
def test_transfer_norms_scale_as_in_the_model(old_norm: str, new_norm: str) -> None:
    old, new = network_of(OLD, 1, f"norm={old_norm}"), network_of(NEW, 2, f"norm={new_norm}")
    moved(old, new)
    theirs = dict(old.named_modules())
    norms = {name: norm for name, norm in new.named_modules() if isinstance(norm, ABN)}
    assert len(norms) > 20
    for name, norm in norms.items():
        other = theirs[name]
        assert isinstance(other, ABN)
        assert torch.allclose(norm.gamma(), other.gamma(), rtol=1e-5, atol=2e-5), name
        assert torch.equal(norm.running_var, other.running_var)


@pytest.mark.parametrize(
    ("norms", "named"),
    [
        ("{name: bn} to {name: gn, groups: 4}", "norm.name=gn"),
        ("{name: mabn} to {name: bn}", "norm.name=mabn|centered"),
        ("{name: mabn, mabn: {window: 4}} to {name: mabn}", "16 iterations"),
        ("{name: gn, groups: 8} to {name: gn, groups: 4}", "4 groups"),
        ("{name: gn, groups: 8, standardize_weights: true} to {name: gn, groups: 8}", "standardized"),
    ],
)
def test_transfer_norms_of_another_kind_are_refused(norms: str, named: str) -> None:
    old_norm, new_norm = norms.split(" to ")
    old, new = network_of(OLD, 1, f"norm={old_norm}"), network_of(NEW, 2, f"norm={new_norm}")
    before = state_of(new)
    with pytest.raises(ModelError, match=named):
        moved(old, new)
    assert all(torch.equal(tensor, before[name]) for name, tensor in new.state_dict().items())


def test_transfer_another_kind_of_norm_in_parts_that_are_not_used_is_accepted() -> None:
    old, new = network_of(OLD, 1), network_of(NEW, 2, "norm.heads=gn")
    report, _, _ = moved(old, new, end=":body,sem_head")
    assert report.rows


def test_transfer_without_a_fitting_tensor_is_refused() -> None:
    with pytest.raises(ModelError, match=r"run:roi_head.*not in this network"):
        moved(network_of(OLD, 1), network_of(NEW, 2, "task=semantic"), end=":roi_head")
    with pytest.raises(ModelError, match=r"run:rpn_head\.conv1.*another shape"):
        moved(network_of(OLD, 1), network_of(NEW, 2, "rpn.channels=24"), end=":rpn_head.conv1")


def test_report_names_classes_and_what_was_left_out() -> None:
    old, new = network_of(OLD, 1), network_of(NEW, 2, "roi.fc_channels=24")
    report, before, after = moved(old, new)
    text = str(report)
    for fact in ("init_from=run", "4 matched by name (road, sky, bus, car)", "2 not in the model (water, tram)"):
        assert fact in text
    assert "left out: 3 with another shape (roi_head.fc, roi_head.roi_cls, roi_head.roi_bbx)" in text
    assert len(text.splitlines()) <= 5
    assert torch.equal(before["roi_head.roi_cls.weight"], after["roi_head.roi_cls.weight"])


def test_split_parts_existing_path_with_a_colon_is_a_model(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.mktemp("models")
    (folder / "run:2").mkdir()
    monkeypatch.chdir(folder)
    assert split_parts("run:2") == ("run:2", ())
    assert split_parts("run:2:body,sem_head.output") == ("run:2", ("body", "sem_head.output"))
    assert split_parts("runs/a") == ("runs/a", ())
