#!/usr/bin/env bash
#SBATCH --job-name=fastpt-study
#SBATCH --nodes=1
#SBATCH --gres=gpu:8
#SBATCH --cpus-per-task=64
#SBATCH --requeue
# One task of the array is one pre-training of the grid, with its tunings. The folder must be shared by the nodes.
#
#   fastpt study status recipes/study_in1k.yaml                                     # prepares nothing, counts the cells
#   sbatch --array=0-4 tools/slurm_study.sh recipes/study_in1k.yaml
#   fastpt study recipes/study_in1k.yaml                                            # afterwards: the report
set -euo pipefail
exec fastpt study "$1" --cell "$SLURM_ARRAY_TASK_ID"
