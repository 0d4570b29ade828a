#!/bin/bash
#SBATCH --job-name=tuner
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --exclusive
#SBATCH --time=08:00:00
#SBATCH --signal=B:TERM@300

# A study on all cards of a Slurm job. What has to be the same on every node: this folder, the environment with tuner and Ray,
# the one with vLLM, and the model (a shared file system does all of it).
set -euo pipefail
: "${MODEL:?set MODEL to a folder that all nodes have, or to a name of the hub}"
export TUNER_VLLM_PYTHON="${TUNER_VLLM_PYTHON:-$PWD/.engine/bin/python}"
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="${RAY_AUTH_TOKEN_PATH:-$HOME/.ray/auth_token}"

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
port=$((6379 + SLURM_JOB_ID % 1000))

# `ray symmetric-run` starts Ray on every node, waits for all of them, runs the command on the first, and stops Ray.
srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" --kill-on-bad-exit=1 \
  ray symmetric-run --address "$head:$port" --min-nodes "$SLURM_JOB_NUM_NODES" -- \
  tuner optimize --model "$MODEL" --executor ray --address "$head:$port" --parallel auto \
  --storage "${STORAGE:-sqlite:///$PWD/tuner.db}" --log-dir "$PWD/tuner-logs"
