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
    """Both factors are views of one tensor, which the exponential keeps too."""

    def forward(self, x: Tensor) -> Tensor:
        y = x.exp()
        return y[: len(y) // 2] * y[len(y) // 2 :]


def test_a_layer_keeps_its_input_which_the_layer_before_has_made() -> None:
    network = nn.Sequential(nn.Linear(10, 20), nn.Sigmoid(), nn.Linear(20, 5))
    assert saved_bytes(network, torch.zeros(7, 10)) == 7 * 20 * 4, "the sigmoid's output, for it and the last layer"


def test_the_input_itself_is_not_counted() -> None:
    x = torch.zeros(7, requires_grad=True)
    assert saved_bytes(Square(), x) == 0
    assert saved_bytes(nn.Sequential(nn.Sigmoid(), Square()), x) == 7 * 4


def test_a_storage_counts_once() -> None:
    assert saved_bytes(Views(), torch.zeros(8, requires_grad=True)) == 8 * 4


def test_batch_norm_and_activation_keep_two_tensors() -> None:
    x = torch.zeros(2, 3, 8, 8)
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.LeakyReLU(0.1, inplace=True))
    moments = 2 * 4 * 4
    assert saved_bytes(network, x) == 2 * (2 * 4 * 8 * 8) * 4 + moments


def test_the_in_place_norm_keeps_one_tensor() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), InPlaceABN(4))
    size = 2 * 4 * 16 * 16 * 4
    assert size <= saved_bytes(network, torch.randn(2, 3, 16, 16)) < 1.05 * size


def test_nothing_else_lives_on_for_the_backward_pass() -> None:
    """What is counted is what a graph holds: no layer keeps a large tensor where the count doesn't see it."""
    network = chain(4, 8)
    x = torch.randn(2, 8, 64, 64)
    network(x)  # caches that stay
    assert held_bytes(lambda: network(x))[-1] < 1.05 * saved_bytes(network, x)


def test_freed_blocks_make_room() -> None:
    def work() -> Tensor:
        first = torch.zeros(2 * MEGA, dtype=torch.uint8)
        del first
        second = torch.zeros(MEGA, dtype=torch.uint8)
        return torch.cat([second, second])

    assert 3 * MEGA <= peak_bytes(work) < 3 * MEGA + 1000


def test_blocks_from_before_do_not_count_when_they_are_freed() -> None:
    old = [torch.zeros(5 * MEGA, dtype=torch.uint8)]

    def work() -> Tensor:
        old.clear()
        return torch.zeros(MEGA, dtype=torch.uint8)

    assert MEGA <= peak_bytes(work) < MEGA + 1000


def test_blocks_that_an_earlier_count_has_seen_are_from_before_too() -> None:
    old: list[Tensor] = []
    assert MEGA <= peak_bytes(lambda: old.append(torch.zeros(MEGA, dtype=torch.uint8))) < MEGA + 1000

    def work() -> Tensor:
        old.clear()
        return torch.zeros(5 * MEGA, dtype=torch.uint8)

    assert 5 * MEGA <= peak_bytes(work) < 5 * MEGA + 1000
    assert held_bytes(lambda: None) == []


def test_nothing_allocated_is_nothing() -> None:
    assert peak_bytes(lambda: None) == 0
