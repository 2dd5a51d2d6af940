"""EvalNorm: mixed statistics, and the conversion of trained networks."""

from __future__ import annotations

import copy

import pytest
import torch
from oracles.norm import activate, gamma, stir
from support.tiny_network import scenes, tiny_network
from torch import Tensor, nn

from seamseg.errors import SettingsError
from seamseg.modules.abn import InPlaceABN, InPlaceABNSync
from seamseg.modules.eval_norm import EvalNorm, eval_norms
from seamseg.modules.folding import fold_norms
from seamseg.modules.norm import AffineAct


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("shape", [(3, 4, 2, 5), (3, 4, 6), (3, 4)])
@pytest.mark.parametrize("has_residual", [False, True])
def test_eval_norm_normalizes_each_image_by_the_moments_of_a_batch_that_contains_it(
    shape: tuple[int, ...], has_residual: bool
) -> None:
    """The batch of the oracle: the image once, and two samples that have the running statistics twice."""
    norm = InPlaceABN(4, "elu", 0.7).double().eval()
    stir(norm)
    x, residual = random(*shape), random(*shape, seed=1)
    before = x.clone()
    found = EvalNorm(norm, 1 / 3)(x, *[residual] * has_residual)
    assert torch.equal(x, before)
    for image in range(shape[0]):
        for channel in range(4):
            own = x[image, channel].reshape(-1)
            mean, root = norm.running_mean[channel], norm.running_var[channel].sqrt()
            typical = torch.stack([mean - root, mean + root]).repeat(own.numel())
            mixed = torch.cat([own, typical])
            y = (own - mixed.mean()) / (mixed.var(correction=0) + 1e-5).sqrt()
            y = gamma(norm.weight, "abs")[channel] * y + norm.bias[channel]
            y = y + residual[image, channel].reshape(-1) if has_residual else y
            torch.testing.assert_close(found[image, channel].reshape(-1), activate(y, "elu", 0.7))


def test_eval_norm_of_share_zero_equals_the_norm_and_of_one_ignores_its_statistics() -> None:
    norm = InPlaceABN(4).double().eval()
    stir(norm)
    x = random(2, 4, 3, 3)
    torch.testing.assert_close(EvalNorm(norm, 0.0)(x), norm(x.clone()))
    expected = EvalNorm(norm, 1.0)(x)
    norm.reset_running_stats()
    torch.testing.assert_close(EvalNorm(norm, 1.0)(x), expected)


def test_eval_norm_keeps_half_types_and_takes_no_rows() -> None:
    norm = EvalNorm(InPlaceABN(4).eval(), 0.5)
    x = random(2, 4, 3, 3)
    assert norm(x.bfloat16()).dtype == torch.bfloat16
    torch.testing.assert_close(norm(x.bfloat16()).double(), norm(x.bfloat16().float()).double(), rtol=1e-2, atol=1e-2)
    assert norm(torch.zeros(0, 4, 3, 3)).shape == (0, 4, 3, 3)


def test_eval_norms_converts_a_copy_of_a_panoptic_network_except_its_roi_head() -> None:
    network = tiny_network()
    stir(network)
    before = copy.deepcopy(network.state_dict())
    converted = eval_norms(network, 0.5)
    assert not converted.training
    kinds = {name.partition(".")[0]: set[type]() for name, _ in network.named_children()}
    for name, module in converted.named_modules():
        if isinstance(module, (EvalNorm, InPlaceABN)) and not name.endswith(".norm"):
            kinds[name.partition(".")[0]].add(type(module))
    assert kinds["body"] == kinds["rpn_head"] == kinds["sem_head"] == {EvalNorm}
    assert kinds["roi_head"] == {InPlaceABN}
    images, _ = scenes(["objects"], [(64, 96)])
    logits = [one.predict(images).semantic_logits for one in (network.eval(), eval_norms(network, 0.0), converted)]
    torch.testing.assert_close(logits[0], logits[1], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(logits[0], logits[2], rtol=1e-2, atol=1e-2)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_eval_norms_leaves_frozen_norms_and_stays_when_folded() -> None:
    frozen = InPlaceABN(4)
    frozen.freeze()
    conv = nn.Conv2d(4, 4, 1)
    network = nn.Sequential(conv, InPlaceABNSync(4), conv, frozen, conv, AffineAct(4)).double()
    stir(network)
    converted = eval_norms(network, 0.25)
    assert [type(layer) for layer in converted][1::2] == [EvalNorm, InPlaceABN, AffineAct]
    folded = fold_norms(converted)
    x = random(2, 4, 3, 3)
    torch.testing.assert_close(folded(x), converted(x))
    assert isinstance(folded.get_submodule("1"), EvalNorm)


def test_eval_norm_with_share_one_half_removes_the_difference_between_training_and_evaluation() -> None:
    """In batches of two images of different brightness, the expected batch of an image is closer than the average."""
    norm = InPlaceABN(1, "identity", momentum=None).double()
    images = [random(1, 1, 8, 8, seed=seed) + 3 * float(random(1, seed=100 + seed)) for seed in range(200)]
    trained = torch.cat([norm(torch.cat(images[i : i + 2])) for i in range(0, 200, 2)]).detach()
    norm.eval()
    errors = [
        float((torch.cat([EvalNorm(norm, share)(image).detach() for image in images]) - trained).square().mean())
        for share in (0.0, 0.5, 1.0)
    ]
    assert errors[1] < 0.6 * min(errors[0], errors[2])


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_eval_norms_with_a_share_out_of_range_is_refused(share: float) -> None:
    with pytest.raises(SettingsError, match=r"0 … 1"):
        eval_norms(nn.Sequential(InPlaceABN(4)), share)


@pytest.mark.parametrize("name", ["gn", "affine", "mabn", "brn"])
def test_eval_norms_of_a_network_without_batch_norms_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match=r"norm\.name=bn, syncbn or plain"):
        eval_norms(tiny_network(name), 0.5)  # type: ignore[arg-type]
