"""Workflows as a notebook calls them: no command line, no output file, results that pandas and scikit-bio take on."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from parsed_code import tree_of
from skbio import DistanceMatrix

import aam.workflows
from aam.cli import main
from aam.config import DataConfig, PredictConfig, PretrainConfig, RunConfig, UnifracConfig, from_options, tiny
from aam.config.apply import ApplyConfig, DistanceConfig, EmbedConfig, ExplainConfig, ExportConfig, Inputs
from aam.errors import CheckpointError, ConfigError
from aam.observer import Observer
from aam.workflows.distance import distance, unifrac
from aam.workflows.embed import embed
from aam.workflows.explain import explain
from aam.workflows.export import export_model
from aam.workflows.opening import with_encoder_size
from aam.workflows.predict import predict

CPU = RunConfig(device="cpu")


@pytest.fixture
def inputs(run: Path, files: dict[str, Path]) -> Inputs:
    return Inputs(run, DataConfig(table=files["table"]), run=CPU)


def test_inputs_are_read_from_options_by_name_and_checked(run: Path, files: dict[str, Path]):
    asked = {"table": files["table"], "precision": "bf16", "device": "cpu", "what": "asvs"}
    assert Inputs.of(run, asked) == Inputs(run, DataConfig(table=files["table"]), ApplyConfig(precision="bf16"), CPU)
    with pytest.raises(ConfigError, match="--seed is -1"):
        Inputs.of(run, {"seed": -1})


@pytest.mark.parametrize(("what", "ids", "first"), [("samples", ["s1", "s2", "s3"], "e1"), ("branches", None, "b1")])
def test_embeddings_are_a_table_by_id(inputs: Inputs, notes, what, ids, first):
    found = embed(inputs, EmbedConfig(what=what), notes)
    assert list(found.table.index) == (ids or ["s1", "s2", "s3"]) and found.table.columns[0] == first
    assert found.table.index.name == "sample-id" and found.table.notna().all().all()


def test_a_cached_asv_is_embedded_as_before(inputs: Inputs, notes, tmp_path: Path):
    cached = inputs._replace(apply=ApplyConfig(cache=tmp_path / "cache"))
    tables = [embed(each, EmbedConfig(what="asvs"), notes).table for each in (inputs, cached, cached)]
    assert list(tables[0].index) == ["AAAA", "CCCC", "GGGG", "TTTT"] and tables[0].index.name == "feature-id"
    for table in tables[1:]:
        pd.testing.assert_frame_equal(table, tables[0])


def test_distances_are_matrices_of_scikit_bio_and_scored_where_there_is_a_tree(inputs: Inputs, notes, files):
    alone = distance(inputs, DistanceConfig(method="latent-tree"), notes)
    assert alone.true_unifrac is None and alone.true_faith_pd is None and alone.figures == {}
    scored = distance(inputs._replace(data=DataConfig(**files)), DistanceConfig(method="latent-tree"), notes)
    assert scored.unifrac == alone.unifrac and scored.unifrac.ids == ("s1", "s2", "s3")
    assert scored.faith_pd.index.tolist() == ["s1", "s2", "s3"] and (scored.faith_pd > 0).all()
    computed = unifrac(DataConfig(**files), UnifracConfig(), CPU, notes)
    assert computed.faith_pd is None and computed.asvs == 4
    assert scored.true_unifrac == computed.unifrac
    assert computed.unifrac["s1", "s2"] == pytest.approx(8 / 11.5, abs=1e-12)  # both have 3.5 of a length of 11.5
    errors = np.abs(scored.unifrac.condensed_form() - computed.unifrac.condensed_form())
    assert scored.figures["unifrac_mae"] == pytest.approx(errors.mean(), rel=1e-9)
    diversity = unifrac(DataConfig(**files), UnifracConfig(metric="faith_pd"), CPU, notes)
    assert diversity.unifrac is None and diversity.faith_pd.to_dict() == {"s1": 4.5, "s2": 10.5, "s3": 14.5}
    assert scored.true_faith_pd.tolist() == [4.5, 10.5, 14.5]
    assert isinstance(alone.unifrac, DistanceMatrix)
    assert any("Faith PD is by the head" in text for text in notes.said)
    assert all("30 times the reads of the shallowest" in text for text in notes.warned)  # 30 reads and 1


def test_drivers_are_a_table_and_the_check_by_deletion(inputs: Inputs, notes, files):
    found = explain(inputs._replace(data=DataConfig(**files)), ExplainConfig(), notes)
    assert found.table["rank"].tolist() == [1, 2, 3, 4] and found.table["share"].is_monotonic_decreasing
    assert found.table["samples"].to_dict() == {"AAAA": 2, "CCCC": 2, "GGGG": 2, "TTTT": 1}
    assert found.table["tree_position"].sort_values().index.tolist() == ["AAAA", "CCCC", "GGGG", "TTTT"]
    assert found.explanation.deletion_table()["1"]["samples"] == 3
    assert explain(inputs, ExplainConfig(), notes).tree_position is None


def test_an_exported_program_is_called_without_being_written(run: Path, notes):
    exported = export_model(run, ExportConfig(), notes)
    tokens = torch.tensor([[5, 1, 2, 3, 4, 4, 1, 2]], dtype=torch.uint8)
    assert exported.program.module()(tokens).shape == (1, exported.about["dim"])


def test_a_pretrained_model_predicts_no_column(run: Path, files, notes):
    with pytest.raises(CheckpointError, match="expected one of `aam train`"):
        predict(run, DataConfig(table=files["table"]), PredictConfig(), CPU, notes)


def test_predictions_are_a_table_and_refused_samples_have_reasons(tmp_path: Path, notes):
    """A head of two steps on 12 samples; of the new ones `poor` has 8 reads, fewer than the 40 that are drawn."""
    rng, sequences = np.random.default_rng(0), ["AACC", "CCGG", "GGTT", "TTAA", "ACAC", "GTGT", "AGAG", "CTCT"]
    ids = [f"s{row}" for row in range(12)]
    pd.DataFrame(rng.integers(10, 40, (8, 12)), sequences, ids).to_csv(
        tmp_path / "t.tsv", sep="\t", index_label="#OTU ID"
    )
    pd.DataFrame({"age": np.arange(12) / 2}, ids).to_csv(tmp_path / "m.tsv", sep="\t", index_label="sample-id")
    data = ["--table", str(tmp_path / "t.tsv"), "--metadata", str(tmp_path / "m.tsv"), "--target", "age"]
    size = ["--preset", "tiny", "--max-bp", "20", "--rarefy-depth", "40", "--max-steps", "2", "--device", "cpu"]
    assert main(["train", *data, *size, "--no-preflight", "--output-dir", str(tmp_path / "run")]) == 0
    new = pd.DataFrame({"rich": [20] * 8, "poor": [1] * 8}, sequences)
    new.to_csv(tmp_path / "new.tsv", sep="\t", index_label="#OTU ID")
    found = predict(tmp_path / "run", DataConfig(table=tmp_path / "new.tsv"), PredictConfig(), CPU, notes)
    assert list(found.table.index) == ["rich"] and {"age", "age_sd"} <= set(found.table.columns)
    assert found.refused.to_dict() == {"poor": "8 reads, fewer than the 40 drawn of each sample (--rarefy-depth)"}
    assert found.scores == {} and found.models == 1
    known = DataConfig(table=tmp_path / "t.tsv", metadata=tmp_path / "m.tsv")
    scored = predict(tmp_path / "run", known, PredictConfig(), CPU, notes)
    truth = pd.Series(np.arange(12) / 2, ids)
    assert scored.scores["mae"] == pytest.approx((scored.table["age"] - truth).abs().mean())
    assert any("had been trained on, so these" in text for text in notes.warned)


def test_counts_that_look_like_presence_are_warned_of(run: Path, tmp_path: Path, notes):
    (tmp_path / "presence.tsv").write_text("#OTU ID\ts1\ts2\nAAAA\t1\t1\nCCCC\t0\t1\n")
    embed(Inputs(run, DataConfig(table=tmp_path / "presence.tsv"), run=CPU), EmbedConfig(), notes)
    assert any("every count is 1" in text for text in notes.warned)


def test_workflows_know_neither_click_nor_the_command_line_and_do_not_print():
    for path in Path(aam.workflows.__file__).parent.glob("*.py"):
        for node in ast.walk(tree_of(path)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name == "click" or name.startswith("aam.cli") for name in names), path
            assert not (isinstance(node, ast.Name) and node.id == "print"), path


def test_a_start_has_the_size_of_its_encoder_and_the_dropout_that_was_asked_for(run: Path, notes: Observer):
    asked = {"example": True, "dropout": "0.3"}  # as a config file may have it
    config = with_encoder_size(from_options(PretrainConfig, asked), run, asked, notes)
    assert (config.model.dim, config.model.dropout) == (tiny().dim, 0.3)
    asked.pop("dropout")
    assert with_encoder_size(from_options(PretrainConfig, asked), run, asked, notes).model.dropout == tiny().dropout
