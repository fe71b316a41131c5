"""`python -m fastpt`, which launchers such as torchrun and deepspeed start in each process."""

from fastpt.cli import main

main(prog_name="fastpt")
