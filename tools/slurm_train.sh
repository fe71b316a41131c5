#!/usr/bin/env bash
#SBATCH --job-name=fastpt
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --signal=TERM@120
#SBATCH --requeue
# One process a GPU, on any number of nodes. The folders of data and runs must be shared by the nodes.
#
#   sbatch --nodes=2 tools/slurm_train.sh recipes/resnet50_in1k_a2.yaml --set data.noise=0.05
#
# The recipe comes first. The run lies in --run-dir, else in $RUN_DIR, else in runs/<recipe>-job<number>.
# 120 s before the time is up, or when SLURM preempts the job, each process gets SIGTERM: the training saves itself and
# ends with code 75, and the job is put into the queue again. --resume begins a run that has no checkpoint yet.
set -euo pipefail
[[ ${1:--} != -* ]] || { echo "usage: sbatch $0 RECIPE [OPTION OF fastpt train]..." >&2; exit 2; }
MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export MASTER_ADDR MASTER_PORT=$((20000 + SLURM_JOB_ID % 20000))
export WORLD_SIZE=$SLURM_NTASKS LOCAL_WORLD_SIZE=$SLURM_NTASKS_PER_NODE
export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK  # srun does not take sbatch's --cpus-per-task over: a process had a core
run_dir=${RUN_DIR:-runs/$(basename "$1" .yaml)-job$SLURM_JOB_ID}
code=0
srun bash -c 'RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID exec fastpt train "$@"' train \
    --run-dir "$run_dir" --resume "$@" || code=$?  # of two --run-dir the later holds
[ "$code" -ne 75 ] || scontrol requeue "$SLURM_JOB_ID"
exit "$code"
