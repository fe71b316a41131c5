"""What can be learned: a file or folder each. It is light (`TaskKind`); what works (`Task`) is imported when built."""

from fastpt.registry import Registry
from fastpt.training.tasks.kind import TaskKind

TASKS: Registry[TaskKind] = Registry(
    "task",
    {
        "supervised": "fastpt.training.tasks.supervised:KIND",
        "clip": "fastpt.training.tasks.clip:KIND",
    },
)
