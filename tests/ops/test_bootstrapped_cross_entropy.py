"""Cross-entropy of the hardest pixels, against the complete upsampled logits in double precision."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from oracles.bootstrapped_cross_entropy import bootstrapped_cross_entropy as oracle
from support.cross_entropy_cases import (
    CASES,
    EMPHASES,
    VOID,
    Case,
    Emphasis,
    check_case,
    check_large_logits,
    class_weights,
    random_case,
    values_and_gradient,
)
from torch import Tensor

from benchmarks.memory import peak_bytes
from seamseg.ops import bootstrapped_cross_entropy as module
from seamseg.ops.bootstrapped_cross_entropy import bootstrapped_cross_entropy


@pytest.fixture(params=["kernels", "strips"])
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Run the native kernels, and what runs on other devices, in strips of few rows."""
    if request.param == "strips":
        monkeypatch.setattr(module, "_has_kernels", lambda logits: False)
        monkeypatch.setattr(module, "STRIP_SCORES", 300)
    return request.param


@pytest.mark.parametrize("fraction", [0.25, 1.0, 1e-9])
@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_losses_and_gradients_equal_the_complete_upsampled_logits(form: str, case: Case, fraction: float) -> None:
    for dtype in (torch.float32, torch.bfloat16, torch.float16, torch.float64):
        check_case(case, fraction, dtype)


@pytest.mark.parametrize("emphasis", EMPHASES.values(), ids=list(EMPHASES))
@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_weighted_and_focal_losses_equal_the_complete_upsampled_logits(
    form: str, case: Case, emphasis: Emphasis
) -> None:
    for dtype, fraction in ((torch.float32, 0.25), (torch.bfloat16, 1.0), (torch.float64, 0.5)):
        check_case(case, fraction, dtype, emphasis)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_focal_loss_of_certain_pixels_is_zero_without_gradient(form: str, gamma: float) -> None:
    logits, target = torch.tensor([200.0, 0.0]).view(1, 2, 1, 1), torch.zeros(4, 4, dtype=torch.int64)
    loss, gradient = values_and_gradient(bootstrapped_cross_entropy, logits, [target], (4, 4), 1.0, None, gamma)
    assert loss.tolist() == [0]
    assert not gradient.any()
    loss, gradient = values_and_gradient(bootstrapped_cross_entropy, logits, [1 - target], (4, 4), 1.0, None, gamma)
    assert loss.tolist() == [200]
    assert gradient.flatten().tolist() == pytest.approx([1, -1])


def test_weights_of_one_equal_no_weights_bit_for_bit(form: str) -> None:
    logits, targets = random_case(21, (9, 17), [(36, 68), (30, 61)])
    plain, weighted = (
        values_and_gradient(bootstrapped_cross_entropy, logits, targets, (36, 68), 0.25, weights)
        for weights in (None, torch.ones(21))
    )
    assert torch.equal(plain[0], weighted[0])
    assert torch.equal(plain[1], weighted[1])


def test_class_weights_decide_which_pixels_are_the_hardest(form: str) -> None:
    target = torch.tensor([[0, 0, 1, VOID]])
    logits = torch.zeros(1, 2, 1, 4)
    weights = torch.tensor([1.0, 3.0])
    loss, gradient = values_and_gradient(bootstrapped_cross_entropy, logits, [target], (1, 4), 0.25, weights)
    assert float(loss) == pytest.approx(3 * math.log(2))
    torch.testing.assert_close(gradient[0, :, 0], torch.tensor([[0, 0, 1.5, 0], [0, 0, -1.5, 0]]))


def test_wrong_number_of_class_weights_is_refused() -> None:
    logits, targets = random_case(3, (3, 4), [(9, 7)])
    with pytest.raises(ValueError, match="3 classes"):
        bootstrapped_cross_entropy(logits, targets, (9, 12), 0.5, torch.ones(4))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_gradient_with_class_weights_is_that_of_finite_differences(gamma: float) -> None:
    logits, targets = random_case(3, (3, 4), [(9, 7)], torch.float64)

    def losses(z: Tensor) -> Tensor:
        return bootstrapped_cross_entropy(z, targets, (10, 13), 1.0, torch.tensor([0.5, 2.0, 1.0]), gamma)

    assert torch.autograd.gradcheck(losses, logits.requires_grad_())


def test_gradient_of_strips_is_that_of_finite_differences() -> None:
    logits, targets = random_case(3, (3, 4), [(9, 7), (10, 12)], torch.float64)
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda z: bootstrapped_cross_entropy(z, targets, (10, 13), 0.3), logits)


def test_second_derivative_is_refused(form: str) -> None:
    logits, targets = random_case(3, (3, 4), [(9, 7)])
    loss = bootstrapped_cross_entropy(logits.requires_grad_(), targets, (9, 12), 0.5)
    with pytest.raises(NotImplementedError, match="second derivative"):
        torch.autograd.grad(loss.sum(), logits, create_graph=True)


def test_ties_at_the_limit_fill_the_number_of_hardest_pixels(form: str) -> None:
    logits, target = torch.zeros(1, 4, 3, 5), torch.zeros(12, 20, dtype=torch.int64)
    target[:, :7] = VOID
    for num in (1, 100, 156, 240):
        loss, gradient = values_and_gradient(bootstrapped_cross_entropy, logits, [target], (12, 20), num / 240)
        assert float(loss) == pytest.approx(math.log(4) * min(num, 156) / num)
        # Each chosen pixel adds -3/4 to its class and 1/4 to the others.
        expected = torch.tensor([-3.0, 1, 1, 1]) / 4 * min(num, 156) / num
        torch.testing.assert_close(gradient.sum((0, 2, 3)), expected)


def test_image_of_void_has_loss_zero_and_no_gradient(form: str) -> None:
    logits, _ = random_case(5, (3, 4), [(9, 7)])
    loss, gradient = values_and_gradient(bootstrapped_cross_entropy, logits, [torch.full((9, 7), VOID)], (12, 16), 0.25)
    assert loss.tolist() == [0]
    assert not gradient.any()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_logits_that_are_not_finite_make_only_losses_near_them_not_finite(form: str, value: float) -> None:
    logits, targets = random_case(3, (4, 5), [(16, 20), (16, 20)])
    targets[1].fill_(1)
    logits[1, 1, 2, 3] = value
    loss, gradient = values_and_gradient(bootstrapped_cross_entropy, logits, targets, (16, 20), 0.25)
    expected, _ = values_and_gradient(oracle, logits, targets, (16, 20), 0.25)
    assert float(loss[0]) == pytest.approx(float(expected[0]))
    assert not loss[1].isfinite()
    assert value == -math.inf or not gradient[1].isfinite().all()
    assert gradient[0].isfinite().all()
    targets[1].fill_(VOID)
    loss, gradient = values_and_gradient(bootstrapped_cross_entropy, logits, targets, (16, 20), 0.25)
    assert loss[1] == 0
    assert not gradient[1].any()


def test_scores_of_minus_infinity_for_other_classes_are_impossible_classes() -> None:
    logits, targets = random_case(4, (3, 4), [(12, 16)])
    targets[0].clamp_(max=2)
    expected = values_and_gradient(bootstrapped_cross_entropy, logits[:, :3], targets, (12, 16), 0.5)
    logits[:, 3] = -math.inf
    loss, gradient = values_and_gradient(bootstrapped_cross_entropy, logits, targets, (12, 16), 0.5)
    torch.testing.assert_close(loss, expected[0])
    torch.testing.assert_close(gradient[:, :3], expected[1])
    assert not gradient[:, 3].any()


@pytest.mark.parametrize("spread", [30, 1e3, 1e5, 1e20])
def test_large_logits_equal_the_complete_upsampled_logits(form: str, spread: float) -> None:
    check_large_logits(spread)


@pytest.mark.parametrize("wrong", [5, 254, 256, -1, 2**32])
def test_class_without_logits_is_refused(form: str, wrong: int) -> None:
    logits, targets = random_case(5, (3, 4), [(9, 37)])
    targets[0][4, 29] = wrong
    with pytest.raises((ValueError, RuntimeError), match=str(wrong)):
        bootstrapped_cross_entropy(logits, targets, (9, 37), 0.25)


def test_channels_last_logits_equal_contiguous_ones(form: str) -> None:
    logits, targets = random_case(5, (4, 6), [(15, 21), (16, 24)])
    expected = values_and_gradient(bootstrapped_cross_entropy, logits, targets, (16, 24), 0.25)
    strided = logits.to(memory_format=torch.channels_last)
    found = values_and_gradient(bootstrapped_cross_entropy, strided, targets, (16, 24), 0.25)
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


def test_autocast_changes_nothing(form: str) -> None:
    logits, targets = random_case(5, (4, 6), [(16, 24)])
    expected = values_and_gradient(bootstrapped_cross_entropy, logits, targets, (16, 24), 0.25)
    with torch.autocast("cpu", torch.bfloat16):
        found = values_and_gradient(bootstrapped_cross_entropy, logits, targets, (16, 24), 0.25)
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


def test_upsampled_logits_never_exist(form: str) -> None:
    logits, targets = random_case(64, (16, 16), [(128, 128), (128, 128)])
    logits.requires_grad_()

    def step() -> None:
        bootstrapped_cross_entropy(logits, iter(targets), (128, 128), 0.25).sum().backward()
        logits.grad = None

    step()  # loads the library
    complete = 4 * 64 * 128 * 128
    assert peak_bytes(step) < 0.25 * complete


@pytest.mark.parametrize("threads", [2, 3, 5])
def test_several_threads_equal_one_thread(threads: int) -> None:
    logits, targets = random_case(21, (40, 33), [(310, 250)])
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        expected = values_and_gradient(bootstrapped_cross_entropy, logits, targets, (320, 264), 0.25)
        torch.set_num_threads(threads)
        found = values_and_gradient(bootstrapped_cross_entropy, logits, targets, (320, 264), 0.25)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


@pytest.mark.parametrize("emphasis", [(), (class_weights(5), 2.0)], ids=["plain", "weights"])
def test_compiled_step_is_one_graph(emphasis: tuple[Tensor, float] | tuple[()]) -> None:
    logits, targets = random_case(5, (4, 6), [(15, 21), (16, 24)])

    def losses(z: Tensor) -> Tensor:
        return bootstrapped_cross_entropy(2 * z, targets, (16, 24), 0.25, *emphasis)

    compiled = torch.compile(losses, backend="eager", fullgraph=True)
    for found, expected in zip(values_and_gradient(compiled, logits), values_and_gradient(losses, logits), strict=True):
        torch.testing.assert_close(found, expected)


def test_operators_pass_opcheck() -> None:
    logits, (target,) = random_case(5, (4, 6), [(15, 21)])
    operators = torch.ops.seamseg
    steps = (0.25, 0.25)
    losses, log_sums = module._pixel_losses(logits[0], target, (16, 24))
    torch.library.opcheck(operators.upsampled_cross_entropy.default, (logits[0], target, *steps))
    _, classes = module._choose_hardest(losses, target, 10)
    torch.library.opcheck(operators.hardest_pixels.default, (losses, target, 10))
    module._gradient(logits[0], module._Chosen(log_sums, classes, torch.tensor(0.1)), (16, 24))
    for factors in (None, torch.rand(15, 21)):
        arguments = (logits[0], classes, log_sums, torch.tensor(0.1), factors, *steps)
        torch.library.opcheck(operators.upsampled_cross_entropy_gradient.default, arguments)
    with pytest.raises((ValueError, RuntimeError), match="factors must be float32"):
        operators.upsampled_cross_entropy_gradient(*arguments[:4], torch.rand(15, 20), *steps)


@pytest.mark.parametrize("seed", range(3))
def test_hardest_pixels_are_those_of_topk(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    losses = torch.randint(-5, 20, (13, 17), generator=generator) * (1 + seed / 3)
    if seed == 2:
        losses[3, 4], losses[5, 6] = math.nan, math.inf
    target = torch.arange(13 * 17).reshape(13, 17)
    for num in (1, 2, 3, 100, 13 * 17):
        mean, classes = module._choose_hardest(losses, target, num)
        expected = losses.flatten().topk(num).values
        torch.testing.assert_close(mean, expected.mean(), equal_nan=True)
        chosen = losses[classes != VOID]
        assert torch.equal(chosen.sort(descending=True).values.nan_to_num(9e9), expected.nan_to_num(9e9))
        assert torch.equal(classes[classes != VOID].long(), target[classes != VOID])
