#!/bin/bash
# A Slurm of one node on this machine, on the loopback interface only, in a folder of its own, for tests and trials.
#
#   scripts/local_slurm.sh start DIR    starts munged, slurmctld and slurmd; then: export SLURM_CONF=DIR/slurm.conf
#   scripts/local_slurm.sh stop DIR     ends them
#
# Debian: apt install slurmctld slurmd slurm-client munge. Needs root, and no control groups (proctrack/linuxproc).
set -eu

action=$1
dir=$(realpath -m "$2")

stop() {
  for name in slurmd slurmctld munged; do
    if [ -f "$dir/$name.pid" ]; then
      pid=$(cat "$dir/$name.pid")
      kill "$pid" 2> /dev/null || true
      for _ in $(seq 50); do
        kill -0 "$pid" 2> /dev/null || break
        sleep 0.1
      done
      rm -f "$dir/$name.pid"
    fi
  done
}

start() {
  for program in munged slurmctld slurmd sbatch; do
    command -v "$program" > /dev/null || { echo "$program is not installed" >&2; exit 3; }
  done
  mkdir -p "$dir/state" "$dir/spool" "$dir/munge"
  chmod 711 "$dir/munge"
  head -c 1024 /dev/urandom > "$dir/munge.key"
  chmod 600 "$dir/munge.key"
  host=$(hostname -s)
  port=${LOCAL_SLURM_PORT:-16817}
  cat > "$dir/slurm.conf" <<CONF
ClusterName=local
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$dir/munge/socket
CredType=cred/munge
SlurmctldPort=$port
SlurmdPort=$((port + 1))
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/linear
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
ReturnToService=2
KillWait=30
SchedulerParameters=batch_sched_delay=1,sched_min_interval=0
PropagateResourceLimits=NONE
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=1000 State=UNKNOWN
PartitionName=local Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
  munged --force --key-file="$dir/munge.key" --socket="$dir/munge/socket" --pid-file="$dir/munged.pid" \
    --seed-file="$dir/munge.seed" --log-file="$dir/munged.log"
  export SLURM_CONF="$dir/slurm.conf"
  slurmctld
  slurmd
  for _ in $(seq 300); do
    [ "$(sinfo --noheader --format=%T 2> /dev/null)" = idle ] && exit 0
    sleep 0.2
  done
  echo "the node does not become idle:" >&2
  tail -n 5 "$dir"/*.log >&2
  stop
  exit 3
}

"$action"
