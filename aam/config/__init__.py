"""Every setting of a run, once: a field is the default, the option, the help text, the YAML key and the checkpoint record.

Nothing here reads files or imports torch. Other modules take one of these objects and have no defaults of their own.
"""

from __future__ import annotations

from aam.config.convert import (
    check_bounds,
    convert,
    flag,
    from_dict,
    from_options,
    groups,
    options,
    suggest,
    to_dict,
)
from aam.config.fields import (
    Metric,
    OnFault,
    Precision,
    Preset,
    Selection,
    UnifracEngine,
    UnifracHead,
    UnifracMetric,
    derived,
    option,
)
from aam.config.health import HealthConfig
from aam.config.pretrain import (
    PRESETS,
    DataConfig,
    LossConfig,
    ModelConfig,
    OptimConfig,
    PretrainConfig,
    RunConfig,
    RunnableConfig,
    base,
    large,
    small,
    tiny,
)
from aam.config.unifrac import UnifracConfig

__all__ = [
    "DataConfig",
    "HealthConfig",
    "LossConfig",
    "Metric",
    "ModelConfig",
    "OnFault",
    "OptimConfig",
    "PRESETS",
    "Precision",
    "Preset",
    "PretrainConfig",
    "RunConfig",
    "RunnableConfig",
    "Selection",
    "UnifracConfig",
    "UnifracEngine",
    "UnifracHead",
    "UnifracMetric",
    "base",
    "check_bounds",
    "convert",
    "derived",
    "flag",
    "from_dict",
    "from_options",
    "groups",
    "large",
    "option",
    "options",
    "small",
    "suggest",
    "tiny",
    "to_dict",
]
