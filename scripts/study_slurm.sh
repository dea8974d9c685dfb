#!/bin/bash
#SBATCH --job-name=tfunroll-study
#SBATCH --array=1-4
#SBATCH --cpus-per-task=8
#SBATCH --time=12:00:00
#SBATCH --signal=B:TERM@120
# Runs a study as a SLURM array, one shard per task; submitted again, it goes on. Add --gres=gpu:1 for GPUs.
#   sbatch scripts/study_slurm.sh --study=modalities --variant=small
#   sbatch --array=1-16 scripts/study_slurm.sh --study=modalities --variant=paper
# and once all are done: scripts/study.py --gather --out=runs/study-modalities-small
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-.}"
shard=$((SLURM_ARRAY_TASK_ID - SLURM_ARRAY_TASK_MIN + 1))/$SLURM_ARRAY_TASK_COUNT
exec "${PYTHON:-.venv/bin/python}" scripts/study.py --shard="$shard" "$@"
