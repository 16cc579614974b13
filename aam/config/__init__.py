"""Every setting of a run, once: a field is the default, the option, the help text, the YAML key and the checkpoint record.

Nothing here reads files or imports torch. Other modules take one of these objects and have no defaults of their own.
"""

from __future__ import annotations

from aam.config.apply import PredictConfig, UnifracConfig
from aam.config.convert import (
    flag,
    from_dict,
    from_options,
    groups,
    options,
    options_of,
    part_of,
    suggest,
    titles,
    to_dict,
    with_options,
)
from aam.config.fields import (
    Metric,
    Precision,
    Preset,
    Selection,
    UnifracEngine,
)
from aam.config.finetune import (
    NUMERIC_TASKS,
    Covariate,
    FinetuneConfig,
    FinetuneOptimConfig,
    FinetuneRunConfig,
    FoldConfig,
    HeadConfig,
    NumericTarget,
    RunnableConfig,
    TargetConfig,
    TargetLoss,
    TargetSchema,
    Task,
    Transform,
)
from aam.config.health import HealthConfig
from aam.config.pretrain import (
    PRESETS,
    DataConfig,
    LossConfig,
    ModelConfig,
    OptimConfig,
    PrepareConfig,
    PretrainConfig,
    RanksConfig,
    RunConfig,
    tiny,
)

__all__ = [
    "Covariate",
    "DataConfig",
    "FinetuneConfig",
    "FinetuneOptimConfig",
    "FinetuneRunConfig",
    "FoldConfig",
    "HeadConfig",
    "HealthConfig",
    "LossConfig",
    "Metric",
    "ModelConfig",
    "NUMERIC_TASKS",
    "NumericTarget",
    "OptimConfig",
    "PRESETS",
    "PredictConfig",
    "PrepareConfig",
    "Precision",
    "Preset",
    "PretrainConfig",
    "RanksConfig",
    "RunConfig",
    "RunnableConfig",
    "Selection",
    "TargetConfig",
    "TargetLoss",
    "TargetSchema",
    "Task",
    "Transform",
    "UnifracConfig",
    "UnifracEngine",
    "with_options",
    "flag",
    "from_dict",
    "from_options",
    "groups",
    "options",
    "options_of",
    "part_of",
    "suggest",
    "tiny",
    "titles",
    "to_dict",
]
