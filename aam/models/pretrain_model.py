"""The model of `aam pretrain`: encoders and heads; returns all predictions that the losses score."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from aam.config import ModelConfig
from aam.models.asv_encoder import build_asv_encoder
from aam.models.heads import EuclideanUnifrac, HiddenASVs, SampleScalars
from aam.models.latent_tree import LatentTree
from aam.models.layers import take_rows
from aam.models.sample_encoder import EncodedSamples, SampleEncoder

Results = TypeVar("Results")
ASV_PARTS = ("asv_encoder.", "latent_tree.")
"""How the names of weights begin that read ASVs and no samples."""


@dataclass(frozen=True)
class PretrainInputs:
    """Input tensors of one batch; fields as in `aam.corpus.dataset.Batch`.

    `abundance` [B, S] is relative; `seen` [B, S] marks slots visible to the sample encoder, `counted` those with
    visible abundance; `masked_at` [T, 2] points into `masked_tokens` [M, L]. `reference_…`: the same of reference tips.
    """

    tokens: Tensor
    index: Tensor
    valid: Tensor
    abundance: Tensor
    seen: Tensor
    counted: Tensor
    masked_tokens: Tensor
    masked_at: Tensor
    patristic_rows: Tensor | None
    reference_tokens: Tensor | None = None
    reference_masked_tokens: Tensor | None = None
    reference_masked_at: Tensor | None = None


@dataclass(frozen=True)
class PretrainOutput:
    """Predictions; None if the head is off or its input is missing.

    | field | shape |
    |---|---|
    | nucleotides | [T, 6] logits at masked positions |
    | unifrac, euclidean | [B, B] |
    | patristic | [Q, Q] |
    | membership | [B, U] logits |
    | hidden_abundance, slot_abundance | [B, S] log relative abundance |
    | faith_pd | [B] log branch length |
    | asvs, samples | [U, D], [B, D] embeddings |
    | reference_nucleotides, reference_patristic | [T', 6] logits, [P, P], of reference tips |
    """

    nucleotides: Tensor
    unifrac: Tensor | None
    euclidean: Tensor | None
    patristic: Tensor | None
    membership: Tensor
    hidden_abundance: Tensor
    slot_abundance: Tensor
    faith_pd: Tensor
    asvs: Tensor
    samples: Tensor
    reference_nucleotides: Tensor | None = None
    reference_patristic: Tensor | None = None


class RowDivision:
    """How the rows of a batch are divided among the processes of a run: here one process computes all of them."""

    def compute(self, function: Callable[..., Results], *rows: Tensor, random: bool = True) -> Results:
        """Results [N, ...] (one or several tensors) of a function that treats rows of tensors [N, ...] independently.

        `random`: the function draws random numbers, as dropout does.
        """
        return function(*rows)

    def predict(self, function: Callable[[Tensor, Tensor], Tensor], tokens: Tensor, at: Tensor) -> Tensor:
        """Results [T, ...] of a function of tokens [M, L] and (row, position) pairs `at` [T, 2]."""
        return function(tokens, at)


class PretrainModel(nn.Module):
    """ASV encoder, sample encoder and the heads; `forward` is a function of its inputs (and of dropout)."""

    division = RowDivision()
    """Set on a model that several processes compute together."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.asv_encoder = build_asv_encoder(config)
        self.sample_encoder = SampleEncoder(config)
        self.latent_tree = LatentTree(config) if config.unifrac_head != "euclidean" else None
        self.euclidean = EuclideanUnifrac(config) if config.unifrac_head != "latent-tree" else None
        self.hidden_asvs = HiddenASVs(config)
        self.scalars = SampleScalars(config)

    def forward(self, inputs: PretrainInputs) -> PretrainOutput:
        asvs, tips = self._encode_asvs(inputs)
        slots, visible = take_rows(asvs, inputs.index), inputs.valid & inputs.seen
        samples, abundance = self.division.compute(
            self._encode_samples, slots, inputs.abundance, visible, inputs.counted
        )
        # Small differences of large sums: in bfloat16 UniFrac would be wrong by up to 0.01.
        with torch.autocast(asvs.device.type, enabled=False):
            unifrac, patristic = self._tree(asvs, inputs)
            euclidean = self._euclidean(samples)
            between_tips = self._between(tips)
        nucleotides, of_tips = self._nucleotides(inputs)
        membership = self.hidden_asvs.membership(samples, asvs)
        hidden = self.division.compute(self.hidden_asvs.hidden_abundance, samples, slots, random=False)
        return PretrainOutput(
            nucleotides=nucleotides,
            unifrac=unifrac,
            euclidean=euclidean,
            patristic=patristic,
            membership=membership,
            hidden_abundance=hidden,
            slot_abundance=abundance,
            faith_pd=self.scalars.faith_pd(samples),
            asvs=asvs,
            samples=samples,
            reference_nucleotides=of_tips,
            reference_patristic=between_tips,
        )

    def _encode_asvs(self, inputs: PretrainInputs) -> tuple[Tensor, Tensor | None]:
        """Embeddings of the distinct ASVs [U, D] and of the reference tips [P, D], in one pass of the encoder."""
        if inputs.reference_tokens is None:
            return self.division.compute(self.asv_encoder.embed, inputs.tokens), None
        together = torch.cat([inputs.tokens, inputs.reference_tokens])
        asvs = self.division.compute(self.asv_encoder.embed, together)
        return asvs[: len(inputs.tokens)], asvs[len(inputs.tokens) :]

    def _nucleotides(self, inputs: PretrainInputs) -> tuple[Tensor, Tensor | None]:
        """Logits at the masked positions of the ASVs [T, 6] and of the reference tips [T', 6], in one pass."""
        tokens, at, predict = inputs.masked_tokens, inputs.masked_at, self.asv_encoder.predict
        if inputs.reference_masked_tokens is None or inputs.reference_masked_at is None:
            return self.division.predict(predict, tokens, at), None
        behind = inputs.reference_masked_at + at.new_tensor([len(tokens), 0])
        together = torch.cat([tokens, inputs.reference_masked_tokens])
        logits = self.division.predict(predict, together, torch.cat([at, behind]))
        return logits[: len(at)], logits[len(at) :]

    def _between(self, tips: Tensor | None) -> Tensor | None:
        """Tree distances [P, P] between reference tips [P, D], if there are any."""
        if tips is None or self.latent_tree is None:
            return None
        return self.latent_tree.patristic(self.latent_tree(tips))

    def _encode_samples(self, asvs: Tensor, abundance: Tensor, valid: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings [B, D] and log relative abundances [B, S], from slots [B, S, D] and [B, S]."""
        encoded = self.sample_encoder(asvs, abundance, valid, counted)
        return encoded.embeddings, self.scalars.abundance(encoded.states)

    def _euclidean(self, samples: Tensor) -> Tensor | None:
        if self.euclidean is None:
            return None
        points = self.euclidean.coordinates(samples)
        return self.euclidean(points, points)

    def _tree(self, asvs: Tensor, inputs: PretrainInputs) -> tuple[Tensor | None, Tensor | None]:
        if self.latent_tree is None:
            return None, None
        branches = self.latent_tree(asvs)
        placed = self.latent_tree.place_samples(branches, inputs.index, inputs.valid, inputs.abundance)
        unifrac = self.latent_tree.unifrac(branches, placed, placed)
        if inputs.patristic_rows is None:
            return unifrac, None
        some = branches._replace(
            members=branches.members[inputs.patristic_rows], tips=branches.tips[inputs.patristic_rows]
        )
        return unifrac, self.latent_tree.patristic(some)

    @torch.no_grad()
    def initialise_from(self, inputs: PretrainInputs) -> None:
        """Give the embeddings of a fresh model mean 0 and deviation 1 over a batch, ASVs first, then samples."""
        self.asv_encoder.initialise_from(inputs.tokens)
        self.initialise_samples(inputs)

    @torch.no_grad()
    def initialise_samples(self, inputs: PretrainInputs) -> None:
        """Give the sample embeddings of a fresh sample encoder mean 0 and deviation 1 over a batch."""
        slots = take_rows(self.asv_encoder.embed(inputs.tokens), inputs.index)
        self.sample_encoder.standardise_outputs(slots, inputs.abundance, inputs.valid & inputs.seen, inputs.counted)

    def take_asvs(self, weights: Mapping[str, Tensor]) -> None:
        """Set the ASV encoder and the latent tree to those in the weights of another model of their size."""
        own = {name: weights[name] for name in self.state_dict() if name.startswith(ASV_PARTS)}
        self.load_state_dict(self.state_dict() | own)

    def encode_samples(self, asvs: Tensor, index: Tensor, valid: Tensor, abundance: Tensor) -> EncodedSamples:
        """Embed samples whose distinct ASVs are already embedded: asvs [U, D], the rest [B, S]."""
        return self.sample_encoder(take_rows(asvs, index), abundance, valid)
