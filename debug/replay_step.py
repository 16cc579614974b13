#!/usr/bin/env python3
"""Make a step of a run again from its bundle, to the last bit, and look into it: `aam replay` as a script.

python debug/replay_step.py aam-run/faults/step-12/bundle.safetensors --locate
"""

from __future__ import annotations

from aam.cli.debugging import run_script
from aam.cli.replay import command as main

if __name__ == "__main__":
    run_script(main)
