"""`python -m fastpt`, which launchers such as torchrun and deepspeed start in each process."""

import sys

from fastpt.cli import main

# DeepSpeed's launcher puts --local_rank=N first; the environment, which is what counts here, says it too.
main([argument for argument in sys.argv[1:] if not argument.startswith("--local_rank=")], prog_name="fastpt")
