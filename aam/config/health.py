"""Settings of what a run does about numerical faults."""

from __future__ import annotations

from dataclasses import dataclass

from aam.config.fields import OnFault, option


@dataclass(frozen=True)
class HealthConfig:
    """What a run does about numerical faults, and the switches for debugging them (each also an AAM_* variable)."""

    on_fault: OnFault = option(
        "stop",
        "After a non-finite loss or gradient: stop, skip the step and quarantine its data, or roll back to the last good checkpoint.",
    )
    intervention_budget: float = option(
        0.001,
        "Largest fraction of the steps with a skip, clamp, sanitised gradient or fallback; above it the run stops.",
        low=0.0,
        high=1.0,
    )
    quarantine_budget: float = option(
        0.0, "Largest fraction of the samples that may be quarantined; above it the run fails.", low=0.0, high=1.0
    )
    watch_every: int = option(1, "Steps between reads of the finite flag.", low=1)
    spike_sigma: float = option(
        6.0,
        "Losses and gradient norms this many standard deviations above their recent mean are counted as spikes.",
        above=0.0,
    )
    nan_debug: bool = option(False, "Print the full report of a fault instead of its first lines.")
    debug_finite: bool = option(False, "Check every operation of every step (about 1.3 x slower).")
    anomaly_detect: bool = option(
        False, "Use the anomaly mode of torch (about 1.5 x slower; silent where only the loss is NaN)."
    )
    safe_clamp: bool = option(False, "Clamp the outputs of the model's blocks, counted; an emergency measure.")
    sanitize_grads: bool = option(
        False, "Replace non-finite gradients by 0, counted; an emergency measure that applies made-up gradients."
    )
    skip_step_on_nan: bool = option(
        False, "Skip a step with a non-finite gradient, counted, whatever the policy for faults."
    )
    bundle_step: int | None = option(
        None, "Write a replay bundle of this step even though nothing is wrong with it.", low=1
    )
