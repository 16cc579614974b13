"""Predictions of some samples of a table are those of all of them, and cost the ASVs that these samples carry."""

from __future__ import annotations

import numpy as np
import torch
from built_learner import built

from aam.corpus.dataset import Draw
from aam.corpus.label_schema import encode_labels
from aam.inference.asvs import encode_asvs
from aam.inference.predictions import embed_asvs, embed_carried, predict_draws

SOME = np.array([3, 40, 77])


def test_some_samples_are_predicted_as_among_all():
    run = built(head_members=1)
    model, study, draw = run.learner.model, run.study, Draw(None, None, "abundance", 0)
    rows = np.arange(len(study.labels.sample_ids))
    raw = {
        name: predict_draws(model, study.samples(of, draw), encode_labels(study.labels.rows(of), run.config.schema), 1)
        for name, of in (("all", rows), ("some", SOME))
    }
    np.testing.assert_allclose(raw["some"], raw["all"][:, SOME], atol=1e-5)


def test_only_carried_asvs_are_embedded():
    run = built(head_members=1)
    encoder, samples = run.learner.model.encoder.eval(), run.study.samples(SOME, Draw(None, None, "abundance", 0))
    found, every = embed_carried(encoder, samples), embed_asvs(encoder, run.study.tokens)
    carried = (run.study.table.counts[SOME] > 0).sum(axis=0) > 0
    assert 0 < carried.sum() < len(carried) / 2
    torch.testing.assert_close(found[carried], every[carried], atol=1e-5, rtol=0)
    assert not found[~carried].any()
    asked = np.flatnonzero(carried)
    assert torch.equal(found[carried], encode_asvs(encoder, run.study.tokens, asked).embeddings)
