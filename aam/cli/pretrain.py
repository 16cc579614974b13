"""`aam pretrain`: learn from a feature table and a tree, without labels."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aam.cli.options import HeadedCommand, config_options, option_values, with_absolute_paths, with_switches
from aam.cli.start import with_size_of_encoder
from aam.config import PretrainConfig, from_options

if TYPE_CHECKING:
    from aam.training.world import World


@click.command("pretrain", cls=HeadedCommand)
@config_options(PretrainConfig)
def command(config_file: Path | None, **options: Any) -> None:
    """Pretrain an encoder of ASVs and samples on a feature table and a phylogeny.

    \b
    Try it:        aam pretrain --example --max-minutes 3
    Your own data: aam pretrain --table table.biom --tree tree.nwk --output-dir run
    """
    from aam.cli.terminal import status

    values = with_absolute_paths(PretrainConfig, option_values(options, config_file))
    with status("starting"):
        from aam.training import manifest
        from aam.training.distributed import check_together
        from aam.training.manifest import resumed_pretraining
        from aam.training.world import join_world

        config = from_options(PretrainConfig, values)
    with (
        join_world(config.run.output_dir, config.ranks.rank_timeout) as world,
        world.folder(manifest.MANIFEST) as folder,
    ):
        values |= {"output_dir": folder}
        if world.restarted and manifest.has_begun(folder):
            values |= {"resume": True}
        config = from_options(PretrainConfig, values)
        if not config.run.dry_run:
            manifest.check_output_directory(folder, config.run.resume)
        config = with_switches(resumed_pretraining(values) if config.run.resume else with_encoder(config, values))
        check_together(config, world)
        pretrain(config, world, bool(values.get("resume")))


def with_encoder(config: PretrainConfig, asked: dict[str, Any]) -> PretrainConfig:
    """The configuration with the size of the encoder that training starts from, where there is one."""
    return config if config.start.pretrained is None else with_size_of_encoder(config.start.pretrained, config, asked)


def pretrain(config: PretrainConfig, world: World, resume: bool) -> None:
    """Open the data, then print the plan or train and report; `resume`: whether a run that is there was to go on."""
    from aam.cli.data_notes import tell_data
    from aam.cli.terminal import status
    from aam.corpus.pretraining import open_corpus
    from aam.training.manifest import reserve_output_directory
    from aam.training.plan import plan_text

    with status("reading the data"):
        corpus = open_corpus(config)
    if world.first:
        tell_data(corpus.table, {} if config.run.dry_run else corpus.dropped)  # the plan has a line for each
    if config.run.dry_run:
        with status("measuring one step"):
            text = plan_text(config, corpus)
        if world.first:
            click.echo(text)
        return
    from aam.cli.pretrain_run import run_and_report

    with reserve_output_directory(config.run.output_dir, resume) if world.first else nullcontext():
        run_and_report(config, corpus, world)
