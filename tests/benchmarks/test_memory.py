"""Counts of memory, which tests of the norm rely on."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.abn_networks import chain
from benchmarks.memory import held_bytes, peak_bytes, saved_bytes
from seamseg.modules.abn import InPlaceABN

MEGA = 1_000_000


class Square(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * x


class Views(nn.Module):
    """Product of two views of one tensor, which the exponential keeps, too."""

    def forward(self, x: Tensor) -> Tensor:
        y = x.exp()
        return y[: len(y) // 2] * y[len(y) // 2 :]


def test_saved_bytes_leave_the_input_out() -> None:
    x = torch.zeros(7, requires_grad=True)
    assert saved_bytes(Square(), x) == 0
    assert saved_bytes(nn.Sequential(nn.Sigmoid(), Square()), x) == 7 * 4


def test_saved_bytes_count_a_storage_once() -> None:
    assert saved_bytes(Views(), torch.zeros(8, requires_grad=True)) == 8 * 4


def test_saved_bytes_of_batch_norm_and_activation_are_two_tensors() -> None:
    x = torch.zeros(2, 3, 8, 8)
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.LeakyReLU(0.1, inplace=True))
    moments = 2 * 4 * 4
    assert saved_bytes(network, x) == 2 * (2 * 4 * 8 * 8) * 4 + moments


def test_saved_bytes_of_the_in_place_norm_are_one_tensor() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), InPlaceABN(4))
    size = 2 * 4 * 16 * 16 * 4
    assert size <= saved_bytes(network, torch.randn(2, 3, 16, 16)) < 1.05 * size


def test_held_bytes_after_a_forward_pass_equal_saved_bytes() -> None:
    """No layer keeps a large tensor that the hooks do not see."""
    network = chain(4, 8)
    x = torch.randn(2, 8, 64, 64)
    network(x)  # fills caches
    assert held_bytes(lambda: network(x))[-1] < 1.05 * saved_bytes(network, x)


def test_peak_bytes_leave_freed_blocks_out() -> None:
    def work() -> Tensor:
        first = torch.zeros(2 * MEGA, dtype=torch.uint8)
        del first
        second = torch.zeros(MEGA, dtype=torch.uint8)
        return torch.cat([second, second])

    assert 3 * MEGA <= peak_bytes(work) < 3 * MEGA + 1000


def test_peak_bytes_ignore_blocks_from_before_that_are_freed() -> None:
    old = [torch.zeros(5 * MEGA, dtype=torch.uint8)]

    def work() -> Tensor:
        old.clear()
        return torch.zeros(MEGA, dtype=torch.uint8)

    assert MEGA <= peak_bytes(work) < MEGA + 1000


def test_peak_bytes_ignore_blocks_of_an_earlier_count_that_are_freed() -> None:
    old: list[Tensor] = []
    assert MEGA <= peak_bytes(lambda: old.append(torch.zeros(MEGA, dtype=torch.uint8))) < MEGA + 1000

    def work() -> Tensor:
        old.clear()
        return torch.zeros(5 * MEGA, dtype=torch.uint8)

    assert 5 * MEGA <= peak_bytes(work) < 5 * MEGA + 1000
    assert held_bytes(lambda: None) == []
