"""Metrics of a pretrained model on held-out samples: masked nucleotides and UniFrac of pairs, next to baselines."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aam.config import LossConfig, ModelConfig, PretrainConfig
from aam.corpus.batches import ValidationBatches
from aam.corpus.dataset import Batch, Draw, Sample, build_draw, target_arguments
from aam.corpus.pretraining import Corpus
from aam.evaluation.baselines import DrawnSamples, choose_fit_samples, choose_scored, score_consensus
from aam.evaluation.distance import baseline_scores
from aam.evaluation.metrics import known_pairs, pair_scores
from aam.inference.asvs import ASV_ROWS, device_of, encode_asvs
from aam.inference.embed import Encoding
from aam.inference.held_out_tips import HeldOutTips
from aam.models.pretrain_model import PretrainModel
from aam.training.losses import Losses

LOOKUP_ROWS = 1 << 14
"""Samples whose ASVs are looked up at a time; bounds memory."""


@dataclass(frozen=True)
class Embedded:
    """Whole samples encoded by a model, and their UniFrac [N, N] by each head (None: the model lacks it)."""

    encoding: Encoding
    unifrac: Tensor | None
    euclidean: Tensor | None

    @property
    def best(self) -> Tensor:
        """UniFrac [N, N] by the better head that the model has."""
        found = self.euclidean if self.unifrac is None else self.unifrac
        assert found is not None  # --unifrac-head names one of them, or both
        return found


class HeldOut:
    """The validation samples of a corpus, drawn and masked once, so that every evaluation scores the same data.

    `true` [N, N] is the UniFrac of `samples`, NaN between studies that have trees of their own.
    """

    def __init__(self, corpus: Corpus, draw: Draw, hiding: LossConfig, batch_size: int):
        self.corpus, self.draw = corpus, draw
        scored = corpus.sides.validation[choose_scored(len(corpus.sides.validation), draw.seed)]
        samples = corpus.samples(scored, draw)
        all_masked = replace(hiding, masked_asvs=1.0)
        batches = ValidationBatches(samples, batch_size, corpus.targets, all_masked, corpus.reference)
        self.batches = [batches[number] for number in range(len(batches))]
        dataset = corpus.samples(scored, draw.without_limit)
        self.samples = [dataset[row] for row in range(len(dataset))]
        self.true = self._unifrac(self.samples)
        self.tips = None if corpus.reference is None else HeldOutTips(corpus.reference, draw.seed)

    @classmethod
    def of(cls, config: PretrainConfig, corpus: Corpus) -> HeldOut:
        """The held-out samples of a pretraining, drawn and masked as its training samples are."""
        draw = build_draw(config.data, corpus.depth, config.run.seed)
        return cls(corpus, draw, config.loss, config.optim.batch_size)

    def _unifrac(self, samples: list[Sample]) -> NDArray[np.float64]:
        return self.corpus.targets(*target_arguments(samples)).unifrac

    @cached_property
    def seen(self) -> NDArray[np.bool_]:
        """Whether each ASV is in a training sample, bool [A]."""
        table, found = self.corpus.table, np.zeros(len(self.corpus.tokens), dtype=bool)
        rows = table.stored_rows(self.corpus.sides.train)
        for start in range(0, len(rows), LOOKUP_ROWS):  # in pieces: the table may be larger than the memory
            found[table.stored[rows[start : start + LOOKUP_ROWS]].indices] = True
        return found

    def comparable(self) -> NDArray[np.int64]:
        """Rows [n] of the largest set of scored samples that all have a distance to each other: those of one tree."""
        known = ~np.isnan(self.true)
        return np.flatnonzero(known[known.sum(axis=1).argmax()])

    def predict(self, model: PretrainModel) -> Embedded:
        """UniFrac of all pairs of the held-out samples, each with all its ASVs regardless of the token limit."""
        encoding = self.encoding(model)
        return Embedded(encoding, encoding.unifrac(), encoding.euclidean())

    def encoding(self, model: PretrainModel) -> Encoding:
        """The held-out samples whose pairs are scored, encoded by a model."""
        columns = np.unique(np.concatenate([sample.asvs for sample in self.samples]))
        asvs = encode_asvs(model, self.corpus.tokens, columns)
        return Encoding(model, self.samples, asvs, self.draw.token_limit)

    def nucleotides(self, model: PretrainModel) -> dict[str, float]:
        """Accuracy and cross-entropy (nats) of hidden bases: of all held-out ASVs, and of those new to the model."""
        hits, losses, novel = [], [], []
        for batch in self.batches:
            batch = batch.to(device_of(model))
            logits = predict_masked(model, batch)
            hits.append((logits.argmax(1) == batch.masked_bases).double())
            losses.append(torch.nn.functional.cross_entropy(logits.double(), batch.masked_bases, reduction="none"))
            rows = batch.asvs[batch.masked_rows[batch.masked_at[:, 0]]].cpu().numpy()
            novel.append(torch.from_numpy(~self.seen[rows]))
        hit, loss, new = torch.cat(hits).cpu(), torch.cat(losses).cpu(), torch.cat(novel)
        asked = max(len(hit), 1)  # of a few short sequences no base may be hidden
        figures = {
            "nucleotide_accuracy": hit.sum().item() / asked,
            "nucleotide_cross_entropy": loss.sum().item() / asked,
        }
        if new.any():
            figures["nucleotide_accuracy_new_asvs"] = hit[new].mean().item()
        return figures

    @torch.inference_mode()
    def validate(self, model: PretrainModel, score: Callable[[Batch], Losses]) -> dict[str, float]:
        """Mean loss terms over the samples, from `score`, and the metrics, for the training loop."""
        training = model.training
        model.eval()
        sums: defaultdict[str, float] = defaultdict(float)
        for batch in self.batches:
            losses = score(batch)
            for name, value in {"loss": losses.total, **losses.terms}.items():
                sums[name] += value.item() * len(batch.sample_ids)
        model.train(training)
        return {name: value / len(self.samples) for name, value in sums.items()} | self.score_heads(model)

    @torch.inference_mode()
    def score_heads(self, model: PretrainModel, embedded: Embedded | None = None) -> dict[str, float]:
        """Scores of nucleotides and of UniFrac by each head; `embedded`: the result of `predict`, if available."""
        training = model.training
        model.eval()
        embedded = embedded or self.predict(model)
        found = self.nucleotides(model)
        heads = {"unifrac": embedded.unifrac, "euclidean": embedded.euclidean}
        scored = {name: predicted for name, predicted in heads.items() if predicted is not None}
        main = next(iter(scored))
        for name, predicted in scored.items():
            scores = pair_scores(known_pairs(predicted.cpu().numpy(), self.true), known_pairs(self.true, self.true))
            label = "unifrac" if name == main else name
            found |= {f"{label}_r2": scores.r2, f"{label}_mae": scores.mae, f"{label}_pearson": scores.pearson}
        if self.tips is not None:
            found |= self.tips.score(model)
        model.train(training)
        return found

    def baselines(self, model: ModelConfig, seed: int) -> dict[str, float | str]:
        """Scores of the nucleotide consensus, of calibrated Jaccard and UPGMA for UniFrac, or why one was skipped."""
        train = self.corpus.sides.train
        dataset = self.corpus.samples(train, self.draw.without_limit)
        chosen = [dataset[int(row)] for row in choose_fit_samples(len(train), seed)]
        fit, held_out = DrawnSamples.of(chosen, self._unifrac(chosen)), DrawnSamples.of(self.samples, self.true)
        positions = torch.cat([batch.masked_at[:, 1] for batch in self.batches]).numpy()
        bases = torch.cat([batch.masked_bases for batch in self.batches]).numpy()
        usual = score_consensus(self.corpus.tokens[self.seen], positions, bases)
        found = baseline_scores(fit, held_out, self.corpus.tokens, model.unifrac_metric, model.unifrac_alpha)
        return {f"nucleotide_consensus_{name}": value for name, value in usual._asdict().items()} | found


def predict_masked(model: PretrainModel, batch: Batch) -> Tensor:
    """Logits [T, 6] of the masked bases of a batch, in chunks of ASVs."""
    parts, row_of = [], batch.masked_at[:, 0]
    for start in range(0, len(batch.masked_tokens), ASV_ROWS):
        inside = (row_of >= start) & (row_of < start + ASV_ROWS)
        at = batch.masked_at[inside] - torch.tensor([start, 0], device=row_of.device)
        parts.append(model.asv_encoder.predict(batch.masked_tokens[start : start + ASV_ROWS], at))
    return torch.cat(parts)
