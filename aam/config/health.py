"""Settings for the handling of numerical faults."""

from __future__ import annotations

from dataclasses import dataclass

from aam.config.fields import MOST_STEPS, OnFault, option


@dataclass(frozen=True)
class HealthConfig:
    """Handling of numerical faults, and debugging switches (each is also an environment variable AAM_*)."""

    on_fault: OnFault = option(
        "stop",
        "After a non-finite loss or gradient: stop the run, skip the step and quarantine its samples, or roll back to the last good checkpoint.",
    )
    intervention_budget: float = option(
        0.001,
        "Largest fraction of the steps with an intervention (skip, clamp, sanitised gradient or fallback); above it the run stops.",
        low=0.0,
        high=1.0,
    )
    quarantine_budget: float = option(
        0.0,
        "Largest fraction of the samples that may be quarantined after faults; above it the run stops.",
        low=0.0,
        high=1.0,
    )
    watch_every: int = option(
        1,
        "Check every N steps that loss and gradients are finite; more than 1 saves waiting for a GPU but finds a fault up to N - 1 steps late.",
        low=1,
        high=1_000_000,
    )
    spike_sigma: float = option(
        6.0,
        "A loss or gradient norm counts as a spike if it is this many standard deviations above its recent mean.",
        above=0.0,
        high=1e6,
    )
    nan_debug: bool = option(False, "Print the full report of a fault instead of its first lines.")
    debug_finite: bool = option(False, "Check the result of every operation for NaN and infinity (about 1.3 x slower).")
    anomaly_detect: bool = option(
        False, "Use torch's anomaly mode (about 1.5 x slower; reports nothing if only the loss is NaN)."
    )
    safe_clamp: bool = option(
        False, "Clamp the outputs of the model's blocks; every clamp counts as an intervention. For emergencies."
    )
    sanitize_grads: bool = option(
        False,
        "Replace non-finite gradients by 0, which is not the true gradient; every step counts as an intervention. For emergencies.",
    )
    skip_step_on_nan: bool = option(
        False, "Skip a step with a non-finite gradient, whatever --on-fault says; every skip counts as an intervention."
    )
    bundle_step: int | None = option(
        None, "Write a replay bundle of this step, even without a fault.", low=1, high=MOST_STEPS
    )
