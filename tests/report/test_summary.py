"""What commands print at their end: finding, metrics with their baseline, and the next command."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from aam.config import FinetuneConfig, PretrainConfig, from_options, to_dict
from aam.report.record import RunRecord
from aam.report.summary import baseline_text, finetuning_summary, pretraining_summary

METRICS = {
    "mae": 2.6, "mae_low": 2.4, "mae_high": 2.9, "r2": 0.7, "r2_low": 0.6, "r2_high": 0.8,
    "constant_mae": 5.0, "constant_r2": -0.1, "interval_coverage": 0.9, "samples_tested": 687,
}  # fmt: skip


def trained(**options: Any) -> RunRecord:
    given: dict[str, Any] = {"target": ["age"], "example": True, "output_dir": "run"} | options
    return RunRecord(Path("run"), {"config": to_dict(from_options(FinetuneConfig, given))}, METRICS)


def test_training_ends_with_finding_metrics_and_what_to_do_next() -> None:
    assert finetuning_summary(trained()).splitlines() == [
        "Networks on embeddings of ASVs predict age of 687 samples that they had not seen, with a mean",
        "absolute error of 2.60 (95 % interval 2.40 to 2.90) and R² 0.700 (0.600 to 0.800). This is clearly",
        "better than predicting the mean: the whole interval of R² lies above 0.",
        "",
        "                                                 value   95 % interval  baseline: the median",
        "  mean absolute error                            2.600  2.400 to 2.900                 5.000",
        "  R²                                             0.700  0.600 to 0.800                -0.100",
        "  coverage of the intervals on held-out samples  0.900",
        "",
        "  (95 % bootstrap intervals; report.html and docs/glossary.md say what each metric means)",
        "",
        "  predictions  run/predictions.tsv",
        "  metrics      run/metrics.json",
        "  report       run/report.html",
        "  compare it   aam baseline --model run",
        "  use it       aam predict --model run --table TABLE -o predictions.tsv",
    ]


def test_the_next_command_asks_for_sequences_where_the_run_was_given_them() -> None:
    given = {"example": False, "table": [Path("t.biom")], "metadata": [Path("m.tsv")], "sequences": [Path("s.fasta")]}
    assert finetuning_summary(trained(**given)).endswith(
        "aam predict --model run --table TABLE --sequences SEQUENCES -o predictions.tsv\n"
    )
    config = from_options(PretrainConfig, {"example": True, "output_dir": Path("my-run")})
    reasons = dict.fromkeys(("nucleotide_skipped", "nucleotide_consensus_skipped", "unifrac_skipped"), "x")
    reasons |= {"baseline_jaccard_skipped": "x", "baseline_upgma_skipped": "x"}
    metrics = reasons | {"health": "", "seconds": 60.0, "steps": 1, "samples_validation": 3}
    assert pretraining_summary(config, metrics).splitlines()[-2:] == [
        "  embed        aam embed --model my-run --table TABLE -o embeddings.tsv",
        "  train        aam train --pretrained my-run --freeze --table TABLE --metadata METADATA ...",
    ]
    config = replace(config, data=replace(config.data, sequences=Path("s.fasta")))
    assert pretraining_summary(config, metrics).splitlines()[-2:] == [
        "  embed        aam embed --model my-run --table TABLE --sequences SEQUENCES -o embeddings.tsv",
        "  train        aam train --pretrained my-run --freeze --table TABLE --sequences SEQUENCES --metadata METADATA "
        "...",
    ]


def test_a_comparison_ends_with_its_conclusion() -> None:
    def estimate(value: float) -> dict[str, float]:
        return {"value": value, "low": value - 0.1, "high": value + 0.1}

    found = {
        "within_ridge_presence": {"mae": estimate(3.0), "model_minus_baseline": {"mae": estimate(-0.5)}},
        "constant": {"mae": estimate(5.0), "model_minus_baseline": {"mae": estimate(-2.5)}},
        "model": {"mae": estimate(2.5)},
    }
    assert baseline_text("age", found, several_studies=False).splitlines() == [
        "age",
        "                                                       mae",
        "  within_ridge_presence                3.00 (2.90 to 3.10)",
        "  constant                             5.00 (4.90 to 5.10)",
        "  model                                2.50 (2.40 to 2.60)",
        "  model - within_ridge_presence  -0.500 (-0.600 to -0.400)",
        "  model - constant                  -2.50 (-2.60 to -2.40)",
        "",
        "By mean absolute error the model is better than the best baseline, ridge on presence of ASVs",
        "(within_ridge_presence): model minus baseline is -0.500 (95 % interval -0.600 to -0.400, which",
        "excludes 0); below 0 the model is better.",
    ]
