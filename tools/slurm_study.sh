#!/usr/bin/env bash
#SBATCH --job-name=fastpt-study
#SBATCH --nodes=1
#SBATCH --gres=gpu:8
#SBATCH --cpus-per-task=64
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
# One task of the array is one pre-training of the grid, with its tunings. The folder must be shared by the nodes.
#
#   fastpt study status recipes/study_in1k.yaml                                     # runs nothing; a cell is a line `train`, from 0
#   sbatch --array=0-4 tools/slurm_study.sh recipes/study_in1k.yaml
#   fastpt study recipes/study_in1k.yaml                                            # afterwards: the report
#
# Further words, such as --out, are those of `fastpt study`; give them to all three.
#
# 120 s before the time is up, the study gets SIGTERM and passes it on: a training saves itself, the study ends with code
# 75, and the task is put into the queue again, where it goes on.
set -euo pipefail
fastpt study "$@" --cell "$SLURM_ARRAY_TASK_ID" &
study=$!
trap 'kill -TERM $study' TERM
code=0
wait $study || code=$?
[ "$code" -le 128 ] || { code=0; wait $study || code=$?; }  # the first wait ends with the signal, the study a bit later
[ "$code" -ne 75 ] || scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
exit "$code"
