"""What grows with the rows, the ranks and the threads, and how: `python -m tools.bench.scale rows|ranks|threads`."""

import click

from tools.bench.scale.ranks import ranks
from tools.bench.scale.rows import make, one, rows
from tools.bench.scale.threads import threads

main = click.Group(help=__doc__, commands={name.name: name for name in (rows, ranks, threads, one, make) if name.name})

if __name__ == "__main__":
    main()
