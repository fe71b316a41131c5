"""The command line. Nothing heavy is imported before a command runs, so that help answers at once."""

import click

from fastpt import __version__
from fastpt.cli.data import bench, info, materialize, preview, verify
from fastpt.cli.init import init
from fastpt.cli.keys import keys
from fastpt.cli.noise import noise
from fastpt.cli.prep import prep
from fastpt.cli.results import report, tune
from fastpt.cli.runs import export, train
from fastpt.cli.shared import Commands
from fastpt.cli.study import study
from fastpt.cli.suspects import suspects

HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


@click.group(cls=Commands, context_settings=HELP)
@click.version_option(__version__)
def main() -> None:
    """Pre-train on noisy labels and tune what was learned: prep, train, tune, report."""


# In the order of the work.
for command in (
    prep,
    noise,
    suspects,
    info,
    verify,
    preview,
    materialize,
    bench,
    train,
    export,
    tune,
    report,
    study,
    init,
    keys,
):
    main.add_command(command)
