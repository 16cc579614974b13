"""All settings. One field defines the default, the option, its help text, the YAML key and the checkpoint record.

This package reads no files and does not import torch. Other modules get these objects and have no defaults of their own.
"""

from __future__ import annotations

from aam.config.apply import PredictConfig, UnifracConfig
from aam.config.convert import (
    convert,
    from_dict,
    from_options,
    from_some,
    group_classes,
    group_titles,
    option_fields,
    path_of,
    select_options,
    suggest,
    to_dict,
    with_absolute_paths,
    with_options,
)
from aam.config.fields import (
    Metric,
    Precision,
    Preset,
    Selection,
    TrainingPrecision,
    UnifracEngine,
    option_flag,
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
    RunnableT,
    StudiesConfig,
    TargetConfig,
    TargetLoss,
    TargetSchema,
    Task,
    Transform,
    is_clades,
)
from aam.config.health import HealthConfig
from aam.config.prepare import PrepareConfig
from aam.config.pretrain import (
    PRESETS,
    DataConfig,
    LossConfig,
    ModelConfig,
    OptimConfig,
    PretrainConfig,
    tiny,
)
from aam.config.reference import TipsConfig
from aam.config.run import RanksConfig, RunConfig
from aam.config.sizes import check_sizes
from aam.config.yaml_file import parse_yaml

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
    "RunnableT",
    "Selection",
    "StudiesConfig",
    "TargetConfig",
    "TargetLoss",
    "TargetSchema",
    "Task",
    "TipsConfig",
    "TrainingPrecision",
    "Transform",
    "UnifracConfig",
    "UnifracEngine",
    "check_sizes",
    "parse_yaml",
    "with_absolute_paths",
    "with_options",
    "option_flag",
    "convert",
    "from_dict",
    "from_options",
    "group_classes",
    "option_fields",
    "path_of",
    "select_options",
    "from_some",
    "suggest",
    "is_clades",
    "tiny",
    "group_titles",
    "to_dict",
]
