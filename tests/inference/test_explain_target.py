"""What is explained of a fine-tuned model is what it predicts, for every task; known ASVs count as themselves."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from generated_samples import Community, community, tiny_model

from aam.config import Covariate, FinetuneConfig, NumericTarget, TargetConfig, TargetSchema
from aam.corpus.label_schema import encode_labels
from aam.corpus.labels import Labels
from aam.errors import ConfigError
from aam.inference import explain as explaining
from aam.inference.asvs import encode_asvs
from aam.inference.embed import Encoding
from aam.inference.explain import (
    Slots,
    average_explanations,
    choose_output,
    explain,
    identity_marks,
    integrated_gradients,
    target_scalar,
)
from aam.inference.predictions import average, decode, predict_draws
from aam.models.finetune_model import FinetuneModel

SAMPLES, KNOWN = 6, 5
NUMBERS = (NumericTarget("age", "zscore", 30.0, 7.0), NumericTarget("weight", "log-zscore", 2.0, 0.3))
CLASSES = ("a", "b", "c")
TASKS = {
    "two numbers": (TargetConfig(("age", "weight")), TargetSchema(None, NUMBERS)),
    "quantiles": (TargetConfig(("age",), task="quantiles"), TargetSchema(None, NUMBERS[:1])),
    "classes": (TargetConfig(("site",), task="classification"), TargetSchema(None, (), CLASSES)),
    "ordered classes": (TargetConfig(("site",), task="ordinal"), TargetSchema(None, (), CLASSES)),
}
COVARIATES = (Covariate("sex", ("f", "m")), Covariate("bmi", (), 20.0, 3.0))


@pytest.fixture(scope="module")
def some() -> Community:
    return community(SAMPLES, 12, 4)


def config_of(task: str) -> FinetuneConfig:
    target, schema = TASKS[task]
    schema = dataclasses.replace(schema, identities=KNOWN, covariates=COVARIATES)
    return FinetuneConfig(model=tiny_model(), target=target, schema=schema)


def random_model(config: FinetuneConfig, some: Community) -> FinetuneModel:
    """A model of which every weight says something, opened on the table."""
    torch.manual_seed(0)
    model = FinetuneModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    model.learn_identities(some.tokens[:KNOWN])
    model.open_table(some.tokens, None)
    return model


def encoding_of(model: FinetuneModel, some: Community) -> Encoding:
    drawn = some.dataset()
    asvs = encode_asvs(model.encoder, some.tokens, np.arange(len(some.tokens)))
    return Encoding(model.encoder, [drawn[row] for row in range(SAMPLES)], asvs, None)


def slots_of(model: FinetuneModel, some: Community) -> Slots:
    encoding = encoding_of(model, some)
    batch = encoding.batch(range(SAMPLES), None)
    marked = torch.cat([encoding.asvs.embeddings.clone(), identity_marks(model, KNOWN)], dim=1)
    return Slots(marked[batch.index], batch.abundance, batch.valid)


@pytest.mark.parametrize("task", TASKS)
def test_the_scalar_is_what_is_predicted(task: str, some: Community):
    config = config_of(task)
    model = random_model(config, some)
    ids, targets = [f"s{row}" for row in range(SAMPLES)], len(config.schema.numbers)
    unknown = Labels(ids, np.full((SAMPLES, targets), np.nan), [None] * SAMPLES, pd.DataFrame(index=ids), None)
    raw = predict_draws(model, some.dataset(), encode_labels(unknown, config.schema), 1)
    predicted = average([decode(raw, config)], config).values
    slots = slots_of(model, some)
    for name in config.schema.classes or config.target.target:
        found = target_scalar(model, config, choose_output(config, name))(slots).detach().numpy()
        if config.schema.classes:
            chance = np.exp(predicted[:, 0, config.schema.classes.index(name)])
            expected = np.log(chance / (1 - chance))
        else:
            expected = predicted[:, config.target.target.index(name), predicted.shape[2] // 2]
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_attributions_add_up_to_the_prediction_less_that_of_the_background(
    some: Community, monkeypatch: pytest.MonkeyPatch
):
    """One background ASV, so that all paths of a sample begin in the same place."""
    monkeypatch.setattr(explaining, "PATH_STEPS", 64)
    config = config_of("two numbers")
    model = random_model(config, some)
    slots = slots_of(model, some)
    scalar = target_scalar(model, config, choose_output(config, "age"))
    background = slots.asvs[0, :1]
    found = integrated_gradients(scalar, slots, background, np.random.default_rng(0))
    equal = slots.valid / slots.valid.sum(1, keepdim=True)
    with torch.no_grad():
        difference = scalar(slots) - scalar(Slots(background.expand_as(slots.asvs), equal, slots.valid))
    assert torch.allclose(found.sum(1), difference, rtol=0.02, atol=0.05)


def test_a_known_asv_that_alone_decides_leads(some: Community):
    """Only the linear path from the amount of one known ASV is left in the head."""
    config = config_of("classes")
    model = random_model(config, some)
    driver = 2
    with torch.no_grad():
        for parameter in model.head.parameters():
            parameter.zero_()
        model.head.linear[:, driver, 2] = 1.0
    scalar = target_scalar(model, config, choose_output(config, "c"))
    found = explain(encoding_of(model, some), scalar, SAMPLES, marks=identity_marks(model, KNOWN))
    assert found.order()[0] == driver and found.share[driver] > 2 * np.sort(found.share)[-2]
    assert found.attribution[driver] > 0


def test_the_mean_of_several_models_is_taken_field_by_field(some: Community):
    config = config_of("classes")
    model = random_model(config, some)
    encoding, marks = encoding_of(model, some), identity_marks(model, KNOWN)
    one, other = (
        explain(encoding, target_scalar(model, config, choose_output(config, name)), SAMPLES, marks=marks)
        for name in ("a", "b")
    )
    both = average_explanations([one, other])
    assert np.allclose(both.attribution, (one.attribution + other.attribution) / 2)
    assert np.allclose(both.deletion, (one.deletion + other.deletion) / 2)
    assert np.array_equal(both.samples, one.samples) and both.explained_samples == SAMPLES


def test_what_can_be_asked_for():
    assert choose_output(config_of("two numbers"), None).name == "predicted age"
    assert choose_output(config_of("two numbers"), "weight").target == 1
    assert choose_output(config_of("quantiles"), None).place == 1
    assert choose_output(config_of("classes"), None).name == "log-odds of site being c"
    with pytest.raises(ConfigError, match="--of is 'd', but the classes of this model are 'a', 'b', 'c'"):
        choose_output(config_of("classes"), "d")
