"""Loss terms by hand, and errors that name the tensor, its shape and what it held."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from aam.config import LossConfig
from aam.corpus.dataset import Batch
from aam.errors import NonFiniteError
from aam.models.pretrain_model import PretrainOutput
from aam.training.losses import (
    TargetScale,
    _format_tensor_stats,
    above_diagonal,
    membership_loss,
    nucleotide_loss,
    pair_loss,
    pretrain_losses,
    refuse_non_finite,
    scaled_mse,
)

NAN, INF = math.nan, math.inf


def test_statistics_of_a_tensor_under_the_name_that_stays():
    assert _format_tensor_stats(torch.tensor([1, 5, 3])) == "min=1, max=5 (integer tensor)"
    assert _format_tensor_stats(torch.tensor([1.0, 2.5, -0.5])) == "min=-0.500000, max=2.500000, mean=1.000000"


@pytest.mark.parametrize(
    ("value", "kind", "rest"), [(NAN, "NaN", "1 NaN and 0 Inf of 27180"), (INF, "Inf", "0 NaN and 1 Inf of 27180")]
)
def test_non_finite_nucleotides_are_named_with_shape_and_statistics(value: float, kind: str, rest: str):
    nuc_pred = torch.zeros(6, 5, 151, 6)
    nuc_pred[3, 2, 17, 1] = value
    with pytest.raises(ValueError, match=f"{kind} values found") as caught:
        nucleotide_loss(nuc_pred, torch.ones(6, 5, 151, dtype=torch.int64))
    assert isinstance(caught.value, NonFiniteError)
    assert str(caught.value) == (
        f"{kind} values found in nuc_pred with shape torch.Size([6, 5, 151, 6]): "
        f"min=0.000000, max=0.000000, mean=0.000000 over finite values, {rest}"
    )


@pytest.mark.parametrize(("pred", "true"), [(NAN, 0.0), (0.0, NAN), (-INF, 0.0), (0.0, INF)])
def test_non_finite_regressions_name_the_side(pred: float, true: float):
    sides = torch.zeros(2, 2), torch.zeros(2, 2)
    sides[0][0, 1], sides[1][0, 1] = pred, true
    kind, side = ("NaN" if math.isnan(pred + true) else "Inf"), ("pred" if true == 0.0 else "true")
    for name, loss in (("unifrac", pair_loss), ("faith_pd", scaled_mse)):
        with pytest.raises(NonFiniteError, match=rf"^{kind} values found in {name}_{side} with shape torch.Size"):
            loss(name, *sides, 1.0)


def test_mis_shaped_pairs_name_both_shapes_and_what_they_hold():
    with pytest.raises(ValueError, match="unifrac_pred has shape") as caught:
        pair_loss("unifrac", torch.ones(2, 2), torch.zeros(3, 3), 1.0)
    assert str(caught.value) == (
        "unifrac_pred has shape (2, 2) but unifrac_true has (3, 3): "
        "min=1.000000, max=1.000000, mean=1.000000 against min=0.000000, max=0.000000, mean=0.000000"
    )
    with pytest.raises(ValueError, match=r"nuc_pred has shape \(4, 6\) but nuc_true has \(3,\): .*\(integer tensor\)"):
        nucleotide_loss(torch.zeros(4, 6), torch.zeros(3, dtype=torch.int64))
    index, flags = torch.zeros(3, 4, dtype=torch.int64), torch.zeros(3, 4, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"membership_pred has shape \(2, 5\) but membership_true has \(3, 4\)"):
        membership_loss(torch.zeros(2, 5), index, flags, flags)
    with pytest.raises(ValueError, match=r"slot_abundance_pred has shape \(2, 1\) but slot_abundance_true"):
        pretrain_losses(dataclasses.replace(OUTPUT, slot_abundance=torch.zeros(2, 1)), drawn(), LossConfig(), SCALE)


def test_nucleotides_by_hand():
    logits = torch.tensor([[0.0, math.log(3), 0, 0, 0, 0], [0.0, 0, 0, 0, 0, 0]])
    # -log(3 / (3 + 5)) and -log(1 / 6), their mean
    wanted = (math.log(8 / 3) + math.log(6)) / 2
    assert nucleotide_loss(logits, torch.tensor([1, 4])).item() == pytest.approx(wanted)
    # rows of the dense view count the same
    dense = nucleotide_loss(logits.view(1, 2, 6), torch.tensor([[1, 4]]))
    assert dense.item() == pytest.approx(wanted)


def test_nothing_masked_costs_nothing():
    logits = torch.zeros(0, 6, requires_grad=True)
    loss = nucleotide_loss(logits, torch.zeros(0, dtype=torch.int64))
    loss.backward()
    assert loss.item() == 0.0 and logits.grad.shape == (0, 6)


def test_above_diagonal_takes_each_pair_once():
    assert above_diagonal(torch.arange(9).view(3, 3)).tolist() == [1, 2, 5]


def test_pairs_by_hand():
    pred = torch.tensor([[9.0, 0.5, 0.3], [9, 9, 0.9], [9, 9, 9]])
    true = torch.tensor([[0.0, 0.4, 0.6], [0, 0, 0.9], [0, 0, 0]])
    # Errors 0.1, -0.3, 0 over a deviation of 0.5: 0.2, -0.6, 0; squared, mean of three; only above the diagonal.
    found = pair_loss("unifrac", pred, true, variance=0.25)
    assert found.item() == pytest.approx((0.2**2 + 0.6**2) / 3, rel=1e-5)


def test_pairs_beyond_a_deviation_weigh_linearly():
    pred, true = torch.tensor([[0.0, 2.0], [2.0, 0.0]]), torch.zeros(2, 2)
    # 2 deviations of 1: twice the Huber loss, 2 * (2 - 1/2) = 3 instead of 4
    assert pair_loss("unifrac", pred, true, 1.0).item() == pytest.approx(3.0)


@pytest.mark.parametrize("size", [0, 1])
def test_no_pairs_cost_nothing(size: int):
    pred = torch.zeros(size, size, requires_grad=True)
    loss = pair_loss("patristic", pred, torch.zeros(size, size), 1.0)
    loss.backward()
    assert loss.item() == 0.0 and not pred.grad.any()


def test_scaled_mse_by_hand():
    found = scaled_mse("faith_pd", torch.tensor([1.0, 3.0]), torch.tensor([0.0, 1.0]), variance=2.0)
    assert found.item() == pytest.approx((1 + 4) / 2 / 2)


def test_losses_of_half_precision_are_float32():
    half = torch.tensor([[0.0, 0.5], [0.5, 0.0]], dtype=torch.bfloat16)
    assert pair_loss("unifrac", half, half.float(), 1.0).dtype == torch.float32
    assert nucleotide_loss(torch.zeros(2, 6, dtype=torch.float16), torch.tensor([1, 2])).dtype == torch.float32


def test_membership_by_hand():
    # One sample of ASVs 0 and 1, of which 1 is hidden; ASVs 2 and 3 are absent.
    logits = torch.tensor([[5.0, math.log(3), 0.0, math.log(3)]])
    index, valid = torch.tensor([[0, 1]]), torch.tensor([[True, True]])
    found = membership_loss(logits, index, valid, torch.tensor([[False, True]]))
    # Hidden: -log(3/4). Absent: -log(1/2) and -log(1/4), each half. The sides weigh the same; ASV 0 is not asked.
    wanted = (math.log(4 / 3) + (math.log(2) + math.log(4)) / 2) / 2
    assert found.item() == pytest.approx(wanted)


def test_membership_of_samples_that_hide_nothing_costs_nothing():
    logits = torch.randn(2, 5, requires_grad=True)
    index, valid = torch.tensor([[0, 1], [2, 0]]), torch.tensor([[True, True], [True, False]])
    loss = membership_loss(logits, index, valid, torch.zeros(2, 2, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0.0 and not logits.grad.any()


def test_membership_where_no_asv_is_absent():
    index, valid = torch.tensor([[0, 1]]), torch.tensor([[True, True]])
    found = membership_loss(torch.tensor([[0.0, math.log(3)]]), index, valid, torch.tensor([[False, True]]))
    assert found.item() == pytest.approx(math.log(4 / 3))


@pytest.mark.parametrize("at", [0, 1])
def test_membership_does_not_see_padding(at: int):
    """A padding slot points to ASV 0 or wherever; that makes it neither present nor wanted."""
    logits = torch.randn(1, 3)
    valid = torch.tensor([[True, True, False]])
    hidden = torch.tensor([[False, True, True]])
    index = torch.tensor([[1, 2, at]])
    alone = membership_loss(logits, index[:, :2], valid[:, :2], hidden[:, :2])
    assert torch.equal(membership_loss(logits, index, valid, hidden), alone)


def drawn() -> Batch:
    """Two samples of two slots and one; the second slot of the first is hidden, the slot of the second uncounted."""
    return Batch(
        sample_ids=["x", "y"],
        asvs=torch.tensor([0, 1]),
        tokens=torch.ones(2, 4, dtype=torch.uint8),
        index=torch.tensor([[0, 1], [0, 0]]),
        valid=torch.tensor([[True, True], [True, False]]),
        counts=torch.tensor([[1.0, 3.0], [7.0, 9.0]]),
        hidden=torch.tensor([[False, True], [False, False]]),
        uncounted=torch.tensor([[False, False], [True, False]]),
        masked_rows=torch.tensor([0]),
        masked_tokens=torch.ones(1, 4, dtype=torch.uint8),
        masked_at=torch.tensor([[0, 1]]),
        masked_bases=torch.tensor([1]),
        unifrac=torch.tensor([[0.0, 0.5], [0.5, 0.0]]),
        faith_pd=torch.tensor([math.e, math.e**2]),
        patristic=torch.tensor([[0.0, 2.0], [2.0, 0.0]]),
    )


OUTPUT = PretrainOutput(
    nucleotides=torch.zeros(1, 6),
    unifrac=torch.tensor([[0.0, 0.7], [0.7, 0.0]]),
    euclidean=torch.tensor([[0.0, 0.4], [0.4, 0.0]]),
    patristic=torch.tensor([[0.0, 1.0], [1.0, 0.0]]),
    membership=torch.zeros(2, 2),
    hidden_abundance=torch.tensor([[7.0, -1.0], [7.0, 7.0]]),
    slot_abundance=torch.tensor([[8.0, 8.0], [-2.5, 8.0]]),
    faith_pd=torch.tensor([1.0, 4.0]),
    asvs=torch.empty(2, 0),
    samples=torch.empty(2, 0),
)


BY_HAND = {
    "nucleotide": math.log(6),
    "unifrac": 0.2**2 / 0.16,
    "euclidean": 0.1**2 / 0.16,
    "patristic": 1.0**2 / 4.0,
    "faith_pd": (0 + (4 - 2) ** 2) / 2 / 5.0,
    "masked_asv": math.log(2),
    # of the hidden slot 3 reads of 4, of the uncounted one all
    "count": ((-1 - math.log(3 / 4)) ** 2 + (-2.5 - 0) ** 2) / 2 / 10.0,
}
SCALE = TargetScale(unifrac=0.16, patristic=4.0, faith_pd=5.0, abundance=10.0)


def test_all_terms_by_hand():
    found = pretrain_losses(OUTPUT, drawn(), LossConfig(), SCALE)
    assert {name: term.item() for name, term in found.terms.items()} == pytest.approx(BY_HAND, rel=1e-5)


def test_the_total_is_the_weighted_sum():
    weights = {f"{name}_weight": float(number) for number, name in enumerate(BY_HAND)}
    found = pretrain_losses(OUTPUT, drawn(), LossConfig(**weights), SCALE)
    assert found.total.item() == pytest.approx(sum(n * term for n, term in enumerate(BY_HAND.values())), rel=1e-5)


def test_terms_without_prediction_or_target_are_left_out():
    without_tree = dataclasses.replace(drawn(), faith_pd=None, patristic=None)
    found = pretrain_losses(
        dataclasses.replace(OUTPUT, unifrac=None, patristic=None), without_tree, LossConfig(), SCALE
    )
    assert set(found.terms) == set(BY_HAND) - {"unifrac", "patristic", "faith_pd"}
    assert torch.isfinite(found.total)


def test_nothing_hidden_costs_nothing():
    nothing, none = torch.zeros(2, 2, dtype=torch.bool), torch.zeros(0, dtype=torch.int64)
    still = dataclasses.replace(drawn(), hidden=nothing, uncounted=nothing, masked_bases=none)
    found = pretrain_losses(dataclasses.replace(OUTPUT, nucleotides=torch.zeros(0, 6)), still, LossConfig(), SCALE)
    assert found.terms["count"] == found.terms["masked_asv"] == found.terms["nucleotide"] == 0.0


def test_faith_pd_of_0_is_finite():
    found = pretrain_losses(OUTPUT, dataclasses.replace(drawn(), faith_pd=torch.zeros(2)), LossConfig(), SCALE)
    assert torch.isfinite(found.terms["faith_pd"])


def test_padding_has_no_part_in_counts():
    clean = pretrain_losses(OUTPUT, drawn(), LossConfig(), SCALE)
    padded = {
        name: getattr(OUTPUT, name).masked_fill(~drawn().valid, NAN) for name in ("hidden_abundance", "slot_abundance")
    }
    found = pretrain_losses(dataclasses.replace(OUTPUT, **padded), drawn(), LossConfig(), SCALE)
    assert torch.equal(found.total, clean.total)


def test_explain_names_the_first_that_is_not_finite():
    fine, bad = torch.ones(2), torch.tensor([INF])
    refuse_non_finite([("one", fine), ("none", None), ("two", fine)])
    with pytest.raises(NonFiniteError, match=r"^Inf values found in three with shape torch.Size\(\[1\]\): .* 1 Inf of"):
        refuse_non_finite([("one", fine), ("none", None), ("three", bad), ("four", torch.tensor([NAN]))])
